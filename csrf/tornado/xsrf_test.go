package tornado_test

import (
	"bytes"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/csrf/tornado"
)

// Three writings of the token 10111213…1f, and one of another.
const (
	cookie    = "2|deadbeef|cebcacfccab8a8f8c6b4a4f4c2b0a0f0|1795392000"
	remasked  = "2|01020304|1113111715171513191b191f1d1f1d1b|1"
	unmasked  = "101112131415161718191a1b1c1d1e1f"
	different = "2|deadbeef|c1b3a3f3c5b7a7f7c9bbabfbcdbfafff|1795392000"
)

func TestCheck(t *testing.T) {
	tests := []struct {
		name          string
		cookie, field string
		header        http.Header
		err           error
	}{
		{"field", cookie, remasked, nil, nil},
		{"field between blanks", cookie, " \t" + remasked + "\n", nil, nil},
		{"upper-case hex", cookie, "2|DEADBEEF|CEBCACFCCAB8A8F8C6B4A4F4C2B0A0F0|1", nil, nil},
		{"v1 everywhere", unmasked, unmasked, nil, nil},
		{"v2 cookie, v1 field", cookie, unmasked, nil, nil},

		{"first header", cookie, "", http.Header{"X-Xsrftoken": {remasked}}, nil},
		{"second header", cookie, "", http.Header{"X-Csrftoken": {remasked}}, nil},
		{"empty field is rescued", cookie, "", http.Header{"X-Xsrftoken": {remasked}}, nil},
		{"blank field is rescued", cookie, "  ", http.Header{"X-Xsrftoken": {remasked}}, nil},
		{"wrong field is not", cookie, different, http.Header{"X-Xsrftoken": {remasked}}, tornado.ErrMismatch},
		{"malformed field is not", cookie, "x", http.Header{"X-Xsrftoken": {remasked}}, tornado.ErrFormat},
		{"empty header is rescued", cookie, "", http.Header{"X-Xsrftoken": {""}, "X-Csrftoken": {remasked}}, nil},
		{"wrong header is not", cookie, "", http.Header{"X-Xsrftoken": {different}, "X-Csrftoken": {remasked}}, tornado.ErrMismatch},
		{"right header twice", cookie, "", http.Header{"X-Xsrftoken": {remasked, remasked}}, tornado.ErrFormat},
		{"right header, then wrong", cookie, "", http.Header{"X-Xsrftoken": {remasked, different}}, tornado.ErrFormat},
		{"header of another name", cookie, "", http.Header{"X-Csrf-Token": {remasked}}, tornado.ErrMissing},

		{"nothing", cookie, "", nil, tornado.ErrMissing},
		{"nothing at all", "", "", nil, tornado.ErrMissing},
		{"no cookie", "", remasked, nil, tornado.ErrMismatch},
		{"malformed cookie", "x", remasked, nil, tornado.ErrMismatch},
		{"malformed on both sides", "x", "x", nil, tornado.ErrFormat},
		{"the field's format goes first", "", "x", nil, tornado.ErrFormat},
		{"empty token on both sides", "2|deadbeef||1", "2|deadbeef||1", nil, tornado.ErrFormat},
		{"beginning of the token", cookie, "2|01020304|1113111715171513|1", nil, tornado.ErrMismatch},
		{"odd number of digits", cookie, "2|01020304|111|1", nil, tornado.ErrFormat},
		{"mask of 5 bytes", cookie, "2|0102030405|1113|1", nil, tornado.ErrFormat},
		{"no mask", cookie, "2||1113|1", nil, tornado.ErrFormat},
		{"no timestamp", cookie, "2|01020304|1113111715171513191b191f1d1f1d1b|", nil, tornado.ErrFormat},
		{"timestamp of letters", cookie, "2|01020304|1113111715171513191b191f1d1f1d1b|x", nil, tornado.ErrFormat},
		{"three parts", cookie, "2|01020304|1113111715171513191b191f1d1f1d1b", nil, tornado.ErrFormat},
		{"five parts", cookie, remasked + "|", nil, tornado.ErrFormat},
		{"version 1 with a number", cookie, "1|" + unmasked, nil, tornado.ErrFormat},
		{"version 1000", cookie, "1000|" + unmasked, nil, tornado.ErrFormat},
		{"not ASCII", cookie, "２|01020304|11|1", nil, tornado.ErrFormat},
		{"NUL", cookie, remasked + "\x00", nil, tornado.ErrFormat},
		{"100 kB", cookie, strings.Repeat("2|", 50_000), nil, tornado.ErrFormat},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := (tornado.XSRF{AcceptV1: true}).Check(tt.cookie, tt.field, tt.header); !errors.Is(err, tt.err) {
				t.Errorf("Check = %v, want %v", err, tt.err)
			}
		})
	}
}

func TestV1OnlyWhereAsked(t *testing.T) {
	var x tornado.XSRF
	for _, tt := range []struct {
		name, cookie, field string
		err                 error
	}{
		{"cookie", unmasked, remasked, tornado.ErrMismatch},
		{"field", cookie, unmasked, tornado.ErrFormat},
		{"neither", cookie, remasked, nil},
	} {
		if err := x.Check(tt.cookie, tt.field, nil); !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.err)
		}
	}
}

func TestTokensDiffer(t *testing.T) {
	a, b := tornado.NewToken(), tornado.NewToken()
	if len(a) != 16 || bytes.Equal(a, b) || bytes.Equal(a, make([]byte, 16)) {
		t.Fatalf("tokens %x and %x", a, b)
	}
	now := time.Unix(clock, 0)
	first, second := a.V2(now), a.V2(now)
	if first == second {
		t.Errorf("the same mask twice: %s", first)
	}
	if err := (tornado.XSRF{}).Check(first, second, nil); err != nil {
		t.Errorf("two masks of one token: %v", err)
	}
	if err := (tornado.XSRF{}).Check(first, b.V2(now), nil); !errors.Is(err, tornado.ErrMismatch) {
		t.Errorf("two tokens: %v", err)
	}
}

func TestInputEscapes(t *testing.T) {
	if got := string(tornado.Input(`"><script>`)); strings.Count(got, `"`) != 6 || strings.Count(got, ">") != 1 {
		t.Errorf("Input = %s", got)
	}
}

// FuzzToken: no input makes Parse panic, and a token that it accepts, written
// again, has the form that Tornado reads and matches what was read.
func FuzzToken(f *testing.F) {
	for _, s := range []string{cookie, remasked, unmasked, "2|deadbe|" + unmasked + "|1", "2|zz|zz|1", "3|a|b|c", "aaa", ""} {
		f.Add(s)
	}
	form := regexp.MustCompile(`^2\|[0-9a-f]{8}\|([0-9a-f]{2})+\|1795392000$`)
	f.Fuzz(func(t *testing.T, s string) {
		x := tornado.XSRF{AcceptV1: true}
		token, err := x.Parse(s)
		if err != nil {
			if token != nil || !errors.Is(err, tornado.ErrFormat) {
				t.Errorf("Parse(%q) = %x, %v", s, token, err)
			}
			return
		}
		again := token.V2(time.Unix(clock, 0))
		if !form.MatchString(again) {
			t.Errorf("V2 = %q, not what Tornado reads", again)
		}
		for _, field := range []string{again, token.V1()} {
			if err := x.Check(s, field, nil); err != nil {
				t.Errorf("cookie %q, field %q: %v", s, field, err)
			}
		}
	})
}
