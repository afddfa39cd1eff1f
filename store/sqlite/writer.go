package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

const (
	// maxBatch bounds the jobs of one transaction, and maxBatchBytes what they
	// write, so that nobody waits long for the batch before.
	maxBatch      = 256
	maxBatchBytes = 4 << 20

	// maxQueue is how many jobs wait before those who bring more wait too.
	maxQueue = 1024

	// maxLinger is how long a batch waits for more jobs at most.
	maxLinger = 500 * time.Microsecond
)

// ErrClosed says that the store has been closed.
var ErrClosed = errors.New("sqlite: the store is closed")

// A job is one caller's part of a transaction.
type job struct {
	gone <-chan struct{} // closed when nobody waits for it any more
	// do checks and then writes. An error that is not the database's must come
	// before it has written anything. It runs again if the transaction fails
	// for the sake of another job, and may run when its caller has gone, whose
	// variables it must not read.
	do   func(*tx) error
	err  error
	done chan error // takes one error without waiting
}

// A writer commits what waits, all in one transaction: what costs time is to
// wait for the disk, and that is done once for all of them. It alone writes.
type writer struct {
	conn  *conn
	cache *cache
	st    writeStatements
	jobs  chan *job
	check *checkpointer
	space *space

	mu     sync.RWMutex // held for reading by those who send jobs
	closed bool

	turn sync.Mutex // held while there is a transaction

	last int           // how many the last batch had
	took time.Duration // how long it took

	scratch []byte
}

// do has the job done in the next transaction and returns when that is on disk.
// If ctx ends before the transaction has come to the job, the job is not done. If
// it ends later, do returns the error of ctx and the job may be committed.
func (w *writer) do(ctx context.Context, do func(*tx) error) error {
	j := &job{gone: ctx.Done(), do: do, done: make(chan error, 1)}
	err := w.send(j)
	if err == nil {
		select {
		case err = <-j.done:
		case <-j.gone:
			err = errGone
		}
	}
	if errors.Is(err, errGone) {
		return ctx.Err()
	}
	return err
}

// errGone stands for the error of the caller's context, which nobody but the
// caller asks: it may be of no use when the caller has gone.
var errGone = errors.New("nobody waits")

// do has f called by the writer, and returns what it does.
func do[T any](ctx context.Context, w *writer, f func(*tx) (T, error)) (T, error) {
	var result, none T // result is the writer's until it has answered
	err := w.do(ctx, func(t *tx) (err error) {
		result, err = f(t)
		return err
	})
	if err != nil {
		return none, err
	}
	return result, nil
}

func (w *writer) send(j *job) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return ErrClosed
	}
	select {
	case w.jobs <- j:
		return nil
	case <-j.gone:
		return errGone
	}
}

// close lets run return when it has done what waits.
func (w *writer) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed = true
		close(w.jobs)
	}
}

func (w *writer) run() {
	var batch []*job
	for first := range w.jobs {
		batch = w.gather(append(batch[:0], first))
		for rest := batch; len(rest) > 0; {
			w.turn.Lock()
			n := w.commit(rest)
			w.turn.Unlock()
			rest = rest[n:]
		}
		clear(batch)
	}
}

// gather adds the jobs that wait. Those who were answered a moment ago are about
// to come back with their next: if the batch went without them, they would be two
// halves for ever. It waits for as many as there may be, for much less time than
// the disk takes.
func (w *writer) gather(batch []*job) []*job {
	expected := w.last + len(w.jobs)
	var linger <-chan time.Time
	for len(batch) < maxBatch {
		select {
		case j, ok := <-w.jobs:
			if !ok {
				return batch
			}
			batch = append(batch, j)
			continue
		default:
		}
		if len(batch) >= expected {
			break
		}
		if linger == nil {
			linger = time.After(min(w.took/8, maxLinger))
		}
		select {
		case j, ok := <-w.jobs:
			if !ok {
				return batch
			}
			batch = append(batch, j)
		case <-linger:
			expected = 0
		}
	}
	w.last = len(batch)
	return batch
}

// commit does jobs in one transaction, answers them, and returns how many they
// were: as many of the batch as fit.
func (w *writer) commit(batch []*job) int {
	n, err, _ := w.attempt(batch)
	if err == nil || n == 1 {
		answer(batch[:n], err)
		return n
	}
	// It may be the fault of one of them, of one that is too large for the room
	// that is left: each by itself then.
	for i := range n {
		_, err, own := w.attempt(batch[i : i+1])
		answer(batch[i:i+1], err)
		if err != nil && !own && !errors.Is(err, session.ErrFull) {
			// It is nobody's fault. To wait for a disk that fails once for each
			// would hold everybody up.
			answer(batch[i+1:n], err)
			break
		}
	}
	return n
}

// answer tells those who wait. If err is not nil it is everybody's.
func answer(jobs []*job, err error) {
	for _, j := range jobs {
		if err != nil {
			j.err = err
		}
		j.done <- j.err
	}
}

// maxRelief bounds how often a transaction is tried that finds no space.
const maxRelief = 8

// attempt is try, again if there was no space and some could be made.
func (w *writer) attempt(batch []*job) (n int, err error, own bool) {
	for tries := range maxRelief {
		t := &tx{w: w, rows: make(map[int64]*row, len(batch)), changed: make(map[int64]bool)}
		n, err, own = w.try(t, batch)
		if err == nil || !maybeFull(err) || !w.relieve(t, err, tries > 0, n == 1) {
			break
		}
		batch = batch[:n]
	}
	if err != nil && code(err) == codeIOErr && w.space.cause != nil {
		err = w.space.full()
	}
	return n, err, own
}

// try does jobs in one transaction, and returns how many. With an error nothing
// has changed; own says that it is the last job's and not the transaction's.
func (w *writer) try(t *tx, batch []*job) (n int, err error, own bool) {
	start := time.Now()
	if _, err := w.st.begin.exec(); err != nil {
		return len(batch), fmt.Errorf("begin: %w", err), false
	}
	for n < len(batch) && t.bytes <= w.space.maxBytes() && !t.hasMadeSpace() {
		j := batch[n]
		n++
		select {
		case <-j.gone:
			j.err = errGone
			continue
		default:
		}
		j.err = j.do(t)
		if n > 1 && errors.Is(j.err, errLater) {
			n--
			break
		}
		if t.err != nil {
			w.rollback()
			return n, t.err, true
		}
	}
	if !w.space.canCopy(t.bytes) {
		w.rollback()
		return n, w.space.full(), false
	}
	for key, r := range t.rows {
		w.cache.begin(key, r)
	}
	if _, err = w.st.commit.exec(); err != nil {
		w.rollback()
	}
	for key, r := range t.rows {
		w.cache.end(key, r, err == nil)
	}
	if err == nil {
		w.space.evicted.add(t.evicted)
	}
	if err == nil && t.bytes > 0 {
		w.took = time.Since(start)
		w.check.wrote(t.bytes)
		w.settle(t.bytes)
	}
	return n, err, false
}

// rollback ends a transaction. SQLite may have done so itself, and says that
// there is none.
func (w *writer) rollback() {
	_, _ = w.st.rollback.exec()
	w.space.used = unlimited // it may have been counted in the transaction
}
