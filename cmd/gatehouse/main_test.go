package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"gatehouse": main})
}

// TestScripts runs the scripts in testdata/script against the command itself.
// Besides testscript's own commands they have
//
//	exits STATUS PROGRAM ARGS   like exec, with this very status
//	occupy NAME                 $NAME is a port on loopback that another program has
//	free NAME                   $NAME is one that nobody has
//	get URL                     the body, as standard output, once somebody answers
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": func(ts *testscript.TestScript, _ bool, args []string) {
				var exit *exec.ExitError
				if err := ts.Exec(args[1], args[2:]...); !errors.As(err, &exit) || strconv.Itoa(exit.ExitCode()) != args[0] {
					ts.Fatalf("%v, want status %s", err, args[0])
				}
			},
			"occupy": func(ts *testscript.TestScript, _ bool, args []string) {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				ts.Check(err)
				ts.Defer(func() { l.Close() })
				_, port, _ := net.SplitHostPort(l.Addr().String())
				ts.Setenv(args[0], port)
			},
			"free": func(ts *testscript.TestScript, _ bool, args []string) {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				ts.Check(err)
				_, port, _ := net.SplitHostPort(l.Addr().String())
				l.Close()
				ts.Setenv(args[0], port)
			},
			"get": func(ts *testscript.TestScript, _ bool, args []string) {
				var res *http.Response
				var err error
				for range 3000 { // until it is up
					if res, err = http.Get(args[0]); err == nil && res.StatusCode != http.StatusServiceUnavailable {
						break
					}
					if err == nil {
						res.Body.Close()
					}
					time.Sleep(10 * time.Millisecond)
				}
				ts.Check(err)
				defer res.Body.Close()
				_, err = io.Copy(ts.Stdout(), res.Body)
				ts.Check(err)
			},
		},
	})
}

// output is written to while it is read.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// command is a gatehouse under way.
type command struct {
	out, err output
	url      string
	stop     context.CancelFunc
	status   chan int
}

// start runs the command until it says where it is.
func start(t *testing.T, args ...string) *command {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	c := &command{stop: stop, status: make(chan int, 1)}
	go func() { c.status <- run(ctx, args, streams{&c.out, &c.err}) }()
	t.Cleanup(stop)
	for range 3000 {
		if m := regexp.MustCompile(`site is at (\S+)`).FindStringSubmatch(c.err.String()); m != nil {
			c.url = m[1]
			return c
		}
		select {
		case status := <-c.status:
			t.Fatalf("gatehouse %s: status %d: %s", strings.Join(args, " "), status, c.err.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Fatalf("gatehouse %s does not say where it is: %s", strings.Join(args, " "), c.err.String())
	return nil
}

// end ends it and returns its status.
func (c *command) end(t *testing.T) int {
	t.Helper()
	c.stop()
	select {
	case status := <-c.status:
		return status
	case <-time.After(2 * grace):
		t.Fatal("it does not end")
		return -1
	}
}

func body(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDemo(t *testing.T) {
	c := start(t, "demo", "--listen", "localhost:0")
	if got := body(t, c.url+"/index?u=alex"); got != "cookie设置成功了" {
		t.Errorf("/index: %q", got)
	}
	if got := c.out.String(); !regexp.MustCompile(`^\{"[0-9a-f]{16}":\{"is_login":true,"name":"alex"\}\}\n$`).MatchString(got) {
		t.Errorf("printed %q", got)
	}
	if status := c.end(t); status != 0 {
		t.Errorf("status %d: %s", status, c.err.String())
	}
	if _, err := http.Get(c.url + "/manager"); err == nil {
		t.Error("it still answers")
	}
	if strings.Contains(c.err.String(), "level=") {
		t.Errorf("the log: %s", c.err.String())
	}
}

// A browser finds localhost at either address, and its forms count by Origin
// where there is no Sec-Fetch-Site.
func TestDemoAddresses(t *testing.T) {
	c := start(t, "demo", "--listen", "localhost:0")
	port := c.url[strings.LastIndex(c.url, ":")+1:]
	for _, host := range []string{"127.0.0.1", "[::1]", "localhost"} {
		address := "http://" + host + ":" + port
		if host == "[::1]" {
			probe, err := net.Listen("tcp", "[::1]:0")
			if err != nil {
				t.Log("no IPv6 here: ", err)
				continue
			}
			probe.Close()
		}
		res, err := http.Get(address + "/csrf")
		if err != nil {
			t.Fatal(err)
		}
		page, _ := io.ReadAll(res.Body)
		res.Body.Close()
		token := regexp.MustCompile(`name="_xsrf" value="([^"]+)"`).FindSubmatch(page)[1]
		for origin, want := range map[string]int{address: 200, "http://attacker.example": 403} {
			req, _ := http.NewRequest("POST", address+"/csrf", nil)
			req.Header.Set("X-Xsrftoken", string(token))
			req.Header.Set("Origin", origin)
			req.AddCookie(res.Cookies()[0])
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != want {
				t.Errorf("from %s to %s: %d, want %d", origin, address, res.StatusCode, want)
			}
		}
	}
	if status := c.end(t); status != 0 {
		t.Errorf("status %d", status)
	}
}

func TestInsecure(t *testing.T) {
	c := start(t, "demo", "--listen", "0.0.0.0:0", "--insecure-http")
	if !strings.Contains(c.err.String(), "Warning") || !strings.HasPrefix(c.url, "http://localhost:") {
		t.Errorf("it says %s", c.err.String())
	}
	if got := body(t, c.url+"/manager"); got != "登录失败" {
		t.Errorf("/manager: %q", got)
	}
	c.end(t)
}

func TestOrigins(t *testing.T) {
	for _, test := range []struct {
		host     string
		loopback bool
		ip       string
		want     []string
	}{
		{"localhost", true, "127.0.0.1", []string{"http://127.0.0.1:9000", "http://[::1]:9000", "http://localhost:9000"}},
		{"::1", true, "::1", []string{"http://127.0.0.1:9000", "http://[::1]:9000", "http://localhost:9000"}},
		{"gate.example", false, "192.0.2.1", []string{"http://192.0.2.1:9000", "http://gate.example:9000"}},
	} {
		l := &listeners{host: test.host, port: "9000", loopback: test.loopback, sockets: []net.Listener{socket{ip: net.ParseIP(test.ip)}}}
		if got := l.origins(); fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("%s: %v, want %v", test.host, got, test.want)
		}
	}
	all := (&listeners{port: "9000", sockets: []net.Listener{socket{ip: net.IPv6unspecified}}}).origins()
	if !strings.Contains(fmt.Sprint(all), "http://localhost:9000") || !strings.Contains(fmt.Sprint(all), "http://127.0.0.1:9000") {
		t.Errorf("all addresses: %v", all)
	}
}

// socket is a listener that has an address and nothing else.
type socket struct {
	net.Listener
	ip net.IP
}

func (s socket) Addr() net.Addr { return &net.TCPAddr{IP: s.ip, Port: 9000} }

// What is under way when the program ends is finished, and answered.
func TestServeFinishes(t *testing.T) {
	l, err := listen(t.Context(), "127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	arrived, release := make(chan bool), make(chan bool)
	slow := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		io.WriteString(w, "finished")
	})
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- serve(ctx, slow, l, slog.New(slog.DiscardHandler)) }()
	answer := make(chan string)
	go func() { answer <- body(t, l.url()) }()
	<-arrived
	stop()
	select {
	case err := <-served:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	close(release)
	if got := <-answer; got != "finished" {
		t.Errorf("the answer is %q", got)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestVersion(t *testing.T) {
	for want, info := range map[string]*debug.BuildInfo{
		`^gatehouse \(devel\), go\S* \w+/\w+$`: nil,
		`^gatehouse v1\.2\.3, go\S* \w+/\w+$`:  {Main: debug.Module{Version: "v1.2.3"}},
		`^gatehouse \(devel\), commit 0123456789ab with changes, go\S* \w+/\w+$`: {Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "true"},
		}},
	} {
		if got := version(info); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%q, want %s", got, want)
		}
	}
}

// TestBrokenOutput is what `gatehouse version >/dev/full` does.
func TestBrokenOutput(t *testing.T) {
	var errs bytes.Buffer
	if status := run(t.Context(), []string{"version"}, streams{broken{}, &errs}); status != 1 || !strings.Contains(errs.String(), "disk full") {
		t.Errorf("status %d, %s", status, &errs)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }
