// Package throttle bounds how often somebody may try: to guess a password, a code
// of an authenticator, or a name.
//
//	t, err := throttle.New(throttle.Config{})
//
//	a := throttle.Attempt{Account: canonical, Addr: addr}
//	if err := t.Try(ctx, a); err != nil { … }  // before anything is computed
//	… the password is right:
//	err := t.Succeeded(ctx, a)
//
// # What is counted
//
// An attempt is counted when it begins, and given back if it succeeds, so that a
// hundred at once are not a hundred for the price of one. It takes a token out of
// three buckets:
//
//   - of the account and the network together, a small one. If it is empty, the
//     attempt is denied: who guesses is stopped, and whoever owns the account is
//     somewhere else;
//   - of the network, wider, since many people may be behind one address. It denies
//     too;
//   - of the account, for guesses from many networks. To be denied by it is what an
//     attacker could do to the owner, so that it does not deny, unless
//     [Config.Lock] says so; and then it does not ask those who are
//     [Attempt.Known].
//
// Those who are known have a bucket of the account and the network for themselves: a
// neighbour's guesses do not keep them out.
//
// The six digits of an authenticator are fewer than passwords, and whoever gets to
// guess them knows the password. They have a bucket of their own for each account,
// whatever the network, that does deny: [Throttle.TryCode].
//
// A bucket fills up by one token after each [Limit.Every]. Denied attempts take
// nothing: who keeps on trying does not wait longer for it.
//
// Long before, [Throttle.Suspect] says that an attempt is worth a CAPTCHA: after a
// few failures for the account, from wherever, or from the network.
//
// A name that no account has is counted like any other, so that nothing can be
// learned from being stopped.
//
// # Memory
//
// A [Table], the store for one process, has a fixed size. When it has no room for
// another bucket, one is forgotten of which little has been used: a flood of
// invented names pushes out others of its kind, and never stops anybody. Several machines share a
// [Store].
package throttle

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/outage"
)

// Config configures [New]. The zero value is right for sign-ins of one process.
type Config struct {
	// Pair, Network and Account are the three limits of the package comment. A
	// Burst of 0 stands for 5 at once and then one every two minutes, for 50 and
	// one every 10 seconds, and for 100 and one every 10 minutes (NIST SP
	// 800-63B-4, section 3.2.2, allows 100 failures in a row for an account).
	Pair, Network, Account Limit

	// Code is the limit of codes of an authenticator for one account: 20 at once
	// and then one an hour if its Burst is 0. With five codes that are good at
	// any time, that is a chance of one in 23 in a year of guessing.
	Code Limit

	// Lock denies attempts which are not [Attempt.Known] while the bucket of the
	// account is empty, as NIST asks. An attacker with many networks can then
	// keep people from signing in on a device that is new to them.
	Lock bool

	// SuspectAccount and SuspectNetwork are after how many attempts in a row
	// that have failed for the account, or from the network, others are
	// suspect: 3 and 10 if 0, never if negative.
	SuspectAccount, SuspectNetwork int

	// Store keeps the buckets: a [Table] of the default size if nil.
	Store Store

	// Key is a secret of 32 bytes or more, the same on all machines that share a
	// store: buckets are kept under names derived with it. If nil, a random one
	// is made, for a store that nobody shares.
	Key []byte

	// Logger is told when the store begins to fail, and when it answers again, once
	// each. [slog.Default] if nil.
	Logger *slog.Logger
}

// ErrStore means that the store failed, and wraps its error. [Config.Logger] has been
// told when that began.
var ErrStore = errors.New("throttle: the store fails")

// A Limit is the size of a bucket and how fast it fills.
type Limit struct {
	Burst int           // attempts at once, from 1 to [MaxBurst]
	Every time.Duration // one more after each, from a millisecond to a day
}

// MaxBurst is the largest [Limit.Burst].
const MaxBurst = 10_000

// An Attempt is somebody trying.
type Attempt struct {
	// Account is the name in the form in which names are compared. It may be
	// empty where there is none yet; then there is no bucket of it.
	Account string

	// Addr is where the attempt comes from: the client's, not that of a proxy.
	// Addresses of IPv6 count as one network if their first 64 bits are the
	// same, and all that are not valid as another one.
	Addr netip.Addr

	// Known says that whoever tries has signed in to the account before, on this
	// device, and has shown so, by a signed cookie say.
	Known bool
}

// Denied is the error of an attempt that has to wait.
type Denied struct{ Wait time.Duration }

func (d *Denied) Error() string { return "throttle: too many attempts; wait " + d.Wait.String() }

// Header sets the field Retry-After, in seconds. An answer with it has the status
// 429 (RFC 6585, section 4).
func (d *Denied) Header(h http.Header) {
	h.Set("Retry-After", strconv.FormatInt(int64(math.Ceil(max(d.Wait, time.Second).Seconds())), 10))
}

// A Throttle counts attempts. It can be used by several goroutines at once, and
// takes part in the counting of all others that have the same store and key.
type Throttle struct {
	cfg    Config
	outage outage.Outage // of the store
}

// New returns a Throttle, or an error that says which setting is wrong.
func New(cfg Config) (*Throttle, error) {
	for _, l := range []struct {
		name  string
		limit *Limit
		usual Limit
	}{
		{"Pair", &cfg.Pair, Limit{5, 2 * time.Minute}},
		{"Network", &cfg.Network, Limit{50, 10 * time.Second}},
		{"Account", &cfg.Account, Limit{100, 10 * time.Minute}},
		{"Code", &cfg.Code, Limit{20, time.Hour}},
	} {
		if *l.limit == (Limit{}) {
			*l.limit = l.usual
		}
		switch {
		case l.limit.Burst < 1 || l.limit.Burst > MaxBurst:
			return nil, fmt.Errorf("throttle: %s.Burst %d is not from 1 to %d", l.name, l.limit.Burst, MaxBurst)
		case l.limit.Every < time.Millisecond || l.limit.Every > 24*time.Hour:
			return nil, fmt.Errorf("throttle: %s.Every %v is not from 1ms to 24h", l.name, l.limit.Every)
		}
	}
	if cfg.SuspectAccount == 0 {
		cfg.SuspectAccount = 3
	}
	if cfg.SuspectNetwork == 0 {
		cfg.SuspectNetwork = 10
	}
	switch {
	case cfg.Key == nil:
		cfg.Key = make([]byte, 32)
		rand.Read(cfg.Key)
	case len(cfg.Key) < 32:
		return nil, fmt.Errorf("throttle: Key has %d bytes, less than 32", len(cfg.Key))
	default:
		cfg.Key = append([]byte(nil), cfg.Key...)
	}
	if cfg.Store == nil {
		cfg.Store = NewTable(0)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Throttle{cfg: cfg}, nil
}

// note returns the error of a call to the store that began then.
func (t *Throttle) note(ctx context.Context, began time.Time, err error) error {
	if !errors.Is(ctx.Err(), context.Canceled) { // else the caller has gone
		t.outage.Note(began, err).Log(ctx, t.cfg.Logger, "throttle: the store", err)
	}
	if err != nil {
		err = storeError{err}
	}
	return err
}

// A storeError is an error of the store.
type storeError struct{ error }

func (e storeError) Error() string { return "throttle: " + e.error.Error() }

func (e storeError) Is(target error) bool { return target == ErrStore }

func (e storeError) Unwrap() error { return e.error }

// give puts tokens back: one into each of some buckets, and as many as are missing into
// others.
func (t *Throttle) give(ctx context.Context, one, all []Bucket) error {
	began := time.Now()
	return t.note(ctx, began, t.cfg.Store.Give(ctx, one, all))
}

// Try counts an attempt. It returns nil; or a [*Denied], and then nothing is
// counted; or the error of the store, and then whether it is counted is not known.
func (t *Throttle) Try(ctx context.Context, a Attempt) error {
	return t.take(ctx, t.taken(a))
}

// taken are the buckets that an attempt takes from.
func (t *Throttle) taken(a Attempt) []Bucket {
	network, pair, account := t.buckets(a)
	switch {
	case a.Account == "":
		return []Bucket{network}
	case a.Known:
		return []Bucket{network, pair}
	}
	return []Bucket{network, pair, account}
}

func (t *Throttle) take(ctx context.Context, buckets []Bucket) error {
	began := time.Now()
	wait, err := t.cfg.Store.Take(ctx, buckets)
	if err := t.note(ctx, began, err); err != nil {
		return err
	}
	if wait > 0 {
		return &Denied{wait}
	}
	return nil
}

// Succeeded takes back what [Throttle.Try] has counted of an attempt. For the
// account, and for the account and the network together, it takes back all; but
// for the network only this one, since anybody can have an account of their own
// to succeed with.
func (t *Throttle) Succeeded(ctx context.Context, a Attempt) error {
	network, pair, account := t.buckets(a)
	var all []Bucket
	if a.Account != "" {
		all = []Bucket{pair, account}
	}
	return t.give(ctx, []Bucket{network}, all)
}

// Cancel takes back what [Throttle.Try] has counted of this attempt, whose password
// nobody has looked at.
func (t *Throttle) Cancel(ctx context.Context, a Attempt) error {
	return t.give(ctx, t.taken(a), nil)
}

// TryCode counts a guess at the code of an authenticator, and answers as
// [Throttle.Try] does. The network does not count.
func (t *Throttle) TryCode(ctx context.Context, a Attempt) error {
	return t.take(ctx, []Bucket{t.code(a.Account, a.Known)})
}

// CodeSucceeded takes back all that [Throttle.TryCode] has counted for the account, of
// those who are known or of those who are not.
func (t *Throttle) CodeSucceeded(ctx context.Context, a Attempt) error {
	return t.give(ctx, nil, []Bucket{t.code(a.Account, a.Known)})
}

// Suspect reports whether so many attempts for the account or from the network
// have failed that another one should be asked for more: see [Config].
func (t *Throttle) Suspect(ctx context.Context, a Attempt) (bool, error) {
	network, pair, account := t.buckets(a)
	buckets := []Bucket{network}
	if a.Account != "" {
		buckets = append(buckets, account, pair)
	}
	began := time.Now()
	used, err := t.cfg.Store.Used(ctx, buckets)
	if err := t.note(ctx, began, err); err != nil {
		return false, err
	}
	for i, n := range used {
		most := t.cfg.SuspectAccount
		if i == 0 {
			most = t.cfg.SuspectNetwork
		}
		if most > 0 && n >= most {
			return true, nil
		}
	}
	return false, nil
}

// Unban forgets all attempts for an account, from wherever they came.
func (t *Throttle) Unban(ctx context.Context, account string) error {
	began := time.Now()
	if err := t.note(ctx, began, t.cfg.Store.Forget(ctx, t.name("account", account))); err != nil {
		return err
	}
	return t.give(ctx, nil, []Bucket{t.code(account, false), t.code(account, true)})
}

// UnbanNetwork forgets all attempts from a network, but not those that were for
// one account.
func (t *Throttle) UnbanNetwork(ctx context.Context, addr netip.Addr) error {
	network, _, _ := t.buckets(Attempt{Addr: addr})
	return t.give(ctx, nil, []Bucket{network})
}

// buckets returns those of an attempt; of an empty account only the first is of use.
func (t *Throttle) buckets(a Attempt) (network, pair, account Bucket) {
	n := Name{Network: t.name("network", networkOf(a.Addr))}
	network = Bucket{n, t.cfg.Network, false}
	if a.Account != "" {
		n.Account = t.name("account", a.Account)
		pair = Bucket{n, t.cfg.Pair, false}
		if a.Known {
			pair.Name.Network = t.name("network of those who are known", networkOf(a.Addr))
		}
		account = Bucket{Name{Account: n.Account}, t.cfg.Account, !t.cfg.Lock}
	}
	return network, pair, account
}

// code is the bucket of an account's codes.
func (t *Throttle) code(account string, known bool) Bucket {
	kind := "code"
	if known {
		kind = "code of those who are known"
	}
	return Bucket{Name{Account: t.name(kind, account)}, t.cfg.Code, false}
}

// name hides what is counted, names that somebody has typed among it, from those
// who read the store, and keeps those who choose names from choosing where in a
// table they go.
func (t *Throttle) name(kind, text string) (n [16]byte) {
	mac := hmac.New(sha256.New, t.cfg.Key)
	mac.Write([]byte(kind + "\x00" + text))
	copy(n[:], mac.Sum(nil))
	return n
}

func networkOf(addr netip.Addr) string {
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return ""
	}
	return p.String()
}
