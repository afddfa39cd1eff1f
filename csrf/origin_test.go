package csrf_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/seed-64ad3862/gatehouse/csrf"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

// upgrades are handshakes by which a connection or a stream becomes another
// protocol's, all of them by methods that are safe otherwise.
var upgrades = map[string]func(header http.Header) *http.Request{
	"WebSocket": func(h http.Header) *http.Request {
		r := request("GET", "/chat", nil, h)
		r.Header["Connection"], r.Header["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
		return r
	},
	"capitals in a list": func(h http.Header) *http.Request {
		r := request("GET", "/chat", nil, h)
		r.Header["Connection"], r.Header["Upgrade"] = []string{"keep-alive, UPGRADE"}, []string{"h2c, WebSocket"}
		return r
	},
	"several fields": func(h http.Header) *http.Request {
		r := request("GET", "/chat", nil, h)
		r.Header["Connection"], r.Header["Upgrade"] = []string{"keep-alive", "Upgrade"}, []string{"h2c", "websocket/13"}
		return r
	},
	"without Connection": func(h http.Header) *http.Request { // which a proxy may have taken for its own
		r := request("GET", "/chat", nil, h)
		r.Header["Upgrade"] = []string{"websocket"}
		return r
	},
	"empty": func(h http.Header) *http.Request {
		r := request("GET", "/chat", nil, h)
		r.Header["Upgrade"] = []string{""}
		return r
	},
	"another protocol": func(h http.Header) *http.Request {
		r := request("GET", "/chat", nil, h)
		r.Header["Connection"], r.Header["Upgrade"] = []string{"Upgrade"}, []string{"h2c"}
		return r
	},
	"HEAD": func(h http.Header) *http.Request {
		r := request("HEAD", "/chat", nil, h)
		r.Header["Upgrade"] = []string{"websocket"}
		return r
	},
	"OPTIONS": func(h http.Header) *http.Request {
		r := request("OPTIONS", "/chat", nil, h)
		r.Header["Upgrade"] = []string{"websocket"}
		return r
	},
	"extended CONNECT of HTTP/2": func(h http.Header) *http.Request {
		r := request("CONNECT", "/chat", nil, h)
		r.Proto = "HTTP/2.0"
		r.Header[":protocol"] = []string{"websocket"}
		return r
	},
	"extended CONNECT of HTTP/3": func(h http.Header) *http.Request { // WebTransport
		r := request("CONNECT", "/chat", nil, h)
		r.Proto = "webtransport"
		return r
	},
}

func TestUpgrade(t *testing.T) {
	cfg := csrf.Config{
		Origins:        []string{"https://app.example", "http://localhost:9000"},
		TrustedOrigins: []string{"https://partner.example"},
		Exempt:         []string{"GET /open", "/exempt/"},
	}
	p := newProtection(t, cfg)
	cfg.RequireToken, cfg.Sessions = true, newSessions(t, memory.New(memory.Config{}))
	strict := newProtection(t, cfg)
	for _, tt := range []struct {
		name   string
		header http.Header
		pass   bool
	}{
		{"own", http.Header{"Origin": {"https://app.example"}}, true},
		{"own, by another browser's spelling", http.Header{"Origin": {"HTTPS://App.Example:443"}}, true},
		{"own, plain HTTP", http.Header{"Origin": {"http://localhost:9000"}}, true},
		{"trusted", http.Header{"Origin": {"https://partner.example"}}, true},
		{"attacker", http.Header{"Origin": {"https://attacker.example"}}, false},
		{"sibling", http.Header{"Origin": {"https://user.app.example"}}, false},
		{"parent", http.Header{"Origin": {"https://example"}}, false},
		{"another port", http.Header{"Origin": {"https://app.example:8443"}}, false},
		{"another port of localhost", http.Header{"Origin": {"http://localhost:9001"}}, false},
		{"own over http", http.Header{"Origin": {"http://app.example"}}, false},
		{"by the scheme of the socket", http.Header{"Origin": {"wss://app.example"}}, false},
		{"the host of the request", http.Header{"Origin": {"http://example.com"}}, false},
		{"null", http.Header{"Origin": {"null"}}, false},
		{"there and empty", http.Header{"Origin": {""}}, false},
		{"blank", http.Header{"Origin": {" "}}, false},
		{"garbage", http.Header{"Origin": {"\x80\xff://"}}, false},
		{"a list", http.Header{"Origin": {"https://app.example https://attacker.example"}}, false},
		{"own twice", http.Header{"Origin": {"https://app.example", "https://app.example"}}, false},
		{"own, then attacker", http.Header{"Origin": {"https://app.example", "https://attacker.example"}}, false},
		{"attacker, own Referer", http.Header{"Origin": {"https://attacker.example"}, "Referer": {"https://app.example/"}}, false},

		// Chromium sends no Sec-Fetch-Site with a handshake, Firefox does.
		{"same-origin", http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {"https://app.example"}}, true},
		{"same-origin needs no Config.Origins", http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {"https://other.example"}}, true},
		{"same-site", http.Header{"Sec-Fetch-Site": {"same-site"}, "Origin": {"https://user.app.example"}}, false},
		{"cross-site, attacker", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://attacker.example"}}, false},
		{"cross-site, trusted", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://partner.example"}}, true},
		{"cross-site without Origin", http.Header{"Sec-Fetch-Site": {"cross-site"}}, false},
		{"none, attacker", http.Header{"Sec-Fetch-Site": {"none"}, "Origin": {"https://attacker.example"}}, false},
		{"same-origin twice", http.Header{"Sec-Fetch-Site": {"same-origin", "same-origin"}}, false},

		// No browser: forgery is no concern of it, and it has no token.
		{"nothing", nil, true},
		{"a Referer alone", http.Header{"Referer": {"https://attacker.example/"}}, true},
		{"none alone", http.Header{"Sec-Fetch-Site": {"none"}}, true},
	} {
		for name, upgrade := range upgrades {
			want := csrf.ErrCrossOrigin
			if tt.pass {
				want = nil
			}
			if err := p.Check(upgrade(tt.header)); !errors.Is(err, want) {
				t.Errorf("%s, %s: %v, want %v", name, tt.name, err, want)
			}
			// It cannot carry a token, and so needs none.
			if err := strict.Check(upgrade(tt.header)); !errors.Is(err, want) {
				t.Errorf("%s, %s, with RequireToken: %v, want %v", name, tt.name, err, want)
			}
		}
		// What does not upgrade passes still.
		for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
			r := request(method, "/chat", nil, tt.header)
			r.Header["Connection"], r.Header["Sec-Websocket-Key"] = []string{"Upgrade"}, []string{"dGhlIHNhbXBsZSBub25jZQ=="}
			if err := p.Check(r); err != nil {
				t.Errorf("%s, %s: %v, want nil", method, tt.name, err)
			}
		}
	}

	// An upgrade does not make a method safe, and CONNECT for a tunnel is none.
	for _, method := range []string{"POST", "PUT", "get"} {
		r := upgrades["WebSocket"](nil)
		r.Method = method
		if err := p.Check(r); err == nil {
			t.Errorf("%s with Upgrade: %v, want a token to be asked for", method, err)
		}
	}

	attacker := http.Header{"Origin": {"https://attacker.example"}}
	for target, want := range map[string]error{"/open": nil, "/exempt/x": nil, "/opened": csrf.ErrCrossOrigin, "/exempt/%2e%2e/chat": csrf.ErrCrossOrigin} {
		r := upgrades["WebSocket"](attacker)
		r.URL = request("GET", target, nil, nil).URL
		if err := p.Check(r); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", target, err, want)
		}
	}

	zero := newProtection(t, csrf.Config{})
	for _, tt := range []struct {
		header http.Header
		want   error
	}{
		{http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {"https://example.com"}}, nil},
		{http.Header{"Origin": {"https://example.com"}}, csrf.ErrCrossOrigin}, // though Host is the same
		{nil, nil},
	} {
		if err := zero.Check(upgrades["WebSocket"](tt.header)); !errors.Is(err, tt.want) {
			t.Errorf("zero Config, %v: %v, want %v", tt.header, err, tt.want)
		}
	}
}

// A refused handshake is answered and logged as any other request, and let through
// in report-only mode.
func TestUpgradeRefused(t *testing.T) {
	for _, reportOnly := range []bool{false, true} {
		var log bytes.Buffer
		served := false
		h := newProtection(t, csrf.Config{
			Origins: []string{"https://app.example"}, ReportOnly: reportOnly, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		}).Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served = true }))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, upgrades["WebSocket"](http.Header{"Origin": {"https://attacker.example"}}))
		if served != reportOnly || !reportOnly && w.Code != 403 {
			t.Errorf("report only %v: served %v, status %d", reportOnly, served, w.Code)
		}
		if line := log.String(); !strings.Contains(line, "method=GET") || !strings.Contains(line, "path=/chat") || !strings.Contains(line, "https://attacker.example") {
			t.Errorf("report only %v: logged %q", reportOnly, line)
		}
	}
}

// connectSetting has package net/http take extended CONNECTs. It is read when a
// process starts.
const connectSetting = "http2xconnect=1"

// TestExtendedConnect is a WebSocket over HTTP/2 (RFC 8441), to a real server and by a
// real client. It runs in a process of its own.
func TestExtendedConnect(t *testing.T) {
	if !strings.Contains(os.Getenv("GODEBUG"), connectSetting) {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestExtendedConnect$", "-test.v")
		cmd.Env = append(os.Environ(), "GODEBUG="+connectSetting)
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("\n--- PASS: TestExtendedConnect")) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	p := newProtection(t, csrf.Config{Origins: []string{"https://app.example"}})
	server := httptest.NewUnstartedServer(p.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			return
		}
		if r.Method != http.MethodConnect || r.ProtoMajor != 2 || r.Header.Get(":protocol") != "websocket" {
			t.Errorf("served %s %s, %v", r.Method, r.Proto, r.Header)
		}
	})))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	// An http.Client refuses a header field ":protocol". The transport of one
	// connection, which it has from here, does not.
	transport := server.Client().Transport.(*http.Transport)
	cfg := transport.TLSClientConfig.Clone()
	cfg.NextProtos, cfg.ServerName = []string{"h2"}, "example.com"
	conn, err := tls.Dial("tcp", server.Listener.Addr().String(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if resp, err := server.Client().Get(server.URL); err != nil { // and makes its TLSNextProto
		t.Fatal(err)
	} else {
		resp.Body.Close()
	}
	client := transport.TLSNextProto["h2"](server.Listener.Addr().String(), conn)
	for origin, want := range map[string]int{"": 200, "https://app.example": 200, "https://attacker.example": 403, "null": 403} {
		r, err := http.NewRequestWithContext(context.Background(), http.MethodConnect, server.URL+"/chat", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header[":protocol"] = []string{"websocket"}
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		resp, err := client.RoundTrip(r)
		if err != nil {
			t.Fatalf("Origin %q: %v", origin, err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("Origin %q: %d, want %d", origin, resp.StatusCode, want)
		}
	}
}

// TestSameOrigin: trusted origins are not the same one.
func TestSameOrigin(t *testing.T) {
	p := newProtection(t, csrf.Config{Origins: []string{"https://app.example"}, TrustedOrigins: []string{"https://partner.example"}})
	for _, test := range []struct {
		header http.Header
		want   bool
	}{
		{http.Header{"Sec-Fetch-Site": {"same-origin"}}, true},
		{http.Header{"Origin": {"https://app.example"}}, true},
		{http.Header{"Referer": {"https://app.example/x"}}, true},
		{nil, false},
		{http.Header{"Sec-Fetch-Site": {"none"}}, false},
		{http.Header{"Sec-Fetch-Site": {"same-site"}, "Origin": {"https://app.example"}}, false},
		{http.Header{"Sec-Fetch-Site": {"same-origin", "same-origin"}}, false},
		{http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://partner.example"}}, false},
		{http.Header{"Origin": {"https://partner.example"}}, false},
		{http.Header{"Referer": {"https://partner.example"}}, false},
		{http.Header{"Origin": {"https://attacker.example"}}, false},
	} {
		if got := p.SameOrigin(request("POST", "/", nil, test.header)); got != test.want {
			t.Errorf("%v: %v", test.header, got)
		}
	}
}
