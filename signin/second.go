package signin

import "net/http"

// strong reports whether more than a password has signed in whoever visits, or
// confirmed since.
func (v *visit) strong() bool {
	d, _ := deviceKey.Get(v.s)
	return d.Strong
}

// strengthen remembers that a second factor was shown, or added, here.
func (v *visit) strengthen() {
	d, _ := deviceKey.Get(v.s)
	d.Strong = true
	deviceKey.Set(v.s, d)
}

// withSecond is the condition that somebody is signed in with a second factor, where
// the site asks for that. Others are led to where they get one, or show it.
func (v *visit) withSecond() error {
	if v.admitted() {
		return nil
	}
	return v.redirect("/second" + query(v.wanted(), v.p.home))
}

// admitted reports whether the site asks for no more than has been shown.
func (v *visit) admitted() bool { return !v.p.cfg.RequireSecondFactor || v.strong() }

// wanted is the page that was asked for, if this is one.
func (v *visit) wanted() string {
	if navigates(v.r) {
		return v.r.URL.RequestURI()
	}
	return v.p.home
}

// enrolling is the condition that a factor may be added: whoever has one shows that
// first, or else a password alone would be enough to get in, by a factor of a thief's.
func (v *visit) enrolling() error {
	if err := v.present(); err != nil {
		return err
	}
	if !v.hasSecond() {
		return nil
	}
	return v.withSecond()
}

// hasSecond reports whether whoever is signed in has a factor beside the password.
func (v *visit) hasSecond() bool { return v.me.TwoFactors() || len(v.me.Passkeys) > 0 }

// secondBody is what the view is given.
type secondBody struct {
	Make string // settings of the script that makes a passkey
	Show string // settings of the script that confirms with one
	App  bool   // there is one, whose code is asked for
	Next string
}

func (v *visit) secondPage() error {
	if v.admitted() {
		http.Redirect(v.w, v.r, v.next(), http.StatusSeeOther)
		return errAnswered
	}
	b := secondBody{App: v.me.TwoFactors(), Next: v.next()}
	switch {
	case len(v.me.Passkeys) > 0:
		b.Show = v.passkeys("/confirm/passkey", b.Next, false)
	case !b.App:
		b.Make = v.passkeys("/manager/passkeys", "", false)
	}
	return v.show(http.StatusOK, "second", "manager", b)
}
