package session_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

// who answers with what the session holds.
func who(s *session.Session, w http.ResponseWriter, _ *http.Request) {
	v, _ := name.Get(s)
	n, _ := count.Get(s)
	fmt.Fprintf(w, "%s %s %d %s", s.Owner(), v, n, s.Label("device"))
}

// TestDiscard: a handler that gives up leaves the session as it was loaded.
func TestDiscard(t *testing.T) {
	for _, keys := range [][][]byte{nil, {make([]byte, 32)}} {
		a := newApp(t, session.Config{Keys: keys})
		a.handle("/who", who)
		changes := map[string]func(s *session.Session){
			"sign-in":          func(s *session.Session) { s.SetOwner("alice") },
			"another's":        func(s *session.Session) { s.SetOwner("bob"); name.Set(s, "of bob") },
			"sign-out":         func(s *session.Session) { s.Destroy() },
			"and again":        func(s *session.Session) { s.Destroy(); name.Set(s, "y"); s.Destroy() },
			"renewal":          func(s *session.Session) { s.Renew() },
			"values":           func(s *session.Session) { name.Set(s, "y"); count.Set(s, 2); s.SetLabel("device", "phone") },
			"deletion":         func(s *session.Session) { name.Delete(s) },
			"clocks":           func(s *session.Session) { s.SetTimeouts(time.Millisecond, time.Millisecond) },
			"what cannot be":   func(s *session.Session) { session.NewKey[float64]("f").Set(s, math.NaN()); s.SetTimeouts(-1, -1) },
			"an owner too far": func(s *session.Session) { s.SetOwner(strings.Repeat("x", 256)) },
			"a secret":         func(s *session.Session) { s.Secret("x") },
		}
		for what, change := range changes {
			for how, discard := range map[string]func(ctx context.Context, s *session.Session){
				"Session": func(_ context.Context, s *session.Session) { s.Discard() },
				"Manager": func(ctx context.Context, _ *session.Session) { a.m.Discard(ctx) },
			} {
				mux := http.NewServeMux()
				mux.Handle("/", a.m.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
					defer func() {
						_ = recover()
						discard(r.Context(), s)
						who(s, w, r)
					}()
					change(s)
					panic("halfway")
				}))
				for state, c := range map[string]string{
					"none": "", "anonymous": cookie(t, a.do("/set?v=x")), "signed in": cookie(t, a.do("/as?v=x")),
				} {
					want := strings.TrimSuffix(read(a.do("/who", c)), "")
					r := httptest.NewRequest("GET", "/", nil)
					r.Header.Set("Cookie", c)
					w := httptest.NewRecorder()
					a.m.Handler(mux).ServeHTTP(w, r)
					if w.Code != http.StatusOK || len(w.Result().Cookies()) != 0 || w.Body.String() != want {
						t.Errorf("%s, %s, %s: %d, %q, want %q; %v", state, what, how, w.Code, w.Body, want, w.Header())
					}
					if got := read(a.do("/who", c)); got != want {
						t.Errorf("%s, %s, %s: later %q, want %q", state, what, how, got, want)
					}
				}
			}
		}
		a.m.Discard(t.Context()) // outside of a request: nothing to discard
	}
}

// TestTakenBack: what cannot be stored can be set again, and then is.
func TestTakenBack(t *testing.T) {
	a := newApp(t, session.Config{MaxBytes: 1000})
	ratio := session.NewKey[float64]("ratio")
	long := strings.Repeat("x", 256)
	for what, c := range map[string]struct{ wrong, right func(s *session.Session) }{
		"deleted":      {func(s *session.Session) { ratio.Set(s, math.NaN()) }, func(s *session.Session) { ratio.Delete(s) }},
		"set":          {func(s *session.Session) { ratio.Set(s, math.Inf(1)) }, func(s *session.Session) { ratio.Set(s, 1) }},
		"too large":    {func(s *session.Session) { name.Set(s, strings.Repeat("x", 2000)) }, func(s *session.Session) { name.Set(s, "y") }},
		"owner":        {func(s *session.Session) { s.SetOwner(long) }, func(s *session.Session) { s.SetOwner("alice") }},
		"label":        {func(s *session.Session) { s.SetLabel("device", long) }, func(s *session.Session) { s.SetLabel("device", "phone") }},
		"label taken":  {func(s *session.Session) { s.SetLabel("device", "\n") }, func(s *session.Session) { s.SetLabel("device", "") }},
		"no label":     {func(s *session.Session) { s.SetLabel("", "x") }, func(s *session.Session) { s.SetLabel("", "") }},
		"clocks":       {func(s *session.Session) { s.SetTimeouts(-1, 0) }, func(s *session.Session) { s.SetTimeouts(time.Minute, 0) }},
		"clocks, long": {func(s *session.Session) { s.SetTimeouts(0, 25*time.Hour) }, func(s *session.Session) { s.SetTimeouts(0, 24*time.Hour) }},
		"discarded":    {func(s *session.Session) { ratio.Set(s, math.NaN()); s.SetLabel("x", long) }, (*session.Session).Discard},
	} {
		h := a.m.Handler(a.m.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			name.Set(s, "x")
			c.wrong(s)
			if err := s.Commit(r.Context()); !errors.Is(err, session.ErrValue) && !errors.Is(err, session.ErrTooLarge) {
				t.Errorf("%s: Commit: %v", what, err)
			}
			c.right(s)
			w.WriteHeader(http.StatusTeapot)
		}))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if w.Code != http.StatusTeapot {
			t.Errorf("%s: status %d", what, w.Code)
		}
	}
	// Another key does not take it back.
	a.handle("/other", func(s *session.Session, _ http.ResponseWriter, _ *http.Request) {
		ratio.Set(s, math.NaN())
		ratio.Set(s, math.NaN())
		name.Set(s, "x")
	})
	if r := a.do("/other"); r.StatusCode != http.StatusInternalServerError {
		t.Errorf("another key: status %d", r.StatusCode)
	}
}

// TestSignInTwice: two requests with one form find one session; the second signs
// in, whatever the first has made of that session.
func TestSignInTwice(t *testing.T) {
	for _, keys := range [][][]byte{nil, {make([]byte, 32)}} {
		for first, change := range map[string]func(s *session.Session){
			"signed in": func(s *session.Session) { s.SetOwner("alice") }, "renewed": (*session.Session).Renew, "ended": (*session.Session).Destroy,
			"as another": func(s *session.Session) { s.SetOwner("bob") },
		} {
			for state, path := range map[string]string{"anonymous": "/set?v=x", "of another": "/as?v=carol", "of the same": "/as?v=alice"} {
				a := newApp(t, session.Config{Keys: keys})
				a.handle("/who", who)
				a.handle("/first", func(s *session.Session, _ http.ResponseWriter, _ *http.Request) { change(s) })
				c := cookie(t, a.do(path))
				a.handle("/second", func(s *session.Session, _ http.ResponseWriter, _ *http.Request) {
					a.do("/first", c)
					s.SetOwner("alice")
					count.Set(s, 1)
				})
				r := a.do("/second", c)
				if r.StatusCode != http.StatusOK {
					t.Fatalf("%s, %s: status %d", state, first, r.StatusCode)
				}
				if got := read(a.do("/who", cookie(t, r))); got != "alice  1 " {
					t.Errorf("%s, %s: the session has %q", state, first, got)
				}
				if got := read(a.do("/who", c)); got != "  0 " {
					t.Errorf("%s, %s: the old cookie finds %q", state, first, got)
				}
			}
		}
	}
	// What is no sign-in does not bring the session back.
	a := newApp(t, session.Config{})
	for what, change := range map[string]func(s *session.Session){
		"a value": func(s *session.Session) { name.Set(s, "y") }, "a renewal": (*session.Session).Renew, "a sign-out": (*session.Session).Destroy,
		"an empty owner": func(s *session.Session) { s.SetOwner("") },
	} {
		c := cookie(t, a.do("/as?v=alice"))
		w := httptest.NewRecorder()
		req := httptest.NewRequest("GET", "/", nil)
		req.Header.Set("Cookie", c)
		a.m.Handler(a.m.With(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			a.do("/out", c)
			change(s)
		})).ServeHTTP(w, req)
		if r := w.Result(); r.StatusCode != http.StatusConflict || len(r.Cookies()) != 0 {
			t.Errorf("%s after the end: status %d, %v", what, r.StatusCode, r.Header)
		}
	}
}

// TestResume: a request that is the same again gets the session that the first
// one made.
func TestResume(t *testing.T) {
	for _, keys := range [][][]byte{nil, {make([]byte, 32)}} {
		a := newApp(t, session.Config{Keys: keys})
		a.handle("/who", who)
		form := func(r *http.Request) (key [32]byte) {
			copy(key[:], r.FormValue("form"))
			return key
		}
		a.handle("/form", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
			switch again, err := s.Resume(r.Context(), form(r)); {
			case err != nil:
				t.Error(err)
			case again:
				fmt.Fprint(w, "again")
				return
			}
			name.Set(s, "first")
			s.Derive(form(r))
			s.SetOwner("alice")
		})
		before := cookie(t, a.do("/set?v=x"))
		for n, c := range []string{"", before} {
			path := fmt.Sprint("/form?form=", n)
			one := cookie(t, a.do(path, c))
			for _, sent := range []string{c, one, ""} {
				r := a.do(path, sent)
				if two := cookie(t, r); read(r) != "again" || two != one {
					t.Errorf("the form again: %v, not %s", r.Header, one)
				}
			}
			if got := read(a.do("/who", one)); got != "alice first 0 " {
				t.Errorf("the session has %q", got)
			}
			if other := cookie(t, a.do(path+"x")); other == one {
				t.Errorf("another form has the same session")
			}
			n := 0
			for range a.m.List(t.Context(), session.Query{Owner: "alice"}) {
				n++
			}
			if n != 2 {
				t.Errorf("%d sessions, want one for each form", n)
			}
			if _, err := a.m.EndAll(t.Context(), session.Query{Owner: "alice"}); err != nil {
				t.Fatal(err)
			}
		}
		// A key that was used already does not find, or take, another's session.
		a.handle("/derive", func(s *session.Session, _ http.ResponseWriter, r *http.Request) {
			s.Derive(form(r))
			s.SetOwner(r.FormValue("v"))
		})
		one := cookie(t, a.do("/derive?form=used&v=alice"))
		two := cookie(t, a.do("/derive?form=used&v=bob", cookie(t, a.do("/set?v=x"))))
		if one == two || !strings.HasPrefix(read(a.do("/who", one)), "alice ") || !strings.HasPrefix(read(a.do("/who", two)), "bob ") {
			t.Errorf("a key used twice: %s and %s", one, two)
		}
		// The client may have gone: a request that is the same finds it.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r := httptest.NewRequest("GET", "/derive?form=gone&v=alice", nil).WithContext(ctx)
		r.Header.Set("Cookie", cookie(t, a.do("/set?v=x")))
		a.m.Handler(a.mux).ServeHTTP(httptest.NewRecorder(), r)
		if got := read(a.do("/form?form=gone")); got != "again" {
			t.Errorf("after the client has gone: %q", got)
		}
		// An error, and a header that has gone.
		a.handle("/late", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusOK)
			if ok, err := s.Resume(r.Context(), form(r)); ok || !errors.Is(err, session.ErrHeaderSent) {
				t.Errorf("Resume after the header: %v, %v", ok, err)
			}
			a.store.fail(errors.New("away"))
			defer a.store.fail(nil)
			if ok, err := s.Resume(r.Context(), form(r)); ok || err == nil {
				t.Errorf("Resume without a store: %v, %v", ok, err)
			}
		})
		a.do("/late?form=gone")
	}
}

// TestLoweredTimeouts: what is configured now bounds the sessions of before, for
// good, and sign-ins.
func TestLoweredTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := memory.New(memory.Config{})
		store := struct {
			session.Store
			session.Lister
		}{all, all} // which is not swept
		configured := func(idle, absolute time.Duration) (do func(path string, cookies ...string) *http.Response, m *session.Manager, events *[]session.Event) {
			events = new([]session.Event)
			m, err := session.New(session.Config{
				Store: store, Idle: idle, Absolute: absolute,
				Observe: func(_ context.Context, e session.Event) { *events = append(*events, e) },
			})
			if err != nil {
				t.Fatal(err)
			}
			mux := http.NewServeMux()
			mux.Handle("/set", m.With(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { name.Set(s, "x") }))
			mux.Handle("/in", m.With(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetOwner("alice") }))
			mux.Handle("/who", m.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) { who(s, w, r) }))
			return func(path string, cookies ...string) *http.Response {
				r := httptest.NewRequest("GET", path, nil)
				for _, c := range cookies {
					r.Header.Add("Cookie", c)
				}
				w := httptest.NewRecorder()
				m.Handler(mux).ServeHTTP(w, r)
				return w.Result()
			}, m, events
		}
		long, longManager, _ := configured(24*time.Hour, 30*24*time.Hour)
		short, m, events := configured(15*time.Minute, time.Hour)

		// A sign-in.
		c := cookie(t, short("/in", cookie(t, long("/set"))))
		time.Sleep(14 * time.Minute)
		if got := read(short("/who", c)); got != "alice x 0 " {
			t.Errorf("in time: %q", got)
		}
		time.Sleep(16 * time.Minute)
		if got := read(short("/who", c)); got != "  0 " {
			t.Errorf("after idling: %q", got)
		}

		// One that is only read, by both clocks.
		c = cookie(t, long("/set"))
		time.Sleep(14 * time.Minute)
		if got := read(short("/who", c)); got != " x 0 " {
			t.Errorf("in time: %q", got)
		}
		time.Sleep(16 * time.Minute)
		// The record has the lowered times by now.
		if got := read(long("/who", c)); got != "  0 " {
			t.Errorf("after idling, with the long times again: %q", got)
		}
		c = cookie(t, long("/set"))
		for range 5 {
			time.Sleep(10 * time.Minute)
			short("/who", c)
		}
		time.Sleep(10 * time.Minute)
		if got := read(short("/who", c)); got != "  0 " {
			t.Errorf("after an hour: %q", got)
		}

		// One that is over by the lowered times when it is first seen has ended
		// for good.
		c = cookie(t, long("/in"))
		time.Sleep(20 * time.Minute)
		h := func(m *session.Manager) (n int) {
			for range m.List(t.Context(), session.Query{Owner: "alice"}) {
				n++
			}
			return n
		}
		if h(m) != 0 || h(longManager) != 1 {
			t.Errorf("listed: %d with the short times, %d with the long ones", h(m), h(longManager))
		}
		for i := range longManager.List(t.Context(), session.Query{Owner: "alice"}) {
			if _, err := m.Find(t.Context(), i.Handle); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("Find with the short times: %v", err)
			}
		}
		*events = nil
		if got := read(short("/who", c)); got != "  0 " {
			t.Errorf("20 minutes idle: %q", got)
		}
		if got := read(long("/who", c)); got != "  0 " {
			t.Errorf("it came back: %q", got)
		}
		if len(*events) != 1 || (*events)[0].Kind != session.Ended || (*events)[0].Reason != session.Expired {
			t.Errorf("events %v", *events)
		}
		// Listed deadlines are those that hold.
		long("/in")
		for i := range m.List(t.Context(), session.Query{Owner: "alice"}) {
			if left := time.Until(i.Deadline); left != 15*time.Minute {
				t.Errorf("listed with %v left", left)
			}
		}
	})
}

// TestPassive: a page that polls does not keep its session alive.
func TestPassive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for what, change := range map[string]func(s *session.Session, r *http.Request){
			"reads": func(*session.Session, *http.Request) {}, "changes": func(s *session.Session, _ *http.Request) { count.Set(s, 1) },
			"commits": func(s *session.Session, r *http.Request) { _ = s.Commit(r.Context()) },
			"updates": func(s *session.Session, r *http.Request) {
				if err := count.Update(r.Context(), s, func(n int) int { return n + 1 }); err != nil {
					t.Error(err)
				}
			},
		} {
			a := newApp(t, session.Config{Idle: 30 * time.Minute})
			a.mux.HandleFunc("/poll", func(w http.ResponseWriter, r *http.Request) {
				if _, err := a.m.Load(r.Context()); err != nil { // as middleware does
					t.Error(err)
				}
				s, err := a.m.LoadPassive(r.Context())
				if err != nil {
					t.Error(err)
				}
				existed := s.Exists()
				change(s, r)
				fmt.Fprint(w, existed)
			})
			c := cookie(t, a.do("/set?v=x"))
			for range 29 {
				time.Sleep(time.Minute)
				if got := read(a.do("/poll", c)); got != "true" {
					t.Fatalf("%s: over too soon", what)
				}
			}
			time.Sleep(time.Minute)
			if got := read(a.do("/poll", c)); got != "false" {
				t.Errorf("%s: alive after half an hour of polls", what)
			}
		}
		a := newApp(t, session.Config{})
		a.store.fail(errors.New("away"))
		a.mux.HandleFunc("/poll", func(_ http.ResponseWriter, r *http.Request) {
			if _, err := a.m.LoadPassive(r.Context()); err == nil {
				t.Error("no error")
			}
		})
		a.do("/poll", "__Host-session="+strings.Repeat("A", 43))
	})
}

// TestManyKeys: as many keys as fit are kept, and found, in one request.
func TestManyKeys(t *testing.T) {
	const n = 16_000
	a := newApp(t, session.Config{MaxBytes: 1 << 20})
	keys := make([]session.Key[int], n)
	for i := range keys {
		keys[i] = session.NewKey[int]("k" + strconv.Itoa(i))
	}
	a.handle("/all", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		for round := range 3 {
			for i, k := range keys {
				if v, ok := k.Get(s); round > 0 && (!ok || v != i+round-1) {
					t.Fatalf("round %d: key %d is %d, %v", round, i, v, ok)
				}
				k.Set(s, i+round)
			}
			if round == 1 {
				if err := s.Commit(r.Context()); err != nil {
					t.Error(err)
				}
			}
		}
		for i, k := range keys {
			if i%2 == 0 {
				k.Delete(s)
			}
		}
	})
	a.handle("/half", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		found := 0
		for i, k := range keys {
			if v, ok := k.Get(s); ok != (i%2 == 1) || ok && v != i+2 {
				t.Fatalf("key %d is %d, %v", i, v, ok)
			} else if ok {
				found++
			}
		}
		fmt.Fprint(w, found)
	})
	r := a.do("/all")
	if r.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", r.StatusCode, a.logged())
	}
	if got := read(a.do("/half", cookie(t, r))); got != strconv.Itoa(n/2) {
		t.Errorf("%s keys are left", got)
	}
}

// TestConcurrentFirstValues: requests that are the first to store something in
// one session that has no record keep each other's keys.
// TestManyOfEach: what a request has many of, of the kinds that are looked up by name.
func TestManyOfEach(t *testing.T) {
	const n = 16_000
	a := newApp(t, session.Config{MaxBytes: 1 << 24})
	floats, texts := make([]session.Key[float64], n), make([]session.Key[string], n)
	for i := range n {
		floats[i], texts[i] = session.NewKey[float64]("k"+strconv.Itoa(i)), session.NewKey[string]("k"+strconv.Itoa(i))
	}
	label := func(i int) string { return "l" + strconv.Itoa(i) }
	a.handle("/labels", func(s *session.Session, _ http.ResponseWriter, r *http.Request) {
		for round := range 2 {
			for i := range n {
				s.SetLabel(label(i), strconv.Itoa(i+round))
			}
			for i := range n {
				if got := s.Label(label(i)); got != strconv.Itoa(i+round) {
					t.Fatalf("label %d is %q", i, got)
				}
			}
			if err := s.Commit(r.Context()); !errors.Is(err, session.ErrValue) {
				t.Errorf("%d labels: %v", n, err)
			}
		}
		for i := range n - 32 {
			s.SetLabel(label(i), "")
		}
		if err := s.Commit(r.Context()); err != nil {
			t.Errorf("with 32 labels left: %v", err)
		}
		for i := range n {
			if got := s.Label(label(i)); (got != "") != (i >= n-32) {
				t.Fatalf("label %d is %q", i, got)
			}
		}
	})
	a.handle("/invalid", func(s *session.Session, _ http.ResponseWriter, r *http.Request) {
		for _, k := range floats {
			k.Set(s, nan())
		}
		for i, k := range floats {
			if err := s.Commit(r.Context()); i%4000 == 0 && !errors.Is(err, session.ErrValue) {
				t.Errorf("with %d that cannot be stored: %v", n-i, err)
			}
			k.Set(s, 1)
			if i < n-1 && i%1000 != 0 {
				floats[n-1].Set(s, nan()) // the same key again and again
			}
		}
		if err := s.Commit(r.Context()); err != nil {
			t.Errorf("all taken back: %v", err)
		}
	})
	a.handle("/unreadable", func(s *session.Session, _ http.ResponseWriter, _ *http.Request) {
		for range 2 {
			for _, k := range texts {
				if _, ok := k.Get(s); ok {
					t.Fatal("a number as a text")
				}
			}
		}
	})
	if r := a.do("/labels"); r.StatusCode != http.StatusOK {
		t.Errorf("labels: status %d", r.StatusCode)
	}
	c := cookie(t, a.do("/invalid"))
	a.kinds()
	a.do("/unreadable", c)
	if got := len(a.kinds()); got != n {
		t.Errorf("%d events of %d keys that cannot be read", got, n)
	}
}

// whole keeps each record whole, and hands out what it keeps.
type whole struct {
	*faulty
	mu      sync.Mutex
	records map[session.ID]session.Record
	kept    []session.Field // as they were when they were handed out
	given   []session.Field
}

func (w *whole) Load(_ context.Context, id session.ID) (session.Record, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, ok := w.records[id]
	if !ok {
		return r, session.ErrNotFound
	}
	w.given, w.kept = r.Fields, slices.Clone(r.Fields)
	return r, nil
}

func (w *whole) Commit(_ context.Context, id session.ID, d *session.Delta) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.records[id]
	for _, c := range d.If {
		i := slices.IndexFunc(r.Fields, func(f session.Field) bool { return f.Key == c.Key })
		if i < 0 && c.Value != "" || i >= 0 && r.Fields[i].Value != c.Value {
			return session.ErrConflict
		}
	}
	r.Fields = session.MergeFields(r.Fields, d.Set, d.Delete)
	r.Labels = session.MergeLabels(r.Labels, d.Labels)
	r.Seen = d.Seen
	if d.Create {
		r.ID, r.Created, r.Idle, r.Expires = id, d.Seen, d.Idle, d.Expires
	}
	w.records[id] = r
	return nil
}

func (w *whole) Delete(_ context.Context, id session.ID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.records, id)
	return nil
}

// TestManyCommits: a request with many keys sees after each of many commits what the
// store has, and does not change what the store has handed out.
func TestManyCommits(t *testing.T) {
	const n = 60
	keys := make([]session.Key[int], n)
	for i := range keys {
		keys[i] = session.NewKey[int]("k" + strconv.Itoa(i))
	}
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test
		store := &whole{records: make(map[session.ID]session.Record)}
		m, err := session.New(session.Config{Store: store, MaxBytes: n * 20})
		if err != nil {
			t.Fatal(err)
		}
		var committed, seen [n]int // 0: absent
		do := func(c string, f func(s *session.Session, r *http.Request)) string {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Cookie", c)
			w := httptest.NewRecorder()
			m.Handler(m.With(func(_ http.ResponseWriter, r *http.Request, s *session.Session) { f(s, r) })).ServeHTTP(w, r)
			if w.Code != http.StatusOK {
				t.Fatalf("seed %d: status %d", seed, w.Code)
			}
			if cookies := w.Result().Cookies(); len(cookies) == 1 {
				return cookies[0].Name + "=" + cookies[0].Value
			}
			return c
		}
		step := func(s *session.Session, r *http.Request) {
			i, v := random.IntN(n), 1+random.IntN(1000)
			switch random.IntN(12) {
			case 0, 1, 2, 3:
				keys[i].Set(s, v)
				seen[i] = v
			case 4, 5:
				keys[i].Delete(s)
				seen[i] = 0
			case 6, 7, 8:
				if err := s.Commit(r.Context()); err != nil {
					t.Fatal(err)
				}
				committed = seen
			case 9:
				if err := keys[i].Update(r.Context(), s, func(n int) int { return n + 1 }); err != nil {
					t.Fatal(err)
				}
				seen[i]++
				committed = seen
			case 10:
				if got, ok, err := keys[i].Consume(r.Context(), s); err != nil || got != seen[i] || ok != (got != 0) {
					t.Fatalf("seed %d: consumed %d, %v, %v; want %d", seed, got, ok, err, seen[i])
				} else if ok {
					seen[i] = 0
					committed = seen
				}
			case 11:
				if random.IntN(2) == 0 {
					s.Destroy() // and something else, and all of that given up
					for i := range n {
						keys[i].Set(s, 7)
					}
				}
				s.Discard()
				seen = committed
			}
			for i, k := range keys {
				if got, ok := k.Get(s); got != seen[i] || ok != (got != 0) {
					t.Fatalf("seed %d: key %d is %d, %v; want %d", seed, i, got, ok, seen[i])
				}
			}
		}
		var c string
		for range 4 {
			c = do(c, func(s *session.Session, r *http.Request) {
				if !s.Exists() {
					for i := range n / 2 {
						keys[i].Set(s, i+1)
						seen[i] = i + 1
					}
				}
				for range 100 {
					step(s, r)
				}
			})
			committed = seen
			if !slices.Equal(store.given, store.kept) {
				t.Fatalf("seed %d: what the store handed out was changed", seed)
			}
		}
	}
}

// TestTooLargeInMany: the bound on a session of many keys, over many commits.
func TestTooLargeInMany(t *testing.T) {
	const n, each = 50, 4 + 3 // "key0" and a number of three digits
	a := newApp(t, session.Config{MaxBytes: n * each})
	keys := make([]session.Key[int], n+10)
	for i := range keys {
		keys[i] = session.NewKey[int](fmt.Sprintf("k%03d", i))
	}
	a.handle("/", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		commit := func(want error) {
			t.Helper()
			if err := s.Commit(r.Context()); !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		}
		for i := range n {
			keys[i].Set(s, 100)
			commit(nil)
		}
		for range 3 {
			keys[n].Set(s, 100)
			commit(session.ErrTooLarge)
			s.Discard()
			keys[0].Set(s, 1000)
			commit(session.ErrTooLarge)
			s.Discard()
			keys[0].Set(s, 999)
			commit(nil)
			keys[1].Delete(s)
			keys[n].Set(s, 100)
			commit(nil)
			keys[n].Delete(s)
			commit(nil)
			keys[1].Set(s, 100)
			commit(nil)
		}
	})
	if r := a.do("/"); r.StatusCode != http.StatusOK {
		t.Errorf("status %d: %s", r.StatusCode, a.logged())
	}
}

// TestUpdateOfMany: an Update in a session of many keys copies none of the others.
func TestUpdateOfMany(t *testing.T) {
	const n = 16_000
	m, err := session.New(session.Config{Store: takesAll{newFaulty()}, MaxBytes: 1 << 24})
	if err != nil {
		t.Fatal(err)
	}
	keys := make([]session.Key[int], n)
	for i := range keys {
		keys[i] = session.NewKey[int]("k" + strconv.Itoa(i))
	}
	m.Handler(m.With(func(_ http.ResponseWriter, r *http.Request, s *session.Session) {
		for _, k := range keys {
			k.Set(s, 1)
		}
		if err := s.Commit(r.Context()); err != nil {
			t.Fatal(err)
		}
		update := func(keys []session.Key[int]) {
			for _, k := range keys {
				if err := k.Update(r.Context(), s, func(n int) int { return n + 1 }); err != nil {
					t.Fatal(err)
				}
			}
		}
		update(keys[:100]) // the first ones copy
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		update(keys)
		runtime.ReadMemStats(&after)
		if each := (after.TotalAlloc - before.TotalAlloc) / n; each > 10_000 {
			t.Errorf("%d bytes for an Update in a session of %d keys", each, n)
		}
		for i, k := range keys {
			if v, _ := k.Get(s); v != 2+map[bool]int{true: 1}[i < 100] {
				t.Fatalf("key %d is %d", i, v)
			}
		}
	})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
}

// takesAll is a store that takes every commit and keeps none.
type takesAll struct{ *faulty }

func (takesAll) Commit(context.Context, session.ID, *session.Delta) error { return nil }

func TestConcurrentFirstValues(t *testing.T) {
	a := newApp(t, session.Config{Keys: [][]byte{make([]byte, 32)}})
	a.handle("/form", func(s *session.Session, _ http.ResponseWriter, _ *http.Request) { s.Secret("form") })
	ready := make(chan struct{})
	a.handle("/key", func(s *session.Session, _ http.ResponseWriter, r *http.Request) {
		<-ready
		session.NewKey[string](r.FormValue("k")).Set(s, "x")
	})
	a.handle("/count", func(s *session.Session, _ http.ResponseWriter, r *http.Request) {
		<-ready
		if err := count.Update(r.Context(), s, func(n int) int { return n + 1 }); err != nil {
			t.Error(err)
		}
	})
	c := cookie(t, a.do("/form"))
	var wg sync.WaitGroup
	const n = 64
	for i := range n {
		path := "/count"
		if i%2 == 0 {
			path = fmt.Sprint("/key?k=", i)
		}
		wg.Go(func() {
			if r := a.do(path, c); r.StatusCode != http.StatusOK || len(r.Cookies()) != 0 {
				t.Errorf("%s: status %d, cookies %v", path, r.StatusCode, r.Cookies())
			}
		})
	}
	close(ready)
	wg.Wait()
	a.handle("/keys", func(s *session.Session, w http.ResponseWriter, _ *http.Request) {
		found, _ := count.Get(s)
		for i := range n {
			if _, ok := session.NewKey[string](strconv.Itoa(i)).Get(s); ok {
				found++
			}
		}
		fmt.Fprint(w, found)
	})
	if got := read(a.do("/keys", c)); got != strconv.Itoa(n) {
		t.Errorf("%s of %d values are there", got, n)
	}
}
