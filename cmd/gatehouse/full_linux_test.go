package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/seed-64ad3862/gatehouse/internal/needs"
	"github.com/seed-64ad3862/gatehouse/internal/visitor"
)

// TestServeDiskFull: while the disk is full, nobody signs in and everybody is told
// so; whoever was signed in still is; and all goes on when there is room again.
func TestServeDiskFull(t *testing.T) {
	d := newSmallDisk(t, t.TempDir(), "1m")
	if d == nil {
		needs.Missing(t, "the system lets us mount nothing")
	}
	c := d.serve(t)
	v := visitor.New(t, c.url)
	v.Open(c.link).Send("", "name", "alex", "new", goodPassword, "again", goodPassword).Shows("/manager", "alex")

	d.fill(t)
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
	if err := os.Remove(d.path("ballast")); err != nil {
		t.Fatal(err)
	}
	v.Open("/manager").Shows("/manager", "alex")
	w := visitor.New(t, c.url)
	w.Open("/login").Send("/login", "name", "alex", "password", goodPassword).Shows("/index", "Hello, alex")
	if log := c.said.String(); !strings.Contains(log, "level=") || strings.Contains(log, "panic") {
		t.Errorf("the log: %s", log)
	}
}

// A smallDisk is mounted at a folder, for those processes that enter its keeper's
// namespaces.
type smallDisk struct {
	dir    string
	keeper *exec.Cmd
	enter  []string // options of nsenter
}

// newSmallDisk mounts a disk of this size; nil if that cannot be had.
func newSmallDisk(t *testing.T, dir, size string) *smallDisk {
	t.Helper()
	const script = `mount --make-rprivate / && mount -t tmpfs -o size="$2",mode=700 none "$1" && echo mounted && exec cat`
	for _, way := range []struct {
		attributes *syscall.SysProcAttr
		enter      []string
	}{
		{&syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}, []string{"--mount"}},
		{&syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		}, []string{"--user", "--preserve-credentials", "--mount"}},
	} {
		d := &smallDisk{dir: dir, keeper: exec.CommandContext(t.Context(), "sh", "-c", script, "sh", dir, size), enter: way.enter}
		d.keeper.SysProcAttr, d.keeper.Stderr = way.attributes, os.Stderr
		stdin, err := d.keeper.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := d.keeper.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := d.keeper.Start(); err != nil {
			t.Logf("%v", err)
			continue
		}
		t.Cleanup(func() {
			_ = stdin.Close() // it ends
			_ = d.keeper.Wait()
		})
		if line, err := bufio.NewReader(stdout).ReadString('\n'); line == "mounted\n" {
			return d
		} else {
			t.Logf("nothing is mounted: %v", err)
		}
	}
	return nil
}

// serve starts `gatehouse serve` in the folder, and waits until it is there.
func (d *smallDisk) serve(t *testing.T, args ...string) *child {
	t.Helper()
	const script = `cd "$1" && shift && exec gatehouse serve --captcha=off --metrics=off "$@"`
	enter := append([]string{"--target", strconv.Itoa(d.keeper.Process.Pid)}, d.enter...)
	if len(args) == 0 {
		args = []string{"--listen=localhost:0"}
	}
	return started(t, exec.CommandContext(t.Context(), "nsenter", append(append(enter, "sh", "-c", script, "sh", d.dir), args...)...))
}

// path is a file of the disk, as this process sees it.
func (d *smallDisk) path(name string) string {
	return filepath.Join(fmt.Sprintf("/proc/%d/root", d.keeper.Process.Pid), d.dir, name)
}

// fill has a file take all that the disk has left.
func (d *smallDisk) fill(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile(d.path("ballast"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
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
}

// TestServeFlood: pages that are only looked at store nothing. When other files have
// filled the disk, users sign in during a flood of requests, after kill -9 too; and all is
// as before when those files have gone, without a restart.
func TestServeFlood(t *testing.T) {
	d := newSmallDisk(t, t.TempDir(), "24m")
	if d == nil {
		needs.Missing(t, "the system lets us mount nothing")
	}
	listen := "--listen=localhost:" + freePort(t)
	c := d.serve(t, listen)
	v := visitor.New(t, c.url)
	v.Open(c.link).Send("", "name", "alex", "new", goodPassword, "again", goodPassword).Shows("/manager", "alex")

	get := func() {
		res, err := http.Get(c.url + "/login") // without a cookie
		if err != nil {
			t.Error(err)
			return
		}
		defer res.Body.Close()
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("GET /login: %d, %v", res.StatusCode, err)
		}
	}
	stored := func() string { // what was ever written
		var all []byte
		for _, name := range []string{"gatehouse.db", "gatehouse.db-wal"} {
			b, err := os.ReadFile(d.path(name))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b...)
		}
		return fmt.Sprintf("%d bytes, %x", len(all), sha256.Sum256(all))
	}
	before := stored()
	for range 500 {
		get()
	}
	if after := stored(); after != before {
		t.Errorf("500 requests by those who only look change the database: %s, then %s", before, after)
	}

	// signIns has the owner sign in while strangers ask for pages.
	signIns := func(when string) {
		t.Helper()
		stop := make(chan struct{})
		var others sync.WaitGroup
		for range 4 {
			others.Go(func() {
				for range 2000 {
					select {
					case <-stop:
						return
					default:
						get()
					}
				}
			})
		}
		for range 3 {
			w := visitor.New(t, c.url)
			w.Open("/login").Send("/login", "name", "alex", "password", goodPassword).Shows("/index", "Hello, alex")
			w.Open("/manager").Send("/logout").Shows("/logout")
		}
		close(stop)
		others.Wait()
		v.Open("/manager").Shows("/manager", "alex", "This device") // still
		if t.Failed() {
			t.Fatalf("%s: %s", when, c.said.String())
		}
	}
	sweep := func() {
		t.Helper()
		var dialer net.Dialer
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", d.path("gatehouse.db.sock"))
		}}}
		res, err := client.Post("http://localhost/v1/sweep", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK || bytes.Contains(body, []byte(`"error"`)) {
			t.Fatalf("sweep: %d, %s, %v", res.StatusCode, body, err)
		}
	}
	reserve := func() int64 {
		t.Helper()
		info, err := os.Stat(d.path("gatehouse.db.lock"))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}

	whole := reserve()
	signIns("with space")
	d.fill(t)
	signIns("full")
	c.end(t)
	d.fill(t)
	c = d.serve(t, listen)
	signIns("full, after kill -9")
	sweep()
	if got := reserve(); got >= whole {
		t.Errorf("on a full disk the reserve has %d of %d bytes: it was not needed", got, whole)
	}
	if err := os.Remove(d.path("ballast")); err != nil {
		t.Fatal(err)
	}
	sweep()
	if got := reserve(); got < whole*15/16 {
		t.Errorf("with space again the reserve has %d of %d bytes", got, whole)
	}
	signIns("with space again")
	log := c.said.String()
	if full, again := strings.Index(log, "the disk is full"), strings.Index(log, "the disk has space again"); full < 0 || again < full || strings.Contains(log, "panic") {
		t.Errorf("the log: %s", log)
	}
}
