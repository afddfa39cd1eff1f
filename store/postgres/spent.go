package postgres

import (
	"context"
	"time"
)

// Spend records the id as spent until that time and reports whether this call
// was the first to do so: of any number of calls, on any number of machines,
// exactly one is. None is for an id whose time is over: those are forgotten by
// [Store.Sweep]. Calls with one id must give one time.
//
// If the connection breaks meanwhile, nobody can know, and it is an error.
func (s *Store) Spend(ctx context.Context, id [16]byte, until time.Time) (first bool, err error) {
	// In microseconds from now: the server's clock may be another.
	left := time.Until(until).Microseconds()
	if left <= 0 {
		return false, nil
	}
	n, err := s.exec(ctx, "spend", s.sql.spend, id[:], left)
	return n == 1, err
}

// Spent reports whether the id is spent.
func (s *Store) Spent(ctx context.Context, id [16]byte) (spent bool, err error) {
	err = s.row(ctx, "spent", s.sql.spent, []any{&spent}, id[:])
	return spent, err
}
