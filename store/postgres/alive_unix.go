//go:build unix

package postgres

import (
	"net"
	"syscall"
)

// silent reports whether there is nothing to read from the connection, not even
// its end, as far as the kernel knows. It waits for nothing and takes nothing.
// (The check of go-sql-driver/mysql, in conncheck.go.)
func silent(c net.Conn) bool {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok { // TLS
		c = t.NetConn()
	}
	sys, ok := c.(syscall.Conn)
	if !ok {
		return true // nobody knows
	}
	raw, err := sys.SyscallConn()
	if err != nil {
		return false
	}
	var peeked error
	// Not by Read: package pgconn may have a reader of its own in the background,
	// which would have to end first.
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		// Sockets of package net do not block.
		_, _, peeked = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
	})
	return err == nil && (peeked == syscall.EAGAIN || peeked == syscall.EWOULDBLOCK)
}
