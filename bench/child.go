package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// childArg, as the first argument, says that this process is one that another
// one of this program has started, so that heaps do not mix.
const childArg = "child"

// child does what the parent asks for in the arguments that follow.
func child(args []string) {
	err := errors.New("child: what for?")
	if len(args) == 3 {
		n, convErr := strconv.Atoi(args[2])
		switch {
		case convErr != nil:
			err = convErr
		case args[0] == "heap":
			err = reply(heapOf(args[1], n))
		case args[0] == "pause":
			err = reply(pauseOf(args[1], n))
		case args[0] == "serve":
			err = serveChild(args[1])
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func reply(v any, err error) error {
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(v)
}

// ask starts a child and waits for its reply.
func ask(ctx context.Context, v any, what, who string, n int) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe, childArg, what, who, strconv.Itoa(n))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s of %s: %w", what, who, err)
	}
	return json.Unmarshal(out, v)
}

// server is a child that serves.
type server struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Scanner
	url    string
	cookie string
}

// startServer starts a child behind the command prefix, which may be empty.
func startServer(ctx context.Context, prefix []string, who string) (*server, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := append(append([]string(nil), prefix...), exe, childArg, "serve", who, "0")
	s := &server{cmd: exec.CommandContext(ctx, args[0], args[1:]...)}
	s.cmd.Stderr = os.Stderr
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.out = bufio.NewScanner(out)
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for _, field := range []*string{&s.url, &s.cookie} {
		if *field, err = s.line(); err != nil {
			return nil, errors.Join(err, s.stop())
		}
	}
	return s, nil
}

func (s *server) line() (string, error) {
	if !s.out.Scan() {
		return "", errors.Join(errors.New("the server child is gone"), s.out.Err())
	}
	return s.out.Text(), nil
}

// cpu is the time that the server has used so far.
func (s *server) cpu() (time.Duration, error) {
	if _, err := io.WriteString(s.in, "cpu\n"); err != nil {
		return 0, err
	}
	line, err := s.line()
	if err != nil {
		return 0, err
	}
	return time.ParseDuration(line)
}

// stop ends the server: it goes when its input ends.
func (s *server) stop() error {
	err := s.in.Close()
	return errors.Join(err, s.cmd.Wait())
}
