package csrf_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/seed-64ad3862/gatehouse/csrf"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

func newProtection(t testing.TB, cfg csrf.Config) *csrf.Protection {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	p, err := csrf.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func newSessions(t testing.TB, store session.Store) *session.Manager {
	t.Helper()
	m, err := session.New(session.Config{Store: store, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// request is one of a server, without the absolute URL that httptest gives it.
func request(method, target string, body io.Reader, header http.Header) *http.Request {
	r := httptest.NewRequest(method, target, body)
	r.URL.Scheme, r.URL.Host = "", ""
	for name, values := range header {
		r.Header[http.CanonicalHeaderKey(name)] = values
	}
	return r
}

func TestDecision(t *testing.T) {
	p := newProtection(t, csrf.Config{
		Origins: []string{
			"https://app.example", "https://www.app.example", "http://localhost:9000", "http://[::1]:9000",
			"https://xn--bcher-kva.example", "HTTPS://Upper.Example:443", "http://plain.example:80",
		},
		TrustedOrigins: []string{"https://partner.example", "https://partner.example:8443", "browser-extension://abcdef"},
	})
	pass, cross, token := error(nil), csrf.ErrCrossOrigin, csrf.ErrNoToken
	tests := []struct {
		name                  string
		site, origin, referer string // one or more, split at blanks
		want                  error
	}{
		// Step 2.
		{"same origin", "same-origin", "", "", pass},
		{"same origin, Origin", "same-origin", "https://app.example", "", pass},
		{"same origin needs no Config.Origins", "same-origin", "https://other.example", "", pass},
		{"same site", "same-site", "", "", cross},
		{"same site, our other origin", "same-site", "https://www.app.example", "", cross},
		{"same site, our own origin", "same-site", "https://app.example", "", cross},
		{"same site, Referer is ours", "same-site", "", "https://app.example/", cross},
		{"same site, trusted", "same-site", "https://partner.example", "", pass},
		{"cross site", "cross-site", "", "", cross},
		{"cross site, our own origin", "cross-site", "https://app.example", "", cross},
		{"cross site, attacker", "cross-site", "https://attacker.example", "", cross},
		{"cross site, null", "cross-site", "null", "", cross},
		{"cross site, trusted", "cross-site", "https://partner.example", "", pass},
		{"cross site, trusted, but over http", "cross-site", "http://partner.example", "", cross},
		{"cross site, trusted, other port", "cross-site", "https://partner.example:8444", "", cross},
		{"cross site, trusted with a port", "cross-site", "https://partner.example:8443", "", pass},
		{"cross site, under a trusted one", "cross-site", "https://sub.partner.example", "", cross},
		{"cross site, trusted Referer does not do", "cross-site", "", "https://partner.example/", cross},
		{"cross site, trusted extension", "cross-site", "browser-extension://abcdef", "", pass},
		{"value of a future day", "same-party", "", "", cross},
		{"same origin in capitals", "Same-Origin", "", "", cross},
		{"same origin twice", "same-origin same-origin", "", "", cross},
		{"same origin, then cross site", "same-origin cross-site", "", "", cross},
		{"same origin in a list", "same-origin,same-origin", "", "", cross},
		{"none alone", "none", "", "", token},
		{"none, own form sent again", "none", "https://app.example", "", pass},
		{"none, attacker's form sent again", "none", "https://attacker.example", "", cross},
		{"none, null", "none", "null", "", cross},
		{"none, Referer", "none", "", "https://attacker.example/", cross},

		// Step 3, Origin.
		{"own", "", "https://app.example", "", pass},
		{"own, second", "", "https://www.app.example", "", pass},
		{"own over http", "", "http://app.example", "", cross},
		{"own, other port", "", "https://app.example:8443", "", cross},
		{"own, default port", "", "https://app.example:443", "", pass},
		{"own, port of the other scheme", "", "https://app.example:80", "", cross},
		{"own, upper case", "", "HTTPS://APP.Example", "", pass},
		{"configured in upper case", "", "https://upper.example", "", pass},
		{"configured with a default port", "", "http://plain.example", "", pass},
		{"own, trailing dot", "", "https://app.example.", "", cross},
		{"own, trailing slash", "", "https://app.example/", "", cross},
		{"own, with a port", "", "http://localhost:9000", "", pass},
		{"own, without its port", "", "http://localhost", "", cross},
		{"own, longer port", "", "http://localhost:90000", "", cross},
		{"own, port with a zero", "", "http://localhost:09000", "", cross},
		{"own, IPv6", "", "http://[::1]:9000", "", pass},
		{"own, IPv6 without port", "", "http://[::1]", "", cross},
		{"own, Punycode", "", "https://xn--bcher-kva.example", "", pass},
		{"own, not Punycode", "", "https://bücher.example", "", cross},
		{"Kelvin sign for k", "", "http://loo\u212aup.example", "", cross},
		{"trusted", "", "https://partner.example", "", pass},
		{"trusted, but over http", "", "http://partner.example", "", cross},
		{"attacker", "", "https://attacker.example", "", cross},
		{"own name in front", "", "https://app.example.attacker.example", "", cross},
		{"own name behind", "", "https://attackerapp.example", "", cross},
		{"own name as a user", "", "https://app.example@attacker.example", "", cross},
		{"own name before a backslash", "", `https://app.example\@attacker.example`, "", cross},
		{"own name after an escape", "", "https://%61pp.example", "", cross},
		{"null", "", "null", "", cross},
		{"not an origin", "", "app.example", "", cross},
		{"the host of the request", "", "https://example.com", "", cross},
		{"own twice", "", "https://app.example https://app.example", "", cross},
		{"own, then attacker", "", "https://app.example https://attacker.example", "", cross},
		{"Origin goes before Referer", "", "https://attacker.example", "https://app.example/", cross},
		{"null goes before Referer", "", "null", "https://app.example/", cross},

		// Step 3, Referer.
		{"Referer", "", "", "https://app.example/form?x=1#y", pass},
		{"Referer without a path", "", "", "https://app.example", pass},
		{"Referer, default port", "", "", "https://APP.example:443/", pass},
		{"Referer over http", "", "", "http://app.example/form", cross},
		{"Referer, other port", "", "", "https://app.example:8443/form", cross},
		{"Referer, trusted", "", "", "https://partner.example/form", pass},
		{"Referer, attacker", "", "", "https://attacker.example/https://app.example/", cross},
		{"Referer, own name as a user", "", "", "https://app.example@attacker.example/", cross},
		{"Referer, own name before a backslash", "", "", `https://app.example\@attacker.example/`, cross},
		{"Referer, own name and a question mark", "", "", "https://attacker.example?https://app.example/", cross},
		{"Referer, about:blank", "", "", "about:blank", cross},
		{"Referer, no URL", "", "", "://", cross},
		{"Referer, path only", "", "", "/form", cross},
		{"Referer twice", "", "", "https://app.example/ https://app.example/", cross},

		// Step 4.
		{"nothing", "", "", "", token},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			header := http.Header{}
			for name, values := range map[string]string{"Sec-Fetch-Site": tt.site, "Origin": tt.origin, "Referer": tt.referer} {
				if values != "" {
					header[name] = strings.Fields(values)
				}
			}
			for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "post", "get", "INVENTED", ""} {
				r := request("POST", "https://app.example/", nil, header)
				r.Method = method
				if err := p.Check(r); !errors.Is(err, tt.want) {
					t.Errorf("%s: %v, want %v", method, err, tt.want)
				}
			}
			for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
				r := request(method, "https://app.example/", nil, header)
				if err := p.Check(r); err != nil {
					t.Errorf("%s: %v, want nil", method, err)
				}
			}
		})
	}
}

// A header that is there and empty counts as absent: no step that follows asks
// for less.
func TestEmptyHeaders(t *testing.T) {
	p := newProtection(t, csrf.Config{Origins: []string{"https://app.example"}})
	h := http.Header{"Sec-Fetch-Site": {""}, "Origin": {""}, "Referer": {""}}
	if err := p.Check(request("POST", "/", nil, h)); !errors.Is(err, csrf.ErrNoToken) {
		t.Errorf("all empty: %v, want ErrNoToken", err)
	}
	h.Set("Referer", "https://attacker.example/")
	if err := p.Check(request("POST", "/", nil, h)); !errors.Is(err, csrf.ErrCrossOrigin) {
		t.Errorf("with a Referer: %v, want ErrCrossOrigin", err)
	}
}

func TestZeroConfig(t *testing.T) {
	p := newProtection(t, csrf.Config{})
	for _, tt := range []struct {
		header http.Header
		want   error
	}{
		{http.Header{"Sec-Fetch-Site": {"same-origin"}}, nil},
		{http.Header{"Sec-Fetch-Site": {"same-site"}}, csrf.ErrCrossOrigin},
		{http.Header{"Origin": {"https://example.com"}}, csrf.ErrCrossOrigin}, // though Host is the same
		{http.Header{"X-Forwarded-Host": {"example.com"}, "Origin": {"https://example.com"}}, csrf.ErrCrossOrigin},
		{http.Header{"X-Csrf-Token": {strings.Repeat("A", 86)}}, csrf.ErrNoToken},
		{nil, csrf.ErrNoToken},
	} {
		if err := p.Check(request("POST", "https://example.com/", nil, tt.header)); !errors.Is(err, tt.want) {
			t.Errorf("%v: %v, want %v", tt.header, err, tt.want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	origins := []string{
		"", "null", "*", "app.example", "//app.example", "https://", "https://:443", "https:app.example", "https://app.example/",
		"https://app.example/x", "https://app.example?", "https://app.example#", "https://user@app.example",
		"https://*.app.example", "https://app.example:", "https://app.example:0", "https://app.example:0443",
		"https://app.example:65536", "https://app.example:x", "https://bücher.example", "https://app.example ",
		"https://a,b", "https://[::1%25eth0]", "https://[fe80::1%eth0]", "https://[x]",
		"https://0::10", "https://\u212a.example", "https://\x80.example",
	}
	for b := byte(0); b <= ' '; b++ {
		origins = append(origins, "https://app"+string(rune(b))+".example", string(rune(b))+"https://app.example", "https://app.example"+string(rune(b)))
	}
	origins = append(origins, "https://app\x7f.example")
	for _, s := range origins {
		if _, err := csrf.New(csrf.Config{Origins: []string{s}}); err == nil || !strings.HasPrefix(err.Error(), "csrf: Config.Origins: ") {
			t.Errorf("Origins %q: %v, want an error", s, err)
		}
		if _, err := csrf.New(csrf.Config{TrustedOrigins: []string{s}}); err == nil || !strings.HasPrefix(err.Error(), "csrf: Config.TrustedOrigins: ") {
			t.Errorf("TrustedOrigins %q: %v, want an error", s, err)
		}
	}
	for name, cfg := range map[string]csrf.Config{
		"BodyLimit":    {BodyLimit: -1},
		"RequireToken": {RequireToken: true},
		"Exempt":       {Exempt: []string{"/{"}},
		"HeaderOnly":   {HeaderOnly: []string{"/upload", "/upload"}},
	} {
		if _, err := csrf.New(cfg); err == nil || !strings.HasPrefix(err.Error(), "csrf: Config."+name) {
			t.Errorf("%s: %v, want an error that names it", name, err)
		}
	}
}

func TestExempt(t *testing.T) {
	var log bytes.Buffer
	p := newProtection(t, csrf.Config{
		Exempt: []string{"POST /hook", "/hooks/", "/only/{id}", "api.example/v1"},
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	for _, pattern := range []string{`"POST /hook"`, "/hooks/", "/only/{id}", "api.example/v1"} {
		if !strings.Contains(log.String(), `msg="csrf: exempt" pattern=`+pattern+"\n") {
			t.Errorf("the log does not list %s:\n%s", pattern, log.String())
		}
	}
	for _, tt := range []struct {
		method, target string
		pass           bool
	}{
		{"POST", "/hook", true},
		{"POST", "/hook?x=1", true},
		{"PUT", "/hook", false},
		{"POST", "/hook/", false},
		{"POST", "/Hook", false},
		{"POST", "//hook", false},
		{"POST", "/x/../hook", false},
		{"POST", "/./hook", false},
		{"POST", "/hooks/a", true},
		{"POST", "/hooks/a/b", true},
		{"POST", "/hooks", false}, // ServeMux would redirect
		{"POST", "/hooks/../admin", false},
		{"POST", "/hooks/%2e%2e/admin", false},
		{"POST", "/hooks/..%2fadmin", false},
		{"POST", "/hooks/%2e/admin", false},
		{"POST", "/hooks/a%2fb", true},
		{"POST", "/only/..", false},
		{"POST", "/only/%2e%2e", false},
		{"POST", "/hooks//admin", false},
		{"POST", "/hooksx", false},
		{"POST", "/only/7", true},
		{"POST", "/only/7/x", false},
		{"POST", "/only/", false},
		{"POST", "http://api.example/v1", true},
		{"POST", "/v1", false},
		{"CONNECT", "/hooks/../admin", false},
		{"POST", "/", false},
	} {
		for site, refused := range map[string]error{"cross-site": csrf.ErrCrossOrigin, "": csrf.ErrNoToken} {
			r := httptest.NewRequest("POST", tt.target, nil)
			r.Method = tt.method
			r.Header.Set("Sec-Fetch-Site", site)
			want := refused
			if tt.pass {
				want = nil
			}
			if err := p.Check(r); !errors.Is(err, want) {
				t.Errorf("%s %s, site %q: %v, want %v", tt.method, tt.target, site, err, want)
			}
		}
	}
}

func TestStatus(t *testing.T) {
	for err, want := range map[error]int{
		csrf.ErrCrossOrigin: 403, csrf.ErrNoToken: 403, csrf.ErrBadToken: 403,
		csrf.ErrTooLarge: 413, csrf.ErrMalformed: 400, csrf.ErrUnavailable: 503,
		errors.New("another"): 403,
	} {
		if got := csrf.Status(fmt.Errorf("wrapped: %w", err)); got != want {
			t.Errorf("Status(%v) = %d, want %d", err, got, want)
		}
		if !strings.HasPrefix(err.Error(), "csrf: ") && want != 403 {
			t.Errorf("error %q", err)
		}
	}
}

func TestHandler(t *testing.T) {
	var log bytes.Buffer
	served := 0
	h := newProtection(t, csrf.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}).
		Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))

	w := httptest.NewRecorder()
	r := request("POST", "/transfer?pin=1234", nil, http.Header{
		"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://attacker.example"}, "Referer": {"https://attacker.example/secret"},
	})
	h.ServeHTTP(w, r)
	if w.Code != 403 || w.Body.String() != "403 Forbidden\n" || served != 0 {
		t.Errorf("%d %q, served %d times", w.Code, w.Body, served)
	}
	line := log.String()
	for _, want := range []string{"level=WARN", "msg=\"csrf: refused\"", "method=POST", "path=/transfer", "cross-site", "https://attacker.example"} {
		if !strings.Contains(line, want) {
			t.Errorf("the log lacks %s: %s", want, line)
		}
	}
	if strings.Contains(line, "1234") || strings.Contains(line, "secret") {
		t.Errorf("the log tells too much: %s", line)
	}

	log.Reset()
	h.ServeHTTP(httptest.NewRecorder(), request("POST", "/", nil, http.Header{"Origin": {strings.Repeat("x\n", 50_000)}}))
	if n := log.Len(); n > 1000 || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("a huge header fills %d bytes of log: %.2000s", n, log.String())
	}

	log.Reset()
	h.ServeHTTP(httptest.NewRecorder(), request("POST", "/", nil, http.Header{"Sec-Fetch-Site": {"same-origin"}}))
	if served != 1 || log.Len() != 0 {
		t.Errorf("served %d times, logged %q", served, log.String())
	}
}

// Whatever a client sends, a refusal takes few bytes of the log.
func TestLogIsCut(t *testing.T) {
	long := strings.Repeat("\x01", 20_000)
	for name, change := range map[string]func(r *http.Request){
		"path":              func(r *http.Request) { r.URL.Path = "/" + long },
		"path not in UTF-8": func(r *http.Request) { r.URL.Path = "/" + strings.Repeat("\xff", 20_000) },
		"invisible path":    func(r *http.Request) { r.URL.Path = "/" + strings.Repeat("\U000e0001", 20_000) },
		"host":              func(r *http.Request) { r.Host = long },
		"method":            func(r *http.Request) { r.Method = strings.Repeat("M", 60_000) },
		"Origin":            func(r *http.Request) { r.Header.Set("Origin", strings.Repeat("\U000e0001", 15_000)) },
		"Sec-Fetch-Site":    func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", long) },
		"both":              func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", long); r.Header.Set("Origin", long) },
		"Referer":           func(r *http.Request) { r.Header.Set("Referer", "http://"+strings.Repeat("\U000e0001", 15_000)) },
		"Referer, no URL":   func(r *http.Request) { r.Header.Set("Referer", long) },
		"many Origins":      func(r *http.Request) { r.Header["Origin"] = slices.Repeat([]string{"x"}, 10_000) },
		"query":             func(r *http.Request) { r.URL.RawQuery = long },
		"User-Agent":        func(r *http.Request) { r.Header.Set("User-Agent", long) },
		"token in a header": func(r *http.Request) { r.Header.Set("X-Csrf-Token", long) },
		"Content-Type":      func(r *http.Request) { r.Header.Set("Content-Type", long); r.Body = http.NoBody },
		"multipart boundary": func(r *http.Request) {
			r.Header.Set("Content-Type", "multipart/form-data; boundary="+strings.Repeat("b", 20_000))
			r.Body = http.NoBody
		},
		"everything": func(r *http.Request) {
			r.Method, r.Host, r.URL.Path = long, long, long
			r.Header.Set("Sec-Fetch-Site", long)
			r.Header.Set("Origin", long)
		},
		"a handshake's Origin": func(r *http.Request) {
			r.Method = "GET"
			r.Header.Set("Upgrade", "websocket")
			r.Header.Set("Origin", strings.Repeat("\U000e0001", 15_000))
		},
	} {
		for format, handler := range map[string]func(io.Writer) slog.Handler{
			"text": func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) },
			"JSON": func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) },
		} {
			var log bytes.Buffer
			m := newSessions(t, memory.New(memory.Config{}))
			r := request("POST", "/", nil, nil)
			change(r)
			m.Handler(newProtection(t, csrf.Config{Sessions: m, Logger: slog.New(handler(&log))}).Handler(http.NotFoundHandler())).ServeHTTP(httptest.NewRecorder(), r)
			if line := log.String(); len(line) > 2000 || strings.Count(line, "\n") != 1 || !strings.Contains(line, "csrf: refused") || !utf8.ValidString(line) {
				t.Errorf("%s, %s: %d bytes: %.2500q", name, format, len(line), line)
			}
		}
	}
	var log bytes.Buffer
	h := newProtection(t, csrf.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}).Handler(http.NotFoundHandler())
	h.ServeHTTP(httptest.NewRecorder(), request("POST", "/"+strings.Repeat("a", 60_000), nil, nil))
	if !strings.Contains(log.String(), "aaa… (60001 bytes)") {
		t.Errorf("the log does not say that a path was cut: %s", log.String())
	}
}

// Refusals that repeat are counted, whatever else differs in them, and the count is
// not lost.
func TestLogCounts(t *testing.T) {
	for name, vary := range map[string]func(r *http.Request, i int){
		"the same":           func(*http.Request, int) {},
		"another path":       func(r *http.Request, i int) { r.URL.Path = fmt.Sprint("/", i) },
		"another host":       func(r *http.Request, i int) { r.Host = fmt.Sprint("host", i) },
		"another method":     func(r *http.Request, i int) { r.Method = fmt.Sprint("METHOD", i) },
		"another User-Agent": func(r *http.Request, i int) { r.Header.Set("User-Agent", fmt.Sprint(i)) },
		"another Origin":     func(r *http.Request, i int) { r.Header.Set("Origin", fmt.Sprint("https://", i, ".example")) },
		"another Referer":    func(r *http.Request, i int) { r.Header.Set("Referer", fmt.Sprint("https://", i, ".example/")) },
		"another site":       func(r *http.Request, i int) { r.Header.Set("Sec-Fetch-Site", fmt.Sprint("site", i)) },
		"another number":     func(r *http.Request, i int) { r.Header["Origin"] = slices.Repeat([]string{"x"}, i+2) },
	} {
		for _, reportOnly := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				p := newProtection(t, csrf.Config{ReportOnly: reportOnly, Logger: slog.New(slog.NewTextHandler(&log, nil))})
				h := p.Handler(http.NotFoundHandler())
				serve := func(r *http.Request) string {
					log.Reset()
					h.ServeHTTP(httptest.NewRecorder(), r)
					return log.String()
				}
				written := 0
				for i := range 739 {
					r := request("POST", "/", nil, nil)
					vary(r, i)
					written += strings.Count(serve(r), "\n")
				}
				if written != 5 {
					t.Errorf("%s: %d lines of 739 refusals, want 5", name, written)
				}
				look := request("GET", "/", nil, nil)
				if line := serve(look); line != "" {
					t.Errorf("%s: at once %q", name, line)
				}
				time.Sleep(time.Minute)
				// A request that passes is enough.
				line := serve(look)
				if strings.Count(line, "\n") != 1 || !strings.Contains(line, "repeated=734 in=1m0s") || !strings.Contains(line, "level=WARN") || !strings.Contains(line, `kind="csrf: `) {
					t.Errorf("%s: after a minute %q", name, line)
				}
				if line := serve(look); line != "" {
					t.Errorf("%s: again %q", name, line)
				}
				// One more is logged in full, the others are counted; the program ends.
				for i := range 10 {
					r := request("POST", "/", nil, nil)
					vary(r, i)
					if line := serve(r); (line != "") != (i == 0) {
						t.Errorf("%s: the refusal %d after a minute: %q", name, i, line)
					}
				}
				log.Reset()
				p.FlushLog(t.Context())
				if line := log.String(); strings.Count(line, "\n") != 1 || !strings.Contains(line, "repeated=9 in=0s") {
					t.Errorf("%s: at the end %q", name, line)
				}
			})
		}
	}
}

// A flood of one kind does not hide the others.
func TestLogKinds(t *testing.T) {
	var log bytes.Buffer
	m := newSessions(t, memory.New(memory.Config{}))
	down := newSessions(t, failing{memory.New(memory.Config{})})
	cfg := csrf.Config{Sessions: m, BodyLimit: 20, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	h := m.Handler(newProtection(t, cfg).Handler(http.NotFoundHandler()))
	cfg.Sessions = down
	downed := down.Handler(newProtection(t, cfg).Handler(http.NotFoundHandler()))
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	token := strings.Repeat("A", 86)
	for _, tt := range []struct {
		want string
		h    http.Handler
		r    func() *http.Request
	}{
		{csrf.ErrCrossOrigin.Error(), h, func() *http.Request { return request("POST", "/", nil, http.Header{"Sec-Fetch-Site": {"cross-site"}}) }},
		{csrf.ErrNoToken.Error(), h, func() *http.Request { return request("POST", "/", nil, nil) }},
		{csrf.ErrBadToken.Error(), h, func() *http.Request { return request("POST", "/", nil, http.Header{"X-Csrf-Token": {token}}) }},
		{csrf.ErrTooLarge.Error(), h, func() *http.Request { return request("POST", "/", strings.NewReader(strings.Repeat("a", 21)), form) }},
		{csrf.ErrMalformed.Error(), h, func() *http.Request { return request("POST", "/", strings.NewReader("csrf_token=%"), form) }},
	} {
		log.Reset()
		for range 20 {
			tt.h.ServeHTTP(httptest.NewRecorder(), tt.r())
		}
		if n := strings.Count(log.String(), tt.want); n != 5 || strings.Count(log.String(), "\n") != 5 {
			t.Errorf("%s is %d times in the log, want 5:\n%s", tt.want, n, log.String())
		}
	}
	// That the store fails, the session tells the log.
	log.Reset()
	downed.ServeHTTP(httptest.NewRecorder(), request("POST", "/", nil, http.Header{"X-Csrf-Token": {token}, "Cookie": {"__Host-session=" + strings.Repeat("A", 43)}}))
	if log.Len() != 0 {
		t.Errorf("a store that fails: %s", log.String())
	}
}

func TestDeny(t *testing.T) {
	h := newProtection(t, csrf.Config{Deny: func(w http.ResponseWriter, r *http.Request, err error) {
		if errors.Is(err, csrf.ErrNoToken) {
			w.WriteHeader(http.StatusTeapot)
		}
	}}).Handler(http.NotFoundHandler())
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request("POST", "/", nil, nil))
	if w.Code != http.StatusTeapot {
		t.Errorf("status %d, want Deny's", w.Code)
	}
}

func TestReportOnly(t *testing.T) {
	var log bytes.Buffer
	m := newSessions(t, memory.New(memory.Config{}))
	p := newProtection(t, csrf.Config{
		ReportOnly: true, Sessions: m, BodyLimit: 8,
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if !strings.Contains(log.String(), "report only") {
		t.Errorf("New does not say so: %q", log.String())
	}
	h := m.Handler(p.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.PostFormValue("name"))
	})))
	for name, header := range map[string]http.Header{
		"cross-origin":   {"Sec-Fetch-Site": {"cross-site"}},
		"body too large": {},
	} {
		log.Reset()
		header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request("POST", "/", strings.NewReader("name=alexander"), header))
		if w.Code != 200 || w.Body.String() != "alexander" {
			t.Errorf("%s: %d %q", name, w.Code, w.Body)
		}
		if !strings.Contains(log.String(), "csrf: would be refused") || !strings.Contains(log.String(), name) {
			t.Errorf("%s: logged %q", name, log.String())
		}
	}
	if err := p.Check(request("POST", "/", nil, http.Header{"Sec-Fetch-Site": {"cross-site"}})); !errors.Is(err, csrf.ErrCrossOrigin) {
		t.Errorf("Check = %v, want ErrCrossOrigin also here", err)
	}
}

// failing is a store that is down.
type failing struct{ *memory.Store }

var errDown = errors.New("store is down")

func (failing) Load(context.Context, session.ID) (session.Record, error) {
	return session.Record{}, errDown
}

func TestStoreDown(t *testing.T) {
	store := memory.New(memory.Config{})
	up := newSite(t, newSessions(t, store), csrf.Config{})
	v := up.visitor()
	token := v.token()

	down := newSite(t, newSessions(t, failing{store}), csrf.Config{})
	v.site = down
	w := v.do(request("POST", "/", nil, http.Header{"X-Csrf-Token": {token}}))
	if w.Code != 503 || !errors.Is(down.denied, csrf.ErrUnavailable) || !errors.Is(down.denied, errDown) {
		t.Errorf("POST: %d, %v, want 503 and ErrUnavailable", w.Code, down.denied)
	}
	if w := v.do(request("GET", "/token", nil, nil)); w.Code != 503 {
		t.Errorf("ServeToken: %d, want 503", w.Code)
	}
	if w := v.do(request("GET", "/form", nil, nil)); w.Code != 503 || !strings.Contains(w.Body.String(), "csrf: session unavailable") {
		t.Errorf("Input: %d %q, want 503", w.Code, w.Body)
	}
	// What needs no session goes on.
	if w := v.do(request("POST", "/", nil, http.Header{"Sec-Fetch-Site": {"same-origin"}})); w.Code != 200 {
		t.Errorf("POST of the same origin: %d, want 200", w.Code)
	}

	// Without a Deny the session's own page answers.
	m := newSessions(t, failing{store})
	v.site = &site{t: t, handler: m.Handler(newProtection(t, csrf.Config{Sessions: m}).Handler(http.NotFoundHandler()))}
	if w := v.do(request("POST", "/", nil, http.Header{"X-Csrf-Token": {token}})); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("without Deny: %d %v", w.Code, w.Header())
	}
}

// A site is an application with forms.
type site struct {
	t       *testing.T
	handler http.Handler
	denied  error // the last one
}

func newSite(t *testing.T, m *session.Manager, cfg csrf.Config) *site {
	t.Helper()
	s := &site{t: t}
	cfg.Sessions = m
	cfg.Deny = func(w http.ResponseWriter, _ *http.Request, err error) {
		s.denied = err
		w.WriteHeader(csrf.Status(err))
	}
	p := newProtection(t, cfg)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /form", func(w http.ResponseWriter, r *http.Request) {
		input, err := p.Input(r)
		meta, err2 := p.Meta(r)
		if err := errors.Join(err, err2); err != nil {
			http.Error(w, err.Error(), csrf.Status(err))
			return
		}
		fmt.Fprint(w, input, "\n", meta)
	})
	mux.HandleFunc("GET /token", p.ServeToken)
	secret := func(w http.ResponseWriter, r *http.Request) {
		b, err := p.FormSecret(r, "test")
		if err != nil {
			http.Error(w, err.Error(), csrf.Status(err))
			return
		}
		fmt.Fprintf(w, "%x", b)
	}
	mux.HandleFunc("GET /secret", secret)
	mux.HandleFunc("POST /secret", secret)
	mux.Handle("POST /sign-in", m.With(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetOwner("alex") }))
	mux.Handle("POST /sign-out", m.With(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.Destroy() }))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, "body", http.StatusInternalServerError)
		}
		_, _ = w.Write(b)
	})
	s.handler = m.Handler(p.Handler(mux))
	return s
}

// A visitor is a browser that keeps its cookies.
type visitor struct {
	*site
	cookies []*http.Cookie
}

func (s *site) visitor() *visitor { return &visitor{site: s} }

func (v *visitor) do(r *http.Request) *httptest.ResponseRecorder {
	v.t.Helper()
	for _, c := range v.cookies {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	v.denied = nil
	v.handler.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		v.cookies = slices.DeleteFunc(v.cookies, func(old *http.Cookie) bool { return old.Name == c.Name })
		if c.MaxAge >= 0 {
			v.cookies = append(v.cookies, c)
		}
	}
	return w
}

// token opens the form in a new tab.
func (v *visitor) token() string {
	v.t.Helper()
	w := v.do(request("GET", "/form", nil, nil))
	_, rest, _ := strings.Cut(w.Body.String(), `<input type="hidden" name="csrf_token" value="`)
	token, _, ok := strings.Cut(rest, `">`)
	if !ok || len(token) != 86 {
		v.t.Fatalf("no token in %d %q", w.Code, w.Body)
	}
	return token
}

// post sends nothing but the token: what a browser would tell about the origin
// passes by itself.
func (v *visitor) post(target, token string) error {
	v.t.Helper()
	w := v.do(request("POST", target, nil, http.Header{"X-Csrf-Token": {token}}))
	if (w.Code == 200) != (v.denied == nil) {
		v.t.Fatalf("POST %s: %d, %v", target, w.Code, v.denied)
	}
	return v.denied
}
