package sqlite

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/seed-64ad3862/gatehouse/internal/needs"
)

// mounted is what the other process says when it has a disk of its own.
const mounted = "with a disk of its own"

// onDisk returns a folder that is a disk of its own, of this size, in a process that runs
// the test once more and has mounts of its own. In the test's own process it reports what
// the other one has said, and answers "". Where the system lets us mount nothing, the test
// ends.
func onDisk(t *testing.T, size string) string {
	t.Helper()
	if os.Getenv(childVariable) == "" {
		for _, attributes := range []*syscall.SysProcAttr{
			{Cloneflags: syscall.CLONE_NEWNS},
			{
				Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
				UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
			},
		} {
			cmd := child(t, "disk")
			cmd.SysProcAttr = attributes
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if err != nil && (!errors.As(err, &exit) || !bytes.Contains(out, []byte(mounted))) {
				t.Logf("%v %s", err, out)
				continue
			}
			t.Logf("%s", out)
			if err != nil {
				t.Error(err)
			}
			return ""
		}
		needs.Missing(t, "the system lets us mount nothing")
	}
	dir := t.TempDir()
	if err := errors.Join(
		syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""),
		syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size),
	); err != nil {
		t.Fatal(err)
	}
	t.Log(mounted)
	t.Cleanup(func() { // or the test could not remove its folder
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestDiskFull: a small disk fills up, in the middle of a write. TestFileLimit is the same
// where there can be no disk of its own.
func TestDiskFull(t *testing.T) {
	dir := onDisk(t, "16m")
	if dir == "" {
		return
	}
	ballast := filepath.Join(dir, "ballast")
	outOfRoom(t, dir, room{
		full: true,
		shrink: func() {
			f, err := os.Create(ballast)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for n := 0; err == nil; n++ {
				_, err = f.Write(make([]byte, 4096))
			}
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			// Room for some writes, so that it becomes full in the middle of one.
			info, err := f.Stat()
			if err == nil {
				err = f.Truncate(max(info.Size()-50_000, 0))
			}
			if err != nil {
				t.Fatal(err)
			}
		},
		grow: func() {
			if err := os.Remove(ballast); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		},
	})
}
