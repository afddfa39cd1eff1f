package main

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/visitor"
)

const goodPassword = "quiet lantern meadow"

// child is a gatehouse in a process of its own.
type child struct {
	*exec.Cmd
	said *output
	url  string
	link string // for setting up
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// serving starts `gatehouse serve` in a folder, and waits until it is there.
func serving(t testing.TB, dir string, args ...string) *child {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "gatehouse", append([]string{"serve", "--captcha=off"}, args...)...)
	cmd.Dir = dir
	return started(t, cmd)
}

// end kills it, as a machine does that goes down.
func (c *child) end(t testing.TB) {
	t.Helper()
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
}

func started(t testing.TB, cmd *exec.Cmd) *child {
	t.Helper()
	c := launched(t, cmd)
	c.awaitSite(t)
	return c
}

// launched starts a command, and does not wait for it.
func launched(t testing.TB, cmd *exec.Cmd) *child {
	t.Helper()
	c := &child{Cmd: cmd, said: new(output)}
	c.Stdout, c.Stderr = c.said, c.said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	return c
}

// awaitSite waits until it says where it is.
func (c *child) awaitSite(t testing.TB) {
	t.Helper()
	c.url = c.says(t, `site is (?:at |served","url":")([^\s"]+)`)
	time.Sleep(50 * time.Millisecond) // the link comes right after
	c.link = regexp.MustCompile(`https?:[^\s"]*/setup/[\w-]*`).FindString(c.said.String())
}

// says waits until it says what the expression matches, and returns its group.
func (c *child) says(t testing.TB, expression string) string {
	t.Helper()
	for range 6000 {
		if m := regexp.MustCompile(expression).FindStringSubmatch(c.said.String()); m != nil {
			return m[len(m)-1]
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("gatehouse does not say %s: %s", expression, c.said.String())
	return ""
}

// ends waits until it has ended, and returns its status.
func (c *child) ends(t testing.TB) int {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Wait()
	}()
	select {
	case <-ended:
		return c.ProcessState.ExitCode()
	case <-time.After(2 * time.Minute):
		t.Fatalf("gatehouse does not end: %s", c.said.String())
		return 0
	}
}

// TestServeKilled: the link, an administrator, kill -9, and still signed in.
func TestServeKilled(t *testing.T) {
	dir, listen := t.TempDir(), "--listen=localhost:"+freePort(t)
	c := serving(t, dir, listen, "--metrics=off")
	if c.link == "" {
		t.Fatalf("no link: %s", c.said.String())
	}
	if info, err := os.Stat(filepath.Join(dir, "gatehouse.db")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the database: %v, %v", info, err)
	}
	v := visitor.New(t, c.url)
	v.Open(c.link).Send("", "name", "alex", "new", goodPassword, "again", goodPassword).Shows("/manager", "alex")
	v.Send("/logout").Shows("/logout")
	v.Open("/login").Send("/login", "name", "alex", "password", goodPassword).Shows("/index", "Hello, alex")
	c.end(t)

	c = serving(t, dir, listen, "--metrics=off")
	if c.link != "" {
		t.Errorf("another link: %s", c.said.String())
	}
	v.Open("/manager").Shows("/manager", "alex", "This device")
	v.Open("/manager/log").Shows("/manager/log", "Signed in", "Set up")

	command := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "gatehouse", args...)
		cmd.Dir, cmd.Stderr = dir, os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%q: %v", args, err)
		}
		return string(out)
	}
	handle := regexp.MustCompile(`(?m)^([0-9a-f]+) +alex `).FindStringSubmatch(command("session", "list", "--user=alex"))
	if handle == nil {
		t.Fatal("no session is listed")
	}
	shown := command("session", "show", handle[1])
	for _, want := range []string{`handle +` + handle[1], `name +alex`, `signed in with +password`, `address +(127\.0\.0\.1|::1)`, `ends +\d{4}-`, `keeps \S+ +\d+ bytes`} {
		if !regexp.MustCompile(`(?m)^` + want).MatchString(shown) {
			t.Errorf("no %s in\n%s", want, shown)
		}
	}
	if got := command("session", "show", handle[1], "--json"); !strings.Contains(got, `"name":"alex"`) || !strings.Contains(got, `"values":{`) {
		t.Errorf("as JSON: %s", got)
	}
}

// TestServeDatabase: a database that is none, or made by a newer version, is left as
// it is, and said to be that.
func TestServeDatabase(t *testing.T) {
	dir := t.TempDir()
	serving(t, dir, "--listen=localhost:0", "--metrics=off").end(t)
	newer := filepath.Join(dir, "gatehouse.db")
	db, err := sql.Open("sqlite", newer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "UPDATE gatehouse_schema SET version = version + 1"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(dir, "text")
	if err := os.WriteFile(none, bytes.Repeat([]byte("not a database\n"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{newer: "written by a newer version of Gatehouse", none: "not a database", dir: dir} {
		before, _ := os.ReadFile(path)
		for _, args := range [][]string{{"serve", "--listen=localhost:0", "--metrics=off"}, {"user", "list"}} {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			cmd := exec.CommandContext(ctx, "gatehouse", append(args, "--database="+path)...)
			out, err := cmd.CombinedOutput()
			cancel()
			if err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), want) {
				t.Errorf("%s of %s: %v, %s", args[0], path, err, out)
			}
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
			t.Errorf("%s has changed", path)
		}
	}
}

// TestServeSettings: what is outside of the command line counts, in its order, and
// what means nothing is refused with the nearest name.
func TestServeSettings(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "gatehouse.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fails := func(want string, env ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // or else it serves
		defer cancel()
		cmd := exec.CommandContext(ctx, "gatehouse", "serve", "--metrics=off")
		cmd.Dir, cmd.Env = dir, append(append(os.Environ(), "GATEHOUSE_LISTEN=localhost:0"), env...)
		out, err := cmd.CombinedOutput()
		if err == nil || cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), want) {
			t.Errorf("status %d, want %q in %s", cmd.ProcessState.ExitCode(), want, out)
		}
	}
	write("site = \"Example\"\n\n# a mistake\ncapcha = \"off\"\n")
	fails(`gatehouse.toml:4: "capcha" is no setting; did you mean "captcha"?`)
	write("[sessions]\nurl = \"x\"\n")
	fails(`gatehouse.toml:1: "sessions" is not a text`)
	write("site = \"a\n")
	fails("gatehouse.toml:1: ")
	write("captcha = \"sometimes\"\n")
	fails("captcha must be one of")
	write("idle = \"soon\"\n")
	fails("idle")
	write("trusted-proxy = [\"10.0.0.0/8\", \"everybody\"]\n")
	fails(`"everybody" is no network`)
	write("")
	fails("did you mean GATEHOUSE_CAPTCHA?", "GATEHOUSE_CAPCHA=off")
	fails("put the password into a file", "GATEHOUSE_DATABASE=postgres://me:secret@localhost/x")
	fails("--database-size means nothing without a --database that is a file of SQLite", "GATEHOUSE_DATABASE=postgres://me@localhost/x", "GATEHOUSE_DATABASE_SIZE=1GB")
	fails(`"1000 apples" is no size such as 512MB or 2GB`, "GATEHOUSE_DATABASE_SIZE=1000 apples")
	fails("--database-size 5KB is less than 4MB", "GATEHOUSE_DATABASE_SIZE=5KB")
	fails("read the cookies", "GATEHOUSE_LISTEN=0.0.0.0:0")
	fails("is not like https://", "GATEHOUSE_PUBLIC_URL=example.com")
	fails("in plain HTTP", "GATEHOUSE_PUBLIC_URL=http://app.example")

	write("site = \"From the file\"\nmetrics = \"127.0.0.1:0\"\npassword-length = 12\ndatabase-size = \"64MB\"\n")
	t.Setenv("GATEHOUSE_SITE", "")
	if err := os.Unsetenv("GATEHOUSE_SITE"); err != nil {
		t.Fatal(err)
	}
	title := func(args ...string) string {
		t.Helper()
		c := serving(t, dir, append(args, "--listen=localhost:0")...)
		v := visitor.New(t, c.url)
		v.Open(c.link)
		v.Shows(v.At.Path, "Set up", "12 characters or more")
		c.end(t)
		return regexp.MustCompile(`<title>(.*)</title>`).FindStringSubmatch(v.Body)[1]
	}
	if got := title(); got != "Set up · From the file" {
		t.Errorf("title %q", got)
	}
	t.Setenv("GATEHOUSE_SITE", "From the environment")
	if got := title(); got != "Set up · From the environment" {
		t.Errorf("title %q", got)
	}
	if got := title("--site=From the command line"); got != "Set up · From the command line" {
		t.Errorf("title %q", got)
	}
}

// TestServeOperator: metrics and health are on a listener of their own.
func TestServeOperator(t *testing.T) {
	c := serving(t, t.TempDir(), "--listen=localhost:0", "--metrics=127.0.0.1:0", "--log-level=debug", "--log-format=json")
	operator := regexp.MustCompile(`health are served","url":"([^"]+)"`).FindStringSubmatch(c.said.String())
	if operator == nil {
		t.Fatalf("no address: %s", c.said.String())
	}
	v := visitor.New(t, c.url)
	v.Open(c.link).Send("", "name", "alex", "new", goodPassword, "again", goodPassword).Shows("/manager")
	v.Open("/metrics").Shows("/metrics", "There is no such page")
	for path, want := range map[string]string{
		"/healthz": "ok\n", "/readyz": "ok\n",
		"/metrics": `gatehouse_events_total{kind="set-up"} 1`,
	} {
		res, err := http.Get(operator[1] + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: %d, no %q in %s", path, res.StatusCode, want, body)
		}
	}
	token := c.link[strings.LastIndex(c.link, "/")+1:]
	// As somebody may have pasted it. The client must not make it a clean path.
	for _, path := range []string{"//setup/", "/x/../setup/", "/./Setup//", "/setup/x/"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Opaque = "//" + req.URL.Host + path + token
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	log := strings.Replace(c.said.String(), c.link, "", 1)
	for line := range strings.Lines(log) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not a line of JSON: %s", line)
		}
	}
	if strings.Contains(log, token) || strings.Contains(log, "lantern") {
		t.Errorf("a secret is logged: %s", log)
	}
	for _, want := range []string{`"path":"/setup/…"`, `"path":"/Setup/…"`} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s is logged: %s", want, log)
		}
	}
}

// TestNearest: a word with a mistake is told the one that was meant.
func TestNearest(t *testing.T) {
	for word, want := range map[string]string{"capcha": "captcha", "lisen": "listen", "public_url": "public-url", "tlscert": "tls-cert", "databse": "database"} {
		if got := nearest(word, names()); got != want {
			t.Errorf("%s: %s, want %s", word, got, want)
		}
	}
	if d := distance("kitten", "sitting"); d != 3 {
		t.Errorf("distance %d", d)
	}
}

// FuzzFile: a configuration file is read or refused by the line, and never panics.
func FuzzFile(f *testing.F) {
	f.Add("listen = \"localhost:9000\"\n")
	f.Add("[a.b]\nc = [1, {d = 2}]")
	f.Add("a.b = 1979-05-27T07:32:00Z")
	f.Add("\"\\u0000\" = ''\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := &file{path: "f"}
		if err := c.parse(text); err != nil {
			if !regexp.MustCompile(`^f(:\d+)?: `).MatchString(err.Error()) {
				t.Errorf("no place in %q", err)
			}
			return
		}
		for name := range c.values {
			if !strings.Contains(fmt.Sprint(names()), name) {
				t.Errorf("%q is taken", name)
			}
		}
	})
}

// TestServeMail: a link comes by a mail server, in a message as they are.
func TestServeMail(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		got <- smtpDialogue(conn)
	}()
	c := serving(t, t.TempDir(), "--listen=localhost:0", "--metrics=off", "--smtp=smtp://"+l.Addr().String(), "--mail-from=gate@example.com")
	v := visitor.New(t, c.url)
	v.Open(c.link).Send("", "name", "alex", "new", goodPassword, "again", goodPassword).Shows("/manager")
	v.Open("/manager/profile").Send("/manager/profile", "display", "", "email", "alex@example.com").Shows("/manager", "Saved.")
	select {
	case m := <-got:
		for _, want := range []string{"MAIL FROM:<gate@example.com>", "RCPT TO:<alex@example.com>", "Subject: A change to your account at Gatehouse", "Profile changed", "Auto-Submitted: auto-generated"} {
			if !strings.Contains(m, want) {
				t.Errorf("no %q in %s", want, m)
			}
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("no mail: %s", c.said.String())
	}
}

// smtpDialogue is a server for one message (RFC 5321), and returns what it heard.
func smtpDialogue(conn net.Conn) string {
	var heard strings.Builder
	say := func(line string) { fmt.Fprintf(conn, "%s\r\n", line) }
	say("220 test ready")
	data := false
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		line := lines.Text()
		fmt.Fprintln(&heard, line)
		word, _, _ := strings.Cut(strings.ToUpper(line), " ")
		switch {
		case data && line == ".":
			data = false
			say("250 taken")
		case data:
		case word == "DATA":
			data = true
			say("354 go on")
		case word == "QUIT":
			say("221 bye")
			return heard.String()
		case word == "EHLO":
			say("250-test")
			say("250 8BITMIME")
		default:
			say("250 ok")
		}
	}
	return heard.String()
}
