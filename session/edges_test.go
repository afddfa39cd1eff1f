package session_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

// TestUpdateThatFailsIsNotCommittedLater: one failure of the store within Update, and what others counted meanwhile is kept.
func TestUpdateThatFailsIsNotCommittedLater(t *testing.T) {
	a := newApp(t, session.Config{})
	a.handle("/inc", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		if err := count.Update(r.Context(), s, func(n int) int { return n + 1 }); err != nil {
			t.Error(err)
		}
	})
	c := cookie(t, a.do("/inc"))
	a.handle("/flaky", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		a.store.fail(errors.New("blip"))
		err := count.Update(r.Context(), s, func(n int) int { return n + 1 })
		a.store.fail(nil)
		for range 10 {
			a.do("/inc", c)
		}
		a.m.Error(w, r, err)
	})
	r := a.do("/flaky", c)
	a.handle("/n", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		n, _ := count.Get(s)
		fmt.Fprint(w, n)
	})
	if got := read(a.do("/n", c)); got != "11" {
		t.Errorf("count %s, want 11 (the failed one was answered with %d)", got, r.StatusCode)
	}
}

// TestUpdateTriedAgainCountsOnce: a handler that tries again after an error counts once.
func TestUpdateTriedAgainCountsOnce(t *testing.T) {
	a := newApp(t, session.Config{})
	a.handle("/retry", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		inc := func(n int) int { return n + 1 }
		a.store.fail(errors.New("blip"))
		count.Update(r.Context(), s, inc)
		a.store.fail(nil)
		if err := count.Update(r.Context(), s, inc); err != nil {
			t.Error(err)
		}
		n, _ := count.Get(s)
		if n != 1 {
			t.Errorf("one failed and one good Update: %d, want 1", n)
		}
	})
	a.do("/retry")
}

// TestErrorPageKeepsCommittedCookie: the old identifier is dead already, so the new one must arrive.
func TestErrorPageKeepsCommittedCookie(t *testing.T) {
	a := newApp(t, session.Config{})
	c := cookie(t, a.do("/set?v=basket"))
	a.handle("/in", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		s.SetOwner("alex")
		if err := s.Commit(r.Context()); err != nil {
			t.Error(err)
		}
		a.store.fail(errors.New("blip"))
		count.Set(s, 1)
		io.WriteString(w, "x")
	})
	r := a.do("/in", c)
	a.store.fail(nil)
	t.Log(r.StatusCode, r.Header)
	if got := read(a.do("/get", c)); got == `"" false` && len(r.Cookies()) == 0 {
		t.Errorf("old cookie is dead, new cookie was never sent: session lost")
	}
}

// TestDestroyAfterEnded: a request whose session was renewed by another does not put out the new cookie.
func TestDestroyAfterEnded(t *testing.T) {
	a := newApp(t, session.Config{})
	c := cookie(t, a.do("/set?v=x"))
	a.handle("/renew", func(s *session.Session, w http.ResponseWriter, r *http.Request) { s.Renew() })
	a.handle("/slow", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		cookie(t, a.do("/renew", c))
		name.Set(s, "y")
		if err := s.Commit(r.Context()); !errors.Is(err, session.ErrEnded) {
			t.Error(err)
		}
		a.kinds()
		s.Destroy() // the only way to take the changes back
		http.Redirect(w, r, "/login", http.StatusSeeOther)
	})
	r := a.do("/slow", c)
	if len(r.Header["Set-Cookie"]) != 0 {
		t.Errorf("clobbers the newer cookie: %v", r.Header["Set-Cookie"])
	}
	if k := a.kinds(); len(k) != 0 {
		t.Errorf("events %v", k)
	}
}

// TestSignOutLostToRenew: who is not signed out is not told so.
func TestSignOutLostToRenew(t *testing.T) {
	a := newApp(t, session.Config{})
	c := cookie(t, a.do("/set?v=x"))
	var fresh string
	a.handle("/renew", func(s *session.Session, w http.ResponseWriter, r *http.Request) { s.Renew() })
	a.handle("/slowout", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		fresh = cookie(t, a.do("/renew", c))
		a.kinds()
		s.Destroy()
	})
	r := a.do("/slowout", c)
	if got := read(a.do("/get", fresh)); r.StatusCode == 200 && got == `"x" true` {
		t.Errorf("sign-out was answered with 200, %v, events %v; the session lives on: %s", r.Header["Set-Cookie"], a.kinds(), got)
	}
}

// TestEndAllCatchesRenewed: a session that is renewed all the time does not escape.
func TestEndAllCatchesRenewed(t *testing.T) {
	escaped, lied := 0, 0
	for range 300 {
		a := newApp(t, session.Config{})
		a.handle("/in", func(s *session.Session, w http.ResponseWriter, r *http.Request) { s.SetOwner("alex") })
		a.handle("/renew", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
			if s.Exists() {
				s.Renew()
			}
		})
		c := cookie(t, a.do("/in"))
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 50 {
				r := a.do("/renew", c)
				if len(r.Cookies()) == 1 {
					c = cookie(t, r)
				} else {
					return
				}
			}
		})
		time.Sleep(50 * time.Microsecond)
		n, err := a.m.EndAll(t.Context(), session.Query{Owner: "alex"})
		if err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if a.store.Stats().Sessions != 0 {
			escaped++
			if n == 1 {
				lied++
			}
		}
	}
	if escaped > 0 {
		t.Errorf("%d of 300 EndAll left the session alive, %d of them reported it as ended", escaped, lied)
	}
}

// TestCookieSurvivesReverseProxy: ReverseProxy clears the header after each 1xx.
func TestCookieSurvivesReverseProxy(t *testing.T) {
	a := newApp(t, session.Config{})
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(103)
		io.WriteString(w, "back")
	}))
	defer back.Close()
	u, _ := url.Parse(back.URL)
	rp := httputil.NewSingleHostReverseProxy(u)
	a.handle("/proxy", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		if err := count.Update(r.Context(), s, func(n int) int { return n + 1 }); err != nil {
			t.Error(err)
		}
		rp.ServeHTTP(w, r)
	})
	srv := a.serve()
	r := get(t, srv.URL+"/proxy", "")
	if body := read(r); body != "back" || len(r.Cookies()) != 1 {
		t.Errorf("%s %v: the session is stored (%d), its cookie is lost", body, r.Header, a.store.Stats().Sessions)
	}
}

// TestCookieSurvivesTimeoutHandler: TimeoutHandler copies its header over ours.
func TestCookieSurvivesTimeoutHandler(t *testing.T) {
	a := newApp(t, session.Config{})
	h := a.m.Handler(http.TimeoutHandler(a.m.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		http.SetCookie(w, &http.Cookie{Name: "other", Value: "1"})
		name.Set(s, "x")
		if err := s.Commit(r.Context()); err != nil {
			t.Error(err)
		}
	}), time.Minute, "timeout"))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if c := w.Result().Cookies(); len(c) != 2 {
		t.Errorf("cookies %v, stored %d", c, a.store.Stats().Sessions)
	}
}

// TestCommitFromAnotherGoroutine: the header belongs to the handler until it goes.
func TestCommitFromAnotherGoroutine(t *testing.T) {
	a := newApp(t, session.Config{})
	a.handle("/par", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		var wg sync.WaitGroup
		wg.Go(func() { count.Update(r.Context(), s, func(n int) int { return n + 1 }) })
		for i := range 100 {
			w.Header().Set("X-A", fmt.Sprint(i))
		}
		wg.Wait()
	})
	for range 50 {
		a.do("/par")
	}
}

// TestIdleForEver: the longest idle time there is.
func TestIdleForEver(t *testing.T) {
	a := newApp(t, session.Config{Idle: math.MaxInt64})
	c := cookie(t, a.do("/set?v=x"))
	if got := read(a.do("/get", c)); got != `"x" true` {
		t.Errorf("%s", got)
	}
	b := newApp(t, session.Config{Absolute: math.MaxInt64})
	c = cookie(t, b.do("/set?v=x"))
	if got := read(b.do("/get", c)); got != `"x" true` {
		t.Errorf("absolute: %s", got)
	}
}

// TestTooLargeMayShrink: requests side by side may exceed the bound; then it goes down only.
func TestTooLargeMayShrink(t *testing.T) {
	a := newApp(t, session.Config{MaxBytes: 1000})
	big := session.NewKey[string]("big")
	c := cookie(t, a.do("/set?v=x"))
	gate := make(chan struct{})
	var in sync.WaitGroup
	a.handle("/grow", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		in.Done()
		<-gate
		session.NewKey[string](r.FormValue("k")).Set(s, strings.Repeat("x", 800))
	})
	var wg sync.WaitGroup
	in.Add(4)
	for i := range 4 {
		wg.Go(func() { t.Log(a.do(fmt.Sprint("/grow?k=", i), c).StatusCode) })
	}
	in.Wait()
	close(gate)
	wg.Wait()
	a.handle("/size", func(s *session.Session, w http.ResponseWriter, r *http.Request) {})
	for i := range a.m.List(t.Context(), session.Query{All: true, Fields: true}) {
		n := 0
		for _, f := range i.Fields {
			n += len(f.Key) + len(f.Value)
		}
		t.Log("bytes", n)
	}
	a.handle("/take", func(s *session.Session, w http.ResponseWriter, r *http.Request) { name.Take(s) })
	if r := a.do("/take", c); r.StatusCode != 200 {
		t.Errorf("Take from a session that is too large: %d", r.StatusCode)
	}
	_ = big
}

// TestNamedStringIsNotRepaired: bytes that are not UTF-8 are refused in every type.
func TestNamedStringIsNotRepaired(t *testing.T) {
	type Name string
	k := session.NewKey[Name]("n")
	a := newApp(t, session.Config{})
	a.handle("/s", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		k.Set(s, "\xff")
		v, ok := k.Get(s)
		if ok && v != "\xff" {
			t.Errorf("silently changed into %q", v)
		}
	})
	t.Log(a.do("/s").StatusCode)
}

// A goroutine's commit between finish and sent: stored, cookie lost.

type snap struct {
	rec    *httptest.ResponseRecorder
	cookie bool
}

func (s *snap) Header() http.Header { return s.rec.Header() }

func (s *snap) Write(b []byte) (int, error) { return len(b), nil }

func (s *snap) WriteHeader(int) { s.cookie = s.rec.Header()["Set-Cookie"] != nil }

// TestTimeoutsBeforeOwner: timeouts asked for before a sign-in are for the session that it begins.
func TestTimeoutsBeforeOwner(t *testing.T) {
	a := newApp(t, session.Config{})
	a.handle("/in", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		s.SetTimeouts(time.Minute, 5*time.Minute)
		s.SetOwner(r.FormValue("u"))
	})
	c := cookie(t, a.do("/in?u=a"))
	a.do("/in?u=b", c)
	for i := range a.m.List(t.Context(), session.Query{All: true}) {
		t.Log(i.Owner, i.Deadline.Sub(i.Created))
		if i.Deadline.Sub(i.Created) > 5*time.Minute {
			t.Errorf("timeouts were lost")
		}
	}
}

// TestExpiredFoundByCommit: an expiry that a commit finds is reported too.
func TestExpiredFoundByCommit(t *testing.T) {
	a := newApp(t, session.Config{})
	a.handle("/in", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		s.SetOwner("a")
		s.SetTimeouts(50*time.Millisecond, 0)
	})
	a.handle("/slow", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		time.Sleep(80 * time.Millisecond)
		name.Set(s, "x")
	})
	c := cookie(t, a.do("/in"))
	t.Log(a.do("/slow", c).StatusCode)
	a.kinds()
	n, err := a.m.Sweep(t.Context())
	if k := a.kinds(); len(k) != 1 {
		t.Errorf("sweep %d %v events %v: nobody learns that it expired", n, err, k)
	}
}

// TestEndIsBounded: Timeout bounds End.
func TestEndIsBounded(t *testing.T) {
	a := newApp(t, session.Config{Timeout: 10 * time.Millisecond})
	a.do("/set?v=x")
	var h session.Handle
	for i := range a.m.List(t.Context(), session.Query{All: true}) {
		h = i.Handle
	}
	a.store.hang = true
	done := make(chan error, 1)
	go func() { done <- a.m.End(context.Background(), h) }()
	select {
	case <-done:
	case <-time.After(300 * time.Millisecond):
		t.Error("Config.Timeout does not bound End")
	}
}

type slow struct{ *memory.Store }

func (s slow) Commit(ctx context.Context, id session.ID, d *session.Delta) error {
	time.Sleep(3 * time.Millisecond)
	return s.Store.Commit(ctx, id, d)
}

// The window between finish and sent: with a waiter of more than 1 ms the mutex is handed over there.

// TestRenewWhileTheHeaderGoes: a commit that succeeds has its cookie sent.
func TestRenewWhileTheHeaderGoes(t *testing.T) {
	lost := 0
	const n = 200
	for range n {
		store := memory.New(memory.Config{MaxBytes: 1})
		m, _ := session.New(session.Config{Store: slow{store}, Logger: slog.New(slog.DiscardHandler)})
		first := httptest.NewRecorder()
		m.Handler(m.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) { name.Set(s, "x") })).ServeHTTP(first, httptest.NewRequest("GET", "/", nil))
		c := cookie(t, first.Result())
		var err error
		h := m.Handler(m.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			name.Set(s, "y")
			done := make(chan bool)
			go func() {
				time.Sleep(time.Millisecond) // finish holds the lock
				s.Renew()
				err = s.Commit(r.Context())
				close(done)
			}()
			w.WriteHeader(200)
			<-done
		}))
		w := &snap{rec: httptest.NewRecorder()}
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Cookie", c)
		h.ServeHTTP(w, r)
		if err == nil && !w.cookie {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d: Renew committed without an error, header went without the cookie", lost, n)
	}
}

// HTTP/2, HEAD, 204, 304 and the like

// Set-Cookie of a Commit goes out in a 103, or is dropped by later header edits.

// TestCookieSurvivesAssignment: a handler that assigns Set-Cookie after a commit.
func TestCookieSurvivesAssignment(t *testing.T) {
	a := newApp(t, session.Config{})
	a.handle("/clear", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		name.Set(s, "x")
		if err := s.Commit(r.Context()); err != nil {
			t.Error(err)
		}
		w.Header()["Set-Cookie"] = []string{"mine=1"}
	})
	if r := a.do("/clear"); len(r.Cookies()) != 2 {
		t.Errorf("cookies %v", r.Cookies())
	}
}

// Second Failed event and double commit: m.Error after a failed Commit, store back.

// ErrTooLarge of Update sticks

// TestUpdateTooLargeIsDealtWith: an error that the handler dealt with is over.
func TestUpdateTooLargeIsDealtWith(t *testing.T) {
	a := newApp(t, session.Config{MaxBytes: 100})
	c := cookie(t, a.do("/set?v=old"))
	a.handle("/u", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		err := name.Update(r.Context(), s, func(string) string { return strings.Repeat("x", 200) })
		if !errors.Is(err, session.ErrTooLarge) {
			t.Error(err)
		}
		io.WriteString(w, "your note is too long")
	})
	r := a.do("/u", c)
	t.Logf("%d %s", r.StatusCode, read(r))
}

// 256 labels: 503 for the handler's mistake

// TestTooManyLabels: the handler's own mistake is no failure of the store.
func TestTooManyLabels(t *testing.T) {
	a := newApp(t, session.Config{})
	a.handle("/l", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		for i := range 256 {
			s.SetLabel(fmt.Sprint(i), "x")
		}
	})
	t.Log(a.do("/l").StatusCode)
}

// SSE reading keeps no session alive

// error page twice nested: custom Error that uses the session

// one cookie name, two managers? same store: fine. Zero Key

// strict is a store that looks at its context, as those over a network do.

type strict struct{ *faulty }

func (s strict) Load(ctx context.Context, id session.ID) (session.Record, error) {
	if ctx.Err() != nil {
		return session.Record{}, ctx.Err()
	}
	return s.faulty.Load(ctx, id)
}

func (s strict) Commit(ctx context.Context, id session.ID, d *session.Delta) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.faulty.Commit(ctx, id, d)
}

func (s strict) Delete(ctx context.Context, id session.ID) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.faulty.Delete(ctx, id)
}

// TestVisitorGoneStrictStore: a store that heeds its context is not stopped by a visitor who leaves.
func TestVisitorGoneStrictStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, session.Config{})
		var events []session.Event
		m, _ := session.New(session.Config{Store: strict{a.store}, Observe: func(_ context.Context, e session.Event) { events = append(events, e) }})
		ask := func(ctx context.Context, c string, f func(s *session.Session)) *http.Response {
			r := httptest.NewRequestWithContext(ctx, "GET", "/", nil)
			r.Header.Set("Cookie", c)
			w := httptest.NewRecorder()
			m.Handler(m.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) { f(s) })).ServeHTTP(w, r)
			return w.Result()
		}
		c := cookie(t, ask(t.Context(), "", func(s *session.Session) { name.Set(s, "x") }))
		time.Sleep(2 * time.Minute)
		a.store.counts()
		ctx, cancel := context.WithCancel(t.Context())
		ask(ctx, c, func(*session.Session) { cancel() })
		if _, w, _ := a.store.counts(); w != 1 {
			t.Errorf("touch of a visitor who left: %d commits", w)
		}
		ctx, cancel = context.WithCancel(t.Context())
		ask(ctx, c, func(s *session.Session) { name.Set(s, "left"); cancel() })
		ask(t.Context(), c, func(s *session.Session) {
			if v, _ := name.Get(s); v != "left" {
				t.Errorf("a change of a visitor who left: %q", v)
			}
		})
		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		events = nil
		ask(ctx, c, func(s *session.Session) {})
		if len(events) != 0 {
			t.Errorf("a visitor who left is reported as a failure: %v", events)
		}
		a.store.fail(errors.New("down"))
		ask(t.Context(), c, func(s *session.Session) {})
		if len(events) != 2 || events[0].Kind != session.Failing || events[1].Kind != session.Failed {
			t.Errorf("a store that is down: %v", events)
		}
		// one caller's short ctx is not everybody's error
		a.store.fail(nil)
		m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithCancel(r.Context())
			cancel()
			if _, err := m.Load(ctx); err == nil {
				t.Error("no error")
			}
			if _, err := m.Load(r.Context()); err != nil {
				t.Error(err)
			}
		})).ServeHTTP(httptest.NewRecorder(), func() *http.Request {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Cookie", c)
			return r
		}())
	})
}

func TestCommitMidway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp(t, session.Config{Persistent: true})
		in := func(f func(s *session.Session, ctx context.Context), c ...string) *http.Response {
			h := a.m.Handler(a.m.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) { f(s, r.Context()) }))
			r := httptest.NewRequest("GET", "/", nil)
			if len(c) > 0 {
				r.Header.Set("Cookie", c[0])
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w.Result()
		}
		// What the session says after a commit is what the store has.
		same := func(s *session.Session, ctx context.Context) {
			t.Helper()
			if err := s.Commit(ctx); err != nil {
				t.Fatal(err)
			}
			rec, err := a.store.Find(ctx, s.Handle())
			if err != nil {
				t.Fatalf("Find(Handle()): %v", err)
			}
			if !rec.Created.Equal(s.Created()) || !rec.Deadline().Equal(s.Deadline()) || rec.Owner != s.Owner() {
				t.Errorf("session %v %v %q, store %v %v %q", s.Created(), s.Deadline(), s.Owner(), rec.Created, rec.Deadline(), rec.Owner)
			}
			for _, l := range rec.Labels {
				if s.Label(l.Name) != l.Value {
					t.Errorf("label %v, session has %q", l, s.Label(l.Name))
				}
			}
			if v, _ := name.Get(s); len(rec.Fields) != 1 || rec.Fields[0].Value != `"`+v+`"` {
				t.Errorf("fields %v, session has %q", rec.Fields, v)
			}
		}
		r := in(func(s *session.Session, ctx context.Context) {
			name.Set(s, "a")
			name.Set(s, "b")
			s.SetLabel("l", "1")
			s.SetLabel("l", "2")
			same(s, ctx)
			time.Sleep(time.Minute)
			s.SetTimeouts(2*time.Minute, 3*time.Hour)
			same(s, ctx)
			s.SetTimeouts(time.Minute, 0)
			s.SetTimeouts(0, 4*time.Hour) // zero leaves the other as it is
			same(s, ctx)
			s.SetLabel("l", "3") // a label alone
			if s.Label("l") != "3" {
				t.Errorf("label %q before the commit", s.Label("l"))
			}
			same(s, ctx)
			old := s.Handle()
			s.SetOwner("alex")
			if s.Handle() == old {
				t.Errorf("the handle is the old one")
			}
			same(s, ctx)
			time.Sleep(30 * time.Second)
			s.Renew()
			s.Renew()
			same(s, ctx)
		})
		if len(r.Header["Set-Cookie"]) != 1 {
			t.Errorf("Set-Cookie: %v", r.Header["Set-Cookie"])
		}
		if d, _, _ := strings.Cut(r.Header.Get("Set-Cookie"), "Max-Age=14400"); d == r.Header.Get("Set-Cookie") {
			t.Logf("%v", r.Header)
		}
	})
}

func TestDestroyAndEnded(t *testing.T) {
	a := newApp(t, session.Config{})
	c := cookie(t, a.do("/set?v=x"))
	a.handle("/dsd", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		s.Destroy()
		name.Set(s, "y")
		s.Destroy()
		if _, ok := name.Get(s); ok {
			t.Error("what was set before Destroy is still there")
		}
	})
	r := a.do("/dsd", c)
	if got := read(a.do("/get", c)); got != `"" false` || len(r.Cookies()) != 1 || r.Cookies()[0].MaxAge >= 0 {
		t.Errorf("Destroy, Set, Destroy: %s, %v", got, r.Cookies())
	}
	c = cookie(t, a.do("/set?v=x"))
	a.handle("/sdc", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		name.Set(s, "pending")
		s.Destroy()
		count.Set(s, 1)
		if _, ok := name.Get(s); ok {
			t.Error("pending from before Destroy")
		}
	})
	a.do("/sdc", c)
	// One owner after another in one request.
	a.handle("/two", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		s.SetOwner("a")
		name.Set(s, "of a")
		s.SetOwner("b")
		if _, ok := name.Get(s); ok {
			t.Error("b has what a had")
		}
	})
	a.do("/two")
	a.handle("/unsent", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		before := s.Secret("x")
		s.Renew()
		if s.Secret("x") == before {
			t.Error("Renew of a session that is not stored keeps its secret")
		}
	})
	a.do("/unsent")
	// An ended session is not asked for again.
	c = cookie(t, a.do("/set?v=x"))
	a.handle("/ended", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		a.do("/out", c)
		a.store.counts()
		name.Set(s, "y")
		for range 2 {
			if err := s.Commit(r.Context()); !errors.Is(err, session.ErrEnded) {
				t.Error(err)
			}
		}
		if _, w, _ := a.store.counts(); w != 1 {
			t.Errorf("%d commits", w)
		}
	})
	if r := a.do("/ended", c); r.StatusCode != 409 {
		t.Error(r.StatusCode)
	}
	// The deletion is done once although the creation fails.
	c = cookie(t, a.do("/set?v=x"))
	a.handle("/half", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		s.Destroy()
		name.Set(s, strings.Repeat("x", 60<<10))
		if err := s.Commit(r.Context()); err != nil {
			t.Fatal(err)
		}
	})
	a.kinds()
	a.do("/half", c)
}

type plainWriter struct {
	h    http.Header
	code []int
	from int
}

func (p *plainWriter) Header() http.Header { return p.h }

func (p *plainWriter) Write(b []byte) (int, error) { return len(b), nil }

func (p *plainWriter) WriteHeader(c int) { p.code = append(p.code, c) }

func (p *plainWriter) ReadFrom(r io.Reader) (int64, error) {
	p.from++
	return io.Copy(io.Discard, r)
}

func TestWriterEdges(t *testing.T) {
	a := newApp(t, session.Config{})
	run := func(f func(s *session.Session, w http.ResponseWriter)) *plainWriter {
		p := &plainWriter{h: http.Header{}}
		a.m.Handler(a.m.With(func(w http.ResponseWriter, _ *http.Request, s *session.Session) { f(s, w) })).ServeHTTP(p, httptest.NewRequest("GET", "/", nil))
		return p
	}
	run(func(s *session.Session, w http.ResponseWriter) {
		name.Set(s, "x")
		w.WriteHeader(http.StatusSwitchingProtocols)
		if w.Header().Get("Set-Cookie") == "" {
			t.Error("101 without the cookie")
		}
	})
	if p := run(func(_ *session.Session, w http.ResponseWriter) { io.Copy(w, strings.NewReader("x")) }); p.from != 0 {
		t.Log("io.Copy of a WriterTo")
	}
	if p := run(func(_ *session.Session, w http.ResponseWriter) {
		io.Copy(w, io.LimitReader(strings.NewReader("x"), 1))
	}); p.from != 1 {
		t.Error("ReadFrom of the server is out of reach")
	}
	p := run(func(s *session.Session, w http.ResponseWriter) {
		name.Set(s, "x")
		a.store.fail(errors.New("down"))
		w.WriteHeader(200)
		w.WriteHeader(103) // after the answer was replaced
		if _, _, err := w.(http.Hijacker).Hijack(); !errors.Is(err, session.ErrRefused) {
			t.Errorf("Hijack after the refusal: %v", err)
		}
		a.store.fail(nil)
	})
	if len(p.code) != 1 || p.code[0] != 503 || p.h.Get("Cache-Control") != "no-store" {
		t.Errorf("%v %v", p.code, p.h)
	}
	if a.store.Stats().Sessions != 1 {
		t.Errorf("what was refused was stored after all: %+v", a.store.Stats())
	}
	_ = memory.Config{}
}

func TestEdges(t *testing.T) {
	a := newApp(t, session.Config{})
	a.handle("/in", func(s *session.Session, _ http.ResponseWriter, _ *http.Request) {
		s.SetOwner("a")
		name.Set(s, "flash")
	})
	c := cookie(t, a.do("/in"))
	a.handle("/take", func(s *session.Session, w http.ResponseWriter, _ *http.Request) {
		v, ok := name.Take(s)
		if _, again := name.Get(s); again {
			t.Error("still there after Take")
		}
		io.WriteString(w, v)
		_ = ok
	})
	if one, two := read(a.do("/take", c)), read(a.do("/take", c)); one != "flash" || two != "" {
		t.Errorf("Take: %q, %q", one, two)
	}
	a.kinds()
	a.mu.Lock()
	a.events = nil
	a.mu.Unlock()
	a.m.EndAll(t.Context(), session.Query{Owner: "a"})
	a.mu.Lock()
	if len(a.events) != 1 || a.events[0].Kind != session.Ended || a.events[0].Reason != session.Revoked || a.events[0].Owner != "a" {
		t.Errorf("EndAll: %+v", a.events)
	}
	a.mu.Unlock()
	// goroutines of one request
	var n int
	a.handle("/many", func(s *session.Session, _ http.ResponseWriter, r *http.Request) {
		if err := s.Commit(r.Context()); err != nil {
			t.Error(err)
		}
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				if err := count.Update(r.Context(), s, func(n int) int { return n + 1 }); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		n, _ = count.Get(s)
	})
	c = cookie(t, a.do("/set?v=x"))
	a.do("/many", c)
	if n != 16 {
		t.Errorf("16 goroutines of one request counted to %d", n)
	}
	// Set, then Update with a conflict condition on what is stored
	a.handle("/setup", func(s *session.Session, _ http.ResponseWriter, r *http.Request) {
		count.Set(s, 100)
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		if err := count.Update(ctx, s, func(n int) int { return n + 1 }); err != nil {
			t.Error(err)
		}
		n, _ = count.Get(s)
	})
	a.do("/setup", c)
	if n != 101 {
		t.Errorf("Set then Update: %d", n)
	}
}
