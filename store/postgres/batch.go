package postgres

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-64ad3862/gatehouse/session"
)

const (
	// maxAlone bounds how many calls are under way that are a statement each.
	// With more of them, less waiting would not outweigh what statements cost.
	maxAlone = 16

	// maxStatements bounds the batches of one kind that are under way. Fewer are
	// larger and cost less in all; more wait less for each other.
	maxStatements = 2

	// maxBatch bounds the calls of a batch. A larger one would save no more.
	maxBatch = 64

	// stallTimeout is after what time without the end of a statement calls no
	// longer wait for those that are under way.
	stallTimeout = 20 * time.Millisecond
)

// A batcher makes calls of one kind, each about one record. While there are few,
// each is a statement of its own, made by its caller. When there are so many that
// they would wait for a connection, one statement makes all that wait: most of
// what a statement costs does not depend on the number of its rows.
type batcher[T any] struct {
	what string // the calls do, for errors
	// one makes a call by a statement of its own.
	one func(ctx context.Context, c *call[T]) error
	// many makes the calls, which are in the order of their IDs, by one
	// statement, and sets err or retry of each.
	many func(ctx context.Context, calls []*call[T])

	present       *atomic.Int64 // calls under way, of every batcher of the store
	maxAlone      int64
	maxStatements int

	mu       sync.Mutex
	running  int        // statements, but for those of earlier eras
	era      uint       // of statements: it ends when they stall
	finished uint       // statements so far
	queue    []*call[T] // empty, or running is at least maxStatements
	watching bool       // a timer runs
}

// A call is one caller's part of a batch.
type call[T any] struct {
	id    session.ID
	value T // the question or the answer

	batch *batch[T]     // nil while the call is queued
	done  chan struct{} // closed when the batch is over, and then:
	err   error
	retry bool // the batch has left the call out
}

// A batch is calls that one statement makes.
type batch[T any] struct {
	calls   []*call[T]
	era     uint
	ctx     context.Context // ends when no caller waits any more
	cancel  context.CancelFunc
	waiting int // callers
}

// newBatcher returns a batcher for the connections of the pool.
func newBatcher[T any](
	what string, pool *pgxpool.Config, present *atomic.Int64,
	one func(context.Context, *call[T]) error, many func(context.Context, []*call[T]),
) *batcher[T] {
	return &batcher[T]{
		what: what, one: one, many: many, present: present,
		maxAlone:      min(maxAlone, int64(pool.MaxConns)),
		maxStatements: min(maxStatements, max(1, int(pool.MaxConns)/2)),
	}
}

// do makes the call. When ctx ends it gives up, and other calls go on.
func (b *batcher[T]) do(ctx context.Context, c *call[T]) error {
	defer b.present.Add(-1)
	few := b.present.Add(1) <= b.maxAlone
	b.mu.Lock()
	if len(b.queue) == 0 && (few || b.running < b.maxStatements) {
		b.running++
		era := b.era
		b.mu.Unlock()
		defer b.finish(era)
		return b.one(ctx, c)
	}
	c.done = make(chan struct{})
	b.queue = append(b.queue, c)
	b.watch()
	b.mu.Unlock()
	select {
	case <-c.done:
	case <-ctx.Done():
		if !b.leave(c) {
			return failure(ctx, b.what, ctx.Err())
		}
	}
	if c.retry {
		return b.one(ctx, c)
	}
	return c.err
}

// leave gives the call up, unless it is over, and reports whether it is.
func (b *batcher[T]) leave(c *call[T]) (over bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.batch == nil {
		b.queue = slices.DeleteFunc(b.queue, func(queued *call[T]) bool { return queued == c })
		return false
	}
	select {
	case <-c.done:
		return true
	default:
	}
	if c.batch.waiting--; c.batch.waiting == 0 {
		c.batch.cancel()
	}
	return false
}

// run makes the calls of the batch, and of those that follow it. It has a
// goroutine of its own: that of a caller could not return when the caller's
// context ends.
func (b *batcher[T]) run(batch *batch[T]) {
	for batch != nil {
		if calls := batch.calls; len(calls) == 1 {
			calls[0].err = b.one(batch.ctx, calls[0])
		} else {
			slices.SortFunc(calls, func(x, y *call[T]) int { return bytes.Compare(x.id[:], y.id[:]) })
			b.many(batch.ctx, calls)
		}
		batch.cancel()
		for _, c := range batch.calls {
			close(c.done)
		}
		batch = b.next(batch.era)
	}
}

// finish is called when a statement of that era is over that a caller has made.
func (b *batcher[T]) finish(era uint) {
	if next := b.next(era); next != nil {
		go b.run(next)
	}
}

// next is called when a statement of that era is over, and returns the batch that
// takes its place, if any.
func (b *batcher[T]) next(era uint) *batch[T] {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.finished++
	if era == b.era {
		b.running--
	}
	if len(b.queue) == 0 || b.running >= b.maxStatements {
		return nil
	}
	return b.take()
}

// take returns a batch of what is queued. The lock is held.
func (b *batcher[T]) take() *batch[T] {
	n := min(len(b.queue), maxBatch)
	next := &batch[T]{calls: slices.Clone(b.queue[:n]), era: b.era, waiting: n}
	b.queue = slices.Delete(b.queue, 0, n)
	b.running++
	// Not the context of a caller, whose values may be of no use when it has
	// returned.
	next.ctx, next.cancel = context.WithCancel(context.Background())
	for _, c := range next.calls {
		c.batch = next
	}
	return next
}

// watch begins a new era if no statement finishes for a while, so that calls do
// not wait for those that stall: for a row that another transaction has locked, or
// for a network that swallows packets. The lock is held.
func (b *batcher[T]) watch() {
	if b.watching {
		return
	}
	b.watching = true
	before := b.finished
	time.AfterFunc(stallTimeout, func() {
		b.mu.Lock()
		b.watching = false
		var next *batch[T]
		if len(b.queue) > 0 && b.finished == before {
			b.era++
			b.running = 0
			next = b.take()
		}
		if len(b.queue) > 0 {
			b.watch()
		}
		b.mu.Unlock()
		b.run(next)
	})
}
