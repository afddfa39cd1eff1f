// Package proxied tries a store of sessions as a gateway uses it: behind servers for
// HTTP/1.1 and HTTP/2 whose handler is a reverse proxy, under load, while the store's own
// server is killed and started again.
package proxied

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

const (
	clients = 6 // for each protocol
	rounds  = 2
	// enough answers of one kind for a protocol, before the state of the server changes.
	enough = 30
	// most is a bound on the requests of a client, which are few in a second while the
	// store is away.
	most = 200_000
)

// A Server is one that a store talks to.
type Server interface {
	Kill()
	Start()
}

var visits = session.NewKey[int]("visits")

// Run kills the server of the store and starts it again, under load. Every answer must be
// that of the app, whole, or the error page, whole; and what was changed by a request that
// the app has answered must be there in the end.
func Run(t *testing.T, store session.Store, server Server) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-App", "1")
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		if r.Method == http.MethodPost {
			_, _ = io.Copy(w, r.Body)
		}
		_, _ = io.WriteString(w, strings.Repeat("a", n))
	}))
	t.Cleanup(app.Close)
	target, err := url.Parse(app.URL)
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	sessions, err := session.New(session.Config{Store: store, Insecure: true, Logger: quiet, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorLog: slog.NewLogLogger(quiet.Handler(), 0),
	}
	gate := sessions.Handler(sessions.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		if n, _ := visits.Get(s); r.Method == http.MethodPost {
			visits.Set(s, n+1)
		} else {
			w.Header().Set("X-Visits", strconv.Itoa(n))
		}
		proxy.ServeHTTP(w, r)
	}))

	one := httptest.NewUnstartedServer(Ending(gate))
	two := httptest.NewUnstartedServer(Ending(gate))
	two.EnableHTTP2 = true
	one.Config.ErrorLog, two.Config.ErrorLog = proxy.ErrorLog, proxy.ErrorLog
	one.Start()
	two.StartTLS()
	t.Cleanup(one.Close)
	t.Cleanup(two.Close)

	var stop atomic.Bool
	answers := make(map[string]*counts)
	var load, ready sync.WaitGroup
	for protocol, s := range map[string]*httptest.Server{"HTTP/1.1": one, "HTTP/2.0": two} {
		answers[protocol] = new(counts)
		for range clients {
			load.Add(1)
			ready.Add(1)
			c := newClient(t, s, protocol, answers[protocol])
			go func() {
				defer load.Done()
				c.do(http.MethodPost, 0) // a session, while the server is there
				ready.Done()
				for i := range most {
					if stop.Load() {
						break
					}
					// Bodies that fit into a buffer, and some that do not.
					c.do([]string{http.MethodPost, http.MethodPost, http.MethodGet}[i%3], []int{0, 10, 3000, 200_000}[i%4])
				}
			}()
		}
	}
	ready.Wait()
	for range rounds {
		await(t, answers, served)
		server.Kill()
		await(t, answers, refused)
		server.Start()
	}
	await(t, answers, served)
	stop.Store(true)
	load.Wait()
	for protocol, c := range answers {
		t.Logf("%s: %d answers of the app, %d error pages", protocol, c.of[served].Load(), c.of[refused].Load())
	}
}

// Ending returns a handler for a server in front of a reverse proxy. When a server for
// HTTP/1.1 begins to answer, it closes the body of the request. If the proxy has not yet
// seen the end of that body, though it has sent all of it, it gives up its connection, and
// with it the rest of the answer. So the body ends with its last byte.
func Ending(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > 0 {
			r.Body = &ending{r.Body, r.ContentLength}
		}
		next.ServeHTTP(w, r)
	})
}

// ending is a body that has so many bytes left.
type ending struct {
	io.ReadCloser
	left int64
}

func (e *ending) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.ReadCloser.Read(p)
	if e.left -= int64(n); e.left == 0 {
		err = io.EOF
	}
	return n, err
}

// An outcome is what kind of answer there was.
type outcome int

const (
	served outcome = iota
	refused
	outcomes
)

// counts are of answers.
type counts struct{ of [outcomes]atomic.Int64 }

// await returns when there are so many more answers of that kind, for each protocol.
func await(t *testing.T, answers map[string]*counts, o outcome) {
	t.Helper()
	want := make(map[string]int64)
	for protocol, c := range answers {
		want[protocol] = c.of[o].Load() + enough
	}
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		there := true
		for protocol, n := range want {
			there = there && answers[protocol].of[o].Load() >= n
		}
		switch {
		case there || t.Failed():
			return
		case time.Now().After(deadline):
			t.Errorf("answers of kind %d no longer come", o)
			return
		}
	}
}

// A client is one browser.
type client struct {
	t        *testing.T
	http     *http.Client
	url      string
	protocol string
	counts   *counts

	least, sent int // changes that were answered, and sent
}

func newClient(t *testing.T, s *httptest.Server, protocol string, c *counts) *client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &client{t: t, http: &http.Client{Transport: s.Client().Transport, Jar: jar}, url: s.URL, protocol: protocol, counts: c}
}

// do makes one request, for that many bytes of the app.
func (c *client) do(method string, n int) {
	var body io.Reader
	want := strings.Repeat("a", n)
	if method == http.MethodPost {
		body = strings.NewReader("sent")
		want = "sent" + want
		c.sent++
	}
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.url+"/?n="+strconv.Itoa(n), body)
	if err != nil {
		c.t.Error(err)
		return
	}
	res, err := c.http.Do(r)
	if err != nil {
		c.t.Errorf("%s %s: %v", c.protocol, method, err)
		return
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	switch {
	case err != nil || res.Proto != c.protocol:
		c.t.Errorf("%s %s: %d, %v over %s", c.protocol, method, res.StatusCode, err, res.Proto)
	case res.StatusCode == http.StatusOK && res.Header.Get("X-App") == "1" && string(text) == want:
		c.counts.of[served].Add(1)
		if method == http.MethodPost {
			c.least++
			return
		}
		if got, err := strconv.Atoi(res.Header.Get("X-Visits")); err != nil || got < c.least || got > c.sent {
			c.t.Errorf("%s: %d changes, %v; want %d to %d", c.protocol, got, err, c.least, c.sent)
		}
	case res.StatusCode == http.StatusServiceUnavailable && res.Header.Get("X-App") == "" && string(text) == "Service Unavailable\n":
		c.counts.of[refused].Add(1)
	default:
		c.t.Errorf("%s %s: %d, header %v, %d bytes that begin %.40q", c.protocol, method, res.StatusCode, res.Header, len(text), text)
	}
}
