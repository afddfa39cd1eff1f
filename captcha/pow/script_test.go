package pow_test

import (
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/seed-64ad3862/gatehouse/captcha/pow"
)

func TestScript(t *testing.T) {
	scripts, solver, err := pow.Script("/a/b/")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("static/solve.js")
	if err != nil {
		t.Fatal(err)
	}
	path, version, _ := strings.Cut(solver, "?v=")
	if path != "/a/b/solve.js" || len(version) != 128 {
		t.Errorf("address %s", solver)
	}
	for address, cache := range map[string]string{
		solver: "public, max-age=31536000, immutable",
		path:   "no-cache",
	} {
		w := httptest.NewRecorder()
		scripts.ServeHTTP(w, httptest.NewRequest("GET", address, nil))
		h := w.Header()
		if w.Code != 200 || w.Body.String() != string(want) || h.Get("Content-Type") != "text/javascript; charset=utf-8" ||
			h.Get("Cache-Control") != cache || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d, %v", address, w.Code, h)
		}
		r := httptest.NewRequest("GET", address, nil)
		r.Header.Set("If-None-Match", h.Get("ETag"))
		w = httptest.NewRecorder()
		scripts.ServeHTTP(w, r)
		if w.Code != 304 {
			t.Errorf("%s, known already: %d", address, w.Code)
		}
	}
	for _, prefix := range []string{"", "/pow", "pow/"} {
		if h, _, err := pow.Script(prefix); err == nil || h != nil {
			t.Errorf("prefix %q was taken", prefix)
		}
	}
}
