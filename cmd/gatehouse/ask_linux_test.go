package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/term"
)

// terminal returns both ends of one (pty(7)).
func terminal(t *testing.T) (outside, inside *os.File) {
	t.Helper()
	outside, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { outside.Close() })
	control := func(request uintptr, n *int32) {
		t.Helper()
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, outside.Fd(), request, uintptr(unsafe.Pointer(n))); errno != 0 { //nolint:gosec // as ioctl wants it
			t.Fatal(errno)
		}
	}
	var lock, n int32
	control(syscall.TIOCSPTLCK, &lock)
	control(syscall.TIOCGPTN, &n)
	inside, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { inside.Close() })
	return outside, inside
}

// waits starts a command that will wait for its standard input, in a folder that has a
// database, and returns what it says.
func waits(t *testing.T, in *os.File, args ...string) (*exec.Cmd, *output) {
	t.Helper()
	dir := t.TempDir()
	c := serving(t, dir, "--listen=localhost:0", "--metrics=off")
	add := exec.CommandContext(t.Context(), "gatehouse", "user", "add", "alex")
	add.Dir = dir
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c.end(t)
	said := new(output)
	cmd := exec.CommandContext(t.Context(), "gatehouse", args...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, in, said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, said
}

// interrupted sends one signal, and asserts that the command ends with words.
func interrupted(t *testing.T, cmd *exec.Cmd, said *output, sig os.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("one signal does not end it")
	}
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(said.String(), "interrupted: nothing has changed") {
		t.Errorf("status %d: %s", code, said.String())
	}
}

// TestPrompt: passwords are asked for unseen, and whoever interrupts that has the
// terminal back as it was.
func TestPrompt(t *testing.T) {
	outside, inside := terminal(t)
	before, err := term.GetState(int(inside.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, outside) }() // what it echoes
	until := func(said *output, prompt string) {
		t.Helper()
		for range 2000 {
			// The prompt comes before what is typed is hidden.
			if now, err := term.GetState(int(inside.Fd())); strings.Contains(said.String(), prompt) && err == nil && *now != *before {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("no %q in %q", prompt, said.String())
	}
	cmd, said := waits(t, inside, "user", "passwd", "alex")
	until(said, "New password: ")
	interrupted(t, cmd, said, os.Interrupt)
	if after, err := term.GetState(int(inside.Fd())); err != nil || *after != *before {
		t.Errorf("the terminal is %+v, was %+v: %v", after, before, err)
	}

	cmd, said = waits(t, inside, "user", "passwd", "alex")
	for _, prompt := range []string{"New password: ", "Again: "} {
		until(said, prompt)
		if _, err := io.WriteString(outside, goodPassword+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(said.String(), "alex has another password") || strings.Contains(said.String(), "lantern") {
		t.Errorf("%v: %s", err, said.String())
	}
}

// TestImportWaits: while a pipe has not ended, the database is nobody's.
func TestImportWaits(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer w.Close()
		cmd, said := waits(t, r, "user", "import", "-")
		if _, err := io.WriteString(w, "name\neric\n"); err != nil {
			t.Fatal(err)
		}
		c := serving(t, cmd.Dir, "--listen=localhost:0", "--metrics=off")
		interrupted(t, cmd, said, sig)
		c.end(t)
	}
}
