// Package form is the part of a page in which a visitor solves a challenge: the
// picture, another one on request, the same by ear, a film for those who want it,
// and work that the visitor's machine does unseen. It brings its own style and
// script, and can do without the script.
//
//	part, err := form.New(form.Config{})
//	mux.Handle("/captcha/", part)
//
//	ask := form.Ask{Scope: captcha.Scope{Purpose: "comment"}}
//	html, err := part.HTML(ask)      // into the page's <form>
//	err = part.Verify(r, ask)        // when it comes back
//
// # What a visitor meets
//
// A picture with a text field below it, and three buttons: another picture, the
// code aloud, and slowly. The code that is heard is another one than the code
// that is seen, of digits, and either is right. With [Config.Film] there is a
// button for a moving picture as well, not for those who want less motion. It is
// all made for the keyboard and for screen readers first: what happens is said in
// a status line, errors belong to their field, and nothing depends on colour.
//
// Without JavaScript the buttons are links and a button of the form: see [ErrNew].
//
// # What it is worth
//
// No more than what it is made of: see packages captcha, still, speech, motion
// and pow. Who can choose between forms is stopped by the weakest of them.
//
// # Content security policy
//
//	script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; worker-src 'self'
//
// is enough. Nothing is inline.
//
// # Style
//
// The part takes its font and its colours from the page, and knows both themes. A
// page can set --captcha-accent, --captcha-radius and --captcha-gap on .captcha.
package form

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/captcha/motion"
	"github.com/seed-64ad3862/gatehouse/captcha/pow"
	"github.com/seed-64ad3862/gatehouse/captcha/speech"
	"github.com/seed-64ad3862/gatehouse/captcha/still"
)

// Config configures [New]. The zero value is right for one machine.
type Config struct {
	// Prefix is the path below which the Form is mounted: it begins and ends
	// with a slash, "/captcha/" if empty.
	Prefix string

	// Keys, Once, Length, Lifetime, Allow and Observe are as in
	// [captcha.Config], and stand for the work as well. Several machines need
	// the same Keys and a Once that they share. Allow is asked before anything
	// is drawn, and before another challenge of work is made.
	Keys     [][]byte
	Once     captcha.Once
	Length   int
	Lifetime time.Duration
	Allow    func(*http.Request) error
	Observe  func(captcha.Event)

	// Film offers a moving picture beside the still one. It lets in programs
	// that compute optical flow, which read it well; see package motion.
	Film bool
}

// An Ask is what one visitor has to do for one attempt. [Form.HTML] and
// [Form.Verify] need the same; what Verify asks for may have risen in between.
type Ask struct {
	// Scope is what the challenge is good for.
	Scope captcha.Scope
	// By is how the visitor gets through; [Code] if zero.
	By By
	// Cost is that of the work; see [pow.Demand].
	Cost int
	// Language is a BCP 47 tag. Chinese (zh, zh-Hans, zh-CN …) is there in
	// simplified characters and spoken in Mandarin; everything else is English.
	Language string
	// Err is what Verify has said of the attempt before, to be told beside the
	// field. It matters to HTML alone.
	Err error
}

// By is how a visitor gets through.
type By int

const (
	// Code: the visitor reads a picture, or listens.
	Code By = iota
	// Work: the visitor's machine works, and nobody is asked anything. Where it
	// cannot, for want of JavaScript or of HTTPS, there is the picture instead.
	// That is as strong as the weaker of the two, and the least trouble.
	Work
	// CodeAndWork: both. Without JavaScript nobody gets through, and the page
	// says so.
	CodeAndWork
)

// Names of the fields that the part adds to a form.
const (
	FieldID     = "captcha_id"     // of the challenge
	FieldAnswer = "captcha_answer" // what was typed
	FieldWork   = "captcha_work"   // the solution of package pow
	FieldNew    = "captcha_new"    // another picture is wanted, without JavaScript
)

// Errors of [Form.Verify] beside those of packages captcha and pow.
var (
	// ErrNew means that a visitor without JavaScript has asked for another
	// picture. The page is to be shown again, with what else was typed.
	ErrNew = errors.New("form: another picture is wanted")
	// ErrWork means that the work is missing, because the visitor has no
	// JavaScript or does not want to do it. It is also in every error that
	// package pow has for work that is there.
	ErrWork = errors.New("form: the work is not done")
)

// A Form makes the part of the page, serves what belongs to it, and verifies what
// comes back. It is safe for concurrent use.
type Form struct {
	cfg   Config
	codes *captcha.Captcha
	toll  *pow.Toll
	mux   *http.ServeMux
	style string // addresses
	code  string
	solve string
}

// How a challenge is shown; the sounds are named by their language.
const (
	picture, pictureDark = "gif", "dark.gif"
	film, filmDark       = "film.gif", "film.dark.gif"
	sound, soundSlow     = ".wav", ".slow.wav"
)

// New returns a Form, or an error if cfg is out of its bounds.
func New(cfg Config) (*Form, error) {
	cfg.Prefix = cmp.Or(cfg.Prefix, "/captcha/")
	cfg.Length = cmp.Or(cfg.Length, 5)
	cfg.Lifetime = cmp.Or(cfg.Lifetime, 5*time.Minute)
	f, err := build(cfg)
	if err != nil {
		return nil, fmt.Errorf("form: %w", err)
	}
	return f, nil
}

func build(cfg Config) (*Form, error) {
	if p := cfg.Prefix; !strings.HasPrefix(p, "/") || p != path.Clean(p)+"/" || strings.ContainsAny(p, "{}?#%\"' ") {
		return nil, fmt.Errorf("prefix %q is no plain path that begins and ends with a slash", p)
	}
	forms, err := renderers(cfg.Film)
	if err != nil {
		return nil, err
	}
	f := &Form{cfg: cfg, mux: http.NewServeMux()}
	f.codes, err = captcha.New(captcha.Config{
		Keys: cfg.Keys, Once: cfg.Once, Length: cfg.Length, Lifetime: cfg.Lifetime,
		Allow: cfg.Allow, Observe: cfg.Observe, Forms: forms,
	})
	if err != nil {
		return nil, err
	}
	f.toll, err = pow.New(pow.Config{Keys: cfg.Keys, Once: cfg.Once, Lifetime: cfg.Lifetime, Observe: cfg.Observe})
	if err != nil {
		return nil, err
	}
	return f, f.mount()
}

// renderers are the ways in which a code is shown.
func renderers(withFilm bool) (map[string]captcha.Renderer, error) {
	light, err := still.New(still.Config{})
	if err != nil {
		return nil, err
	}
	dark, err := still.New(still.Config{Inks: still.Dark()})
	if err != nil {
		return nil, err
	}
	forms := map[string]captcha.Renderer{picture: light, pictureDark: dark}
	for _, language := range []speech.Language{speech.English, speech.Mandarin} {
		for ending, slow := range map[string]bool{sound: false, soundSlow: true} {
			if forms[string(language)+ending], err = speech.New(speech.Config{Language: language, Slow: slow}); err != nil {
				return nil, err
			}
		}
	}
	if withFilm {
		for ending, ink := range map[string]motion.Ink{film: motion.Light(), filmDark: motion.Dark()} {
			if forms[ending], err = motion.New(motion.Config{Ink: ink}); err != nil {
				return nil, err
			}
		}
	}
	return forms, nil
}

// Verify returns nil if what the request's body says solves what is asked for. It
// parses the body, whose size is the caller's to bound ([http.MaxBytesReader]).
//
// The errors are [ErrNew] and [ErrWork], and those of packages captcha and pow.
// Give them to [Ask.Err] when the page is shown again; a page is always shown with
// a new challenge.
func (f *Form) Verify(r *http.Request, ask Ask) error {
	if r.PostFormValue(FieldNew) != "" {
		return ErrNew
	}
	work := r.PostFormValue(FieldWork)
	if ask.By == CodeAndWork || ask.By == Work && work != "" {
		if work == "" {
			return ErrWork
		}
		if err := f.toll.Verify(r.Context(), pow.Demand{Scope: ask.Scope, Cost: ask.Cost}, work, ""); err != nil {
			return fmt.Errorf("%w: %w", ErrWork, err)
		}
		if ask.By == Work {
			return nil
		}
	}
	return f.codes.Verify(r.Context(), r.PostFormValue(FieldID), ask.Scope, r.PostFormValue(FieldAnswer))
}
