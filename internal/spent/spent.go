// Package spent remembers, for some time, which ids have been used up.
package spent

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrFull means that the table can remember no more. To forget others before
// their time would let them be used twice.
var ErrFull = errors.New("too many spent ids to remember")

// A Table remembers what is spent, in one process. Ids lie in one map per slot of time,
// and a slot is dropped as a whole: expiry holds the lock for as long as it
// takes to look at a hundred slots, however many ids are in them. The maps
// hold no pointers, so that the garbage collector does not walk through them,
// and they grow by splitting, so that no single insertion pays for all.
type Table struct {
	mu     sync.Mutex
	slots  map[int64]map[[16]byte]struct{}
	oldest int64 // slots before this one are dropped
	n, max int
}

// DefaultMax is a bound that takes some 40 MB.
const DefaultMax = 1 << 20

// slotWidth is in seconds: ids are remembered for up to this much longer.
const slotWidth = 30

// New returns a Table that remembers so many ids at the most.
func New(limit int) *Table {
	return &Table{slots: make(map[int64]map[[16]byte]struct{}), max: limit}
}

// Spend records the id until that time, and reports whether this call was the
// first to do so. Calls with one id must give one time, or times that differ by less
// than half a minute. One that is over by now is
// taken for spent: it may have been, and forgotten. Its error is [ErrFull].
func (t *Table) Spend(_ context.Context, id [16]byte, until time.Time) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop()
	at := until.Unix() / slotWidth
	if at < time.Now().Unix()/slotWidth {
		return false, nil
	}
	// A clock that was ahead and has been set back leaves the oldest slot in the
	// future. Nothing is first without being recorded.
	at = max(at, t.oldest)
	for near := at - 1; near <= at+1; near++ {
		if _, ok := t.slots[near][id]; ok {
			return false, nil
		}
	}
	slot := t.slots[at]
	if t.n >= t.max {
		return false, ErrFull
	}
	if slot == nil {
		slot = make(map[[16]byte]struct{})
		t.slots[at] = slot
	}
	slot[id] = struct{}{}
	t.n++
	return true, nil
}

// Spent reports whether the id is recorded. The error is nil.
func (t *Table) Spent(_ context.Context, id [16]byte) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop()
	for _, slot := range t.slots {
		if _, ok := slot[id]; ok {
			return true, nil
		}
	}
	return false, nil
}

// drop forgets the slots that are over.
func (t *Table) drop() {
	now := time.Now().Unix() / slotWidth
	if now <= t.oldest {
		return
	}
	t.oldest = now
	for at, slot := range t.slots {
		if at < now {
			t.n -= len(slot)
			delete(t.slots, at)
		}
	}
}
