// Package memory keeps sessions in the memory of the process: for one machine,
// for development and for tests. They are gone when it stops.
//
// Records lie in slabs of bytes without pointers, so that a million sessions
// give the garbage collector nothing to follow. Memory is bounded: where there
// is no room left, sessions in which nobody is signed in give way first.
package memory

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"iter"
	"log/slog"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/spent"
	"github.com/seed-64ad3862/gatehouse/session"
)

// Config configures a [Store]. The zero value is usable.
type Config struct {
	// MaxBytes bounds the memory for sessions: 256 MiB if zero or less, and
	// never less than 1 MiB. A session takes about 80 bytes more than its
	// values.
	MaxBytes int64

	// MaxSpent bounds how many spent ids are remembered at once, a million if
	// zero or less. They take some 40 bytes each beside MaxBytes.
	MaxSpent int

	// Logger is told, at most once a minute, that sessions gave way for want
	// of room. [slog.Default] if nil.
	Logger *slog.Logger
}

// A Store is a [session.Store], [session.Lister] and [session.Sweeper], and
// remembers the challenges that are spent (captcha.Once). It may be used
// concurrently. It runs nothing of its own and needs no closing.
//
// When it is full, the sessions that gave way are those not seen for long,
// anonymous ones first; an anonymous newcomer never displaces somebody who is
// signed in but is refused with [session.ErrFull].
//
// Sessions are found by owner and label in one step each, as long as not a large
// part of all have the same: a label should tell sessions apart.
type Store struct {
	shards []shard
	seed   maphash.Seed
	log    *slog.Logger
	spent  *spent.Table

	evicted  atomic.Int64
	loggedAt atomic.Int64 // Unix seconds
}

const (
	defaultBytes = 256 << 20
	minBytes     = 1 << 20
	manyShards   = 64
	fewShards    = 4
	// enoughBytes is where a shard of many is still large beside a chunk.
	enoughBytes = 64 << 20
)

// New returns an empty Store.
func New(cfg Config) *Store {
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = defaultBytes
	}
	cfg.MaxBytes = max(cfg.MaxBytes, minBytes)
	if cfg.MaxSpent <= 0 {
		cfg.MaxSpent = spent.DefaultMax
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	n := manyShards
	if cfg.MaxBytes < enoughBytes {
		n = fewShards
	}
	s := &Store{shards: make([]shard, n), seed: maphash.MakeSeed(), log: cfg.Logger, spent: spent.New(cfg.MaxSpent)}
	for i := range s.shards {
		s.shards[i].init(i, int(cfg.MaxBytes/int64(n)), s.seed)
	}
	return s
}

// Stats describes a Store.
type Stats struct {
	Sessions  int   // kept, also those that have expired and are not yet swept
	Anonymous int   // of these, with nobody signed in
	Bytes     int64 // taken, at most Config.MaxBytes
	Evicted   int64 // that gave way for want of room, since the start
}

// Stats counts. It is exact for each part of the store, but not of one moment.
func (s *Store) Stats() Stats {
	st := Stats{Evicted: s.evicted.Load()}
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		st.Sessions += sh.ids.n
		st.Anonymous += sh.count(anonymous)
		st.Bytes += int64(sh.bytes)
		sh.mu.Unlock()
	}
	return st
}

// The table finds a record by the first four bytes of its ID, and the shard by
// the fifth: both are in the handle too. IDs are hashes of values that we
// chose; nobody can aim them at one place.
func (s *Store) shard(b []byte) *shard { return &s.shards[int(b[4])&(len(s.shards)-1)] }

func tagOf(b []byte) uint32 { return binary.BigEndian.Uint32(b) }

// Load implements [session.Store].
func (s *Store) Load(_ context.Context, id session.ID) (session.Record, error) {
	now := millis(time.Now())
	sh := s.shard(id[:])
	sh.mu.Lock()
	at, ok := sh.find(id[:])
	if ok {
		if b := sh.block(at); live(b, now) {
			head, payload := readHead(b), string(payloadOf(b))
			sh.mu.Unlock()
			return makeRecord(id, head, payload, true), nil
		}
	}
	sh.mu.Unlock()
	return session.Record{}, session.ErrNotFound
}

// Delete implements [session.Store].
func (s *Store) Delete(_ context.Context, id session.ID) error {
	sh := s.shard(id[:])
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !sh.drop(id, millis(time.Now())) {
		return session.ErrNotFound
	}
	at, _ := sh.find(id[:])
	sh.remove(at)
	return nil
}

// Commit implements [session.Store].
func (s *Store) Commit(_ context.Context, id session.ID, d *session.Delta) error {
	if err := d.Validate(); err != nil {
		return err
	}
	from := s.shard(id[:])
	to := from
	newID := id
	if d.Rename != (session.ID{}) {
		newID = d.Rename
		to = s.shard(newID[:])
	}
	// Two locks are taken in the order of the shards, by everybody.
	first, second := from, to
	if first.number > second.number {
		first, second = second, first
	}
	first.mu.Lock()
	if second != first {
		second.mu.Lock()
	}
	evicted, err := commit(from, to, id, newID, d)
	if second != first {
		second.mu.Unlock()
	}
	first.mu.Unlock()
	if evicted > 0 {
		s.reportEvicted(evicted)
	}
	return err
}

// commit changes the record id of one shard, which may become newID of another.
func commit(from, to *shard, id, newID session.ID, d *session.Delta) (evicted int, err error) {
	now := millis(time.Now())
	exists := from.drop(id, now)
	if d.Create == exists {
		if exists {
			return 0, session.ErrExists
		}
		return 0, session.ErrNotFound
	}
	if newID != id && to.drop(newID, now) {
		return 0, session.ErrExists
	}

	var h head
	var payload []byte
	at, _ := from.find(id[:])
	if exists {
		h, payload = readHead(from.block(at)), payloadOf(from.block(at))
	}
	for _, f := range d.If {
		if string(valueOf(&h, payload, f.Key)) != f.Value {
			return 0, session.ErrConflict
		}
	}
	h.apply(d)
	names := d.Owner != nil || len(d.Labels) > 0
	if exists && newID == id && len(d.Set) == 0 && len(d.Delete) == 0 && !names {
		writeHead(from.block(at), &h) // the clocks only
		return 0, nil
	}

	// The new payload is built beside the old one, which stays until there is
	// room for the new.
	merged, ok := appendMerged(to.scratch[:0], &h, payload, d)
	if to.scratch = merged[:0]; cap(merged) > maxScratch {
		to.scratch = nil
	}
	if !ok || headLen+len(merged) > maxRecord {
		return 0, fmt.Errorf("%w: memory: no record has more than %d bytes, 255 labels, or 255 bytes in a name", session.ErrFull, maxRecord)
	}
	if exists && newID == id && from.fits(at, &h, len(merged)) && (!names || from.bytes+from.names.growth(h.names()) <= from.max) {
		if names {
			from.unindex(at)
		}
		write(from.block(at), &h, merged)
		if names {
			from.index(at)
		}
		return 0, nil
	}
	added, evicted, err := to.insert(newID, &h, merged, now, id)
	if err == nil && exists {
		from.removeOld(id, added, from == to)
	}
	return evicted, err
}

func (s *Store) reportEvicted(n int) {
	total := s.evicted.Add(int64(n))
	now, last := time.Now().Unix(), s.loggedAt.Load()
	if now-last >= 60 && s.loggedAt.CompareAndSwap(last, now) {
		s.log.Warn("memory: store is full, sessions give way, anonymous ones first", "since_start", total)
	}
}

// Find implements [session.Lister].
func (s *Store) Find(_ context.Context, h session.Handle) (session.Record, error) {
	now := millis(time.Now())
	sh := s.shard(h[:])
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if at, ok := sh.find(h[:]); ok && live(sh.block(at), now) {
		return sh.record(at, true), nil
	}
	return session.Record{}, session.ErrNotFound
}

// List implements [session.Lister]. What a query by owner or label yields was all
// there at one moment; All and SignedIn go through the store in small steps.
func (s *Store) List(ctx context.Context, q session.Query) iter.Seq2[session.Record, error] {
	return func(yield func(session.Record, error) bool) {
		if q.SignedIn && q.Owner == "" {
			// Not by way of the label, which any number of anonymous sessions may have.
			s.listSignedIn(ctx, &q, yield)
			return
		}
		if !q.All {
			for _, r := range s.named(&q) {
				if !yield(r, nil) {
					return
				}
			}
			return
		}
		var batch []session.Record
		for i := range s.shards {
			for from := uint64(0); from < tags; {
				if err := ctx.Err(); err != nil {
					yield(session.Record{}, err)
					return
				}
				batch, from = s.shards[i].list(batch[:0], from, q.Fields)
				for _, r := range batch {
					if !yield(r, nil) {
						return
					}
				}
			}
		}
	}
}

// listSignedIn notes the IDs of one shard's records that have an owner, and then
// reads them a few at a time, to yield those that the query selects.
func (s *Store) listSignedIn(ctx context.Context, q *session.Query, yield func(session.Record, error) bool) {
	var ids []session.ID
	var batch []session.Record
	for i := range s.shards {
		ids = s.shards[i].signedIn(ids[:0])
		for some := range slices.Chunk(ids, listStep) {
			if err := ctx.Err(); err != nil {
				yield(session.Record{}, err)
				return
			}
			batch = s.shards[i].records(batch[:0], some, q.Fields)
			for _, r := range batch {
				if q.Match(&r) && !yield(r, nil) {
					return
				}
			}
		}
	}
}

// named finds records by owner or label. A record that is renamed moves from one
// shard to another: with all of them locked none is missed, and whoever ends the
// sessions of a person ends them all.
func (s *Store) named(q *session.Query) (found []session.Record) {
	now := millis(time.Now())
	for i := range s.shards { // in the order that everybody keeps
		s.shards[i].mu.Lock()
		defer s.shards[i].mu.Unlock()
	}
	for i := range s.shards {
		found = s.shards[i].named(found, q, now)
	}
	return found
}

// Sweep implements [session.Sweeper]. It holds each lock for some microseconds
// at a time. It also yields those signed in that gave way since the last sweep,
// whose deadline has not passed, up to some thousands.
func (s *Store) Sweep(ctx context.Context) iter.Seq2[session.Record, error] {
	return func(yield func(session.Record, error) bool) {
		var gone []session.Record
		for i := range s.shards {
			sh := &s.shards[i]
			for step := (sweep{}); ; {
				if err := ctx.Err(); err != nil {
					yield(session.Record{}, err)
					return
				}
				var more bool
				gone, more = sh.sweep(gone[:0], &step)
				runtime.Gosched() // who waits for this core goes first
				for _, r := range gone {
					if !yield(r, nil) {
						return
					}
				}
				if !more {
					break
				}
			}
		}
	}
}

// Spend records the id as spent until that time and reports whether this call
// was the first to do so: of any number of calls exactly one is. Calls with one
// id must give one time. Where [Config.MaxSpent] ids are remembered it is an
// error.
func (s *Store) Spend(ctx context.Context, id [16]byte, until time.Time) (first bool, err error) {
	if first, err = s.spent.Spend(ctx, id, until); err != nil {
		return false, fmt.Errorf("memory: %w", err)
	}
	return first, nil
}

// Spent reports whether the id is spent. The error is nil.
func (s *Store) Spent(ctx context.Context, id [16]byte) (bool, error) { return s.spent.Spent(ctx, id) }
