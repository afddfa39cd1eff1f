package signin

import (
	"bytes"
	"context"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/csrf"
	"github.com/seed-64ad3862/gatehouse/internal/clock"
	"github.com/seed-64ad3862/gatehouse/internal/headers"
	"github.com/seed-64ad3862/gatehouse/password"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/throttle"
)

// A visit is one request for a page.
type visit struct {
	p    *Pages
	w    http.ResponseWriter
	r    *http.Request
	ctx  context.Context //nolint:containedctx // that of the request
	s    *session.Session
	lang *language
	me   *account.Person // nil: nobody is signed in

	client     context.Context //nolint:containedctx // of the client, where ctx outlives it; or nil
	submission *submission     // of a form that is handled once, or nil

	tried  *throttle.Attempt // what is counted of this visit, if anything is
	second bool              // a second factor was shown in it
	out    bool              // its session was ended by a sign-out
}

// What the pages keep in a session.
var (
	deviceKey    = session.NewKey[device]("signin.device")
	confirmedKey = session.NewKey[time.Time]("signin.confirmed")
	pendingKey   = session.NewKey[pending]("signin.pending")
	secretKey    = session.NewKey[[]byte]("signin.authenticator")
	flashKey     = session.NewKey[string]("signin.flash")
)

// A device is what is known of where somebody has signed in.
type device struct {
	Agent  string    `json:"agent"`
	Addr   string    `json:"addr"`
	Factor string    `json:"factor"`
	At     time.Time `json:"at"`
	Epoch  int64     `json:"epoch,omitempty"`  // of the person
	Strong bool      `json:"strong,omitempty"` // a second factor was shown
}

// A statusError is answered by a page that says so.
type statusError int

func (e statusError) Error() string { return http.StatusText(int(e)) }

// errAnswered says that the request has its answer.
var errAnswered = errors.New("signin: answered")

// visit begins one.
func (p *Pages) visit(w http.ResponseWriter, r *http.Request) (*visit, error) {
	s, err := p.cfg.Sessions.Load(r.Context())
	return &visit{p: p, w: w, r: r, ctx: r.Context(), s: s, lang: p.languageOf(r)}, err
}

// load finds out who is signed in: not those who are unknown here, or disabled.
func (v *visit) load() error {
	if v.s.Owner() == "" {
		return nil
	}
	me, err := v.p.cfg.People.ByID(v.ctx, v.s.Owner())
	switch {
	case errors.Is(err, account.ErrNotFound):
		// The session is refused and left alone. Who deletes a user ends their
		// sessions; one that is still there may be of another database, whose machines
		// keep their sessions in the same store: to those it is good.
	case err != nil:
		return err
	case me.Disabled:
		v.s.Destroy()
	case v.epoch() != me.Epoch:
		// It is over, though its store has it still; or another request of it is
		// about to say that it is of the new one, and so it is not destroyed.
	default:
		v.me = &me
	}
	return nil
}

// epoch is that of the person when the session began.
func (v *visit) epoch() int64 {
	d, _ := deviceKey.Get(v.s)
	return d.Epoch
}

// stay lets this session go on in another epoch.
func (v *visit) stay(epoch int64) {
	d, _ := deviceKey.Get(v.s)
	d.Epoch = epoch
	deviceKey.Set(v.s, d)
}

// page returns the handler of a page, which is shown if all conditions hold.
func (p *Pages) page(f func(*visit) error, conditions ...func(*visit) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := p.visit(w, r)
		if err != nil {
			p.fail(w, r, err)
			return
		}
		if p.choose(w, r) {
			return
		}
		if err = v.load(); err == nil {
			err = v.body()
		}
		if v.once(r.Pattern); err == nil && v.submission != nil {
			defer v.detach()()
			defer v.release()
			err = v.resume()
		}
		for _, condition := range append(conditions, f) {
			if err == nil {
				err = condition(v)
			}
		}
		if v.submission != nil {
			v.submission.worked = err == nil || errors.Is(err, errAnswered)
		}
		if errors.Is(err, password.ErrBusy) {
			v.cancel() // the password has not been looked at
		}
		if err != nil && !errors.Is(err, errAnswered) {
			p.fail(w, r, err)
		}
	})
}

// body parses a form.
func (v *visit) body() error {
	if v.r.Method != http.MethodPost || strings.HasPrefix(v.r.Header.Get("Content-Type"), "application/json") {
		return nil
	}
	err := v.r.ParseForm()
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return statusError(http.StatusRequestEntityTooLarge)
	}
	if err != nil {
		return statusError(http.StatusBadRequest)
	}
	return nil
}

// typed returns a field of the form as it was typed. It may be anything.
func (v *visit) typed(name string) string { return v.r.PostFormValue(name) }

// signedIn is the condition that somebody is, with all that the site asks for.
func (v *visit) signedIn() error {
	if err := v.present(); err != nil {
		return err
	}
	return v.withSecond()
}

// present is the condition that somebody is, be it with a password alone.
func (v *visit) present() error {
	if v.me != nil {
		return nil
	}
	if !navigates(v.r) {
		return v.redirect("/login")
	}
	return v.redirect("/login?next=" + url.QueryEscape(v.r.URL.RequestURI()))
}

// admin is the condition that an administrator is. To others there is no such page.
func (v *visit) admin() error {
	if err := v.signedIn(); err != nil {
		return err
	}
	if !v.me.Admin {
		return statusError(http.StatusNotFound)
	}
	return nil
}

// recently is the condition that whoever is signed in has shown so of late (ASVS
// 5.0, 7.5). What was to be sent is lost then; pages with a form ask before they
// show it.
func (v *visit) recently() error {
	if v.fresh() {
		return nil
	}
	next := v.r.URL.RequestURI()
	if v.r.Method != http.MethodGet {
		next = v.p.cfg.Prefix + "/manager"
		if from, ok := v.p.samePage(v.r.Header.Get("Referer")); ok && v.p.hasPage(from) {
			next = from
		}
	}
	return v.redirect("/confirm?next=" + url.QueryEscape(next))
}

// fresh reports whether a sign-in or a confirmation is recent.
func (v *visit) fresh() bool {
	at, _ := confirmedKey.Get(v.s)
	return clock.Recent(at, time.Now(), v.p.cfg.StepUp)
}

// redirect leads to a page of ours.
func (v *visit) redirect(path string) error {
	http.Redirect(v.w, v.r, v.p.cfg.Prefix+path, http.StatusSeeOther)
	return errAnswered
}

// say leaves a text of the catalogue for the next page.
func (v *visit) say(key string) { flashKey.Set(v.s, key) }

// A page is what a view is given.
type page struct {
	Site    string
	Lang    string
	Other   map[string]string // tags and names of the other languages
	Switch  string            // the address of this page, for the language to be added
	Me      *account.Person
	Section string // of the navigation
	Token   template.HTML
	CSRF    template.HTML // <meta>
	Flash   string
	Narrow  bool // a single card
	Body    any
}

// narrow are the views that are a single card.
var narrow = map[string]bool{
	"login": true, "code": true, "confirm": true, "second": true, "setup": true, "forgot": true, "recover": true, "message": true,
}

// show answers with a view.
func (v *visit) show(status int, view, section string, body any) error {
	data := &page{
		Site: v.p.cfg.Site, Lang: v.lang.tag, Me: v.me, Section: section, Narrow: narrow[view], Body: body,
	}
	data.Other = make(map[string]string)
	for _, tag := range tags {
		if tag != v.lang.tag {
			data.Other[tag] = names[tag]
		}
	}
	if v.r.Method == http.MethodGet || data.Narrow && v.p.hasPage(v.r.URL.Path) { // others cannot be asked for again
		data.Switch = v.here()
	}
	var err error
	if data.Token, err = v.p.guard.Input(v.r); err != nil {
		return err
	}
	if data.CSRF, err = v.p.guard.Meta(v.r); err != nil {
		return err
	}
	if key, ok := flashKey.Take(v.s); ok {
		data.Flash = v.lang.text(key)
	}
	return v.write(status, view, data)
}

// here is the address of this page, to be asked for again with GET.
func (v *visit) here() string {
	q := v.r.URL.Query()
	q.Del("lang")
	if len(q) == 0 {
		return v.r.URL.EscapedPath() + "?lang="
	}
	return v.r.URL.EscapedPath() + "?" + q.Encode() + "&lang="
}

func (v *visit) write(status int, view string, data *page) error {
	t := v.lang.views()[view]
	if t == nil {
		return errors.New("signin: no view " + view)
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, baseFile, data); err != nil {
		return err
	}
	h := v.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", v.lang.tag)
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	h.Add("Vary", "Accept-Language, Cookie")
	v.w.WriteHeader(status)
	_, _ = b.WriteTo(v.w) // or the visitor has gone
	return nil
}

// message is the view of this name.
type message struct {
	Title, Text string
	Link, Words string // where to go from there
}

// tell answers with a message of the catalogue.
func (v *visit) tell(status int, key, link string) error {
	return v.show(status, "message", "", message{
		Title: v.lang.text(key + ".title"), Text: v.lang.text(key + ".text"),
		Link: v.p.cfg.Prefix + link, Words: v.lang.text(key + ".link"),
	})
}

// fail answers a request that could not be answered as it should.
func (p *Pages) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, key := http.StatusServiceUnavailable, "error.away"
	var code statusError
	switch {
	case errors.As(err, &code):
		status, key = int(code), "error."+strconv.Itoa(int(code))
	case errors.Is(err, account.ErrConflict), errors.Is(err, session.ErrEnded):
		status, key = http.StatusConflict, "error.409"
	case errors.Is(err, password.ErrBusy):
		key = "error.busy"
		w.Header().Set("Retry-After", "2")
	default:
		p.report(r.Context(), slog.LevelError, "the page could not be shown", err, "path", r.Pattern)
		w.Header().Set("Retry-After", "5")
	}
	p.plain(w, r, status, key)
}

// Error answers a request whose session could not be loaded or stored, with a page in
// the language of the visitor. It is for [session.Config]'s Error; since the sessions
// are there before the pages, by a function that calls it.
func (p *Pages) Error(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, session.ErrValue), errors.Is(err, session.ErrTooLarge), errors.Is(err, session.ErrHeaderSent):
		session.Error(w, r, err) // the application's mistake, which the visitor can do nothing about
	case errors.Is(err, session.ErrEnded):
		headers.Set(w.Header(), p.insecure)
		p.plain(w, r, http.StatusConflict, "error.409")
	default: // which the session has told the log
		headers.Set(w.Header(), p.insecure)
		w.Header().Set("Retry-After", "5")
		p.plain(w, r, http.StatusServiceUnavailable, "error.away")
	}
}

// plain shows a message without a session: the store may be away.
func (p *Pages) plain(w http.ResponseWriter, r *http.Request, status int, key string) {
	v := &visit{p: p, w: w, r: r, lang: p.languageOf(r)}
	if err := v.write(status, "message", &page{
		Site: p.cfg.Site, Lang: v.lang.tag, Narrow: true,
		Body: message{v.lang.text(key + ".title"), v.lang.text(key + ".text"), p.home, v.lang.text("error.home")},
	}); err != nil {
		p.log.ErrorContext(r.Context(), "signin: no message could be shown", "error", err)
		http.Error(w, http.StatusText(status), status)
	}
}

// deny answers what package csrf refuses: the page was from before a sign-in or
// sign-out, or from somewhere else.
func (p *Pages) deny(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, csrf.ErrBadToken) && p.denyTwin(w, r) {
		return
	}
	if r.URL.Path == p.cfg.Prefix+"/login" && (errors.Is(err, csrf.ErrBadToken) || errors.Is(err, csrf.ErrNoToken)) {
		// It lay open for longer than its session: the form again, with a new token.
		v, err := p.visit(w, r)
		if err == nil {
			err = v.showLogin(http.StatusForbidden, loginForm{Error: v.lang.text("login.stale")}, v.ask(toSignIn, ""))
		}
		if err != nil {
			p.fail(w, r, err)
		}
		return
	}
	switch status := csrf.Status(err); status {
	case http.StatusForbidden:
		p.plain(w, r, status, "error.stale")
	case http.StatusServiceUnavailable:
		p.fail(w, r, err)
	default:
		p.fail(w, r, statusError(status))
	}
}

// denyTwin answers a form whose token was good until the same form, sent before, changed
// the session: as that was answered. It reports whether it did.
func (p *Pages) denyTwin(w http.ResponseWriter, r *http.Request) bool {
	v, err := p.visit(w, r)
	if err != nil || v.body() != nil {
		return false
	}
	_, pattern := p.mux.Handler(r)
	if pattern == http.MethodPost+" "+p.cfg.Prefix+"/logout" && v.s.Owner() == "" {
		// There is nothing to sign out of, and so nothing to protect.
		if err := v.logout(); err != nil && !errors.Is(err, errAnswered) {
			p.fail(w, r, err)
		}
		return true
	}
	// Without a valid token a form changes a session only where the browser says that
	// it is of this site: it may be another user's, who wants to be signed in here.
	if !p.guard.SameOrigin(r) {
		return false
	}
	v.once(pattern)
	switch err := v.resume(); {
	case err == nil:
		return false
	case !errors.Is(err, errAnswered):
		p.fail(w, r, err)
	}
	return true
}

// missing is the page that is not there.
func (v *visit) missing() error { return statusError(http.StatusNotFound) }
