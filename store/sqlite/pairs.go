package sqlite

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Fields and labels are kept as one JSON object of strings. encoding/json would
// do, but for two things: it replaces what is not UTF-8, and a value must come
// back to the byte; and it takes some times as long, on the one goroutine that
// everybody's writes go through.

// appendPair appends a name and its value to an object that has been begun with
// '{' and is to be ended with '}'.
func appendPair(b []byte, name, value string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	b = appendString(b, name)
	b = append(b, ':')
	return appendString(b, value)
}

// appendString appends a JSON string (RFC 8259 section 7). What is not UTF-8
// passes through: parsePairs takes it back.
func appendString(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[from:i]...)
		from = i + 1
		if c >= ' ' {
			b = append(b, '\\', c)
		} else {
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

var errPairs = errors.New("not a JSON object of strings")

// parsePairs calls yield for each name and value, in their order. It reads what
// appendPair wrote and whatever else is an object of strings: the database's
// owner may have edited it.
func parsePairs(text string, yield func(name, value string)) error {
	p := parser(text)
	if !p.take('{') {
		return errPairs
	}
	if p.take('}') {
		return p.end()
	}
	for {
		name, ok := p.string()
		if !ok || !p.take(':') {
			return errPairs
		}
		value, ok := p.string()
		if !ok {
			return errPairs
		}
		yield(name, value)
		if p.take('}') {
			return p.end()
		}
		if !p.take(',') {
			return errPairs
		}
	}
}

// parser is what is left to read.
type parser string

func (p *parser) space() { *p = parser(strings.TrimLeft(string(*p), " \t\r\n")) }

// take skips space and then c, if it is there.
func (p *parser) take(c byte) bool {
	p.space()
	if len(*p) == 0 || (*p)[0] != c {
		return false
	}
	*p = (*p)[1:]
	return true
}

func (p *parser) end() error {
	if p.space(); *p != "" {
		return errPairs
	}
	return nil
}

func (p *parser) string() (string, bool) {
	if !p.take('"') {
		return "", false
	}
	s := string(*p)
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"':
			*p = parser(s[i+1:])
			return s[:i], true
		case c < ' ':
			return "", false
		case c == '\\':
			return p.escaped(i)
		}
	}
	return "", false
}

// escaped reads the rest of a string that has its first escape at i.
func (p *parser) escaped(i int) (string, bool) {
	s := string(*p)
	b := append(make([]byte, 0, i+min(len(s)-i, 64)), s[:i]...)
	for i < len(s) {
		c := s[i]
		i++
		switch {
		case c == '"':
			*p = parser(s[i:])
			return string(b), true
		case c < ' ':
			return "", false
		case c != '\\':
			b = append(b, c)
			continue
		}
		if i == len(s) {
			break
		}
		c = s[i]
		i++
		switch c {
		case '"', '\\', '/':
			b = append(b, c)
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r, ok := hex4(s[i:])
			if !ok {
				return "", false
			}
			i += 4
			if utf16.IsSurrogate(r) {
				first := r
				r = utf8.RuneError // unless its other half follows
				if rest, ok := strings.CutPrefix(s[i:], `\u`); ok {
					if second, ok := hex4(rest); ok && utf16.DecodeRune(first, second) != utf8.RuneError {
						r = utf16.DecodeRune(first, second)
						i += 6
					}
				}
			}
			b = utf8.AppendRune(b, r)
		default:
			return "", false
		}
	}
	return "", false
}

func hex4(s string) (rune, bool) {
	if len(s) < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(s[:4], 16, 16)
	return rune(n), err == nil
}
