// Package static serves a site's style sheets, scripts and pictures under
// addresses that caches may keep for ever, because they name the content.
package static

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
)

// Files are the files of a directory and of those below it, as they were when
// [New] read them. They lie in memory, so that what is sent is what was hashed
// and no path that a visitor makes up reaches a file system. They may be used
// concurrently.
type Files struct {
	prefix string
	files  map[string]*file
	dirs   map[string]bool
}

type file struct {
	name    string
	content []byte
	version string // SHA-512 in hexadecimal, as Tornado has it
	media   string
}

// New reads all files of fsys, which are to be served under the prefix: a path
// that begins and ends with a slash.
func New(prefix string, fsys fs.FS) (*Files, error) {
	if !strings.HasPrefix(prefix, "/") || !strings.HasSuffix(prefix, "/") {
		return nil, fmt.Errorf("static: prefix %q does not begin and end with a slash", prefix)
	}
	f := &Files{prefix: prefix, files: make(map[string]*file), dirs: make(map[string]bool)}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			f.dirs[name] = true
			return nil
		}
		content, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		sum := sha512.Sum512(content)
		f.files[name] = &file{name, content, hex.EncodeToString(sum[:]), mediaType(name)}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("static: %w", err)
	}
	return f, nil
}

// mediaType does not ask the machine's tables first, which differ: with nosniff
// a browser runs no script and applies no style of a wrong type.
func mediaType(name string) string {
	switch ext := path.Ext(name); ext {
	case ".css":
		return "text/css; charset=utf-8"
	case ".js", ".mjs":
		return "text/javascript; charset=utf-8"
	case ".html":
		return "text/html; charset=utf-8"
	case ".txt":
		return "text/plain; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".ico":
		return "image/x-icon"
	case ".woff2":
		return "font/woff2"
	default:
		if t := mime.TypeByExtension(ext); t != "" {
			return t
		}
		return "application/octet-stream"
	}
}

// URL returns the address of a file with the version of its content, in
// Tornado's form: /Statics/main.css?v=…. A file that is not there is an error,
// so that a template that misspells one is not rendered.
func (f *Files) URL(name string) (string, error) {
	file := f.files[name]
	if file == nil {
		return "", fmt.Errorf("static: %q: %w", name, fs.ErrNotExist)
	}
	return f.prefix + name + "?v=" + file.version, nil
}

// ServeHTTP answers GET and HEAD of a file below the prefix; a directory, and a
// path that climbs, whether or not it would come back, is 403, and all else that
// is not there 404.
//
// An answer may be kept for a year without asking if the v of the address is
// the version of the content, and otherwise must be asked for again each time:
// a v from before a change, or after it, does not fill caches with what is not
// its own.
func (f *Files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, ok := strings.CutPrefix(r.URL.Path, f.prefix)
	switch file := f.files[name]; {
	case !ok:
		fail(w, http.StatusNotFound)
	case file != nil:
		file.ServeHTTP(w, r)
	case f.dirs[path.Clean(name)], climbs(name):
		fail(w, http.StatusForbidden)
	default:
		fail(w, http.StatusNotFound)
	}
}

// climbs reports whether a segment is "..", for systems that part paths by
// backslashes, too: who asks for such a thing is told the same everywhere.
func climbs(name string) bool {
	return slices.Contains(strings.FieldsFunc(name, func(r rune) bool { return r == '/' || r == '\\' }), "..")
}

// File returns a handler that answers with one file wherever it is mounted, for
// addresses that are not ours to choose: /robots.txt, /favicon.ico. It is 404
// if there is no such file.
func (f *Files) File(name string) http.Handler {
	if file := f.files[name]; file != nil {
		return file
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fail(w, http.StatusNotFound) })
}

func (f *file) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		fail(w, http.StatusMethodNotAllowed)
		return
	}
	h.Set("Cache-Control", "no-cache")
	if v := r.URL.Query()["v"]; len(v) == 1 && v[0] == f.version {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	h.Set("Content-Type", f.media)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Etag", `"`+f.version[:32]+`"`)
	// No time: embedded files have none, and the tag says it all.
	http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(f.content))
}

func fail(w http.ResponseWriter, code int) {
	http.Error(w, fmt.Sprintf("%d: %s", code, http.StatusText(code)), code)
}

// Module serves the folder "static" of a package's files, and returns the address of
// the one among them that pages import.
func Module(prefix string, files fs.FS, name string) (http.Handler, string, error) {
	dir, err := fs.Sub(files, "static")
	if err != nil {
		return nil, "", err
	}
	f, err := New(prefix, dir)
	if err != nil {
		return nil, "", err
	}
	address, err := f.URL(name)
	return f, address, err
}
