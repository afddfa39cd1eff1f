package csrf

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"strconv"

	"github.com/seed-64ad3862/gatehouse/internal/logtext"
	"github.com/seed-64ad3862/gatehouse/session"
)

// The errors of [Protection.Check]. They come wrapped with the reason, which is
// for the log: a client learns nothing but the [Status].
var (
	// ErrCrossOrigin says that the request comes from another origin, or that
	// it does not say clearly where from.
	ErrCrossOrigin = errors.New("csrf: cross-origin request")
	// ErrNoToken says that a token is needed and there is none.
	ErrNoToken = errors.New("csrf: no token")
	// ErrBadToken says that the token is not one of the session's, or that
	// there is no session. Often it is a form from before a sign-in.
	ErrBadToken = errors.New("csrf: bad token")
	// ErrTooLarge says that the token was not found within [Config.BodyLimit].
	ErrTooLarge = errors.New("csrf: body too large to look for a token")
	// ErrMalformed says that the body is not the form it says it is, or that
	// it broke off.
	ErrMalformed = errors.New("csrf: malformed form")
	// ErrUnavailable says that the session could not be loaded, so that
	// nothing is known about the token.
	ErrUnavailable = errors.New("csrf: session unavailable")
)

// Status returns the status that answers an error of [Protection.Check]: 400
// for [ErrMalformed], 413 for [ErrTooLarge], 503 for [ErrUnavailable] and 403
// for all others.
func Status(err error) int {
	switch {
	case errors.Is(err, ErrMalformed):
		return http.StatusBadRequest
	case errors.Is(err, ErrTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, ErrUnavailable):
		return http.StatusServiceUnavailable
	default:
		return http.StatusForbidden
	}
}

// Config configures a [Protection]. Each zero value is the secure one.
type Config struct {
	// Origins are where visitors find the application, in the form that
	// browsers show: "https://app.example", "http://localhost:9000". They are
	// what Origin and Referer are compared with where there is no
	// Sec-Fetch-Site. Where there is, they do not trust each other.
	Origins []string

	// TrustedOrigins are other origins whose pages may send requests in the
	// visitor's name, and so do there whatever they can do here. Scheme, host
	// and port must all match: trusting a host by name would trust whoever
	// answers for it over plain HTTP (CVE-2025-47909).
	TrustedOrigins []string

	// Sessions gives tokens their secret. If nil there are no tokens, and
	// requests that would need one are refused.
	Sessions *session.Manager

	// RequireToken asks for a token on every request that may change
	// something, also where its headers are right: a second lock, should a
	// browser or a proxy get them wrong. Trusted origins then need one too.
	RequireToken bool

	// Field is the form's field for the token, "csrf_token" if empty.
	Field string

	// BodyLimit is how many bytes are read at most in search of the field,
	// 1 MiB if zero.
	BodyLimit int64

	// HeaderOnly are patterns as for [http.ServeMux] of requests whose body
	// is not searched for a token.
	HeaderOnly []string

	// Exempt are patterns as for [http.ServeMux] of requests that pass
	// whatever they are. Only those count that match directly and whose path
	// is clean, without "..", "." and empty segments, escaped ones included.
	// New lists the patterns in the log.
	Exempt []string

	// ReportOnly lets everything through and logs what would have been
	// refused, to find out before it hurts.
	ReportOnly bool

	// Deny answers what is refused, and has the error to choose the answer
	// by. If nil the client sees the [Status] and its text; [ErrUnavailable]
	// is then answered by [session.Manager.Error].
	Deny func(w http.ResponseWriter, r *http.Request, err error)

	// Logger gets the reason for a refusal, with method, host and path, at
	// level Warn: see "The log" in the package documentation. [slog.Default]
	// if nil.
	Logger *slog.Logger
}

// A Protection decides which requests pass. It may be used concurrently.
type Protection struct {
	cfg        Config
	origins    map[string]sender
	exempt     patterns
	headerOnly patterns
	refusals   logtext.Limiter
}

// New returns a Protection, or says what is wrong with the Config.
func New(cfg Config) (*Protection, error) {
	p := &Protection{origins: make(map[string]sender)}
	for _, s := range cfg.Origins {
		origin, err := parseOrigin(s)
		if err != nil {
			return nil, fmt.Errorf("csrf: Config.Origins: %q: %w", s, err)
		}
		p.origins[origin] = ours
	}
	for _, s := range cfg.TrustedOrigins {
		origin, err := parseOrigin(s)
		if err != nil {
			return nil, fmt.Errorf("csrf: Config.TrustedOrigins: %q: %w", s, err)
		}
		p.origins[origin] = trusted
	}
	if cfg.RequireToken && cfg.Sessions == nil {
		return nil, errors.New("csrf: Config.RequireToken needs Config.Sessions")
	}
	if cfg.Field == "" {
		cfg.Field = "csrf_token"
	}
	if cfg.BodyLimit < 0 {
		return nil, fmt.Errorf("csrf: Config.BodyLimit is negative: %d", cfg.BodyLimit)
	}
	if cfg.BodyLimit == 0 {
		cfg.BodyLimit = 1 << 20
	}
	var err error
	if p.headerOnly, err = newPatterns(cfg.HeaderOnly); err != nil {
		return nil, fmt.Errorf("csrf: Config.HeaderOnly: %w", err)
	}
	if p.exempt, err = newPatterns(cfg.Exempt); err != nil {
		return nil, fmt.Errorf("csrf: Config.Exempt: %w", err)
	}
	if cfg.Deny == nil {
		cfg.Deny = p.deny
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	for _, pattern := range cfg.Exempt {
		cfg.Logger.Info("csrf: exempt", "pattern", pattern)
	}
	if cfg.ReportOnly {
		cfg.Logger.Warn("csrf: report only, nothing is refused")
	}
	p.cfg = cfg
	return p, nil
}

// Check returns nil if the request may pass, and otherwise why it may not. It
// neither answers nor logs, and [Config.ReportOnly] does not change it.
//
// Check reads from the body only where it needs the token and no header has it,
// and then replaces r.Body by one that gives all of it again. It panics where a
// token has to be checked outside of [session.Manager.Handler].
func (p *Protection) Check(r *http.Request) error {
	_, err := p.check(r)
	return err
}

// check is Check. It returns what the request's token is made of if that is
// another tab's.
func (p *Protection) check(r *http.Request) (otherTab *[secretLen]byte, err error) {
	upgrade := isUpgrade(r)
	if isSafe(r.Method) && !upgrade {
		return nil, nil
	}
	from, err := p.checkOrigin(r.Header, upgrade)
	if from != unknown && !p.cfg.RequireToken {
		return nil, nil
	}
	if p.exempt.match(r) {
		return nil, nil
	}
	if err != nil || upgrade { // a page cannot add a token to a handshake
		return nil, err
	}
	return p.checkToken(r, from)
}

// isSafe reports whether the method must not change anything (RFC 9110 section
// 9.2.1). TRACE counts as unsafe: no page sends it.
func isSafe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// Handler returns the middleware: what [Protection.Check] refuses is logged, and
// answered by [Config.Deny] instead of next.
func (p *Protection) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		otherTab, err := p.check(r)
		if err == nil {
			p.refusals.Flush(r.Context(), p.cfg.Logger)
			if otherTab != nil {
				r = r.WithContext(context.WithValue(r.Context(), formSecretKey{p}, otherTab))
			}
		} else {
			if !errors.Is(err, ErrUnavailable) { // which the session tells the log, once
				p.log(r, err)
			}
			if !p.cfg.ReportOnly {
				p.cfg.Deny(w, r, err)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// FlushLog logs how many refusals have been counted and not logged yet. The
// [Protection.Handler] does so with its next request once they are a minute old.
// Call FlushLog when the program ends.
func (p *Protection) FlushLog(ctx context.Context) { p.refusals.Close(ctx, p.cfg.Logger) }

// The bounds in the log of what a client chooses, in bytes as they are written.
const (
	maxMethod = 40
	maxHost   = 128
	maxPath   = 256
	maxOrigin = 128
	maxError  = 512
)

// log leaves the query out: it may hold secrets, a misplaced token among them.
func (p *Protection) log(r *http.Request, err error) {
	message := "csrf: refused"
	if p.cfg.ReportOnly {
		message = "csrf: would be refused"
	}
	kind := "other"
	for _, known := range []error{ErrCrossOrigin, ErrNoToken, ErrBadToken, ErrTooLarge, ErrMalformed, ErrUnavailable} {
		if errors.Is(err, known) {
			kind = known.Error()
			break
		}
	}
	p.refusals.Log(r.Context(), p.cfg.Logger, slog.LevelWarn, kind, message,
		slog.String("method", logtext.Cut(r.Method, maxMethod)),
		slog.String("host", logtext.Cut(r.Host, maxHost)),
		slog.String("path", logtext.Cut(r.URL.Path, maxPath)),
		slog.String("error", logtext.Cut(err.Error(), maxError)))
}

func (p *Protection) deny(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, ErrUnavailable) {
		p.cfg.Sessions.Error(w, r, err)
		return
	}
	code := Status(err)
	http.Error(w, strconv.Itoa(code)+" "+http.StatusText(code), code)
}

// patterns matches requests as [http.ServeMux] does.
type patterns struct{ mux *http.ServeMux }

type matched struct{}

func (matched) ServeHTTP(http.ResponseWriter, *http.Request) {}

func newPatterns(list []string) (ps patterns, err error) {
	if len(list) == 0 {
		return patterns{}, nil
	}
	defer func() {
		// How ServeMux says that a pattern is malformed or a duplicate.
		if problem := recover(); problem != nil {
			err = fmt.Errorf("%v", problem)
		}
	}()
	ps.mux = http.NewServeMux()
	for _, pattern := range list {
		ps.mux.Handle(pattern, matched{})
	}
	return ps, nil
}

func (ps patterns) match(r *http.Request) bool {
	if ps.mux == nil {
		return false
	}
	// ServeMux matches the path as it is escaped, so that /open/%2e%2e/closed
	// is under /open/, and that of a CONNECT as it is. What routes the request
	// later may unescape and clean it first.
	if clean := path.Clean(r.URL.Path); clean != r.URL.Path && clean+"/" != r.URL.Path {
		return false
	}
	h, _ := ps.mux.Handler(r)
	_, ok := h.(matched)
	return ok
}
