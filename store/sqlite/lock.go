package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// ErrInUse says that another process, or another [Store] of this one, has the
// database's file.
var ErrInUse = errors.New("in use")

// commandTime is how long Open waits for a file that is in use: a command that
// found no server may have it for a moment.
const commandTime = time.Second

// A lock is held on a file beside the database. The system gives it up when the
// process ends, however it ends, so that nothing is left to be cleaned. It is not
// on the database itself: SQLite's own locks there are gone when any descriptor
// of the file is closed (https://sqlite.org/howtocorrupt.html, 2.2).
//
// The file is never removed: two processes could then lock two files of one name.
type lock struct {
	f       *os.File
	reserve reserve
}

// takeLock takes the lock of the database, and waits for it a little.
func takeLock(ctx context.Context, path string) (*lock, error) {
	start := time.Now()
	for {
		l, err := tryLock(path)
		if !errors.Is(err, ErrInUse) || time.Since(start) > commandTime {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(commandTime / 50):
		}
	}
}

// tryLock takes the lock, or answers ErrInUse.
func tryLock(path string) (*lock, error) {
	f, err := openLock(path + ".lock")
	if err != nil {
		return nil, err
	}
	taken, err := lockFile(f)
	if err == nil && !taken {
		err = fmt.Errorf("%w by %s", ErrInUse, holder(f))
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	l := &lock{f: f}
	l.note(strconv.Itoa(os.Getpid()))
	return l, nil
}

// noteBytes is how long the text is that says who holds the lock.
const noteBytes = 20

// note writes who holds the lock, for people. On a disk that is full it may be
// missing.
func (l *lock) note(text string) {
	_, _ = l.f.WriteAt(fmt.Appendf(nil, "%-*s", noteBytes, text), 0)
}

func holder(f *os.File) string {
	b, _ := io.ReadAll(io.LimitReader(f, noteBytes))
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	switch {
	case err != nil:
		return "another process"
	case pid == os.Getpid():
		return fmt.Sprintf("this process (%d)", pid)
	}
	return fmt.Sprintf("process %d", pid)
}

// release gives up the lock. The reserve gets what closing the database has freed, so
// that it can be opened again on a full disk.
func (l *lock) release() {
	if l.reserve.f != nil {
		l.reserve.fill()
	}
	l.note("")
	_ = l.f.Close()
}
