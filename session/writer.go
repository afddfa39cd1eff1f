package session

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// An exchange is one request and its answer. What a request costs that never
// looks at its session is one of these and one copy of the request.
type exchange struct {
	m   *Manager
	r   *http.Request
	ctx requestContext
	w   writer

	s atomic.Pointer[Session] // nil until loaded

	// deadline is the earliest of the contexts that Load was called with: of one
	// from inside http.TimeoutHandler it is that handler's or an earlier one.
	deadline atomic.Pointer[time.Time]

	loading sync.Mutex
	err     error // the store's when it could not be loaded
}

type contextKey struct{ m *Manager }

type requestContext struct {
	context.Context
	x *exchange
}

func (c *requestContext) Value(key any) any {
	if k, ok := key.(contextKey); ok && k.m == c.x.m {
		return c.x
	}
	return c.Context.Value(key)
}

func (x *exchange) load(ctx context.Context) (*Session, error) {
	if ctx != context.Context(&x.ctx) {
		if at, ok := ctx.Deadline(); ok && !x.endsBy(at) {
			x.ends(at)
		}
	}
	if s := x.s.Load(); s != nil {
		return s, nil
	}
	x.loading.Lock()
	defer x.loading.Unlock()
	if s := x.s.Load(); s != nil || x.err != nil {
		return s, x.err
	}
	s := &Session{m: x.m, x: x, now: time.Now(), changes: &unchanged}
	if err := s.load(ctx); err != nil {
		if ctx.Err() == nil {
			x.err = err // one question to a store that is down, not ten
		}
		return nil, err
	}
	// Either begin sees the session, or this sees that the header is going.
	x.s.Store(s)
	if x.w.going.Load() {
		s.mu.Lock()
		s.sent = true
		s.mu.Unlock()
	}
	return s, nil
}

// endsBy reports whether the request itself has to end by that time.
func (x *exchange) endsBy(at time.Time) bool {
	own, ok := x.ctx.Deadline()
	return ok && !at.Before(own)
}

// ends takes note of the deadline of a context that the session was loaded with.
func (x *exchange) ends(at time.Time) {
	for {
		earliest := x.deadline.Load()
		if earliest != nil && !at.Before(*earliest) || x.deadline.CompareAndSwap(earliest, &at) {
			return
		}
	}
}

// timedOut reports whether an answer of this status is http.TimeoutHandler's,
// inside Manager.Handler, and the handler may still be under way. The context is of
// no use for that: a handler that bounds its Load has canceled it by then.
func (x *exchange) timedOut(status int) bool {
	at := x.deadline.Load()
	return status == http.StatusServiceUnavailable && at != nil &&
		(x.ctx.Err() != nil || !time.Now().Before(*at)) // it gives up too when the client goes away
}

// writer stands between the handler and the server so that the session is
// committed before the header goes, whichever exit the handler takes. Every
// method that can send the header calls begin; what is not one of them, such
// as deadlines, goes through Unwrap.
type writer struct {
	rw     http.ResponseWriter
	x      *exchange
	going  atomic.Bool   // the header goes, or has gone
	outer  []headerField // the header as it was before the handler, which may be about all answers
	failed error         // the answer was replaced by an error page
	whole  bool          // and all of that page has been written
}

// begin commits and reports whether the handler's answer may go, which has this
// status.
func (w *writer) begin(status int) bool {
	if w.going.Load() {
		return w.failed == nil
	}
	w.going.Store(true)
	if s := w.x.s.Load(); s != nil {
		if err := s.finish(status); err != nil {
			w.refuse(s, err)
			return false
		}
	}
	return true
}

// finish is the commit before the header goes. From then on it is known to have
// gone, also to the handler's other goroutines.
func (s *Session) finish(status int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx := s.x.ctx.Context
	s.abandon(status)
	if err := s.commitOrTouch(ctx, s.now); err != nil {
		s.m.failed(ctx, s.rec.ID.Handle(), err)
		return err
	}
	s.sendCookie()
	s.setCacheHeaders()
	s.sent = true
	s.m.sweepIfDue(s.now)
	s.m.lines.Flush(ctx, s.m.cfg.Logger)
	return nil
}

// abandon sees to it that of a handler that ran out of time nothing is stored
// rather than half. Where the time of the whole request is over and the answer is
// no failure, it may not reach the client: the error page replaces it, so that the
// client is not told of what was not stored.
func (s *Session) abandon(status int) {
	over := errors.Is(s.x.ctx.Err(), context.DeadlineExceeded)
	failure := status >= 500 || status == http.StatusRequestTimeout
	late := over && (failure || s.changed())
	if !late && !s.x.timedOut(status) {
		return
	}
	s.abandoned = fmt.Errorf("session: the time of the request is over: %w", context.DeadlineExceeded)
	if failure && s.changed() {
		s.m.observe(s.x.ctx.Context, Event{Kind: Lost, Handle: s.rec.ID.Handle(), Err: s.abandoned})
		s.discard()
	}
}

// sendCookie puts into the header what the commits so far ask for. That waits
// until the header goes: until then the handler may fill it, copy it, or clear
// it, as httputil.ReverseProxy does after each informational answer.
func (s *Session) sendCookie() {
	if !s.setsCookie {
		return
	}
	h, expires := s.x.w.rw.Header(), s.rec.Expires
	if expires.IsZero() { // no record is needed
		expires = s.now.Add(s.m.cfg.Absolute)
	}
	s.m.cookie.set(h, s.cookieValue, expires, time.Now())
	if s.former != "" {
		s.m.cookie.forget(h, s.former)
	}
}

// setCacheHeaders keeps an answer that used the session out of caches, unless the handler
// said otherwise. One that sets the cookie has to be private and one that may
// show a secret no-store, whatever the handler said.
func (s *Session) setCacheHeaders() {
	h := s.x.w.rw.Header()
	s.header = [2]string{"Cookie", "no-store"}
	if vary := h["Vary"]; len(vary) == 0 {
		h["Vary"] = s.header[0:1:1]
	} else if !listed(vary, "Cookie") && !listed(vary, "*") {
		h["Vary"] = append(vary, "Cookie")
	}
	cc := h["Cache-Control"]
	if len(cc) == 0 || (s.setsCookie || s.secrets) && !listed(cc, "no-store") && (s.secrets || !listed(cc, "private")) {
		h["Cache-Control"] = s.header[1:2:2]
	}
}

// listed reports whether a comma-separated list holds the word.
func listed(lines []string, word string) bool {
	for _, line := range lines {
		for line != "" {
			var item string
			item, line, _ = strings.Cut(line, ",")
			if strings.EqualFold(strings.Trim(item, " \t"), word) {
				return true
			}
		}
	}
	return false
}

// refuse replaces the handler's answer by an error page. What middleware outside
// has put into the header is that middleware's, such as the Content-Encoding of
// one that compresses.
func (w *writer) refuse(s *Session, err error) {
	w.failed = fmt.Errorf("%w: %w", ErrRefused, err)
	h := w.rw.Header()
	for name := range h {
		if !survives(name) {
			delete(h, name)
		}
	}
	for _, f := range w.outer {
		h[f.name] = f.values
	}
	h["Cache-Control"] = []string{"no-store"}
	s.mu.Lock()
	s.sent = true
	if !errors.Is(err, ErrEnded) {
		s.sendCookie() // of what was committed before: the old one is dead
	}
	s.mu.Unlock()
	w.x.m.cfg.Error(w.rw, w.x.r, err)
	w.whole = true
}

// A headerField is one of a header as it was.
type headerField struct {
	name   string
	values []string
}

// fieldsOf returns a copy of a header.
func fieldsOf(h http.Header) []headerField {
	if len(h) == 0 {
		return nil
	}
	n := 0
	for _, values := range h {
		n += len(values)
	}
	fields, all := make([]headerField, 0, len(h)), make([]string, 0, n)
	for name, values := range h {
		begin := len(all)
		all = append(all, values...)
		if values != nil {
			values = all[begin:len(all):len(all)]
		}
		fields = append(fields, headerField{name, values})
	}
	return fields
}

// survives reports whether a header field that the handler has set stays when its
// answer is replaced by an error page: what middleware sets for every answer of a
// site. All others, known or not, may speak of the answer that is not given.
func survives(name string) bool {
	switch name {
	case "Strict-Transport-Security", "Content-Security-Policy", "Content-Security-Policy-Report-Only",
		"X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Permissions-Policy",
		"Cross-Origin-Opener-Policy", "Cross-Origin-Embedder-Policy", "Cross-Origin-Resource-Policy",
		"Reporting-Endpoints", "Server", "Date", "Connection", "Vary", "X-Request-Id", "Traceparent", "Server-Timing",
		"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers":
		return true
	}
	return false
}

// end runs when the handler has returned.
func (w *writer) end() {
	if !w.going.Load() {
		w.begin(http.StatusOK)
		return
	}
	s := w.x.s.Load()
	if s == nil || w.failed != nil {
		return
	}
	// The header has gone: what was set since is stored if it needs no
	// cookie; if it does, the operator learns what the client cannot.
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.abandoned != nil {
		return
	}
	ctx := w.x.ctx.Context
	if err := s.commit(ctx); err != nil {
		s.m.failed(ctx, s.rec.ID.Handle(), fmt.Errorf("%w (changed after the header was sent)", err))
	}
}

// panicked runs when the handler panics. What is pending is dropped. The cookie
// of what was committed goes out with the answer of a recoverer outside, if there
// is one: without it the session would be lost.
func (w *writer) panicked() {
	s := w.x.s.Load()
	if s == nil || w.going.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.discard() // a recoverer may answer through this writer
	s.sendCookie()
	s.setCacheHeaders()
	s.sent = true
}

func (w *writer) Header() http.Header { return w.rw.Header() }

func (w *writer) WriteHeader(code int) {
	switch {
	case code >= 100 && code < 200 && code != http.StatusSwitchingProtocols && !w.going.Load():
		w.rw.WriteHeader(code) // informational: the answer is still to come
	case w.begin(code):
		w.rw.WriteHeader(code)
	}
}

func (w *writer) Write(b []byte) (int, error) {
	if !w.begin(http.StatusOK) {
		return 0, w.failed
	}
	return w.rw.Write(b)
}

func (w *writer) WriteString(s string) (int, error) {
	if !w.begin(http.StatusOK) {
		return 0, w.failed
	}
	return io.WriteString(w.rw, s)
}

// ReadFrom keeps sendfile and splice within reach of io.Copy. The header goes
// with the first bytes and not before: where there are none, the handler may
// still answer something else.
func (w *writer) ReadFrom(src io.Reader) (int64, error) {
	var n int64
	if !w.going.Load() {
		first := make([]byte, 512)
		read, err := 0, error(nil)
		for read == 0 && err == nil {
			read, err = src.Read(first)
		}
		if read > 0 {
			written, err := w.Write(first[:read])
			if n = int64(written); err != nil {
				return n, err
			}
		}
		// Of a source that fails together with its first bytes, a second read might
		// say that it has ended.
		if err == io.EOF { //nolint:errorlint // as io.Copy does
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	if w.failed != nil {
		return n, w.failed
	}
	rest, err := io.Copy(w.rw, src)
	return n + rest, err
}

func (w *writer) Flush() { _ = w.FlushError() }

// FlushError is what [http.ResponseController] calls.
func (w *writer) FlushError() error {
	if !w.begin(http.StatusOK) {
		return w.failed
	}
	return http.NewResponseController(w.rw).Flush()
}

// Hijack commits what can be stored without a cookie. With a cookie to set it
// refuses: the header is the handler's to write from now on, and a session
// whose cookie is lost would be worse than an error. A handler that commits
// first finds the cookie in [http.ResponseWriter.Header] afterwards and can send
// it along.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.failed != nil {
		return nil, nil, w.failed
	}
	if s := w.x.s.Load(); s != nil && !w.going.Load() {
		if err := s.beforeHijack(); err != nil {
			return nil, nil, err
		}
	}
	c, rw, err := http.NewResponseController(w.rw).Hijack()
	if err == nil {
		w.going.Store(true)
		if s := w.x.s.Load(); s != nil {
			s.mu.Lock()
			s.sent = true
			s.mu.Unlock()
		}
	}
	return c, rw, err
}

func (s *Session) beforeHijack() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.former != "" && s.onlyRenews() {
		s.discard() // that can wait for a request whose header is ours
	}
	if s.needsCookie() {
		return fmt.Errorf("%w: hijack: call Session.Commit first and send the Set-Cookie in Header along", ErrHeaderSent)
	}
	err := s.commitOrTouch(s.x.ctx.Context, s.now)
	if err == nil {
		s.sendCookie()
	}
	return err
}

// Unwrap is for [http.ResponseController].
func (w *writer) Unwrap() http.ResponseWriter { return w.rw }
