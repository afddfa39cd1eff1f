package signin_test

import (
	"bytes"
	"context"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/internal/spent"
	"github.com/seed-64ad3862/gatehouse/password"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/signin"
	"github.com/seed-64ad3862/gatehouse/store/memory"
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
	for _, f := range change {
		f(&cfg)
	}
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

// A visitor is a browser without scripts.
type visitor struct {
	t      testing.TB
	site   *site
	client *http.Client
	at     *url.URL // the page that is shown
	body   string
	status int
	header http.Header
	agent  string
}

func (s *site) visitor(t testing.TB) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t: t, site: s, client: &http.Client{Jar: jar}, agent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
}

func (v *visitor) do(ctx context.Context, method, address, body string, header ...string) {
	v.t.Helper()
	u, err := url.Parse(v.site.URL)
	if err != nil {
		v.t.Fatal(err)
	}
	if v.at != nil {
		u = v.at
	}
	to, err := u.Parse(address)
	if err != nil {
		v.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(ctx, method, to.String(), strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html,application/xhtml+xml")
	r.Header.Set("User-Agent", v.agent)
	if v.at != nil {
		r.Header.Set("Referer", v.at.String())
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", v.site.URL)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i+1] == "" {
			r.Header.Del(header[i])
		} else {
			r.Header.Set(header[i], header[i+1])
		}
	}
	res, err := v.client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	v.at, v.body, v.status, v.header = res.Request.URL, string(b), res.StatusCode, res.Header
}

func (v *visitor) open(address string) *visitor {
	v.t.Helper()
	v.do(v.t.Context(), http.MethodGet, address, "")
	return v
}

var (
	formTag   = regexp.MustCompile(`(?s)<form\b[^>]*>.*?</form>`)
	inputTag  = regexp.MustCompile(`<(?:input|button|select)\b[^>]*>`)
	attribute = regexp.MustCompile(`\b(name|value|type|action|method)="([^"]*)"`)
	blank     = regexp.MustCompile(`\s+`)
	anyTag    = regexp.MustCompile(`<[^>]*>`)
)

func attributes(tag string) map[string]string {
	m := make(map[string]string)
	for _, a := range attribute.FindAllStringSubmatch(tag, -1) {
		m[a[1]] = html.UnescapeString(a[2])
	}
	return m
}

// filled returns the form of the page that goes to an address which ends so, and
// its fields as they would be sent.
func (v *visitor) filled(action string) (string, url.Values) {
	v.t.Helper()
	for _, f := range formTag.FindAllString(v.body, -1) {
		head := attributes(f[:strings.Index(f, ">")+1])
		if head["method"] != "post" || !strings.HasSuffix(head["action"], action) {
			continue
		}
		values := make(url.Values)
		for _, tag := range inputTag.FindAllString(f, -1) {
			a := attributes(tag)
			if a["name"] != "" && a["type"] != "checkbox" && a["name"] != "captcha_new" {
				values.Set(a["name"], a["value"])
			}
		}
		return head["action"], values
	}
	v.t.Fatalf("%s has no form to %q:\n%s", v.at, action, v.text())
	return "", nil
}

// send fills in the form of the page that goes to such an address, and sends it.
func (v *visitor) send(action string, pairs ...string) *visitor {
	v.t.Helper()
	address, values := v.filled(action)
	for i := 0; i < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	if id := values.Get("captcha_id"); id != "" && !strings.Contains(strings.Join(pairs, " "), "captcha_answer") {
		values.Set("captcha_answer", v.site.solve(v.t, id))
	}
	v.do(v.t.Context(), http.MethodPost, address, values.Encode())
	return v
}

// signIn signs in by password.
func (v *visitor) signIn(name, secret string) *visitor {
	v.t.Helper()
	return v.open("/login").send("/login", "name", name, "password", secret)
}

// text is what the page says.
func (v *visitor) text() string {
	_, body, _ := strings.Cut(v.body, "<body")
	return strings.TrimSpace(blank.ReplaceAllString(html.UnescapeString(anyTag.ReplaceAllString("<body"+body, " ")), " "))
}

// shows fails the test if the page does not say all of this, under this path.
func (v *visitor) shows(path string, texts ...string) *visitor {
	v.t.Helper()
	if v.at.Path != path {
		v.t.Errorf("at %s (%d), want %s: %s", v.at.Path, v.status, path, v.text())
	}
	for _, want := range texts {
		if !strings.Contains(v.text(), want) {
			v.t.Errorf("%s (%d) does not say %q: %s", v.at.Path, v.status, want, v.text())
		}
	}
	return v
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
