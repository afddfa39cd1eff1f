//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
)

func openLock(string) (*os.File, error) {
	return nil, fmt.Errorf("package sqlite keeps a second process off the file with flock(2), which %s has not: %w", runtime.GOOS, errors.ErrUnsupported)
}

func lockFile(*os.File) (bool, error) { return false, errors.ErrUnsupported }

func ownerOf(fs.FileInfo) int { return os.Geteuid() }

func writable(string) error { return nil }

func noSpace(error) bool { return false }

func checkSizeLimit(int64) error { return nil }
