package session

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
)

// Errors that a [Store] answers with. A store may wrap them.
var (
	// ErrNotFound says that there is no such session, or none any more.
	ErrNotFound = errors.New("session: not found")
	// ErrExists says that a record to be created, or the new name of one to
	// be renamed, is taken.
	ErrExists = errors.New("session: already exists")
	// ErrConflict says that a condition of [Delta.If] does not hold.
	ErrConflict = errors.New("session: changed by another request")
	// ErrFull says that the store has no room for the change. A record that
	// it would have changed is as it was.
	ErrFull = errors.New("session: store is full")
	// ErrInvalidDelta says that a [Delta] contradicts itself: it both creates
	// and renames. Nothing has changed.
	ErrInvalidDelta = errors.New("session: a delta cannot create a record and rename it")
)

// An ID names a record in the store: the SHA-256 of the cookie's value exactly
// as it is sent. It cannot be turned back into the cookie.
type ID [32]byte

// Handle returns the part of the ID that people and logs see.
func (id ID) Handle() Handle { return Handle(id[:8]) }

// A Handle names a session to people: in listings, logs and commands. It is
// the first eight bytes of the [ID], which no cookie can be made from.
type Handle [8]byte

// ParseHandle reads what [Handle.String] writes: 16 hexadecimal digits.
func ParseHandle(s string) (Handle, error) {
	var h Handle
	if len(s) != hex.EncodedLen(len(h)) {
		return Handle{}, fmt.Errorf("session: a handle has %d hexadecimal digits, this has %d bytes", hex.EncodedLen(len(h)), len(s))
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return Handle{}, fmt.Errorf("session: a handle has hexadecimal digits only: %w", err)
	}
	return h, nil
}

// String returns 16 lower-case hexadecimal digits.
func (h Handle) String() string { return hex.EncodeToString(h[:]) }

// MarshalText implements [encoding.TextMarshaler], so that a handle is a string
// in JSON and in a log.
func (h Handle) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (h *Handle) UnmarshalText(b []byte) error {
	parsed, err := ParseHandle(string(b))
	if err == nil {
		*h = parsed
	}
	return err
}

// A Field is one value of a session. Value is JSON text, never empty in a
// [Record].
type Field struct {
	Key   string
	Value string
}

// A Label is a name and value by which sessions are listed and ended, as they
// are by owner: the session they depend on, an identity provider's `sid`, a
// device. A session has at most one value for a name.
type Label struct {
	Name  string
	Value string
}

// A Record is a session as a store keeps it. The slices are shared: neither the
// store nor its caller changes them.
type Record struct {
	ID      ID
	Created time.Time     // when the clocks started
	Seen    time.Time     // last commit or touch
	Idle    time.Duration // how long after Seen it ends
	Expires time.Time     // when it ends at the latest
	Owner   string        // empty: nobody is signed in
	Labels  []Label       // in no particular order
	Fields  []Field       // in no particular order, one for a key
}

// Deadline is when the session ends if nothing more happens: Seen plus Idle, or
// Expires if that is sooner. At the deadline it has ended.
func (r *Record) Deadline() time.Time {
	if idle := r.Seen.Add(r.Idle); idle.Before(r.Expires) {
		return idle
	}
	return r.Expires
}

// A Delta is what one request changes in a record, and nothing else.
type Delta struct {
	// Create: the record must not exist and is made, with Seen as the time of
	// its creation; Seen, Idle and Expires are then given. Otherwise it must
	// exist.
	Create bool

	// Rename, unless zero, is the record's ID from now on. The old ID is
	// unknown from the same instant. It excludes Create.
	Rename ID

	// If lists what must hold for anything to change: each key has exactly
	// this value, or, where Value is empty, the key is absent.
	If []Field

	Set    []Field  // values to store; no key twice, none that Delete has
	Delete []string // keys to remove; one that is absent is no error

	Seen    time.Time     // zero: unchanged; never moves the record's back
	Idle    time.Duration // zero: unchanged
	Expires time.Time     // zero: unchanged
	Restart bool          // the clocks restart: Created becomes the record's new Seen

	Owner  *string // nil: unchanged
	Labels []Label // values to store; an empty Value removes the label
}

// A Store keeps records. All methods may be called concurrently, and honour the
// context's end by giving up with its error (a store in memory need not look).
// Every method is atomic: other callers see all of it or nothing.
//
// After one of the errors of this package nothing has changed. After any other
// error the outcome is unknown: the change may have been applied, or may still
// be applied shortly. That includes the error of a context that ended while the
// store was at work and a connection that broke.
//
// A record whose [Record.Deadline] has passed does not exist for any method,
// whether or not it has been removed yet.
//
// Package storetest is the contract as tests.
type Store interface {
	// Load returns the record, or ErrNotFound.
	Load(ctx context.Context, id ID) (Record, error)

	// Commit applies the delta to the record. It answers, in this order,
	// ErrNotFound if the record should exist and does not, ErrExists if it
	// should not and does or if the new name is taken, and ErrConflict if a
	// condition fails. The delta is only read, and only during the call.
	//
	// Before all others comes ErrInvalidDelta.
	//
	// A store that keeps records under their handles may take an ID for taken
	// whose handle is: with random IDs that never happens.
	Commit(ctx context.Context, id ID, d *Delta) error

	// Delete removes the record, or answers ErrNotFound.
	Delete(ctx context.Context, id ID) error
}

// Validate returns [ErrInvalidDelta] if the delta contradicts itself, for stores
// to use.
func (d *Delta) Validate() error {
	if d.Create && d.Rename != (ID{}) {
		return ErrInvalidDelta
	}
	return nil
}

// A Query selects sessions. The zero Query selects none and is refused, so that
// an owner who is empty by mistake does not become everybody.
type Query struct {
	Owner string // sessions of this owner
	Label Label  // sessions with this label, of that owner if both are given
	All   bool   // every session; the others are then zero

	// SignedIn selects sessions that have an owner, with Label those of them
	// that have the label. Its cost does not depend on how many anonymous
	// sessions there are.
	SignedIn bool

	// Fields asks for the values too. A store may give them unasked.
	Fields bool
}

// Match reports whether the query selects the record, for stores to use. It
// does not look at the deadline.
func (q *Query) Match(r *Record) bool {
	if q.All {
		return true
	}
	if q.Owner != "" && q.Owner != r.Owner || q.SignedIn && r.Owner == "" {
		return false
	}
	if q.Label.Name == "" {
		return q.Owner != "" || q.SignedIn
	}
	return slices.Contains(r.Labels, q.Label)
}

// ErrQuery says that a [Query] selects nothing or is contradictory.
var ErrQuery = errors.New("session: a query needs an owner, a label, SignedIn or All, and All stands alone")

func (q *Query) validate() error {
	named := q.Owner != "" || q.SignedIn || q.Label != Label{}
	if q.All == named || (q.Label != Label{} && (q.Label.Name == "" || q.Label.Value == "")) {
		return ErrQuery
	}
	return nil
}

// A Lister is a [Store] whose records can be listed.
type Lister interface {
	// List yields the records that the query selects, in no particular
	// order. One that begins, ends or is renamed meanwhile may be among them
	// or not; every other one is, once. An error ends the listing. While it
	// goes on, the caller may call any method.
	List(ctx context.Context, q Query) iter.Seq2[Record, error]

	// Find returns the record with this handle, or ErrNotFound.
	Find(ctx context.Context, h Handle) (Record, error)
}

// A Sweeper is a [Store] that has to be told to give up the room of records
// whose deadline has passed. [Manager] calls it about once a minute while there
// are requests.
type Sweeper interface {
	// Sweep removes records whose deadline has passed, in small steps that
	// hold nobody up, and yields each without its fields once it is gone. A
	// store that had to remove others for want of room yields those too.
	Sweep(ctx context.Context) iter.Seq2[Record, error]
}
