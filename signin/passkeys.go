package signin

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/internal/clock"
	"github.com/seed-64ad3862/gatehouse/internal/logtext"
	"github.com/seed-64ad3862/gatehouse/passkey"
	"github.com/seed-64ad3862/gatehouse/session"
)

// ceremoniesKey are what a visitor's ceremonies have begun with, the last one last:
// there may be several tabs, and autofill that waits in each.
var ceremoniesKey = session.NewKey[[]passkey.State]("signin.ceremonies")

// maxCeremonies is how many can be under way.
const maxCeremonies = 4

// passkeySettings are what the pages' script is told.
type passkeySettings struct {
	Module  string            `json:"module"`
	Options string            `json:"options"` // where to get them
	Finish  string            `json:"finish"`  // where to send the response
	Next    string            `json:"next,omitempty"`
	Fill    bool              `json:"fill,omitempty"` // offer them where the name is typed
	Say     map[string]string `json:"say"`
}

// settings returns those for a page, as JSON; nothing where there are no passkeys.
func (v *visit) passkeys(at, next string, fill bool) string {
	if v.p.keys == nil {
		return ""
	}
	s := passkeySettings{
		Module: v.p.module, Options: v.p.cfg.Prefix + at + "/options", Finish: v.p.cfg.Prefix + at, Next: next, Fill: fill,
		Say: make(map[string]string),
	}
	for _, key := range []string{"failed", "refused", "there", "away", "label"} {
		s.Say[key] = v.lang.text("passkey." + key)
	}
	b, _ := json.Marshal(s) // texts
	return string(b)
}

// user is the person as package passkey has them.
func user(p *account.Person) (passkey.User, error) {
	u := passkey.User{Handle: []byte(p.ID), Name: p.Name, DisplayName: p.Called()}
	for i := range p.Passkeys {
		var c passkey.Credential
		if err := json.Unmarshal(p.Passkeys[i].Credential, &c); err != nil {
			return u, err
		}
		u.Credentials = append(u.Credentials, c)
	}
	return u, nil
}

// problem answers a script: a text for people, with a status.
func (v *visit) problem(status int, key string, args ...any) error {
	return v.json(status, map[string]string{"error": v.lang.text(key, args...)})
}

func (v *visit) json(status int, answer any) error {
	b, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	v.w.Header().Set("Content-Type", "application/json")
	v.w.WriteHeader(status)
	_, _ = v.w.Write(append(b, '\n')) // or the visitor has gone
	return nil
}

// ceremony answers with the options of a ceremony, and keeps its state.
func (v *visit) ceremony(options json.RawMessage, state passkey.State, err error) error {
	if err != nil {
		return err
	}
	err = ceremoniesKey.Update(v.ctx, v.s, func(all []passkey.State) []passkey.State {
		all = append(all, state)
		return all[max(0, len(all)-maxCeremonies):]
	})
	if err != nil {
		return err
	}
	return v.json(http.StatusOK, options)
}

// sent is what a script sends when a ceremony is over.
type sent struct {
	Response json.RawMessage `json:"response"`
	Next     string          `json:"next"`
	Label    string          `json:"label"`
}

// read reads what was sent.
func (v *visit) read() (s sent, err error) {
	media, _, _ := mime.ParseMediaType(v.r.Header.Get("Content-Type"))
	if media != "application/json" {
		return s, statusError(http.StatusUnsupportedMediaType)
	}
	b, err := io.ReadAll(v.r.Body)
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return s, statusError(http.StatusRequestEntityTooLarge)
	}
	if err != nil || json.Unmarshal(b, &s) != nil {
		return s, statusError(http.StatusBadRequest)
	}
	return s, nil
}

// finish reads what was sent, and takes the state of the ceremony, once.
func (v *visit) finish() (s sent, state passkey.State, err error) {
	if s, err = v.read(); err != nil {
		return s, state, err
	}
	// Which one it is, the response says; that it says so truly, package passkey
	// looks at. Without one the state is zero, which is refused there.
	challenge := passkey.ChallengeOf(s.Response)
	err = ceremoniesKey.Update(v.ctx, v.s, func(all []passkey.State) []passkey.State {
		state = passkey.State{}
		return slices.DeleteFunc(all, func(one passkey.State) bool {
			found := bytes.Equal(one.Challenge, challenge)
			if found {
				state = one
			}
			return found
		})
	})
	return s, state, err
}

// refused reports whether an error of a ceremony is the visitor's, and answers if
// so. What was wrong with it is in the program's own log.
func (v *visit) refused(err error) (bool, error) {
	key := "passkey.failed"
	switch {
	case errors.Is(err, passkey.ErrUnknown):
		key = "passkey.unknown"
	case errors.Is(err, passkey.ErrState):
		key = "passkey.late"
	case errors.Is(err, passkey.ErrResponse), errors.Is(err, passkey.ErrCloned), errors.Is(err, errDisabled):
	default:
		return false, err
	}
	kind := errDisabled
	for _, known := range []error{passkey.ErrUnknown, passkey.ErrState, passkey.ErrResponse, passkey.ErrCloned} {
		if errors.Is(err, known) {
			kind = known
		}
	}
	v.p.refusals.Log(v.ctx, v.p.log, slog.LevelWarn, kind.Error(), "signin: a passkey was refused", slog.String("error", logtext.Cut(err.Error(), 512)))
	status := http.StatusUnprocessableEntity
	if key == "passkey.unknown" {
		status = http.StatusGone // upon which the script tells the browser to forget it
	}
	return true, v.problem(status, key)
}

// used stores what has changed of a passkey by its use. It must still be the
// person's.
func (v *visit) used(who *account.Person, c passkey.Credential) (account.Person, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return account.Person{}, err
	}
	return v.p.cfg.People.Update(v.ctx, who.ID, func(p *account.Person) error {
		i := slices.IndexFunc(p.Passkeys, func(k account.Passkey) bool { return slices.Equal(k.ID, c.ID) })
		switch {
		case i < 0:
			return passkey.ErrUnknown
		case p.Disabled:
			return errDisabled
		}
		p.Passkeys[i].Credential, p.Passkeys[i].Used = b, now()
		return nil
	})
}

// errDisabled is for who has shown a passkey and may not sign in. The browser is not
// told that it is unknown: it would forget it for good.
var errDisabled = errors.New("signin: disabled")

// tryPasskey counts an attempt for the network: who it is for, the passkey will say.
func (v *visit) tryPasskey() (answered bool, err error) {
	var f loginForm
	err = v.try("", &f)
	if errors.Is(err, errWait) {
		return true, v.json(http.StatusTooManyRequests, map[string]string{"error": f.Error})
	}
	return false, err
}

// ---- signing in

// offerSecret is that of the offers to sign in with a passkey, which are of the form that
// shows them.
func (v *visit) offerSecret() (secret [32]byte, err error) {
	if secret, err = v.p.guard.FormSecret(v.r, "passkey"); err != nil {
		return secret, err
	}
	mac := hmac.New(sha256.New, v.p.formKey)
	_, _ = io.WriteString(mac, "passkey\x00")
	mac.Write(secret[:])
	return [32]byte(mac.Sum(nil)), nil
}

// loginOptions stores nothing: scripts of browsers that fill in names ask for options
// whenever the page is looked at.
func (v *visit) loginOptions() error {
	secret, err := v.offerSecret()
	if err != nil {
		return err
	}
	options, err := v.p.keys.OfferSignIn(secret)
	if err != nil {
		return err
	}
	return v.json(http.StatusOK, options)
}

func (v *visit) loginPasskey() error {
	s, err := v.read()
	if err != nil {
		return err
	}
	if answered, err := v.tryPasskey(); answered || err != nil {
		return err
	}
	secret, err := v.offerSecret()
	if err != nil {
		return err
	}
	var who account.Person
	var credential passkey.Credential
	state, err := v.p.keys.OfferedSignIn(secret, s.Response)
	if err == nil {
		_, credential, err = v.p.keys.FinishSignIn(v.ctx, state, s.Response, func(ctx context.Context, handle, _ []byte) (passkey.User, error) {
			var err error
			who, err = v.p.cfg.People.ByID(ctx, string(handle))
			if errors.Is(err, account.ErrNotFound) {
				return passkey.User{}, passkey.ErrUnknown
			}
			if err != nil {
				return passkey.User{}, err
			}
			return user(&who)
		})
	}
	if err == nil {
		var first bool
		switch first, err = v.p.submissions.Spend(v.ctx, state.ID(), state.Expires.Add(clock.Skew)); {
		case err != nil:
			return err
		case !first:
			err = fmt.Errorf("%w: it has signed in before", passkey.ErrState)
		}
	}
	shown := who
	if err == nil {
		who, err = v.used(&shown, credential)
	}
	if err != nil {
		if answered, err := v.refused(err); !answered {
			return err
		}
		detail := "passkey"
		if errors.Is(err, errDisabled) {
			detail = "disabled"
		}
		v.note(Refused, known(&shown), detail)
		return nil
	}
	next, ok := localPath(s.Next)
	if !ok {
		next = v.p.home
	}
	if err := v.begin(&who, "passkey", credential.ID); err != nil {
		return err
	}
	return v.json(http.StatusOK, map[string]string{"location": next})
}

// known is the person, or nil if there is none.
func known(p *account.Person) *account.Person {
	if p.ID == "" {
		return nil
	}
	return p
}

// ---- confirming

func (v *visit) confirmOptions() error {
	u, err := user(v.me)
	if err != nil {
		return err
	}
	if len(u.Credentials) == 0 {
		return v.problem(http.StatusConflict, "passkey.failed")
	}
	return v.ceremony(v.p.keys.BeginConfirmation(u))
}

func (v *visit) confirmPasskey() error {
	s, state, err := v.finish()
	if err != nil {
		return err
	}
	if answered, err := v.tryPasskey(); answered || err != nil {
		return err
	}
	u, err := user(v.me)
	if err != nil {
		return err
	}
	credential, err := v.p.keys.FinishConfirmation(u, state, s.Response)
	if err == nil {
		_, err = v.used(v.me, credential)
	}
	if err != nil {
		if answered, err := v.refused(err); !answered {
			return err
		}
		v.note(ConfirmedInError, v.me, "passkey")
		return nil
	}
	next, ok := localPath(s.Next)
	if !ok {
		next = v.p.cfg.Prefix + "/manager"
	}
	v.second = true
	if err := v.confirmedNow(); err != nil {
		return err
	}
	return v.json(http.StatusOK, map[string]string{"location": next})
}

// ---- one's own

func (v *visit) passkeyOptions() error {
	u, err := user(v.me)
	if err != nil {
		return err
	}
	if len(u.Credentials) >= account.MaxPasskeys {
		return v.problem(http.StatusConflict, "passkey.many")
	}
	return v.ceremony(v.p.keys.BeginRegistration(u))
}

func (v *visit) addPasskey() error {
	s, state, err := v.finish()
	if err != nil {
		return err
	}
	u, err := user(v.me)
	if err != nil {
		return err
	}
	credential, err := v.p.keys.FinishRegistration(u, state, s.Response)
	if err != nil {
		_, err = v.refused(err)
		return err
	}
	b, err := json.Marshal(credential)
	if err != nil {
		return err
	}
	k := account.Passkey{ID: credential.ID, Label: v.label(s.Label), Created: now(), Credential: b}
	_, err = v.p.cfg.People.Update(v.ctx, v.me.ID, func(p *account.Person) error {
		for i := range p.Passkeys {
			if slices.Equal(p.Passkeys[i].ID, k.ID) {
				return nil // sent twice
			}
		}
		p.Passkeys = append(p.Passkeys, k)
		return nil
	})
	switch {
	case errors.Is(err, account.ErrPasskeyTaken):
		v.note(Refused, v.me, "passkey")
		return v.problem(http.StatusConflict, "passkey.taken")
	case errors.Is(err, account.ErrPerson):
		return v.problem(http.StatusConflict, "passkey.many")
	case err != nil:
		return err
	}
	v.strengthen()
	v.changed(PasskeyAdded, v.me, k.Label)
	v.say("flash.passkey")
	return v.json(http.StatusOK, map[string]string{"location": v.p.cfg.Prefix + "/manager"})
}

// label is what the owner calls a passkey; the device it was made on if they have
// not said.
func (v *visit) label(s string) string {
	s = strings.TrimSpace(plainText(s, 256))
	for utf8.RuneCountInString(s) > account.MaxName {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	if s == "" {
		return describe(v.r.UserAgent())
	}
	return s
}

// changePasskey renames or removes one.
func (v *visit) changePasskey() error {
	id, err := base64.RawURLEncoding.DecodeString(v.typed("id"))
	if err != nil {
		return statusError(http.StatusBadRequest)
	}
	remove := v.typed("remove") != ""
	label := ""
	_, err = v.p.cfg.People.Update(v.ctx, v.me.ID, func(p *account.Person) error {
		i := slices.IndexFunc(p.Passkeys, func(k account.Passkey) bool { return slices.Equal(k.ID, id) })
		if i < 0 {
			return statusError(http.StatusNotFound)
		}
		label = p.Passkeys[i].Label
		if !remove {
			p.Passkeys[i].Label = v.label(v.typed("label"))
			return nil
		}
		if len(p.Passkeys) == 1 && (p.Password == "" || v.p.cfg.RequireSecondFactor && !p.TwoFactors()) {
			return errLastFactor
		}
		p.Passkeys = slices.Delete(p.Passkeys, i, i+1)
		return nil
	})
	switch {
	case errors.Is(err, errLastFactor):
		if v.me.Password == "" {
			v.say("flash.last-factor")
		} else {
			v.say("flash.last-second")
		}
	case err != nil:
		return err
	case remove:
		v.changed(PasskeyRemoved, v.me, label)
		v.say("flash.passkey-removed")
	default:
		v.say("flash.saved")
	}
	return v.redirect("/manager")
}

// errLastFactor says that nothing would be left to sign in with.
var errLastFactor = errors.New("signin: the last factor")

// passkeyRow is a passkey as pages show it.
type passkeyRow struct {
	account.Passkey
	Code string // its ID
}

func passkeyRows(p *account.Person) (rows []passkeyRow) {
	for _, k := range p.Passkeys {
		rows = append(rows, passkeyRow{k, base64.RawURLEncoding.EncodeToString(k.ID)})
	}
	return rows
}
