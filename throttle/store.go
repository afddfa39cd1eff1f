package throttle

import (
	"context"
	"encoding/binary"
	"sync"
	"time"
)

// A Store keeps buckets. Its methods can be called by several goroutines, and by
// several machines, at once, and each call is done as a whole or not at all. The
// clock is the store's, so that machines need not agree on the time.
//
// It needs one time for each bucket: the one at which it will be full. To take a
// token moves it, from now on at the least, by Every; the bucket is empty if that
// would be further away than Burst times Every (the generic cell rate algorithm,
// ITU-T I.371). Buckets that are full need not be kept.
type Store interface {
	// Take takes one token out of each bucket. If one has none, it takes
	// nothing, and returns how long it is until all have; but one that is Soft
	// and has none is left out.
	Take(ctx context.Context, buckets []Bucket) (wait time.Duration, err error)

	// Used returns how many tokens are missing in each bucket.
	Used(ctx context.Context, buckets []Bucket) ([]int, error)

	// Give puts one token back into each of some buckets, and fills others.
	Give(ctx context.Context, one, all []Bucket) error

	// Forget fills all buckets with the account in their names.
	Forget(ctx context.Context, account [16]byte) error
}

// A Bucket is one that a [Store] keeps, if it is not full.
type Bucket struct {
	Name  Name
	Limit Limit
	Soft  bool // does not deny
}

// A Name is that of an account, of a network, or of both: of what it is not of, it
// has zeros.
type Name struct{ Account, Network [16]byte }

// A Table is a [Store] in the memory of one process, of a fixed size. Half of it is
// for buckets of an account alone: those of accounts with networks, which are more and
// of which a greater part is used, do not push them out.
type Table struct {
	mu      sync.Mutex
	start   time.Time // of a clock that does not jump
	entries []entry
}

// entry is a bucket that will be full so many nanoseconds after the start; one that
// is full already is as good as none.
type entry struct {
	name Name
	full int64
	size int64 // how long it takes to fill, from empty
}

// used is which part of the bucket has been used.
func (e *entry) used(now int64) float64 {
	if e.full <= now {
		return 0
	}
	return float64(e.full-now) / float64(e.size)
}

// ways is how many entries can be the one of a bucket.
const ways = 8

// NewTable returns a Table for so many buckets, rounded up to a multiple of sixteen:
// 65,536 if n is not positive. Each takes 48 bytes.
func NewTable(n int) *Table {
	if n <= 0 {
		n = 1 << 16
	}
	return &Table{start: time.Now(), entries: make([]entry, (n+2*ways-1)/(2*ways)*(2*ways))}
}

// find returns the entry of a bucket, or the one to be used for it: that of which
// the smallest part has been used.
func (t *Table) find(n Name, now int64) *entry {
	// Names are evenly distributed already.
	at := binary.LittleEndian.Uint64(n.Account[:]) ^ binary.LittleEndian.Uint64(n.Network[:])
	half := t.entries[:len(t.entries)/2]
	if n.Network == [16]byte{} {
		half = t.entries[len(half):]
	}
	at = at % uint64(len(half)/ways) * ways
	set := half[at:][:ways]
	for i := range set {
		if set[i].name == n {
			return &set[i]
		}
	}
	fullest, least := &set[0], set[0].used(now)
	for i := range set {
		if used := set[i].used(now); used < least {
			fullest, least = &set[i], used
		}
	}
	return fullest
}

func (t *Table) now() int64 { return int64(time.Since(t.start)) }

// full returns when a bucket will be full, now at the soonest.
func (t *Table) full(n Name, now int64) int64 {
	if e := t.find(n, now); e.name == n {
		return max(e.full, now)
	}
	return now
}

// Take implements [Store]. The error is nil.
func (t *Table) Take(_ context.Context, buckets []Bucket) (time.Duration, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	// lacks is how long a bucket has no token for.
	lacks := func(b Bucket) int64 {
		return t.full(b.Name, now) - now - int64(b.Limit.Burst-1)*int64(b.Limit.Every)
	}
	wait := int64(0)
	for _, b := range buckets {
		if !b.Soft {
			wait = max(wait, lacks(b))
		}
	}
	if wait > 0 {
		return time.Duration(wait), nil
	}
	for _, b := range buckets {
		if lacks(b) <= 0 {
			*t.find(b.Name, now) = entry{b.Name, t.full(b.Name, now) + int64(b.Limit.Every), int64(b.Limit.Burst) * int64(b.Limit.Every)}
		}
	}
	return 0, nil
}

// Used implements [Store]. The error is nil.
func (t *Table) Used(_ context.Context, buckets []Bucket) ([]int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	used := make([]int, len(buckets))
	for i, b := range buckets {
		every := int64(b.Limit.Every)
		used[i] = int((t.full(b.Name, now) - now + every - 1) / every)
	}
	return used, nil
}

// Give implements [Store]. The error is nil.
func (t *Table) Give(_ context.Context, one, all []Bucket) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range one {
		if e := t.find(b.Name, t.now()); e.name == b.Name {
			e.full -= int64(b.Limit.Every)
		}
	}
	for _, b := range all {
		if e := t.find(b.Name, t.now()); e.name == b.Name {
			*e = entry{}
		}
	}
	return nil
}

// Forget implements [Store]. The error is nil.
func (t *Table) Forget(_ context.Context, account [16]byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.entries {
		if t.entries[i].name.Account == account {
			t.entries[i] = entry{}
		}
	}
	return nil
}
