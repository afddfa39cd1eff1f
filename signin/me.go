package signin

import (
	"cmp"
	"errors"
	"net/http"
	"slices"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/password"
	"github.com/seed-64ad3862/gatehouse/session"
)

// sessionRow is a session as pages show it.
type sessionRow struct {
	session.Info
	Device   string
	Addr     string
	Factor   string
	Here     bool // the one that looks
	Person   string
	PersonID string
}

func row(i session.Info) sessionRow {
	d := DeviceOf(i)
	return sessionRow{Info: i, Device: d.Name, Addr: d.Addr, Factor: d.Factor}
}

// sessionsOf are the sessions of a person, this one first, then those that were used
// last, as far as they are shown, and how many there are.
func (v *visit) sessionsOf(id string) (rows []sessionRow, n int, err error) {
	for i, err := range v.p.cfg.Sessions.List(v.ctx, session.Query{Owner: id, Fields: true}) {
		if err != nil {
			return nil, 0, err
		}
		r := row(i)
		r.Here = i.Handle == v.s.Handle()
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b sessionRow) int {
		if a.Here != b.Here {
			return map[bool]int{true: -1, false: 1}[a.Here]
		}
		return cmp.Or(b.Seen.Compare(a.Seen), b.Created.Compare(a.Created))
	})
	n = len(rows)
	return rows[:min(n, pageSize)], n, nil
}

// others is how many sessions there are beside this one.
func (v *visit) others() (n int, err error) {
	for i, err := range v.p.cfg.Sessions.List(v.ctx, session.Query{Owner: v.me.ID}) {
		if err != nil {
			return 0, err
		}
		if i.Handle != v.s.Handle() {
			n++
		}
	}
	return n, nil
}

// managerBody is what the view is given.
type managerBody struct {
	Sessions []sessionRow
	Others   int // sessions, shown or not
	Beyond   int // that are not shown
	Passkeys []passkeyRow
	Make     string // settings of the script that makes one
}

func (v *visit) manager() error {
	rows, n, err := v.sessionsOf(v.me.ID)
	if err != nil {
		return err
	}
	b := managerBody{Sessions: rows, Passkeys: passkeyRows(v.me), Make: v.passkeys("/manager/passkeys", "", false)}
	b.Others, b.Beyond = n-1, n-len(rows)
	return v.show(http.StatusOK, "manager", "manager", b)
}

// end ends one of one's own sessions.
func (v *visit) end() error {
	h, err := session.ParseHandle(v.typed("handle"))
	if err != nil {
		return statusError(http.StatusBadRequest)
	}
	if h == v.s.Handle() {
		return v.logout()
	}
	info, err := v.p.cfg.Sessions.Find(v.ctx, h)
	if err == nil && info.Owner != v.me.ID {
		err = session.ErrNotFound // nobody learns which handles there are
	}
	if err == nil {
		err = v.p.cfg.Sessions.End(v.ctx, h)
	}
	switch {
	case errors.Is(err, session.ErrNotFound): // it has ended, which was what was wanted
	case err != nil:
		return err
	default:
		v.note(SessionEnded, v.me, h.String())
	}
	v.say("flash.ended")
	return v.redirect("/manager")
}

func (v *visit) endOthers() error {
	_, err := v.p.cfg.Sessions.EndAll(v.ctx, session.Query{Owner: v.me.ID}, v.s.Handle())
	if err != nil {
		return err
	}
	v.note(SessionsEnded, v.me, "")
	v.say("flash.others-ended")
	return v.redirect("/manager")
}

// removeSessions removes the sessions of somebody of whom there is another epoch, or who
// is gone, all but the one that asks for it. They are over already for these pages: that
// they could not be removed stops nobody, but whoever looks after this must know.
func (v *visit) removeSessions(id string) {
	if _, err := v.p.cfg.Sessions.EndAll(v.ctx, session.Query{Owner: id}, v.s.Handle()); err != nil {
		v.p.log.ErrorContext(v.ctx, "signin: sessions that are over are still in their store", "person", id, "error", err)
	}
}

// ---- profile

func (v *visit) profilePage() error {
	return v.show(http.StatusOK, "profile", "manager", choice{Name: v.me.Name, DisplayName: v.me.DisplayName, Email: v.me.Email})
}

func (v *visit) profile() error {
	c := choice{Name: v.me.Name, DisplayName: plainText(v.typed("display"), 512), Email: plainText(v.typed("email"), 512), Errors: make(map[string]string)}
	was := v.me.Email
	if email, err := account.CanonicalEmail(v.typed("email")); err == nil && email != was {
		// Counted, since a message goes there, and since it tells who else has it.
		var f loginForm
		switch err := v.try("address of "+v.me.ID, &f); {
		case errors.Is(err, errWait):
			c.Errors["email"] = f.Error
			return v.show(http.StatusTooManyRequests, "profile", "manager", c)
		case err != nil:
			return err
		}
	}
	who, err := v.p.cfg.People.Update(v.ctx, v.me.ID, func(p *account.Person) error {
		p.DisplayName, p.Email = v.typed("display"), v.typed("email")
		return nil
	})
	switch {
	case v.named(c.Errors, err):
		return v.show(http.StatusUnprocessableEntity, "profile", "manager", c)
	case err != nil:
		return err
	}
	if was != who.Email {
		// To the old address too: it may be another who changes it.
		v.mail(v.me, "mail.changed.subject", "mail.changed.text", v.lang.text("log."+string(ProfileChanged)))
	}
	v.changed(ProfileChanged, &who, "")
	v.say("flash.saved")
	return v.redirect("/manager")
}

// ---- password

func (v *visit) passwordPage() error {
	others, err := v.others()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, "password", "manager", choice{Name: v.me.Name, Current: v.me.Password != "", Others: others})
}

func (v *visit) password() error {
	c := choice{Name: v.me.Name, Current: v.me.Password != "", Errors: make(map[string]string)}
	var err error
	if c.Others, err = v.others(); err != nil {
		return err
	}
	again := func(status int) error { return v.show(status, "password", "manager", c) }
	if !c.Current && !v.fresh() {
		return v.recently()
	}
	if c.Current {
		// The one there is, and at the price of an attempt: whoever sits down at a
		// device that was left open must not guess here.
		var f loginForm
		switch err := v.try(v.me.Name, &f); {
		case errors.Is(err, errWait):
			c.Error = f.Error
			return again(http.StatusTooManyRequests)
		case err != nil:
			return err
		}
		_, err := v.p.cfg.Hasher.Verify(v.ctx, v.me.Password, v.typed("password"))
		switch {
		case errors.Is(err, password.ErrMismatch), errors.Is(err, password.ErrInvalid), errors.Is(err, password.ErrFormat):
			v.note(ConfirmedInError, v.me, "password")
			c.Errors["password"] = v.lang.text("confirm.wrong")
			return again(http.StatusUnprocessableEntity)
		case err != nil:
			return err
		}
	}
	encoded, err := v.chosen(c.Errors, v.me.Name, v.me.Email)
	if err != nil {
		return err
	}
	if len(c.Errors) > 0 {
		return again(http.StatusUnprocessableEntity)
	}
	if err := v.claim(); err != nil {
		return err
	}
	was, end := v.me.Password, v.typed("end") != ""
	who, err := v.p.cfg.People.Update(v.ctx, v.me.ID, func(p *account.Person) error {
		if p.Password != was {
			return statusError(http.StatusConflict) // somebody else has just done so
		}
		p.Password, p.PasswordSet = encoded, now()
		if end {
			p.EndSessions()
		}
		return nil
	})
	if err != nil {
		return err
	}
	v.succeeded()
	v.changed(PasswordChanged, &who, "")
	if end {
		v.stay(who.Epoch)
		v.note(SessionsEnded, &who, "")
		v.removeSessions(who.ID)
	}
	v.s.Renew()
	v.say("flash.password")
	return v.redirect("/manager")
}
