package session_test

import (
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
