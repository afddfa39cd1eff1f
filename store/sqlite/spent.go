package sqlite

import (
	"context"
	"time"
)

// Spend records the id as spent until that time and reports whether this call was
// the first to do so: of any number of calls exactly one is. None is for an id
// whose time is over: those are removed by [Store.Sweep]. Calls with one id must
// give one time.
func (s *Store) Spend(ctx context.Context, id [16]byte, until time.Time) (first bool, err error) {
	if !time.Now().Before(until) {
		return false, nil
	}
	added, err := do(ctx, s.writer, func(t *tx) (int64, error) {
		if err := t.claim(essential, rowBytes, 0); err != nil {
			return 0, err
		}
		return t.count(t.w.st.spend, id[:], until.UnixMilli())
	})
	return added > 0, fail("spend", err)
}

// Spent reports whether the id is spent.
func (s *Store) Spent(ctx context.Context, id [16]byte) (spent bool, err error) {
	err = s.read(ctx, func(r *reader) (err error) {
		spent, err = first(all(r.st.spent, scanOne[bool], id[:]))
		return err
	})
	return spent, fail("spent", err)
}

// forget removes ids that need not be remembered any more.
func (s *Store) forget(ctx context.Context) error {
	for {
		gone, err := do(ctx, s.writer, func(t *tx) (int64, error) {
			return t.count(t.w.st.forget, time.Now().UnixMilli(), t.step())
		})
		if err != nil || gone == 0 {
			return err
		}
	}
}
