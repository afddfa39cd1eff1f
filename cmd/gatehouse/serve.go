package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/internal/clientaddr"
	"github.com/seed-64ad3862/gatehouse/internal/logtext"
	"github.com/seed-64ad3862/gatehouse/password"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/signin"
	"github.com/seed-64ad3862/gatehouse/throttle"
)

type serveCmd struct {
	settings
}

// Help is what `gatehouse serve --help` says besides.
func (serveCmd) Help() string {
	return "Without settings it keeps people and sessions in gatehouse.db, in this folder, and " +
		"listens on http://localhost:9000. At the first start it prints a link that makes the " +
		"first administrator. Every setting can also be a line of gatehouse.toml, such as " +
		"captcha = \"adaptive\", or a variable of the environment, such as GATEHOUSE_CAPTCHA."
}

// Run serves until the context ends.
func (c *serveCmd) Run(ctx context.Context, std streams) error {
	logger := c.logger(std.err)
	s := &server{settings: c.settings, log: logger, notes: std.err}
	defer s.close()
	return s.run(ctx)
}

// formatJSON is the value of --log-format for programs.
const formatJSON = "json"

func (c *settings) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel)) // one of four
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: replaceAttr}
	if c.LogFormat == formatJSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// replaceAttr keeps out of the log, whatever package logs, the tokens of links and
// texts of any length.
func replaceAttr(groups []string, a slog.Attr) slog.Attr {
	if a.Key == "path" && a.Value.Kind() == slog.KindString {
		a.Value = slog.StringValue(publicPath(a.Value.String()))
	}
	return logtext.ReplaceAttr(groups, a)
}

// A server is one that is being put together, or under way.
type server struct {
	settings
	log     *slog.Logger
	notes   io.Writer
	closing sync.Mutex
	closers []func()

	stores    *stores
	sessions  *session.Manager
	pages     *signin.Pages
	metrics   *metrics
	readiness readiness
	machines  *machines
	certify   func(context.Context) // gets certificates; nil where they are not by ACME

	// What was prepared before the stores are there.
	send           func(context.Context, signin.Mail) error // nil: no mail
	views, statics fs.FS                                    // nil: none
}

// onClose has f called when the server ends, after those that come later.
func (s *server) onClose(f func()) {
	s.closing.Lock()
	defer s.closing.Unlock()
	s.closers = append(s.closers, f)
}

func (s *server) close() {
	s.closing.Lock()
	defer s.closing.Unlock()
	for _, v := range slices.Backward(s.closers) {
		v()
	}
	s.closers = nil
}

func (s *server) run(ctx context.Context) error {
	proxies, err := s.check(ctx)
	if err != nil {
		return err
	}
	certificates, err := s.tls(ctx)
	if err != nil {
		return err
	}
	l, err := listen(ctx, s.Listen, s.private(certificates != nil, proxies))
	if err != nil {
		return err
	}
	s.onClose(l.close)
	if certificates != nil {
		l.secure(certificates)
	}
	if s.PublicURL == "" {
		s.PublicURL = s.urlOf(l)
	}
	if err := s.prepare(); err != nil {
		return err
	}
	s.metrics = newMetrics()
	if err := s.operator(ctx); err != nil {
		return err
	}
	// Browsers are answered from here on, if only that the server starts.
	parent := ctx
	ctx, stop := context.WithCancel(parent)
	defer stop()
	front := &front{insecure: s.insecure()}
	served := make(chan error, 1)
	go func() {
		defer stop()
		served <- serve(ctx, front, l, s.log)
	}()
	setup, err := s.begin(ctx, l, proxies)
	if err != nil {
		stop()
		switch failed := <-served; {
		case failed != nil:
			return failed
		case parent.Err() != nil: // it was told to end before it had begun
			return nil
		}
		return err
	}
	front.set(s.handler(proxies))
	s.readiness.begins(s.checksOf(s.stores))
	s.greet(ctx, l, setup)
	// What goes on beside requests ends before the stores do.
	background, stopBackground := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { s.look(background) })
	running.Go(func() { s.machines.stay(background) })
	if s.certify != nil {
		go s.certify(background) // which ends with the program, whatever the authority does
	}
	defer running.Wait()
	defer stopBackground()
	defer s.pages.Wait()
	return <-served
}

// private reports whether others may reach the listener itself: nothing goes to them in
// the clear, or somebody wants it so. Behind a proxy that has TLS, they reach the proxy
// by https and not us.
func (s *settings) private(secure bool, proxies clientaddr.Trusted) bool {
	return s.InsecureHTTP || secure || len(proxies) > 0 && strings.HasPrefix(s.PublicURL, "https://")
}

// urlOf is where browsers find what listens there, if nobody says otherwise.
func (s *server) urlOf(l *listeners) string {
	if len(s.ACMEHost) > 0 {
		return l.urlFor(s.ACMEHost[0]) // for which the certificate is
	}
	return l.url()
}

// check refuses values that a server cannot go by, and returns whose X-Forwarded-For
// is believed.
func (s *settings) check(ctx context.Context) (clientaddr.Trusted, error) {
	for _, one := range []struct {
		name string
		d    time.Duration
	}{{"idle", s.Idle}, {"absolute", s.Absolute}, {"audit-retention", s.AuditRetention}} {
		if one.d <= 0 {
			return nil, usageError{fmt.Errorf("--%s %v: give a time such as 30m or 24h", one.name, one.d)}
		}
	}
	if s.Idle > s.Absolute {
		return nil, usageError{fmt.Errorf("--idle %v is longer than --absolute %v, and so would never count", s.Idle, s.Absolute)}
	}
	if s.PasswordLength < password.MinLength || s.PasswordLength > longestMinimum {
		return nil, usageError{fmt.Errorf("--password-length %d is not from %d to %d", s.PasswordLength, password.MinLength, longestMinimum)}
	}
	proxies, err := clientaddr.Parse(s.TrustedProxy)
	if err != nil {
		return nil, usageError{fmt.Errorf("--trusted-proxy: %w", err)}
	}
	if s.Metrics != noMetrics {
		if _, _, err := hostPort(ctx, "metrics", s.Metrics); err != nil {
			return nil, err
		}
	}
	for _, check := range []func() error{s.checkAlone, s.checkStores, s.checkPublicURL} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return proxies, nil
}

// checkAlone refuses settings that mean nothing without another one: whoever gives them
// expects something of them.
func (s *settings) checkAlone() error {
	for _, one := range []struct {
		given        bool
		name, other  string
		otherIsGiven bool
	}{
		{s.DatabasePasswordFile != "", "database-password-file", "a --database of PostgreSQL", isPostgres(s.Database)},
		{s.DatabaseSize != 0, "database-size", "a --database that is a file of SQLite", !isPostgres(s.Database)},
		{s.SessionsPasswordFile != "", "sessions-password-file", "--sessions", s.Sessions != ""},
		{s.SMTPPasswordFile != "", "smtp-password-file", "--smtp", s.SMTP != ""},
		{s.MailFrom != "", "mail-from", "--smtp", s.SMTP != ""},
		{s.ACMEEmail != "", "acme-email", "--acme-host", len(s.ACMEHost) > 0},
		{s.ACMERoot != "", "acme-root", "--acme-host", len(s.ACMEHost) > 0},
	} {
		if one.given && !one.otherIsGiven {
			return usageError{fmt.Errorf("--%s means nothing without %s", one.name, one.other)}
		}
	}
	return nil
}

// longestMinimum is how long passwords can have to be: more keeps people from having one.
const longestMinimum = 64

// checkPublicURL says in words of settings what package signin would refuse.
func (s *settings) checkPublicURL() error {
	if s.PublicURL == "" {
		return nil
	}
	u, err := url.Parse(s.PublicURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return usageError{fmt.Errorf("--public-url %q is not like https://app.example", s.PublicURL)}
	}
	ip, err := netip.ParseAddr(u.Hostname())
	if u.Scheme == "http" && !s.InsecureHTTP && u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback()) {
		return usageError{fmt.Errorf("--public-url %s: anybody on the way can read passwords in plain HTTP; give https://…, or add --insecure-http to do it all the same", s.PublicURL)}
	}
	return nil
}

// throttleSecret is the purpose of the key by which machines name buckets.
const throttleSecret = "throttle"

// prepare makes what needs no store, so that a mistake there is told at once.
func (s *server) prepare() (err error) {
	if s.send, err = s.mail(); err != nil {
		return err
	}
	if s.views, err = folder(s.Views); err != nil {
		return fmt.Errorf("--views: %w", err)
	}
	if s.statics, err = folder(s.Static); err != nil {
		return fmt.Errorf("--static: %w", err)
	}
	return nil
}

// insecure reports whether browsers come by plain HTTP.
func (s *server) insecure() bool { return strings.HasPrefix(s.PublicURL, "http://") }

// build makes the sessions and the pages.
func (s *server) build(ctx context.Context, proxies clientaddr.Trusted) error {
	people, err := account.New(account.Config{Store: s.stores.people, Logger: s.log})
	if err != nil {
		return err
	}
	anonymous, err := people.Secret(ctx, "anonymous sessions")
	if err != nil {
		return err
	}
	s.sessions, err = session.New(session.Config{
		Store: s.stores.sessions, Insecure: s.insecure(), Idle: s.Idle, Absolute: s.Absolute,
		Keys:    [][]byte{anonymous}, // those who only look at a page are not stored
		Error:   func(w http.ResponseWriter, r *http.Request, err error) { s.pages.Error(w, r, err) },
		Observe: s.metrics.session, Logger: s.log,
	})
	if err != nil {
		return err
	}
	key, err := people.Secret(ctx, throttleSecret)
	if err != nil {
		return err
	}
	budgets, err := throttle.New(throttle.Config{Store: s.stores.throttle, Key: key, Logger: s.log})
	if err != nil {
		return err
	}
	cfg := signin.Config{
		Sessions: s.sessions, People: people, Log: s.stores.log, PublicURL: s.PublicURL, Insecure: s.InsecureHTTP,
		Site: s.Site, Home: s.Home, Policy: password.Policy{Length: s.PasswordLength}, Throttle: budgets,
		RequireSecondFactor: s.SecondFactor == "required", Captcha: signin.Captcha(s.Captcha), Once: s.stores.once, Addr: proxies.Of, Mail: s.send,
		Views: s.views, Statics: s.statics, Observe: s.metrics.account, Logger: s.log,
	}
	if s.pages, err = signin.New(ctx, cfg); err != nil {
		return err
	}
	return (&announced{s.PublicURL, s.Site, s.PasswordLength}).announce(ctx, s.stores.people)
}

// handler is all that browsers reach.
func (s *server) handler(proxies clientaddr.Trusted) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", s.sessions.Handler(s.pages))
	// Nothing here is for those who search the web.
	mux.HandleFunc("GET /robots.txt", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "User-agent: *\nDisallow: /\n")
	})
	return s.watch(mux, proxies)
}

// setupURL returns a link that makes the first administrator, or nothing if there is one.
func (s *server) setupURL(ctx context.Context) (string, error) {
	link, err := s.pages.SetupURL(ctx)
	if errors.Is(err, account.ErrSetUp) {
		return "", nil
	}
	return link, err
}

// greet says where the site is, and how to begin.
func (s *server) greet(ctx context.Context, l *listeners, setup string) {
	if !l.loopback && l.tls == nil && s.insecure() {
		s.note("Warning: this is plain HTTP, and not only for this machine. Whoever is on the way can read passwords.\n\n",
			"this is plain HTTP, and not only for this machine: whoever is on the way can read passwords")
	}
	for _, socket := range l.sockets {
		s.log.DebugContext(ctx, "listening", "address", socket.Addr().String())
	}
	s.note(fmt.Sprintf("The site is at %s (Ctrl-C ends it).\n", s.PublicURL), "the site is served", "url", s.PublicURL)
	if setup != "" {
		s.note(fmt.Sprintf("\nThere is no administrator yet. This link makes one, within an hour:\n\n  %s\n\n", setup),
			"there is no administrator yet: this link makes one, within an hour", "url", setup)
	}
}

// note says what people have to know, whatever the level of the log: as text, or as a
// line like those of the log for programs that read nothing else.
func (s *server) note(text, message string, args ...any) {
	if s.LogFormat == formatJSON {
		slog.New(slog.NewJSONHandler(s.notes, nil)).Info(message, args...)
		return
	}
	_, _ = io.WriteString(s.notes, text)
}

// look does what has to be done now and then: the log is trimmed, sessions that are
// over are removed, and how many there are is noted.
func (s *server) look(ctx context.Context) {
	const often, seldom = 10 * time.Minute, 24 * time.Hour
	var trimmed time.Time
	for tick := time.NewTicker(often); ; {
		if err := s.pages.Sample(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "sessions could not be counted", "error", err)
		}
		if _, err := s.sessions.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "sessions that are over could not be removed", "error", err)
		}
		if time.Since(trimmed) > seldom {
			n, err := s.stores.log.Trim(ctx, time.Now().Add(-s.AuditRetention))
			if err == nil {
				trimmed = time.Now()
			} else if ctx.Err() == nil {
				s.log.WarnContext(ctx, "the log could not be trimmed", "error", err)
			}
			if n > 0 {
				s.log.InfoContext(ctx, "the log was trimmed", "entries", n)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			return
		}
	}
}
