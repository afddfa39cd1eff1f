package signin

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/captcha/form"
	"github.com/seed-64ad3862/gatehouse/internal/clock"
	"github.com/seed-64ad3862/gatehouse/password"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/throttle"
)

func (v *visit) root() error { return v.redirect("/index") }

func (v *visit) index() error { return v.show(http.StatusOK, "index", "index", nil) }

// loginForm is what the view is given.
type loginForm struct {
	Name     string
	Next     string
	Error    string // about the whole
	Captcha  template.HTML
	Passkeys string // settings of their script
}

func (v *visit) loginPage() error {
	if v.me != nil {
		http.Redirect(v.w, v.r, v.next(), http.StatusSeeOther)
		return errAnswered
	}
	return v.showLogin(http.StatusOK, loginForm{}, v.ask(toSignIn, ""))
}

func (v *visit) showLogin(status int, f loginForm, ask form.Ask) (err error) {
	if f.Captcha, err = v.captcha(ask); err != nil {
		return err
	}
	if to := v.next(); to != v.p.home {
		f.Next = to
	}
	f.Passkeys = v.passkeys("/login/passkey", f.Next, true)
	return v.show(status, "login", "login", f)
}

// captcha is the part of the page, nothing if there is none.
func (v *visit) captcha(ask form.Ask) (template.HTML, error) {
	if v.p.form == nil {
		return "", nil
	}
	return v.p.form.HTML(ask)
}

// What captchas are solved for. One is good for nothing else.
const (
	toSignIn  = "sign-in"
	toSetUp   = "set-up"
	toRecover = "recovery"
)

// ask is what somebody who tries has to do first. The challenge belongs to the
// session in which the form is shown.
func (v *visit) ask(purpose, canonical string) form.Ask {
	secret, _ := v.p.guard.FormSecret(v.r, "captcha") // the session is loaded
	ask := form.Ask{Scope: captcha.Scope{Purpose: purpose, Session: hex.EncodeToString(secret[:])}, Language: v.lang.tag}
	if v.p.cfg.Captcha == Adaptive {
		ask.By = form.Work
		suspect, err := v.p.cfg.Throttle.Suspect(v.ctx, v.attempt(canonical))
		if suspect || err != nil { // who cannot be told to be harmless is asked for more
			ask.By = form.Code
		}
	}
	return ask
}

// solved reports whether the captcha is, and if not, what to show it with again. It is
// also if the same form has solved it, which has the same password in it.
func (v *visit) solved(ask *form.Ask) (bool, error) {
	if v.p.form == nil {
		return true, nil
	}
	ask.Err = v.p.form.Verify(v.r, *ask)
	switch {
	case ask.Err == nil:
		return true, v.claim()
	case errors.Is(ask.Err, captcha.ErrSpent):
		return v.solvedBefore()
	}
	return false, nil
}

// attempt is somebody trying.
func (v *visit) attempt(canonical string) throttle.Attempt {
	return throttle.Attempt{Account: canonical, Addr: v.p.cfg.Addr(v.r), Known: canonical != "" && v.knows(canonical)}
}

func (v *visit) login() error {
	name, secret := v.typed("name"), v.typed("password")
	f := loginForm{Name: plainText(name, 256)}
	canonical, err := account.Canonical(name)
	if err != nil {
		canonical = "" // counted for the network alone: there is no such account
	}
	ask := v.ask(toSignIn, canonical)
	solved, err := v.solved(&ask)
	if err != nil {
		return err
	}
	if !solved {
		// The password has not been looked at.
		return v.showLogin(http.StatusUnprocessableEntity, f, ask)
	}
	switch err := v.try(canonical, &f); {
	case errors.Is(err, errWait):
		return v.showLogin(http.StatusTooManyRequests, f, ask)
	case err != nil:
		return err
	}
	if err := v.claim(); err != nil {
		return err
	}
	who, err := v.checkPassword(canonical, secret)
	if err != nil {
		return err
	}
	if who == nil {
		f.Error = v.lang.text("login.wrong")
		return v.showLogin(http.StatusUnprocessableEntity, f, v.ask(toSignIn, canonical))
	}
	if who.TwoFactors() {
		// Nobody is signed in, and the attempt is counted until the code is right.
		pendingKey.Set(v.s, pending{Person: who.ID, At: time.Now(), Password: sum(who.Password)})
		return v.redirect("/login/code" + query(v.next(), v.p.home))
	}
	return v.enter(who, "password", v.next())
}

// errWait says that it is too early.
var errWait = errors.New("signin: too many attempts")

// try counts an attempt. If it is too early, it says so in the form.
func (v *visit) try(canonical string, f *loginForm) error {
	a := v.attempt(canonical)
	err := v.p.cfg.Throttle.Try(v.ctx, a)
	if text, denied := v.denied(err); denied {
		f.Error = text
		v.note(Throttled, nil, "")
		return errWait
	}
	if err == nil {
		v.tried = &a
	}
	return err
}

// denied reports whether an error of the throttle says to wait, and how long, in words
// and in the header.
func (v *visit) denied(err error) (text string, ok bool) {
	denied, ok := errors.AsType[*throttle.Denied](err)
	if !ok {
		return "", false
	}
	denied.Header(v.w.Header())
	return v.lang.text("login.wait", v.lang.in(denied.Wait)), true
}

// succeeded gives back what was counted of this visit, once; that it could not be
// stops nobody.
func (v *visit) succeeded() { v.giveBack(v.p.cfg.Throttle.Succeeded) }

// cancel gives it back because it came to nothing.
func (v *visit) cancel() { v.giveBack(v.p.cfg.Throttle.Cancel) }

func (v *visit) giveBack(how func(context.Context, throttle.Attempt) error) {
	if v.tried == nil {
		return
	}
	if err := how(v.ctx, *v.tried); err != nil {
		v.p.report(v.ctx, slog.LevelWarn, "an attempt stays counted", err)
	}
	v.tried = nil
}

// in is a time to wait as people say it, rounded up.
func (l *language) in(d time.Duration) string {
	if d <= time.Minute {
		return l.text("time.in.seconds", int(d/time.Second)+1)
	}
	return l.text("time.in.minutes", int((d+time.Minute-1)/time.Minute))
}

// checkPassword returns who has this name and password, or nil: at one price and
// with one entry of the log, whatever is wrong.
func (v *visit) checkPassword(canonical, secret string) (*account.Person, error) {
	who, err := v.p.cfg.People.ByName(v.ctx, canonical)
	known := err == nil
	if err != nil && !errors.Is(err, account.ErrNotFound) {
		return nil, err
	}
	outdated, err := v.p.cfg.Hasher.Verify(v.ctx, who.Password, secret)
	switch {
	case err == nil && who.Disabled:
		v.note(Refused, &who, "disabled")
		return nil, nil
	case err == nil:
		if outdated {
			v.rehash(&who, secret)
		}
		return &who, nil
	case errors.Is(err, password.ErrMismatch) || errors.Is(err, password.ErrInvalid) || errors.Is(err, password.ErrFormat):
		if known {
			v.note(Refused, &who, "password")
		} else {
			v.note(Refused, nil, "name")
		}
		return nil, nil
	default:
		return nil, err
	}
}

// rehash keeps the password under the parameters of now. That it could not be kept
// stops nobody. If there is another one meanwhile, who stays as they were, and begin
// sees it.
func (v *visit) rehash(who *account.Person, secret string) {
	encoded, err := v.p.cfg.Hasher.Hash(v.ctx, secret)
	if err == nil {
		was := who.Password
		var p account.Person
		p, err = v.p.cfg.People.Update(v.ctx, who.ID, func(p *account.Person) error {
			if p.Password == was {
				p.Password = encoded
			}
			return nil
		})
		if err == nil && p.Password != encoded {
			// Perhaps a sign-in beside this one was faster.
			_, err = v.p.cfg.Hasher.Verify(v.ctx, p.Password, secret)
		}
		if err == nil {
			who.Password = p.Password
		}
	}
	if err != nil {
		v.p.report(v.ctx, slog.LevelWarn, "a password keeps its old hash", err)
	}
}

// enter signs somebody in, and leads to where they wanted to go.
func (v *visit) enter(who *account.Person, factor, next string) error {
	if err := v.begin(who, factor, nil); err != nil {
		return err
	}
	http.Redirect(v.w, v.r, next, http.StatusSeeOther)
	return errAnswered
}

// begin begins the session of somebody who has shown a factor: a passkey, if its ID is
// given. What the visitor had typed before is forgotten.
func (v *visit) begin(who *account.Person, factor string, key []byte) error {
	v.succeeded()
	pendingKey.Delete(v.s)
	v.s.SetOwner(who.ID)
	now := time.Now().UTC().Truncate(time.Second)
	confirmedKey.Set(v.s, now)
	deviceKey.Set(v.s, device{
		Agent: plainText(v.r.UserAgent(), 256), Addr: v.p.cfg.Addr(v.r).String(), Factor: factor, At: now, Epoch: who.Epoch,
		Strong: v.second || key != nil,
	})
	// Stored before anybody is told, so that the log is true.
	if err := v.s.Commit(v.ctx); err != nil {
		return err
	}
	// Who was shut out while this went on, or has changed what was shown here, has
	// ended all sessions after that change: either this one is among them, or the
	// change is seen here.
	again, err := v.p.cfg.People.ByID(v.ctx, who.ID)
	if err != nil || !holds(&again, who, factor, key) {
		v.s.Destroy()
		if err != nil && !errors.Is(err, account.ErrNotFound) {
			return err
		}
		return v.redirect("/login")
	}
	v.remember(who.Name)
	v.note(SignedIn, who, factor)
	v.me = who
	return nil
}

// holds reports whether what has signed somebody in does so still.
func holds(now, who *account.Person, factor string, key []byte) bool {
	switch {
	case now.Disabled, now.Epoch != who.Epoch:
		return false
	case key != nil:
		return slices.ContainsFunc(now.Passkeys, func(k account.Passkey) bool { return bytes.Equal(k.ID, key) })
	case factor == "password" && now.TwoFactors():
		return false
	}
	return now.Password == who.Password
}

func (v *visit) logout() error {
	if err := v.claim(); err != nil {
		return err
	}
	e := v.entry(SignedOut, v.me, "")
	v.s.Destroy()
	switch err := v.s.Commit(v.ctx); {
	case errors.Is(err, session.ErrEnded) && v.outBefore():
		v.s.Discard()
		v.p.plain(v.w, v.r, http.StatusOK, "logout")
		return errAnswered
	case err != nil:
		return err
	}
	if v.me != nil {
		v.p.append(v.ctx, e)
	}
	v.me, v.out = nil, true
	// What this browser keeps of pages and of the captcha goes too, but not the
	// cookies: the language, and that this device is known.
	v.w.Header().Set("Clear-Site-Data", `"cache"`)
	return v.tell(http.StatusOK, "logout", "/login")
}

// query is the end of an address that has to lead on.
func query(next, home string) string {
	if next == home {
		return ""
	}
	return "?next=" + template.URLQueryEscaper(next)
}

// ---- known devices

// knownCookie tells devices on which somebody has signed in before. It names
// nobody: it holds MACs of names, and gives no right but not to be denied for what
// strangers do.
func (p *Pages) knownCookie() string {
	if p.insecure {
		return "known"
	}
	return "__Host-known"
}

// maxKnown is how many people a device is known to.
const maxKnown = 4

func (p *Pages) knownTag(canonical string) string {
	h := hmac.New(sha256.New, p.known)
	h.Write([]byte(canonical))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:18])
}

// tagLen is the length of a tag.
const tagLen = 24

func (v *visit) tags() (all []string) {
	c, err := v.r.Cookie(v.p.knownCookie())
	if err != nil || len(c.Value)%tagLen != 0 || len(c.Value) > maxKnown*tagLen {
		return nil
	}
	for s := c.Value; s != ""; s = s[tagLen:] {
		all = append(all, s[:tagLen])
	}
	return all
}

func (v *visit) knows(canonical string) bool {
	want := v.p.knownTag(canonical)
	found := false
	for _, tag := range v.tags() {
		found = hmac.Equal([]byte(tag), []byte(want)) || found
	}
	return found
}

// remember puts the person first among those whom the device knows.
func (v *visit) remember(canonical string) {
	value := v.p.knownTag(canonical)
	n := 1
	for _, tag := range v.tags() {
		if tag != value[:tagLen] && n < maxKnown {
			value += tag
			n++
		}
	}
	http.SetCookie(v.w, &http.Cookie{
		Name: v.p.knownCookie(), Value: value, Path: "/", MaxAge: 180 * 24 * 3600,
		Secure: !v.p.insecure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// ---- the second factor

// pending is a sign-in whose password was right, in a session that belongs to
// nobody.
type pending struct {
	Person   string    `json:"person"`
	At       time.Time `json:"at"`
	Password string    `json:"password"` // of its hash: another password ends this
	Codes    int       `json:"codes"`    // wrong ones
}

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(h[:16])
}

// waiting returns whose code is waited for, or nil.
func (v *visit) waiting() (*account.Person, error) {
	w, ok := pendingKey.Get(v.s)
	if !ok || !clock.Recent(w.At, time.Now(), pendingLife) {
		return nil, nil
	}
	who, err := v.p.cfg.People.ByID(v.ctx, w.Person)
	switch {
	case errors.Is(err, account.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case who.Disabled || !who.TwoFactors() || sum(who.Password) != w.Password:
		return nil, nil
	}
	return &who, nil
}

// codeForm is what the view is given.
type codeForm struct {
	Next  string
	Error string
}

func (v *visit) codePage() error {
	who, err := v.waiting()
	if err != nil {
		return err
	}
	if who == nil {
		return v.redirect("/login" + query(v.next(), v.p.home))
	}
	return v.showCode(http.StatusOK, "")
}

func (v *visit) showCode(status int, problem string) error {
	f := codeForm{Error: problem}
	if to := v.next(); to != v.p.home {
		f.Next = to
	}
	return v.show(status, "code", "login", f)
}

// maxCodes is how many wrong codes end a sign-in that waits for one, and warnAfter
// after how many its owner is told: whoever types them knows the password.
const (
	maxCodes  = 5
	warnAfter = 3
)

func (v *visit) code() error {
	waiting, err := v.waiting()
	if err != nil {
		return err
	}
	if waiting == nil {
		return v.tell(http.StatusUnprocessableEntity, "code.late", "/login")
	}
	if err := v.claim(); err != nil {
		return err
	}
	who, factor, err := v.useCode(waiting, v.typed("code"))
	if text, denied := v.denied(err); denied {
		return v.showCode(http.StatusTooManyRequests, text)
	}
	switch {
	case errors.Is(err, errCode):
		return v.wrongCode(who)
	case err != nil:
		return err
	}
	if factor == "recovery" {
		v.say("flash.codes")
	}
	// What was counted when the password was typed.
	a := v.attempt(who.Name)
	v.tried = &a
	return v.enter(who, factor, v.next())
}

// wrongCode counts it in the sign-in, which ends with the last one.
func (v *visit) wrongCode(who *account.Person) error {
	v.note(Refused, who, "code")
	n := 0
	if err := pendingKey.Update(v.ctx, v.s, func(p pending) pending {
		p.Codes++
		n = p.Codes
		return p
	}); err != nil {
		return err
	}
	if n >= warnAfter {
		v.warn(who)
	}
	if n >= maxCodes {
		pendingKey.Delete(v.s)
		return v.tell(http.StatusUnprocessableEntity, "code.spent", "/login")
	}
	return v.showCode(http.StatusUnprocessableEntity, v.lang.text("code.wrong"))
}
