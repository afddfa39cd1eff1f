// Package logtext keeps clients from filling a log: what they send is cut, and
// lines that repeat are counted.
package logtext

import (
	"log/slog"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Cut returns s as valid UTF-8 that takes at most n bytes in a line of a
// [slog.TextHandler] or [slog.JSONHandler], however much of it they escape. A
// text that was cut ends with its length: "/aaaa… (60012 bytes)". n has to leave
// room for that, and is at least 40.
func Cut(s string, n int) string {
	n = max(n, 40)
	// The cut that leaves room for the note, and whether it is needed, are found
	// in one pass that ends as soon as both are known.
	note := "… (" + strconv.Itoa(len(s)) + " bytes)"
	used, end := 0, 0
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if used += escaped(r, size); used > n {
			return strings.ToValidUTF8(s[:end], "\ufffd") + note
		}
		i += size
		if used <= n-len(note) {
			end = i
		}
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// escaped returns how many bytes the rune takes at most: the text handler writes
// \x01, \u2028 and \U000e0001, the JSON handler \u0001 and \u2028.
func escaped(r rune, size int) int {
	switch {
	case r == '"' || r == '\\' || r == '\n' || r == '\r' || r == '\t':
		return 2
	case r == utf8.RuneError || r < ' ' || r == 0x7f:
		return 6
	case strconv.IsPrint(r):
		return size
	case r > 0xffff:
		return 10
	default:
		return 6
	}
}

// The bounds of [ReplaceAttr], in bytes.
const (
	maxValue   = 1 << 10
	maxMessage = 16 << 10 // room for the stack of a panic
)

// ReplaceAttr is for [slog.HandlerOptions]: it cuts all texts and errors, so that
// no place that logs can forget to.
func ReplaceAttr(groups []string, a slog.Attr) slog.Attr {
	n := maxValue
	if len(groups) == 0 && a.Key == slog.MessageKey {
		n = maxMessage
	}
	if a.Value.Kind() == slog.KindString {
		return slog.String(a.Key, Cut(a.Value.String(), n))
	}
	if err, ok := a.Value.Any().(error); ok {
		return slog.String(a.Key, Cut(err.Error(), n))
	}
	return a
}
