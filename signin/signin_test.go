package signin_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/signin"
)

// TestFirstRun: the link, the administrator, out and in again.
func TestFirstRun(t *testing.T) {
	s := newSite(t, func(c *signin.Config) { c.Captcha = signin.Always })
	link, err := s.pages.SetupURL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v := s.visitor(t)
	v.Open(link).Shows(strings.TrimPrefix(link, s.URL), "Set up", "Make the first administrator of Gatehouse")
	v.Send("", "name", "Alex", "new", "short", "again", "short").Shows(v.At.Path, "too short")
	v.Send("", "name", "a b", "new", good, "again", better).Shows(v.At.Path, "cannot be a name", "not the same as above")
	v.Send("", "name", "Alex", "new", good, "again", good, "captcha_answer", "wrong").Shows(v.At.Path, "That is not what the picture says")
	v.Send("", "name", "Alex", "new", good, "again", good).Shows("/manager", "The administrator is made", "alex", "This device", "Firefox, Linux", "People")
	v.Send("/logout").Shows("/logout", "You are signed out on this device")
	v.Open("/manager").Shows("/login")
	v.Send("/login", "name", "ALEX", "password", good).Shows("/manager", "My account")
	v.Open(link).Shows(strings.TrimPrefix(link, s.URL), "This link is not good any more")
	if _, err := s.pages.SetupURL(t.Context()); err == nil {
		t.Error("another link to set up")
	}
	if got := strings.Join(s.kinds(t), " "); got != "sign-in sign-out sign-in set-up" {
		t.Errorf("the log has %s", got)
	}
	if e := s.errors.String(); e != "" {
		t.Errorf("logged: %s", e)
	}
}

// TestSignIn: what is wrong is not told, and what follows from success is there.
func TestSignIn(t *testing.T) {
	s := newSite(t)
	s.person(t, account.Person{Name: "alex"})
	off := s.person(t, account.Person{Name: "eric"})
	if _, err := s.people.Update(t.Context(), off.ID, func(p *account.Person) error { p.Disabled = true; return nil }); err != nil {
		t.Fatal(err)
	}
	var answers []string
	for _, c := range [][2]string{{"alex", "wrong"}, {"nobody", good}, {"eric", good}, {"", ""}, {"a b\x00", "\xff"}, {"alex", ""}} {
		v := s.visitor(t)
		signIn(v, c[0], c[1]).Shows("/login", "Name or password is wrong.")
		if v.Status != http.StatusUnprocessableEntity {
			t.Errorf("%q: status %d", c, v.Status)
		}
		answers = append(answers, strings.ReplaceAll(v.Text(), c[0], ""))
	}
	for _, a := range answers {
		if a != answers[0] {
			t.Errorf("answers differ:\n%s\n%s", a, answers[0])
		}
	}
	v := s.visitor(t)
	v.Open("/app/page?x=1&y=2").Shows("/login")
	before, _ := v.Filled("/login")
	_ = before
	v.Send("/login", "name", "alex", "password", good)
	if v.At.RequestURI() != "/app/page?x=1&y=2" || v.Body != "app of alex" {
		t.Errorf("at %s: %s", v.At, v.Body)
	}
	v.Open("/index").Shows("/index", "Hello, alex")
	v.Open("/login").Shows("/index")
}

// TestRequire: programs are told, pages lead to the sign-in.
func TestRequire(t *testing.T) {
	s := newSite(t)
	v := s.visitor(t)
	v.Do(t.Context(), http.MethodGet, "/app/", "", "Accept", "application/json")
	if v.Status != http.StatusUnauthorized || v.At.Path != "/app/" {
		t.Errorf("%d at %s", v.Status, v.At)
	}
	v.Do(t.Context(), http.MethodPost, "/app/", "x=1")
	if v.Status != http.StatusUnauthorized {
		t.Errorf("POST: %d at %s", v.Status, v.At)
	}
	v.Do(t.Context(), http.MethodGet, "/app/", "", "Sec-Fetch-Mode", "cors", "Accept", "text/html")
	if v.Status != http.StatusUnauthorized {
		t.Errorf("fetch: %d at %s", v.Status, v.At)
	}
	v.Open("/app/x").Shows("/login")
	if next := v.At.Query().Get("next"); next != "/app/x" {
		t.Errorf("next is %q", next)
	}
}

// TestOpenRedirect: a sign-in leads to this site and to no other.
func TestOpenRedirect(t *testing.T) {
	s := newSite(t)
	s.person(t, account.Person{Name: "alex"})
	for next, want := range map[string]string{
		"//evil.example":                "/index",
		`/\evil.example`:                "/index",
		`\\evil.example`:                "/index",
		"https://evil.example/":         "/index",
		"https:evil.example":            "/index",
		"javascript:alert(1)":           "/index",
		"/\t/evil.example":              "/index",
		"/\n/evil.example":              "/index",
		"\x00//evil.example":            "/index",
		"/..//evil.example":             "/evil.example",
		"/app/../../evil":               "/evil",
		"/%2f%2fevil.example":           "/evil.example",
		"/%5cevil.example":              "/index",
		"///evil.example":               "/index",
		"/app/?q=//evil":                "/app/?q=//evil",
		"app/":                          "/index",
		"":                              "/index",
		"/app/#//evil":                  "/app/",
		"/app/\u202eevil":               "/app/%E2%80%AEevil",
		"/" + strings.Repeat("a", 4096): "/index",
	} {
		v := s.visitor(t)
		v.Client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		v.Open("/login?next="+url.QueryEscape(next)).Send("/login", "name", "alex", "password", good)
		if got := v.Header.Get("Location"); v.Status != http.StatusSeeOther || got != want {
			t.Errorf("%q leads to %q (%d), want %q", next, got, v.Status, want)
		}
	}
}

// TestOverlay: files of one's own lie over the pages', one by one, and a template that
// is none is refused at once.
func TestOverlay(t *testing.T) {
	s := newSite(t, func(c *signin.Config) {
		c.Site = "Own"
		c.Views = fstest.MapFS{"index.html": {Data: []byte(`{{define "title"}}Mine{{end}}{{define "main"}}<h1>My own home of {{.Site}}</h1>{{end}}`)}}
		c.Statics = fstest.MapFS{"main.css": {Data: []byte("body { color: red }")}, "logo.txt": {Data: []byte("logo")}}
	})
	v := s.visitor(t)
	v.Open("/index").Shows("/index", "My own home of Own")
	v.Open("/login").Shows("/login", "Sign in")
	v.Open("/Statics/main.css")
	if v.Body != "body { color: red }" {
		t.Errorf("style: %q", v.Body)
	}
	if v.Open("/Statics/logo.txt"); v.Body != "logo" {
		t.Errorf("a file of one's own: %d %q", v.Status, v.Body)
	}
	if v.Open("/Statics/pages.js"); v.Status != http.StatusOK {
		t.Errorf("the pages' own: %d", v.Status)
	}
	_, err := signin.New(t.Context(), signin.Config{
		Sessions: s.sessions, People: s.people, PublicURL: s.URL, Views: fstest.MapFS{"login.html": {Data: []byte("{{define}}")}},
	})
	if err == nil || !strings.Contains(err.Error(), "login.html") {
		t.Errorf("a broken template: %v", err)
	}
}

// TestConfig: what cannot be is refused, by its name.
func TestConfig(t *testing.T) {
	s := newSite(t)
	for name, change := range map[string]func(*signin.Config){
		"Sessions":   func(c *signin.Config) { c.Sessions = nil },
		"People":     func(c *signin.Config) { c.People = nil },
		"public URL": func(c *signin.Config) { c.PublicURL = "app.example" },
		"plain HTTP": func(c *signin.Config) { c.PublicURL = "http://app.example" },
		"prefix":     func(c *signin.Config) { c.Prefix = "auth/" },
		"home":       func(c *signin.Config) { c.Home = "//evil.example" },
		"captcha":    func(c *signin.Config) { c.Captcha = "sometimes" },
		"step-up":    func(c *signin.Config) { c.StepUp = -1 },
	} {
		cfg := signin.Config{Sessions: s.sessions, People: s.people, PublicURL: s.URL}
		change(&cfg)
		if _, err := signin.New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
