package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// recorder stands for the test that a Tab would fail.
type recorder struct {
	testing.TB
	cleanup []func()
	errors  []string
}

func (r *recorder) Cleanup(f func()) { r.cleanup = append(r.cleanup, f) }
func (r *recorder) Errorf(f string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(f, args...))
}

func TestProblems(t *testing.T) {
	b := Start(t)
	for name, test := range map[string]struct{ page, want string }{
		"good":      {`<!doctype html><html lang=en><title>x</title><p>hello`, ""},
		"console":   {`<!doctype html><title>x</title>hello<script nonce=n>console.error("oh", 7)</script>`, "oh"},
		"exception": {`<!doctype html><title>x</title>hello<script nonce=n>nowhere()</script>`, "nowhere is not defined"},
		"inline":    {`<!doctype html><title>x</title><p onclick="1">hello</p>`, "script-src"},
		"missing":   {`<!doctype html><title>x</title>hello<img src=/missing>`, "404"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/" {
					http.NotFound(w, r)
					return
				}
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				w.Header().Set("Content-Security-Policy", "script-src 'nonce-n'")
				fmt.Fprint(w, strings.Replace(test.page, "<title>", "<link rel=icon href=data:,><title>", 1))
			}))
			defer server.Close()
			r := &recorder{TB: t}
			tab := b.Tab(r)
			tab.Do(r, chromedp.Navigate(server.URL))
			tab.Shows(r, "hello")
			for range 500 { // complaints come beside the page
				tab.mu.Lock()
				n := len(tab.problems)
				tab.mu.Unlock()
				if n > 0 || test.want == "" {
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			for _, f := range slices.Backward(r.cleanup) {
				f()
			}
			all := strings.Join(r.errors, "\n")
			if test.want == "" && all != "" || !strings.Contains(all, test.want) {
				t.Errorf("complaints %q, want %q", all, test.want)
			}
		})
	}
}
