package csrf

import (
	"crypto/rand"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// FuzzToken: no input makes unmask panic, and the secret of a token that it
// takes, masked again, is the same.
func FuzzToken(f *testing.F) {
	var secret [secretLen]byte
	rand.Read(secret[:])
	f.Add(mask(secret))
	f.Add(strings.Repeat("A", tokenLen))
	f.Add(strings.Repeat("A", tokenLen-1) + "\n")
	f.Add("")
	form := regexp.MustCompile(`^[A-Za-z0-9_-]{86}$`)
	f.Fuzz(func(t *testing.T, token string) {
		secret, ok := unmask(token)
		if !ok {
			return
		}
		if !form.MatchString(token) {
			t.Errorf("%q was taken for a token", token)
		}
		again := mask(secret)
		if got, ok := unmask(again); !ok || got != secret {
			t.Errorf("%q: secret %x, masked again as %q it is %x", token, secret, again, got)
		}
	})
}

// FuzzOrigin: no input makes parseOrigin panic, and what it returns is the
// origin that net/url sees in the input, in the one form that browsers send.
func FuzzOrigin(f *testing.F) {
	for _, s := range []string{"https://app.example", "HTTP://App.example:80", "http://[::1]:9000", "https://a@b", "null", "https://a:0443", ""} {
		f.Add(s)
	}
	form := regexp.MustCompile(`^[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[1-9][0-9]*)?$`)
	f.Fuzz(func(t *testing.T, s string) {
		origin, err := parseOrigin(s)
		if err != nil {
			return
		}
		if !form.MatchString(origin) {
			t.Errorf("parseOrigin(%q) = %q", s, origin)
		}
		if again, err := parseOrigin(origin); err != nil || again != origin {
			t.Errorf("parseOrigin(%q) = %q, and of that %q, %v", s, origin, again, err)
		}
		u, err := url.Parse(s)
		if err != nil || u.User != nil || !strings.EqualFold(u.Hostname(), mustParse(t, origin).Hostname()) {
			t.Errorf("parseOrigin(%q) = %q, for net/url it is %v, %v", s, origin, u, err)
		}
	})
}

func mustParse(t *testing.T, s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// FuzzField: no body makes the search panic, it finds what net/http finds, and
// afterwards the body is as it was.
func FuzzField(f *testing.F) {
	f.Add("application/x-www-form-urlencoded", "a=1&csrf%5Ftoken=x+y&csrf_token=z")
	f.Add("multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"csrf_token\"\r\n\r\nx\r\n--b--\r\n")
	f.Add("multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=csrf_token; filename=f\r\n\r\nx\r\n--b--\r\n")
	f.Add("multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=csrf_token\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=41\r\n--b")
	p, err := New(Config{BodyLimit: 1 << 10})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, contentType, body string) {
		r := &http.Request{
			Method: "POST", URL: &url.URL{Path: "/"}, Header: http.Header{"Content-Type": {contentType}},
			Body: io.NopCloser(strings.NewReader(body)),
		}
		token, err := p.fieldToken(r)
		if err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooLarge) {
			t.Errorf("unexpected error %v", err)
		}
		left, readErr := io.ReadAll(r.Body)
		if readErr != nil || string(left) != body {
			t.Fatalf("the body is %q, %v afterwards, was %q", left, readErr, body)
		}

		r.Body = io.NopCloser(strings.NewReader(body))
		parse := r.ParseForm
		if mt, _, _ := mime.ParseMediaType(contentType); mt == formMultipart {
			parse = func() error { return r.ParseMultipartForm(1 << 20) }
		}
		if parse() != nil || errors.Is(err, ErrTooLarge) {
			return
		}
		want := r.PostForm.Get("csrf_token")
		if want = want[:min(len(want), tokenLen+1)]; err != nil || token[:min(len(token), tokenLen+1)] != want {
			t.Errorf("found %q, %v, net/http finds %q", token, err, want)
		}
	})
}
