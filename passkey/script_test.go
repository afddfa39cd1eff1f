package passkey_test

import (
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/seed-64ad3862/gatehouse/passkey"
)

func TestScript(t *testing.T) {
	scripts, module, err := passkey.Script("/a/b/")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("static/passkey.js")
	if err != nil {
		t.Fatal(err)
	}
	path, version, _ := strings.Cut(module, "?v=")
	if path != "/a/b/passkey.js" || len(version) != 128 {
		t.Errorf("address %s", module)
	}
	for address, cache := range map[string]string{
		module: "public, max-age=31536000, immutable",
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
	for _, prefix := range []string{"", "/passkey", "passkey/"} {
		if h, _, err := passkey.Script(prefix); err == nil || h != nil {
			t.Errorf("prefix %q was taken", prefix)
		}
	}
}
