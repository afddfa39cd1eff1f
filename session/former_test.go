package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// formerly is the cookie as it was under the name "old".
func formerly(c string) string {
	_, value, _ := strings.Cut(c, "=")
	return "old=" + value
}

// present returns the cookie that the answer sets under the present name, "" if none.
func present(r *http.Response) string {
	for _, c := range r.Cookies() {
		if c.Name == "__Host-session" {
			return c.Name + "=" + c.Value
		}
	}
	return ""
}

// formerApp is an app whose cookie had the name "old".
func formerApp(t *testing.T, cfg session.Config) *app {
	cfg.FormerNames = []string{"old"}
	a := newApp(t, cfg)
	a.handle("/who", who)
	a.handle("/form", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%x", s.Secret("csrf"))
	})
	a.handle("/renew", func(s *session.Session, _ http.ResponseWriter, _ *http.Request) { s.Renew() })
	return a
}

// TestFormerNameTwice: requests that a browser sends with the former cookie, before
// it has the answer to the first of them, find the session.
func TestFormerNameTwice(t *testing.T) {
	for _, keys := range [][][]byte{nil, {make([]byte, 32)}} {
		a := formerApp(t, session.Config{Keys: keys})
		c := formerly(cookie(t, a.do("/as?v=alice")))
		first := a.do("/form", c)
		second := a.do("/form", c)
		if present(first) == "" || present(second) != present(first) || read(first) != read(second) {
			t.Errorf("one after the other: %v and %v", first.Header, second.Header)
		}
		if got := read(a.do("/who", present(second))); got != "alice  0 " {
			t.Errorf("with the last cookie: %q", got)
		}

		// At once, and each with a change of its own.
		c = formerly(cookie(t, a.do("/as?v=alice")))
		var there, wg sync.WaitGroup
		const n = 16
		there.Add(n)
		a.handle("/own", func(s *session.Session, _ http.ResponseWriter, r *http.Request) {
			there.Done()
			there.Wait() // until all have loaded the session
			session.NewKey[bool](r.FormValue("k")).Set(s, true)
		})
		a.handle("/keys", func(s *session.Session, w http.ResponseWriter, _ *http.Request) {
			has := 0
			for i := range n {
				if v, _ := session.NewKey[bool](fmt.Sprint("k", i)).Get(s); v {
					has++
				}
			}
			fmt.Fprint(w, has, s.Owner())
		})
		answers := make([]*http.Response, n)
		for i := range n {
			wg.Go(func() { answers[i] = a.do(fmt.Sprint("/own?k=k", i), c) })
		}
		wg.Wait()
		for _, r := range answers {
			if r.StatusCode != http.StatusOK {
				t.Errorf("status %d", r.StatusCode)
			}
			if got := read(a.do("/keys", present(r))); got != fmt.Sprint(n, "alice") {
				t.Errorf("with the cookie of one of them, %v: %s", r.Header, got)
			}
		}
		if k := a.kinds(); slices.Contains(k, session.Lost) {
			t.Errorf("events %v", k)
		}
	}
}

// TestFormerNameOvertaken: what a request changes that was overtaken by the first
// one with the former cookie is changed in the session under its new identifier.
func TestFormerNameOvertaken(t *testing.T) {
	for what, test := range map[string]struct {
		change func(s *session.Session, ctx context.Context) error
		want   string // with the cookie that the browser has then
		cookie string // of the overtaken answer: same, other, forgotten
	}{
		"set": {func(s *session.Session, _ context.Context) error { name.Set(s, "new"); return nil }, "alice new 1 ", "same"},
		"update": {func(s *session.Session, ctx context.Context) error {
			return count.Update(ctx, s, func(n int) int { return n + 1 })
		}, "alice x 2 ", "same"},
		"consume": {func(s *session.Session, ctx context.Context) error {
			_, ok, err := name.Consume(ctx, s)
			if !ok {
				err = errors.Join(err, errors.New("nothing there"))
			}
			return err
		}, "alice  1 ", "same"},
		"label":             {func(s *session.Session, _ context.Context) error { s.SetLabel("device", "d"); return nil }, "alice x 1 d", "same"},
		"sign-in":           {func(s *session.Session, _ context.Context) error { s.SetOwner("alice"); return nil }, "alice x 1 ", "other"},
		"another's sign-in": {func(s *session.Session, _ context.Context) error { s.SetOwner("bob"); return nil }, "bob  0 ", "other"},
		"renew and set": {func(s *session.Session, _ context.Context) error {
			s.Renew()
			name.Set(s, "new")
			return nil
		}, "alice new 1 ", "other"},
		"sign-out": {func(s *session.Session, _ context.Context) error { s.Destroy(); return nil }, "  0 ", "forgotten"},
	} {
		t.Run(what, func(t *testing.T) {
			a := formerApp(t, session.Config{})
			a.handle("/begin", func(s *session.Session, _ http.ResponseWriter, _ *http.Request) {
				s.SetOwner("alice")
				name.Set(s, "x")
				count.Set(s, 1)
			})
			c := formerly(cookie(t, a.do("/begin")))
			var first *http.Response
			a.handle("/slow", func(s *session.Session, _ http.ResponseWriter, r *http.Request) {
				first = a.do("/who", c)
				if err := test.change(s, r.Context()); err != nil {
					t.Error(err)
				}
			})
			r := a.do("/slow", c)
			if got := read(first); r.StatusCode != http.StatusOK || got != "alice x 1 " || present(first) == "" {
				t.Fatalf("status %d; the first: %q, %v", r.StatusCode, got, first.Header)
			}
			kind := "other"
			switch present(r) {
			case present(first):
				kind = "same"
			case "__Host-session=":
				kind = "forgotten"
			}
			if kind != test.cookie {
				t.Errorf("the cookie is %s, want %s: %v", kind, test.cookie, r.Header)
			}
			if got := read(a.do("/who", present(r))); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
			if test.cookie != "same" {
				// The one before has ended, and the former cookie leads nowhere.
				for _, dead := range []string{present(first), c} {
					if got := read(a.do("/who", dead)); got != "  0 " {
						t.Errorf("%s is still %q", dead, got)
					}
				}
			}
		})
	}
}

// TestFormerNameEnds: the former identifier leads to the session for a minute or
// two after it has been renewed, and to nothing then, or when the session has
// another identifier or has ended.
func TestFormerNameEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := formerApp(t, session.Config{})
		for _, second := range []time.Duration{0, 1, 30, 59} {
			for age, want := range map[time.Duration]string{0: "alice  0 ", 59: "alice  0 ", 60: "alice  0 ", 120: "  0 ", 121: "  0 ", 3600 - 60: "  0 "} {
				time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute + second*time.Second)))
				c := formerly(cookie(t, a.do("/as?v=alice")))
				now := present(a.do("/who", c))
				time.Sleep(age * time.Second)
				if got := read(a.do("/who", c)); got != want {
					t.Errorf("renewed at second %d, after %d seconds: %q", second, age, got)
				}
				if got := read(a.do("/who", now)); age < 1800 && got != "alice  0 " {
					t.Errorf("the new one: %q", got)
				}
			}
		}
		for path, want := range map[string]string{"/as?v=alice": "alice  0 ", "/as?v=bob": "bob  0 ", "/renew": "alice  0 ", "/out": "  0 "} {
			for what, cookies := range map[string]func(c string) string{
				"under the former name":  func(c string) string { return c },
				"under the present name": func(c string) string { return present(a.do("/who", c)) },
			} {
				// An attacker has planted it, or knows it from plain HTTP.
				c := formerly(cookie(t, a.do("/as?v=alice")))
				r := a.do(path, cookies(c))
				if got := read(a.do("/who", c)); got != "  0 " {
					t.Errorf("after %s %s: the former cookie is %q", path, what, got)
				}
				if got := read(a.do("/who", present(r))); got != want {
					t.Errorf("after %s %s: %q, want %q", path, what, got, want)
				}
			}
		}
	})
}

// TestFormerNameMachines: machines with the same keys, and clocks that differ, are
// as one; without the key the new identifier cannot be found.
func TestFormerNameMachines(t *testing.T) {
	store := newFaulty()
	key := func(b byte) []byte { return slices.Repeat([]byte{b}, 32) }
	do := func(t *testing.T, keys [][]byte, c string, f func(s *session.Session)) *http.Response {
		m, err := session.New(session.Config{Store: store, Keys: keys, FormerNames: []string{"old"}})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Cookie", c)
		w := httptest.NewRecorder()
		m.Handler(m.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			f(s)
			who(s, w, r)
		})).ServeHTTP(w, r)
		return w.Result()
	}
	look := func(*session.Session) {}
	var c, now string
	// A bubble's clock starts at midnight: the second is behind the first.
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(65 * time.Second)
		c = formerly(present(do(t, [][]byte{key(1)}, "", func(s *session.Session) { s.SetOwner("alice") })))
		now = present(do(t, [][]byte{key(1)}, c, look))
	})
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(20 * time.Second)
		for what, test := range map[string]struct {
			keys [][]byte
			want string
		}{
			"behind":       {[][]byte{key(1)}, "alice  0 "},
			"new key":      {[][]byte{key(2), key(1)}, "alice  0 "},
			"another key":  {[][]byte{key(2)}, "  0 "},
			"one's own":    {nil, "  0 "},
			"a stranger's": {[][]byte{make([]byte, 32)}, "  0 "},
		} {
			r := do(t, test.keys, c, look)
			if got := read(r); got != test.want || test.want != "  0 " && present(r) != now {
				t.Errorf("%s: %q, %v", what, got, r.Header)
			}
		}
	})
}

// TestFormerNameWithoutStore: a store that fails while it is asked is an error, not
// a visitor without a session.
func TestFormerNameWithoutStore(t *testing.T) {
	a := formerApp(t, session.Config{})
	c := formerly(cookie(t, a.do("/as?v=alice")))
	a.do("/who", c)
	for n := range 2 {
		a.store.failLoad(n)
		if r := a.do("/form", c); r.StatusCode != http.StatusServiceUnavailable || len(r.Cookies()) != 0 {
			t.Errorf("load %d fails: status %d, %v", n, r.StatusCode, r.Header)
		}
	}
	a.store.failLoad(-1)
	c = formerly(cookie(t, a.do("/as?v=alice")))
	for path, change := range map[string]func(s *session.Session){
		"/slow":    func(s *session.Session) { name.Set(s, "x") },
		"/slowout": func(s *session.Session) { s.Destroy() },
	} {
		a.handle(path, func(s *session.Session, _ http.ResponseWriter, _ *http.Request) {
			a.do("/who", c)
			change(s)
			a.store.failLoad(0)
		})
		if r := a.do(path, c); r.StatusCode != http.StatusServiceUnavailable || len(r.Cookies()) != 0 {
			t.Errorf("%s: status %d, %v", path, r.StatusCode, r.Header)
		}
		a.store.failLoad(-1)
		c = formerly(present(a.do("/who", c)))
	}
}

// TestFormerNameBehindPresent: a cookie under the present name that is no session's
// does not stand in the way of the former one; one that is ours does.
func TestFormerNameBehindPresent(t *testing.T) {
	a := formerApp(t, session.Config{Keys: [][]byte{make([]byte, 32)}})
	for _, foreign := range []string{strings.Repeat("A", 43), "~" + strings.Repeat("A", 48)} {
		c := formerly(cookie(t, a.do("/as?v=alice")))
		if r := a.do("/who", "__Host-session="+foreign, c); read(r) != "alice  0 " || present(r) == "" {
			t.Errorf("behind %s: %v", foreign, r.Header)
		}
	}
	c := formerly(cookie(t, a.do("/as?v=alice")))
	one, two := cookie(t, a.do("/as?v=bob")), cookie(t, a.do("/as?v=carol"))
	for _, ours := range [][]string{{cookie(t, a.do("/form"))}, {one, two}} {
		if r := a.do("/who", append(ours, c)...); read(r) != "  0 " || len(r.Cookies()) != 0 {
			t.Errorf("behind %v: %v", ours, r.Header)
		}
	}
}
