package sqlite

import (
	"os"
	"syscall"
)

// available returns how many bytes the disk of a folder has left for users that are
// not root.
func available(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, os.NewSyscallError("statfs", err)
	}
	return max(s.F_bavail, 0) * int64(s.F_bsize), nil
}
