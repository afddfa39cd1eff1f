// Package tryout tries an example that has the sign-in pages below /auth.
package tryout

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/seed-64ad3862/gatehouse/internal/visitor"
	"github.com/seed-64ad3862/gatehouse/signin"
)

// Serve starts an example, and returns its address and the link that makes the
// first person.
func Serve(t testing.TB, app func(ctx context.Context, url string, captcha signin.Captcha) (http.Handler, *signin.Pages, error)) (url, link string) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	t.Cleanup(s.Close)
	url = "http://" + strings.Replace(s.Listener.Addr().String(), "127.0.0.1", "localhost", 1)
	handler, pages, err := app(t.Context(), url, signin.Off)
	if err != nil {
		t.Fatal(err)
	}
	s.Config.Handler = handler
	s.Start()
	if link, err = pages.SetupURL(t.Context()); err != nil {
		t.Fatal(err)
	}
	return url, link
}

// Run makes a person, who sees the app, signs out, and does not see it any more.
func Run(t testing.TB, app func(ctx context.Context, url string, captcha signin.Captcha) (http.Handler, *signin.Pages, error)) {
	t.Helper()
	url, link := Serve(t, app)
	v := visitor.New(t, url)
	const secret = "quiet lantern meadow"
	v.Open("/").Shows("/auth/login")
	v.Open(link).Send("", "name", "alex", "new", secret, "again", secret).Shows("/auth/manager", "alex")
	if v.Open("/"); v.Body != "Hello, alex." {
		t.Errorf("the app says %q", v.Body)
	}
	v.Open("/auth/manager").Send("/auth/logout").Shows("/auth/logout")
	v.Open("/").Shows("/auth/login").Send("/auth/login", "name", "alex", "password", secret)
	if v.Body != "Hello, alex." {
		t.Errorf("the app says %q", v.Body)
	}
}
