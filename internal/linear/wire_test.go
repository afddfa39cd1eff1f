package linear

import (
	"context"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// A wire is a network before a server, which can be cut.
type wire struct {
	listener net.Listener
	network  string
	to       string

	mu    sync.Mutex
	links map[*link]bool
}

// A link is one connection through the wire.
type link struct {
	client, server net.Conn

	mu   sync.Mutex
	deaf chan struct{} // unless nil, what the server says is lost, and it is closed then
}

// newWire listens at an address, and calls another for each connection.
func newWire(t *testing.T, network, at, to string) *wire {
	t.Helper()
	l, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	if network == "unix" {
		// Others could reach the server through it.
		if err := os.Chmod(at, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := &wire{listener: l, network: network, to: to, links: map[*link]bool{}}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { w.serve(client) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		for _, k := range w.all() {
			k.close()
		}
		serving.Wait()
	})
	return w
}

func (w *wire) serve(client net.Conn) {
	server, err := net.Dial(w.network, w.to)
	if err != nil {
		_ = client.Close()
		return
	}
	k := &link{client: client, server: server}
	defer k.close()
	w.mu.Lock()
	w.links[k] = true
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.links, k)
	}()
	go func() {
		defer k.close()
		carry(client, server, func() bool { return true })
	}()
	carry(server, client, k.heard)
}

// carry copies what comes while it is to be passed on.
func carry(from, to net.Conn, passes func() bool) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if passes() {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
	}
}

func (k *link) close() {
	_ = k.client.Close()
	_ = k.server.Close()
}

// heard reports whether the client hears what the server says.
func (k *link) heard() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.deaf == nil {
		return true
	}
	select {
	case <-k.deaf:
	default:
		close(k.deaf)
	}
	return false
}

func (w *wire) all() (links []*link) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k := range w.links {
		links = append(links, k)
	}
	return links
}

// cut ends all connections, after some answers of the server have been lost if
// there are any: what was asked has then been done, and the client does not know.
func (w *wire) cut() {
	links := w.all()
	for _, k := range links {
		k.mu.Lock()
		if k.deaf == nil {
			k.deaf = make(chan struct{})
		}
		k.mu.Unlock()
	}
	soon, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond) // there may be none
	defer cancel()
	for _, k := range links {
		select {
		case <-k.deaf:
		case <-soon.Done():
		}
		k.close()
	}
}
