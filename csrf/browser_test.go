package csrf_test

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/seed-64ad3862/gatehouse/csrf"
	"github.com/seed-64ad3862/gatehouse/internal/browser"
)

// chat accepts WebSockets and tells each which user its cookie names. It leaves it
// to package csrf from where they come.
type chat struct{ t *testing.T }

func (c chat) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/sandbox":
		w.Header().Set("Content-Security-Policy", "sandbox allow-scripts")
		fallthrough
	case "/":
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "alex", SameSite: http.SameSiteLaxMode, Path: "/"})
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><title>chat</title><link rel=icon href=data:,>")
	case "/chat":
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			c.t.Errorf("hijack: %v", err)
			return
		}
		defer conn.Close()
		sum := sha1.Sum([]byte(r.Header.Get("Sec-Websocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		text := "hello, stranger"
		if cookie, err := r.Cookie("session"); err == nil {
			text = "hello, " + cookie.Value
		}
		fmt.Fprintf(buf, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]))
		buf.Write(append([]byte{0x81, byte(len(text))}, text...)) // one frame of text
		buf.Flush()
		buf.ReadByte() // until the browser closes it
	default:
		http.NotFound(w, r)
	}
}

// dial is a script that opens a WebSocket and gives what it says first.
func dial(url string) string {
	return `new Promise(done => {
		const s = new WebSocket("` + url + `");
		s.onmessage = e => { done(e.data); s.close() };
		s.onerror = () => done("refused");
	})`
}

// A WebSocket of our own page is accepted. One of a page on another port, on a
// sibling domain or in a sandbox is not, although the browser adds our cookie: for
// SameSite these are the same site.
func TestBrowserWebSocket(t *testing.T) {
	var guarded http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { guarded.ServeHTTP(w, r) }))
	defer server.Close()
	other := httptest.NewServer(chat{t})
	defer other.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	_, otherPort, _ := net.SplitHostPort(other.Listener.Addr().String())
	ours := "http://app.site.localhost:" + port
	cookies := make(chan string, 1) // of the last handshake
	protection := newProtection(t, csrf.Config{
		Origins:        []string{ours},
		TrustedOrigins: []string{"http://trusted.site.localhost:" + otherPort},
	}).Handler(chat{t})
	guarded = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/chat" {
			cookies <- r.Header.Get("Cookie")
		}
		protection.ServeHTTP(w, r)
	})

	tab := browser.Start(t).Tab(t)
	tab.Allow("WebSocket connection to") // which it says of the refused
	tab.Allow("status of 403")
	tab.Do(t, chromedp.Navigate(ours+"/")) // where the user signs in
	for _, tt := range []struct {
		page   string
		signed bool // the browser adds the cookie
		want   string
	}{
		{ours + "/", true, "hello, alex"},
		{"http://trusted.site.localhost:" + otherPort + "/", true, "hello, alex"},
		{"http://app.site.localhost:" + otherPort + "/", true, "refused"},
		{"http://user.site.localhost:" + port + "/", true, "refused"},
		{"http://user.site.localhost:" + otherPort + "/", true, "refused"},
		{"http://a.localhost:" + port + "/", false, "refused"},
		{"http://localhost:" + port + "/", false, "refused"},
		{"http://127.0.0.1:" + port + "/", false, "refused"},
		{ours + "/sandbox", false, "refused"},
	} {
		tab.Do(t, chromedp.Navigate(tt.page))
		got := browser.Get(t, tab, chromedp.Evaluate[string](dial("ws"+strings.TrimPrefix(ours, "http")+"/chat"), chromedp.EvalAwaitPromise))
		if got != tt.want {
			t.Errorf("a page of %s: %s, want %s", tt.page, got, tt.want)
		}
		select {
		case cookie := <-cookies:
			if tt.signed != (cookie == "session=alex") {
				t.Errorf("a page of %s: the browser sent the cookie %q", tt.page, cookie)
			}
		default:
			t.Errorf("a page of %s: the browser sent no handshake", tt.page)
		}
	}
}
