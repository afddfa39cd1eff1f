package sqlite

import (
	"cmp"
	"context"
	"iter"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// sweepStep is how many sessions, or spent ids, are removed in one transaction.
// It takes a millisecond or two, for which others may have to wait.
const sweepStep = 100

// Sweep implements [session.Sweeper]. A record whose place another has taken
// since its deadline is not yielded; IDs that are random do not do that. Those that
// gave way for want of space since the last sweep are yielded first, some thousands
// at most.
func (s *Store) Sweep(ctx context.Context) iter.Seq2[session.Record, error] {
	return func(yield func(session.Record, error) bool) {
		s.writer.refresh()
		for r, ok := s.writer.space.evicted.next(); ok; r, ok = s.writer.space.evicted.next() {
			if !yield(r, nil) {
				return
			}
		}
		for more := true; more; {
			step, n, err := s.sweep(ctx)
			for _, r := range step.gone {
				rec := r.Record
				rec.Fields = nil
				if !yield(rec, nil) {
					return
				}
			}
			if err = cmp.Or(err, step.damaged); err != nil {
				yield(session.Record{}, fail("sweep", err))
				return
			}
			more = n > 0
		}
		if err := s.forget(ctx); err != nil {
			yield(session.Record{}, fail("sweep", err))
		}
	}
}

// swept is what one step has done.
type swept struct {
	gone    []*row
	damaged error // the last row that could not be read
}

// sweep looks at the rows that are due, at n of them.
func (s *Store) sweep(ctx context.Context) (step swept, n int, err error) {
	if err := ctx.Err(); err != nil {
		return swept{}, 0, err
	}
	var due []int64
	err = s.read(ctx, func(r *reader) (err error) {
		now := time.Now().UnixMilli()
		for _, st := range r.st.due {
			if len(due) < sweepStep && err == nil {
				var more []int64
				more, err = all(st, scanOne[int64], now, sweepStep-len(due))
				due = append(due, more...)
			}
		}
		return err
	})
	if err != nil || len(due) == 0 {
		return swept{}, 0, err
	}
	step, err = do(ctx, s.writer, func(t *tx) (swept, error) { return t.sweep(due) })
	return step, len(due), err
}
