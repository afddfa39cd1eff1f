//go:build unix

package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-64ad3862/gatehouse/session"
)

// advice returns the command that an error names.
func advice(t *testing.T, err error) string {
	t.Helper()
	_, command, found := strings.Cut(err.Error(), "run: ")
	if !found {
		t.Fatalf("%v names no command", err)
	}
	return command
}

// TestExposed: a database that other users can read, change or exchange is refused,
// by commands too, and the command in the error mends it.
func TestExposed(t *testing.T) {
	mode := func(suffix string, mode os.FileMode) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			f, err := os.OpenFile(path+suffix, os.O_CREATE|os.O_WRONLY, 0o600)
			if err == nil {
				err = errors.Join(f.Close(), os.Chmod(path+suffix, mode))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	link := func(suffix string, exists bool) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			target := filepath.Join(t.TempDir(), "it's elsewhere")
			if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if exists {
				mode("", 0o600)(t, target)
			}
			if err := os.Symlink(target, path+suffix); err != nil {
				t.Fatal(err)
			}
		}
	}
	chmodFolder := func(mode os.FileMode) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			if err := os.Chmod(filepath.Dir(path), mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	type exposed struct {
		expose func(t *testing.T, path string)
		want   []string
	}
	tests := map[string]exposed{
		"readable":       {mode("", 0o644), []string{"sessions.db has mode 0644", "chmod 600 "}},
		"by the group":   {mode("", 0o640), []string{"sessions.db has mode 0640"}},
		"writable":       {mode("", 0o606), []string{"sessions.db has mode 0606"}},
		"WAL":            {mode("-wal", 0o644), []string{"sessions.db-wal has mode 0644"}},
		"shm":            {mode("-shm", 0o660), []string{"sessions.db-shm has mode 0660"}},
		"journal":        {mode("-journal", 0o604), []string{"sessions.db-journal has mode 0604"}},
		"lock":           {mode(".lock", 0o644), []string{"sessions.db.lock has mode 0644"}},
		"linked WAL":     {link("-wal", true), []string{"sessions.db-wal is a symbolic link"}},
		"linked shm":     {link("-shm", false), []string{"sessions.db-shm is a symbolic link"}},
		"linked lock":    {link(".lock", true), []string{"sessions.db.lock is a symbolic link"}},
		"folder":         {chmodFolder(0o777), []string{"everyone can exchange files in ", "mode 0777", "chmod o-w "}},
		"several at one": {func(t *testing.T, path string) { mode("", 0o666)(t, path); mode("-wal", 0o666)(t, path) }, []string{"sessions.db has mode 0666", "sessions.db-wal has mode 0666"}},
	}
	if os.Getuid() == 0 { // the others cannot make such a file
		give := func(suffixes ...string) func(t *testing.T, path string) {
			return func(t *testing.T, path string) {
				for _, suffix := range suffixes {
					mode(suffix, 0o600)(t, path)
					if err := os.Chown(path+suffix, 65534, 65534); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		giveFolder := func(t *testing.T, path string) {
			if err := os.Chown(filepath.Dir(path), 65534, -1); err != nil {
				t.Fatal(err)
			}
		}
		tests["another's folder"] = exposed{giveFolder, []string{"belongs to ", "run this as ", "run: chown root '"}}
		tests["another's sticky folder"] = exposed{func(t *testing.T, path string) {
			giveFolder(t, path)
			chmodFolder(0o777|fs.ModeSticky)(t, path)
		}, []string{"belongs to ", "chown root '"}}
		tests["another's folder, open to all"] = exposed{func(t *testing.T, path string) {
			giveFolder(t, path)
			chmodFolder(0o777)(t, path)
		}, []string{"everyone can exchange files in ", "belongs to ", "chmod o-w '", "chown root '"}}
		tests["another's"] = exposed{give(""), []string{"sessions.db belongs to ", "run this as ", "for root to have it, run: chown root "}}
		tests["another's WAL"] = exposed{give("-wal"), []string{"sessions.db-wal belongs to "}}
		tests["another's lock"] = exposed{give(".lock"), []string{"sessions.db.lock belongs to "}}
		tests["all of it another's, and readable"] = exposed{func(t *testing.T, path string) {
			give("", "-wal", "-shm", ".lock")(t, path)
			mode("", 0o644)(t, path)
		}, []string{"sessions.db belongs to ", "sessions.db has mode 0644", "sessions.db.lock belongs to "}}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "Alex's files; $(echo)")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "sessions.db")
			s := open(t, Config{Path: path})
			id := newID()
			commit(t, s, id, creation(large(0)))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			test.expose(t, path)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s, err = Open(t.Context(), Config{Path: path})
			if err == nil {
				s.Close()
				t.Fatal("it is taken")
			}
			if !errors.Is(err, ErrExposed) {
				t.Fatalf("Open: %v, want %v", err, ErrExposed)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Open: %v, want %q", err, want)
				}
			}
			if _, err := Connect(t.Context(), path); !errors.Is(err, ErrExposed) {
				t.Errorf("Connect: %v, want %v", err, ErrExposed)
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, before) {
				t.Errorf("the file has changed, %v", err)
			}
			command := advice(t, err)
			if out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v %s", command, err, out)
			}
			s = open(t, Config{Path: path})
			if got := value(t, s, id, "large"); got != large(0).Value {
				t.Errorf("after %s the record has %d bytes", command, len(got))
			}
		})
	}
}

// TestExposedAccepted: what is common, and gives no other user access, is no fault.
func TestExposedAccepted(t *testing.T) {
	for _, mode := range []os.FileMode{0o700, 0o755, 0o775, 0o777 | fs.ModeSticky} {
		dir := t.TempDir()
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		// By a link, too.
		link := filepath.Join(t.TempDir(), "link.db")
		if err := os.Symlink(filepath.Join(dir, "sessions.db"), link); err != nil {
			t.Fatal(err)
		}
		if err := open(t, Config{Path: filepath.Join(dir, "sessions.db")}).Close(); err != nil {
			t.Fatal(err)
		}
		open(t, Config{Path: link})
	}
}

// TestExposedOwner: who is not root is told to ask root.
func TestExposedOwner(t *testing.T) {
	const nobody = 65534
	if os.Getuid() == 0 {
		if os.Getenv(childVariable) == "" {
			inChild(t, "nobody")
			return
		}
		if err := errors.Join(syscall.Setgid(nobody), syscall.Setuid(nobody)); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "gatehouse-owner-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "sessions.db")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	// The file is ours, and we are another user.
	err = checkPrivate(path, 54321)
	want := fmt.Sprintf("%v: %[2]s belongs to %[4]s, %[3]s belongs to %[4]s, %[3]s has mode 0644; run: sudo chown 54321 %[2]s %[3]s && chmod 600 %[3]s", ErrExposed, dir, path, nameOf(os.Getuid()))
	if err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
}

// TestExposedForeign: where a file is not ours at all, the error says so, and gives
// no advice about it.
func TestExposedForeign(t *testing.T) {
	path := filepath.Join(t.TempDir(), "letter")
	if err := errors.Join(os.WriteFile(path, bytes.Repeat([]byte("dear mother\n"), 100), 0o600), os.Chmod(path, 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{Path: path}); err == nil || errors.Is(err, ErrExposed) || !strings.Contains(err.Error(), "no SQLite database") {
		t.Errorf("Open: %v", err)
	}
}

// TestExposedApplication: an application's own database is the application's, and
// what is wrong is in the log.
func TestExposedApplication(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	db := pool(t, path)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s := open(t, Config{DB: db, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	id := newID()
	commit(t, s, id, creation())
	if want := "run: chmod 600 " + path; !strings.Contains(log.String(), want) {
		t.Errorf("the log says %q, want %q", log.String(), want)
	}
	for _, suffix := range []string{".lock", ".sock"} { // these are ours
		if info, err := os.Lstat(path + suffix); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", suffix, info.Mode(), err)
		}
	}
}

// TestExposedSocket: a command does not speak to another user who has put a socket there.
func TestExposedSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	s := open(t, Config{Path: path})
	id := newID()
	commit(t, s, id, creation())
	if err := os.Chmod(socketPath(path), 0o666); err != nil {
		t.Fatal(err)
	}
	_, err := Connect(t.Context(), path)
	if !errors.Is(err, ErrExposed) {
		t.Fatalf("Connect: %v, want %v", err, ErrExposed)
	}
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", advice(t, err)).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	c, err := Connect(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Load(t.Context(), id); err != nil {
		t.Errorf("Load: %v", err)
	}
	if os.Getuid() != 0 {
		return
	}
	// Root may speak to the server of the database's owner, and to no other's.
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := errors.Join(os.Chmod(l.Addr().String(), 0o600), os.Chown(l.Addr().String(), 65534, -1), os.Rename(l.Addr().String(), socketPath(path))); err != nil {
		t.Fatal(err)
	}
	if _, err := Connect(t.Context(), path); !errors.Is(err, ErrExposed) {
		t.Errorf("Connect to another user's socket: %v, want %v", err, ErrExposed)
	}
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		if err := os.Chown(path+suffix, 65534, -1); err != nil {
			t.Fatal(err)
		}
	}
	if c, err = Connect(t.Context(), path); err != nil {
		t.Fatalf("root to the socket of the database's owner: %v", err)
	}
	defer c.Close()
	if _, ok := c.(session.Store).(*client); !ok {
		t.Errorf("it is a %T", c)
	}
}
