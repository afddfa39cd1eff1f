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
)

// mounted is what the other process says when it has a disk of its own.
const mounted = "with a disk of its own"

// TestDiskFull: a small disk fills up. A process with mounts of its own
// has it. Where the system does not let us do that, TestFileLimit has to do.
func TestDiskFull(t *testing.T) {
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
			return
		}
		t.Log("the system lets us mount nothing")
		return
	}
	dir := t.TempDir()
	if err := errors.Join(
		syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""),
		syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"),
	); err != nil {
		t.Fatal(err)
	}
	t.Log(mounted)
	t.Cleanup(func() { // or the test could not remove its folder
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
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
