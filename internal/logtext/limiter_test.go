package logtext_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/logtext"
)

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		log := slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		var l logtext.Limiter
		ctx := t.Context()
		for i := range 739 {
			l.Log(ctx, log, slog.LevelWarn, "forged", "refused", slog.Int("n", i))
		}
		l.Log(ctx, log, slog.LevelInfo, "other", "other", slog.Int("n", 0))
		l.Log(ctx, log, slog.LevelDebug, "unseen", "unseen")
		l.Flush(ctx, log)
		time.Sleep(61 * time.Second)
		l.Flush(ctx, log)
		l.Flush(ctx, log)
		for range 7 {
			l.Log(ctx, log, slog.LevelInfo, "other", "other")
		}
		l.Close(ctx, log)
		l.Close(ctx, log)
		want := "level=WARN msg=refused n=0\nlevel=WARN msg=refused n=1\nlevel=WARN msg=refused n=2\nlevel=WARN msg=refused n=3\nlevel=WARN msg=refused n=4\n" +
			"level=INFO msg=other n=0\n" +
			"level=WARN msg=refused kind=forged repeated=734 in=1m1s\n" +
			strings.Repeat("level=INFO msg=other\n", 5) +
			"level=INFO msg=other repeated=2 in=0s\n"
		if b.String() != want {
			t.Errorf("logged\n%swant\n%s", b.String(), want)
		}
	})
}

// What package net/http logs is counted by its kind.
func TestErrorLog(t *testing.T) {
	for _, tt := range []struct{ kind, first, second string }{
		{"http: TLS handshake error from", "http: TLS handshake error from 192.0.2.7:51234: EOF", "http: TLS handshake error from [2001:db8::1]:1: tls: unsupported"},
		{"http: panic serving", "http: panic serving 192.0.2.7:51234: no", "http: panic serving [::1]:2: yes"},
		{"http2: panic serving", "http2: panic serving 192.0.2.7:51234: no", "http2: panic serving 192.0.2.9:1: yes"},
		{"http: invalid Content-Length of", `http: invalid Content-Length of "a"`, `http: invalid Content-Length of "b"`},
		{"http2: server connection error from", "http2: server connection error from 192.0.2.7:51234: a", "http2: server connection error from 192.0.2.8:51234: b"},
		{"ignoring invalid trailer", `ignoring invalid trailer "a"`, `ignoring invalid trailer "b"`},
		{"something of another kind", "something of another kind", "something of another kind"},
		{strings.Repeat("x", 64), strings.Repeat("x", 65), strings.Repeat("x", 66)},
		{"x: " + strings.Repeat("é", 30), "x: " + strings.Repeat("é", 100), "x: " + strings.Repeat("é", 101)},
		{"", "7", "8"},
	} {
		var b bytes.Buffer
		var l logtext.Limiter
		to := slog.New(slog.NewTextHandler(&b, nil))
		log := l.ErrorLog(to)
		for range 20 {
			log.Print(tt.first)
			log.Print(tt.second)
		}
		l.Close(t.Context(), to)
		lines := strings.Split(strings.TrimSpace(b.String()), "\n")
		if len(lines) != 6 || !strings.Contains(lines[5], "level=WARN") || !strings.Contains(lines[5], "repeated=35") || !strings.Contains(lines[5], tt.kind) {
			t.Errorf("%q and %q are not of the kind %q: %d lines, the last one %s", tt.first, tt.second, tt.kind, len(lines), lines[len(lines)-1])
		}
	}
}

// Kinds that differ are not counted as one.
func TestErrorLogKinds(t *testing.T) {
	var b bytes.Buffer
	var l logtext.Limiter
	log := l.ErrorLog(slog.New(slog.NewTextHandler(&b, nil)))
	for range 10 {
		log.Print("http: TLS handshake error from 192.0.2.7:51234: EOF")
	}
	log.Print("http: Accept error: accept tcp 127.0.0.1:9000: too many open files; retrying in 5ms")
	if !strings.Contains(b.String(), "too many open files") {
		t.Errorf("one kind hides another: %s", b.String())
	}
}

// A panic keeps its stack, however long what it says, which a client may have
// chosen.
func TestErrorLogPanic(t *testing.T) {
	var b bytes.Buffer
	var l logtext.Limiter
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		handlerThatPanics(r.URL.Path, 200)
	}))
	server.Config.ErrorLog = l.ErrorLog(slog.New(slog.NewTextHandler(&b, nil)))
	server.Start()
	defer server.Close()
	for range 40 {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET /%s HTTP/1.1\r\nHost: x\r\n\r\n", strings.Repeat("%01", 20_000))
		if _, err := io.Copy(io.Discard, conn); err != nil { // until the server has closed it, and so logged
			t.Fatal(err)
		}
		conn.Close()
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 5 {
		t.Errorf("%d lines", len(lines))
	}
	for _, line := range lines {
		if len(line) > 10<<10 || !strings.Contains(line, "http: panic serving") || !strings.Contains(line, "… (200") || !strings.Contains(line, `\ngoroutine `) || !strings.Contains(line, "handlerThatPanics") {
			t.Errorf("%d bytes: %.600s", len(line), line)
		}
	}
}

// handlerThatPanics has a long stack.
func handlerThatPanics(text string, depth int) {
	if depth == 0 {
		panic(errors.New(text))
	}
	handlerThatPanics(text, depth-1)
}

// A real server is asked for what is not TLS.
func TestErrorLogOfAServer(t *testing.T) {
	var b bytes.Buffer
	var l logtext.Limiter
	to := slog.New(slog.NewTextHandler(&b, nil))
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = l.ErrorLog(to)
	server.StartTLS()
	defer server.Close()
	for i := range 50 {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "garbage %d %s", i, strings.Repeat("\x01", 1000))
		_, _ = io.Copy(io.Discard, conn) // reset or closed
		conn.Close()
	}
	server.Close() // waits for connections, and their lines
	l.Close(context.Background(), to)
	if n := strings.Count(b.String(), "\n"); n > 6 || !strings.Contains(b.String(), `msg="http: TLS handshake error from" repeated=`) {
		t.Errorf("%d lines:\n%s", n, b.String())
	}
}
