package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/seed-64ad3862/gatehouse/session"
)

// Load implements [session.Store].
func (s *Store) Load(ctx context.Context, id session.ID) (session.Record, error) {
	return s.one(ctx, "load", s.sql.load, id[:])
}

// one reads the only row of a query.
func (s *Store) one(ctx context.Context, what, sql string, args ...any) (session.Record, error) {
	var r session.Record
	err := s.row(ctx, what, sql, intoAll(&r), args...)
	if errors.Is(err, pgx.ErrNoRows) {
		return session.Record{}, session.ErrNotFound
	}
	if err != nil {
		return session.Record{}, err
	}
	return r, nil
}

// Delete implements [session.Store].
func (s *Store) Delete(ctx context.Context, id session.ID) error {
	n, err := s.exec(ctx, "delete", s.sql.delete, id[:])
	if err == nil && n == 0 {
		return session.ErrNotFound
	}
	return err
}

// Commit implements [session.Store]. It is one statement, and one round trip,
// unless a condition of the delta fails or its new name is taken.
func (s *Store) Commit(ctx context.Context, id session.ID, d *session.Delta) error {
	if err := d.Validate(); err != nil {
		return err
	}
	if err := checkDelta(d); err != nil {
		return failure(ctx, "commit", err)
	}
	if d.Create {
		return s.create(ctx, id, d)
	}
	return s.change(ctx, id, d)
}

func (s *Store) create(ctx context.Context, id session.ID, d *session.Delta) error {
	for _, c := range d.If {
		if c.Value == "" {
			continue
		}
		if err := s.vacant(ctx, id); err != nil {
			return err
		}
		return session.ErrConflict // a new record has no keys
	}
	owner := ""
	if d.Owner != nil {
		owner = *d.Owner
	}
	labels, _ := labelChanges(d.Labels)
	n, err := s.exec(ctx, "commit", s.sql.create, id[:], d.Seen, d.Idle, d.Expires, owner, labels, string(appendObject(nil, d.Set)))
	if err == nil && n == 0 {
		return session.ErrExists
	}
	return err
}

// vacant answers ErrExists if the record exists.
func (s *Store) vacant(ctx context.Context, id session.ID) error {
	var exists bool
	err := s.row(ctx, "commit", s.sql.exists, []any{&exists}, id[:])
	if err == nil && exists {
		return session.ErrExists
	}
	return err
}

func (s *Store) change(ctx context.Context, id session.ID, d *session.Delta) error {
	args := changeArgs(id, d)
	for {
		n, err := s.exec(ctx, "commit", s.sql.change, args...)
		switch {
		case err == nil && n > 0:
			return nil
		case err == nil && len(d.If) == 0:
			return session.ErrNotFound
		case err == nil:
			err = s.why(ctx, id, d)
		case code(err) == uniqueViolation:
			// The record exists, and its new name is that of another.
			err = s.makeWay(ctx, d.Rename)
		}
		if err != nil {
			return err
		}
		// What was in the way is not any more.
		if err := ctx.Err(); err != nil {
			return failure(ctx, "commit", err)
		}
	}
}

// why returns the reason for which a change with conditions changed nothing, or
// nil if there is none any more.
func (s *Store) why(ctx context.Context, id session.ID, d *session.Delta) error {
	keys, values := conditionArgs(d.If)
	var exists, hold bool
	to := d.Rename
	if to == id {
		to = session.ID{} // nobody's
	}
	err := s.row(ctx, "commit", s.sql.why, []any{&exists, &hold}, keys, values, to[:], id[:])
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return session.ErrNotFound
	case err != nil:
		return err
	case exists:
		return session.ErrExists
	case !hold:
		return session.ErrConflict
	}
	return nil
}

// makeWay removes a record whose name is wanted, if it is over.
func (s *Store) makeWay(ctx context.Context, id session.ID) error {
	if _, err := s.exec(ctx, "commit", s.sql.makeWay, id[:]); err != nil {
		return err
	}
	return s.vacant(ctx, id)
}

// changeArgs returns the parameters of changeSQL.
func changeArgs(id session.ID, d *session.Delta) []any {
	args := make([]any, 13)
	if len(d.If) > 0 {
		args[0], args[1] = conditionArgs(d.If)
	}
	if !d.Seen.IsZero() {
		args[2] = d.Seen
	}
	if d.Idle != 0 {
		args[3] = d.Idle
	}
	if !d.Expires.IsZero() {
		args[4] = d.Expires
	}
	args[5] = d.Restart
	if d.Owner != nil {
		args[6] = *d.Owner
	}
	if len(d.Labels) > 0 {
		args[8], args[7] = labelChanges(d.Labels)
	}
	if len(d.Set) > 0 || len(d.Delete) > 0 {
		args[9] = append([]string{}, d.Delete...) // no null, if there are none
		args[10] = string(appendObject(nil, d.Set))
	}
	if d.Rename != (session.ID{}) && d.Rename != id {
		args[11] = d.Rename[:]
	}
	args[12] = id[:]
	return args
}

func conditionArgs(conditions []session.Field) (keys, values []string) {
	for _, c := range conditions {
		keys, values = append(keys, c.Key), append(values, c.Value)
	}
	return keys, values
}

// labelChanges returns the labels to put in, and the names of those to take out.
func labelChanges(labels []session.Label) (set string, remove []string) {
	var fields []session.Field
	remove = []string{} // no null either
	for _, l := range labels {
		if l.Value == "" {
			remove = append(remove, l.Name)
		} else {
			fields = append(fields, session.Field{Key: l.Name, Value: l.Value})
		}
	}
	return string(appendObject(nil, fields)), remove
}
