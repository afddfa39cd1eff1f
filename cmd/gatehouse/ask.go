package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// errInterrupted is the error for a command that was ended while it waited.
var errInterrupted = errors.New("interrupted: nothing has changed")

// until returns what f returns, or errInterrupted once the context ends: reading from a
// terminal or a pipe waits for as long as nobody writes, and knows of no context.
func until[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		var none T
		return none, errInterrupted
	}
}

// passwordFrom reads a password from a file, or from standard input.
func passwordFrom(ctx context.Context, path string) (string, error) {
	return until(ctx, func() (string, error) {
		if path == "-" {
			return readSecret(os.Stdin)
		}
		return secretIn(path)
	})
}

// typed asks for a password twice, without showing it.
func typed(ctx context.Context, prompt io.Writer) (string, error) {
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		return "", usageError{errors.New("there is nobody to ask: give --password-file, - for standard input")}
	}
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	// Whoever interrupts it has a terminal again that shows what is typed.
	defer func() { _ = term.Restore(fd, before) }()
	var all [2]string
	for i, ask := range []string{"New password: ", "Again: "} {
		fmt.Fprint(prompt, ask)
		b, err := until(ctx, func() ([]byte, error) { return term.ReadPassword(fd) })
		fmt.Fprintln(prompt)
		if err != nil {
			return "", err
		}
		all[i] = string(b)
	}
	if all[0] != all[1] {
		return "", errors.New("the two are not the same: try again")
	}
	return all[0], nil
}
