//go:build unix

package service

import (
	"os"
	"syscall"
)

const (
	runnable = true

	pause  = syscall.SIGSTOP
	resume = syscall.SIGCONT
)

func send(pid int, sig syscall.Signal) { _ = syscall.Kill(pid, sig) }

func as(uid, gid uint32) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
}

// handOver makes a folder theirs who start the server.
func handOver(dir string, as *syscall.SysProcAttr) error {
	if as == nil {
		return nil
	}
	return os.Chown(dir, int(as.Credential.Uid), int(as.Credential.Gid))
}
