package logtext_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/seed-64ad3862/gatehouse/internal/logtext"
)

func TestCut(t *testing.T) {
	for _, tt := range []struct {
		name, s string
		n       int
		want    string
	}{
		{"empty", "", 40, ""},
		{"short", "/login", 40, "/login"},
		{"as long as allowed", strings.Repeat("a", 40), 40, strings.Repeat("a", 40)},
		{"one more", strings.Repeat("a", 41), 40, strings.Repeat("a", 40-len("… (41 bytes)")) + "… (41 bytes)"},
		{"no room asked for", strings.Repeat("a", 60_000), 0, strings.Repeat("a", 40-len("… (60000 bytes)")) + "… (60000 bytes)"},
		{"not UTF-8", "a\xff\xfeb", 40, "a\ufffdb"},
		{"not within a character", strings.Repeat("é", 30), 41, strings.Repeat("é", 13) + "… (60 bytes)"},
		{"as long as allowed, escaped", strings.Repeat("\n", 20), 40, strings.Repeat("\n", 20)},
		{"one more, escaped", strings.Repeat("\n", 21), 40, strings.Repeat("\n", 13) + "… (21 bytes)"},
		{"control characters", strings.Repeat("\x01", 100), 60, strings.Repeat("\x01", 7) + "… (100 bytes)"},
		{"delete", strings.Repeat("\x7f", 100), 60, strings.Repeat("\x7f", 7) + "… (100 bytes)"},
		{"line separators", strings.Repeat("\u2028", 100), 60, strings.Repeat("\u2028", 7) + "… (300 bytes)"},
		{"invisible", strings.Repeat("\U000e0001", 100), 60, strings.Repeat("\U000e0001", 4) + "… (400 bytes)"},
		{"quotes", strings.Repeat(`"`, 100), 60, strings.Repeat(`"`, 22) + "… (100 bytes)"},
		{"backslashes", strings.Repeat(`\`, 100), 60, strings.Repeat(`\`, 22) + "… (100 bytes)"},
	} {
		if got := logtext.Cut(tt.s, tt.n); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// inLine returns how many bytes the value takes in a line of each handler.
func inLine(s string) int {
	most := 0
	options := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	for _, handler := range []func(io.Writer) slog.Handler{
		func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, options) },
		func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, options) },
	} {
		size := func(s string) int {
			var b bytes.Buffer
			slog.New(handler(&b)).Info("", "key", s)
			return b.Len()
		}
		// The character in front has the text handler quote both.
		most = max(most, size("="+s)-size("="))
	}
	return most
}

func FuzzCut(f *testing.F) {
	for _, s := range []string{"", "/login", "\x00\x01\x1f", "\xff\xfe", "\u2028\u2029\u200b\ufeff", "\U000e0001\U0010ffff", `"\`, "a\u0301", "\ufffd"} {
		f.Add(s, uint16(0), uint8(1))
		f.Add(s, uint16(100), uint8(200))
	}
	f.Fuzz(func(t *testing.T, s string, n uint16, times uint8) {
		s = strings.Repeat(s[:min(len(s), 300)], int(times))
		got := logtext.Cut(s, int(n))
		if !utf8.ValidString(got) {
			t.Fatalf("%q is not valid UTF-8", got)
		}
		if size := inLine(got); size > max(40, int(n)) {
			t.Fatalf("%d bytes in a line, more than %d: %q", size, n, got)
		}
		whole := strings.ToValidUTF8(s, "\ufffd")
		begin, cut := strings.CutSuffix(got, fmt.Sprintf("… (%d bytes)", len(s)))
		if got != whole && (!cut || !strings.HasPrefix(whole, begin)) {
			t.Fatalf("%q is neither the whole nor its beginning and its length: %q", s, got)
		}
	})
}

func TestReplaceAttr(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: logtext.ReplaceAttr}))
	long := strings.Repeat("\x01", 60_000)
	log.With("with", long).WithGroup("group").Error(long,
		"text", long, "error", errors.New(long), "wrapped", fmt.Errorf("open: %w", errors.New(long)), slog.MessageKey, long,
		slog.Group("inner", "text", long), "number", 7, "nothing", nil)
	line := b.String()
	// The message may be longer, because a stack may be in it.
	if len(line) > 16<<10+7<<10 || strings.Count(line, "(60000 bytes)") != 6 || strings.Count(line, "(60006 bytes)") != 1 {
		t.Errorf("%d bytes: %q", len(line), line)
	}
	for _, want := range []string{"level=ERROR", `wrapped="open: \x01`, "number=7", "nothing=<nil>"} {
		if !strings.Contains(line, want) {
			t.Errorf("no %s in %q", want, line)
		}
	}
}
