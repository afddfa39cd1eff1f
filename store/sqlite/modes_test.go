//go:build unix

package sqlite

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// TestModes: nobody else reads what is in the files.
func TestModes(t *testing.T) {
	dir := t.TempDir()
	defer syscall.Umask(syscall.Umask(0)) // what forbids nothing
	s := open(t, Config{Path: filepath.Join(dir, "sessions.db")})
	commit(t, s, newID(), creation())
	want := []string{"sessions.db", "sessions.db-shm", "sessions.db-wal", "sessions.db.lock", "sessions.db.sock"}
	if got := names(t, dir); !slices.Equal(got, want) {
		t.Errorf("there are %q, want %q", got, want)
	}
	for _, name := range want {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
	if info, err := os.Lstat(filepath.Join(dir, "sessions.db.sock")); err != nil || info.Mode().Type() != fs.ModeSocket {
		t.Errorf("the socket has mode %v, %v", info.Mode(), err)
	}
}
