// Package captcha asks a visitor to read a few distorted letters, and keeps
// nothing in memory until an answer comes back.
//
// A [Captcha] issues challenges, shows them through one or more [Renderer]
// forms such as package still's pictures, and verifies what was typed:
//
//	id := c.Issue(scope)                         // into a hidden field
//	<img src="/captcha/{id}.gif">                // served by c itself
//	err := c.Verify(ctx, id, scope, answer)      // nil, once at most
//
// # How a challenge lives
//
// An id is not a key into a table: it carries its own expiry, scope and 128
// random bits under a MAC, and both the answer and the picture are derived
// from it with keys that never leave the server. A million visitors who only
// look cost no memory, any machine that holds the keys can serve any
// challenge, and the same id always gives the same picture, so averaging many
// of them gains nothing.
//
// Memory is spent on answers alone: a challenge is spent by the first one,
// right or wrong, and [Once] remembers that until the challenge would have
// expired anyway. There is one try per challenge.
//
// # What it is worth
//
// A CAPTCHA is a price and not a wall. Every picture that people can read, a
// program can be trained to read: a network of 0.13 million parameters, shown
// 10,000 labelled pictures for 150 seconds on one core, then read 99 % of
// dchest's pictures, nearly all of base64Captcha's digits, and a third of
// package still's, which it would read better with more of either. What makes
// the price count is the whole: one try per challenge, a scope that makes
// answers bought elsewhere worthless, and budgets per account and per network
// ([Config.Allow]) around it. docs/captcha.md of the project has the figures.
//
// # Keys
//
// Without [Config.Keys] a random key is made. That is right for one process:
// challenges that are open during a restart are lost, which costs a visitor
// one more picture. Several machines need the same keys, and the same Forms,
// Length and Lifetime: answers are derived from the keys, and a challenge that
// lives longer than one can that was issued just now is refused.
//
// To rotate, put the new key first and drop the old one later; where several
// machines change over one by one, add the new key last everywhere before it
// goes first anywhere. A challenge is exchanged under its own key, since a
// scope can be told by that alone. So the old key is in use for as long as
// pages of before lie open: what they have is of no use once it is dropped,
// until they are loaded anew. A day is a good time to wait.
//
// # Codes kept elsewhere
//
// An application that keeps the expected code itself, in its session say,
// needs neither ids nor keys: [NewCode] makes a code, a form draws it from any
// seed, and [Match] compares with the same tolerance as [Captcha.Verify]. That
// the code is used up by the first try is then the application's duty.
package captcha

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/clock"
	"github.com/seed-64ad3862/gatehouse/internal/spent"
)

// The errors of [Captcha.Verify]. None of them, wrapped or not, contains a
// secret or an answer.
var (
	// ErrWrong means that the answer does not match. The challenge is spent.
	ErrWrong = errors.New("captcha: wrong answer")
	// ErrExpired means that the challenge is authentic but too old.
	ErrExpired = errors.New("captcha: challenge expired")
	// ErrSpent means that the challenge has been answered before.
	ErrSpent = errors.New("captcha: challenge already spent")
	// ErrUnknown means that the id is malformed or forged, or was issued
	// under other keys, for another scope, or by a machine with a longer
	// Lifetime or a clock that is more than a minute ahead. Nothing tells these
	// apart: the difference helps only those who probe.
	ErrUnknown = errors.New("captcha: unknown challenge")
	// ErrStore means that the [Once] failed, and wraps its error. The answer
	// was refused without being looked at.
	ErrStore = errors.New("captcha: cannot record the answer")
)

// Config configures [New]. The zero value is safe, and issues and verifies on
// a single machine; it has no [Config.Forms] to show a challenge in.
type Config struct {
	// Keys are secrets of at least 32 random bytes. The first one signs new
	// challenges, the others still verify: see "Keys" above. They are not
	// kept, only keys derived from them are.
	Keys [][]byte

	// Forms are the ways to show a challenge, by the file ending under which
	// ServeHTTP offers them: "gif", "png", "wav".
	Forms map[string]Renderer

	// Once remembers spent challenges. If nil, it is a table of this Captcha's
	// own, of at most 1,048,576 challenges, some 40 MB, that answers [ErrFull]
	// beyond. It is lost with the process. So where Keys are given, a Once that
	// outlives the process, and is shared by all that have them, must be given
	// too, or else a challenge can be answered once more after a restart, and
	// once on every machine.
	Once Once

	// Length is the number of characters in an answer, from 4 to 10; 5 if 0.
	Length int

	// Lifetime is how long a challenge can be answered, from one second to
	// one hour; five minutes if 0.
	Lifetime time.Duration

	// Allow, if not nil, is asked before anything is drawn, and an error
	// refuses with 429. It is the place for a budget per network. If the
	// error, or one that it wraps, has a method RetryAfter() time.Duration,
	// the answer carries it.
	Allow func(*http.Request) error

	// Draws is the number of challenges drawn at the same time; GOMAXPROCS
	// if 0. Requests beyond wait for a moment, then get a 503.
	Draws int

	// Observe, if not nil, is told of every event, for metrics. It is called
	// inline, from many goroutines at once.
	Observe func(Event)
}

// A Renderer shows answers in one form: a picture, a film, a sound. Its methods
// must be safe for concurrent use.
type Renderer interface {
	// MediaType is the Content-Type of what Append makes, like "image/gif".
	MediaType() string

	// Append draws answer, which consists of letters of [Alphabet], and
	// appends the encoded result to dst. All its randomness must come from
	// seed: the same answer and seed give the same bytes, always.
	//
	// A Renderer that cannot show all of Alphabet equally well has a method
	//
	//	Alphabet() string
	//
	// with those characters, at least eight, that it can. A challenge then has
	// another answer in that form, as long, made of these, and Verify accepts
	// either; so machines that verify need the same Forms as those that show.
	Append(dst []byte, answer string, seed [32]byte) ([]byte, error)
}

// alphabeter is the optional method of a [Renderer]. The answers of a challenge
// are independent of each other: who half sees the one and half hears the other
// has nothing.
type alphabeter interface{ Alphabet() string }

// alphabetOf returns what answers in a form consist of.
func alphabetOf(form Renderer) string {
	if a, ok := form.(alphabeter); ok {
		return a.Alphabet()
	}
	return Alphabet
}

// A Scope says what a challenge is good for: its answer is accepted for an
// equal Scope only, so that one solved elsewhere, for a less guarded action
// or by hired readers in their own session, is worthless.
type Scope struct {
	// Purpose names the action, like "sign-in".
	Purpose string
	// Session is any string that belongs to the visitor's session and to no
	// other, if there is one. It does not appear in the id.
	Session string
}

// An Event is something that happened to a challenge. Its text is fit to be
// the label of a metric.
type Event string

// Events. Issue causes Issued, and Verify one of the others. ServeHTTP causes
// Issued for each new challenge, and Failed.
const (
	Issued  Event = "issued"
	Solved  Event = "solved"
	Wrong   Event = "wrong"
	Expired Event = "expired"
	Spent   Event = "spent"
	Unknown Event = "unknown"
	Failed  Event = "failed" // the Once or a form returned an error
)

// A Captcha issues, serves and verifies challenges. It is safe for concurrent
// use.
type Captcha struct {
	keys    []key
	cfg     Config        // with defaults filled in, and without the secrets
	answers []string      // the alphabets that there are answers in
	spent   spentReader   // cfg.Once, if it is one
	draws   chan struct{} // a place for each drawing under way
	buffers sync.Pool     // of *[]byte: challenges on their way out
}

// Bounds of a [Config]. A longer answer tires people, a longer life fills the
// Once.
const (
	minKey      = 32
	minLength   = 4
	maxLength   = 10
	minLifetime = time.Second
	maxLifetime = time.Hour
)

// New returns a Captcha, or an error if cfg is out of its bounds.
func New(cfg Config) (*Captcha, error) {
	if cfg.Length == 0 {
		cfg.Length = 5
	}
	if cfg.Lifetime == 0 {
		cfg.Lifetime = 5 * time.Minute
	}
	if cfg.Draws == 0 {
		cfg.Draws = runtime.GOMAXPROCS(0)
	}
	if cfg.Once == nil {
		cfg.Once = spent.New(spent.DefaultMax)
	}
	switch {
	case cfg.Length < minLength || cfg.Length > maxLength:
		return nil, fmt.Errorf("captcha: length %d is not from %d to %d", cfg.Length, minLength, maxLength)
	case cfg.Lifetime < minLifetime || cfg.Lifetime > maxLifetime:
		return nil, fmt.Errorf("captcha: lifetime %v is not from %v to %v", cfg.Lifetime, minLifetime, maxLifetime)
	case cfg.Draws < 0:
		return nil, fmt.Errorf("captcha: %d draws at the same time", cfg.Draws)
	}
	cfg.Forms = maps.Clone(cfg.Forms)
	alphabets := []string{Alphabet} // an application may draw by itself
	for ext, form := range cfg.Forms {
		if form == nil || ext == "" {
			return nil, fmt.Errorf("captcha: form %q: neither name nor renderer may be missing", ext)
		}
		if ext[0] == '.' || strings.Contains(ext, "/") {
			return nil, fmt.Errorf("captcha: form %q: no file ending can begin with a dot or have a slash", ext)
		}
		a := alphabetOf(form)
		if !validAlphabet(a) {
			return nil, fmt.Errorf("captcha: form %q: answers cannot be made of %q", ext, a)
		}
		if !slices.Contains(alphabets, a) {
			alphabets = append(alphabets, a)
		}
	}

	secrets := cfg.Keys
	cfg.Keys = nil
	if len(secrets) == 0 {
		secret := make([]byte, minKey)
		rand.Read(secret)
		secrets = [][]byte{secret}
	}
	c := &Captcha{cfg: cfg, answers: alphabets, draws: make(chan struct{}, cfg.Draws)}
	c.buffers.New = func() any { return new([]byte) }
	for i, secret := range secrets {
		k, err := newKey(secret)
		if err != nil {
			return nil, fmt.Errorf("captcha: key %d: %w", i, err)
		}
		c.keys = append(c.keys, k)
	}
	c.spent, _ = cfg.Once.(spentReader)
	return c, nil
}

// Issue returns the id of a new challenge: 64 characters that are safe in
// URLs, file names and HTML. It costs a few microseconds and keeps nothing.
func (c *Captcha) Issue(scope Scope) (id string) {
	k := &c.keys[0]
	return c.issue(k, k.scopeTag(scope))
}

// issue makes an id for a scope that is known by its tag under k.
func (c *Captcha) issue(k *key, scope [scopeLen]byte) string {
	c.observe(Issued)
	return k.seal(time.Now().Add(c.cfg.Lifetime), scope).String()
}

// Verify returns nil if answer solves the challenge id, which must have been
// issued for the same scope and not be answered before. The errors are
// [ErrUnknown], [ErrExpired], [ErrSpent], [ErrStore] and [ErrWrong].
//
// Any answer to a living challenge spends it: wrong, empty, malformed or huge
// ones too. That leaves one rule to reason about, and none to probe.
// A challenge that is unknown or expired writes nothing.
//
// Answers are compared as people type them: see [Match].
func (c *Captcha) Verify(ctx context.Context, id string, scope Scope, answer string) error {
	err := c.verify(ctx, id, scope, answer)
	switch {
	case err == nil:
		c.observe(Solved)
	case errors.Is(err, ErrStore):
		c.observe(Failed)
	case errors.Is(err, ErrWrong):
		c.observe(Wrong)
	case errors.Is(err, ErrExpired):
		c.observe(Expired)
	case errors.Is(err, ErrSpent):
		c.observe(Spent)
	default:
		c.observe(Unknown)
	}
	return err
}

func (c *Captcha) verify(ctx context.Context, id string, scope Scope, answer string) error {
	t, k, ok := c.open(id)
	if !ok || t.future(time.Now(), c.cfg.Lifetime) {
		return ErrUnknown
	}
	// A visitor who knows someone else's id must not be able to burn it, so
	// the scope comes before the spending.
	if tag := k.scopeTag(scope); !hmac.Equal(tag[:], t.scope()) {
		return ErrUnknown
	}
	if t.expired(time.Now()) {
		return ErrExpired
	}
	// Spent before compared: of two requests with two guesses that arrive
	// together, one is refused whatever it says.
	// Remembered for longer than it lives here: a machine whose clock is behind must
	// still find it.
	first, err := c.cfg.Once.Spend(ctx, t.nonce(), t.expires().Add(clock.Skew))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	if !first {
		return ErrSpent
	}
	right := false
	for _, alphabet := range c.answers {
		// Each is looked at, so that the time does not tell which it was.
		right = Match(k.answer(t, c.cfg.Length, alphabet), answer) || right
	}
	if !right {
		return ErrWrong
	}
	return nil
}

func (c *Captcha) observe(e Event) {
	if c.cfg.Observe != nil {
		c.cfg.Observe(e)
	}
}
