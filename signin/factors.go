package signin

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/boombuler/barcode/qr"
	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/internal/clock"
	"github.com/seed-64ad3862/gatehouse/throttle"
)

// An authenticator's codes are those of RFC 6238 as all apps have it: SHA-1, six
// digits, a new one every 30 seconds. To either side as many steps are accepted as the
// clocks of the phone and of the machine may differ by: with the one step of section
// 5.2, a machine that is 45 seconds off would refuse every other code, by turns with
// machines that take it.
const (
	totpStep = 30 * time.Second
	totpSkew = int64(clock.Skew / totpStep)
	totpSize = 20 // bytes of the secret, as RFC 4226, section 4, asks for
)

// errCode says that a code is wrong, or was used before.
var errCode = errors.New("signin: wrong code")

// digits is a code without what people put between its digits.
func digits(typed string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ' || r == '-' || r == '\u00a0':
			return -1
		case r >= '０' && r <= '９': // as a Chinese or Japanese keyboard gives them
			return r - '０' + '0'
		}
		return r
	}, typed)
}

// stepOf returns the time step whose code was typed, later than the last one that
// was used.
func stepOf(secret []byte, last int64, typed string, now time.Time) (int64, bool) {
	typed = digits(typed)
	if len(typed) != 6 {
		return 0, false
	}
	key := base32.StdEncoding.EncodeToString(secret)
	found, at := false, int64(0)
	present := now.Unix() / int64(totpStep/time.Second)
	for step := present - totpSkew; step <= present+totpSkew; step++ {
		if step <= last {
			continue
		}
		code, err := hotp.GenerateCodeCustom(key, uint64(step), hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err == nil && subtle.ConstantTimeCompare([]byte(code), []byte(typed)) == 1 && !found {
			found, at = true, step
		}
	}
	return at, found
}

// useCode uses up a code of the person's authenticator, or of recovery, and returns
// the person as they are then, and which it was. The error is errCode, and then the
// person is there too, or a [*throttle.Denied], of which the log and the person have
// been told.
func (v *visit) useCode(who *account.Person, typed string) (*account.Person, string, error) {
	if len(typed) > 256 {
		typed = ""
	}
	// Six digits can be guessed, a code of recovery cannot.
	guessable := len(digits(typed)) == 6
	if guessable {
		err := v.p.cfg.Throttle.TryCode(v.ctx, v.attempt(who.Name))
		if _, denied := errors.AsType[*throttle.Denied](err); denied {
			v.note(Throttled, who, "code")
			v.warn(who)
		}
		if err != nil {
			return nil, "", err
		}
	}
	var was account.Person
	var factor string
	p, err := v.p.cfg.People.Update(v.ctx, who.ID, func(p *account.Person) error {
		was, factor = *p, ""
		if p.Authenticator == nil {
			return errCode
		}
		if step, ok := stepOf(p.Authenticator.Secret, p.Authenticator.Step, typed, time.Now()); ok {
			// The person is a copy, but not what it points to.
			a := *p.Authenticator
			a.Step = step
			p.Authenticator, factor = &a, "app"
			return nil
		}
		if p.UseRecoveryCode(typed) {
			factor = "recovery"
			return nil
		}
		return errCode
	})
	if err != nil {
		return &was, "", err
	}
	if guessable {
		if err := v.p.cfg.Throttle.CodeSucceeded(v.ctx, v.attempt(who.Name)); err != nil {
			v.p.report(v.ctx, slog.LevelWarn, "codes stay counted", err)
		}
	}
	v.second = true
	if factor == "recovery" {
		v.note(CodeUsed, &p, strconv.Itoa(len(p.RecoveryCodes)))
	}
	return &p, factor, nil
}

// warnPause is how long after one warning nobody is sent another.
const warnPause = 24 * time.Hour

// warn tells somebody that their password is known to whoever guesses codes (ASVS 5.0,
// 6.3.5), at most once a day.
func (v *visit) warn(who *account.Person) {
	if v.p.cfg.Mail == nil || who.Email == "" {
		return
	}
	p, err := v.p.cfg.People.Update(v.ctx, who.ID, func(p *account.Person) error {
		if clock.Recent(p.Warned, time.Now(), warnPause) {
			return errWait
		}
		p.Warned = now()
		return nil
	})
	switch {
	case err == nil:
		v.mail(&p, "mail.guessed.subject", "mail.guessed.text")
	case !errors.Is(err, errWait):
		v.p.report(v.ctx, slog.LevelError, "a person could not be warned", err)
	}
}

// authenticatorForm is what the view is given.
type authenticatorForm struct {
	Error string
	QR    template.HTML
	URL   template.URL
	Key   string // the secret in groups, to be typed
}

// authenticatorPage shows a new secret, which is kept in the session until a code
// shows that the app has it.
func (v *visit) authenticatorPage() error {
	if v.me.Authenticator != nil {
		return v.redirect("/manager")
	}
	if _, ok := secretKey.Get(v.s); !ok {
		secret := make([]byte, totpSize)
		rand.Read(secret)
		secretKey.Set(v.s, secret)
	}
	return v.showAuthenticator(http.StatusOK, "")
}

func (v *visit) showAuthenticator(status int, problem string) error {
	secret, _ := secretKey.Get(v.s)
	key := base32.StdEncoding.EncodeToString(secret)
	u := url.URL{Scheme: "otpauth", Host: "totp", Path: "/" + v.p.cfg.Site + ":" + v.me.Name}
	// Spaces as %20: some apps show a plus as it is.
	u.RawQuery = strings.ReplaceAll(url.Values{"secret": {key}, "issuer": {v.p.cfg.Site}}.Encode(), "+", "%20")
	picture, err := qrCode(u.String())
	if err != nil {
		return err
	}
	var groups []string
	for i := 0; i < len(key); i += 4 {
		groups = append(groups, key[i:i+4])
	}
	return v.show(status, "authenticator", "manager", authenticatorForm{
		Error: problem, QR: picture, URL: template.URL(u.String()), //nolint:gosec // made of our own parts
		Key: strings.Join(groups, " "),
	})
}

// qrCode returns a picture as SVG, dark on light in both themes, since not all
// apps read it the other way round.
func qrCode(text string) (template.HTML, error) {
	code, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return "", fmt.Errorf("signin: QR code: %w", err)
	}
	const quiet = 4 // modules of margin, as ISO/IEC 18004 asks for
	n := code.Bounds().Dx()
	var path strings.Builder
	for y := range n {
		for x := 0; x < n; x++ {
			width := 0
			for x+width < n {
				if r, _, _, _ := code.At(x+width, y).RGBA(); r != 0 {
					break
				}
				width++
			}
			if width > 0 {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", x+quiet, y+quiet, width, width)
				x += width
			}
		}
	}
	size := n + 2*quiet
	return template.HTML(fmt.Sprintf( //nolint:gosec // numbers
		`<svg class="qr" viewBox="0 0 %d %d" aria-hidden="true" focusable="false"><rect width="%[1]d" height="%[2]d" fill="#fff"/><path d="%s" fill="#000"/></svg>`,
		size, size, path.String())), nil
}

func (v *visit) authenticator() error {
	secret, ok := secretKey.Get(v.s)
	if !ok || v.me.Authenticator != nil {
		return v.redirect("/manager")
	}
	step, ok := stepOf(secret, 0, v.typed("code"), time.Now())
	if !ok {
		return v.showAuthenticator(http.StatusUnprocessableEntity, v.lang.text("authenticator.wrong"))
	}
	codes, hashes := account.NewRecoveryCodes()
	_, err := v.p.cfg.People.Update(v.ctx, v.me.ID, func(p *account.Person) error {
		if p.Authenticator != nil {
			return statusError(http.StatusConflict) // another tab was faster
		}
		p.Authenticator = &account.Authenticator{Secret: secret, Created: time.Now().UTC().Truncate(time.Second), Step: step}
		p.RecoveryCodes = hashes
		return nil
	})
	if err != nil {
		return err
	}
	secretKey.Delete(v.s)
	v.strengthen()
	v.changed(AppAdded, v.me, "")
	return v.showCodes(codes)
}

func (v *visit) removeAuthenticator() error {
	_, err := v.p.cfg.People.Update(v.ctx, v.me.ID, func(p *account.Person) error {
		if v.p.cfg.RequireSecondFactor && len(p.Passkeys) == 0 {
			return errLastFactor
		}
		p.Authenticator, p.RecoveryCodes = nil, nil
		return nil
	})
	if errors.Is(err, errLastFactor) {
		v.say("flash.last-second")
		return v.redirect("/manager")
	}
	if err != nil {
		return err
	}
	v.changed(AppRemoved, v.me, "")
	v.say("flash.app-removed")
	return v.redirect("/manager")
}

// codes makes new codes of recovery, in place of the old ones.
func (v *visit) codes() error {
	codes, hashes := account.NewRecoveryCodes()
	_, err := v.p.cfg.People.Update(v.ctx, v.me.ID, func(p *account.Person) error {
		if p.Authenticator == nil {
			return statusError(http.StatusConflict)
		}
		p.RecoveryCodes = hashes
		return nil
	})
	if err != nil {
		return err
	}
	v.changed(CodesMade, v.me, "")
	return v.showCodes(codes)
}

// codesShown is what the view is given.
type codesShown struct {
	Codes  []string
	Others int
}

// showCodes shows the codes, this once.
func (v *visit) showCodes(codes []string) error {
	others, err := v.others()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, "codes", "manager", codesShown{codes, others})
}

// changed tells the log, and the person by mail, of a change of what signs them in
// (ASVS 5.0, 6.3.7).
func (v *visit) changed(kind account.Kind, who *account.Person, detail string) {
	v.note(kind, who, detail)
	v.mail(who, "mail.changed.subject", "mail.changed.text", v.lang.text("log."+string(kind)))
}
