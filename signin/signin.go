package signin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/captcha/form"
	"github.com/seed-64ad3862/gatehouse/csrf"
	"github.com/seed-64ad3862/gatehouse/internal/headers"
	"github.com/seed-64ad3862/gatehouse/internal/logtext"
	"github.com/seed-64ad3862/gatehouse/internal/outage"
	"github.com/seed-64ad3862/gatehouse/internal/static"
	"github.com/seed-64ad3862/gatehouse/passkey"
	"github.com/seed-64ad3862/gatehouse/password"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/throttle"
)

// Captcha says when a captcha is asked for.
type Captcha string

// When a captcha is asked for.
const (
	// Always: each attempt to sign in needs a picture or a sound.
	Always Captcha = "always"
	// Adaptive: the visitor's machine works, unseen, and the picture is for those
	// whose account or network has failed of late.
	Adaptive Captcha = "adaptive"
	// Off: never. The budgets of package throttle are all there is.
	Off Captcha = "off"
)

// A Mail is a message to one person.
type Mail struct{ To, Subject, Text string }

// Config configures [New]. Sessions, People and PublicURL are required.
type Config struct {
	// Sessions gives requests their sessions. The pages must be inside its
	// Handler. [Pages.Error] is the answer for when its store fails.
	Sessions *session.Manager

	// People may sign in.
	People *account.Directory

	// Log keeps what happens; nowhere if nil.
	Log account.Log

	// PublicURL is where browsers find the site, without the prefix:
	// "https://app.example". Plain HTTP is for localhost, and for Insecure.
	PublicURL string

	// Insecure allows a PublicURL of plain HTTP that is not localhost: cookies and
	// passwords then travel in the clear.
	Insecure bool

	// Prefix is the path below which the pages are, like "/auth"; none if empty.
	Prefix string

	// Site is what the pages call the site: "Gatehouse" if empty.
	Site string

	// Home is where a sign-in leads that has no other aim: a path, the page /index
	// if empty.
	Home string

	// Hasher computes passwords' hashes; one with the defaults if nil.
	Hasher *password.Hasher

	// Policy says which passwords can be chosen. The names of the site and of its
	// host are added.
	Policy password.Policy

	// Throttle bounds attempts; one with the defaults, in this process, if nil.
	Throttle *throttle.Throttle

	// Captcha is when one is asked for; [Always] if empty.
	Captcha Captcha

	// Once remembers the captchas that are spent: a table in this process if nil,
	// which is right for one process; and a restart ends those that are open.
	Once captcha.Once

	// RequireSecondFactor asks everybody for more than a password: whoever has
	// nothing else is led, after signing in, to where they add a passkey or an
	// authenticator app, and gets nowhere else before (ASVS 5.0, 6.3.3).
	RequireSecondFactor bool

	// StepUp is how long ago people have signed in, or confirmed, when something
	// that matters is asked for: ten minutes if zero.
	StepUp time.Duration

	// Addr is where a request comes from. If nil it is the connection's other end,
	// which is wrong behind a proxy.
	Addr func(*http.Request) netip.Addr

	// Mail, if not nil, sends a message. Then people can ask for links to recover
	// their account, and are told of changes of their factors.
	Mail func(ctx context.Context, m Mail) error

	// Views and Statics, if not nil, lie over the pages' own files, file by file.
	Views, Statics fs.FS

	// Observe, if not nil, is told of everything that the log is told of, for
	// metrics. It is called inline.
	Observe func(account.Kind)

	// Logger gets what goes wrong: [slog.Default] if nil. Lines that clients can
	// cause at any rate are cut and counted, as those of package csrf are.
	Logger *slog.Logger
}

// Pages are the handler. They may be used concurrently.
type Pages struct {
	cfg     Config
	origin  *url.URL // PublicURL
	home    string
	views   map[string]*language // by tag
	statics *static.Files
	form    *form.Form // nil: no captcha
	guard   *csrf.Protection
	known   []byte // the key of cookies that know a device

	formKey     []byte // of submissions
	submissions submissions
	landings    map[string]func(*visit) string

	keys     *passkey.Passkeys // nil: there are none
	module   string            // the address of their script
	scripts  http.Handler
	handler  http.Handler
	mux      *http.ServeMux // of the pages
	log      *slog.Logger
	insecure bool
	running  sync.WaitGroup // what is done beside answers

	// What clients can repeat at any rate is counted.
	throttled logtext.Repeats[account.Entry]
	refusals  logtext.Limiter

	logOutage, mailOutage outage.Outage
}

// Bounds.
const (
	maxBody     = 64 << 10 // of a request
	linkLife    = time.Hour
	setupLife   = time.Hour
	stepUp      = 10 * time.Minute
	pendingLife = 5 * time.Minute // from the password to the code
)

// New returns the pages, or says what is wrong with the Config. It asks the store
// for the secrets that machines share.
func New(ctx context.Context, cfg Config) (*Pages, error) {
	p, err := build(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("signin: %w", err)
	}
	return p, nil
}

func build(ctx context.Context, cfg Config) (*Pages, error) {
	p := &Pages{throttled: logtext.Repeats[account.Entry]{Burst: 1}}
	if err := p.configure(&cfg); err != nil {
		return nil, err
	}
	p.cfg, p.log = cfg, cfg.Logger
	if err := p.secrets(ctx); err != nil {
		return nil, err
	}
	var err error
	if p.guard, err = csrf.New(csrf.Config{
		Sessions: cfg.Sessions, Origins: []string{originOf(p.origin)}, RequireToken: true, BodyLimit: maxBody,
		Deny: p.deny, Logger: cfg.Logger,
	}); err != nil {
		return nil, err
	}
	if err := p.makePasskeys(); err != nil {
		return nil, err
	}
	if p.statics, err = static.New(cfg.Prefix+"/Statics/", overlay{cfg.Statics, sub(files, "static")}); err != nil {
		return nil, err
	}
	if p.views, err = p.parse(overlay{cfg.Views, sub(files, "views")}); err != nil {
		return nil, err
	}
	p.handler = p.routes()
	return p, nil
}

// makePasskeys makes them, but for a site that browsers would refuse them: one
// without a name, or of plain HTTP.
func (p *Pages) makePasskeys() (err error) {
	host := p.origin.Hostname()
	if _, err := netip.ParseAddr(host); err == nil || p.insecure && host != "localhost" && !strings.HasSuffix(host, ".localhost") {
		p.log.Info("signin: there are no passkeys at this public URL: they need a name, and https unless that is localhost", "url", p.cfg.PublicURL)
		return nil
	}
	if p.keys, err = passkey.New(passkey.Config{Origins: []string{originOf(p.origin)}, Name: p.cfg.Site}); err != nil {
		return err
	}
	p.scripts, p.module, err = passkey.Script(p.cfg.Prefix + "/passkey/")
	return err
}

// configure fills the defaults in.
func (p *Pages) configure(cfg *Config) error {
	switch {
	case cfg.Sessions == nil:
		return errors.New("Config.Sessions is missing")
	case cfg.People == nil:
		return errors.New("Config.People is missing")
	case cfg.Prefix != "" && (cfg.Prefix[0] != '/' || path.Clean(cfg.Prefix) != cfg.Prefix || cfg.Prefix == "/" || strings.ContainsAny(cfg.Prefix, "{}?#%\"' ")):
		return fmt.Errorf("prefix %q is no plain path that begins with a slash and ends without one", cfg.Prefix)
	case cfg.StepUp < 0:
		return fmt.Errorf("step-up after %v", cfg.StepUp)
	}
	u, err := url.Parse(cfg.PublicURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("public URL %q is not like https://app.example", cfg.PublicURL)
	}
	p.origin = &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}
	p.insecure = u.Scheme == "http"
	if p.insecure && !cfg.Insecure && !loopback(u.Hostname()) {
		return fmt.Errorf("public URL %q is plain HTTP, by which everybody on the way reads passwords; Config.Insecure allows it", cfg.PublicURL)
	}
	switch cfg.Captcha {
	case "":
		cfg.Captcha = Always
	case Always, Adaptive, Off:
	default:
		return fmt.Errorf("captcha %q is not one of %s, %s and %s", cfg.Captcha, Always, Adaptive, Off)
	}
	if cfg.Site == "" {
		cfg.Site = "Gatehouse"
	}
	p.home = cfg.Prefix + "/index"
	if cfg.Home != "" {
		home, ok := localPath(cfg.Home)
		if !ok {
			return fmt.Errorf("home %q is not a path", cfg.Home)
		}
		p.home = home
	}
	if cfg.StepUp == 0 {
		cfg.StepUp = stepUp
	}
	if cfg.Addr == nil {
		cfg.Addr = remoteAddr
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Hasher == nil {
		if cfg.Hasher, err = password.New(password.Config{}); err != nil {
			return err
		}
	}
	cfg.Policy.Names = append([]string{cfg.Site, u.Hostname()}, cfg.Policy.Names...)
	return nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && ip.IsLoopback()
}

func originOf(u *url.URL) string { return u.Scheme + "://" + u.Host }

// secrets gets the keys that all machines have in common, and makes what needs
// them.
func (p *Pages) secrets(ctx context.Context) (err error) {
	if p.known, err = p.cfg.People.Secret(ctx, "known devices"); err != nil {
		return err
	}
	if p.formKey, err = p.cfg.People.Secret(ctx, "forms"); err != nil {
		return err
	}
	p.submissions, p.landings = newSubmissions(p.cfg.Once), p.findLandings()
	if p.cfg.Throttle == nil {
		if p.cfg.Throttle, err = throttle.New(throttle.Config{Logger: p.cfg.Logger}); err != nil {
			return err
		}
	}
	if p.cfg.Captcha == Off {
		return nil
	}
	captchas := form.Config{Prefix: p.cfg.Prefix + "/check_code/", Once: newClaimFirst(p.cfg.Once)}
	if p.cfg.Once != nil {
		// Without a Once that outlives the process, neither may its challenges.
		secret, err := p.cfg.People.Secret(ctx, "captcha")
		if err != nil {
			return err
		}
		captchas.Keys = [][]byte{secret}
	}
	p.form, err = form.New(captchas)
	return err
}

func remoteAddr(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return ip.Unmap().WithZone("")
}

// ServeHTTP serves the pages. It must be inside the Handler of [Config.Sessions].
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	headers.Set(w.Header(), p.insecure)
	if r.Body != nil {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	}
	p.handler.ServeHTTP(w, r)
}

// routes brings the pages together.
func (p *Pages) routes() http.Handler {
	mux := http.NewServeMux()
	at := p.cfg.Prefix
	page := func(pattern string, f func(*visit) error, allow ...func(*visit) error) {
		method, path, _ := strings.Cut(pattern, " ")
		mux.Handle(method+" "+at+path, p.page(f, allow...))
	}
	if p.keys != nil {
		mux.Handle("GET "+at+"/passkey/", p.scripts)
		page("POST /login/passkey/options", (*visit).loginOptions)
		page("POST /login/passkey", (*visit).loginPasskey)
		page("POST /confirm/passkey/options", (*visit).confirmOptions, (*visit).present)
		page("POST /confirm/passkey", (*visit).confirmPasskey, (*visit).present)
		page("POST /manager/passkeys/options", (*visit).passkeyOptions, (*visit).enrolling, (*visit).recently)
		page("POST /manager/passkeys", (*visit).addPasskey, (*visit).enrolling, (*visit).recently)
		page("POST /manager/passkeys/change", (*visit).changePasskey, (*visit).signedIn, (*visit).recently)
	}
	page("GET /{$}", (*visit).root)
	page("GET /index", (*visit).index)
	page("GET /login", (*visit).loginPage)
	page("POST /login", (*visit).login)
	page("GET /login/code", (*visit).codePage)
	page("POST /login/code", (*visit).code)
	page("POST /logout", (*visit).logout)
	page("GET /setup/{token}", (*visit).setupPage)
	page("POST /setup/{token}", (*visit).setup)
	page("GET /recover", (*visit).forgotPage)
	page("POST /recover", (*visit).forgot)
	page("GET /recover/{token}", (*visit).recoverPage)
	page("POST /recover/{token}", (*visit).recover)

	page("GET /confirm", (*visit).confirmPage, (*visit).present)
	page("POST /confirm", (*visit).confirm, (*visit).present)
	page("GET /second", (*visit).secondPage, (*visit).present)
	page("GET /manager", (*visit).manager, (*visit).signedIn)
	page("POST /manager/end", (*visit).end, (*visit).signedIn)
	page("POST /manager/end-others", (*visit).endOthers, (*visit).signedIn)
	page("POST /manager/profile", (*visit).profile, (*visit).signedIn, (*visit).recently)
	page("GET /manager/profile", (*visit).profilePage, (*visit).signedIn, (*visit).recently)
	page("GET /manager/password", (*visit).passwordPage, (*visit).signedIn)
	page("POST /manager/password", (*visit).password, (*visit).signedIn)
	page("GET /manager/authenticator", (*visit).authenticatorPage, (*visit).enrolling, (*visit).recently)
	page("POST /manager/authenticator", (*visit).authenticator, (*visit).enrolling, (*visit).recently)
	page("POST /manager/authenticator/remove", (*visit).removeAuthenticator, (*visit).signedIn, (*visit).recently)
	page("POST /manager/codes", (*visit).codes, (*visit).signedIn, (*visit).recently)

	page("GET /manager/people", (*visit).people, (*visit).admin)
	page("GET /manager/people/new", (*visit).newPersonPage, (*visit).admin, (*visit).recently)
	page("POST /manager/people/new", (*visit).newPerson, (*visit).admin, (*visit).recently)
	page("GET /manager/people/{id}", (*visit).personPage, (*visit).admin)
	page("POST /manager/people/{id}", (*visit).person, (*visit).admin, (*visit).recently)
	page("POST /manager/people/{id}/{action}", (*visit).personAction, (*visit).admin, (*visit).recently)
	page("GET /manager/sessions", (*visit).sessions, (*visit).admin)
	page("POST /manager/sessions/end", (*visit).endAny, (*visit).admin, (*visit).recently)
	page("GET /manager/log", (*visit).logPage, (*visit).admin)
	mux.Handle("/", p.page((*visit).missing))
	p.mux = mux

	// What changes nothing of anybody's needs no token, and the captcha's script,
	// which knows nothing of sessions, has none.
	open := http.NewServeMux()
	open.Handle("GET "+at+"/Statics/", p.statics)
	if p.form != nil {
		open.Handle(at+"/check_code/", p.form)
	}
	open.Handle("/", p.guard.Handler(mux))
	return open
}

// SetupURL returns the address of a link that makes the first administrator, good
// for an hour; or [account.ErrSetUp] if there is one.
func (p *Pages) SetupURL(ctx context.Context) (string, error) {
	token, err := p.cfg.People.NewSetup(ctx, setupLife)
	if err != nil {
		return "", err
	}
	return p.absolute("/setup/" + token), nil
}

// RecoveryURL returns the address of a link by which the person chooses another
// password, good for an hour.
func (p *Pages) RecoveryURL(ctx context.Context, id string) (string, error) {
	token, err := p.cfg.People.NewLink(ctx, id, account.Recovery, linkLife)
	if err != nil {
		return "", err
	}
	return p.absolute("/recover/" + token), nil
}

// absolute returns the address of a page for somebody who is not on one.
func (p *Pages) absolute(path string) string { return originOf(p.origin) + p.cfg.Prefix + path }

// personKey is that of the person in a context.
type personKey struct{}

// PersonFrom returns who is signed in, inside [Pages.Require]: without what is secret
// or signs them in, so that it does no harm wherever it is shown.
func PersonFrom(ctx context.Context) (account.Person, bool) {
	me, ok := ctx.Value(personKey{}).(account.Person)
	return me, ok
}

// Require returns a handler that answers people who are signed in, with a second factor
// if [Config.RequireSecondFactor] says so, with next, and
// leads others to the sign-in page; those who ask for no page get 401. It must be
// inside the Handler of [Config.Sessions]. Who is signed in is [PersonFrom].
func (p *Pages) Require(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := p.visit(w, r)
		if err == nil {
			err = v.load()
		}
		switch {
		case err != nil:
			p.fail(w, r, err)
		case v.me != nil && v.admitted():
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), personKey{}, shown(v.me))))
		case navigates(r) && v.me != nil:
			http.Redirect(w, r, p.cfg.Prefix+"/second?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
		case navigates(r):
			http.Redirect(w, r, p.cfg.Prefix+"/login?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
		default:
			headers.Set(w.Header(), p.insecure)
			http.Error(w, "Sign in first.", http.StatusUnauthorized)
		}
	})
}

// shown is the person without hashes, secrets, codes, links and credentials.
func shown(p *account.Person) account.Person {
	return account.Person{
		ID: p.ID, Name: p.Name, DisplayName: p.DisplayName, Email: p.Email, Groups: p.Groups, Admin: p.Admin, First: p.First, Created: p.Created,
	}
}

// navigates reports whether the request is for a page that somebody is to see.
func navigates(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}
