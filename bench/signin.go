package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/password"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/signin"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

const (
	rawArgon2 = "golang.org/x/crypto/argon2, 19 MiB, 2 passes"
	wholeSign = "**gatehouse**, a sign-in: both requests"
	thePass   = "quiet lantern meadow"
)

// signSite is the pages in this process, with people in memory.
type signSite struct {
	handler http.Handler
	hasher  *password.Hasher
	encoded string
	next    int
}

// signPeople is how many there are, who sign in in turn: nobody has hundreds of
// sessions.
const signPeople = 1000

func newSignSite(ctx context.Context) (*signSite, error) {
	quiet := slog.New(slog.DiscardHandler)
	s := &signSite{}
	var err error
	if s.hasher, err = password.New(password.Config{}); err != nil {
		return nil, err
	}
	if s.encoded, err = s.hasher.Hash(ctx, thePass); err != nil {
		return nil, err
	}
	sessions, err := session.New(session.Config{Store: memory.New(memory.Config{Logger: quiet}), Insecure: true, Logger: quiet})
	if err != nil {
		return nil, err
	}
	store := new(account.Memory)
	people, err := account.New(account.Config{Store: store})
	if err != nil {
		return nil, err
	}
	for i := range signPeople {
		if _, err := people.Create(ctx, account.Person{Name: fmt.Sprint("alex", i), Password: s.encoded, Admin: true}); err != nil {
			return nil, err
		}
	}
	pages, err := signin.New(ctx, signin.Config{
		Sessions: sessions, People: people, PublicURL: "http://localhost", Hasher: s.hasher, Captcha: signin.Off, Logger: quiet,
	})
	if err != nil {
		return nil, err
	}
	s.handler = sessions.Handler(pages)
	return s, nil
}

var (
	tokenField = regexp.MustCompile(`name="csrf_token" value="([^"]+)"`)
	errSign    = errors.New("the sign-in failed")
)

// ask sends a request with these cookies, and adds those that come back.
func (s *signSite) ask(method, path, body string, jar map[string]string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://localhost"+path, strings.NewReader(body))
	for name, value := range jar {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", "http://localhost")
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() { //nolint:bodyclose // a recorder's
		jar[c.Name] = c.Value
	}
	return w
}

// signIn opens the page and sends the form.
func (s *signSite) signIn() (map[string]string, error) {
	jar := make(map[string]string)
	s.next++
	name := fmt.Sprint("alex", s.next%signPeople)
	page := s.ask(http.MethodGet, "/login", "", jar)
	m := tokenField.FindSubmatch(page.Body.Bytes())
	if m == nil {
		return nil, errSign
	}
	w := s.ask(http.MethodPost, "/login", url.Values{"csrf_token": {string(m[1])}, "name": {name}, "password": {thePass}}.Encode(), jar)
	if w.Code != http.StatusSeeOther {
		return nil, fmt.Errorf("%w: status %d", errSign, w.Code)
	}
	return jar, nil
}

func benchSignIn(ctx context.Context, cfg config, r *report) error {
	s, err := newSignSite(ctx)
	if err != nil {
		return err
	}
	var failed error
	salt := make([]byte, 16)
	cs := []contender{
		{name: rawArgon2, run: func(n int) {
			for range n {
				argon2.IDKey([]byte(thePass), salt, 2, 19456, 1, 32)
			}
		}},
		{name: "**gatehouse**, password.Verify", run: func(n int) {
			for range n {
				if _, err := s.hasher.Verify(ctx, s.encoded, thePass); err != nil {
					failed = err
				}
			}
		}},
		{name: wholeSign, run: func(n int) {
			for range n {
				if _, err := s.signIn(); err != nil {
					failed = err
				}
			}
		}},
	}
	results := measure(cs, cfg)
	if failed != nil {
		return failed
	}
	r.title("Signing in")
	r.text("With people and sessions in memory and without a captcha: the page, and the form with name and password, against what a hash alone costs.")
	var rows [][]string
	for _, c := range cs {
		m := results[c.name].median()
		rows = append(rows, []string{c.name, duration(m.cpu), times(results[c.name].ratio(results[rawArgon2])), size(m.bytes), thousands(1e9 / m.cpu)})
	}
	r.table([]string{"", "CPU", "of the hash", "bytes allocated", "per second and core"}, rows)

	if s, err = newSignSite(ctx); err != nil { // with few sessions, as people have
		return err
	}
	var jar map[string]string
	for range 3 {
		if jar, err = s.signIn(); err != nil {
			return err
		}
	}
	pages := []contender{}
	for _, p := range []struct{ path, cookies string }{{"/login", ""}, {"/manager", "in"}, {"/manager/people", "in"}, {"/manager/log", "in"}, {"/Statics/main.css", ""}} {
		pages = append(pages, contender{name: p.path, run: func(n int) {
			for range n {
				use := map[string]string{}
				if p.cookies != "" {
					use["session"] = jar["session"]
				}
				if w := s.ask(http.MethodGet, p.path, "", use); w.Code != http.StatusOK {
					failed = fmt.Errorf("%s: status %d", p.path, w.Code)
				}
			}
		}})
	}
	results = measure(pages, cfg)
	if failed != nil {
		return failed
	}
	r.title("Pages")
	r.text("From the request to the last byte, with the recorder's own cost.")
	rows = nil
	for _, c := range pages {
		m := results[c.name].median()
		rows = append(rows, []string{c.name, duration(m.cpu), count(m.allocs), size(m.bytes), thousands(1e9 / m.cpu)})
	}
	r.table([]string{"", "CPU", "allocations", "bytes allocated", "per second and core"}, rows)
	return benchBinary(ctx, cfg, r)
}

// benchBinary builds the command, and looks at what it takes.
func benchBinary(ctx context.Context, cfg config, r *report) error {
	dir, err := os.MkdirTemp("", "gatehouse-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	sizes := make(map[string]int64)
	for name, flags := range map[string]string{"gatehouse": "", "stripped": "-s -w"} {
		path := filepath.Join(dir, name)
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags="+flags, "-o", path, "./cmd/gatehouse")
		cmd.Dir = ".." // with the versions of its own module, not of this one
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("go build: %w", err)
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		sizes[name] = info.Size()
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "gatehouse"), "serve", "--listen=localhost:0", "--metrics=off")
	cmd.Dir = dir
	said, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { _ = cmd.Wait() }()
	defer stop()
	site := ""
	for lines := bufio.NewScanner(said); site == "" && lines.Scan(); {
		if _, after, ok := strings.Cut(lines.Text(), "site is at "); ok {
			site, _, _ = strings.Cut(after, " ")
		}
	}
	if site == "" {
		return errors.New("gatehouse serve does not say where it is")
	}
	go func() { _, _ = io.Copy(io.Discard, said) }()
	time.Sleep(time.Second)
	idle, err := resident(cmd.Process.Pid)
	if err != nil {
		return err
	}
	visitors := cfg.sessions / 10
	var bad atomic.Int64
	var wg sync.WaitGroup
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	start := time.Now()
	for range 64 {
		wg.Go(func() {
			for range visitors / 64 {
				res, err := client.Get(site + "/login")
				if err != nil {
					bad.Add(1)
					continue
				}
				if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
					bad.Add(1)
				}
				res.Body.Close()
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	if bad.Load() > 0 {
		return fmt.Errorf("%d visitors saw no page", bad.Load())
	}
	full, err := resident(cmd.Process.Pid)
	if err != nil {
		return err
	}
	file, err := os.Stat(filepath.Join(dir, "gatehouse.db"))
	if err != nil {
		return err
	}
	r.title("The binary")
	r.text("`gatehouse serve` with its defaults, its sessions in SQLite. Each visitor opens the sign-in page, which begins a session that is on disk before the page is sent: %s visitors in %.0f s, 64 at once, on the same machine.", thousands(float64(visitors)), took.Seconds())
	r.table([]string{"", "MB"}, [][]string{
		{"binary", megabytes(sizes["gatehouse"])},
		{"binary, stripped", megabytes(sizes["stripped"])},
		{"resident, idle", megabytes(idle)},
		{fmt.Sprintf("resident, with %s sessions", thousands(float64(visitors))), megabytes(full)},
		{"database then, without its WAL", megabytes(file.Size())},
	})
	r.atMost("Binary, stripped", float64(sizes["stripped"]), 42e6, size, "tinyauth 42 MB")
	r.atMost("Resident, idle", float64(idle), 33e6, size, "tinyauth 33 MB")
	return nil
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f", float64(n)/1e6) }

// resident is what a process has in memory.
func resident(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, after, ok := bytes.Cut(b, []byte("VmRSS:"))
	fields := bytes.Fields(after)
	if !ok || len(fields) == 0 {
		return 0, errors.New("no VmRSS")
	}
	kb, err := strconv.ParseInt(string(fields[0]), 10, 64)
	return kb << 10, err
}
