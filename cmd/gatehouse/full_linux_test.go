package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-64ad3862/gatehouse/internal/visitor"
)

// TestServeDiskFull: while the disk is full, nobody signs in and everybody is told
// so; whoever was signed in still is; and all goes on when there is room again.
func TestServeDiskFull(t *testing.T) {
	dir := t.TempDir()
	c := onSmallDisk(t, dir)
	if c == nil {
		t.Log("the system lets us mount nothing")
		return
	}
	v := visitor.New(t, c.url)
	v.Open(c.link).Send("", "name", "alex", "new", goodPassword, "again", goodPassword).Shows("/manager", "alex")

	// The disk, as the server sees it.
	ballast := filepath.Join(fmt.Sprintf("/proc/%d/root", c.Process.Pid), dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for block := bytes.Repeat([]byte("full"), 1024); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	// What pages can do without writing they do, and the others say what is wrong.
	// The log in memory has room for a while.
	refused := 0
	for range 200 {
		w := visitor.New(t, c.url)
		w.Open("/login")
		if w.Status == http.StatusOK {
			w.Send("/login", "name", "alex", "password", goodPassword)
		}
		if w.Status == http.StatusServiceUnavailable {
			w.Shows("/login", "Not now")
			if refused++; refused == 3 {
				break
			}
		} else if w.Status != http.StatusOK {
			t.Fatalf("status %d: %s", w.Status, w.Text())
		}
	}
	if refused != 3 {
		t.Errorf("a full disk keeps nobody out: %s", c.said.String())
	}
	v.Open("/manager")
	if v.Status != http.StatusOK && v.Status != http.StatusServiceUnavailable {
		t.Errorf("status %d: %s", v.Status, v.Text())
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	v.Open("/manager").Shows("/manager", "alex")
	w := visitor.New(t, c.url)
	w.Open("/login").Send("/login", "name", "alex", "password", goodPassword).Shows("/index", "Hello, alex")
	if log := c.said.String(); !strings.Contains(log, "level=") || strings.Contains(log, "panic") {
		t.Errorf("the log: %s", log)
	}
}

// onSmallDisk serves in a folder that is a disk of a megabyte for the server, and
// for nobody else; nil if that cannot be had.
func onSmallDisk(t *testing.T, dir string) *child {
	t.Helper()
	const script = `mount --make-rprivate / && mount -t tmpfs -o size=1m,mode=700 none "$1" && cd "$1" && exec gatehouse serve --captcha=off --listen=localhost:0 --metrics=off`
	for _, attributes := range []*syscall.SysProcAttr{
		{Cloneflags: syscall.CLONE_NEWNS},
		{
			Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		},
	} {
		may := exec.CommandContext(t.Context(), "sh", "-c", `mount --make-rprivate / && mount -t tmpfs none "$1"`, "sh", dir)
		may.SysProcAttr = attributes
		if out, err := may.CombinedOutput(); err != nil {
			t.Logf("%v %s", err, out)
			continue
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", script, "sh", dir)
		cmd.SysProcAttr = attributes
		return started(t, cmd)
	}
	return nil
}
