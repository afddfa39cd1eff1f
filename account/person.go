package account

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// A Person may sign in.
type Person struct {
	// ID is given by [Directory.Create] and never changes: 26 characters of which
	// nobody learns anything. A session's owner is an ID, and so is the user handle
	// of a passkey.
	ID string `json:"id"`

	// Name is what they type to sign in, in canonical form.
	Name string `json:"name"`

	// DisplayName is what they are called, up to 128 characters; the name if empty.
	DisplayName string `json:"display_name,omitempty"`

	// Email is where a link for recovery goes. No two people have the same.
	Email string `json:"email,omitempty"`

	// Groups are what an application tells people apart by, in order.
	Groups []string `json:"groups,omitempty"`

	// Admin says that they may manage others.
	Admin bool `json:"admin,omitempty"`

	// First says that they are the administrator whom [Directory.SetUp] has made.
	First bool `json:"first,omitempty"`

	// Disabled says that they cannot sign in. Their sessions are to be ended by
	// whoever disables them.
	Disabled bool `json:"disabled,omitempty"`

	Created time.Time `json:"created"`

	// Password is a hash that package password can verify; empty where there is
	// none. PasswordSet is when it was chosen.
	Password    string    `json:"password,omitempty"`
	PasswordSet time.Time `json:"password_set,omitzero"`

	// Passkeys, up to 16. No two have the same ID, of whichever person: a sign-in must
	// not depend on whose is found first (WebAuthn, section 7.1, step 26).
	Passkeys []Passkey `json:"passkeys,omitempty"`

	// Authenticator is the app that gives six digits; nil where there is none.
	Authenticator *Authenticator `json:"authenticator,omitempty"`

	// RecoveryCodes are those that are still good; see [NewRecoveryCodes].
	RecoveryCodes [][]byte `json:"recovery_codes,omitempty"`

	// Epoch counts up each time that all of their sessions end: one that began in
	// an earlier epoch is over, whatever a store of sessions says. See
	// [Person.EndSessions].
	Epoch int64 `json:"epoch,omitempty"`

	// Warned is when they were last told that somebody guesses their codes.
	Warned time.Time `json:"warned,omitzero"`

	// Links are those that are open; see [Directory.NewLink].
	Links []Link `json:"links,omitempty"`

	version int64
}

// A Passkey is a credential of WebAuthn.
type Passkey struct {
	ID         []byte          `json:"id"`    // up to 1023 bytes, and not empty
	Label      string          `json:"label"` // what its owner calls it
	Created    time.Time       `json:"created"`
	Used       time.Time       `json:"used,omitzero"`
	Credential json.RawMessage `json:"credential"` // of package passkey
}

// An Authenticator is an app with a secret of our making (TOTP, RFC 6238).
type Authenticator struct {
	Secret  []byte    `json:"secret"`
	Created time.Time `json:"created"`
	// Step is the last time step whose code was used: a code is good for one use,
	// and so are those from before.
	Step int64 `json:"step"`
}

// A Link is a token that is good for one use.
type Link struct {
	Hash    []byte    `json:"hash"` // SHA-256
	Purpose Purpose   `json:"purpose"`
	Made    time.Time `json:"made,omitzero"`
	Expires time.Time `json:"expires"`
}

// A Purpose says what a link is for.
type Purpose string

// Recovery lets its holder choose a password, but not pass by another factor that
// there is. One that somebody has asked for, whom nobody knows, is Mailed, so that it
// does not close one that an administrator has made.
const (
	Recovery Purpose = "recovery"
	Mailed   Purpose = "mailed-recovery"
)

// Called is what the person is called: DisplayName or else the name.
func (p *Person) Called() string {
	if p.DisplayName != "" {
		return p.DisplayName
	}
	return p.Name
}

// EndSessions begins another epoch. It belongs into the function of
// [Directory.Update]; to remove the sessions from their store is the caller's.
func (p *Person) EndSessions() { p.Epoch++ }

// CanSignIn reports whether the person has anything to sign in with, and may.
func (p *Person) CanSignIn() bool {
	return !p.Disabled && (p.Password != "" || len(p.Passkeys) > 0)
}

// TwoFactors reports whether a password alone does not sign the person in.
func (p *Person) TwoFactors() bool { return p.Authenticator != nil }

// ErrPerson means that a person cannot be stored as given. What is wrong is in the
// text of the error.
var ErrPerson = errors.New("account: not a person that can be stored")

func badPerson(why string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrPerson, fmt.Sprintf(why, args...))
}

// maxPasskeyID is that of a credential ID in bytes (WebAuthn, section 4).
const maxPasskeyID = 1023

// Bounds of a person.
const (
	MaxDisplayName = 128 // characters
	MaxEmail       = 254 // bytes
	MaxGroups      = 64
	MaxPasskeys    = 16
	MaxLinks       = 8
)

// validate brings the person into the form in which it is kept.
func (p *Person) validate() (err error) {
	if p.Name, err = Canonical(p.Name); err != nil {
		return err
	}
	p.DisplayName = strings.TrimSpace(p.DisplayName)
	if !line(p.DisplayName, MaxDisplayName) {
		return badPerson("a display name is a line of at most %d characters", MaxDisplayName)
	}
	if p.Email, err = CanonicalEmail(p.Email); err != nil {
		return err
	}
	slices.Sort(p.Groups)
	p.Groups = slices.Compact(p.Groups)
	if len(p.Groups) > MaxGroups {
		return badPerson("more than %d groups", MaxGroups)
	}
	for _, g := range p.Groups {
		if g == "" || !line(g, MaxName) || strings.ContainsAny(g, ", ") {
			return badPerson("a group is a word of at most %d characters, without commas", MaxName)
		}
	}
	if len(p.Passkeys) > MaxPasskeys {
		return badPerson("more than %d passkeys", MaxPasskeys)
	}
	for i := range p.Passkeys {
		k := &p.Passkeys[i]
		if !line(k.Label, MaxName) {
			return badPerson("a passkey's label is a line of at most %d characters", MaxName)
		}
		if len(k.ID) == 0 || len(k.ID) > maxPasskeyID {
			return badPerson("a passkey's ID has 1 to %d bytes", maxPasskeyID)
		}
		if slices.ContainsFunc(p.Passkeys[:i], func(other Passkey) bool { return bytes.Equal(other.ID, k.ID) }) {
			return badPerson("two passkeys with the same ID")
		}
	}
	return nil
}

// line reports whether s is text without controls of at most n characters.
func line(s string, n int) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= n &&
		!strings.ContainsFunc(s, func(r rune) bool {
			return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
		})
}

// CanonicalEmail returns the form in which addresses for mail are kept and
// compared: composed, and all in lower case, although the part before the @ could in
// theory differ by case. An empty one is none. The error is [ErrPerson].
func CanonicalEmail(s string) (string, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return "", nil
	}
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s || a.Name != "" || len(s) > MaxEmail || !line(s, MaxEmail) {
		return "", badPerson("not an address for mail, like alex@example.com")
	}
	return norm.NFC.String(strings.ToLower(s)), nil
}

// Keys of records, by what they begin with.
const (
	personKey  = "person/"  // and the ID: records of people
	nameKey    = "name/"    // and the name
	lookKey    = "look/"    // and the skeleton of the name
	emailKey   = "email/"   // and the address
	passkeyKey = "passkey/" // and the hash of the ID, which may be longer than a key
	linkKey    = "link/"    // and the hash of the token
	firstKey   = "first"    // the first administrator's, so that there is one
	secretKey  = "secret/"  // and the purpose: records of secrets
	setupKey   = "setup"    // the record of the links for setting up
)

// record returns what a Store keeps of the person.
func (p *Person) record() (Record, error) {
	data, err := json.Marshal(p)
	if err != nil {
		return Record{}, err
	}
	if len(data) > MaxData {
		return Record{}, badPerson("larger than %d bytes", MaxData)
	}
	r := Record{ID: personKey + p.ID, Version: p.version, Data: data}
	r.Keys = []string{nameKey + p.Name, lookKey + Skeleton(p.Name)}
	if p.First {
		r.Keys = append(r.Keys, firstKey)
	}
	if p.Email != "" {
		r.Keys = append(r.Keys, emailKey+p.Email)
	}
	r.Keys = append(r.Keys, p.passkeyKeys()...)
	for _, l := range p.Links {
		r.Keys = append(r.Keys, linkKey+hexOf(l.Hash))
	}
	return r, nil
}

// passkeyKeys are the keys of the person's passkeys.
func (p *Person) passkeyKeys() (keys []string) {
	for i := range p.Passkeys {
		keys = append(keys, passkeyKey+hexOf(hash(string(p.Passkeys[i].ID))))
	}
	return keys
}

func hexOf(b []byte) string { return fmt.Sprintf("%x", b) }

// hash is what is kept of a token or a code. They are random and long enough that
// nothing slower is needed.
func hash(s string) []byte {
	h := sha256.Sum256([]byte(s))
	return h[:]
}

func personOf(r Record) (p Person, err error) {
	if err := json.Unmarshal(r.Data, &p); err != nil {
		return Person{}, fmt.Errorf("account: record %q: %w", r.ID, err)
	}
	p.version = r.Version
	return p, nil
}
