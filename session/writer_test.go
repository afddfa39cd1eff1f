package session_test

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// serve starts a server for HTTP/1.1 and one for HTTP/2.
func serve(t *testing.T, h http.Handler) map[string]*httptest.Server {
	t.Helper()
	servers := map[string]*httptest.Server{"HTTP/1.1": httptest.NewServer(h), "HTTP/2": httptest.NewUnstartedServer(h)}
	servers["HTTP/2"].EnableHTTP2 = true
	servers["HTTP/2"].StartTLS()
	for _, s := range servers {
		t.Cleanup(s.Close)
	}
	return servers
}

// TestErrorPageArrives: when the session cannot be stored, the client gets the
// whole error page, whatever the handler does once its writes are refused.
func TestErrorPageArrives(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, strings.Repeat("of the app ", 10_000))
		w.Header().Set("X-Sum", "1")
	}))
	t.Cleanup(backend.Close)
	target, _ := url.Parse(backend.URL)
	proxy := func(flush time.Duration) http.Handler {
		return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, FlushInterval: flush}
	}
	for how, handler := range map[string]http.Handler{
		"ReverseProxy":          proxy(0),
		"ReverseProxy flushing": proxy(-1),
		"returns":               http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "of the app") }),
		"writes nothing":        http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
		"aborts": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "of the app")
			panic(http.ErrAbortHandler)
		}),
		"panics": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if _, err := io.WriteString(w, "of the app"); err != nil {
				panic(fmt.Sprintf("cannot write: %v", err))
			}
		}),
		"panics after a flush": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusCreated)
			_ = http.NewResponseController(w).Flush()
			panic("oh")
		}),
		"copies": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if _, err := io.Copy(w, strings.NewReader("of the app")); !errors.Is(err, session.ErrRefused) {
				t.Errorf("io.Copy: %v", err)
			}
			panic(http.ErrAbortHandler)
		}),
	} {
		t.Run(how, func(t *testing.T) {
			a := newApp(t, session.Config{})
			a.mux.Handle("/app", a.m.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
				name.Set(s, "x")
				w.Header().Set("Content-Length", "7")
				w.Header().Set("X-App", "1")
				a.store.fail(errors.New("away"))
				handler.ServeHTTP(w, r)
			}))
			sessions := a.m.Handler(a.mux)
			for protocol, server := range serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				a.store.fail(nil)
				sessions.ServeHTTP(w, r)
			})) {
				for range 3 {
					r, err := server.Client().Get(server.URL + "/app")
					if err != nil {
						t.Fatalf("%s: %v", protocol, err)
					}
					body, err := io.ReadAll(r.Body)
					if err != nil || r.StatusCode != http.StatusServiceUnavailable || string(body) != "Service Unavailable\n" || r.Header.Get("X-App") != "" {
						t.Errorf("%s: status %d, %q, %v, header %v", protocol, r.StatusCode, body, err, r.Header)
					}
					r.Body.Close()
				}
			}
			if strings.HasPrefix(how, "panics") && !strings.Contains(a.logged(), "writer_test.go") {
				t.Errorf("the panic is not in the log: %s", a.logged())
			}
		})
	}
}

// TestErrorPageKeepsOuterHeader: what was in the header before the handler is as
// it was, whatever the handler did to it; what the handler added is gone.
func TestErrorPageKeepsOuterHeader(t *testing.T) {
	a := newApp(t, session.Config{})
	outer := http.Header{
		"Content-Encoding": {"identity"}, "Set-Cookie": {"outer=1", "second=2"}, "X-Correlation-Id": {"abc"}, "Alt-Svc": {"h3"},
		"Vary": {"Accept-Encoding"}, "Content-Security-Policy": {"default-src 'self'"}, "X-Both": {"outside"}, "Date": nil,
	}
	a.mux.Handle("/app", a.m.With(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
		h := w.Header()
		name.Set(s, "x")
		h.Add("Set-Cookie", "inner=1")
		h["Set-Cookie"][0] = "changed=1"
		h.Del("X-Correlation-Id")
		h.Set("Content-Encoding", "br")
		h.Set("Content-Security-Policy", "default-src *")
		h.Add("Vary", "Accept")
		h.Add("X-Both", "inside")
		h.Set("X-Inner", "1")
		h.Set("Etag", "1")
		h.Set("Referrer-Policy", "no-referrer") // of middleware inside
		_, _ = io.WriteString(w, "of the app")
	}))
	a.store.fail(errors.New("away"))
	w := httptest.NewRecorder()
	maps.Copy(w.Header(), outer.Clone())
	a.m.Handler(a.mux).ServeHTTP(w, httptest.NewRequest("GET", "/app", nil))
	want := outer.Clone()
	want.Set("Cache-Control", "no-store")
	want.Set("Referrer-Policy", "no-referrer")
	want.Set("Retry-After", "5")
	want.Set("Content-Type", "text/plain; charset=utf-8")
	want.Set("X-Content-Type-Options", "nosniff")
	if !reflect.DeepEqual(w.Header(), want) || w.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d, header %v\nwant %v", w.Code, w.Header(), want)
	}

	// Middleware outside that compresses: the client can read the page.
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		defer z.Close()
		a.m.Handler(a.mux).ServeHTTP(compressed{w, z}, r)
	}))
	t.Cleanup(server.Close)
	r, err := http.Get(server.URL + "/app") // which asks for gzip and decompresses
	if err != nil {
		t.Fatal(err)
	}
	if body := read(r); body != "Service Unavailable\n" || r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("compressed outside: status %d, %q", r.StatusCode, body)
	}
	// Its own cookie is the exception: what was committed goes along.
	a.store.fail(nil)
	a.handle("/committed", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		if err := s.Commit(r.Context()); err != nil {
			t.Error(err)
		}
		s.SetOwner("alice")
		if err := s.Commit(r.Context()); err != nil {
			t.Error(err)
		}
		name.Set(s, "\xff")
	})
	w = httptest.NewRecorder()
	w.Header().Set("Set-Cookie", "outer=1")
	a.m.Handler(a.mux).ServeHTTP(w, httptest.NewRequest("GET", "/committed", nil))
	if lines := w.Header()["Set-Cookie"]; len(lines) != 2 || lines[0] != "outer=1" || w.Code != http.StatusInternalServerError {
		t.Errorf("status %d, cookies %q", w.Code, lines)
	}
}

// compressed writes what middleware outside compresses.
type compressed struct {
	http.ResponseWriter
	z *gzip.Writer
}

func (c compressed) Write(b []byte) (int, error) { return c.z.Write(b) }

// TestPanicKeepsCookie: what was committed before a panic stays, and the answer
// of a recoverer outside has the cookie; what was pending is dropped.
func TestPanicKeepsCookie(t *testing.T) {
	a := newApp(t, session.Config{})
	handlers := map[string]func(s *session.Session, w http.ResponseWriter, r *http.Request){
		"/signin": func(s *session.Session, _ http.ResponseWriter, r *http.Request) {
			s.SetOwner("alice")
			name.Set(s, "committed")
			if err := s.Commit(r.Context()); err != nil {
				t.Error(err)
			}
			name.Set(s, "pending")
			count.Set(s, 1)
			panic("after the commit")
		},
		"/pending": func(s *session.Session, _ http.ResponseWriter, _ *http.Request) {
			s.SetOwner("mallory")
			panic("before any commit")
		},
		"/out": func(s *session.Session, _ http.ResponseWriter, r *http.Request) {
			s.Destroy()
			if err := s.Commit(r.Context()); err != nil {
				t.Error(err)
			}
			panic(http.ErrAbortHandler)
		},
		"/status": func(s *session.Session, w http.ResponseWriter, _ *http.Request) {
			s.SetOwner("bob")
			w.WriteHeader(1) // which net/http panics for
		},
	}
	mux := http.NewServeMux()
	for path, h := range handlers {
		mux.Handle(path, a.m.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) { h(s, w, r) }))
	}
	recoverer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if recover() != nil {
				http.Error(w, "sorry", http.StatusInternalServerError)
			}
		}()
		a.m.Handler(mux).ServeHTTP(w, r)
	})
	do := func(path string, cookies ...string) *http.Response {
		r := httptest.NewRequest("GET", path, nil)
		for _, c := range cookies {
			r.Header.Add("Cookie", c)
		}
		w := httptest.NewRecorder()
		recoverer.ServeHTTP(w, r)
		if w.Code != http.StatusInternalServerError {
			t.Errorf("%s: status %d", path, w.Code)
		}
		return w.Result()
	}
	a.handle("/who", func(s *session.Session, w http.ResponseWriter, _ *http.Request) {
		v, _ := name.Get(s)
		n, _ := count.Get(s)
		fmt.Fprint(w, s.Owner(), " ", v, " ", n)
	})

	before := cookie(t, a.do("/set?v=anonymous"))
	r := do("/signin", before)
	c := cookie(t, r)
	if got := read(a.do("/who", c)); got != "alice committed 0" {
		t.Errorf("with the cookie that the recoverer's answer has: %q", got)
	}
	if got := read(a.do("/who", before)); got != "  0" {
		t.Errorf("with the old cookie: %q", got)
	}
	if r.Header.Get("Cache-Control") != "no-store" && !strings.Contains(r.Header.Get("Vary"), "Cookie") {
		t.Errorf("the answer can be cached: %v", r.Header)
	}
	r = do("/pending", c)
	if got := read(a.do("/who", c)); len(r.Cookies()) != 0 || got != "alice committed 0" {
		t.Errorf("a pending sign-in sets %v, then %q", r.Cookies(), got)
	}
	if r = do("/status", c); len(r.Cookies()) != 1 || read(a.do("/who", cookie(t, r))) != "bob  0" {
		t.Errorf("a status that net/http refuses: %v", r.Header)
	} else {
		c = cookie(t, r)
	}
	if r = do("/out", c); len(r.Cookies()) != 1 || r.Cookies()[0].MaxAge >= 0 {
		t.Errorf("a sign-out: %v", r.Header)
	}
}

// TestPanicAnsweredWithin: a recoverer outside may have kept the writer of inside,
// as with Echo. What was pending is dropped then too.
func TestPanicAnsweredWithin(t *testing.T) {
	a := newApp(t, session.Config{})
	a.handle("/who", func(s *session.Session, w http.ResponseWriter, _ *http.Request) {
		v, _ := name.Get(s)
		fmt.Fprint(w, s.Owner(), " ", v)
	})
	for what, change := range map[string]func(s *session.Session){
		"set": func(s *session.Session) { name.Set(s, "half") }, "signin": func(s *session.Session) { s.SetOwner("alice") },
		"destroy": func(s *session.Session) { s.Destroy() }, "renew": func(s *session.Session) { s.Renew() },
	} {
		c := cookie(t, a.do("/set?v=x"))
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Cookie", c)
		w := httptest.NewRecorder()
		var inside http.ResponseWriter
		func() {
			defer func() { _ = recover() }()
			a.m.Handler(a.m.With(func(w http.ResponseWriter, _ *http.Request, s *session.Session) {
				inside = w
				change(s)
				panic(http.ErrAbortHandler)
			})).ServeHTTP(w, r)
		}()
		http.Error(inside, "sorry", http.StatusInternalServerError)
		if got := read(a.do("/who", c)); got != " x" || w.Code != http.StatusInternalServerError || len(w.Result().Cookies()) != 0 {
			t.Errorf("%s: status %d, header %v, and the session has %q", what, w.Code, w.Header(), got)
		}
	}
}

// TestPanicRecoveredInside: With and DiscardOnPanic see a panic before a recoverer
// that is inside of Handler and tells nothing; the panic goes on.
func TestPanicRecoveredInside(t *testing.T) {
	a := newApp(t, session.Config{})
	guards := map[string]func(f func(s *session.Session)) http.Handler{
		"With": func(f func(s *session.Session)) http.Handler {
			return a.m.With(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { f(s) })
		},
		"DiscardOnPanic": func(f func(s *session.Session)) http.Handler {
			return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				a.m.DiscardOnPanic(r.Context(), func() {
					s, err := a.m.Load(r.Context())
					if err != nil {
						t.Error(err)
					}
					f(s)
				})
			})
		},
	}
	for how, guard := range guards {
		for what, end := range map[string]func(){"panics": func() { panic(http.ErrAbortHandler) }, "exits": runtime.Goexit, "returns": func() {}} {
			c := cookie(t, a.do("/set?v=x"))
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Cookie", c)
			w := httptest.NewRecorder()
			a.m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				recovered := make(chan any)
				go func() { // which Goexit ends
					defer func() { recovered <- recover() }()
					guard(func(s *session.Session) {
						name.Set(s, "of the handler")
						end()
					}).ServeHTTP(w, r)
				}()
				if problem := <-recovered; (problem == any(http.ErrAbortHandler)) != (what == "panics") {
					t.Errorf("%s: a handler that %s: recovered %v", how, what, problem)
				}
			})).ServeHTTP(w, r)
			want := map[bool]string{true: `"of the handler" true`, false: `"x" true`}[what == "returns"]
			if got := read(a.do("/get", c)); got != want {
				t.Errorf("%s: after a handler that %s the session has %s", how, what, got)
			}
		}
	}
	// Without a session, and outside of Handler, there is nothing to drop.
	a.m.DiscardOnPanic(t.Context(), func() {})
}

// TestMountedTwice: the inner one of two Handlers of one Manager is not there.
func TestMountedTwice(t *testing.T) {
	a := newApp(t, session.Config{})
	between := func(next http.Handler) http.Handler {
		return a.m.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			n, _ := count.Get(s)
			count.Set(s, n+1)
			next.ServeHTTP(w, r)
			count.Set(s, n+2)
		})
	}
	a.handle("/in", func(s *session.Session, _ http.ResponseWriter, _ *http.Request) {
		name.Set(s, "inner")
		s.SetOwner("alice")
	})
	a.handle("/both", func(s *session.Session, w http.ResponseWriter, _ *http.Request) {
		v, _ := name.Get(s)
		n, _ := count.Get(s)
		fmt.Fprint(w, s.Owner(), " ", v, " ", n)
	})
	twice := a.m.Handler(between(a.m.Handler(between(a.m.Handler(a.mux)))))
	do := func(path string, cookies ...string) *http.Response {
		r := httptest.NewRequest("GET", path, nil)
		for _, c := range cookies {
			r.Header.Add("Cookie", c)
		}
		w := httptest.NewRecorder()
		twice.ServeHTTP(w, r)
		return w.Result()
	}
	c := cookie(t, do("/set?v=x"))
	r := do("/in", c)
	if r.StatusCode != http.StatusOK {
		t.Fatalf("a sign-in inside: status %d", r.StatusCode)
	}
	if got := read(a.do("/both", cookie(t, r))); !strings.HasPrefix(got, "alice inner ") {
		t.Errorf("the session has %q", got)
	}
	// Two Managers are two.
	b := newApp(t, session.Config{Name: "other"})
	w := httptest.NewRecorder()
	a.m.Handler(b.m.Handler(between(b.mux))).ServeHTTP(w, httptest.NewRequest("GET", "/set?v=x", nil))
	if n := len(w.Result().Cookies()); n != 2 {
		t.Errorf("two Managers set %d cookies", n)
	}
}

// TestTimeoutInside: after the time of an http.TimeoutHandler is over, nothing of
// the handler is stored but what it had committed itself.
func TestTimeoutInside(t *testing.T) {
	a := newApp(t, session.Config{})
	release, returned := make(chan struct{}), make(chan error, 1)
	slow := map[string]func(s *session.Session, r *http.Request){
		"/half":    func(s *session.Session, _ *http.Request) { name.Set(s, "half") },
		"/signin":  func(s *session.Session, _ *http.Request) { s.SetOwner("alice") },
		"/renew":   func(s *session.Session, _ *http.Request) { s.Renew() },
		"/destroy": func(s *session.Session, _ *http.Request) { s.Destroy() },
		"/committed": func(s *session.Session, r *http.Request) {
			s.SetOwner("alice")
			_ = s.Commit(r.Context())
			name.Set(s, "half")
		},
	}
	mux := http.NewServeMux()
	for path, h := range slow {
		mux.Handle(path, a.m.With(func(_ http.ResponseWriter, r *http.Request, s *session.Session) {
			h(s, r)
			<-r.Context().Done()
			<-release
			count.Set(s, 7)
			returned <- s.Commit(context.WithoutCancel(r.Context()))
		}))
	}
	timeout := http.TimeoutHandler(mux, 30*time.Millisecond, "too slow")
	a.handle("/who", func(s *session.Session, w http.ResponseWriter, _ *http.Request) {
		v, _ := name.Get(s)
		n, _ := count.Get(s)
		fmt.Fprint(w, s.Owner(), " ", v, " ", n)
	})
	for path := range slow {
		for _, loaded := range []bool{false, true} { // by middleware outside of the timeout, too
			c := cookie(t, a.do("/set?v=x"))
			h := timeout
			if loaded {
				h = a.m.With(func(w http.ResponseWriter, r *http.Request, _ *session.Session) { timeout.ServeHTTP(w, r) })
			}
			r := httptest.NewRequest("GET", path, nil)
			r.Header.Set("Cookie", c)
			w := httptest.NewRecorder()
			a.m.Handler(h).ServeHTTP(w, r)
			release <- struct{}{}
			if err := <-returned; err == nil {
				t.Errorf("%s: a commit after the time is over succeeds", path)
			}
			if w.Code != http.StatusServiceUnavailable || w.Body.String() != "too slow" {
				t.Errorf("%s: status %d, %q", path, w.Code, w.Body)
			}
			want := " x 0"
			if path == "/committed" {
				c, want = cookie(t, w.Result()), "alice x 0"
			} else if len(w.Result().Cookies()) != 0 {
				t.Errorf("%s sets %v", path, w.Result().Cookies())
			}
			if got := read(a.do("/who", c)); got != want {
				t.Errorf("%s: the session has %q, want %q", path, got, want)
			}
		}
	}
	// A handler in time loses nothing.
	w := httptest.NewRecorder()
	a.m.Handler(http.TimeoutHandler(a.mux, time.Hour, "")).ServeHTTP(w, httptest.NewRequest("GET", "/set?v=x", nil))
	if got := read(a.do("/get", cookie(t, w.Result()))); got != `"x" true` {
		t.Errorf("in time: %s", got)
	}
}

// TestTimeoutInsideBounded: how the handler bounds its loads makes no difference.
func TestTimeoutInsideBounded(t *testing.T) {
	a := newApp(t, session.Config{})
	a.handle("/who", func(s *session.Session, w http.ResponseWriter, _ *http.Request) {
		v, _ := name.Get(s)
		fmt.Fprint(w, s.Owner(), " ", v)
	})
	load := func(ctx context.Context) *session.Session {
		s, err := a.m.Load(ctx)
		if err != nil {
			t.Error(err)
		}
		return s
	}
	within := func(ctx context.Context, d time.Duration) *session.Session {
		ctx, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		return load(ctx)
	}
	const long = time.Hour
	for how, get := range map[string]func(outside, inside context.Context) *session.Session{
		"plain":                    func(_, in context.Context) *session.Session { return load(in) },
		"bounded":                  func(_, in context.Context) *session.Session { return within(in, long) },
		"plain, bounded":           func(_, in context.Context) *session.Session { load(in); return within(in, long) },
		"bounded, plain":           func(_, in context.Context) *session.Session { within(in, long); return load(in) },
		"bounded outside":          func(out, in context.Context) *session.Session { within(out, long); return load(in) },
		"bounded outside, bounded": func(out, in context.Context) *session.Session { within(out, long); return within(in, long) },
		"plain, outside":           func(out, in context.Context) *session.Session { load(in); return within(out, long) },
		"short": func(_, in context.Context) *session.Session {
			ctx, cancel := context.WithTimeout(in, time.Millisecond)
			defer cancel()
			for {
				if s, err := a.m.Load(ctx); err == nil {
					return s
				}
				ctx = in // it ran out before it was used
			}
		},
		"without deadline": func(_, in context.Context) *session.Session {
			load(in)
			return load(context.WithoutCancel(in))
		},
	} {
		for what, change := range map[string]func(s *session.Session){
			"set": func(s *session.Session) { name.Set(s, "half") }, "signin": func(s *session.Session) { s.SetOwner("alice") },
		} {
			c := cookie(t, a.do("/set?v=x"))
			returned := make(chan struct{})
			h := a.m.Handler(http.HandlerFunc(func(w http.ResponseWriter, outside *http.Request) {
				http.TimeoutHandler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					defer close(returned)
					change(get(outside.Context(), r.Context()))
					<-r.Context().Done()
				}), 30*time.Millisecond, "too slow").ServeHTTP(w, outside)
			}))
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Cookie", c)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			<-returned
			if got := read(a.do("/who", c)); w.Code != http.StatusServiceUnavailable || len(w.Result().Cookies()) != 0 || got != " x" {
				t.Errorf("%s, %s: status %d, header %v, the session has %q", how, what, w.Code, w.Header(), got)
			}
		}
	}

	// The client goes away: TimeoutHandler gives up at once.
	c := cookie(t, a.do("/set?v=x"))
	ctx, leave := context.WithCancel(t.Context())
	returned, answered := make(chan struct{}), make(chan struct{})
	h := a.m.Handler(http.TimeoutHandler(a.m.With(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		defer close(returned)
		name.Set(s, "half")
		leave()
		<-answered
	}), time.Hour, ""))
	r := httptest.NewRequest("GET", "/", nil).WithContext(ctx)
	r.Header.Set("Cookie", c)
	h.ServeHTTP(httptest.NewRecorder(), r)
	close(answered)
	<-returned
	if got := read(a.do("/who", c)); got != " x" {
		t.Errorf("the client has gone: the session has %q", got)
	}
}

// TestLoadDeadlineOver: a deadline that was for the load alone says nothing about
// the handler's answer.
func TestLoadDeadlineOver(t *testing.T) {
	a := newApp(t, session.Config{})
	for _, status := range []int{200, 303, 404, 408, 429, 500, 501, 502, 504} {
		for _, canceled := range []bool{false, true} {
			c := cookie(t, a.do("/set?v=x"))
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Cookie", c)
			w := httptest.NewRecorder()
			a.m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ctx, cancel := context.WithTimeout(r.Context(), 50*time.Millisecond)
				defer cancel()
				s, err := a.m.Load(ctx)
				if err != nil { // a slow machine
					s, _ = a.m.Load(r.Context())
				}
				if canceled {
					cancel()
				}
				name.Set(s, "counted")
				if at, ok := ctx.Deadline(); ok {
					time.Sleep(time.Until(at))
				}
				w.WriteHeader(status)
			})).ServeHTTP(w, r)
			if got := read(a.do("/get", c)); got != `"counted" true` || w.Code != status {
				t.Errorf("status %d: %d, and the session has %s", status, w.Code, got)
			}
		}
	}
	// One who means 503 commits.
	c := cookie(t, a.do("/set?v=x"))
	a.mux.HandleFunc("/unavailable", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithDeadline(r.Context(), time.Now().Add(-time.Second))
		defer cancel()
		s, _ := a.m.Load(r.Context())
		_, _ = a.m.Load(ctx)
		name.Set(s, "counted")
		if err := s.Commit(r.Context()); err != nil {
			t.Error(err)
		}
		count.Set(s, 1)
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	a.do("/unavailable", c)
	if got := read(a.do("/get", c)); got != `"counted" true` {
		t.Errorf("committed before a 503: %s", got)
	}
}

// TestTimeoutOutside: an http.TimeoutHandler outside drops the answer, and then
// nothing is stored.
func TestTimeoutOutside(t *testing.T) {
	a := newApp(t, session.Config{})
	a.handle("/who", func(s *session.Session, w http.ResponseWriter, _ *http.Request) {
		v, _ := name.Get(s)
		fmt.Fprint(w, s.Owner(), " ", v)
	})
	change := map[string]func(s *session.Session){
		"set": func(s *session.Session) { name.Set(s, "half") }, "renew": func(s *session.Session) { s.Renew() },
		"signin": func(s *session.Session) { s.SetOwner("alice") }, "destroy": func(s *session.Session) { s.Destroy() },
	}
	finish := map[string]func(w http.ResponseWriter, r *http.Request, s *session.Session){
		"returns": func(http.ResponseWriter, *http.Request, *session.Session) {},
		"writes":  func(w http.ResponseWriter, _ *http.Request, _ *session.Session) { _, _ = io.WriteString(w, "done") },
		"fails":   func(w http.ResponseWriter, _ *http.Request, _ *session.Session) { w.WriteHeader(500) },
	}
	for what, change := range change {
		for how, finish := range finish {
			c := cookie(t, a.do("/set?v=x"))
			returned := make(chan struct{})
			h := a.m.Handler(a.m.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
				<-r.Context().Done()
				change(s)
				finish(w, r, s)
			}))
			outside := http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(returned)
				h.ServeHTTP(w, r)
			}), 20*time.Millisecond, "too slow")
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Cookie", c)
			w := httptest.NewRecorder()
			outside.ServeHTTP(w, r)
			<-returned
			if got := read(a.do("/who", c)); got != " x" {
				t.Errorf("%s, %s: the session has %q", what, how, got)
			}
		}
	}
	// An explicit commit does not change the identifier either, and keeps values.
	for what, want := range map[string]string{"set": " half", "renew": " x", "signin": " x"} {
		c := cookie(t, a.do("/set?v=x"))
		ctx, cancel := context.WithCancel(t.Context())
		a.mux.Handle("/explicitly/"+what, a.m.With(func(_ http.ResponseWriter, r *http.Request, s *session.Session) {
			change[what](s)
			cancel()
			if err := s.Commit(r.Context()); (err == nil) != (what == "set") || err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("%s: Commit after the client has gone: %v", what, err)
			}
		}))
		r := httptest.NewRequest("GET", "/explicitly/"+what, nil).WithContext(ctx)
		r.Header.Set("Cookie", c)
		a.m.Handler(a.mux).ServeHTTP(httptest.NewRecorder(), r)
		if got := read(a.do("/who", c)); got != want {
			t.Errorf("%s, committed: the session has %q, want %q", what, got, want)
		}
	}
}

// broken fails before its first byte, or after some.
type broken struct{ good string }

func (b *broken) Read(p []byte) (int, error) {
	n := copy(p, b.good)
	if b.good = b.good[n:]; n > 0 {
		return n, nil
	}
	return 0, errors.New("broken")
}

// atOnce says nothing first, and then returns its bytes and an error together.
type atOnce struct {
	good   string
	err    error
	silent bool
	failed bool
	after  int // reads after the error
}

func (a *atOnce) Read(p []byte) (int, error) {
	switch {
	case !a.silent:
		a.silent = true
		return 0, nil
	case a.failed:
		a.after++
		return 0, io.EOF
	}
	a.failed = true
	return copy(p, a.good), a.err
}

// TestCopyThatFails: a source that fails before its first byte leaves the handler
// its answer, and the cookie with it.
func TestCopyThatFails(t *testing.T) {
	a := newApp(t, session.Config{})
	a.handle("/copy", func(s *session.Session, w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(w, &broken{good: r.FormValue("good")})
		if err == nil || n != int64(len(r.FormValue("good"))) {
			t.Errorf("io.Copy: %d, %v", n, err)
		}
		if n == 0 {
			name.Set(s, "flash")
			http.Redirect(w, r, "/elsewhere", http.StatusSeeOther)
		}
	})
	a.handle("/empty", func(s *session.Session, w http.ResponseWriter, _ *http.Request) {
		if n, err := io.Copy(w, strings.NewReader("")); n != 0 || err != nil {
			t.Errorf("io.Copy of nothing: %d, %v", n, err)
		}
		name.Set(s, "x")
		w.WriteHeader(http.StatusTeapot)
	})
	failures := map[string]error{"ends": io.EOF, "fails": io.ErrUnexpectedEOF, "wrapped": fmt.Errorf("wrapped: %w", io.EOF)}
	a.mux.HandleFunc("/both", func(w http.ResponseWriter, r *http.Request) {
		for range 2 { // the second one after the header has gone
			src, same := &atOnce{good: "some", err: failures[r.FormValue("how")]}, &atOnce{good: "some", err: failures[r.FormValue("how")]}
			n, err := io.Copy(w, src)
			bare, want := io.Copy(struct{ io.Writer }{io.Discard}, same)
			if n != bare || err != want || src.after > 0 { //nolint:errorlint // the same one
				t.Errorf("io.Copy of a source that %s with its first bytes: %d, %v, then read %d times; a bare writer: %d, %v", r.FormValue("how"), n, err, src.after, bare, want)
			}
		}
	})
	long := strings.Repeat("0123456789", 1000)
	a.mux.HandleFunc("/long", func(w http.ResponseWriter, _ *http.Request) {
		if n, err := io.Copy(w, io.LimitReader(strings.NewReader(long), 9999)); n != 9999 || err != nil {
			t.Errorf("io.Copy: %d, %v", n, err)
		}
	})
	for protocol, server := range serve(t, a.m.Handler(a.mux)) {
		client := server.Client()
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		get := func(path string) (*http.Response, string) {
			r, err := client.Get(server.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			b, _ := io.ReadAll(r.Body)
			return r, string(b)
		}
		r, _ := get("/copy")
		if r.StatusCode != http.StatusSeeOther {
			t.Errorf("%s: status %d", protocol, r.StatusCode)
		}
		if got := read(a.do("/get", cookie(t, r))); got != `"flash" true` {
			t.Errorf("%s: the message is %s", protocol, got)
		}
		if r, _ := get("/copy?good=some"); r.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d after some bytes", protocol, r.StatusCode)
		}
		if r, _ := get("/empty"); r.StatusCode != http.StatusTeapot || len(r.Cookies()) != 1 {
			t.Errorf("%s: after nothing: %d, %v", protocol, r.StatusCode, r.Header)
		}
		for how := range failures {
			if _, body := get("/both?how=" + how); body != "somesome" {
				t.Errorf("%s: of a source that %s with its first bytes arrives %q", protocol, how, body)
			}
		}
		if _, body := get("/long"); body != long[:9999] {
			t.Errorf("%s: %d bytes arrive", protocol, len(body))
		}
	}
}
