//go:build !unix

package service

import "syscall"

// Elsewhere there are no signals to steer a server with, and none is started.
const (
	runnable = false

	pause, resume syscall.Signal = 0, 0
)

func send(int, syscall.Signal)                    {}
func handOver(string, *syscall.SysProcAttr) error { return nil }
func as(_, _ uint32) *syscall.SysProcAttr         { return nil }
