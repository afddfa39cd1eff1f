package main

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/internal/visitor"
)

// TestServeSeveral: three servers on one Redis and one PostgreSQL, behind a proxy that
// takes them in turn, are one: sign-in, what is throttled, and what is ended.
func TestServeSeveral(t *testing.T) {
	database, sessions := service.Postgres(t).URL(), "redis://"+service.Redis(t).Addr
	var targets []*url.URL
	var next atomic.Int64
	var ready sync.WaitGroup
	ready.Add(1)
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		ready.Wait()
		r.SetURL(targets[int(next.Add(1))%len(targets)])
		r.Out.Host = r.In.Host
		r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
		r.SetXForwarded()
	}})
	defer proxy.Close()
	public := strings.Replace(proxy.URL, "127.0.0.1", "localhost", 1)
	dir := t.TempDir()
	var links []string
	for range 3 {
		c := serving(t, dir, "--listen=127.0.0.1:0", "--metrics=off", "--database="+database, "--sessions="+sessions,
			"--public-url="+public, "--trusted-proxy=127.0.0.1,::1", "--log-level=debug")
		links = append(links, c.link)
		at := regexp.MustCompile(`listening.* address=(\S+)`).FindStringSubmatch(c.said.String())
		if at == nil {
			t.Fatalf("it does not say where it listens: %s", c.said.String())
		}
		u, err := url.Parse("http://" + at[1])
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, u)
	}
	ready.Done()

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
