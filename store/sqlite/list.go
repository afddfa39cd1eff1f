package sqlite

import (
	"context"
	"iter"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// listStep is how many rows are read at once of a listing that goes in steps.
const listStep = 256

// List implements [session.Lister]. What a query by owner or label yields was all
// there at one moment, and is in memory at once; All and SignedIn go through the
// table in small steps.
func (s *Store) List(ctx context.Context, q session.Query) iter.Seq2[session.Record, error] {
	return func(yield func(session.Record, error) bool) {
		if !q.All && (!q.SignedIn || q.Owner != "") {
			found, err := s.named(ctx, &q)
			if err != nil {
				yield(session.Record{}, fail("list", err))
				return
			}
			show(found, yield)
			return
		}
		for after := int64(0); ; {
			var found []*row
			err := ctx.Err()
			if err == nil {
				found, err = s.step(ctx, after, &q)
			}
			if err != nil {
				yield(session.Record{}, fail("list", err))
				return
			}
			if !show(found, yield) || len(found) < listStep {
				return
			}
			after = found[len(found)-1].number
		}
	}
}

// show yields those that are not over, and reports whether more are wanted.
func show(found []*row, yield func(session.Record, error) bool) bool {
	now := time.Now()
	for _, r := range found {
		if r.live(now) && !yield(r.Record, nil) {
			return false
		}
	}
	return true
}

func with(fields bool) int {
	if fields {
		return 1
	}
	return 0
}

// step returns the rows that follow the number; fewer than listStep are the last.
func (s *Store) step(ctx context.Context, after int64, q *session.Query) (found []*row, err error) {
	err = s.read(ctx, func(r *reader) (err error) {
		switch fields := with(q.Fields); {
		case q.All:
			found, err = all(r.st.all[fields], scanRow, after, listStep)
		case q.Label.Name == "":
			found, err = all(r.st.signedIn[fields], scanRow, after, listStep)
		default:
			found, err = all(r.st.signedInLabeled[fields], scanRow, after, q.Label.Name, q.Label.Value, listStep)
		}
		return err
	})
	return found, err
}

func (s *Store) named(ctx context.Context, q *session.Query) (found []*row, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = s.read(ctx, func(r *reader) (err error) {
		switch fields := with(q.Fields); {
		case q.Label.Name == "":
			found, err = all(r.st.owned[fields], scanRow, q.Owner)
		case q.Owner == "":
			found, err = all(r.st.labeled[fields], scanRow, q.Label.Name, q.Label.Value)
		default:
			found, err = all(r.st.both[fields], scanRow, q.Label.Name, q.Label.Value, q.Owner)
		}
		return err
	})
	return found, err
}
