package signin_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/internal/spent"
	"github.com/seed-64ad3862/gatehouse/internal/visitor"
	"github.com/seed-64ad3862/gatehouse/password"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/signin"
	"github.com/seed-64ad3862/gatehouse/store/memory"
	"github.com/seed-64ad3862/gatehouse/throttle"
)

// good is a password that can be chosen, and better another one.
const (
	good   = "quiet lantern meadow"
	better = "seven copper bridges"
)

// hasher is cheap: what is tested here is not how dear a password is.
var hasher = sync.OnceValue(func() *password.Hasher {
	h, err := password.New(password.Config{Memory: 7168, Passes: 5})
	if err != nil {
		panic(err)
	}
	return h
})

func hashOf(t testing.TB, secret string) string {
	t.Helper()
	encoded, err := hasher().Hash(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// A site is a server with the pages.
type site struct {
	*httptest.Server
	people   *account.Directory
	log      *account.Memory
	pages    *signin.Pages
	sessions *session.Manager
	once     *spent.Table
	throttle *throttle.Throttle
	errors   *lines
}

// lines is what is logged.
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

// newSite starts a site without captcha, if change does not ask for one. The app,
// behind the pages, greets whoever is signed in.
func newSite(t testing.TB, change ...func(*signin.Config)) *site {
	t.Helper()
	s := &site{log: new(account.Memory), once: spent.New(10_000), errors: new(lines)}
	logger := slog.New(slog.NewTextHandler(s.errors, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s.Server = httptest.NewUnstartedServer(nil)
	address := "http://" + strings.Replace(s.Listener.Addr().String(), "127.0.0.1", "localhost", 1)
	var err error
	if s.people, err = account.New(account.Config{Store: s.log}); err != nil {
		t.Fatal(err)
	}
	s.sessions, err = session.New(session.Config{Store: memory.New(memory.Config{Logger: logger}), Insecure: true, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	cfg := signin.Config{
		Sessions: s.sessions, People: s.people, Log: s.log, PublicURL: address, Hasher: hasher(),
		Captcha: signin.Off, Once: s.once, Logger: logger,
	}
	if cfg.Throttle, err = throttle.New(throttle.Config{}); err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(&cfg)
	}
	s.throttle, s.sessions = cfg.Throttle, cfg.Sessions
	if s.pages, err = signin.New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(cfg.Prefix+"/", s.pages)
	mux.HandleFunc("/favicon.ico", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.Handle("/app/", s.pages.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		me, _ := signin.PersonFrom(r.Context())
		fmt.Fprintf(w, "app of %s", me.Name)
	})))
	mux.HandleFunc("POST /clock", func(_ http.ResponseWriter, r *http.Request) {
		by, err := time.ParseDuration(r.URL.Query().Get("back"))
		live, err2 := s.sessions.Load(r.Context())
		if err := errors.Join(err, err2); err != nil {
			t.Error(err)
			return
		}
		signin.SetBack(live, by)
	})
	s.Config.Handler = s.sessions.Handler(mux)
	s.Start()
	s.URL = address
	t.Cleanup(func() {
		s.Close()
		s.pages.Wait()
	})
	return s
}

// person makes one, with the password good.
func (s *site) person(t testing.TB, p account.Person) account.Person {
	t.Helper()
	if p.Password == "" {
		p.Password = hashOf(t, good)
	}
	p, err := s.people.Create(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// said draws an answer as text.
type said string

func (said) MediaType() string  { return "text/plain" }
func (s said) Alphabet() string { return string(s) }
func (said) Append(dst []byte, answer string, _ [32]byte) ([]byte, error) {
	return append(dst, answer...), nil
}

// solve returns the answer of a captcha.
func (s *site) solve(t testing.TB, id string) string {
	t.Helper()
	secret, err := s.people.Secret(t.Context(), "captcha")
	if err != nil {
		t.Fatal(err)
	}
	c, err := captcha.New(captcha.Config{Keys: [][]byte{secret}, Forms: map[string]captcha.Renderer{"txt": said(captcha.Alphabet)}})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	c.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/"+id+".txt", nil))
	return w.Body.String()
}

// visitor is a browser without scripts.
func (s *site) visitor(t testing.TB) *visitor.Visitor {
	t.Helper()
	v := visitor.New(t, s.URL)
	v.Solve = func(id string) string { return s.solve(t, id) }
	return v
}

// post sends a form that no page has, with the token of the page at hand.
func post(v *visitor.Visitor, path string, pairs ...string) *visitor.Visitor {
	v.T.Helper()
	values := make(url.Values)
	for i := 0; i < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	_, after, _ := strings.Cut(v.Body, `name="csrf-token" content="`)
	token, _, _ := strings.Cut(after, `"`)
	v.Do(v.T.Context(), http.MethodPost, path, values.Encode(), "X-Csrf-Token", token)
	return v
}

// mailbox keeps what is sent.
type mailbox struct {
	mu   sync.Mutex
	sent []signin.Mail
}

func (m *mailbox) use(c *signin.Config) {
	c.Mail = func(_ context.Context, one signin.Mail) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.sent = append(m.sent, one)
		return nil
	}
}

// all is what was sent until now.
func (m *mailbox) all(s *site) []signin.Mail {
	s.pages.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.sent)
}

// recovery makes a link, and returns its path.
func (s *site) recovery(t testing.TB, id string) string {
	t.Helper()
	link, err := s.pages.RecoveryURL(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(link, s.URL)
}

// signIn signs in by password.
func signIn(v *visitor.Visitor, name, secret string) *visitor.Visitor {
	v.T.Helper()
	return v.Open("/login").Send("/login", "name", name, "password", secret)
}

// kinds are those of the log, the newest first.
func (s *site) kinds(t testing.TB) (all []string) {
	t.Helper()
	for e, err := range s.log.Entries(t.Context(), account.LogQuery{}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(e.Kind))
	}
	return all
}
