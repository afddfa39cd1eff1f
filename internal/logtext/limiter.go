package logtext

import (
	"context"
	"log"
	"log/slog"
	"strings"
	"time"
)

// A Limiter logs lines that clients cause. Of each kind it writes five as they
// come and then one a minute; the others are counted, and one line says how many
// there were:
//
//	level=WARN msg="csrf: refused" kind="cross-origin request" repeated=734 in=1m0s
//
// That line comes with the next call of [Limiter.Log] or [Limiter.Flush] when the
// first of those counted is a minute old, or with [Limiter.Close].
//
// The zero Limiter is ready. It may be used concurrently.
type Limiter struct{ lines Repeats[line] }

// line is what is known of one that was not written.
type line struct {
	level         slog.Level
	kind, message string
}

// Log writes a line, or counts it. The kind must not hold what clients choose:
// there are few kinds. The attributes are as they are: cut them.
func (l *Limiter) Log(ctx context.Context, to *slog.Logger, level slog.Level, kind, message string, attrs ...slog.Attr) {
	l.log(ctx, to, line{level, kind, message}, message, attrs...)
}

func (l *Limiter) log(ctx context.Context, to *slog.Logger, counted line, message string, attrs ...slog.Attr) {
	if !to.Enabled(ctx, counted.level) {
		return
	}
	counts, ok := l.lines.Add(counted.kind, counted)
	write(ctx, to, counts)
	if ok {
		to.LogAttrs(ctx, counted.level, message, attrs...)
	}
}

// Flush writes the counts that are a minute old. It costs next to nothing if there
// are none, and can be called with every request.
func (l *Limiter) Flush(ctx context.Context, to *slog.Logger) { write(ctx, to, l.lines.Due()) }

// Close writes all counts, for a program that ends. The Limiter goes on working.
func (l *Limiter) Close(ctx context.Context, to *slog.Logger) { write(ctx, to, l.lines.All()) }

func write(ctx context.Context, to *slog.Logger, counts []Repeated[line]) {
	for _, c := range counts {
		attrs := []slog.Attr{slog.Int("repeated", c.Times), slog.Duration("in", c.In.Round(time.Second))}
		if c.Last.kind != c.Last.message {
			attrs = append([]slog.Attr{slog.String("kind", c.Last.kind)}, attrs...)
		}
		to.LogAttrs(ctx, c.Last.level, c.Last.message, attrs...)
	}
}

// ErrorLog returns a logger for [http.Server]'s ErrorLog: its lines are cut, and
// counted by their kind, which is their beginning up to the client's address.
func (l *Limiter) ErrorLog(to *slog.Logger) *log.Logger { return log.New(errorLog{l, to}, "", 0) }

type errorLog struct {
	l  *Limiter
	to *slog.Logger
}

// The bounds of a line of package net/http, in bytes: of what it says, and of the
// stack after that if it is about a panic.
const (
	maxError = 512
	maxStack = 8 << 10
)

// Write logs one line of package log.
func (e errorLog) Write(p []byte) (int, error) {
	text := strings.TrimSuffix(string(p), "\n")
	kind, stack := kindOf(text), ""
	if at := strings.LastIndex(text, "\ngoroutine "); at >= 0 {
		text, stack = text[:at], Cut(text[at:], maxStack)
	}
	// The line that tells the count has the kind for a text.
	e.l.log(context.Background(), e.to, line{slog.LevelWarn, kind, kind}, Cut(text, maxError)+stack)
	return len(p), nil
}

// kindOf returns the beginning of a line up to what a client may have chosen: an
// address, a number or a quoted text. The name in front, such as "http2: ", is
// package net/http's own.
func kindOf(text string) string {
	const most = 64
	start := 0
	if at := strings.Index(text, ": "); at >= 0 && at < 8 {
		start = at + 2
	}
	end := len(text)
	if at := strings.IndexAny(text[start:], "0123456789[\"\n"); at >= 0 {
		end = start + at
	}
	return strings.ToValidUTF8(strings.TrimRight(text[:min(end, most)], " "), "")
}
