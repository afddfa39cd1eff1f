package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
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

// redisDo sends a command to a Redis.
func redisDo(t testing.TB, addr, command string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, command+"\r\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || strings.HasPrefix(line, "-") {
		t.Fatalf("%s: %q, %v", command, line, err)
	}
}

// TestServeRefusedWrites: a Redis that refuses writes, or the announcement only, does not
// end a server at its start. What passes is waited for; of what does not, it says so once,
// and that it is over.
func TestServeRefusedWrites(t *testing.T) {
	const warning, again = "machines cannot compare their settings", "machines can compare their settings again"
	for name, tt := range map[string]struct {
		args        []string
		begin, mend string
		waits       string // what the log says of the store that is waited for
		says        string // what it says of one that is not
	}{
		"full": {
			args: []string{"--maxmemory", "1mb", "--maxmemory-policy", "noeviction"},
			mend: "CONFIG SET maxmemory 0", says: "OOM",
		},
		"no right to the announcements": {
			begin: "ACL SETUSER default resetkeys ~gatehouse:s:* ~gatehouse:o:* ~gatehouse:l:* ~gatehouse:i:* ~gatehouse:x:* ~gatehouse:t:*",
			mend:  "ACL SETUSER default ~*", says: "NOPERM",
		},
		"no right to write them": {
			begin: "ACL SETUSER default -hset", mend: "ACL SETUSER default +hset", says: "NOPERM",
		},
		"no replicas": {
			args: []string{"--min-replicas-to-write", "1"},
			mend: "CONFIG SET min-replicas-to-write 0", waits: "NOREPLICAS",
		},
	} {
		for _, database := range []string{"PostgreSQL", "SQLite"} {
			t.Run(name+", "+database, func(t *testing.T) {
				t.Parallel() // each waits for heartbeats
				redis := service.Redis(t, tt.args...)
				args := []string{"serve", "--captcha=off", "--listen=localhost:0", "--metrics=127.0.0.1:0", "--sessions=redis://" + redis.Addr}
				if database == "PostgreSQL" {
					pg := service.Postgres(t)
					args = append(args, "--database="+pg.URL())
				}
				if tt.begin != "" {
					redisDo(t, redis.Addr, tt.begin)
				}
				c := launched(t, gatehouse(t, args...))
				operator := c.says(t, metricsAt)
				if tt.waits != "" {
					awaitReady(t, operator, "sessions")
					c.says(t, `a store is away: waiting for it" store=sessions error="[^"]*`+tt.waits)
					if said := c.said.String(); strings.Contains(said, "site is at") {
						t.Errorf("it serves: %s", said)
					}
				} else {
					c.awaitSite(t)
					awaitReady(t, operator)
				}
				redisDo(t, redis.Addr, tt.mend)
				if tt.waits != "" {
					c.awaitSite(t)
				} else {
					c.says(t, again)
				}
				awaitReady(t, operator)
				v := visitor.New(t, c.url)
				v.Open(c.link).Send("", "name", "alex", "new", goodPassword, "again", goodPassword).Shows("/manager", "alex")
				said := c.said.String()
				for line := range strings.Lines(said) {
					if strings.Contains(line, "level=") && !strings.Contains(line, warning) && !strings.Contains(line, again) && (tt.waits == "" || !strings.Contains(line, tt.waits)) {
						t.Errorf("another line: %s", line)
					}
				}
				want := 1
				if tt.waits != "" {
					want = 0
				}
				if strings.Count(said, warning) != want || strings.Count(said, again) != want || !strings.Contains(said, tt.says) {
					t.Errorf("the log: %s", said)
				}
				if err := c.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				if status := c.ends(t); status != 0 {
					t.Errorf("status %d: %s", status, c.said.String())
				}
			})
		}
	}
}

// TestServeKilledAlone: a server with a file and a Redis that was killed starts again without
// waiting for itself. Another one with a copy of the file is refused while it runs.
func TestServeKilledAlone(t *testing.T) {
	redis := service.Redis(t)
	dir := t.TempDir()
	args := []string{"--listen=localhost:" + freePort(t), "--metrics=off", "--sessions=redis://" + redis.Addr}
	c := serving(t, dir, args...)
	for _, more := range [][]string{nil, {"--public-url=http://localhost:1234"}, nil} {
		c.end(t)
		c = serving(t, dir, append(args, more...)...)
		if said := c.said.String(); strings.Contains(said, "level=") {
			t.Errorf("it says %s", said)
		}
	}
	copied := gatehouse(t, "serve", "--metrics=off", "--listen=localhost:"+freePort(t), "--sessions=redis://"+redis.Addr, "--public-url="+c.url)
	for _, name := range []string{"gatehouse.db", "gatehouse.db-wal"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(copied.Dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	other := launched(t, copied)
	if status := other.ends(t); status != 1 || !strings.Contains(other.said.String(), "gatehouse: other machines have other settings") {
		t.Errorf("with a copy of the file: status %d: %s", status, other.said.String())
	}
}
