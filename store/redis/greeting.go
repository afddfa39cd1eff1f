package redis

import (
	"bytes"
	"net"
	"strconv"
)

// A greeting is a connection over which rueidis greets the server with HELLO. A
// server or proxy that does not know it, or does not do RESP3, may say so in any
// words, and rueidis understands only one of them, upon which it goes on in RESP2:
// that one is what it is given to read. After the greeting, bytes go through as
// they are.
type greeting struct {
	net.Conn
	writes  int    // seen; only the first two can be a greeting, in RESP3 and RESP2
	awaited bool   // the answer to HELLO
	before  int    // answers that come before it, of a line each
	rest    []byte // read already
}

// unknownHello is what rueidis understands.
const unknownHello = "-ERR unknown command 'HELLO'\r\n"

// Write is called by one goroutine at a time, as Read is, and while a greeting is
// under way both by the same.
func (g *greeting) Write(p []byte) (int, error) {
	if g.writes < 2 {
		g.writes++
		name, rest := firstCommand(p)
		if name == "HELLO" {
			g.awaited, g.before = true, 0
		} else if next, _ := firstCommand(rest); name == "AUTH" && next == "HELLO" {
			g.awaited, g.before = true, 1
		}
	}
	return g.Conn.Write(p)
}

func (g *greeting) Read(p []byte) (int, error) {
	for g.awaited {
		n, err := g.Conn.Read(p)
		g.rest = append(g.rest, p[:n]...)
		if text, ok := greeted(g.rest, g.before); ok || err != nil {
			g.rest, g.awaited = text, false
		}
		if err != nil && len(g.rest) == 0 {
			return 0, err
		}
	}
	if len(g.rest) > 0 {
		n := copy(p, g.rest)
		g.rest = g.rest[n:]
		return n, nil
	}
	return g.Conn.Read(p)
}

// greeted returns the answers as rueidis is to read them, of which the one to HELLO
// comes after so many others. It reports false if that is not there yet.
func greeted(text []byte, before int) ([]byte, bool) {
	at := 0
	for range before {
		line := bytes.IndexByte(text[at:], '\n')
		if line < 0 {
			return text, false
		}
		at += line + 1
	}
	if at == len(text) {
		return text, false
	}
	if text[at] != '-' {
		return text, true
	}
	line := bytes.IndexByte(text[at:], '\n')
	if line < 0 {
		return text, false
	}
	switch word := firstWord(string(bytes.TrimSuffix(text[at+1:at+line], []byte("\r")))); {
	case unavailable[word], word == "NOAUTH", word == "WRONGPASS", word == "DENIED":
		return text, true // it is not HELLO that is refused
	}
	return append(append(bytes.Clone(text[:at]), unknownHello...), text[at+line+1:]...), true
}

// firstCommand returns the name of the command that is at the front of what is
// sent, and what comes after the command, "" if it is not whole.
func firstCommand(p []byte) (name string, rest []byte) {
	number := func(sign byte) int {
		line, after, ok := bytes.Cut(p, []byte("\r\n"))
		if !ok || len(line) < 2 || line[0] != sign {
			return -1
		}
		n, err := strconv.Atoi(string(line[1:]))
		if err != nil {
			return -1
		}
		p = after
		return n
	}
	words := number('*')
	for i := range words {
		n := number('$')
		if n < 0 || len(p) < n+2 {
			return name, nil
		}
		if i == 0 {
			name = string(p[:n])
		}
		p = p[n+2:]
	}
	return name, p
}
