package session_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

var (
	name  = session.NewKey[string]("name")
	count = session.NewKey[int]("count")
)

// faulty is a store whose calls can be counted, made to fail and made to hang.
type faulty struct {
	*memory.Store

	mu      sync.Mutex
	err     error
	hang    bool
	healthy int // loads that work yet, where one is to fail
	failing bool
	loads   int
	deltas  []session.Delta
	deletes int
}

func newFaulty() *faulty { return &faulty{Store: memory.New(memory.Config{})} }

func (f *faulty) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// failLoad makes the load fail that comes after n others, or none if n is negative.
func (f *faulty) failLoad(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failing, f.healthy = n >= 0, n
}

func (f *faulty) call(ctx context.Context) error {
	f.mu.Lock()
	err, hang := f.err, f.hang
	f.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (f *faulty) Load(ctx context.Context, id session.ID) (session.Record, error) {
	f.mu.Lock()
	f.loads++
	down := f.failing && f.healthy == 0
	f.healthy--
	f.mu.Unlock()
	if down {
		return session.Record{}, errors.New("away")
	}
	if err := f.call(ctx); err != nil {
		return session.Record{}, err
	}
	return f.Store.Load(ctx, id)
}

func (f *faulty) Commit(ctx context.Context, id session.ID, d *session.Delta) error {
	f.mu.Lock()
	f.deltas = append(f.deltas, *d)
	f.mu.Unlock()
	if err := f.call(ctx); err != nil {
		return err
	}
	return f.Store.Commit(ctx, id, d)
}

func (f *faulty) Delete(ctx context.Context, id session.ID) error {
	f.mu.Lock()
	f.deletes++
	f.mu.Unlock()
	if err := f.call(ctx); err != nil {
		return err
	}
	return f.Store.Delete(ctx, id)
}

// counts returns the calls since the last time it was asked.
func (f *faulty) counts() (loads, commits, deletes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	loads, commits, deletes = f.loads, len(f.deltas), f.deletes
	f.loads, f.deltas, f.deletes = 0, nil, 0
	return loads, commits, deletes
}

// app is a Manager with a handler for each path.
type app struct {
	t     *testing.T
	store *faulty
	m     *session.Manager
	mux   *http.ServeMux

	mu     sync.Mutex
	events []session.Event
	log    bytes.Buffer
}

func newApp(t *testing.T, cfg session.Config) *app {
	t.Helper()
	a := &app{t: t, store: newFaulty(), mux: http.NewServeMux()}
	cfg.Store = a.store
	cfg.Observe = func(_ context.Context, e session.Event) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.events = append(a.events, e)
	}
	cfg.Logger = slog.New(slog.NewTextHandler(lockedWriter{a}, nil))
	var err error
	if a.m, err = session.New(cfg); err != nil {
		t.Fatal(err)
	}
	a.handle("/set", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		name.Set(s, r.FormValue("v"))
	})
	a.handle("/get", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		v, ok := name.Get(s)
		fmt.Fprintf(w, "%q %v", v, ok)
	})
	a.handle("/as", func(s *session.Session, _ http.ResponseWriter, r *http.Request) {
		s.SetOwner(r.FormValue("v"))
	})
	a.handle("/out", func(s *session.Session, _ http.ResponseWriter, _ *http.Request) { s.Destroy() })
	a.mux.HandleFunc("/plain", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "plain") })
	return a
}

// lockedWriter writes to the log of the app.
type lockedWriter struct{ a *app }

func (w lockedWriter) Write(b []byte) (int, error) {
	w.a.mu.Lock()
	defer w.a.mu.Unlock()
	return w.a.log.Write(b)
}

func (a *app) handle(path string, f func(s *session.Session, w http.ResponseWriter, r *http.Request)) {
	a.mux.Handle(path, a.m.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) { f(s, w, r) }))
}

func (a *app) do(path string, cookies ...string) *http.Response {
	r := httptest.NewRequest("GET", path, nil)
	for _, c := range cookies {
		r.Header.Add("Cookie", c)
	}
	w := httptest.NewRecorder()
	a.m.Handler(a.mux).ServeHTTP(w, r)
	return w.Result()
}

func (a *app) logged() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.log.String()
}

func (a *app) kinds() (kinds []session.Kind) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.events {
		kinds = append(kinds, e.Kind)
	}
	a.events = nil
	return kinds
}

func read(r *http.Response) string {
	b, _ := io.ReadAll(r.Body)
	return string(b)
}

// cookie returns what the answer sets, as a request sends it.
func cookie(t *testing.T, r *http.Response) string {
	t.Helper()
	c := r.Cookies()
	if len(c) != 1 || c[0].Value == "" {
		t.Fatalf("status %d sets the cookies %v, want one", r.StatusCode, r.Header["Set-Cookie"])
	}
	return c[0].Name + "=" + c[0].Value
}

func TestCookieAttributes(t *testing.T) {
	for _, test := range []struct {
		name string
		cfg  session.Config
		want string // of the line, without value
	}{
		{"zero", session.Config{}, "__Host-session=; Path=/; Secure; HttpOnly; SameSite=Lax"},
		{"insecure", session.Config{Insecure: true, Name: "__session__"}, "__session__=; Path=/; HttpOnly; SameSite=Lax"},
		{"strict", session.Config{Name: "s", SameSite: http.SameSiteStrictMode}, "__Host-s=; Path=/; Secure; HttpOnly; SameSite=Strict"},
		{"none", session.Config{SameSite: http.SameSiteNoneMode}, "__Host-session=; Path=/; Secure; HttpOnly; SameSite=None"},
		{"persistent", session.Config{Persistent: true, Absolute: time.Hour}, "__Host-session=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=3600"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newApp(t, test.cfg).do("/set?v=x")
				line := r.Header.Get("Set-Cookie")
				value := r.Cookies()[0].Value
				if len(value) != 43 || strings.Replace(line, value, "", 1) != test.want {
					t.Errorf("Set-Cookie: %s, want %s with 43 characters", line, test.want)
				}
			})
		})
	}
}

func TestConfigRefused(t *testing.T) {
	for _, cfg := range []session.Config{
		{},
		{Store: newFaulty(), Name: "a b"},
		{Store: newFaulty(), Name: "a;b"},
		{Store: newFaulty(), Name: "é"},
		{Store: newFaulty(), Name: "__Host-session"},
		{Store: newFaulty(), Name: "__host-session", Insecure: true},
		{Store: newFaulty(), Idle: -1},
		{Store: newFaulty(), Absolute: -1},
		{Store: newFaulty(), Timeout: -1},
		{Store: newFaulty(), MaxBytes: -1},
		{Store: newFaulty(), SameSite: http.SameSiteNoneMode, Insecure: true},
		{Store: newFaulty(), SameSite: 99},
	} {
		if m, err := session.New(cfg); err == nil || m != nil || !strings.HasPrefix(err.Error(), "session: ") {
			t.Errorf("New(%+v): %v, %v; want an error of session", cfg, m, err)
		}
	}
}

func TestLazy(t *testing.T) {
	a := newApp(t, session.Config{})
	none := func(r *http.Response) {
		t.Helper()
		if len(r.Header["Set-Cookie"]) != 0 {
			t.Errorf("Set-Cookie: %v", r.Header["Set-Cookie"])
		}
	}
	c := cookie(t, a.do("/set?v=x"))
	a.store.counts()

	none(a.do("/plain", c))
	if l, w, d := a.store.counts(); l+w+d != 0 {
		t.Errorf("a request that does not load the session: %d loads, %d commits, %d deletes", l, w, d)
	}
	none(a.do("/get"))
	if l, w, d := a.store.counts(); l+w+d != 0 {
		t.Errorf("a visitor without a cookie: %d loads, %d commits, %d deletes", l, w, d)
	}
	a.handle("/twice", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		again, err := a.m.Load(r.Context())
		if again != s || err != nil {
			t.Errorf("a second Load: %p, %v; want %p", again, err, s)
		}
		name.Get(s)
		name.Get(s)
		name.Delete(s) // of a value that is there
	})
	none(a.do("/twice", c))
	if l, w, _ := a.store.counts(); l != 1 || w != 1 {
		t.Errorf("one request: %d loads, %d commits, want 1 and 1", l, w)
	}
	// Deleting, taking, renewing and destroying begin nothing.
	a.handle("/nothing", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		name.Delete(s)
		name.Take(s)
		s.Renew()
		s.Destroy()
		s.SetOwner("")
		s.SetLabel("l", "")
		s.SetTimeouts(time.Hour, time.Hour)
		if _, ok, err := name.Consume(r.Context(), s); ok || err != nil {
			t.Errorf("Consume of nothing: %v, %v", ok, err)
		}
		if s.Exists() || s.IsNew() || s.Handle() != (session.Handle{}) {
			t.Errorf("a session exists: %v", s.Handle())
		}
	})
	none(a.do("/nothing"))
	if l, w, d := a.store.counts(); l+w+d != 0 {
		t.Errorf("nothing was stored, but %d loads, %d commits, %d deletes", l, w, d)
	}
}

func TestForeignIdentifiers(t *testing.T) {
	a := newApp(t, session.Config{})
	c := cookie(t, a.do("/set?v=x"))
	_, value, _ := strings.Cut(c, "=")
	other := strings.Repeat("A", 43)
	if got := read(a.do("/get", c)); got != `"x" true` {
		t.Fatalf("with the cookie: %s", got)
	}
	for _, test := range []struct {
		name    string
		cookies []string
	}{
		{"unknown", []string{"__Host-session=" + other}},
		{"empty", []string{"__Host-session="}},
		{"no value", []string{"__Host-session"}},
		{"quoted", []string{`__Host-session="` + value + `"`}},
		{"other name", []string{"session=" + value}},
		{"other case", []string{"__host-Session=" + value}},
		{"short", []string{"__Host-session=" + value[1:]}},
		{"long", []string{"__Host-session=" + value + "A"}},
		{"last bit", []string{"__Host-session=" + flip(value)}},
		{"standard base64", []string{"__Host-session=" + value[:42] + "+"}},
		{"not ASCII", []string{"__Host-session=" + strings.Repeat("é", 21) + "a"}},
		{"octal escapes", []string{`__Host-session="` + `\073` + value[4:] + `"`}},
		{"100 kB", []string{"__Host-session=" + strings.Repeat("A", 100<<10)}},
		{"100 kB of names", []string{strings.Repeat("a=b; ", 20<<10)}},
		{"only separators", []string{";;;===;=;;"}},
		{"twice", []string{c + "; " + c}},
		{"twice, one forged", []string{c + "; __Host-session=" + other}},
		{"twice, in two fields", []string{"__Host-session=" + other, c}},
		{"twice, and another program's", []string{"__Host-session=x; " + c + "; " + c}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := a.do("/get", test.cookies...)
			if got := read(r); r.StatusCode != http.StatusOK || got != `"" false` {
				t.Errorf("status %d, %s; want a visitor without a session", r.StatusCode, got)
			}
			if len(r.Header["Set-Cookie"]) != 0 {
				t.Errorf("reading sets %v", r.Header["Set-Cookie"])
			}
			fresh := cookie(t, a.do("/set?v=mine", test.cookies...))
			if _, v, _ := strings.Cut(fresh, "="); v == value || v == other {
				t.Errorf("the identifier was adopted")
			}
		})
	}
	if got := read(a.do("/get", "a=b", " x=y;  "+c+" ; z=1")); got != `"x" true` {
		t.Errorf("among other cookies: %s", got)
	}
	a.kinds()
	a.do("/get", c+"; "+c)
	if k := a.kinds(); !slices.Equal(k, []session.Kind{session.Rejected}) {
		t.Errorf("a doubled cookie: events %v, want rejected", k)
	}
}

// flip changes a bit of the last character that base64 decoders ignore.
func flip(value string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return value[:42] + string(alphabet[strings.IndexByte(alphabet, value[42])^1])
}

func TestRenewAndOwner(t *testing.T) {
	a := newApp(t, session.Config{})
	a.handle("/in", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		before := s.Secret("csrf")
		s.SetOwner(r.FormValue("u"))
		if s.Secret("csrf") == before {
			t.Errorf("the secret is the same after sign-in")
		}
		if s.Owner() != r.FormValue("u") {
			t.Errorf("owner %q", s.Owner())
		}
	})
	a.handle("/who", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		v, _ := name.Get(s)
		fmt.Fprintf(w, "%s %s", s.Owner(), v)
	})
	anonymous := cookie(t, a.do("/set?v=basket"))
	alex := cookie(t, a.do("/in?u=alex", anonymous))
	if got := read(a.do("/who", alex)); got != "alex basket" {
		t.Errorf("after sign-in: %s", got)
	}
	if got := read(a.do("/who", anonymous)); got != " " {
		t.Errorf("under the cookie from before the sign-in: %s", got)
	}
	// Again the same person: renewed, nothing lost.
	again := cookie(t, a.do("/in?u=alex", alex))
	if got := read(a.do("/who", again)) + read(a.do("/who", alex)); got != "alex basket " {
		t.Errorf("after a second sign-in: %s", got)
	}
	// Another person on the same device: a session never changes hands.
	eric := cookie(t, a.do("/in?u=eric", again))
	if got := read(a.do("/who", eric)) + read(a.do("/who", again)); got != "eric  " {
		t.Errorf("after a sign-in as somebody else: %q", got)
	}
	r := a.do("/in?u=", eric)
	// The handler asks for a Secret after the end, so a new session begins.
	if got := read(a.do("/who", eric)) + read(a.do("/who", cookie(t, r))); got != "  " {
		t.Errorf("after SetOwner(\"\"): %q", got)
	}
	want := []session.Kind{
		session.Created, session.Renewed, session.Renewed,
		session.Ended, session.Created, session.Ended, session.Created,
	}
	if k := a.kinds(); !slices.Equal(k, want) {
		t.Errorf("events %v, want %v", k, want)
	}
}

func TestSignInWithoutSession(t *testing.T) {
	a := newApp(t, session.Config{})
	a.handle("/in", func(s *session.Session, _ http.ResponseWriter, _ *http.Request) { s.SetOwner("alex"); name.Set(s, "x") })
	c := cookie(t, a.do("/in"))
	n := 0
	for i, err := range a.m.List(t.Context(), session.Query{Owner: "alex", Fields: true}) {
		if v, ok := name.From(i); err != nil || !ok || v != "x" {
			t.Errorf("listed %+v, %v", i, err)
		}
		n++
	}
	if n != 1 || !strings.Contains(read(a.do("/get", c)), "x") {
		t.Errorf("%d sessions of the owner, want 1", n)
	}
}

func TestDestroy(t *testing.T) {
	a := newApp(t, session.Config{})
	c := cookie(t, a.do("/set?v=x"))
	a.handle("/outset", func(s *session.Session, _ http.ResponseWriter, _ *http.Request) {
		s.Destroy()
		if _, ok := name.Get(s); ok || s.Exists() {
			t.Errorf("after Destroy the session is still there")
		}
		count.Set(s, 1)
	})
	r := a.do("/outset", c)
	fresh := cookie(t, r)
	if fresh == c || len(r.Header["Set-Cookie"]) != 1 {
		t.Errorf("Set-Cookie: %v", r.Header["Set-Cookie"])
	}
	if got := read(a.do("/get", c)) + read(a.do("/get", fresh)); got != `"" false"" false` {
		t.Errorf("after Destroy: %s", got)
	}
	r = a.do("/out", fresh)
	if got := r.Header.Get("Set-Cookie"); got != "__Host-session=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0" {
		t.Errorf("sign-out: Set-Cookie: %s", got)
	}
	if st := a.store.Stats(); st.Sessions != 0 {
		t.Errorf("%d sessions are left", st.Sessions)
	}
}

// TestTwoClocks moves time in a bubble.
func TestTwoClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, session.Config{})
		c := cookie(t, a.do("/set?v=x"))
		a.store.counts()
		// Read all the time: a write a minute at most, and it lives on.
		for range 47 {
			for range 60 {
				time.Sleep(30 * time.Second)
				r := a.do("/get", c)
				if got := read(r); got != `"x" true` || len(r.Header["Set-Cookie"]) != 0 {
					t.Fatalf("%s, Set-Cookie %v", got, r.Header["Set-Cookie"])
				}
			}
			a.store.mu.Lock()
			for _, d := range a.store.deltas {
				if len(d.Set)+len(d.Delete) != 0 {
					t.Errorf("a read rewrites values: %+v", d)
				}
			}
			a.store.mu.Unlock()
			if l, w, _ := a.store.counts(); l != 60 || w > 31 {
				t.Errorf("half an hour of reading: %d loads, %d commits", l, w)
			}
		}
		time.Sleep(30 * time.Minute) // 24 hours are over
		if got := read(a.do("/get", c)); got != `"" false` {
			t.Errorf("after 24 hours: %s", got)
		}
		c = cookie(t, a.do("/set?v=x"))
		time.Sleep(30*time.Minute - time.Second)
		if got := read(a.do("/get", c)); got != `"x" true` {
			t.Errorf("just before half an hour: %s", got)
		}
		time.Sleep(30 * time.Minute)
		if got := read(a.do("/get", c)); got != `"" false` {
			t.Errorf("after half an hour of nothing: %s", got)
		}
	})
}

func TestTouchOnceForManyReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, session.Config{})
		c := cookie(t, a.do("/set?v=x"))
		gate := make(chan struct{})
		a.handle("/wait", func(*session.Session, http.ResponseWriter, *http.Request) { <-gate })
		time.Sleep(2 * time.Minute)
		a.store.counts()
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() { a.do("/wait", c) })
		}
		synctest.Wait()
		close(gate)
		wg.Wait()
		if l, w, _ := a.store.counts(); l != 64 || w != 1 {
			t.Errorf("64 readers at once: %d loads, %d commits, want one touch", l, w)
		}
	})
}

func TestSetTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, session.Config{})
		a.handle("/short", func(s *session.Session, _ http.ResponseWriter, _ *http.Request) {
			name.Set(s, "x")
			s.SetTimeouts(time.Minute, 3*time.Minute)
		})
		a.handle("/in", func(s *session.Session, _ http.ResponseWriter, _ *http.Request) { s.SetOwner("alex") })
		c := cookie(t, a.do("/short"))
		for range 5 {
			time.Sleep(30 * time.Second)
			if got := read(a.do("/get", c)); got != `"x" true` {
				t.Fatalf("before its time: %s", got)
			}
		}
		// They last until the next sign-in, which has the configured ones.
		c = cookie(t, a.do("/in", c))
		time.Sleep(29 * time.Minute)
		if got := read(a.do("/get", c)); got != `"x" true` {
			t.Fatalf("after sign-in, before its time: %s", got)
		}
		time.Sleep(30 * time.Minute)
		if got := read(a.do("/get", c)); got != `"" false` {
			t.Errorf("idle for 30 minutes after sign-in: %s", got)
		}
		time.Sleep(time.Minute)
		// Both clocks end such a session.
		c = cookie(t, a.do("/short"))
		for range 5 {
			time.Sleep(30 * time.Second)
			if got := read(a.do("/get", c)); got != `"x" true` {
				t.Fatalf("before its time: %s", got)
			}
		}
		time.Sleep(30 * time.Second)
		if got := read(a.do("/get", c)); got != `"" false` {
			t.Errorf("after three minutes: %s", got)
		}
	})
}

// TestSignInTimeouts: a sign-in has the configured times, or those that the
// request asks for, and never what the session had before.
func TestSignInTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFaulty()
		configured := func(cfg session.Config) *session.Manager {
			cfg.Store = store
			m, err := session.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		in := func(m *session.Manager, c string, f func(s *session.Session)) *http.Response {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Cookie", c)
			w := httptest.NewRecorder()
			m.Handler(m.With(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { f(s) })).ServeHTTP(w, r)
			return w.Result()
		}
		const hour = time.Hour
		m := configured(session.Config{Idle: hour / 4, MaxIdle: 48 * hour, Absolute: 8 * hour, MaxAbsolute: 800 * hour})
		signIn := func(s *session.Session) { s.SetOwner("alice") }
		for what, before := range map[string]string{
			"longer":  cookie(t, in(configured(session.Config{Idle: 24 * hour, Absolute: 720 * hour}), "", func(s *session.Session) { name.Set(s, "x") })),
			"shorter": cookie(t, in(configured(session.Config{Idle: time.Minute, Absolute: 2 * time.Minute}), "", func(s *session.Session) { name.Set(s, "x") })),
			"the same owner's, asked for": cookie(t, in(m, "", func(s *session.Session) {
				s.SetOwner("alice")
				s.SetTimeouts(40*hour, 700*hour)
			})),
			"another's": cookie(t, in(m, "", func(s *session.Session) {
				s.SetOwner("bob")
				s.SetTimeouts(40*hour, 700*hour)
			})),
			"none": "",
		} {
			for _, test := range []struct {
				f              func(s *session.Session)
				idle, absolute time.Duration
			}{
				{func(s *session.Session) { s.SetTimeouts(30*hour, 0); s.SetOwner("alice") }, 30 * hour, 8 * hour},
				{func(s *session.Session) { s.SetOwner("alice"); s.SetTimeouts(0, 600*hour) }, hour / 4, 600 * hour},
				{func(s *session.Session) { s.SetTimeouts(30*hour, 600*hour); s.SetOwner("alice") }, 30 * hour, 600 * hour},
				{signIn, hour / 4, 8 * hour},
				{signIn, hour / 4, 8 * hour},
			} {
				before = cookie(t, in(m, before, test.f))
				_, value, _ := strings.Cut(before, "=")
				rec, err := store.Load(t.Context(), sha256.Sum256([]byte(value)))
				if err != nil || rec.Owner != "alice" || rec.Idle != test.idle || rec.Expires.Sub(rec.Created) != test.absolute || time.Since(rec.Created) > time.Minute {
					t.Errorf("%s: owner %q, idle %v, absolute %v, error %v; want %v and %v", what, rec.Owner, rec.Idle, rec.Expires.Sub(rec.Created), err, test.idle, test.absolute)
				}
			}
		}
	})
}

func TestSweepEndsWithEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, session.Config{})
		a.do("/set?v=x")
		time.Sleep(31 * time.Minute)
		a.kinds()
		a.do("/get")
		synctest.Wait()
		if k := a.kinds(); !slices.Equal(k, []session.Kind{session.Ended}) {
			t.Errorf("events %v, want ended", k)
		}
		if st := a.store.Stats(); st.Sessions != 0 || st.Bytes > 4096 {
			t.Errorf("after the sweep: %+v", st)
		}
	})
}

func TestCacheHeaders(t *testing.T) {
	a := newApp(t, session.Config{})
	c := cookie(t, a.do("/set?v=x"))
	set := func(path, cc, vary string, change bool) {
		a.handle(path, func(s *session.Session, w http.ResponseWriter, _ *http.Request) {
			if cc != "" {
				w.Header().Set("Cache-Control", cc)
			}
			if vary != "" {
				w.Header().Set("Vary", vary)
			}
			if change {
				s.Renew()
				name.Set(s, "y")
			} else {
				name.Get(s)
			}
		})
	}
	set("/own", "private, max-age=60", "Accept-Encoding", false)
	set("/public", "public, max-age=60", "accept-encoding, cookie", true)
	set("/private", "private, max-age=60", "*", true)
	a.handle("/token", func(s *session.Session, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "private, max-age=60")
		s.Secret("csrf")
	})
	for _, test := range []struct{ path, cookie, cc, vary string }{
		{"/token", c, "no-store", "Cookie"},
		{"/plain", c, "", ""},
		{"/get", c, "no-store", "Cookie"},
		{"/get", "", "no-store", "Cookie"},
		{"/own", c, "private, max-age=60", "Accept-Encoding, Cookie"},
		{"/public", "", "no-store", "accept-encoding, cookie"},
		{"/private", "", "private, max-age=60", "*"},
	} {
		h := a.do(test.path, test.cookie).Header
		if got := strings.Join(h["Vary"], ", "); got != test.vary || h.Get("Cache-Control") != test.cc {
			t.Errorf("%s: Cache-Control %q, Vary %q; want %q, %q", test.path, h.Get("Cache-Control"), got, test.cc, test.vary)
		}
	}
}

// TestUndecodableAtOnce: Update and Consume report a value that does not decode,
// and no other.
func TestUndecodableAtOnce(t *testing.T) {
	number := session.NewKey[int]("name")
	for _, test := range []struct {
		stored     any
		reported   bool
		updated    int // one more than the value
		consumed   int
		isConsumed bool
	}{
		{"text", true, 1, 0, false},
		{7, false, 8, 7, true},
		{nil, false, 1, 0, false},
	} {
		for _, path := range []string{"/update", "/consume"} {
			a := newApp(t, session.Config{})
			a.handle("/put", func(s *session.Session, _ http.ResponseWriter, _ *http.Request) {
				session.NewKey[int]("other").Set(s, 1)
				switch v := test.stored.(type) {
				case string:
					session.NewKey[string]("name").Set(s, v)
				case int:
					number.Set(s, v)
				}
			})
			a.handle("/update", func(s *session.Session, _ http.ResponseWriter, r *http.Request) {
				if err := number.Update(r.Context(), s, func(n int) int { return n + 1 }); err != nil {
					t.Error(err)
				}
				if n, ok := number.Get(s); n != test.updated || !ok {
					t.Errorf("%v is updated to %d, %v", test.stored, n, ok)
				}
			})
			a.handle("/consume", func(s *session.Session, _ http.ResponseWriter, r *http.Request) {
				if n, ok, err := number.Consume(r.Context(), s); n != test.consumed || ok != test.isConsumed || err != nil {
					t.Errorf("%v is consumed as %d, %v, %v", test.stored, n, ok, err)
				}
			})
			a.handle("/none", func(s *session.Session, w http.ResponseWriter, _ *http.Request) {
				_, text := session.NewKey[string]("name").Get(s)
				if _, ok := number.Get(s); ok || text {
					w.WriteHeader(http.StatusConflict)
				}
			})
			c := cookie(t, a.do("/put"))
			a.kinds()
			a.do(path, c)
			want := []session.Kind(nil)
			if test.reported {
				want = []session.Kind{session.Unreadable}
			}
			if got := a.kinds(); !slices.Equal(got, want) {
				t.Errorf("%s of %v: events %v, want %v", path, test.stored, got, want)
			}
			if r := a.do("/none", c); path == "/consume" && r.StatusCode != http.StatusOK {
				t.Errorf("%v is there after it was consumed", test.stored)
			}
		}
	}
}

func TestUndecodable(t *testing.T) {
	a := newApp(t, session.Config{})
	c := cookie(t, a.do("/set?v=secret-text"))
	number := session.NewKey[int]("name")
	list := session.NewKey[struct{ A []int }]("name")
	a.handle("/number", func(s *session.Session, w http.ResponseWriter, _ *http.Request) {
		for range 3 {
			if n, ok := number.Get(s); ok || n != 0 {
				t.Errorf("a string as a number: %d, %v", n, ok)
			}
		}
		if _, ok := list.Get(s); ok {
			t.Errorf("a string as a struct")
		}
		w.WriteHeader(http.StatusAccepted)
	})
	a.kinds()
	if r := a.do("/number", c); r.StatusCode != http.StatusAccepted {
		t.Errorf("status %d", r.StatusCode)
	}
	if k := a.kinds(); !slices.Equal(k, []session.Kind{session.Unreadable}) {
		t.Errorf("events %v, want one unreadable", k)
	}
	if log := a.log.String(); !strings.Contains(log, "name") || strings.Contains(log, "secret-text") {
		t.Errorf("log: %s", log)
	}
	if got := read(a.do("/get", c)); got != `"secret-text" true` {
		t.Errorf("the value that did not decode: %s", got)
	}
	a.handle("/update", func(s *session.Session, _ http.ResponseWriter, r *http.Request) {
		if err := number.Update(r.Context(), s, func(n int) int { return n + 7 }); err != nil {
			t.Errorf("Update: %v", err)
		}
	})
	a.do("/update", c)
	if n, ok := 0, false; true {
		a.handle("/n", func(s *session.Session, _ http.ResponseWriter, _ *http.Request) { n, ok = number.Get(s) })
		if a.do("/n", c); n != 7 || !ok {
			t.Errorf("after Update: %d, %v", n, ok)
		}
	}
}

func TestUnstorable(t *testing.T) {
	a := newApp(t, session.Config{MaxBytes: 1000})
	for path, f := range map[string]func(s *session.Session){
		"/utf8":   func(s *session.Session) { name.Set(s, "\xff") },
		"/chan":   func(s *session.Session) { session.NewKey[any]("c").Set(s, make(chan int)) },
		"/nan":    func(s *session.Session) { session.NewKey[float64]("f").Set(s, nan()) },
		"/large":  func(s *session.Session) { name.Set(s, strings.Repeat("x", 1001)) },
		"/owner":  func(s *session.Session) { s.SetOwner(strings.Repeat("x", 256)) },
		"/owner2": func(s *session.Session) { s.SetOwner("a\nb") },
		"/label":  func(s *session.Session) { s.SetLabel("", "x") },
		"/time":   func(s *session.Session) { name.Set(s, "x"); s.SetTimeouts(-1, 0) },
	} {
		a.handle(path, func(s *session.Session, w http.ResponseWriter, r *http.Request) {
			count.Set(s, 1)
			f(s)
			if err := s.Commit(r.Context()); !errors.Is(err, session.ErrValue) && !errors.Is(err, session.ErrTooLarge) {
				t.Errorf("%s: Commit: %v", path, err)
			}
			io.WriteString(w, "never seen")
		})
		r := a.do(path)
		if got := read(r); r.StatusCode != http.StatusInternalServerError || strings.Contains(got, "never") || len(r.Cookies()) != 0 {
			t.Errorf("%s: status %d, %s, cookies %v", path, r.StatusCode, got, r.Cookies())
		}
	}
	if st := a.store.Stats(); st.Sessions != 0 {
		t.Errorf("%d sessions were stored", st.Sessions)
	}
	// The bound is on the whole: many small ones reach it too.
	a.handle("/grow", func(s *session.Session, _ http.ResponseWriter, r *http.Request) {
		session.NewKey[string](r.FormValue("k")).Set(s, strings.Repeat("x", 200))
	})
	c := cookie(t, a.do("/grow?k=0"))
	for i := 1; i < 10; i++ {
		r := a.do(fmt.Sprintf("/grow?k=%d", i%7), c)
		if want := map[bool]int{true: 200, false: 500}[i < 4 || i > 6]; r.StatusCode != want {
			t.Errorf("value %d: status %d, want %d", i, r.StatusCode, want)
		}
	}
}

func nan() float64 { zero := 0.0; return zero / zero }

// TestStoreDown: pages that need no session still work, those that do get 503,
// and recovery needs nothing.
// TestLogIsBounded: however often a client makes a line of the log be written, it is
// written five times and then once a minute, and the others are counted. Events are
// not.
func TestLogIsBounded(t *testing.T) {
	const many = 300
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, session.Config{MaxBytes: 1000})
		c := cookie(t, a.do("/set?v=x"))
		lines := func() (lines []string) {
			a.mu.Lock()
			defer a.mu.Unlock()
			lines = strings.Split(strings.TrimSpace(a.log.String()), "\n")
			a.log.Reset()
			return lines
		}
		number := session.NewKey[int]("name")
		a.handle("/value", func(s *session.Session, _ http.ResponseWriter, r *http.Request) { name.Set(s, r.FormValue("v")) })
		a.handle("/late", func(s *session.Session, w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusOK)
			s.Renew()
		})
		a.handle("/type", func(s *session.Session, _ http.ResponseWriter, _ *http.Request) { number.Get(s) })
		a.handle("/types", func(s *session.Session, _ http.ResponseWriter, r *http.Request) {
			for i := range 10 {
				session.NewKey[string](fmt.Sprint("k", i)).Set(s, "x")
			}
			for i := range 10 {
				session.NewKey[int](fmt.Sprint("k", i)).Get(s)
			}
			s.Discard()
		})
		a.handle("/panics", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
			name.Set(s, "\xff")
			if _, err := io.WriteString(w, "x"); err != nil {
				panic(strings.Repeat("x", 100_000))
			}
		})
		for _, tt := range []struct {
			path, level, kind string
			events            int // of a request
			event             session.Kind
			lines             int // of all
		}{
			{"/value?v=%ff", "ERROR", "not a value", 1, session.Failed, 5},
			{"/value?v=" + strings.Repeat("x", 2000), "ERROR", "too large", 1, session.Failed, 5},
			{"/late", "ERROR", "header has been sent", 1, session.Failed, 5},
			{"/type", "WARN", "unreadable", 1, session.Unreadable, 5},
			{"/types", "WARN", "unreadable", 10, session.Unreadable, 5},
			{"/panics", "ERROR", "panicked", 1, session.Failed, 10},
		} {
			time.Sleep(10 * time.Minute) // all kinds are in full again
			a.m.FlushLog(t.Context())
			c = cookie(t, a.do("/set?v=x"))
			a.kinds()
			lines()
			for range many {
				a.do(tt.path, c)
			}
			kinds := a.kinds()
			kinds = slices.DeleteFunc(kinds, func(k session.Kind) bool { return k != tt.event })
			if len(kinds) != many*tt.events {
				t.Errorf("%s: %d events, want %d", tt.kind, len(kinds), many*tt.events)
			}
			got := lines()
			if len(got) != tt.lines || !strings.Contains(got[0], "level="+tt.level) {
				t.Errorf("%s: %d lines:\n%s", tt.kind, len(got), strings.Join(got, "\n"))
			}
			if size := len(strings.Join(got, "")); size > 60_000 {
				t.Errorf("%s: %d bytes", tt.kind, size)
			}
			// Any request that uses a session writes the counts.
			time.Sleep(time.Minute)
			a.do("/get", c)
			text := strings.Join(lines(), "\n")
			if want := fmt.Sprintf("repeated=%d", many*tt.events-5); !strings.Contains(text, want) || !strings.Contains(text, "level="+tt.level) || !strings.Contains(text, tt.kind) {
				t.Errorf("%s: a minute later there is no %s in\n%s", tt.kind, want, text)
			}
		}
		// A program that ends.
		for range 10 {
			a.do("/value?v=%ff", c)
		}
		lines()
		a.m.FlushLog(t.Context())
		if got := lines(); len(got) != 1 || !strings.Contains(got[0], "repeated=") {
			t.Errorf("FlushLog: %s", strings.Join(got, "\n"))
		}
	})
}

func TestStoreDown(t *testing.T) {
	a := newApp(t, session.Config{})
	c := cookie(t, a.do("/set?v=x"))
	down := errors.New("connection refused to 10.1.2.3")
	a.store.fail(down)
	a.store.counts()
	if r := a.do("/plain", c); r.StatusCode != http.StatusOK {
		t.Errorf("a page without session: status %d", r.StatusCode)
	}
	a.handle("/stubborn", func(*session.Session, http.ResponseWriter, *http.Request) {})
	a.mux.HandleFunc("/twice", func(w http.ResponseWriter, r *http.Request) {
		_, err := a.m.Load(r.Context())
		_, again := a.m.Load(r.Context())
		if !errors.Is(err, down) || !errors.Is(again, down) {
			t.Errorf("Load: %v, then %v", err, again)
		}
		a.m.Error(w, r, err)
	})
	for _, path := range []string{"/get", "/set?v=y", "/twice"} {
		r := a.do(path, c)
		if got := read(r); r.StatusCode != http.StatusServiceUnavailable || strings.Contains(got, "10.1.2.3") || r.Header.Get("Retry-After") == "" {
			t.Errorf("%s: status %d, %s", path, r.StatusCode, got)
		}
	}
	if l, _, _ := a.store.counts(); l != 3 {
		t.Errorf("%d loads for three requests", l)
	}
	// Down between load and commit.
	a.handle("/break", func(s *session.Session, w http.ResponseWriter, _ *http.Request) {
		a.store.fail(down)
		s.Destroy()
		io.WriteString(w, "signed out")
	})
	a.store.fail(nil)
	if r := a.do("/break", c); r.StatusCode != http.StatusServiceUnavailable || strings.Contains(read(r), "signed out") || len(r.Header["Set-Cookie"]) != 0 {
		t.Errorf("a sign-out that failed: status %d, Set-Cookie %v", r.StatusCode, r.Header["Set-Cookie"])
	}
	a.store.fail(nil)
	if got := read(a.do("/get", c)); got != `"x" true` {
		t.Errorf("after recovery: %s", got)
	}
	if r := a.do("/set?v=z", c); r.StatusCode != http.StatusOK {
		t.Errorf("after recovery: status %d", r.StatusCode)
	}
	if !slices.Contains(a.kinds(), session.Failed) || !strings.Contains(a.log.String(), "connection refused") {
		t.Errorf("the failure was not reported: %s", a.log.String())
	}
}

// TestOutage: an outage is told once when it begins and once when it is over,
// however many requests meet it, and in part only.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, session.Config{})
		c := cookie(t, a.do("/set?v=x"))
		down := errors.New("connection refused")
		a.kinds()

		a.store.fail(down)
		for range 100 {
			a.do("/get", c)
			a.do("/plain", c)
			time.Sleep(10 * time.Millisecond)
		}
		want := append([]session.Kind{session.Failing}, slices.Repeat([]session.Kind{session.Failed}, 100)...)
		if got := a.kinds(); !slices.Equal(got, want) {
			t.Errorf("events of an outage: %v", got)
		}
		for range 50 { // one of two servers is back
			a.store.fail(nil)
			a.do("/get", c)
			a.store.fail(down)
			a.do("/set?v=y", c)
			time.Sleep(100 * time.Millisecond)
		}
		if got := a.kinds(); !slices.Equal(got, slices.Repeat([]session.Kind{session.Failed}, 50)) {
			t.Errorf("events of an outage in part: %v", got)
		}
		a.store.fail(nil)
		for range 20 {
			a.do("/get", c)
			time.Sleep(100 * time.Millisecond)
		}
		if n := len(a.events); n != 1 || a.events[0].Kind != session.Recovered || a.events[0].Failures != 150 || a.events[0].Lasted.Round(time.Second) != 7*time.Second {
			t.Errorf("%d events of the recovery, the first %+v", n, a.events[0])
		}
		if log := a.log.String(); strings.Count(log, "\n") != 2 || !strings.Contains(log, "the store fails") || !strings.Contains(log, "answers again") {
			t.Errorf("the log of one outage:\n%s", log)
		}
		a.kinds()
		a.store.fail(down)
		a.do("/get", c)
		if got := a.kinds(); !slices.Equal(got, []session.Kind{session.Failing, session.Failed}) {
			t.Errorf("events of another outage: %v", got)
		}
	})
}

// TestStoreFull: a store that refuses what is new for want of room is no outage, however
// many requests are refused. It is a warning, once a minute; and it ends an outage.
func TestStoreFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, session.Config{})
		c := cookie(t, a.do("/set?v=x"))
		full := fmt.Errorf("of %w", session.ErrFull)
		a.kinds()
		refuse := func() {
			t.Helper()
			a.store.fail(full)
			if r := a.do("/set?v=y", c); r.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("a change that is refused: status %d", r.StatusCode)
			}
			a.store.fail(nil)
			if r := a.do("/get", c); r.StatusCode != http.StatusOK {
				t.Errorf("meanwhile another: status %d", r.StatusCode)
			}
		}
		for range 119 {
			refuse()
			time.Sleep(time.Second)
		}
		if got := a.kinds(); !slices.Equal(got, slices.Repeat([]session.Kind{session.Failed}, 119)) {
			t.Errorf("events of a store that is full: %v", got)
		}
		if log := a.log.String(); strings.Count(log, "\n") > 10 || strings.Count(log, "level=WARN msg=\"session: the store is full") != strings.Count(log, "\n") || !strings.Contains(log, "repeated=") {
			t.Errorf("the log of two minutes:\n%s", log)
		}
		a.store.fail(errors.New("connection refused"))
		a.do("/get", c)
		time.Sleep(2 * time.Second)
		a.kinds()
		a.store.fail(full)
		a.do("/set?v=y", c)
		if got := a.kinds(); !slices.Contains(got, session.Recovered) {
			t.Errorf("a store that answers that it is full has recovered; events: %v", got)
		}
	})
}

func TestStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, session.Config{})
		c := cookie(t, a.do("/set?v=x"))
		a.store.hang = true
		start := time.Now()
		if r := a.do("/get", c); r.StatusCode != http.StatusServiceUnavailable || time.Since(start) != 5*time.Second {
			t.Errorf("load: status %d after %v", r.StatusCode, time.Since(start))
		}
		start = time.Now()
		if r := a.do("/set?v=y"); r.StatusCode != http.StatusServiceUnavailable || time.Since(start) != 5*time.Second {
			t.Errorf("commit: status %d after %v", r.StatusCode, time.Since(start))
		}
	})
}

// TestVisitorGone: what a handler did is committed although nobody waits for
// the answer.
func TestVisitorGone(t *testing.T) {
	a := newApp(t, session.Config{})
	c := cookie(t, a.do("/set?v=x"))
	ctx, cancel := context.WithCancel(t.Context())
	a.handle("/leave", func(s *session.Session, _ http.ResponseWriter, r *http.Request) {
		cancel()
		s.Destroy()
	})
	r := httptest.NewRequestWithContext(ctx, "GET", "/leave", nil)
	r.Header.Set("Cookie", c)
	a.m.Handler(a.mux).ServeHTTP(httptest.NewRecorder(), r)
	if got := read(a.do("/get", c)); got != `"" false` {
		t.Errorf("the visitor signed out and left; then: %s", got)
	}
}

func TestPanicStoresNothing(t *testing.T) {
	a := newApp(t, session.Config{})
	c := cookie(t, a.do("/set?v=x"))
	a.handle("/panic", func(s *session.Session, _ http.ResponseWriter, _ *http.Request) {
		name.Set(s, "half done")
		panic(http.ErrAbortHandler)
	})
	func() {
		defer func() {
			if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) {
				t.Errorf("the panic did not pass: %v", err)
			}
		}()
		a.do("/panic", c)
	}()
	if got := read(a.do("/get", c)); got != `"x" true` {
		t.Errorf("after the panic: %s", got)
	}
}

func TestLoadOutsideHandlerPanics(t *testing.T) {
	a := newApp(t, session.Config{})
	defer func() {
		if recover() == nil {
			t.Errorf("no panic")
		}
	}()
	a.m.Load(t.Context())
}

// TestTwoManagers: each finds its own.
func TestTwoManagers(t *testing.T) {
	a, b := newApp(t, session.Config{Name: "a"}), newApp(t, session.Config{Name: "b"})
	h := a.m.Handler(b.m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sa, _ := a.m.Load(r.Context())
		sb, _ := b.m.Load(r.Context())
		name.Set(sa, "a")
		name.Set(sb, "b")
	})))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	c := w.Result().Cookies()
	if len(c) != 2 || a.store.Stats().Sessions != 1 || b.store.Stats().Sessions != 1 {
		t.Errorf("cookies %v", c)
	}
}

func TestListAndEnd(t *testing.T) {
	a := newApp(t, session.Config{})
	a.handle("/in", func(s *session.Session, _ http.ResponseWriter, r *http.Request) {
		s.SetOwner(r.FormValue("u"))
		s.SetLabel("device", r.FormValue("d"))
		if s.Label("device") != r.FormValue("d") {
			t.Errorf("label %q", s.Label("device"))
		}
	})
	var cookies []string
	for _, d := range []string{"phone", "tablet", "desk"} {
		cookies = append(cookies, cookie(t, a.do("/in?u=alex&d="+d)))
	}
	eric := cookie(t, a.do("/in?u=eric&d=phone"))
	handles := map[string]session.Handle{}
	for i, err := range a.m.List(t.Context(), session.Query{Owner: "alex"}) {
		if err != nil || i.Owner != "alex" || len(i.Labels) != 1 {
			t.Fatalf("%+v, %v", i, err)
		}
		handles[i.Labels[0].Value] = i.Handle
	}
	if len(handles) != 3 {
		t.Fatalf("%d sessions, want 3", len(handles))
	}
	for _, h := range handles { // a handle is no cookie
		if got := read(a.do("/get", "__Host-session="+h.String())); got != `"" false` {
			t.Errorf("with a handle as cookie: %s", got)
		}
	}
	if err := a.m.End(t.Context(), handles["desk"]); err != nil {
		t.Fatal(err)
	}
	if err := a.m.End(t.Context(), handles["desk"]); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("a second End: %v", err)
	}
	if n, err := a.m.EndAll(t.Context(), session.Query{Owner: "alex"}, handles["phone"]); n != 1 || err != nil {
		t.Errorf("EndAll: %d, %v; want 1", n, err)
	}
	i, err := a.m.Find(t.Context(), handles["phone"])
	if err != nil || i.Owner != "alex" {
		t.Errorf("Find: %+v, %v", i, err)
	}
	if n, err := a.m.EndAll(t.Context(), session.Query{Label: session.Label{Name: "device", Value: "phone"}}); n != 2 || err != nil {
		t.Errorf("EndAll by label: %d, %v; want 2", n, err)
	}
	for _, c := range append(cookies, eric) {
		if got := read(a.do("/get", c)); got != `"" false` {
			t.Errorf("after the end: %s", got)
		}
	}
	for _, q := range []session.Query{{}, {All: true, Owner: "x"}, {Label: session.Label{Name: "x"}}, {Label: session.Label{Value: "x"}}} {
		if _, err := a.m.EndAll(t.Context(), q); !errors.Is(err, session.ErrQuery) {
			t.Errorf("EndAll(%+v): %v, want ErrQuery", q, err)
		}
	}
}

// bare is a store that can do no more than it must.
type bare struct{ session.Store }

func TestUnsupported(t *testing.T) {
	m, err := session.New(session.Config{Store: bare{newFaulty()}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Find(t.Context(), session.Handle{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Find: %v", err)
	}
	if err := m.End(t.Context(), session.Handle{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("End: %v", err)
	}
	if _, err := m.EndAll(t.Context(), session.Query{All: true}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("EndAll: %v", err)
	}
	if n, err := m.Sweep(t.Context()); n != 0 || err != nil {
		t.Errorf("Sweep: %d, %v", n, err)
	}
}

// The rest drives a real server: what a client receives at each exit.

func (a *app) serve() *httptest.Server {
	srv := httptest.NewServer(a.m.Handler(a.mux))
	a.t.Cleanup(srv.Close)
	return srv
}

func get(t *testing.T, url, cookie string) *http.Response {
	t.Helper()
	r, _ := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// exits are the ways an answer's header can go. Each sends "done".
func exits(t *testing.T) map[string]func(w http.ResponseWriter) error {
	file := filepath.Join(t.TempDir(), "done")
	if err := os.WriteFile(file, []byte("done"), 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string]func(w http.ResponseWriter) error{
		"return": func(http.ResponseWriter) error { return nil },
		"Write":  func(w http.ResponseWriter) error { _, err := w.Write([]byte("done")); return err },
		"WriteString": func(w http.ResponseWriter) error {
			_, err := io.WriteString(w, "done")
			return err
		},
		"WriteHeader": func(w http.ResponseWriter) error { w.WriteHeader(http.StatusCreated); return nil },
		"Flush": func(w http.ResponseWriter) error {
			w.(http.Flusher).Flush()
			io.WriteString(w, "done")
			return nil
		},
		"FlushError": func(w http.ResponseWriter) error {
			err := http.NewResponseController(w).Flush()
			io.WriteString(w, "done")
			return err
		},
		"103": func(w http.ResponseWriter) error {
			w.Header().Set("Link", "</a.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			_, err := io.WriteString(w, "done")
			return err
		},
		"ReadFrom": func(w http.ResponseWriter) error {
			f, err := os.Open(file)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = w.(io.ReaderFrom).ReadFrom(f)
			return err
		},
		"io.Copy": func(w http.ResponseWriter) error {
			_, err := io.Copy(w, strings.NewReader("done"))
			return err
		},
		"ServeContent": func(w http.ResponseWriter) error {
			http.ServeContent(w, httptest.NewRequest("GET", "/", nil), "a.txt", time.Time{}, strings.NewReader("done"))
			return nil
		},
		"large": func(w http.ResponseWriter) error {
			_, err := w.Write(bytes.Repeat([]byte("done"), 100<<10/4))
			return err
		},
		"redirect": func(w http.ResponseWriter) error {
			http.Redirect(w, httptest.NewRequest("GET", "/", nil), "/get", http.StatusSeeOther)
			return nil
		},
	}
}

// TestExits: the record is there and the cookie is sent before the client has
// anything of the answer; if the commit fails, it has nothing of the answer.
func TestExits(t *testing.T) {
	for exit, f := range exits(t) {
		t.Run(exit, func(t *testing.T) {
			a := newApp(t, session.Config{})
			result := make(chan error, 1)
			a.handle("/exit", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Answer", "the handler's")
				name.Set(s, "x")
				err := f(w)
				if exit != "return" && a.store.Stats().Sessions != 1 {
					t.Errorf("the header has gone and the session is not stored")
				}
				result <- err
			})
			srv := a.serve()
			hints := 0
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
					hints++
					if code != http.StatusEarlyHints || h.Get("Link") == "" || h.Get("Set-Cookie") != "" {
						t.Errorf("%d with %v", code, h)
					}
					return nil
				},
			})
			r, _ := http.NewRequestWithContext(ctx, "GET", srv.URL+"/exit", nil)
			resp, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			if err := <-result; err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if exit == "103" && hints != 1 {
				t.Errorf("%d early hints", hints)
			}
			body := read(resp)
			if want := exit != "return" && exit != "WriteHeader" && exit != "redirect"; strings.Contains(body, "done") != want {
				t.Errorf("body %.50q", body)
			}
			if got := read(get(t, srv.URL+"/get", cookie(t, resp))); got != `"x" true` {
				t.Errorf("with the cookie of the answer: %s", got)
			}

			a.store.fail(errors.New("down"))
			resp = get(t, srv.URL+"/exit", "")
			body = read(resp)
			if resp.StatusCode != http.StatusServiceUnavailable || strings.Contains(body, "done") || body != "Service Unavailable\n" {
				t.Errorf("commit failed: status %d, body %.50q", resp.StatusCode, body)
			}
			for _, h := range []string{"X-Answer", "Set-Cookie", "Location", "Link"} {
				if resp.Header.Get(h) != "" {
					t.Errorf("commit failed: %s: %s", h, resp.Header.Get(h))
				}
			}
			if got := <-result; (exit == "Write" || exit == "ReadFrom" || exit == "WriteString" || exit == "FlushError") && !errors.Is(got, session.ErrRefused) {
				t.Errorf("commit failed: the handler got %v, want ErrRefused", got)
			}
		})
	}
}

// TestErrorPageKeepsSecurityHeaders: what middleware outside set for every
// answer stays.
func TestErrorPageKeepsSecurityHeaders(t *testing.T) {
	a := newApp(t, session.Config{Error: func(w http.ResponseWriter, r *http.Request, err error) {
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "ours")
	}})
	a.handle("/exit", func(s *session.Session, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5")
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("ETag", `"x"`)
		w.Header().Add("Set-Cookie", "other=1")
		name.Set(s, "x")
		a.store.fail(errors.New("down"))
		io.WriteString(w, "12345")
	})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'")
		w.Header().Set("Strict-Transport-Security", "max-age=1")
		a.m.Handler(a.mux).ServeHTTP(w, r)
	}))
	defer srv.Close()
	r := get(t, srv.URL+"/exit", "")
	if body := read(r); r.StatusCode != http.StatusTeapot || body != "ours" {
		t.Errorf("status %d, %s", r.StatusCode, body)
	}
	h := r.Header
	if h.Get("Content-Security-Policy") == "" || h.Get("Strict-Transport-Security") == "" || h.Get("ETag")+h.Get("Set-Cookie")+h.Get("Content-Encoding") != "" {
		t.Errorf("header %v", h)
	}
}

func TestSetAfterHeader(t *testing.T) {
	a := newApp(t, session.Config{})
	a.handle("/late", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "answer")
		name.Set(s, "late")
		if r.FormValue("commit") != "" {
			if err := s.Commit(r.Context()); !errors.Is(err, session.ErrHeaderSent) {
				t.Errorf("Commit: %v, want ErrHeaderSent", err)
			}
		}
	})
	a.handle("/laterenew", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "answer")
		s.SetOwner("alex")
	})
	a.handle("/lateout", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "answer")
		s.Destroy()
	})
	// The cookie can stay: stored.
	c := cookie(t, a.do("/set?v=x"))
	if r := a.do("/late", c); read(r) != "answer" || read(a.do("/get", c)) != `"late" true` {
		t.Errorf("a late Set in an existing session was lost")
	}
	// It would be needed: an error that can be seen, and nothing stored.
	a.kinds()
	for _, path := range []string{"/late", "/late?commit=1", "/laterenew"} {
		if r := a.do(path); read(r) != "answer" || len(r.Cookies()) != 0 {
			t.Errorf("%s: %v", path, r.Cookies())
		}
		if k := a.kinds(); !slices.Equal(k, []session.Kind{session.Failed}) || !strings.Contains(a.log.String(), "header has been sent") {
			t.Errorf("%s: events %v, log %s", path, k, a.log.String())
		}
		a.log.Reset()
	}
	if n := a.store.Stats().Sessions; n != 1 {
		t.Errorf("%d sessions, want 1", n)
	}
	a.do("/laterenew", c)
	if got := read(a.do("/get", c)); got != `"late" true` {
		t.Errorf("after a late sign-in: %s", got)
	}
	// A late sign-out ends the session; the browser keeps a cookie that is
	// worth nothing.
	a.do("/lateout", c)
	if got := read(a.do("/get", c)); got != `"" false` {
		t.Errorf("after a late sign-out: %s", got)
	}
}

func TestHijack(t *testing.T) {
	a := newApp(t, session.Config{})
	const answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n%s\r\nhello"
	a.handle("/hijack", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		if v := r.FormValue("v"); v != "" {
			name.Set(s, v)
		}
		if r.FormValue("commit") != "" {
			if err := s.Commit(r.Context()); err != nil {
				t.Errorf("Commit: %v", err)
			}
		}
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			if !errors.Is(err, session.ErrHeaderSent) {
				t.Errorf("Hijack: %v", err)
			}
			http.Error(w, "cannot upgrade", http.StatusInternalServerError)
			return
		}
		defer c.Close()
		line := ""
		if sc := w.Header().Get("Set-Cookie"); sc != "" {
			line = "Set-Cookie: " + sc + "\r\n"
		}
		fmt.Fprintf(rw, answer, line)
		rw.Flush()
		name.Set(s, "after") // stored when the handler returns
	})
	srv := a.serve()
	ask := func(path, cookie string) (*http.Response, string) {
		t.Helper()
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nCookie: %s\r\nConnection: close\r\n\r\n", path, cookie)
		br := bufio.NewReader(c)
		r, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		rest, _ := io.ReadAll(br)
		return r, string(rest)
	}
	// A new session: its cookie could not be sent.
	r, _ := ask("/hijack?v=x", "")
	if r.StatusCode != http.StatusInternalServerError {
		t.Errorf("with a cookie to set: status %d", r.StatusCode)
	}
	cookie(t, r) // the refusal is an answer like any other
	// Unless it is committed first: then it is in the header for the handler.
	r, rest := ask("/hijack?v=x&commit=1", "")
	if r.StatusCode != http.StatusSwitchingProtocols || rest != "hello" {
		t.Fatalf("committed first: status %d, %s", r.StatusCode, rest)
	}
	c := cookie(t, r)
	// The commit comes when the handler has returned, after the connection's end.
	got := ""
	for deadline := time.Now().Add(10 * time.Second); got != `"after" true` && time.Now().Before(deadline); {
		got = read(get(t, srv.URL+"/get", c))
	}
	if got != `"after" true` {
		t.Errorf("set after Hijack: %s", got)
	}
	r, rest = ask("/hijack?v=y", c)
	if r.StatusCode != http.StatusSwitchingProtocols || rest != "hello" || len(r.Cookies()) != 0 {
		t.Errorf("an existing session: status %d, %s", r.StatusCode, rest)
	}
	// A commit that fails refuses the connection.
	a.handle("/failing", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		name.Set(s, "z")
		a.store.fail(errors.New("down"))
		if _, _, err := http.NewResponseController(w).Hijack(); err == nil {
			t.Errorf("Hijack with a failing store succeeds")
		}
		http.Error(w, "no", http.StatusInternalServerError)
	})
	if r, _ = ask("/failing", c); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a failing store: status %d", r.StatusCode)
	}
}

// TestServerSentEvents: the header goes with the first Flush, the session can be
// changed while the stream is open, and deadlines reach the connection.
func TestServerSentEvents(t *testing.T) {
	a := newApp(t, session.Config{})
	next := make(chan struct{})
	a.handle("/events", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		count.Set(s, 0)
		rc := http.NewResponseController(w)
		if err := rc.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Errorf("SetWriteDeadline: %v", err)
		}
		for i := 1; i <= 3; i++ {
			fmt.Fprintf(w, "data: %d\n\n", i)
			if err := rc.Flush(); err != nil {
				t.Errorf("Flush: %v", err)
			}
			<-next
			if err := count.Update(r.Context(), s, func(n int) int { return n + 1 }); err != nil {
				t.Errorf("Update: %v", err)
			}
		}
	})
	a.handle("/count", func(s *session.Session, w http.ResponseWriter, _ *http.Request) {
		n, _ := count.Get(s)
		fmt.Fprint(w, n)
	})
	srv := a.serve()
	r := get(t, srv.URL+"/events", "")
	c := cookie(t, r)
	br := bufio.NewReader(r.Body)
	for i := 1; i <= 3; i++ {
		line, err := br.ReadString('\n')
		if err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("event %d: %q, %v", i, line, err)
		}
		br.ReadString('\n')
		if i > 1 {
			if got := read(get(t, srv.URL+"/count", c)); got != fmt.Sprint(i-1) {
				t.Errorf("count while event %d is out: %s", i, got)
			}
		}
		next <- struct{}{}
	}
	io.ReadAll(br)
}

func TestUpdateInANewSession(t *testing.T) {
	a := newApp(t, session.Config{})
	a.handle("/up", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		name.Set(s, "too")
		for range 2 {
			if err := count.Update(r.Context(), s, func(n int) int {
				if v, _ := name.Get(s); v != "too" { // f may look at other keys
					t.Errorf("name %q", v)
				}
				return n + 1
			}); err != nil {
				t.Errorf("Update: %v", err)
			}
		}
		n, _ := count.Get(s)
		fmt.Fprint(w, n)
	})
	r := a.do("/up")
	if got := read(r); got != "2" {
		t.Errorf("count %s", got)
	}
	if got := read(a.do("/get", cookie(t, r))); got != `"too" true` {
		t.Errorf("the other key: %s", got)
	}
}

func TestPersistentFollowsTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, session.Config{Persistent: true, MaxAbsolute: 30 * 24 * time.Hour})
		a.handle("/long", func(s *session.Session, _ http.ResponseWriter, _ *http.Request) {
			s.SetTimeouts(0, 30*24*time.Hour)
		})
		c := cookie(t, a.do("/set?v=x"))
		r := a.do("/long", c)
		if cookie(t, r) != c || r.Cookies()[0].MaxAge != 30*24*60*60 {
			t.Errorf("Set-Cookie: %s", r.Header.Get("Set-Cookie"))
		}
	})
}
