package tutorial

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

// lines is what the site prints.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// last returns the last line, which must be JSON by itself.
func (l *lines) last(t testing.TB) map[string]map[string]any {
	t.Helper()
	all := strings.Split(l.String(), "\n")
	if len(all) < 2 || all[len(all)-1] != "" {
		t.Fatalf("no whole line in %q", all)
	}
	var container map[string]map[string]any
	if err := json.Unmarshal([]byte(all[len(all)-2]), &container); err != nil {
		t.Fatalf("the line %s: %v", all[len(all)-2], err)
	}
	return container
}

// newSite returns a site of plain HTTP at http://example.com, which is what
// httptest calls its own.
func newSite(t testing.TB, change ...func(*Config)) (http.Handler, *lines) {
	t.Helper()
	out := &lines{}
	cfg := Config{Insecure: true, Out: out, Origins: []string{"http://example.com"}, Logger: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&cfg)
	}
	site, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return site, out
}

// visitor is a browser with one cookie.
type visitor struct {
	t      testing.TB
	site   http.Handler
	cookie string
}

type answer struct {
	code   int
	header http.Header
	body   string
}

func (v *visitor) do(r *http.Request) answer {
	v.t.Helper()
	if v.cookie != "" {
		r.Header.Add("Cookie", "__session__="+v.cookie)
	}
	w := httptest.NewRecorder()
	v.site.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if c.Name == "__session__" {
			v.cookie = c.Value
		}
	}
	return answer{w.Code, w.Header(), w.Body.String()}
}

func (v *visitor) request(method, target, body string, header ...string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

func (v *visitor) get(target string, header ...string) answer {
	v.t.Helper()
	return v.do(v.request("GET", target, "", header...))
}

// post sends a form, without a token unless one of the pairs is one.
func (v *visitor) post(target string, pairs ...string) answer {
	v.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return v.do(v.request("POST", target, form.Encode(), "Content-Type", "application/x-www-form-urlencoded"))
}

var tokenField = regexp.MustCompile(`<input type="hidden" name="_xsrf" value="([^"]+)">`)

// token returns a token from a page with a form.
func (v *visitor) token() string {
	v.t.Helper()
	m := tokenField.FindStringSubmatch(v.get("/csrf").body)
	if m == nil {
		v.t.Fatal("/csrf shows no token")
	}
	return m[1]
}

// handle is what the container calls the visitor's session.
func (v *visitor) handle() string {
	return session.ID(sha256.Sum256([]byte(v.cookie))).Handle().String()
}

// code reads the code of the last picture from the container.
func (v *visitor) code(out *lines) string {
	v.t.Helper()
	v.get("/manager")
	code, _ := out.last(v.t)[v.handle()]["CheckCode"].(string)
	return code
}

// status returns what the login page says beside the code.
func status(page string) string {
	m := regexp.MustCompile(`<p id="status"[^>]*>([^<]*)</p>`).FindStringSubmatch(page)
	if m == nil {
		return "(no status)"
	}
	return m[1]
}

// check reports an answer that is not as wanted.
func check(t testing.TB, what string, got answer, code int, body string) {
	t.Helper()
	if got.code != code || body != "" && got.body != body {
		t.Errorf("%s: %d %.200q, want %d %q", what, got.code, got.body, code, body)
	}
}

var errDown = errors.New("the store is down")

// downStore is a store that can be down, for all or for some of its methods.
type downStore struct {
	*memory.Store
	load, commit, list atomic.Bool
}

func (s *downStore) down(yes bool) {
	s.load.Store(yes)
	s.commit.Store(yes)
	s.list.Store(yes)
}

func (s *downStore) Load(ctx context.Context, id session.ID) (session.Record, error) {
	if s.load.Load() {
		return session.Record{}, errDown
	}
	return s.Store.Load(ctx, id)
}

func (s *downStore) Commit(ctx context.Context, id session.ID, d *session.Delta) error {
	if s.commit.Load() {
		return errDown
	}
	return s.Store.Commit(ctx, id, d)
}

func (s *downStore) Delete(ctx context.Context, id session.ID) error {
	if s.commit.Load() {
		return errDown
	}
	return s.Store.Delete(ctx, id)
}

func (s *downStore) List(ctx context.Context, q session.Query) iter.Seq2[session.Record, error] {
	if s.list.Load() {
		return func(yield func(session.Record, error) bool) { yield(session.Record{}, errDown) }
	}
	return s.Store.List(ctx, q)
}

func newMemory() *memory.Store { return memory.New(memory.Config{MaxBytes: 1 << 20}) }

func textLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// raw sends a request as it stands.
func raw(t testing.TB, server *httptest.Server, request string) (code int, body string) {
	t.Helper()
	c, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%.80q: %v", request, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}
