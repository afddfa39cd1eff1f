package redis_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// A proxy stands before a server and is a bad network where that is wanted.
type proxy struct {
	addr string
	to   string

	deaf     atomic.Bool // the server's messages about changes are lost
	swallows atomic.Bool // what the server answers is lost, and the connection with it
	hole     atomic.Bool // connections are accepted and nothing else

	mu      sync.Mutex
	conns   []net.Conn
	stalled chan struct{} // until it closes, nothing the server says arrives
	pushes  atomic.Int64  // messages lost
	left    int           // answers until the one that hook is for
	hook    func() bool   // whether that one arrives; else the connection is lost

	// asked, if there is one, is called with each command before the server gets
	// it. It may change it, or return the error that is answered in its stead.
	asked atomic.Pointer[func(words []string) (refusal string)]
}

// ask sets what is called with each command.
func (p *proxy) ask(f func(words []string) (refusal string)) { p.asked.Store(&f) }

func newProxy(t testing.TB, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String(), to: to}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.release()
		p.cut()
		wg.Wait()
	})
	return p
}

func (p *proxy) serve(client net.Conn) {
	p.remember(client)
	if p.hole.Load() {
		_, _ = io.Copy(io.Discard, client)
		return
	}
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		_ = client.Close()
		return
	}
	p.remember(server)
	defer server.Close()
	defer client.Close()
	answers := make(chan string, 1<<20) // "" for those that are the server's
	go func() {
		defer server.Close()
		r := bufio.NewReader(client)
		for {
			words, frame, err := readCommand(r)
			if err != nil {
				return
			}
			refusal := ""
			if f := p.asked.Load(); f != nil {
				if refusal = (*f)(words); refusal != "" {
					words = []string{"PING"} // which keeps the answers in order
				}
				frame = appendCommand(nil, words)
			}
			answers <- refusal
			if _, err := server.Write(frame); err != nil {
				return
			}
		}
	}()
	r := bufio.NewReader(server)
	for {
		frame, err := readFrame(r, nil)
		if err != nil {
			return
		}
		if frame[0] != '>' {
			if refusal := <-answers; refusal != "" {
				frame = []byte("-" + refusal + "\r\n")
			}
		}
		p.mu.Lock()
		stalled := p.stalled
		p.mu.Unlock()
		if stalled != nil {
			<-stalled
		}
		switch {
		case p.swallows.Load(), frame[0] != '>' && !p.arrives():
			return
		case p.deaf.Load() && frame[0] == '>':
			p.pushes.Add(1)
			continue
		}
		if _, err := client.Write(frame); err != nil {
			return
		}
	}
}

func (p *proxy) remember(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, c)
}

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

// connections returns how many have been made.
func (p *proxy) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

// at has the proxy call hook before the nth answer from now arrives, which is
// lost, and the connection with it, unless the hook says otherwise.
func (p *proxy) at(n int, hook func() bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left, p.hook = n, hook
}

func (p *proxy) arrives() bool {
	p.mu.Lock()
	if p.left--; p.left != 0 || p.hook == nil {
		p.mu.Unlock()
		return true
	}
	hook := p.hook
	p.hook = nil
	p.mu.Unlock()
	return hook()
}

func (p *proxy) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = make(chan struct{})
}

func (p *proxy) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled != nil {
		close(p.stalled)
		p.stalled = nil
	}
}

// readCommand returns a command's words, and all of it as it came.
func readCommand(r *bufio.Reader) (words []string, frame []byte, err error) {
	if frame, err = readFrame(r, nil); err != nil {
		return nil, nil, err
	}
	lines := bufio.NewReader(bytes.NewReader(frame))
	line, _ := lines.ReadString('\n')
	n, err := strconv.Atoi(strings.TrimSpace(line[1:]))
	if err != nil {
		return nil, nil, err
	}
	for range n {
		line, _ = lines.ReadString('\n')
		size, err := strconv.Atoi(strings.TrimSpace(line[1:]))
		if err != nil {
			return nil, nil, err
		}
		word := make([]byte, size+2)
		if _, err := io.ReadFull(lines, word); err != nil {
			return nil, nil, err
		}
		words = append(words, string(word[:size]))
	}
	return words, frame, nil
}

func appendCommand(b []byte, words []string) []byte {
	b = fmt.Appendf(b, "*%d\r\n", len(words))
	for _, w := range words {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b
}

// readFrame appends one message of RESP3 as it is.
func readFrame(r *bufio.Reader, b []byte) ([]byte, error) {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	b = append(b, line...)
	if len(line) < 3 {
		return nil, fmt.Errorf("a line %q", line)
	}
	parts := 0
	switch line[0] {
	case '$', '=', '!', '*', '~', '>', '%', '|':
		n, err := strconv.Atoi(string(line[1 : len(line)-2]))
		if err != nil {
			return nil, err
		}
		switch line[0] {
		case '$', '=', '!':
			if n < 0 {
				return b, nil
			}
			text := make([]byte, n+2)
			if _, err := io.ReadFull(r, text); err != nil {
				return nil, err
			}
			return append(b, text...), nil
		case '%', '|':
			parts = 2 * n
		default:
			parts = n
		}
	}
	for range parts {
		if b, err = readFrame(r, b); err != nil {
			return nil, err
		}
	}
	return b, nil
}
