// Package service starts private servers for tests, each on a free port of the
// loopback interface and in a temporary folder of its own, and ends them with
// the test, also when the test's process dies.
package service

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/needs"
)

// patience is how long a server may take to start or to stop, on a machine that
// is busy.
const patience = time.Minute

// T is what a test or a benchmark is to this package: testing.TB is one, and
// a program that is no test can be.
type T interface {
	needs.T
	Context() context.Context
	Cleanup(f func())
	Errorf(format string, args ...any)
	Fatal(args ...any)
}

// A Server is a process of our own. Its methods fail the test if they cannot do
// what they say; they are for one goroutine at a time.
type Server struct {
	Addr string // 127.0.0.1 and a port, from the first start on
	Dir  string // its folder, in which it is started

	t     T
	name  string
	args  func(port string) []string
	ready func(ctx context.Context, s *Server) error
	env   []string             // besides ours
	as    *syscall.SysProcAttr // for those who do not want to be root
	stop  os.Signal            // ends it gracefully
	kill  syscall.Signal       // ends it at once
	child bool                 // its children answer, not itself

	cmd  *exec.Cmd
	gone chan struct{} // closed when cmd has ended
	// guard is a shell that kills the server when our end of the pipe closes
	// without a word: when this process is gone.
	guard     *exec.Cmd
	guardPipe io.WriteCloser
}

// launch starts the server, and ends it with the test.
func (s *Server) launch(t T) {
	t.Helper()
	s.t = t
	dir, err := os.MkdirTemp("", "gatehouse-"+filepath.Base(s.name)+"-")
	if err != nil {
		t.Fatal(err)
	}
	s.Dir = dir
	t.Cleanup(func() {
		s.end(s.kill)
		_ = os.RemoveAll(dir)
	})
	if err := handOver(dir, s.as); err != nil {
		t.Fatal(err)
	}
}

// open starts the server on a port that is free.
func (s *Server) open() {
	s.t.Helper()
	var err error
	for range 3 { // somebody else may be faster
		s.Addr = freeAddr(s.t)
		if err = s.start(); err == nil {
			return
		}
		s.end(s.kill)
	}
	s.t.Fatal(err)
}

// Start starts the server again, at the same address and with the same folder,
// and waits until it answers.
func (s *Server) Start() {
	s.t.Helper()
	if err := s.start(); err != nil {
		s.t.Fatal(err)
	}
}

// Stop asks the server to end, and waits until it has.
func (s *Server) Stop() {
	s.t.Helper()
	s.end(s.stop)
}

// Kill ends the server without asking, and waits until it has ended.
func (s *Server) Kill() {
	s.t.Helper()
	s.end(s.kill)
}

// Pause stops the server where it is: connections are still accepted, by the
// kernel, and nothing is answered.
func (s *Server) Pause() { s.signalAll(pause) }

// Resume lets the server go on after Pause.
func (s *Server) Resume() { s.signalAll(resume) }

func (s *Server) port() string {
	_, port, _ := net.SplitHostPort(s.Addr)
	return port
}

func (s *Server) start() error {
	log, err := os.OpenFile(filepath.Join(s.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(s.name, s.args(s.port())...)
	if len(s.env) > 0 {
		cmd.Env = append(os.Environ(), s.env...)
	}
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = s.Dir, log, log, s.as
	if err := cmd.Start(); err != nil {
		return err
	}
	gone := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(gone)
	}()
	s.cmd, s.gone = cmd, gone
	if err := s.watch(); err != nil {
		return err
	}

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		err := s.ready(ctx, s)
		if err == nil {
			return nil
		}
		select {
		case <-gone:
			err = errors.New("it ended")
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
			continue
		}
		said, _ := os.ReadFile(filepath.Join(s.Dir, "log"))
		return fmt.Errorf("service: %s does not start: %w\n%s", s.name, err, said)
	}
}

// watch starts the guard.
func (s *Server) watch() error {
	// The server's parent may be gone before it, so nobody could wait for it.
	guard := exec.Command("sh", "-c", `read -r word || { kill -"$1" "$2"; sleep 1; rm -rf "$3"; }`,
		"sh", strconv.Itoa(int(s.kill)), strconv.Itoa(s.cmd.Process.Pid), s.Dir)
	pipe, err := guard.StdinPipe()
	if err != nil {
		return err
	}
	if err := guard.Start(); err != nil {
		return err
	}
	s.guard, s.guardPipe = guard, pipe
	return nil
}

func (s *Server) end(sig os.Signal) {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(sig)
	s.Resume()
	select {
	case <-s.gone:
	case <-time.After(patience):
		_ = s.cmd.Process.Kill()
		<-s.gone
		s.t.Errorf("service: %s has not ended for %v", s.name, patience)
	}
	s.cmd = nil
	if s.guard != nil {
		_, _ = io.WriteString(s.guardPipe, "done\n")
		_ = s.guard.Wait()
		s.guard = nil
	}
}

func (s *Server) signalAll(sig syscall.Signal) {
	s.t.Helper()
	pids := []int{s.cmd.Process.Pid}
	if s.child {
		pids = append(pids, children(pids[0])...)
	}
	for _, pid := range pids {
		send(pid, sig)
	}
}

// children returns the processes that this one has started.
func children(parent int) (pids []int) {
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	if err != nil {
		return nil
	}
	for sc := bufio.NewScanner(bytes.NewReader(out)); sc.Scan(); {
		var pid, of int
		if _, err := fmt.Sscan(sc.Text(), &pid, &of); err == nil && of == parent {
			pids = append(pids, pid)
		}
	}
	return pids
}

// freeAddr returns an address that nobody listens at. Its port is none that the
// system gives to those who call out: a client that calls a server which is
// down, at such a port, may reach itself and so keep the server from coming
// back.
func freeAddr(t T) string {
	t.Helper()
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(15000+rand.IntN(17000)))
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatal("service: no port is free")
	return ""
}

// find returns the program's path, or ends the test.
func find(t T, name string, folders ...string) string {
	t.Helper()
	if !runnable {
		needs.Missing(t, "service: a Unix system is needed to run servers on")
	}
	for _, pattern := range append([]string{""}, folders...) {
		found := []string{name}
		if pattern != "" {
			found, _ = filepath.Glob(filepath.Join(pattern, name))
		}
		for _, path := range found {
			if path, err := exec.LookPath(path); err == nil {
				return path
			}
		}
	}
	needs.Missing(t, "service: there is no "+name)
	return ""
}

// notRoot is for servers that refuse to be started by root.
func notRoot(t T) *syscall.SysProcAttr {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		return as(uint32(uid), uint32(gid))
	}
	t.Fatal("service: root needs another user to start a server as: postgres or nobody")
	return nil
}

// run runs a program to its end and returns what it says.
func run(t T, as *syscall.SysProcAttr, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.SysProcAttr, cmd.Dir = as, dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("service: %s: %v\n%s", strings.Join(append([]string{name}, args...), " "), err, out)
	}
	return string(out)
}

// eventually waits until f returns no error.
func eventually(t T, what string, f func() error) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("service: %s: %v", what, err)
		}
	}
}
