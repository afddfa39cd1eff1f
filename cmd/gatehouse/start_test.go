package main

import (
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/internal/visitor"
)

// gatehouse is the command, in a folder of the test.
func gatehouse(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "gatehouse", args...)
	cmd.Dir = t.TempDir()
	return cmd
}

// get is the status and the text of an address.
func get(t testing.TB, address string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b), res.Header
}

// awaitReady waits until /readyz says that these stores are missing, and no others.
func awaitReady(t testing.TB, operator string, missing ...string) {
	t.Helper()
	status, text := 0, ""
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		status, text, _ = get(t, operator+"/readyz")
		var said []string
		for _, m := range regexp.MustCompile(`(?m)^(\w+): \S`).FindAllStringSubmatch(text, -1) {
			said = append(said, m[1])
		}
		want := http.StatusOK
		if len(missing) > 0 {
			want = http.StatusServiceUnavailable
		}
		if status == want && strings.Join(said, " ") == strings.Join(missing, " ") {
			return
		}
	}
	t.Fatalf("ready? %d, %q; want %q to be missing", status, text, missing)
}

const metricsAt = `health are at (http://\S+)\.\n`

// TestReadyz: each store has its own limit, so that one that does not answer is not
// blamed on another, and the log has one line for each change.
func TestReadyz(t *testing.T) {
	pg, redis := service.Postgres(t), service.Redis(t)
	c := serving(t, t.TempDir(), "--listen=localhost:0", "--metrics=127.0.0.1:0", "--database="+pg.URL(), "--sessions=redis://"+redis.Addr)
	operator := c.says(t, metricsAt)
	awaitReady(t, operator)
	for range 2 {
		redis.Pause()
		awaitReady(t, operator, "sessions")
		for range 3 {
			if status, text, _ := get(t, operator+"/readyz"); status != http.StatusServiceUnavailable || strings.Contains(text, "database") {
				t.Errorf("%d: %s", status, text)
			}
		}
		redis.Resume()
		awaitReady(t, operator)
	}
	pg.Stop()
	awaitReady(t, operator, "database")
	redis.Stop()
	awaitReady(t, operator, "database", "sessions")
	pg.Start()
	awaitReady(t, operator, "sessions")
	redis.Start()
	awaitReady(t, operator)
	if status, text, _ := get(t, operator+"/healthz"); status != http.StatusOK || text != "ok\n" {
		t.Errorf("alive? %d, %s", status, text)
	}
	var told []string
	for line := range strings.Lines(c.said.String()) {
		if m := regexp.MustCompile(`msg="(not ready|ready again)"(?: missing="?([\w, ]+?)"? error)?`).FindStringSubmatch(line); m != nil {
			told = append(told, m[1]+" "+m[2])
		}
	}
	want := []string{"not ready sessions", "ready again ", "not ready sessions", "ready again ", "not ready database", "not ready database, sessions", "not ready sessions", "ready again "}
	if strings.Join(told, "; ") != strings.Join(want, "; ") {
		t.Errorf("the log has %q, want %q", told, want)
	}
}

// TestServeWaits: a server that starts before its stores waits for them, says what is
// missing, is alive, answers browsers that it starts, and goes on when they are there.
func TestServeWaits(t *testing.T) {
	pg, redis := service.Postgres(t), service.Redis(t)
	pg.Stop()
	redis.Stop()
	port := freePort(t)
	args := []string{"serve", "--captcha=off", "--listen=localhost:" + port, "--metrics=127.0.0.1:0", "--database=" + pg.URL(), "--sessions=redis://" + redis.Addr}
	c := launched(t, gatehouse(t, args...))
	operator := c.says(t, metricsAt)
	awaitReady(t, operator, "database", "sessions")
	if status, text, _ := get(t, operator+"/healthz"); status != http.StatusOK || text != "ok\n" {
		t.Errorf("alive? %d, %s", status, text)
	}
	if status, text, h := get(t, "http://localhost:"+port+"/login"); status != http.StatusServiceUnavailable || h.Get("Retry-After") == "" || h.Get("Cache-Control") != "no-store" || !strings.Contains(text, "Starting") {
		t.Errorf("browsers get %d, %v: %s", status, h, text)
	}
	// Longer and longer, with a line for each.
	c.says(t, `store=database .*again_in=500ms[\s\S]*store=database .*again_in=1s[\s\S]*store=database .*again_in=2s`)
	c.says(t, `store=sessions .*again_in=500ms[\s\S]*store=sessions .*again_in=1s[\s\S]*store=sessions .*again_in=2s`)
	redis.Start()
	awaitReady(t, operator, "database")
	if said := c.said.String(); strings.Contains(said, "site is at") {
		t.Errorf("it says %s", said)
	}
	pg.Start()
	c.awaitSite(t)
	awaitReady(t, operator)
	v := visitor.New(t, c.url)
	v.Open(c.link).Send("", "name", "alex", "new", goodPassword, "again", goodPassword).Shows("/manager", "alex")
	said := c.said.String()
	for line := range strings.Lines(said) {
		if strings.Contains(line, "level=") && !strings.Contains(line, "a store is away: waiting for it") {
			t.Errorf("another line: %s", line)
		}
	}
	// 0.5, 1, 2, 4, 8 and then every 15 seconds: even a slow machine has few.
	if n := strings.Count(said, "\n"); n > 60 {
		t.Errorf("%d lines: %s", n, said)
	}

	// While they are away later, there are a few lines as well, however many come.
	before := len(c.said.String())
	redis.Stop()
	pg.Stop()
	var requests sync.WaitGroup
	for range 20 {
		for _, path := range []string{"/manager", "/login", "/index"} {
			requests.Go(func() { // each waits for a while
				w := &visitor.Visitor{T: t, Client: v.Client, At: v.At, Agent: v.Agent}
				if w.Do(t.Context(), http.MethodGet, path, ""); w.Status != http.StatusServiceUnavailable {
					t.Errorf("%s without stores: %d", path, w.Status)
				}
			})
		}
	}
	requests.Wait()
	if added := c.said.String()[before:]; strings.Count(added, "\n") > 4 || strings.Count(added, "\n") < 1 {
		t.Errorf("the log, while the stores are away: %s", added)
	}

	// One signal ends it while it waits, and that is no failure.
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		args[2] = "--listen=localhost:0"
		w := launched(t, gatehouse(t, args...))
		awaitReady(t, w.says(t, metricsAt), "database", "sessions")
		if err := w.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if status := w.ends(t); status != 0 || strings.Contains(w.said.String(), "gatehouse: ") {
			t.Errorf("%v: status %d: %s", sig, status, w.said.String())
		}
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := c.ends(t); status != 0 {
		t.Errorf("status %d: %s", status, c.said.String())
	}
}

// TestServeGivesUp: what waiting does not mend is told at once, though the other store be
// away.
func TestServeGivesUp(t *testing.T) {
	pg, redis, away := service.Postgres(t), service.Redis(t), service.Redis(t)
	away.Stop()
	for _, tt := range []struct{ name, database, sessions, says string }{
		{"role", strings.Replace(pg.URL(), "gatehouse@", "missing@", 1), "redis://" + away.Addr, `--database.*missing`},
		{"database", strings.Replace(pg.URL(), "/gatehouse?", "/missing?", 1), "redis://" + away.Addr, `--database.*missing`},
		{"TLS of PostgreSQL", strings.Replace(pg.URL(), "sslmode=disable", "sslmode=require", 1), "redis://" + away.Addr, `--database.*TLS`},
		{"TLS of Redis", pg.URL(), "rediss://" + redis.Addr, `--sessions.*TLS`},
		{"user of Redis", pg.URL(), "redis://missing:@" + redis.Addr, `--sessions`},
		{"database of Redis", pg.URL(), "redis://" + redis.Addr + "/99", `--sessions.*range`},
	} {
		args := []string{"serve", "--listen=localhost:0", "--metrics=off", "--database=" + tt.database, "--sessions=" + tt.sessions}
		c := launched(t, gatehouse(t, args...))
		if status := c.ends(t); status == 0 || !regexp.MustCompile(`(?s)gatehouse: .*`+tt.says).MatchString(c.said.String()) {
			t.Errorf("%s: status %d: %s", tt.name, status, c.said.String())
		}
	}
	serving(t, t.TempDir(), "--listen=localhost:0", "--metrics=off", "--database="+pg.URL()).end(t)
	conn, err := pgx.Connect(t.Context(), pg.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "INSERT INTO gatehouse.migration (version) VALUES (99)"); err != nil {
		t.Fatal(err)
	}
	c := launched(t, gatehouse(t, "serve", "--listen=localhost:0", "--metrics=off", "--database="+pg.URL()))
	if status := c.ends(t); status != 1 || !strings.Contains(c.said.String(), "newer program") {
		t.Errorf("a newer schema: status %d: %s", status, c.said.String())
	}
}
