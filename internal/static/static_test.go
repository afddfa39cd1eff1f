package static

import (
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/seed-64ad3862/gatehouse/csrf/tornado"
)

func testFiles(t *testing.T) *Files {
	t.Helper()
	f, err := New("/Statics/", fstest.MapFS{
		"main.css":     {Data: []byte("body{}")},
		"js/login.js":  {Data: []byte("'use strict'")},
		"favicon.ico":  {Data: []byte("\x00\x00\x01\x00")},
		"notes.unsure": {Data: []byte("<script>")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func get(h http.Handler, method, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/", nil)
	path, r.URL.RawQuery, _ = strings.Cut(path, "?")
	r.URL.Path = path // as it is decoded, whatever it holds
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestStatus(t *testing.T) {
	files := testFiles(t)
	for _, test := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/Statics/main.css", 200},
		{"HEAD", "/Statics/js/login.js", 200},
		{"POST", "/Statics/main.css", 405},
		{"GET", "/Statics/", 403},
		{"GET", "/Statics/js", 403},
		{"GET", "/Statics/js/", 403},
		{"GET", "/Statics/./js/.", 403},
		{"GET", "/Statics/../main.css", 403},
		{"GET", "/Statics/js/../../../etc/passwd", 403},
		{"GET", "/Statics/js/../main.css", 403},
		{"GET", `/Statics/..\..\windows`, 403},
		{"GET", "/Statics/..", 403},
		{"GET", "/Statics/..main.css", 404},
		{"GET", "/Statics/missing.css", 404},
		{"GET", "/Statics/main.css/", 404},
		{"GET", "/Statics/main.css/x", 404},
		{"GET", "/Statics//main.css", 404},
		{"GET", "/Statics//etc/passwd", 404},
		{"GET", "/Statics/" + strings.Repeat("x", 5000), 404},
		{"GET", "/Statics/" + strings.Repeat("x/", 5000), 404},
		{"GET", "/Statics/main.css\x00", 404},
		{"GET", "/Statics/\xff\xfe", 404},
		{"GET", "/elsewhere/main.css", 404},
		{"GET", "", 404},
	} {
		w := get(files, test.method, test.path)
		if w.Code != test.want {
			t.Errorf("%s %.60q: %d, want %d", test.method, test.path, w.Code, test.want)
		}
		if got := w.Header().Get("Allow"); (got == "GET, HEAD") != (test.want == 405) {
			t.Errorf("%s %.60q: Allow %q", test.method, test.path, got)
		}
		if cc := w.Header().Get("Cache-Control"); strings.Contains(cc, "immutable") {
			t.Errorf("%s %.60q: Cache-Control %q", test.method, test.path, cc)
		}
	}
}

func TestCaching(t *testing.T) {
	files := testFiles(t)
	address, err := files.URL("main.css")
	if err != nil {
		t.Fatal(err)
	}
	if want := tornado.StaticURL("/Statics/", "main.css", tornado.StaticVersion([]byte("body{}"))); address != want {
		t.Errorf("URL is %s, want Tornado's %s", address, want)
	}
	u, _ := url.Parse(address)
	v := u.Query().Get("v")
	const forever, ask = "public, max-age=31536000, immutable", "no-cache"
	for query, want := range map[string]string{
		"?v=" + v:                  forever,
		"?v=" + v + "&x=1":         forever,
		"":                         ask,
		"?v=":                      ask,
		"?v=" + v[:127]:            ask,
		"?v=" + strings.ToUpper(v): ask,
		"?v=" + v + "&v=" + v:      ask,
		"?V=" + v:                  ask,
		"?v=%zz":                   ask,
	} {
		w := get(files, "GET", "/Statics/main.css"+query)
		if got := w.Header().Get("Cache-Control"); w.Code != 200 || got != want || w.Body.String() != "body{}" {
			t.Errorf("%.40q: %d, Cache-Control %q, want %q", query, w.Code, got, want)
		}
	}
	tag := get(files, "GET", "/Statics/main.css").Header().Get("Etag")
	if w := get(files, "GET", "/Statics/main.css", "If-None-Match", tag); w.Code != 304 || w.Body.Len() != 0 {
		t.Errorf("If-None-Match: %d with %d bytes", w.Code, w.Body.Len())
	}
	if w := get(files, "GET", "/Statics/main.css", "Range", "bytes=0-3"); w.Code != 206 || w.Body.String() != "body" {
		t.Errorf("Range: %d %q", w.Code, w.Body)
	}
}

func TestMediaType(t *testing.T) {
	files := testFiles(t)
	for name, want := range map[string]string{
		"main.css":     "text/css; charset=utf-8",
		"js/login.js":  "text/javascript; charset=utf-8",
		"favicon.ico":  "image/x-icon",
		"notes.unsure": "application/octet-stream",
	} {
		h := get(files, "GET", "/Statics/"+name).Header()
		if got := h.Get("Content-Type"); got != want || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %q, want %q, and nosniff %q", name, got, want, h.Get("X-Content-Type-Options"))
		}
	}
}

func TestFile(t *testing.T) {
	files := testFiles(t)
	icon := files.File("favicon.ico")
	if w := get(icon, "GET", "/favicon.ico"); w.Code != 200 || w.Body.Len() != 4 {
		t.Errorf("%d with %d bytes", w.Code, w.Body.Len())
	}
	if w := get(icon, "DELETE", "/favicon.ico"); w.Code != 405 {
		t.Errorf("DELETE: %d", w.Code)
	}
	for _, name := range []string{"missing", "js", "", "../x"} {
		if w := get(files.File(name), "GET", "/"+name); w.Code != 404 {
			t.Errorf("%q: %d", name, w.Code)
		}
	}
}

func TestErrors(t *testing.T) {
	files := testFiles(t)
	if _, err := files.URL("js"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("URL of a directory: %v", err)
	}
	for _, prefix := range []string{"", "Statics/", "/Statics"} {
		if _, err := New(prefix, fstest.MapFS{}); err == nil {
			t.Errorf("prefix %q was taken", prefix)
		}
	}
}
