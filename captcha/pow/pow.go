// Package pow asks a visitor's machine for work instead of asking the visitor
// to read: a moment of its processor, unseen, for every attempt.
//
// It speaks the wire format of ALTCHA's proof of work, version 2
// (https://altcha.org/docs/v2/proof-of-work-captcha), so that the ALTCHA widget
// works with it unchanged. So do the solver that [Script] serves, for pages
// that do without the widget, and [Solve], for programs:
//
//	mux.Handle("/pow", toll.Handler(demand))
//	<altcha-widget challenge="/pow"></altcha-widget>       // within the form
//	err := toll.Verify(ctx, demand(r), r.PostFormValue("altcha"), "")
//
// # How it works
//
// A challenge has a nonce, a salt and the first half of a key. The machine has
// to find the counter for which PBKDF2-HMAC-SHA-256 makes of nonce, counter and
// salt a key that begins so. The other half of that key, 128 bits, then proves
// that it was found.
//
// The server chooses the counter and makes the key once, when it issues, and
// puts a MAC of it among the parameters of the challenge, which are signed as a
// whole. Verifying compares MACs and derives nothing: a wrong solution costs no
// more than a right one.
//
// Nothing is kept per challenge. Memory is spent on solutions alone: a
// challenge is spent by the first one, right or wrong; see [captcha.Once].
//
// # What it is worth
//
// Work is a price per attempt. It tells nobody people from programs, so it is
// meant to rise: [Demand.Cost] is chosen for each challenge, and can be low for
// a visitor of whom nothing is known, and high for a network or an account
// under suspicion. At 10,000 tries ([Config.Tries]) the average challenge takes
// one core of an AMD EPYC:
//
//	 cost   browser   program   to issue   for
//	   50    0.18 s    0.03 s    0.01 ms   everybody
//	  200    0.27 s    0.11 s    0.04 ms   a busy network
//	 1000    0.75 s    0.6  s    0.2  ms   some failures
//	 5000    3 s       3 s       0.8  ms   many
//	20000   12 s      11 s       3    ms   an attack
//
// Browser is Chromium 156 with the ALTCHA widget or the solver of Script, which
// take the same, and divide it among the cores. Program is what the rounds alone
// take there. What is between them, 30 µs for each try, only people pay: low
// costs are for being cheap to issue, high ones for being dear to programs. Note
// how low: 0.03 s make 120,000 attempts an hour with one core.
//
// # Codes beside work
//
// With [Demand.Code] a challenge asks for the letters of a picture or a sound
// as well; see [Code]. Without JavaScript no work can be had: a form that must
// do without shows a picture instead, and verifies with
// [captcha.Captcha.Verify].
//
// # The ALTCHA widget
//
// Version 3.2.2 is what the tests use, unchanged. It needs HTTPS or localhost, as
// does the solver of Script, and a content security policy that has style-src
// 'unsafe-inline' and worker-src blob:, or else its "external" build. It shows
// the picture and plays the sound of a code by itself, but the picture only 50
// pixels high, unless the page's style says
//
//	.altcha .altcha-code-challenge-image { height: auto }
package pow

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/internal/clock"
	"github.com/seed-64ad3862/gatehouse/internal/spent"
)

// Errors of [Toll.Verify] beside those of package captcha. All but [ErrWeak]
// are captcha.ErrUnknown as well, for callers that do not care which. None
// quotes what the visitor sent.
var (
	// ErrMalformed means that the payload is no base64 of JSON of the known
	// form, or is too long. What is wrong with it is in the text.
	ErrMalformed = unknown("malformed payload")
	// ErrAlgorithm means that the challenge is for another algorithm.
	ErrAlgorithm = unknown("algorithm is not " + algorithm)
	// ErrKey means that the challenge names a key that is not among
	// [Config.Keys]: it may be from before that key was dropped.
	ErrKey = unknown("signed with another key")
	// ErrForged means that the signature does not belong to the parameters:
	// someone has changed them, a lower cost being the likeliest, or spliced
	// two challenges.
	ErrForged = unknown("signature does not match")
	// ErrScope means that the challenge was issued for another scope.
	ErrScope = unknown("issued for another purpose or session")
	// ErrFuture means that the challenge expires later than one can that was
	// issued just now: clocks or lifetimes of two machines differ.
	ErrFuture = unknown("issued in the future")
	// ErrWeak means that the challenge asks for less than is asked for now,
	// in work or by having no code. It is not spent.
	ErrWeak = errors.New("pow: challenge asks for less than is due")
)

func unknown(why string) error { return fmt.Errorf("pow: %s: %w", why, captcha.ErrUnknown) }

// Costs of one try, in rounds of PBKDF2. See "What it is worth" above.
const (
	DefaultCost = 50
	MaxCost     = 20_000
)

// Config configures [New]. The zero value is safe, and issues and verifies on
// a single machine.
type Config struct {
	// Keys are secrets of at least 32 random bytes. The first one signs new
	// challenges, the others still verify. They are not kept, only keys
	// derived from them are. Without any a random one is made; see "Keys" of
	// package captcha, whose rotation is the same: a challenge that a page has
	// exchanged for a later one keeps its key. The same secrets may be used there.
	Keys [][]byte

	// Once remembers spent challenges. If nil, it is a table of this Toll's own,
	// of at most 1,048,576 challenges, that is lost with the process. So where
	// Keys are given, a Once that outlives the process, and is shared by all that
	// have them, must be given too, or else a solution is good once more after a
	// restart, and once on every machine. It can be the one of a
	// [captcha.Captcha].
	Once captcha.Once

	// Tries is how many counters a solver may have to try, from 100 to
	// 1,048,576; 10,000 if 0. On average it tries half of them. More are no
	// more work for the server, but raise [Demand.Cost] before: a browser
	// spends 30 µs on each try that a program does not.
	Tries int

	// Lifetime is how long a challenge can be solved and sent, from one second
	// to one hour; five minutes if 0. Machines with keys in common need the
	// same. The ALTCHA widget lets a solution expire on its own, by the
	// visitor's clock.
	Lifetime time.Duration

	// Code is what [Demand.Code] asks for.
	Code Code

	// Allow, if not nil, is asked before a challenge is made, and an error
	// refuses with 429. It is the place for a budget per network. If the
	// error, or one that it wraps, has a method RetryAfter() time.Duration,
	// the answer carries it.
	Allow func(*http.Request) error

	// Observe, if not nil, is told of every event, for metrics. It is called
	// inline, from many goroutines at once.
	Observe func(captcha.Event)
}

// Code says where challenges that ask for a code have their letters from.
type Code struct {
	// Captcha issues and verifies them.
	Captcha *captcha.Captcha
	// Image and Audio are the addresses of the picture and, if there is one,
	// of the sound, with {id} in the place of the challenge's id:
	// "/captcha/{id}.gif".
	Image, Audio string
	// Length is the length of the answers, as in [captcha.Config]. If 0, the
	// visitor is not told.
	Length int
}

// A Demand is what one visitor has to do for one attempt. The same function
// should make it for [Toll.Issue] and [Toll.Verify]: what it asks for may have
// risen in between, by failures since, and then counts.
type Demand struct {
	// Scope is what the challenge is good for.
	Scope captcha.Scope
	// Cost is the number of rounds that each try takes: [DefaultCost] if it is
	// not positive, and at most [MaxCost]. The server takes as many rounds for
	// each challenge as the visitor for one try; [Config.Allow] bounds that.
	Cost int
	// Code asks for the letters of a picture or a sound as well, from
	// [Config.Code].
	Code bool
}

func (d Demand) cost() int {
	if d.Cost <= 0 {
		return DefaultCost
	}
	return min(d.Cost, MaxCost)
}

// Events beside those of package captcha.
const (
	// Passed means that a solution, with its code, was right and was exchanged
	// for a pass, which is yet to be sent with the form.
	Passed captcha.Event = "passed"
	// Weak means ErrWeak.
	Weak captcha.Event = "weak"
)

// A Toll issues challenges and verifies solutions. It is safe for concurrent
// use.
type Toll struct {
	cfg  Config // with defaults filled in, and without the secrets
	keys []key
}

// Bounds of a [Config]. The lifetimes are those of package captcha.
const (
	minKey      = 32
	minTries    = 100
	maxTries    = 1 << 20
	minLifetime = time.Second
	maxLifetime = time.Hour
)

// idMark is where an address has the id.
const idMark = "{id}"

// New returns a Toll, or an error if cfg is out of its bounds.
func New(cfg Config) (*Toll, error) {
	if cfg.Tries == 0 {
		cfg.Tries = 10_000
	}
	if cfg.Lifetime == 0 {
		cfg.Lifetime = 5 * time.Minute
	}
	if cfg.Once == nil {
		cfg.Once = spent.New(spent.DefaultMax)
	}
	switch code := cfg.Code; {
	case cfg.Tries < minTries || cfg.Tries > maxTries:
		return nil, fmt.Errorf("pow: %d tries are not from %d to %d", cfg.Tries, minTries, maxTries)
	case cfg.Lifetime < minLifetime || cfg.Lifetime > maxLifetime:
		return nil, fmt.Errorf("pow: lifetime %v is not from %v to %v", cfg.Lifetime, minLifetime, maxLifetime)
	case code == Code{}:
	case code.Captcha == nil:
		return nil, errors.New("pow: code without a Captcha")
	case !strings.Contains(code.Image, idMark):
		return nil, fmt.Errorf("pow: image address %q has no %s", code.Image, idMark)
	case code.Audio != "" && !strings.Contains(code.Audio, idMark):
		return nil, fmt.Errorf("pow: audio address %q has no %s", code.Audio, idMark)
	case code.Length < 0:
		return nil, fmt.Errorf("pow: code of length %d", code.Length)
	}

	secrets := cfg.Keys
	cfg.Keys = nil
	if len(secrets) == 0 {
		secret := make([]byte, minKey)
		rand.Read(secret)
		secrets = [][]byte{secret}
	}
	t := &Toll{cfg: cfg}
	for i, secret := range secrets {
		k, err := newKey(secret)
		if err != nil {
			return nil, fmt.Errorf("pow: key %d: %w", i, err)
		}
		t.keys = append(t.keys, k)
	}
	return t, nil
}

// Issue returns a new challenge as JSON: for the attribute "challenge" of the
// ALTCHA widget, the solver of [Script], or [Solve]. It keeps nothing.
//
// It returns an error if d asks for a code, and [Config.Code] has none.
func (t *Toll) Issue(d Demand) ([]byte, error) {
	k := &t.keys[0]
	c, err := t.issue(k, k.scopeTag(d.Scope), d.cost())
	if err != nil {
		return nil, err
	}
	if d.Code {
		code := t.cfg.Code
		if code.Captcha == nil {
			return nil, errors.New("pow: a code is asked for, and Config.Code has none")
		}
		id := code.Captcha.Issue(codeScope(d.Scope))
		c.Parameters.Data.Code = id
		c.CodeChallenge = &codeChallenge{
			Image:  strings.ReplaceAll(code.Image, idMark, id),
			Audio:  strings.ReplaceAll(code.Audio, idMark, id),
			Length: code.Length,
		}
		// The widget wants to know whether the code is right before the form
		// goes. It asks where the challenge came from: see Handler.
		c.Configuration = &configuration{VerifyURL: "?"}
	}
	return t.sign(k, c), nil
}

// Reissue returns a new challenge for the scope and the cost of one that Issue
// has made: for a page that has been open for so long that the old one is about
// to expire, or has. The old one is left as it is, since nothing is gained by
// holding many. One with a code has no successor.
//
// The errors are [ErrMalformed], [ErrAlgorithm], [ErrKey] and [ErrForged].
func (t *Toll) Reissue(old []byte) ([]byte, error) {
	var c challenge
	if len(old) > maxPayload || json.Unmarshal(old, &c) != nil || c.Parameters.Data.Code != "" {
		return nil, malformed("not a challenge without a code")
	}
	if c.Parameters.Algorithm != algorithm {
		return nil, ErrAlgorithm
	}
	// Under the old key, because only there does the scope's tag mean anything.
	k, err := t.signer(&c)
	if err != nil {
		return nil, err
	}
	if c, err = t.issue(k, c.Parameters.Data.Scope, c.Parameters.Cost); err != nil {
		return nil, err
	}
	return t.sign(k, c), nil
}

// issue makes a challenge for a scope that is known by its tag under k, without
// its signature.
func (t *Toll) issue(k *key, scope string, cost int) (challenge, error) {
	// A counter of the whole range, each as likely as any other. ALTCHA's
	// examples draw it from the upper half, so that nobody is lucky; but then
	// whoever starts there is done after a third of the work. The remainder
	// favours some counters by less than one in 2⁴⁰.
	random := make([]byte, nonceLength+saltLength+8)
	rand.Read(random)
	nonce, salt, more := random[:nonceLength], random[nonceLength:][:saltLength], random[nonceLength+saltLength:]
	counter := uint32(binary.BigEndian.Uint64(more) % uint64(t.cfg.Tries))
	found, err := derive(nonce, counter, salt, cost, keyLength)
	if err != nil {
		return challenge{}, fmt.Errorf("pow: %w", err)
	}
	return challenge{Parameters: parameters{
		Algorithm:    algorithm,
		Cost:         cost,
		Data:         data{Key: k.tag, Scope: scope, Tries: t.cfg.Tries},
		ExpiresAt:    time.Now().Add(t.cfg.Lifetime + time.Second - 1).Unix(), // rounded up
		KeyLength:    keyLength,
		KeyPrefix:    hex.EncodeToString(found[:keyLength/2]),
		KeySignature: mac(k.found, found),
		Nonce:        hex.EncodeToString(nonce),
		Salt:         hex.EncodeToString(salt),
	}}, nil
}

// sign returns the challenge as it is sent.
func (t *Toll) sign(k *key, c challenge) []byte {
	c.Signature = k.signature(&c.Parameters)
	t.observe(captcha.Issued)
	return encode(c)
}

// derive returns the key for a counter.
func derive(nonce []byte, counter uint32, salt []byte, cost, length int) ([]byte, error) {
	password := binary.BigEndian.AppendUint32(slices.Clip(nonce), counter)
	return pbkdf2.Key(sha256.New, string(password), salt, cost, length)
}

// Verify returns nil if the payload, which the ALTCHA widget puts into the
// form's field "altcha", is the solution of a challenge that was issued for the
// same scope, asks for no less than d does, and is not spent. If the challenge
// asks for a code, that has to be right as well, as [captcha.Match] has it;
// otherwise code does not matter.
//
// The errors are [ErrMalformed], [ErrAlgorithm], [ErrKey], [ErrForged],
// [ErrScope], [ErrFuture] and [ErrWeak], and those of package captcha:
// ErrExpired; ErrSpent; ErrWrong, for the solution or the code; ErrStore, when
// a Once fails.
//
// Any solution to a living challenge that is not weak spends it: a wrong one,
// and a right one with a wrong code, too.
func (t *Toll) Verify(ctx context.Context, d Demand, payload, code string) error {
	_, _, err := t.verify(ctx, d, payload, code)
	t.judge(captcha.Solved, err)
	return err
}

// verify also returns what was sent, decoded, and the key that has signed it.
func (t *Toll) verify(ctx context.Context, d Demand, text, code string) (*payload, *key, error) {
	s, err := parse(text)
	if err != nil {
		return nil, nil, err
	}
	k, err := t.signer(&s.Challenge)
	if err != nil {
		return nil, nil, err
	}
	// From here on the parameters are ours.
	p := &s.Challenge.Parameters
	expires := time.Unix(p.ExpiresAt, 0)
	switch now := time.Now(); {
	case !equal(p.Data.Scope, k.scopeTag(d.Scope)):
		return nil, nil, ErrScope // unspent: it may be someone else's
	case !now.Before(expires):
		return nil, nil, captcha.ErrExpired
	case clock.Ahead(expires.Add(-t.cfg.Lifetime), now):
		return nil, nil, ErrFuture
	case p.Cost < d.cost(), d.Code && p.Data.Code == "":
		return nil, nil, ErrWeak
	}
	// Spent before compared, as in package captcha: there is nothing to probe.
	first, err := t.cfg.Once.Spend(ctx, [nonceLength]byte(s.nonce), expires.Add(clock.Skew))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", captcha.ErrStore, err)
	}
	if !first {
		return nil, nil, captcha.ErrSpent
	}
	if !equal(p.KeySignature, mac(k.found, s.found)) {
		return nil, nil, captcha.ErrWrong
	}
	if id := p.Data.Code; id != "" && id != codePassed {
		if t.cfg.Code.Captcha == nil {
			return nil, nil, fmt.Errorf("pow: no Config.Code for the challenge's code: %w", captcha.ErrUnknown)
		}
		if err := t.cfg.Code.Captcha.Verify(ctx, id, codeScope(d.Scope), code); err != nil {
			return nil, nil, fmt.Errorf("pow: code: %w", err)
		}
	}
	return s, k, nil
}

// exchange verifies, and returns a pass: the payload of the same challenge under
// another nonce, with its code passed. The form is verified with that, since
// the ALTCHA widget puts no code into it.
func (t *Toll) exchange(ctx context.Context, d Demand, text, code string) (pass string, err error) {
	s, k, err := t.verify(ctx, d, text, code)
	t.judge(Passed, err)
	if err != nil {
		return "", err
	}
	p := &s.Challenge.Parameters
	rand.Read(s.nonce)
	p.Nonce = hex.EncodeToString(s.nonce)
	if p.Data.Code != "" { // where none was asked for, none has passed
		p.Data.Code = codePassed
	}
	// By the old key, because only there does the scope's tag mean anything.
	s.Challenge.Signature = k.signature(p)
	return base64.StdEncoding.EncodeToString(encode(s)), nil
}

// codeScope keeps codes that belong to work from being used without it.
func codeScope(s captcha.Scope) captcha.Scope {
	s.Purpose = "pow: " + s.Purpose
	return s
}

// judge observes what became of a solution.
func (t *Toll) judge(good captcha.Event, err error) {
	if err != nil {
		good = event(err)
	}
	t.observe(good)
}

// event returns the event of an error.
func event(err error) captcha.Event {
	for _, e := range []struct {
		err   error
		event captcha.Event
	}{
		{ErrWeak, Weak},
		{captcha.ErrWrong, captcha.Wrong},
		{captcha.ErrExpired, captcha.Expired},
		{captcha.ErrSpent, captcha.Spent},
		{captcha.ErrUnknown, captcha.Unknown},
	} {
		if errors.Is(err, e.err) {
			return e.event
		}
	}
	return captcha.Failed
}

func (t *Toll) observe(e captcha.Event) {
	if t.cfg.Observe != nil {
		t.cfg.Observe(e)
	}
}
