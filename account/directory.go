package account

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/clock"
)

// Errors of [Directory] beside those of a Store.
var (
	// ErrNameTaken means that somebody has the name, or one that looks the same.
	ErrNameTaken = errors.New("account: the name, or one that looks like it, is taken")
	// ErrEmailTaken means that somebody has the address for mail.
	ErrEmailTaken = errors.New("account: the address is taken")
	// ErrPasskeyTaken means that a passkey with the same ID belongs to another person.
	ErrPasskeyTaken = errors.New("account: the passkey belongs to another person")
	// ErrLastAdmin means that nobody would be left to manage people.
	ErrLastAdmin = errors.New("account: the last administrator")
	// ErrSetUp means that there is an administrator already.
	ErrSetUp = errors.New("account: set up already")
	// ErrTooSoon means that a link was made just now.
	ErrTooSoon = errors.New("account: there has been a link just now")
	// ErrLink means that a link is unknown, used or expired. Nothing tells these
	// apart.
	ErrLink = errors.New("account: link unknown, used or expired")
	// ErrStore means that the store failed, and wraps its error. [Config.Logger] has
	// been told when that began.
	ErrStore = errors.New("account: the store fails")
)

// Config configures [New].
type Config struct {
	// Store keeps the records.
	Store Store

	// Logger is told when the store begins to fail, and when it answers again, once
	// each. [slog.Default] if nil.
	Logger *slog.Logger
}

// A Directory is the people of an installation. It may be used concurrently, and
// by any number of machines that share a store.
type Directory struct{ store Store }

// New returns a Directory, or an error if cfg has no Store.
func New(cfg Config) (*Directory, error) {
	if cfg.Store == nil {
		return nil, errors.New("account: Config.Store is missing")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Directory{store: &watched{store: cfg.Store, log: cfg.Logger}}, nil
}

// Create stores a new person, and returns them with ID, Created and canonical
// names. The errors are [ErrName], [ErrPerson], [ErrNameTaken], [ErrEmailTaken],
// [ErrPasskeyTaken] and those of the store.
func (d *Directory) Create(ctx context.Context, p Person) (Person, error) {
	p.First = false
	return d.create(ctx, p)
}

func (d *Directory) create(ctx context.Context, p Person) (Person, error) {
	if err := p.validate(); err != nil {
		return Person{}, err
	}
	p.ID, p.version = newID(), 0
	p.Created = time.Now().UTC().Truncate(time.Second)
	r, err := p.record()
	if err != nil {
		return Person{}, err
	}
	if err := d.store.Put(ctx, r); err != nil {
		return Person{}, taken("create", err)
	}
	p.version = 1
	return p, nil
}

var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// newID returns 26 characters that hold 128 random bits.
func newID() string {
	random := make([]byte, 16)
	rand.Read(random)
	return idEncoding.EncodeToString(random)
}

// taken says in words of people which key is taken.
func taken(operation string, err error) error {
	if t, ok := errors.AsType[*TakenError](err); ok {
		switch {
		case strings.HasPrefix(t.Key, nameKey), strings.HasPrefix(t.Key, lookKey):
			return ErrNameTaken
		case strings.HasPrefix(t.Key, emailKey):
			return ErrEmailTaken
		case strings.HasPrefix(t.Key, passkeyKey):
			return ErrPasskeyTaken
		case t.Key == firstKey:
			return ErrSetUp
		}
	}
	return fmt.Errorf("account: %s: %w", operation, err)
}

// ByID returns the person with this ID, or [ErrNotFound].
func (d *Directory) ByID(ctx context.Context, id string) (Person, error) {
	return d.get(ctx, personKey+id)
}

// ByName returns the person with this name, as somebody types it, or
// [ErrNotFound]; that a text cannot be a name is no other error.
func (d *Directory) ByName(ctx context.Context, name string) (Person, error) {
	c, err := Canonical(name)
	if err != nil {
		return Person{}, ErrNotFound
	}
	return d.get(ctx, nameKey+c)
}

// ByEmail returns the person with this address for mail, or [ErrNotFound].
func (d *Directory) ByEmail(ctx context.Context, email string) (Person, error) {
	c, err := CanonicalEmail(email)
	if err != nil || c == "" {
		return Person{}, ErrNotFound
	}
	return d.get(ctx, emailKey+c)
}

func (d *Directory) get(ctx context.Context, key string) (Person, error) {
	if len(key) > MaxKey || strings.ContainsRune(key, 0) || strings.ToValidUTF8(key, "") != key {
		return Person{}, ErrNotFound
	}
	r, err := d.store.Get(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return Person{}, ErrNotFound
	}
	if err != nil {
		return Person{}, fmt.Errorf("account: get: %w", err)
	}
	return personOf(r)
}

// updates is how often Update tries. Each time that it fails, somebody else's
// change has been stored.
const updates = 20

// Update stores what f makes of the person, and returns them as stored. If
// somebody else stores a change meanwhile, f is called again with that; so it
// should have no effects of its own. An error of f is returned as it is, and
// nothing is stored.
//
// ID, Created and First cannot be changed. Another password or address closes the
// links that were open: whoever reads the old mailbox must not come back by one. The
// other errors are those of
// [Directory.Create], [ErrNotFound], [ErrConflict] if others are always faster, and
// [ErrLastAdmin].
func (d *Directory) Update(ctx context.Context, id string, f func(p *Person) error) (Person, error) {
	for range updates {
		old, err := d.ByID(ctx, id)
		if err != nil {
			return Person{}, err
		}
		p := old
		if err := f(&p); err != nil {
			return Person{}, err
		}
		p.ID, p.Created, p.First, p.version = old.ID, old.Created, old.First, old.version
		p.Links = openLinks(p.Links)
		if err := p.validate(); err != nil {
			return Person{}, err
		}
		if p.Password != old.Password || p.Email != old.Email {
			p.Links = slices.DeleteFunc(p.Links, func(l Link) bool { return old.holds(l) })
		}
		if old.manages() && !p.manages() {
			if err := d.anotherAdmin(ctx, id); err != nil {
				return Person{}, err
			}
		}
		switch err := d.put(ctx, &p, &old); {
		case err == nil:
			return p, nil
		case errors.Is(err, ErrConflict):
			continue
		default:
			return Person{}, err
		}
	}
	return Person{}, fmt.Errorf("account: update: %w", ErrConflict)
}

func (d *Directory) put(ctx context.Context, p, old *Person) error {
	r, err := p.record()
	if err != nil {
		return err
	}
	for {
		err := d.store.Put(ctx, r)
		if err == nil {
			p.version++
			return nil
		}
		// Passkeys that were stored before their IDs were keys may be another person's
		// too. That is no reason to refuse another change.
		t, ok := errors.AsType[*TakenError](err)
		if !ok || !slices.Contains(old.passkeyKeys(), t.Key) || !slices.Contains(r.Keys, t.Key) {
			return taken("update", err)
		}
		r.Keys = slices.DeleteFunc(r.Keys, func(key string) bool { return key == t.Key })
	}
}

// manages reports whether the person is an administrator who can sign in.
func (p *Person) manages() bool { return p.Admin && p.CanSignIn() }

// holds reports whether the link is one of the person's.
func (p *Person) holds(l Link) bool {
	return slices.ContainsFunc(p.Links, func(one Link) bool { return bytes.Equal(one.Hash, l.Hash) })
}

// anotherAdmin returns nil if somebody else can manage people. Two administrators
// who shut each other out at the same moment can both succeed; the commands on the
// machine mend that.
func (d *Directory) anotherAdmin(ctx context.Context, than string) error {
	for p, err := range d.List(ctx, "") {
		if err != nil {
			return err
		}
		if p.ID != than && p.manages() {
			return nil
		}
	}
	return ErrLastAdmin
}

// Delete removes the person. The errors are [ErrNotFound], [ErrLastAdmin],
// [ErrConflict] if they are changed all the time, and those of the store. Their
// sessions are the caller's to end.
func (d *Directory) Delete(ctx context.Context, id string) error {
	for range updates {
		p, err := d.ByID(ctx, id)
		if err != nil {
			return err
		}
		if p.manages() {
			if err := d.anotherAdmin(ctx, id); err != nil {
				return err
			}
		}
		err = d.store.Delete(ctx, personKey+id, p.version)
		switch {
		case errors.Is(err, ErrConflict):
			continue
		case errors.Is(err, ErrNotFound):
			return ErrNotFound
		case err != nil:
			return fmt.Errorf("account: delete: %w", err)
		}
		return nil
	}
	return fmt.Errorf("account: delete: %w", ErrConflict)
}

// List yields everybody whose name comes after the given one, in the order of
// their names. An error ends the listing.
func (d *Directory) List(ctx context.Context, after string) iter.Seq2[Person, error] {
	return func(yield func(Person, error) bool) {
		// What no name can be comes from an address that somebody has made up.
		after = strings.ReplaceAll(strings.ToValidUTF8(after, ""), "\x00", "")
		for f, err := range d.store.List(ctx, nameKey, nameKey+after) {
			var p Person
			if err == nil {
				p, err = personOf(f.Record)
			}
			if err != nil {
				yield(Person{}, fmt.Errorf("account: list: %w", err))
				return
			}
			if !yield(p, nil) {
				return
			}
		}
	}
}

// NewLink returns a token for a link that is good for one use within that time.
// Links of the same purpose that were open are not any more. [Directory.ByLink]
// finds the person, and [Person.UseLink] uses it up.
func (d *Directory) NewLink(ctx context.Context, id string, purpose Purpose, life time.Duration) (token string, err error) {
	return d.newLink(ctx, id, purpose, life, 0)
}

// NextLink is NewLink for requests that may come again and again: if the last one that is
// open was made less than the pause ago, it stays, and the error is [ErrTooSoon]. Of
// several calls at once one succeeds.
func (d *Directory) NextLink(ctx context.Context, id string, purpose Purpose, life, pause time.Duration) (token string, err error) {
	return d.newLink(ctx, id, purpose, life, pause)
}

func (d *Directory) newLink(ctx context.Context, id string, purpose Purpose, life, pause time.Duration) (token string, err error) {
	token = newToken()
	_, err = d.Update(ctx, id, func(p *Person) error {
		for _, l := range p.Links {
			if l.Purpose == purpose && clock.Recent(l.Made, time.Now(), pause) {
				return ErrTooSoon
			}
		}
		p.dropLinks(purpose)
		if len(p.Links) >= MaxLinks {
			return badPerson("more than %d links", MaxLinks)
		}
		p.Links = append(p.Links, linkOf(token, purpose, life))
		return nil
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

// newToken returns 22 characters, fit for an address, that hold 128 random bits.
func newToken() string {
	random := make([]byte, 16)
	rand.Read(random)
	return base64.RawURLEncoding.EncodeToString(random)
}

// linkOf returns the link of a token, as it is kept.
func linkOf(token string, purpose Purpose, life time.Duration) Link {
	now := time.Now().UTC()
	return Link{Hash: hash(token), Purpose: purpose, Made: now, Expires: now.Add(life)}
}

// dropLinks closes the links of a purpose.
func (p *Person) dropLinks(purpose Purpose) {
	links := p.Links[:0:0]
	for _, l := range p.Links {
		if l.Purpose != purpose {
			links = append(links, l)
		}
	}
	p.Links = links
}

// openLinks returns the links that can be used.
func openLinks(links []Link) (open []Link) {
	now := time.Now()
	for _, l := range links {
		if now.Before(l.Expires) && !clock.Ahead(l.Made, now) {
			open = append(open, l)
		}
	}
	return open
}

// ByLink returns the person whom the link is for, or [ErrLink]. It does not use it
// up.
func (d *Directory) ByLink(ctx context.Context, token string, purpose Purpose) (Person, error) {
	p, err := d.get(ctx, linkKey+hexOf(hash(token)))
	if errors.Is(err, ErrNotFound) {
		return Person{}, ErrLink
	}
	if err != nil {
		return Person{}, err
	}
	if !p.hasLink(token, purpose) {
		return Person{}, ErrLink
	}
	return p, nil
}

func (p *Person) hasLink(token string, purpose Purpose) bool {
	h := hexOf(hash(token))
	for _, l := range openLinks(p.Links) {
		if l.Purpose == purpose && hexOf(l.Hash) == h {
			return true
		}
	}
	return false
}

// UseLink uses a link up, with all others of its purpose, or returns [ErrLink]. It
// belongs into the function of [Directory.Update].
func (p *Person) UseLink(token string, purpose Purpose) error {
	if !p.hasLink(token, purpose) {
		return ErrLink
	}
	p.dropLinks(purpose)
	return nil
}

// ---- setting up

// setup is the record of links for setting up.
type setup struct {
	Links []Link `json:"links"`
}

const toSetUp Purpose = "setup"

// maxSetups is how many links for setting up can be open, one for each machine
// that has started.
const maxSetups = 32

// Empty reports whether there is no administrator who can sign in, as in a new
// installation.
func (d *Directory) Empty(ctx context.Context) (bool, error) {
	switch err := d.anotherAdmin(ctx, ""); {
	case err == nil:
		return false, nil
	case errors.Is(err, ErrLastAdmin):
		return true, nil
	default:
		return false, err
	}
}

// NewSetup returns a token for a link by which the first administrator can be made
// within that time, or [ErrSetUp] if there is one. Of several, all are good until
// one is used.
func (d *Directory) NewSetup(ctx context.Context, life time.Duration) (token string, err error) {
	if empty, err := d.Empty(ctx); err != nil {
		return "", err
	} else if !empty {
		return "", ErrSetUp
	}
	token = newToken()
	for range updates {
		r, s, err := d.setup(ctx)
		if err != nil {
			return "", err
		}
		s.Links = append(openLinks(s.Links), linkOf(token, toSetUp, life))
		if more := len(s.Links) - maxSetups; more > 0 {
			s.Links = s.Links[more:]
		}
		if r.Data, err = json.Marshal(s); err != nil {
			return "", err
		}
		err = d.store.Put(ctx, r)
		if err == nil {
			return token, nil
		}
		if _, raced := errors.AsType[*TakenError](err); !raced && !errors.Is(err, ErrConflict) && !errors.Is(err, ErrNotFound) {
			return "", fmt.Errorf("account: set up: %w", err)
		}
	}
	return "", fmt.Errorf("account: set up: %w", ErrConflict)
}

// setup returns the record of links, a new one if there is none.
func (d *Directory) setup(ctx context.Context) (r Record, s setup, err error) {
	r, err = d.store.Get(ctx, setupKey)
	if errors.Is(err, ErrNotFound) {
		return Record{ID: setupKey}, setup{}, nil
	}
	if err == nil {
		err = json.Unmarshal(r.Data, &s)
	}
	if err != nil {
		return Record{}, setup{}, fmt.Errorf("account: set up: %w", err)
	}
	return r, s, nil
}

// CheckSetup returns nil if the token is good for [Directory.SetUp], [ErrLink] if it is
// not, and [ErrSetUp] if it would be and there is an administrator already.
func (d *Directory) CheckSetup(ctx context.Context, token string) error {
	_, s, err := d.setup(ctx)
	if err != nil {
		return err
	}
	if p := (Person{Links: s.Links}); !p.hasLink(token, toSetUp) {
		return ErrLink
	}
	empty, err := d.Empty(ctx)
	if err == nil && !empty {
		err = ErrSetUp
	}
	return err
}

// SetUp uses the token, and all others, to make the first administrator. Of
// several calls at once one succeeds. The errors are [ErrLink], [ErrSetUp] and
// those of [Directory.Create]; after one of Create the token is still good.
func (d *Directory) SetUp(ctx context.Context, token string, p Person) (Person, error) {
	if err := d.CheckSetup(ctx, token); err != nil {
		return Person{}, err
	}
	p.First, p.Admin, p.Disabled = true, true, false // the first's key belongs to one at most
	if !p.CanSignIn() {
		return Person{}, badPerson("the first administrator needs a password or a passkey")
	}
	p, err := d.create(ctx, p)
	if err != nil {
		return Person{}, err
	}
	// The links are of no use any more: if they stay, Empty refuses them.
	if r, _, err := d.setup(ctx); err == nil && r.Version != 0 {
		_ = d.store.Delete(ctx, setupKey, r.Version)
	}
	return p, nil
}

// ---- secrets

// Secret returns 32 random bytes for the purpose, the same each time and on all
// machines that share the store.
func (d *Directory) Secret(ctx context.Context, purpose string) ([]byte, error) {
	id := secretKey + purpose
	for range updates {
		r, err := d.store.Get(ctx, id)
		if err == nil {
			return r.Data, nil
		}
		if errors.Is(err, ErrNotFound) {
			secret := make([]byte, 32)
			rand.Read(secret)
			err = d.store.Put(ctx, Record{ID: id, Data: secret})
			if _, raced := errors.AsType[*TakenError](err); err == nil || raced {
				continue // and read what is there
			}
		}
		return nil, fmt.Errorf("account: secret %s: %w", purpose, err)
	}
	return nil, fmt.Errorf("account: secret %s: %w", purpose, ErrConflict)
}
