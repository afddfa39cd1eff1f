package postgres

import (
	"bytes"
	"context"
	"iter"

	"github.com/jackc/pgx/v5"

	"github.com/seed-64ad3862/gatehouse/session"
)

// Batches are small enough that the largest sessions fit into memory, and that a
// row is locked for some milliseconds only.
const (
	listBatch  = 256
	sweepBatch = 500
)

// Find implements [session.Lister].
func (s *Store) Find(ctx context.Context, h session.Handle) (session.Record, error) {
	first, last := make([]byte, len(session.ID{})), bytes.Repeat([]byte{0xff}, len(session.ID{}))
	copy(first, h[:])
	copy(last, h[:])
	return s.one(ctx, "find", s.sql.find, first, last)
}

// List implements [session.Lister]. What a query by owner or label yields was all
// there at one moment; All and SignedIn go through the table in small steps. No
// connection is held while the caller looks at a record.
func (s *Store) List(ctx context.Context, q session.Query) iter.Seq2[session.Record, error] {
	return func(yield func(session.Record, error) bool) {
		if !isText(q.Owner) || !isText(q.Label.Name) || !isText(q.Label.Value) {
			yield(session.Record{}, failure(ctx, "list", errText))
			return
		}
		label := "{}"
		if q.Label.Name != "" {
			label = string(appendObject(nil, []session.Field{{Key: q.Label.Name, Value: q.Label.Value}}))
		}
		var all []session.Record
		var err error
		switch {
		case q.All:
			s.listInSteps(ctx, yield, s.sql.listAll, q.Fields)
			return
		case q.SignedIn && q.Owner == "":
			s.listInSteps(ctx, yield, s.sql.listSignedIn, q.Fields, label)
			return
		case q.Owner != "" && q.Label.Name != "":
			all, err = s.records(ctx, s.sql.listBoth, q.Fields, q.Owner, label)
		case q.Owner != "":
			all, err = s.records(ctx, s.sql.listOwner, q.Fields, q.Owner)
		case q.Label.Name != "":
			all, err = s.records(ctx, s.sql.listLabel, q.Fields, label)
		}
		for _, r := range all {
			if !yield(r, nil) {
				return
			}
		}
		if err != nil {
			yield(session.Record{}, err)
		}
	}
}

// listInSteps goes through the table in the order of the ids, which stay what
// they are.
func (s *Store) listInSteps(ctx context.Context, yield func(session.Record, error) bool, sql string, fields bool, more ...any) {
	for after := []byte{}; ; {
		batch, err := s.records(ctx, sql, append([]any{fields, after, listBatch}, more...)...)
		if err != nil {
			yield(session.Record{}, err)
			return
		}
		for _, r := range batch {
			if !yield(r, nil) {
				return
			}
		}
		if len(batch) < listBatch {
			return
		}
		after = batch[len(batch)-1].ID[:]
	}
}

// records returns all rows of a query.
func (s *Store) records(ctx context.Context, sql string, args ...any) ([]session.Record, error) {
	var list []session.Record
	err := s.run(ctx, "list", true, func(c *pgx.Conn, mode pgx.QueryExecMode) (err error) {
		list, err = all(ctx, c, mode, intoAll, sql, args...)
		return err
	})
	return list, err
}

// all returns all rows of a query, each scanned into what into returns; none with
// an error.
func all[T any](ctx context.Context, c *pgx.Conn, mode pgx.QueryExecMode, into func(*T) []any, sql string, args ...any) ([]T, error) {
	rows, err := c.Query(ctx, sql, append([]any{mode}, args...)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []T
	for rows.Next() {
		var row T
		if err := rows.Scan(into(&row)...); err != nil {
			return nil, err
		}
		list = append(list, row)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return list, nil
}

// Sweep implements [session.Sweeper], and forgets spent ids whose time is over, and
// buckets of [Store.Throttle] that are full.
// It takes some hundred rows at a time, and passes over those that somebody else
// is at: nobody waits for it, but for a moment who uses a session just when it
// would have ended, and no two sweeps yield one record.
func (s *Store) Sweep(ctx context.Context) iter.Seq2[session.Record, error] {
	return func(yield func(session.Record, error) bool) {
		for taken := sweepBatch; taken == sweepBatch; {
			var gone []session.Record
			var err error
			if gone, taken, err = s.sweep(ctx); err != nil {
				yield(session.Record{}, err)
				return
			}
			for _, r := range gone {
				if !yield(r, nil) {
					return
				}
			}
		}
		for _, sql := range []string{s.sql.sweepSpent, s.sql.sweepBuckets} {
			for taken := int64(sweepBatch); taken == sweepBatch; {
				var err error
				if taken, err = s.exec(ctx, "sweep", sql, sweepBatch); err != nil {
					yield(session.Record{}, err)
					return
				}
			}
		}
	}
}

// sweep removes a batch of records, and returns how many rows it looked at.
func (s *Store) sweep(ctx context.Context) (gone []session.Record, taken int, err error) {
	err = s.run(ctx, "sweep", false, func(c *pgx.Conn, mode pgx.QueryExecMode) error {
		gone = nil
		rows, err := c.Query(ctx, s.sql.sweep, mode, sweepBatch)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var r session.Record
			dest := append([]any{&taken}, into(&r)...)
			none := rows.RawValues()[1] == nil
			if none {
				clear(dest[1:])
			}
			if err := rows.Scan(dest...); err != nil {
				return err
			}
			if !none {
				gone = append(gone, r)
			}
		}
		return rows.Err()
	})
	return gone, taken, err
}
