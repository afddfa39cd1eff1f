package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// flood sends raw requests over one connection after another, and reads the answers.
func flood(t *testing.T, address string, n int, request func(i int) string) {
	t.Helper()
	var conn net.Conn
	var answers *bufio.Reader
	for i := range n {
		if conn == nil {
			var err error
			if conn, err = net.Dial("tcp", address); err != nil {
				t.Fatal(err)
			}
			answers = bufio.NewReader(conn)
		}
		_, err := io.WriteString(conn, request(i))
		closed := err != nil
		if err == nil {
			var res *http.Response
			if res, err = http.ReadResponse(answers, nil); err == nil {
				_, err = io.Copy(io.Discard, res.Body)
				closed = res.Close
			}
		}
		if closed || err != nil {
			conn.Close()
			conn = nil
		}
	}
	if conn != nil {
		conn.Close()
	}
}

// interrupt ends the program as an operator does, and returns what it has said.
func (c *child) interrupt(t testing.TB) string {
	t.Helper()
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("%v: %s", err, c.said)
	}
	return c.said.String()
}

// TestFloodOfRefusals: clients without a cookie fill no disk with the log, whatever
// they send, and how many they were is in it at the end.
func TestFloodOfRefusals(t *testing.T) {
	c := serving(t, t.TempDir(), "--listen=localhost:0", "--metrics=off")
	address := strings.TrimPrefix(c.url, "http://")
	before := len(c.said.String())
	const n = 60
	controls := strings.Repeat("%01", 20_000)
	post := func(method, path, host, header string) string {
		return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n%s\r\n", method, path, host, header)
	}
	kinds := 0
	for name, request := range map[string]func(i int) string{
		"path":        func(int) string { return post("POST", "/"+controls, address, "") },
		"other paths": func(i int) string { return post("POST", fmt.Sprint("/", i, "/", controls), address, "") },
		"hosts":       func(i int) string { return post("POST", "/", fmt.Sprint(i, strings.Repeat("a", 60_000)), "") },
		"methods":     func(i int) string { return post(fmt.Sprint("M", i, strings.Repeat("X", 60_000)), "/", address, "") },
		"user agents": func(i int) string {
			return post("POST", "/", address, fmt.Sprint("User-Agent: ", i, strings.Repeat("\x9f", 60_000), "\r\n"))
		},
		"origins": func(i int) string {
			return post("POST", "/", address, fmt.Sprint("Origin: http://", i, strings.Repeat("\xf3\xb0\x80\x80", 15_000), "\r\n"))
		},
		"referers": func(i int) string {
			return post("POST", "/", address, fmt.Sprint("Referer: http://", i, strings.Repeat("\xf3\xb0\x80\x80", 15_000), "\r\n"))
		},
		"cookies": func(i int) string {
			return post("POST", "/", address, fmt.Sprint("Cookie: session=", i, strings.Repeat("\x9f", 60_000), "\r\n"))
		},
		"sites": func(i int) string {
			return post("POST", "/", address, fmt.Sprint("Sec-Fetch-Site: ", i, strings.Repeat("\x9f", 60_000), "\r\n"))
		},
		"content type": func(i int) string {
			return post("POST", "/", address, fmt.Sprint("Content-Type: ", i, strings.Repeat("/", 60_000), "\r\n"))
		},
		"handshakes": func(i int) string {
			return post("GET", "/", address, fmt.Sprint("Connection: Upgrade\r\nUpgrade: websocket\r\nOrigin: ", i, strings.Repeat("\x9f", 60_000), "\r\n"))
		},
		"malformed": func(int) string { return strings.Repeat("\x01", 3000) + "\r\n\r\n" },
	} {
		kinds++
		was := len(c.said.String())
		flood(t, address, n, request)
		if got := len(c.said.String()) - was; got > 16<<10 {
			t.Errorf("%s: %d bytes of log", name, got)
		}
	}
	token := strings.Repeat("A", 43)
	flood(t, address, 1, func(int) string { return post("POST", "/recover/"+token, address, "Sec-Fetch-Site: same-site\r\n") })
	said := c.interrupt(t)[before:]
	if len(said) > 32<<10 {
		t.Errorf("%d bytes of log for %d floods of %d:\n%.20000s", len(said), kinds, n, said)
	}
	if !strings.Contains(said, `msg="csrf: refused" kind="csrf: cross-origin request" repeated=`) || !strings.Contains(said, `kind="csrf: no token" repeated=`) {
		t.Errorf("no count in\n%.20000s", said)
	}
	if strings.Contains(said, token) {
		t.Errorf("the token of a link is in the log:\n%.20000s", said)
	}
}

// TestRefusedLink: that of a link is a secret also where the request is refused.
func TestRefusedLink(t *testing.T) {
	c := serving(t, t.TempDir(), "--listen=localhost:0", "--metrics=off")
	token := c.link[strings.LastIndex(c.link, "/")+1:]
	res, err := http.Post(c.link, "application/x-www-form-urlencoded", strings.NewReader("name=alex"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	said := strings.Replace(c.interrupt(t), c.link, "", 1)
	if res.StatusCode != http.StatusForbidden || !strings.Contains(said, "path=/setup/…") || strings.Contains(said, token) {
		t.Errorf("%d, and the log has the link's token, or no line: %s", res.StatusCode, said)
	}
}

// TestFloodOfRequests: every request is a line at the level debug, and a short one.
func TestFloodOfRequests(t *testing.T) {
	c := serving(t, t.TempDir(), "--listen=localhost:0", "--metrics=off", "--log-level=debug")
	address := strings.TrimPrefix(c.url, "http://")
	before := len(c.said.String())
	flood(t, address, 20, func(i int) string {
		return fmt.Sprintf("GET /%d%s HTTP/1.1\r\nHost: %s\r\n\r\n", i, strings.Repeat("%01", 20_000), address)
	})
	said := c.interrupt(t)[before:]
	if n := strings.Count(said, "msg=request "); n != 20 || len(said) > 20*600 {
		t.Errorf("%d requests in %d bytes of log:\n%.5000s", n, len(said), said)
	}
}

// TestFloodOfHandshakes: what is no TLS is counted.
func TestFloodOfHandshakes(t *testing.T) {
	dir := t.TempDir()
	selfSigned(t, dir, 1)
	c := serving(t, dir, "--listen=localhost:0", "--metrics=off", "--tls-cert=cert.pem", "--tls-key=key.pem")
	address := strings.TrimPrefix(c.url, "https://")
	before := len(c.said.String())
	const n = 50
	for i := range n {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		switch i % 3 {
		case 0:
			_, _ = io.WriteString(conn, strings.Repeat("\x00garbage", 20))
		case 1:
			_, _ = io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n")
		case 2:
			_ = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{fmt.Sprint(i, strings.Repeat("\x01", 240))}}).Handshake()
		}
		_, _ = io.Copy(io.Discard, conn)
		conn.Close()
	}
	said := c.interrupt(t)[before:]
	total := 0
	lines := strings.Split(strings.TrimSpace(said), "\n")
	for _, line := range lines {
		times := 1
		if _, count, ok := strings.Cut(line, "repeated="); ok {
			if _, err := fmt.Sscanf(count, "%d", &times); err != nil {
				t.Errorf("%v: %s", err, line)
			}
		}
		total += times
	}
	// Five, the count of the others, and two more for each minute that the test took.
	if total != n || len(lines) > 20 || len(said) > 12_000 {
		t.Errorf("%d lines of log, %d bytes, for %d handshakes of %d:\n%.5000s", len(lines), len(said), total, n, said)
	}
}
