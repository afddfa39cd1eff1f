package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"

	filippo "filippo.io/csrf"
	gorillacsrf "github.com/gorilla/csrf"
	"github.com/justinas/nosurf"

	"github.com/seed-64ad3862/gatehouse/csrf"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

const appOrigin = "https://app.example"

// A guard is one protection in front of a handler, with a request that it lets
// through.
type guard struct {
	name    string
	handler http.Handler
	post    *http.Request
	over    string // the guard that has all but the protection
}

// guarded answers so that it can be seen that it was reached.
var guarded = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "done") })

const (
	guardBare    = "bare handler"
	guardSession = "bare handler, session read"
	guardStd     = "net/http.CrossOriginProtection"
	guardFilippo = "filippo.io/csrf"
	guardGorilla = "gorilla/csrf"
	guardNosurf  = "nosurf"
	guardOurs    = "**gatehouse**, Sec-Fetch-Site"
	guardToken   = "**gatehouse**, token in a header"
	guardBoth    = "**gatehouse**, Sec-Fetch-Site and token (RequireToken)"
	guardFull    = "**gatehouse**, token, and its session read"
)

// browserPost is a POST as today's browsers send it over https.
func browserPost(cookie string) *http.Request {
	r := request(http.MethodPost, appOrigin+"/", cookie)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Origin", appOrigin)
	return r
}

// barePost is one of a client that says nothing about where it comes from.
func barePost(cookie string) *http.Request { return request(http.MethodPost, appOrigin+"/", cookie) }

func guards() ([]guard, error) {
	gs := []guard{
		{guardBare, guarded, browserPost(""), ""},
		{guardStd, http.NewCrossOriginProtection().Handler(guarded), browserPost(""), guardBare},
		{guardFilippo, filippo.New().Handler(guarded), browserPost(""), guardBare},
	}

	protection, err := csrf.New(csrf.Config{Origins: []string{appOrigin}})
	if err != nil {
		return nil, err
	}
	gs = append(gs, guard{guardOurs, protection.Handler(guarded), browserPost(""), guardBare})
	ours, err := ourGuards()
	if err != nil {
		return nil, err
	}
	gs = append(gs, ours...)

	// Both let a token be asked for with a GET, and put its secret in a cookie.
	var token string
	ask := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			if token = gorillacsrf.Token(r); token == "" {
				token = nosurf.Token(r)
			}
			return
		}
		guarded(w, r)
	})
	for _, g := range []guard{
		{name: guardGorilla, handler: gorillacsrf.Protect(secret)(ask)},
		{name: guardNosurf, handler: nosurf.New(ask)},
	} {
		token = ""
		w := httptest.NewRecorder()
		g.handler.ServeHTTP(w, request(http.MethodGet, appOrigin+"/", ""))
		cookies := w.Result().Cookies()
		if token == "" || len(cookies) != 1 {
			return nil, fmt.Errorf("%s: token %q, %d cookies", g.name, token, len(cookies))
		}
		g.post = browserPost(cookies[0].Name + "=" + cookies[0].Value)
		g.post.Header.Set("X-CSRF-Token", token)
		g.over = guardBare
		gs = append(gs, g)
	}
	return gs, nil
}

// ourGuards are those with a session, which the application needs anyway: it is
// loaded before, and only the last of them counts that in.
func ourGuards() ([]guard, error) {
	sessions, err := session.New(session.Config{Store: memory.New(memory.Config{}), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	loaded := func(h http.Handler) http.Handler {
		return sessions.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := sessions.Load(r.Context()); err != nil {
				sessions.Error(w, r, err)
				return
			}
			h.ServeHTTP(w, r)
		}))
	}
	gs := []guard{{name: guardSession, handler: loaded(guarded), over: guardBare}}
	var first *csrf.Protection
	for _, g := range []guard{{name: guardToken}, {name: guardBoth}} {
		p, err := csrf.New(csrf.Config{Sessions: sessions, Origins: []string{appOrigin}, RequireToken: g.name == guardBoth, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return nil, err
		}
		if first == nil {
			first = p
		}
		g.handler, g.over = loaded(p.Handler(guarded)), guardSession
		gs = append(gs, g)
	}
	gs = append(gs, guard{name: guardFull, handler: sessions.Handler(first.Handler(guarded)), over: guardBare})

	var token string
	w := httptest.NewRecorder()
	sessions.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		token, err = first.Token(r)
	})).ServeHTTP(w, request(http.MethodGet, appOrigin+"/", ""))
	cookies := w.Result().Cookies()
	if err != nil || len(cookies) != 1 {
		return nil, fmt.Errorf("%s: %d cookies: %w", guardToken, len(cookies), err)
	}
	cookie := cookies[0].Name + "=" + cookies[0].Value
	for i := range gs {
		gs[i].post = barePost(cookie)
		if gs[i].name == guardBoth || gs[i].name == guardSession {
			gs[i].post = browserPost(cookie)
		}
		if gs[i].name != guardSession {
			gs[i].post.Header.Set("X-Csrf-Token", token)
		}
	}
	return gs, nil
}

func benchCSRF(_ context.Context, cfg config, r *report) error {
	gs, err := guards()
	if err != nil {
		return err
	}
	cs := make([]contender, len(gs))
	for i, g := range gs {
		cs[i] = contender{name: g.name, over: g.over, run: func(n int) { repeat(g.handler, []*http.Request{g.post}, len("done"), n) }}
	}
	results := measure(cs, cfg)

	r.title("Cross-site requests: what a POST costs more")
	r.text("A POST that is let through, less the same without the protection. Sec-Fetch-Site and Origin are as a browser sends them, but for “token in a header”, where neither is there and the token decides alone. gorilla/csrf and nosurf always check both, and so does ours with RequireToken. The token rows of ours are the layer alone: the session, which the application reads anyway, was loaded before; the last row counts it in.")
	cost := func(name string) cost { return results[name].minus(results[guardBare]).median() }
	var rows [][]string
	for _, c := range cs {
		res := results[c.name]
		over := c.over
		if over == "" {
			m := res.median()
			rows = append(rows, []string{c.name, "the whole: " + duration(m.cpu), duration(m.wall), count(m.allocs), size(m.bytes)})
			continue
		}
		m := res.minus(results[over]).median()
		rows = append(rows, []string{c.name, duration(m.cpu), duration(m.wall), count(m.allocs), size(m.bytes)})
		switch c.name {
		case guardOurs:
			r.atMost("CSRF decided by Sec-Fetch-Site: added CPU", m.cpu, 60, duration, "CrossOriginProtection "+duration(cost(guardStd).cpu))
			r.atMost("CSRF decided by Sec-Fetch-Site: allocations", m.allocs, 0, count, "")
		case guardToken, guardBoth:
			what := "CSRF by token, the layer"
			if c.name == guardBoth {
				what += " with RequireToken"
			}
			r.atMost(what+": added CPU", m.cpu, 500, duration, "nosurf "+duration(cost(guardNosurf).cpu))
			r.atMost(what+": allocations", m.allocs, 3, count, "nosurf "+count(cost(guardNosurf).allocs))
		}
	}
	r.table([]string{"", "CPU", "wall", "allocations", "bytes"}, rows)
	return nil
}
