package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
)

// A session holds one string under one key, 100 bytes together, for all
// contenders.
const key = "name"

var payload = strings.Repeat("gatehouse ", 10)[:100-len(key)]

// The requests that every site answers.
const (
	pathNothing = "/nothing" // does not touch the session
	pathRead    = "/read"    // answers with the payload
	pathWrite   = "/write"   // as read, and stores a number under another key
	pathNumber  = "/number"  // answers with that number
	pathBegin   = "/begin"   // begins a session that holds the payload
	pathKeep    = "/keep"    // loads the session, waits, and then sets the key ?key=
	pathGet     = "/get"     // answers with the value of the key ?key=
	pathEnd     = "/end"     // signs out
)

// A site is a small application on top of one library.
type site interface {
	// answer serves one request and returns what a browser would see.
	answer(path, cookie string) answer
	// repeat serves the same request n times and throws the answers away. It
	// panics if an answer's body has not the length of want.
	repeat(path, cookie, want string, n int)
	// serve answers requests from the network.
	serve(l net.Listener) error
}

// answer is what a browser sees: cookie is the pair that it would send next
// time, empty if the answer set none, and gone says that it was told to forget.
type answer struct {
	code   int
	body   string
	cookie string
	gone   bool
}

// begin begins a session and returns its cookie.
func begin(s site) (cookie string, err error) {
	a := s.answer(pathBegin, "")
	if a.code != http.StatusOK || a.cookie == "" {
		return "", fmt.Errorf("no session begun: answer %d %.40q, cookie %.20q", a.code, a.body, a.cookie)
	}
	if r := s.answer(pathRead, a.cookie); r.body != payload {
		return "", fmt.Errorf("session not readable: answer %d %.40q", r.code, r.body)
	}
	return a.cookie, nil
}

// httpSite is a site of net/http handlers, by path.
type httpSite map[string]http.Handler

func (s httpSite) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := s[r.URL.Path]
	if h == nil {
		http.NotFound(w, r)
		return
	}
	h.ServeHTTP(w, r)
}

func request(method, path, cookie string) *http.Request {
	r := httptest.NewRequest(method, path, http.NoBody)
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	return r
}

func (s httpSite) answer(path, cookie string) answer {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, request(http.MethodGet, path, cookie))
	a := answer{code: w.Code, body: w.Body.String()}
	for _, c := range w.Result().Cookies() {
		if c.MaxAge < 0 {
			a.gone = true
		} else {
			a.cookie = c.Name + "=" + c.Value
		}
	}
	return a
}

func (s httpSite) repeat(path, cookie, want string, n int) {
	repeat(s[path], []*http.Request{request(http.MethodGet, path, cookie)}, len(want), n)
}

// repeat serves n requests, these in turns. Each time the handler gets one as it
// was at first: gorilla/sessions for one changes it, and would find its work
// done.
func repeat(h http.Handler, rs []*http.Request, want, n int) {
	w := &discard{header: make(http.Header)}
	again := new(http.Request)
	for i := range n {
		clear(w.header)
		*again = *rs[i%len(rs)]
		h.ServeHTTP(w, again)
	}
	if w.bytes != want*n || w.failed {
		panic(fmt.Sprintf("%s: %d bytes in %d answers, not %d each (failed: %v)", rs[0].URL, w.bytes, n, want, w.failed))
	}
}

func (s httpSite) serve(l net.Listener) error {
	return (&http.Server{Handler: s}).Serve(l)
}

// discard is an answer that costs next to nothing.
type discard struct {
	header http.Header
	bytes  int
	failed bool
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) Write(b []byte) (int, error) {
	d.bytes += len(b)
	return len(b), nil
}

func (d *discard) WriteString(s string) (int, error) {
	d.bytes += len(s)
	return len(s), nil
}
func (d *discard) WriteHeader(code int) { d.failed = d.failed || code >= 400 }
