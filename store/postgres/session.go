package postgres

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-64ad3862/gatehouse/session"
)

// Load implements [session.Store]. Many at once share statements.
func (s *Store) Load(ctx context.Context, id session.ID) (session.Record, error) {
	c := &call[session.Record]{id: id}
	if err := s.loads.do(ctx, c); err != nil {
		return session.Record{}, err
	}
	return c.value, nil
}

func (s *Store) loadOne(ctx context.Context, c *call[session.Record]) (err error) {
	c.value, err = s.one(ctx, "load", s.sql.load, c.id[:])
	return err
}

// loadMany makes the calls by one statement. It leaves them out if that fails
// while the connection is well: the fault may be one record's.
func (s *Store) loadMany(ctx context.Context, calls []*call[session.Record]) {
	ids := make([][]byte, 0, len(calls))
	for i, c := range calls {
		if i == 0 || c.id != calls[i-1].id {
			ids = append(ids, c.id[:])
		}
	}
	var found []session.Record
	retry := false
	err := s.run(ctx, "load", true, func(c *pgx.Conn, mode pgx.QueryExecMode) (err error) {
		found, err = all(ctx, c, mode, intoAll, s.sql.loadMany, ids)
		retry = err != nil && !c.IsClosed()
		return err
	})
	for _, c := range calls {
		c.err, c.retry = err, err != nil && retry
		if err == nil {
			c.err = session.ErrNotFound
		}
	}
	for _, r := range found {
		for i := indexOf(calls, r.ID); i < len(calls) && calls[i].id == r.ID; i++ {
			calls[i].value, calls[i].err = r, nil
		}
	}
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
// unless a condition of the delta fails or its new name is taken. Many at once
// share statements, where they do no more than set and delete values and move
// clocks.
func (s *Store) Commit(ctx context.Context, id session.ID, d *session.Delta) error {
	if err := d.Validate(); err != nil {
		return err
	}
	if err := checkDelta(d); err != nil {
		return failure(ctx, "commit", err)
	}
	switch {
	case d.Create:
		return s.create(ctx, id, d)
	case isPlain(d):
		return s.changes.do(ctx, &call[change]{id: id, value: newChange(d)})
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

// maxPlain bounds the bytes of keys and values in a change that may share a
// statement: what is larger would hold up the small ones.
const maxPlain = 64 << 10

// isPlain reports whether the delta is no more than a [change].
func isPlain(d *session.Delta) bool {
	size := 0
	for _, f := range d.Set {
		size += len(f.Key) + len(f.Value)
	}
	for _, key := range d.Delete {
		size += len(key)
	}
	return d.Rename == session.ID{} && len(d.If) == 0 && !d.Restart && d.Owner == nil && len(d.Labels) == 0 && size <= maxPlain
}

// A change is what nearly every request changes, as parameters. It shares no
// memory with the delta, which belongs to the caller of Commit: that may return
// when its context ends, while the statement is still under way.
type change struct {
	seen, expires *time.Time
	idle          *time.Duration
	remove        []string
	put           *string // a JSON object; if nil, the values stay
}

func newChange(d *session.Delta) (c change) {
	if seen := d.Seen; !seen.IsZero() {
		c.seen = &seen
	}
	if expires := d.Expires; !expires.IsZero() {
		c.expires = &expires
	}
	if idle := d.Idle; idle != 0 {
		c.idle = &idle
	}
	if len(d.Set) > 0 || len(d.Delete) > 0 {
		put := string(appendObject(nil, d.Set))
		c.remove, c.put = append([]string{}, d.Delete...), &put // no null, if none is removed
	}
	return c
}

// args returns the parameters of changeSQL.
func (c *change) args(id session.ID) []any {
	args := make([]any, 13)
	args[2], args[3], args[4], args[5] = c.seen, c.idle, c.expires, false
	args[9], args[10], args[12] = c.remove, c.put, id[:]
	return args
}

func (s *Store) changeOne(ctx context.Context, c *call[change]) error {
	n, err := s.exec(ctx, "commit", s.sql.change, c.value.args(c.id)...)
	if err == nil && n == 0 {
		return session.ErrNotFound
	}
	return err
}

// changeMany makes the calls by one statement. It leaves out those whose record is
// not there or is locked by another transaction, and all but one of those for one
// record, which a statement changes only once. If the server refuses the statement
// it leaves out all: the fault may be one call's. If the connection breaks it leaves
// out none, since the statement may have been executed.
func (s *Store) changeMany(ctx context.Context, calls []*call[change]) {
	var ids [][]byte
	var seen, expires []*time.Time
	var idle []*time.Duration
	var put []*string
	var from, to []int32
	remove := []string{}
	for i, c := range calls {
		if i > 0 && c.id == calls[i-1].id {
			continue
		}
		ids, seen, idle, expires = append(ids, c.id[:]), append(seen, c.value.seen), append(idle, c.value.idle), append(expires, c.value.expires)
		from = append(from, int32(len(remove)+1)) // PostgreSQL counts from one
		remove = append(remove, c.value.remove...)
		put, to = append(put, c.value.put), append(to, int32(len(remove)))
	}
	var changed []session.ID
	refused := false
	err := s.run(ctx, "commit", false, func(c *pgx.Conn, mode pgx.QueryExecMode) (err error) {
		changed, err = all(ctx, c, mode, func(id *session.ID) []any { return []any{(*idColumn)(id)} },
			s.sql.changeMany, ids, seen, idle, expires, put, from, to, remove)
		refused = code(err) != "" && !c.IsClosed()
		return err
	})
	for _, c := range calls {
		c.err, c.retry = err, err == nil || refused
	}
	for _, id := range changed {
		calls[indexOf(calls, id)].retry = false
	}
}

// indexOf returns where the calls for the record are.
func indexOf[T any](calls []*call[T], id session.ID) int {
	i, _ := slices.BinarySearchFunc(calls, id, func(c *call[T], id session.ID) int { return bytes.Compare(c.id[:], id[:]) })
	return i
}

// changeArgs returns the parameters of changeSQL.
func changeArgs(id session.ID, d *session.Delta) []any {
	c := newChange(d)
	args := c.args(id)
	if len(d.If) > 0 {
		args[0], args[1] = conditionArgs(d.If)
	}
	args[5] = d.Restart
	if d.Owner != nil {
		args[6] = *d.Owner
	}
	if len(d.Labels) > 0 {
		args[8], args[7] = labelChanges(d.Labels)
	}
	if d.Rename != (session.ID{}) && d.Rename != id {
		args[11] = d.Rename[:]
	}
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
