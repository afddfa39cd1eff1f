//go:build !(darwin || dragonfly || freebsd || linux || openbsd)

package sqlite

import "errors"

// available is for systems where package syscall has no statfs.
func available(string) (int64, error) { return 0, errors.ErrUnsupported }
