package session_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/seed-64ad3862/gatehouse/session"
)

// TestCookieOfAnotherProgram: a cookie of our name that is not of our form is
// another program's, and does not stand in the way.
func TestCookieOfAnotherProgram(t *testing.T) {
	for _, cfg := range []session.Config{{}, {Insecure: true}, {Insecure: true, Keys: [][]byte{make([]byte, 32)}}} {
		a := newApp(t, cfg)
		c := cookie(t, a.do("/set?v=x"))
		cookieName, value, _ := strings.Cut(c, "=")
		for _, foreign := range []string{
			"", "1", "eyJ1c2VyIjoxfQ.Zm9v.c2ln", `"quoted"`, value + "A", value[1:], "~" + value[2:], strings.Repeat("+", 43), "s%3A" + value, strings.Repeat("z", 5000),
		} {
			for _, cookies := range [][]string{{cookieName + "=" + foreign, c}, {c + "; " + cookieName + "=" + foreign}, {cookieName + "=" + foreign + "; " + c + ";" + cookieName + "=" + foreign}} {
				if got := read(a.do("/get", cookies...)); got != `"x" true` {
					t.Errorf("beside %.20q: %s", foreign, got)
				}
			}
			r := a.do("/as?v=alice", cookieName+"="+foreign)
			if got := read(a.do("/get", cookieName+"="+foreign, cookie(t, r))); r.StatusCode != http.StatusOK || got != `"" false` {
				t.Errorf("a sign-in beside %.20q: status %d, %s", foreign, r.StatusCode, got)
			}
		}
		// Two of ours are none.
		if got := read(a.do("/get", c, cookie(t, a.do("/set?v=planted")))); got != `"" false` {
			t.Errorf("two sessions: %s", got)
		}
	}
}

// TestSeveralCookies: of several cookies of our name and form, as a browser keeps
// them where Partitioned is switched on, or as another program or an attacker adds
// one, the one that is a session's counts. Two sessions are none, until the next
// sign-in or sign-out.
func TestSeveralCookies(t *testing.T) {
	for what, test := range map[string]struct {
		cfg  session.Config
		name string // of the cookies that come twice
	}{
		"present":     {session.Config{}, "__Host-session"},
		"insecure":    {session.Config{Insecure: true}, "session"},
		"partitioned": {session.Config{Partitioned: true, SameSite: http.SameSiteNoneMode}, "__Host-session"},
		"keys":        {session.Config{Keys: [][]byte{make([]byte, 32)}}, "__Host-session"},
		"former":      {session.Config{FormerNames: []string{"none", "old"}}, "old"},
	} {
		t.Run(what, func(t *testing.T) {
			a := newApp(t, test.cfg)
			a.handle("/who", who)
			a.handle("/as-set", func(s *session.Session, _ http.ResponseWriter, r *http.Request) {
				s.SetOwner(r.FormValue("v"))
				name.Set(s, "x")
			})
			under := func(c string) string {
				_, value, _ := strings.Cut(c, "=")
				return test.name + "=" + value
			}
			made := func(path string, cookies ...string) string {
				t.Helper()
				for _, c := range a.do(path, cookies...).Cookies() {
					if c.Value != "" {
						return c.Name + "=" + c.Value
					}
				}
				t.Fatalf("%s sets no cookie", path)
				return ""
			}
			over := made("/as?v=carol")
			a.do("/out", over)
			for _, other := range []string{
				test.name + "=" + strings.Repeat("A", 43), // Python's secrets.token_urlsafe(32) has this form
				under(over),
				test.name + "=~" + strings.Repeat("A", 48),
			} {
				for _, order := range []func(one, two string) []string{
					func(one, two string) []string { return []string{one, two} },
					func(one, two string) []string { return []string{two + "; " + one} },
					func(one, two string) []string { return []string{two, one + ";" + two + "; " + test.name + "=x"} },
					func(one, two string) []string {
						return []string{one, test.name + "=" + strings.Repeat("B", 43), two, one}
					},
				} {
					ours := under(made("/as-set?v=alice"))
					a.kinds()
					if r := a.do("/who", order(ours, other)...); r.StatusCode != http.StatusOK || read(r) != "alice x 0 " {
						t.Errorf("beside %s: status %d, %v", other, r.StatusCode, r.Header)
					}
					if k := a.kinds(); slices.Contains(k, session.Rejected) {
						t.Errorf("beside %s: events %v", other, k)
					}
					// A sign-in, and a sign-out.
					ours = made("/as?v=bob", order(under(made("/set?v=x")), other)...)
					if got := read(a.do("/who", append(order(under(ours), other), "a=b")...)); got != "bob x 0 " {
						t.Errorf("a sign-in beside %s: %q", other, got)
					}
					ours = made("/as?v=bob", order(under(over), other)...)
					if got := read(a.do("/who", order(under(ours), other)...)); got != "bob  0 " {
						t.Errorf("a sign-in without a session beside %s: %q", other, got)
					}
					ours = under(made("/as?v=bob"))
					a.do("/out", order(ours, other)...)
					if got := read(a.do("/who", order(ours, other)...)); got != "  0 " {
						t.Errorf("a sign-out beside %s: %q", other, got)
					}
				}
			}

			// Two sessions: nothing tells which of them was planted.
			for path, want := range map[string]string{"/as?v=alice": "alice  0 ", "/out": "  0 "} {
				one, two := under(made("/as?v=alice")), under(made("/as?v=mallory"))
				a.kinds()
				if got := read(a.do("/who", one, two)); got != "  0 " {
					t.Errorf("two sessions: %q", got)
				}
				if k := a.kinds(); !slices.Equal(k, []session.Kind{session.Rejected}) {
					t.Errorf("two sessions: events %v", k)
				}
				a.handle("/given-up"+path, func(s *session.Session, _ http.ResponseWriter, _ *http.Request) {
					s.SetOwner("alice")
					s.Destroy()
					s.Discard()
				})
				signedIn := map[session.Handle]bool{}
				if _, err := a.m.EndAll(t.Context(), session.Query{SignedIn: true}); err != nil {
					t.Fatal(err)
				}
				one, two = under(made("/as?v=alice")), under(made("/as?v=mallory"))
				a.do("/given-up"+path, one, two)
				for _, owner := range []string{"alice", "mallory"} {
					for i, err := range a.m.List(t.Context(), session.Query{Owner: owner}) {
						if err != nil {
							t.Fatal(err)
						}
						signedIn[i.Handle] = true
					}
				}
				if len(signedIn) < 2 {
					t.Errorf("a sign-in and sign-out that were given up: %d sessions are left of two", len(signedIn))
				}
				if _, err := a.m.EndAll(t.Context(), session.Query{SignedIn: true}); err != nil {
					t.Fatal(err)
				}
				one, two = under(made("/as?v=alice")), under(made("/as?v=mallory"))
				three := under(made("/set?v=z"))
				a.store.fail(errors.New("away"))
				if r := a.do(path, one, two, three); r.StatusCode != http.StatusServiceUnavailable {
					t.Errorf("%s without a store: %d", path, r.StatusCode)
				}
				a.store.fail(nil)
				r := a.do(path, one, two, three)
				sent := []string{one, two, three}
				if set := r.Cookies(); r.StatusCode != http.StatusOK || len(set) == 0 {
					t.Errorf("%s: status %d, %v", path, r.StatusCode, r.Header)
				} else if set[0].Value != "" {
					// Which one the browser replaces depends on how it has them.
					sent = append(sent[1:], set[0].Name+"="+set[0].Value)
				}
				if got := read(a.do("/who", sent...)); got != want {
					t.Errorf("after %s of two sessions: %q, want %q", path, got, want)
				}
				for _, c := range []string{one, two, three} {
					if got := read(a.do("/who", c)); got != "  0 " {
						t.Errorf("after %s there is still %q", path, got)
					}
				}
			}

			// The store fails at the second of two.
			one, two := under(made("/as?v=alice")), test.name+"="+strings.Repeat("A", 43)
			for n := range 2 {
				a.store.failLoad(n)
				if r := a.do("/who", one, two); r.StatusCode != http.StatusServiceUnavailable {
					t.Errorf("load %d fails: status %d, %q", n, r.StatusCode, read(r))
				}
			}
			a.store.failLoad(-1)
			if got := read(a.do("/who", one, two)); got != "alice  0 " {
				t.Errorf("after the failure: %q", got)
			}
		})
	}
}

// TestOneCookieOneLoad: one cookie costs one question to the store, the same twice
// no more, and more than three none.
func TestOneCookieOneLoad(t *testing.T) {
	a := newApp(t, session.Config{})
	c := cookie(t, a.do("/set?v=x"))
	four := []string{c}
	for _, letter := range []string{"A", "B", "C"} {
		four = append(four, "__Host-session="+strings.Repeat(letter, 43))
	}
	for want, cookies := range [][]string{four, {c}, four[:2], four[:3]} {
		for range 2 {
			a.store.counts()
			a.do("/get", cookies...)
			if loads, _, _ := a.store.counts(); loads != want {
				t.Errorf("%v: %d loads, want %d", cookies, loads, want)
			}
			if want == 0 {
				break // five are no better
			}
			cookies = append(slices.Clip(cookies), cookies...)
		}
	}
}

// TestSeveralAnonymous: where no cookie has a record, one that is proven counts.
func TestSeveralAnonymous(t *testing.T) {
	a := newApp(t, session.Config{Keys: [][]byte{make([]byte, 32)}})
	a.handle("/form", func(s *session.Session, w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%v %x", s.Exists(), s.Secret("csrf"))
	})
	anonymous := func() string { return cookie(t, a.do("/form")) }
	one, two, foreign := anonymous(), anonymous(), "__Host-session="+strings.Repeat("A", 43)
	want := read(a.do("/form", one))
	for _, cookies := range [][]string{{one, foreign}, {foreign, one}, {foreign, one, "__Host-session=~" + strings.Repeat("A", 48)}, {one, one}} {
		if r := a.do("/form", cookies...); read(r) != want || len(r.Cookies()) != 0 {
			t.Errorf("%v: %v", cookies, r.Header)
		}
	}
	a.kinds()
	r := a.do("/form", one, two)
	if got := read(r); strings.HasPrefix(got, "true") || got == want || len(r.Cookies()) != 1 {
		t.Errorf("two: %v", r.Header)
	}
	if k := a.kinds(); !slices.Equal(k, []session.Kind{session.Rejected}) {
		t.Errorf("two: events %v", k)
	}
	// A record goes before them.
	stored := cookie(t, a.do("/as?v=alice", one, two))
	a.handle("/who", who)
	for _, cookies := range [][]string{{one, two, stored}, {stored, one}, {two, stored, foreign}} {
		if got := read(a.do("/who", cookies...)); got != "alice  0 " {
			t.Errorf("%v: %q", cookies, got)
		}
	}
}

func TestPartitioned(t *testing.T) {
	a := newApp(t, session.Config{Partitioned: true, SameSite: http.SameSiteNoneMode})
	r := a.do("/set?v=x")
	line := r.Header.Get("Set-Cookie")
	if !strings.HasSuffix(line, "; Path=/; Secure; HttpOnly; SameSite=None; Partitioned") {
		t.Errorf("Set-Cookie: %s", line)
	}
	// A browser forgets it only under the same attributes.
	if line := a.do("/out", cookie(t, r)).Header.Get("Set-Cookie"); !strings.HasSuffix(line, "; Partitioned; Max-Age=0") {
		t.Errorf("at sign-out: %s", line)
	}
	// Of a former name it is not known whether the cookie was Partitioned.
	const partitioned, secure = "__Host-old=; Path=/; HttpOnly; Max-Age=0; Secure; SameSite=None; Partitioned", "__Host-old=; Path=/; HttpOnly; Max-Age=0; Secure"
	for cfg, want := range map[*session.Config][]string{
		{FormerNames: []string{"__Host-old"}}:                                                     {partitioned, secure},
		{FormerNames: []string{"__Host-old"}, Partitioned: true, SameSite: http.SameSiteNoneMode}: {partitioned, secure + "; SameSite=None"},
		{FormerNames: []string{"old", "__Host-old"}}:                                              {"old=; Path=/; HttpOnly; Max-Age=0"},
	} {
		a := newApp(t, *cfg)
		_, value, _ := strings.Cut(cookie(t, a.do("/set?v=x")), "=")
		lines := a.do("/get", cfg.FormerNames[0]+"="+value).Header["Set-Cookie"]
		if len(lines) != len(want)+1 || !slices.Equal(lines[1:], want) {
			t.Errorf("of %v: %q, want %q", cfg.FormerNames, lines, want)
		}
	}
	if _, err := session.New(session.Config{Store: newFaulty(), Partitioned: true, Insecure: true}); err == nil || !strings.Contains(err.Error(), "https") {
		t.Errorf("without Secure: %v", err)
	}
}

// TestFormerNames: a session goes on under the present name, with a new
// identifier, when its cookie comes under a former one.
func TestFormerNames(t *testing.T) {
	a := newApp(t, session.Config{FormerNames: []string{"session", "__Secure-old"}})
	a.handle("/who", who)
	// rename returns the same cookie under another name.
	rename := func(c, to string) string {
		_, value, _ := strings.Cut(c, "=")
		return to + "=" + value
	}
	set := func(r *http.Response) map[string]string {
		lines := map[string]string{}
		for _, l := range r.Header["Set-Cookie"] {
			n, rest, _ := strings.Cut(l, "=")
			lines[n] = rest
		}
		return lines
	}
	for former, forgotten := range map[string]string{"session": "; Path=/; HttpOnly; Max-Age=0", "__Secure-old": "; Path=/; HttpOnly; Max-Age=0; Secure"} {
		c := cookie(t, a.do("/as?v=alice"))
		old := rename(c, former)
		r := a.do("/who", old)
		lines := set(r)
		if read(r) != "alice  0 " || len(lines) != 2 || lines[former] != forgotten {
			t.Fatalf("%s: %v", former, r.Header)
		}
		value, _, _ := strings.Cut(lines["__Host-session"], ";")
		present := "__Host-session=" + value
		if present == c {
			t.Errorf("the identifier is as before")
		}
		if got := read(a.do("/who", present)); got != "alice  0 " {
			t.Errorf("under the present name: %q", got)
		}
		// A request that was sent before the browser had it.
		if r := a.do("/who", old); read(r) != "alice  0 " || !strings.HasPrefix(set(r)["__Host-session"], value) || set(r)[former] != forgotten {
			t.Errorf("the old one again: %v", r.Header)
		}
		// The present name goes before a former one.
		if r := a.do("/who", present, rename(cookie(t, a.do("/as?v=mallory")), former)); read(r) != "alice  0 " || len(set(r)) != 0 {
			t.Errorf("beside a former one: %v", r.Header)
		}
		// Signing out forgets both, and signing in too.
		if lines := set(a.do("/out", rename(present, former))); len(lines) != 2 || !strings.Contains(lines["__Host-session"], "Max-Age=0") || lines[former] != forgotten {
			t.Errorf("a sign-out: %v", lines)
		}
		if lines := set(a.do("/as?v=alice", rename(cookie(t, a.do("/set?v=x")), former))); len(lines) != 2 || strings.Contains(lines["__Host-session"], "Max-Age=0") || lines[former] != forgotten {
			t.Errorf("a sign-in: %v", lines)
		}
	}
	// Two requests at once: the second has its answer, and no cookie.
	c := rename(cookie(t, a.do("/as?v=alice")), "session")
	a.handle("/slow", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		a.do("/who", c)
		who(s, w, r)
	})
	if r := a.do("/slow", c); r.StatusCode != http.StatusOK || read(r) != "alice  0 " || len(set(r)) != 0 {
		t.Errorf("beside a request that was first: %d, %v", r.StatusCode, r.Header)
	}
	// An upgraded connection leaves it to the next request, and so does a handler
	// that loads the session after the header has gone.
	c = rename(cookie(t, a.do("/as?v=alice")), "session")
	a.mux.HandleFunc("/late", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		s, err := a.m.Load(r.Context())
		if err != nil {
			t.Error(err)
		}
		who(s, w, r)
	})
	a.mux.Handle("/upgrade", a.m.With(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n"))
	}))
	for _, server := range serve(t, a.m.Handler(a.mux)) {
		if server.TLS != nil {
			continue
		}
		r, _ := http.NewRequest("GET", server.URL+"/upgrade", nil)
		r.Header.Set("Cookie", c)
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "test")
		answer, err := server.Client().Do(r)
		if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%v, %v", answer, err)
		}
		answer.Body.Close()
	}
	if r := a.do("/late", c); read(r) != "alice  0 " || len(set(r)) != 0 {
		t.Errorf("after the header: %v", r.Header)
	}
	if r := a.do("/who", c); read(r) != "alice  0 " || len(set(r)) != 2 {
		t.Errorf("the next request: %v", r.Header)
	}
	if strings.Contains(a.logged(), session.ErrHeaderSent.Error()) {
		t.Errorf("the log complains: %s", a.logged())
	}

	for _, names := range [][]string{{""}, {"a b"}, {"__Host-session"}} {
		if _, err := session.New(session.Config{Store: newFaulty(), FormerNames: names}); err == nil || !strings.Contains(err.Error(), "FormerNames") {
			t.Errorf("%q: %v", names, err)
		}
	}
}

// TestNames: a name is what RFC 6265 §4.1.1 calls a token, for each byte.
func TestNames(t *testing.T) {
	for b := range 0x80 {
		name := "a" + string(rune(b))
		want := b > ' ' && b < 0x7f && !strings.ContainsRune(`"(),/:;<=>?@[\]{}`, rune(b))
		for which, cfg := range map[string]session.Config{"Name": {Name: name}, "FormerNames": {FormerNames: []string{name}}} {
			cfg.Store = newFaulty()
			if _, err := session.New(cfg); (err == nil) != want {
				t.Errorf("%s with %q: %v", which, name, err)
			}
		}
	}
}
