package signin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/captcha/form"
	"github.com/seed-64ad3862/gatehouse/password"
)

// confirmForm is what the view is given.
type confirmForm struct {
	Next     string
	Passkeys string // settings of their script
	Password bool   // it is asked for
	Code     bool   // it is asked for
	Errors   map[string]string
	Error    string
}

func (v *visit) confirmPage() error { return v.showConfirm(http.StatusOK, nil, "") }

func (v *visit) showConfirm(status int, problems map[string]string, problem string) error {
	return v.show(status, "confirm", "manager", confirmForm{
		Next: v.next(), Passkeys: v.myPasskeys(), Password: v.me.Password != "", Code: v.me.TwoFactors(), Errors: problems, Error: problem,
	})
}

// myPasskeys are the settings by which one of one's own confirms.
func (v *visit) myPasskeys() string {
	if len(v.me.Passkeys) == 0 {
		return ""
	}
	return v.passkeys("/confirm/passkey", v.next(), false)
}

// confirm asks for all factors again.
func (v *visit) confirm() error {
	var f loginForm
	switch err := v.try(v.me.Name, &f); {
	case errors.Is(err, errWait):
		return v.showConfirm(http.StatusTooManyRequests, nil, f.Error)
	case err != nil:
		return err
	}
	if err := v.claim(); err != nil {
		return err
	}
	_, err := v.p.cfg.Hasher.Verify(v.ctx, v.me.Password, v.typed("password"))
	switch {
	case errors.Is(err, password.ErrMismatch), errors.Is(err, password.ErrInvalid), errors.Is(err, password.ErrFormat):
		v.note(ConfirmedInError, v.me, "password")
		return v.showConfirm(http.StatusUnprocessableEntity, map[string]string{"password": v.lang.text("confirm.wrong")}, "")
	case err != nil:
		return err
	}
	if v.me.TwoFactors() {
		_, _, err := v.useCode(v.me, v.typed("code"))
		if text, denied := v.denied(err); denied {
			return v.showConfirm(http.StatusTooManyRequests, nil, text)
		}
		switch {
		case errors.Is(err, errCode):
			v.note(ConfirmedInError, v.me, "code")
			return v.showConfirm(http.StatusUnprocessableEntity, map[string]string{"code": v.lang.text("code.wrong")}, "")
		case err != nil:
			return err
		}
	}
	return v.confirmed(v.next())
}

// confirmed remembers that whoever is signed in has shown so now, under another
// identifier (ASVS 5.0, 7.2.4), and leads on.
func (v *visit) confirmed(next string) error {
	if err := v.confirmedNow(); err != nil {
		return err
	}
	http.Redirect(v.w, v.r, next, http.StatusSeeOther)
	return errAnswered
}

func (v *visit) confirmedNow() error {
	v.succeeded()
	if v.second {
		v.strengthen()
	}
	confirmedKey.Set(v.s, time.Now().UTC())
	v.s.Renew()
	if err := v.s.Commit(v.ctx); err != nil {
		return err
	}
	v.note(ConfirmedAgain, v.me, "")
	return nil
}

// choice is a form in which a password is chosen.
type choice struct {
	Name, DisplayName, Email string
	Captcha                  any
	Token                    string
	Code                     bool // one of the second factor is asked for
	Errors                   map[string]string
	Error                    string
	Others                   int // sessions elsewhere
	Current                  bool
	Groups                   string
	Admin                    bool
}

// shortest is how many characters a password needs.
func (p *Pages) shortest() int { return max(p.cfg.Policy.Length, password.MinLength) }

// chosen returns the hash of the password that was typed twice, or says what is
// wrong with it beside the field.
func (v *visit) chosen(problems map[string]string, about ...string) (string, error) {
	typed := v.typed("new")
	err := v.p.cfg.Policy.Check(v.ctx, typed, about...)
	switch {
	case errors.Is(err, password.ErrShort):
		problems["new"] = v.lang.text("password.short", v.p.shortest())
	case errors.Is(err, password.ErrCommon):
		problems["new"] = v.lang.text("password.common")
	case errors.Is(err, password.ErrName):
		problems["new"] = v.lang.text("password.name")
	case errors.Is(err, password.ErrBreached):
		problems["new"] = v.lang.text("password.breached")
	case errors.Is(err, password.ErrInvalid):
		problems["new"] = v.lang.text("password.invalid")
	case err != nil:
		return "", err
	case v.typed("again") != typed:
		problems["again"] = v.lang.text("password.differs")
	}
	if len(problems) > 0 {
		return "", nil
	}
	return v.p.cfg.Hasher.Hash(v.ctx, typed)
}

// named puts what is wrong with a person beside the field, and reports whether the
// error is of that kind.
func (v *visit) named(problems map[string]string, err error) bool {
	switch {
	case errors.Is(err, account.ErrName):
		problems["name"] = v.lang.text("name.bad")
	case errors.Is(err, account.ErrNameTaken):
		problems["name"] = v.lang.text("name.taken")
	case errors.Is(err, account.ErrEmailTaken):
		problems["email"] = v.lang.text("email.taken")
	case errors.Is(err, account.ErrPerson):
		if _, bad := account.CanonicalEmail(v.typed("email")); bad != nil {
			problems["email"] = v.lang.text("email.bad")
		} else {
			problems["display"] = v.lang.text("person.bad")
		}
	default:
		return false
	}
	return true
}

// ---- setting up

func (v *visit) setupPage() error {
	switch err := v.p.cfg.People.CheckSetup(v.ctx, v.r.PathValue("token")); {
	case errors.Is(err, account.ErrLink), errors.Is(err, account.ErrSetUp):
		return v.tell(http.StatusNotFound, "setup.gone", "/login")
	case err != nil:
		return err
	}
	return v.showSetup(http.StatusOK, choice{})
}

func (v *visit) showSetup(status int, c choice) error {
	ask := v.ask(toSetUp, "")
	return v.showSetupAsk(status, c, &ask)
}

func (v *visit) showSetupAsk(status int, c choice, ask *form.Ask) (err error) {
	c.Token = v.r.PathValue("token")
	if c.Captcha, err = v.captcha(*ask); err != nil {
		return err
	}
	return v.show(status, "setup", "", c)
}

func (v *visit) setup() error {
	token := v.r.PathValue("token")
	switch err := v.p.cfg.People.CheckSetup(v.ctx, token); {
	case errors.Is(err, account.ErrLink), errors.Is(err, account.ErrSetUp):
		if err := v.resume(); err != nil {
			return err
		}
		return v.tell(http.StatusNotFound, "setup.gone", "/login")
	case err != nil:
		return err
	}
	name := v.typed("name")
	c := choice{Name: plainText(name, 256), Errors: make(map[string]string)}
	ask := v.ask(toSetUp, "")
	switch solved, err := v.solved(&ask); {
	case err != nil:
		return err
	case !solved:
		return v.showSetupAsk(http.StatusUnprocessableEntity, c, &ask)
	}
	if _, err := account.Canonical(name); err != nil {
		v.named(c.Errors, err)
	}
	encoded, err := v.chosen(c.Errors, name)
	if err != nil {
		return err
	}
	if len(c.Errors) > 0 {
		return v.showSetup(http.StatusUnprocessableEntity, c)
	}
	if err := v.claim(); err != nil {
		return err
	}
	who, err := v.p.cfg.People.SetUp(v.ctx, token, account.Person{Name: name, Password: encoded, PasswordSet: now()})
	switch {
	case errors.Is(err, account.ErrLink), errors.Is(err, account.ErrSetUp):
		return v.tell(http.StatusNotFound, "setup.gone", "/login")
	case v.named(c.Errors, err):
		return v.showSetup(http.StatusUnprocessableEntity, c)
	case err != nil:
		return err
	}
	v.note(SetUp, &who, "")
	v.say("flash.setup")
	return v.enter(&who, "password", v.p.cfg.Prefix+"/manager")
}

func now() time.Time { return time.Now().UTC().Truncate(time.Second) }

// ---- recovery

func (v *visit) forgotPage() error {
	if v.p.cfg.Mail == nil {
		return v.show(http.StatusOK, "message", "", message{
			Title: v.lang.text("forgot.title"), Text: v.lang.text("forgot.ask-admin"), Link: v.p.cfg.Prefix + "/login", Words: v.lang.text("forgot.back"),
		})
	}
	return v.showForgot(http.StatusOK, choice{})
}

func (v *visit) showForgot(status int, c choice) (err error) {
	ask := v.ask(toRecover, "")
	if c.Captcha, err = v.captcha(ask); err != nil {
		return err
	}
	return v.show(status, "forgot", "login", c)
}

// forgot sends a link, if there is somebody with that address. The answer is the
// same if there is not, and comes as soon: the message is made and sent beside it.
func (v *visit) forgot() error {
	if v.p.cfg.Mail == nil {
		return statusError(http.StatusNotFound)
	}
	c := choice{Email: plainText(v.typed("email"), 256), Errors: make(map[string]string)}
	ask := v.ask(toRecover, "")
	switch solved, err := v.solved(&ask); {
	case err != nil:
		return err
	case !solved:
		if c.Captcha, err = v.captcha(ask); err != nil {
			return err
		}
		return v.show(http.StatusUnprocessableEntity, "forgot", "login", c)
	}
	email, err := account.CanonicalEmail(v.typed("email"))
	if err != nil || email == "" {
		c.Errors["email"] = v.lang.text("email.bad")
		return v.showForgot(http.StatusUnprocessableEntity, c)
	}
	var f loginForm
	switch err := v.try("recover "+email, &f); { // a blank: no name is that
	case errors.Is(err, errWait):
		c.Error = f.Error
		return v.showForgot(http.StatusTooManyRequests, c)
	case err != nil:
		return err
	}
	// What is noted of it is put together here, since the visit is over then.
	e := v.entry(RecoveryOpened, nil, "mail")
	v.p.background(v.ctx, func(ctx context.Context) { v.p.sendRecovery(ctx, v.lang, email, e) })
	return v.tell(http.StatusOK, "forgot.sent", "/login")
}

func (v *visit) recoverPage() error {
	who, _, err := v.byLink(v.r.PathValue("token"))
	if err != nil || who.Disabled {
		return v.deadLink(err)
	}
	return v.showRecover(http.StatusOK, &who, nil, "")
}

// byLink returns whom a link is for, and which of both kinds it is.
func (v *visit) byLink(token string) (account.Person, account.Purpose, error) {
	who, err := v.p.cfg.People.ByLink(v.ctx, token, account.Recovery)
	if !errors.Is(err, account.ErrLink) {
		return who, account.Recovery, err
	}
	who, err = v.p.cfg.People.ByLink(v.ctx, token, account.Mailed)
	return who, account.Mailed, err
}

// deadLink answers who comes with a link that is not good any more.
func (v *visit) deadLink(err error) error {
	if err != nil && !errors.Is(err, account.ErrLink) {
		return err
	}
	return v.tell(http.StatusNotFound, "recover.gone", "/login")
}

func (v *visit) showRecover(status int, who *account.Person, problems map[string]string, problem string) error {
	return v.show(status, "recover", "login", choice{Name: who.Name, Code: who.TwoFactors(), Errors: problems, Error: problem})
}

// recover lets the holder of a link choose a password. It ends all sessions, and
// does not pass by a second factor (ASVS 5.0, 6.4.3).
func (v *visit) recover() error {
	token := v.r.PathValue("token")
	who, purpose, err := v.byLink(token)
	if err != nil || who.Disabled {
		if err := v.resume(); err != nil {
			return err
		}
		return v.deadLink(err)
	}
	problems := make(map[string]string)
	encoded, err := v.chosen(problems, who.Name, who.Email)
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		return v.showRecover(http.StatusUnprocessableEntity, &who, problems, "")
	}
	if err := v.claim(); err != nil {
		return err
	}
	if who.TwoFactors() {
		_, _, err := v.useCode(&who, v.typed("code"))
		if text, denied := v.denied(err); denied {
			return v.showRecover(http.StatusTooManyRequests, &who, nil, text)
		}
		switch {
		case errors.Is(err, errCode):
			v.note(Refused, &who, "code")
			return v.showRecover(http.StatusUnprocessableEntity, &who, map[string]string{"code": v.lang.text("code.wrong")}, "")
		case err != nil:
			return err
		}
	}
	who, err = v.p.cfg.People.Update(v.ctx, who.ID, func(p *account.Person) error {
		if p.Disabled {
			return account.ErrLink
		}
		p.Password, p.PasswordSet = encoded, now()
		p.EndSessions()
		return p.UseLink(token, purpose)
	})
	if errors.Is(err, account.ErrLink) {
		return v.deadLink(nil)
	}
	if err != nil {
		return err
	}
	v.changed(Recovered, &who, "")
	v.removeSessions(who.ID)
	v.say("flash.recovered")
	return v.enter(&who, "link", v.p.cfg.Prefix+"/manager")
}
