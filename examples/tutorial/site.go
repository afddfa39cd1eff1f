package tutorial

import (
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"log/slog"
	"mime/multipart"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/captcha/still"
	"github.com/seed-64ad3862/gatehouse/csrf"
	"github.com/seed-64ad3862/gatehouse/internal/static"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

//go:embed views Statics
var files embed.FS

const (
	maxBody      = 64 << 10 // of a request: three short fields and a token
	maxContainer = 1 << 20  // of all sessions, for they are printed in one line
)

// Config configures [New]. The zero value is a site behind https.
type Config struct {
	// Insecure is for plain HTTP on one's own machine: the session's cookie is
	// __session__ instead of __Host-__session__, and not Secure.
	Insecure bool

	// Origins are where browsers find the site, such as
	// "http://localhost:9000". Those that send no Sec-Fetch-Site need it.
	Origins []string

	// Out gets the container, a line of JSON each time: standard output if nil.
	Out io.Writer

	// Store keeps the sessions: 1 MiB of memory if nil.
	Store session.Store

	// Logger gets what goes wrong: [slog.Default] if nil.
	Logger *slog.Logger
}

type app struct {
	sessions    *session.Manager
	csrf        *csrf.Protection
	light, dark captcha.Renderer
	views       *template.Template
	log         *slog.Logger
	insecure    bool

	mu  sync.Mutex // one line after the other
	out io.Writer
}

// New returns the site, which may be used concurrently, or says what is wrong
// with the Config.
func New(cfg Config) (http.Handler, error) {
	if cfg.Out == nil {
		cfg.Out = os.Stdout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Store == nil {
		cfg.Store = memory.New(memory.Config{MaxBytes: maxContainer, Logger: cfg.Logger})
	}
	a := &app{out: cfg.Out, log: cfg.Logger, insecure: cfg.Insecure}
	var err error
	a.sessions, err = session.New(session.Config{Store: cfg.Store, Name: "__session__", Insecure: cfg.Insecure, Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	a.csrf, err = csrf.New(csrf.Config{
		Sessions: a.sessions, Field: "_xsrf", RequireToken: true, Origins: cfg.Origins,
		BodyLimit: maxBody, Deny: a.deny, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	// More dots than are shown, for screens that have them.
	if a.light, err = still.New(still.Config{Width: 480, Height: 160}); err != nil {
		return nil, err
	}
	if a.dark, err = still.New(still.Config{Width: 480, Height: 160, Inks: still.Dark()}); err != nil {
		return nil, err
	}
	root, err := fs.Sub(files, "Statics")
	if err != nil {
		return nil, err
	}
	statics, err := static.New("/Statics/", root)
	if err != nil {
		return nil, err
	}
	a.views, err = template.New("").Funcs(template.FuncMap{"static": statics.URL}).ParseFS(files, "views/*.html")
	if err != nil {
		return nil, err
	}
	return a.site(statics), nil
}

// site brings the pages together: an unknown path is 404 whatever else the
// request has or lacks, then the token is asked for, then the method.
func (a *app) site(statics *static.Files) http.Handler {
	pages := map[string]http.Handler{
		"/index":       a.page(a.index, nil),
		"/manager":     a.page(a.manager, nil),
		"/check_code":  a.page(a.picture, nil),
		"/login":       a.page(a.loginForm, a.login),
		"/csrf":        a.page(a.csrfForm, a.csrfPost),
		"/robots.txt":  statics.File("robots.txt"),
		"/favicon.ico": statics.File("favicon.ico"),
	}
	guard := func(page http.Handler) http.Handler { return a.sessions.Handler(a.csrf.Handler(page)) }
	for path, page := range pages {
		pages[path] = guard(page)
	}
	below := guard(statics)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'; "+
			"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "same-origin") // no-referrer would make the Origin of our own forms null
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		if !a.insecure {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		page := pages[r.URL.Path]
		// Not http.ServeMux, which would redirect a path with ".." before
		// anybody could refuse it.
		if strings.HasPrefix(r.URL.Path, "/Statics/") {
			page = below
		}
		if page == nil {
			fail(w, http.StatusNotFound)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		page.ServeHTTP(w, r)
	})
}

// A pageFunc answers a request. Its error is one of the session's.
type pageFunc func(h http.Header, r *http.Request, s *session.Session, arg arguments) (answer string, err error)

// page returns the handler of a page that takes GET, and POST unless post is
// nil.
func (a *app) page(get, post pageFunc) http.Handler {
	return a.sessions.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		var do pageFunc
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			do = get
		case http.MethodPost:
			do = post
		}
		if do == nil {
			w.Header().Set("Allow", "GET, HEAD")
			if post != nil {
				w.Header().Set("Allow", "GET, HEAD, POST")
			}
			fail(w, http.StatusMethodNotAllowed)
			return
		}
		arg, code := parseArguments(r)
		if code != http.StatusOK {
			fail(w, code)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		answer, err := do(w.Header(), r, s, arg)
		if err != nil {
			a.sessions.Error(w, r, err)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		_, _ = io.WriteString(w, answer) // the visitor may be gone
	})
}

// arguments are those of query and body together, by name.
type arguments map[string]string

// parseArguments takes the last value of each name, the body's rather than the
// query's, without the blanks around it. If the code is not 200, it says what is
// wrong with them.
func parseArguments(r *http.Request) (arg arguments, code int) {
	err := r.ParseForm()
	if err == nil && r.Method == http.MethodPost {
		if err = r.ParseMultipartForm(maxBody); errors.Is(err, http.ErrNotMultipart) {
			err = nil
		}
	}
	if err != nil {
		// Package multipart takes a header that the bound cut off for one
		// that is malformed. The body knows.
		_, cut := io.Copy(io.Discard, r.Body)
		err = errors.Join(err, cut)
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge), errors.Is(err, multipart.ErrMessageTooLarge):
		return nil, http.StatusRequestEntityTooLarge
	case err != nil:
		return nil, http.StatusBadRequest
	}
	arg = make(arguments, len(r.Form))
	for name, values := range r.Form {
		if body := r.PostForm[name]; len(body) > 0 {
			values = body
		}
		last := values[len(values)-1]
		if !utf8.ValidString(name) || !utf8.ValidString(last) {
			return nil, http.StatusBadRequest
		}
		arg[name] = strings.TrimSpace(last)
	}
	return arg, http.StatusOK
}

// deny answers what package csrf refuses; the reason is in the log.
func (a *app) deny(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, csrf.ErrUnavailable) {
		a.sessions.Error(w, r, err)
		return
	}
	fail(w, csrf.Status(err))
}

func fail(w http.ResponseWriter, code int) {
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	w.WriteHeader(code)
	fmt.Fprintf(w, "%d: %s", code, http.StatusText(code))
}
