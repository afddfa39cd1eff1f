//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package sqlite

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

func openLock(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
}

// lockFile reports whether it has got the lock: flock(2), which belongs to this
// very descriptor, so that another of the same process is refused as well.
func lockFile(f *os.File) (bool, error) {
	for {
		switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, syscall.EINTR):
			return false, os.NewSyscallError("flock", err)
		}
	}
}

// ownerOf returns the ID of the user that a file belongs to.
func ownerOf(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

// writable asks the system whether this user may read and write the file:
// opening and closing it would cost SQLite its locks.
func writable(path string) error {
	const read, write = 4, 2 // POSIX's R_OK and W_OK
	return syscall.Access(path, read|write)
}

// noSpace reports whether the system has refused to write since there is no space, a quota
// has been used up, or a file may not be so large.
func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// checkSizeLimit returns an error if the process may not write a file of this size.
func checkSizeLimit(size int64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return nil //nolint:nilerr // the writes themselves will tell
	}
	if most := int64(limit.Cur); most >= 0 && size > most { // unlimited is negative, or very large
		return os.NewSyscallError("setrlimit", syscall.EFBIG)
	}
	return nil
}
