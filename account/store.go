package account

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"time"
)

// Errors that a Store answers with. A store may wrap them.
var (
	// ErrNotFound says that there is no such record, person or link.
	ErrNotFound = errors.New("account: not found")
	// ErrConflict says that a record has another version than was given:
	// somebody else has changed it.
	ErrConflict = errors.New("account: changed by somebody else")
	// ErrFull says that the store has no room. What was there is as it was.
	ErrFull = errors.New("account: store is full")
)

// TakenError says that a key of a record belongs to another one.
type TakenError struct{ Key string }

func (e *TakenError) Error() string { return fmt.Sprintf("account: key %q is taken", e.Key) }

// Bounds of what a Store has to keep.
const (
	MaxKey  = 512     // bytes in a key
	MaxKeys = 64      // keys of a record, its ID among them
	MaxData = 1 << 20 // bytes of a record's data
)

// A Record is what a Store keeps, as a whole.
type Record struct {
	ID      string   // its first key, which never changes
	Keys    []string // others under which it is found; no key belongs to two records
	Version int64    // 1 when it is made, and one more with each change
	Data    []byte
}

// A Store keeps records. All methods may be called concurrently, by any number of
// machines; each is done as a whole or not at all, and after an error nothing has
// changed, or, where the connection to a remote store broke, nobody can know.
//
// Keys are UTF-8 without NUL. A store may rely on the bounds above: [Directory]
// sees to them.
type Store interface {
	// Get returns the record that has the key, as its ID or another one, or
	// ErrNotFound. The caller may change what it gets.
	Get(ctx context.Context, key string) (Record, error)

	// Put stores the record. If its Version is 0 it is new: there must be none
	// with its ID. Otherwise it replaces the one with its ID, which must have that
	// Version still. What is stored has the version after.
	//
	// It answers, in this order, ErrNotFound if the record to be replaced is not
	// there, ErrConflict if it has another version, and a *TakenError if a key,
	// the ID of a new record among them, belongs to another one.
	Put(ctx context.Context, r Record) error

	// Delete removes the record with this ID if it has that version. It answers
	// ErrNotFound or ErrConflict.
	Delete(ctx context.Context, id string, version int64) error

	// List yields the keys, IDs among them, that begin with prefix and are greater
	// than after, in the order of their bytes, each with its record. A record that
	// changes meanwhile may be seen as it was or as it is. An error ends the
	// listing. While it goes on, the caller may call any method.
	List(ctx context.Context, prefix, after string) iter.Seq2[Found, error]
}

// Found is a record and the key it was found under.
type Found struct {
	Key string
	Record
}

// An Entry says that something has happened. It holds no secret.
type Entry struct {
	// Number is given by the log, when the entry is appended: greater than those
	// of all entries that were there before.
	Number int64 `json:"number"`

	Time time.Time `json:"time"`

	// Kind is what has happened, such as "sign-in".
	Kind Kind `json:"kind"`

	// Person is the ID of whom it concerns, Name the name they had then, and By
	// the ID of who did it, if that is somebody else. All are empty for somebody
	// who is not known: what was typed as a name may have been a password.
	Person string `json:"person,omitempty"`
	Name   string `json:"name,omitempty"`
	By     string `json:"by,omitempty"`

	// Addr is where the request came from, Agent what the browser said it was,
	// and Session the handle of the session that it was made in.
	Addr    netip.Addr `json:"addr,omitzero"`
	Agent   string     `json:"agent,omitempty"`
	Session string     `json:"session,omitempty"`

	// Detail is a word or two more, such as the factor that was used.
	Detail string `json:"detail,omitempty"`
}

// A Kind says what has happened.
type Kind string

// A LogQuery selects entries. The zero LogQuery selects all.
type LogQuery struct {
	Person string    // concerning this person
	Kind   Kind      // of this kind
	Since  time.Time // not before
	Before int64     // with a smaller number, if not 0
}

// Match reports whether the query selects the entry, for logs to use.
func (q *LogQuery) Match(e *Entry) bool {
	return (q.Person == "" || e.Person == q.Person) &&
		(q.Kind == "" || e.Kind == q.Kind) &&
		!e.Time.Before(q.Since) &&
		(q.Before == 0 || e.Number < q.Before)
}

// A Log keeps what has happened. All methods may be called concurrently, by any
// number of machines.
type Log interface {
	// Append adds the entry, and gives it a number.
	Append(ctx context.Context, e Entry) error

	// Entries yields those that the query selects, the newest, which has the
	// greatest number, first. An error ends the listing.
	Entries(ctx context.Context, q LogQuery) iter.Seq2[Entry, error]

	// Trim removes the entries from before that time, and returns how many there
	// were. With an error some may be gone.
	Trim(ctx context.Context, before time.Time) (int, error)
}
