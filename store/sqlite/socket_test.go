package sqlite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// curl sends a request as somebody at a terminal would.
func curl(t *testing.T, path, method, target, body string) (status int, answer string) {
	t.Helper()
	c := dialed(t, path)
	r, err := http.NewRequestWithContext(t.Context(), method, "http://localhost"+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// TestCurl: what the package's documentation says of the socket.
func TestCurl(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	s := open(t, Config{Path: path})
	id, owner := session.ID{0: 0xab, 31: 0xcd}, "alex"
	full := fmt.Sprintf("%x", id)
	begin := time.Now().UTC().Truncate(time.Millisecond)
	d := &session.Delta{
		Create: true, Seen: begin, Idle: 30 * time.Minute, Expires: begin.Add(time.Hour), Owner: &owner,
		Labels: []session.Label{{Name: "device", Value: "<phone>"}}, Set: []session.Field{{Key: "name", Value: `"Alex"`}},
	}
	commit(t, s, id, d)
	stamp := func(t time.Time) string { b, _ := t.MarshalText(); return string(b) }
	record := func(fields string) string {
		return fmt.Sprintf(`{"id":%q,"handle":"ab00000000000000","created":%q,"seen":%q,"idle":"30m0s","expires":%q,"owner":"alex","labels":{"device":"\u003cphone\u003e"}%s}`+"\n",
			full, stamp(begin), stamp(begin), stamp(d.Expires), fields)
	}
	withFields := record(`,"fields":{"name":"\"Alex\""}`)
	for _, test := range []struct {
		request, body string
		status        int
		answer        string // beginning, unless it ends with a line
	}{
		{"GET /v1/sessions?all=true", "", 200, record("")},
		{"GET /v1/sessions?owner=alex&fields=true", "", 200, withFields},
		{"GET /v1/sessions?label=device&value=%3Cphone%3E", "", 200, record("")},
		{"GET /v1/sessions?owner=eve", "", 200, "\n"},
		{"GET /v1/sessions?signed-in=true", "", 200, record("")},
		{"GET /v1/sessions?signed-in=true&owner=alex&fields=true", "", 200, withFields},
		{"GET /v1/sessions?signed-in=true&label=device&value=%3Cphone%3E", "", 200, record("")},
		{"GET /v1/sessions?signed-in=true&label=device&value=tablet", "", 200, "\n"},
		{"GET /v1/sessions?signed-in=true&all=true", "", 400, `{"error":"query",`},
		{"GET /v1/sessions?signed-in=true&label=device", "", 400, `{"error":"query",`},
		{"GET /v1/sessions", "", 400, `{"error":"query",`},
		{"GET /v1/sessions?all=true&owner=alex", "", 400, `{"error":"query",`},
		{"GET /v1/sessions?label=device", "", 400, `{"error":"query",`},
		{"GET /v1/sessions/ab00000000000000", "", 200, withFields},
		{"GET /v1/sessions/" + full, "", 200, withFields},
		{"GET /v1/sessions/ab00000000000001", "", 404, `{"error":"not_found",`},
		{"GET /v1/sessions/" + strings.Repeat("0", 64), "", 404, `{"error":"not_found",`},
		{"GET /v1/sessions/" + strings.Repeat("x", 64), "", 400, `{"error":"request",`},
		{"GET /v1/sessions/x", "", 400, `{"error":"request",`},
		{"POST /v1/sessions/" + full, `{"set":{"n":"1"},"if":{"n":""}}`, 200, "{}\n"},
		{"POST /v1/sessions/" + full, `{"set":{"n":"1"},"if":{"n":""}}`, 412, `{"error":"conflict",`},
		{"POST /v1/sessions/" + full, `{"create":true,"seen":"2026-01-01T00:00:00Z","idle":"1h","expires":"2026-01-01T00:00:00Z"}`, 409, `{"error":"exists",`},
		{"POST /v1/sessions/" + full, `{"create":true,"rename":"` + strings.Repeat("1", 64) + `","seen":"2026-01-01T00:00:00Z","idle":"1h","expires":"2026-01-01T00:00:00Z"}`, 400, `{"error":"delta",`},
		{"POST /v1/sessions/ab00000000000000", `{"delete":["n"]}`, 200, "{}\n"},
		{"POST /v1/sessions/" + full, `{"set":{"n":1}}`, 400, `{"error":"request",`},
		{"POST /v1/sessions/" + full, `{"sett":{"n":"1"}}`, 400, `{"error":"request",`},
		{"POST /v1/sessions/" + full, `{"set":{"n":"1","n":"2"}}`, 400, `{"error":"request",`},
		{"POST /v1/sessions/" + full, ``, 400, `{"error":"request",`},
		{"POST /v1/sessions/" + full, `{"set":{"n":"` + strings.Repeat("x", maxBody) + `"}}`, 400, `{"error":"request",`},
		{"POST /v1/sweep", "", 200, "\n"},
		{"GET /v1/spent/" + full[:32], "", 200, `{"spent":false}` + "\n"},
		{"POST /v1/spent/" + full[:32] + "?until=2100-01-01T00:00:00Z", "", 200, `{"spent":true,"first":true}` + "\n"},
		{"POST /v1/spent/" + full[:32] + "?until=2100-01-01T00:00:00Z", "", 200, `{"spent":true}` + "\n"},
		{"POST /v1/spent/" + full[:32], "", 400, `{"error":"request",`},
		{"GET /v1/spent/12", "", 400, `{"error":"request",`},
		{"DELETE /v1/sessions/ab00000000000000", "", 200, "{}\n"},
		{"DELETE /v1/sessions/ab00000000000000", "", 404, `{"error":"not_found",`},
		{"PUT /v1/sessions/ab00000000000000", "", 405, ""},
		{"GET /", "", 404, ""},
	} {
		method, target, _ := strings.Cut(test.request, " ")
		status, answer := curl(t, path, method, target, test.body)
		whole := strings.HasSuffix(test.answer, "\n")
		if status != test.status || !strings.HasPrefix(answer, test.answer) && test.answer != "\n" || whole && strings.TrimSpace(answer) != strings.TrimSpace(test.answer) {
			t.Errorf("%s %.60s\nanswers %d %swant    %d %s", test.request, test.body, status, answer, test.status, test.answer)
		}
	}
}

// TestErrorsBySocket: an error means the same on the other side.
func TestErrorsBySocket(t *testing.T) {
	for _, m := range meanings {
		w, status := errorToWire(fmt.Errorf("sqlite: try: %w: detail", m.err))
		if err := w.err(); !errors.Is(err, m.err) || !strings.HasSuffix(err.Error(), "detail") || status < 400 {
			t.Errorf("%v becomes %v, status %d", m.err, err, status)
		}
	}
	w, status := errorToWire(io.ErrNoProgress)
	if err := w.err(); err.Error() != io.ErrNoProgress.Error() || status != http.StatusInternalServerError {
		t.Errorf("an error that nobody knows becomes %v, status %d", err, status)
	}
}

// TestStaleSocket: what a process left behind that was killed is no obstacle, and
// nothing is left behind by one that ends.
func TestStaleSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sessions.db")
	if err := os.Mkdir(socketPath(path)+".new", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{socketPath(path), socketPath(path) + ".new/s"} {
		stale, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: at})
		if err != nil {
			t.Fatal(err)
		}
		stale.SetUnlinkOnClose(false)
		if err := stale.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := dial(t.Context(), socketPath(path)); err == nil {
		t.Fatal("somebody listens at the stale socket")
	}
	s := open(t, Config{Path: path})
	dialed(t, path)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, dir), []string{"sessions.db", "sessions.db.lock"}; !slices.Equal(got, want) {
		t.Errorf("there are %q, want %q", got, want)
	}
}

// TestSomebodysFiles: what is no socket of ours is left as it is, and the store works.
func TestSomebodysFiles(t *testing.T) {
	for _, name := range []string{"sessions.db.sock", "sessions.db.sock.new/s", "sessions.db.sock.new/letters"} {
		dir := t.TempDir()
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte("mine"), 0o600)); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		s := open(t, Config{Path: filepath.Join(dir, "sessions.db"), Logger: slog.New(slog.NewTextHandler(&log, nil))})
		commit(t, s, newID(), creation())
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if b, err := os.ReadFile(file); string(b) != "mine" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
		if !strings.Contains(log.String(), "commands cannot reach this process") {
			t.Errorf("%s: it logs %q", name, log.String())
		}
	}
}

// TestLongPath: where no socket can be, it is said, and the store works.
func TestLongPath(t *testing.T) {
	var log bytes.Buffer
	path := filepath.Join(t.TempDir(), strings.Repeat("x", maxSocketPath))
	s := open(t, Config{Path: path, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if !strings.Contains(log.String(), "too long for a socket") {
		t.Errorf("it logs %q", log.String())
	}
	id := newID()
	commit(t, s, id, creation())
	if _, err := Connect(t.Context(), path); !errors.Is(err, ErrInUse) {
		t.Errorf("Connect: %v, want %v", err, ErrInUse)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := Connect(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Load(t.Context(), id); err != nil {
		t.Errorf("Load: %v", err)
	}
}

// TestConnect: with a server and without, the sessions of the file are managed in
// the same way.
func TestConnect(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	if _, err := Connect(t.Context(), path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Connect to nothing: %v, want %v", err, fs.ErrNotExist)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("it has made a file")
	}
	server := open(t, Config{Path: path})
	owner := "alex"
	for range 3 {
		d := creation(usual(1)...)
		d.Owner = &owner
		commit(t, server, newID(), d)
	}
	manage := func(left int) {
		t.Helper()
		c, err := Connect(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		m, err := session.New(session.Config{Store: c})
		if err != nil {
			t.Fatal(err)
		}
		var last session.Info
		n := 0
		for i, err := range m.List(t.Context(), session.Query{Owner: owner}) {
			if err != nil {
				t.Fatal(err)
			}
			last = i
			n++
		}
		if n != left+1 {
			t.Fatalf("%d sessions, want %d", n, left+1)
		}
		if err := m.End(t.Context(), last.Handle); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Find(t.Context(), last.Handle); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("Find: %v", err)
		}
		if n, err := m.Sweep(t.Context()); n != 0 || err != nil {
			t.Errorf("Sweep: %d, %v", n, err)
		}
	}
	manage(2)
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	manage(1)
	open(t, Config{Path: path})
	manage(0)
}

// TestConnectTakesTurns: commands that find no server wait for each other.
func TestConnectTakesTurns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	if err := open(t, Config{Path: path}).Close(); err != nil {
		t.Fatal(err)
	}
	id := newID()
	var wg sync.WaitGroup
	for i := range 5 {
		wg.Go(func() {
			c, err := Connect(context.Background(), path)
			if err != nil {
				t.Errorf("Connect: %v", err)
				return
			}
			defer c.Close()
			if err := c.Commit(context.Background(), newID(), creation()); err != nil {
				t.Errorf("Commit: %v", err)
			}
			if err := c.Commit(context.Background(), id, creation()); err != nil && !errors.Is(err, session.ErrExists) {
				t.Errorf("Commit %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	c, err := Connect(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	n := 0
	for _, err := range c.List(t.Context(), session.Query{All: true}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 6 {
		t.Errorf("%d sessions, want 6", n)
	}
}

// TestListIsWhole: a listing that breaks off ends with an error, never as if it
// were all.
func TestListIsWhole(t *testing.T) {
	line, err := json.Marshal(toWire(&session.Record{}))
	if err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func(w http.ResponseWriter){
		"the server dies": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"the database fails": func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, `{"error":"store","text":"sqlite: list: disk I/O error"}`)
		},
		"a line is cut":        func(w http.ResponseWriter) { _, _ = w.Write(line[:len(line)/2]) },
		"a line is not a line": func(w http.ResponseWriter) { _, _ = io.WriteString(w, "hello") },
	} {
		path := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(append(line, '\n'))
			_ = http.NewResponseController(w).Flush()
			end(w)
		})}
		go func() { _ = server.Serve(l) }()
		defer server.Close()
		c, err := dial(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		var last error
		for _, err := range c.List(t.Context(), session.Query{All: true}) {
			n++
			last = err
		}
		if n != 2 || last == nil || !strings.HasPrefix(last.Error(), "sqlite: ") {
			t.Errorf("%s: %d steps, the last with %v", name, n, last)
		}
	}
}

// TestManyListings: in the loop over a listing anything may be called, however
// many there are.
func TestManyListings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	s := open(t, Config{Path: path})
	owner := "alex"
	for range 2 * listStep {
		d := creation()
		d.Owner = &owner
		commit(t, s, newID(), d)
	}
	c := dialed(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var listings, begun sync.WaitGroup
	const many = 20
	begun.Add(many)
	for range many {
		listings.Go(func() {
			arrive := sync.OnceFunc(begun.Done)
			defer arrive()
			for r, err := range c.List(ctx, session.Query{Owner: owner}) {
				if err != nil {
					t.Errorf("List: %v", err)
					return
				}
				arrive()
				begun.Wait()
				if _, err := c.Load(ctx, r.ID); err != nil {
					t.Errorf("Load in the loop: %v", err)
					return
				}
			}
		})
	}
	listings.Wait()
}

// TestUnspeakable: what cannot be said through the socket is an error, not the end
// of a listing.
func TestUnspeakable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	s := open(t, Config{Path: path})
	var ids [3]session.ID
	for i := range ids {
		ids[i] = newID()
		d := creation()
		if i == 1 {
			d.Expires = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) // JSON has four digits
		}
		commit(t, s, ids[i], d)
	}
	c := dialed(t, path)
	var last error
	for _, err := range c.List(t.Context(), session.Query{All: true}) {
		last = err
	}
	if last == nil {
		t.Error("the listing ends early and says nothing")
	}
	if _, err := c.Load(t.Context(), ids[1]); err == nil || errors.Is(err, session.ErrNotFound) {
		t.Errorf("Load: %v", err)
	}
}

// TestClientSaysNoID: errors of a connection name no session and nobody.
func TestClientSaysNoID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	s := open(t, Config{Path: path})
	c := dialed(t, path)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	id := newID()
	_, err := c.Load(t.Context(), id)
	if err == nil || strings.Contains(err.Error(), fmt.Sprintf("%x", id[:8])) {
		t.Errorf("Load: %v", err)
	}
	for _, err := range c.List(t.Context(), session.Query{Owner: "alex"}) {
		if err == nil || strings.Contains(err.Error(), "alex") {
			t.Errorf("List: %v", err)
		}
	}
}
