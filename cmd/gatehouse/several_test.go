package main

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/seed-64ad3862/gatehouse/internal/proxied"
	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/internal/visitor"
)

// several are machines of one site, behind a proxy that takes them in turn.
type several struct {
	url      string
	machines []*child
	targets  []*url.URL
	next     atomic.Int64 // the machine of the next request
	step     atomic.Int64 // how many machines further the one after it goes to
}

// startSeveral starts machines by their commands, to which it adds settings.
func startSeveral(t testing.TB, commands []*exec.Cmd, args ...string) *several {
	t.Helper()
	s := new(several)
	s.step.Store(1)
	proxy := httptest.NewUnstartedServer(proxied.Ending(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(s.targets[int(s.next.Add(s.step.Load()))%len(s.targets)])
		r.Out.Host = r.In.Host
		r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
		r.SetXForwarded()
	}}))
	t.Cleanup(proxy.Close)
	s.url = "http://" + strings.Replace(proxy.Listener.Addr().String(), "127.0.0.1", "localhost", 1)
	for _, cmd := range commands {
		cmd.Args = append(cmd.Args, "--listen=127.0.0.1:0", "--metrics=off", "--public-url="+s.url, "--trusted-proxy=127.0.0.1,::1", "--log-level=debug")
		cmd.Args = append(cmd.Args, args...)
		c := started(t, cmd)
		s.machines = append(s.machines, c)
		at := regexp.MustCompile(`listening.* address=(\S+)`).FindStringSubmatch(c.said.String())
		if at == nil {
			t.Fatalf("it does not say where it listens: %s", c.said.String())
		}
		u, err := url.Parse("http://" + at[1])
		if err != nil {
			t.Fatal(err)
		}
		s.targets = append(s.targets, u)
	}
	proxy.Start()
	return s
}

// TestServeSeveral: three servers on one Redis and one PostgreSQL, behind a proxy that
// takes them in turn, are one: sign-in, what is throttled, and what is ended.
func TestServeSeveral(t *testing.T) {
	commands := make([]*exec.Cmd, 3)
	for i := range commands {
		commands[i] = gatehouse(t, "serve", "--captcha=off")
	}
	s := startSeveral(t, commands, "--database="+service.Postgres(t).URL(), "--sessions=redis://"+service.Redis(t).Addr)
	public := s.url
	var links []string
	for _, c := range s.machines {
		links = append(links, c.link)
	}

	root := visitor.New(t, public)
	root.Open(links[1]).Send("", "name", "root", "new", goodPassword, "again", goodPassword).Shows("/manager", "root")
	for range 6 { // each of the three, twice
		root.Open("/manager").Shows("/manager", "root", "This device")
	}
	visitor.New(t, public).Open(links[0]).Shows(strings.TrimPrefix(links[0], public), "not good any more")

	root.Open("/manager/people/new").Send("/new", "name", "alex").Shows("/manager/people/new", "Link for alex")
	link := regexp.MustCompile(`http://\S+/recover/[\w-]+`).FindString(root.Body)
	alex, second := visitor.New(t, public), visitor.New(t, public)
	alex.Open(link).Send("", "new", "seven copper bridges", "again", "seven copper bridges").Shows("/manager", "alex")
	second.Open("/login").Send("/login", "name", "alex", "password", "seven copper bridges").Shows("/index", "Hello, alex")

	// One ends the other's, wherever it was begun.
	alex.Open("/manager").Shows("/manager", "End all others").Send("/end-others").Shows("/manager", "All other sessions have ended")
	for range 3 {
		second.Open("/manager").Shows("/login")
	}
	// Five guesses are five, wherever they arrive.
	denied := 0
	for range 8 {
		second.Open("/login").Send("/login", "name", "alex", "password", "wrong")
		if second.Status == http.StatusTooManyRequests {
			denied++
		}
	}
	if denied != 3 {
		t.Errorf("%d of 8 guesses were denied, want 3", denied)
	}
	root.Open("/manager/people")
	path := regexp.MustCompile(`/manager/people/[a-z2-7]{26}`).FindString(root.Body)
	for _, m := range regexp.MustCompile(`(/manager/people/[a-z2-7]{26})">(\w+)`).FindAllStringSubmatch(root.Body, -1) {
		if m[2] == "alex" {
			path = m[1]
		}
	}
	root.Open(path).Send("/disable").Shows(path, "Disabled")
	for range 3 {
		alex.Open("/manager").Shows("/login")
	}
	root.Open("/manager/log").Shows("/manager/log", "Disabled · alex", "by root", "Too many attempts")
}
