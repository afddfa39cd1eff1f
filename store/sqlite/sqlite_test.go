package sqlite

import (
	"context"
	"database/sql"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/storetest"
)

// open opens a store for the test, in a folder of its own unless told where.
func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	if cfg.Path == "" && cfg.DB == nil {
		cfg.Path = filepath.Join(t.TempDir(), "sessions.db")
	}
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, storetest.Config{
		// Nobody listens in a bubble: whoever waits for a connection is not
		// idle there, and time would stand still.
		New:           func(t *testing.T) session.Store { return open(t, Config{NoSocket: true}) },
		UniqueHandles: true,
		Bubble:        synctest.Test,
	})
}

// TestStoreUncached reads everything from the database.
func TestStoreUncached(t *testing.T) {
	t.Parallel()
	storetest.Run(t, storetest.Config{
		New:           func(t *testing.T) session.Store { return open(t, Config{NoSocket: true, CacheBytes: 1}) },
		Rounds:        5,
		UniqueHandles: true,
		Bubble:        synctest.Test,
	})
}

// pool opens a database as a careful application does, with a table of its own.
func pool(t testing.TB, path string) *sql.DB {
	t.Helper()
	if path != ":memory:" {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := db.Exec("PRAGMA application_id = 1234; PRAGMA user_version = 99; CREATE TABLE IF NOT EXISTS session (mine TEXT)"); err != nil {
		t.Fatal(err)
	}
	return db
}

func TestStoreInDB(t *testing.T) {
	t.Parallel()
	storetest.Run(t, storetest.Config{
		New: func(t *testing.T) session.Store {
			return open(t, Config{DB: pool(t, filepath.Join(t.TempDir(), "app.db")), NoSocket: true})
		},
		Rounds:        3,
		UniqueHandles: true,
		Bubble:        synctest.Test,
	})
}

// TestStoreByClient: commands see what the store promises, too.
func TestStoreByClient(t *testing.T) {
	t.Parallel()
	storetest.Run(t, storetest.Config{
		New:           func(t *testing.T) session.Store { return piped(t, open(t, Config{NoSocket: true})) },
		Rounds:        5,
		UniqueHandles: true,
		Bubble:        synctest.Test,
	})
}

// piped reaches the store as through its socket, but without one: in a bubble
// nobody can wait for the network.
func piped(t *testing.T, s *Store) *client {
	conns := make(chan net.Conn)
	server := &http.Server{Handler: handler(s)}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(&pipes{conns: conns, done: make(chan struct{})}) })
	c := &client{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			here, there := net.Pipe()
			select {
			case conns <- there:
				return here, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
		MaxConnsPerHost:     16,
		MaxIdleConnsPerHost: 16,
	}}}
	t.Cleanup(func() {
		_ = c.Close()
		_ = server.Close()
		serving.Wait()
	})
	return c
}

// pipes is a listener for them.
type pipes struct {
	conns <-chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }

// TestProcesses: one process has the database, and two others reach it.
func TestProcesses(t *testing.T) {
	storetest.Processes(t, storetest.ProcessConfig{
		Where: func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "sessions.db")
			open(t, Config{Path: path})
			return path
		},
		Open:   func(t *testing.T, path string) session.Store { return dialed(t, path) },
		Rounds: 30,
	})
}

func FuzzReplay(f *testing.F) {
	cfg := storetest.Config{
		New:           func(t *testing.T) session.Store { return open(t, Config{NoSocket: true}) },
		UniqueHandles: true,
	}
	f.Add([]byte("e\x9e\x9e\x9e\x9e\x9e\x9e\x9e\x9e70000000000007&10")) // two IDs that begin alike
	f.Fuzz(func(t *testing.T, data []byte) { storetest.Replay(t, cfg, data) })
}

// dialed reaches the store of another process, or of this one, through its
// socket.
func dialed(t testing.TB, path string) *client {
	t.Helper()
	c, err := dial(t.Context(), socketPath(path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
