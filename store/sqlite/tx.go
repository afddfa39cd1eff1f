package sqlite

import (
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// A tx is the writer's transaction, for one job after the other.
type tx struct {
	w    *writer
	rows map[int64]*row // what it has changed; nil: the row is gone
	// err is the database's. It may have undone what was there before, so that
	// nothing of the transaction can be kept.
	err   error
	bytes int // written, about

	counted int            // of bytes, what was written when the pages were last counted
	refused [classes]int64 // the fewest pages for which there was no space; 0: there was
	class   class          // of the last job that has claimed space
	need    int            // bytes that it has claimed

	changed map[int64]bool   // the sessions that its jobs have changed: they do not give way
	evicted []session.Record // those that gave way
	gaveWay int              // how many of these no small session has been let in for
}

// exec writes.
func (t *tx) exec(s *stmt, args ...any) (sql.Result, error) {
	if t.err != nil {
		return nil, t.err
	}
	var res sql.Result
	if res, t.err = s.exec(args...); t.err == nil {
		t.bytes += pageBytes // it changes one page at least
	}
	return res, t.err
}

// count writes, and returns how many rows that has changed.
func (t *tx) count(s *stmt, args ...any) (int64, error) {
	res, err := t.exec(s, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// row returns the newest row with this key, nil if there is none.
func (t *tx) row(key int64) (*row, error) {
	if r, ok := t.rows[key]; ok {
		return r, nil
	}
	if r := t.w.cache.peek(key); r != nil {
		return r, nil
	}
	return find(t, t.w.st.row, scanRow, key)
}

// head is row where nobody needs the fields; it may be without.
func (t *tx) head(key int64) (*row, error) {
	if r, ok := t.rows[key]; ok {
		return r, nil
	}
	if r := t.w.cache.peek(key); r != nil {
		return r, nil
	}
	return find(t, t.w.st.head, scanRow, key)
}

// find reads a result of at most one row: the zero value is that of none.
func find[T any](t *tx, s *stmt, scan func(scan func(dest ...any) error) (T, error), args ...any) (T, error) {
	if t.err != nil {
		var none T
		return none, t.err
	}
	r, err := first(all(s, scan, args...))
	if !errors.Is(err, errDamaged) { // which is nobody else's fault
		t.err = err
	}
	return r, err
}

// commit is what [session.Store] says of Commit.
func (t *tx) commit(id session.ID, d *session.Delta) error {
	now := time.Now()
	here, err := t.row(keyOf(id.Handle()))
	if err != nil {
		return err
	}
	taken := here != nil && here.live(now)
	if d.Create && taken {
		return session.ErrExists
	}
	if !d.Create && (!taken || here.ID != id) {
		return session.ErrNotFound
	}
	to, there := id, here
	if d.Rename != (session.ID{}) && d.Rename != id {
		to = d.Rename
		if there, err = t.row(keyOf(to.Handle())); err != nil {
			return err
		}
		if there != nil && there.live(now) {
			return session.ErrExists
		}
	}
	t.changed[keyOf(to.Handle())] = true
	old := new(row)
	if taken {
		old = here
	}
	if !holds(&old.Record, d.If) {
		return session.ErrConflict
	}
	r := old.changed(to, d)
	if err := t.place(old, r, !taken); err != nil {
		return err
	}
	if there != nil && there != old { // it is over, but not yet swept
		if err := t.remove(there); err != nil {
			return err
		}
	}
	if !taken {
		return t.insert(r)
	}
	return t.update(old, r, d)
}

// insert writes a row that is new.
func (t *tx) insert(r *row) error {
	labels, data := string(appendLabels(nil, r.Labels)), t.data(r)
	res, err := t.exec(t.w.st.insert, r.key(), r.ID[:], r.Created.UnixMilli(), r.Seen.UnixMilli(), r.Idle.Milliseconds(),
		r.Expires.UnixMilli(), r.due, null(r.Owner), labels, data)
	if err != nil {
		return err
	}
	if r.number, err = res.LastInsertId(); err != nil {
		return err
	}
	t.bytes += len(data)
	t.rows[r.key()] = r
	return t.relabel(r.number, nil, r.Labels)
}

// update writes what the delta has changed.
func (t *tx) update(old, r *row, d *session.Delta) (err error) {
	created, seen, idle, expires := r.Created.UnixMilli(), r.Seen.UnixMilli(), r.Idle.Milliseconds(), r.Expires.UnixMilli()
	switch {
	case r.ID != old.ID || r.due != old.due || d.Owner != nil || len(d.Labels) > 0:
		labels, data := string(appendLabels(nil, r.Labels)), t.data(r)
		_, err = t.exec(t.w.st.rewrite, r.key(), r.ID[:], created, seen, idle, expires, r.due, null(r.Owner), labels, data, r.number)
		t.bytes += len(data)
		if err == nil {
			err = t.relabel(r.number, old.Labels, r.Labels)
		}
	case len(d.Set) > 0 || len(d.Delete) > 0:
		data := t.data(r)
		_, err = t.exec(t.w.st.change, created, seen, idle, expires, data, r.number)
		t.bytes += len(data)
	default:
		_, err = t.exec(t.w.st.touch, created, seen, idle, expires, r.number)
	}
	if err != nil {
		return err
	}
	t.rows[old.key()] = nil // unless it is the same
	t.rows[r.key()] = r
	return nil
}

// relabel writes the labels into their table.
func (t *tx) relabel(number int64, old, labels []session.Label) error {
	for _, l := range old {
		if !slices.Contains(labels, l) {
			if _, err := t.exec(t.w.st.unlabel, l.Name, l.Value, number); err != nil {
				return err
			}
		}
	}
	for _, l := range labels {
		if !slices.Contains(old, l) {
			if _, err := t.exec(t.w.st.label, l.Name, l.Value, number); err != nil {
				return err
			}
		}
	}
	return nil
}

func null(owner string) any {
	if owner == "" {
		return nil
	}
	return owner
}

func (t *tx) data(r *row) string {
	t.w.scratch = appendData(t.w.scratch[:0], r.Fields)
	return string(t.w.scratch)
}

// remove deletes the row and its labels.
func (t *tx) remove(r *row) error {
	if _, err := t.exec(t.w.st.remove, r.number); err != nil {
		return err
	}
	t.rows[r.key()] = nil
	return t.relabel(r.number, r.Labels, nil)
}

// delete is what [session.Store] says of Delete.
func (t *tx) delete(id session.ID) error {
	r, err := t.head(keyOf(id.Handle()))
	if err != nil {
		return err
	}
	if r == nil || r.ID != id || !r.live(time.Now()) {
		return session.ErrNotFound
	}
	return t.remove(r)
}

// sweep removes those of the keys whose deadline has passed, and returns their
// rows. The others are due again at their deadline, and one that is damaged a
// while later: it is not to be in the way of the others. On a full disk it looks at
// fewer than it is given.
func (t *tx) sweep(keys []int64) (s swept, err error) {
	now := time.Now()
	for _, key := range keys[:min(t.step(), len(keys))] {
		r, err := t.head(key)
		switch {
		case err != nil || r == nil:
		case r.live(now):
			err = t.postpone(key)
		default:
			err = t.remove(r)
			s.gone = append(s.gone, r)
		}
		if errors.Is(err, errDamaged) { // which is found before anything is written
			s.damaged = err
			_, err = t.exec(t.w.st.postpone, now.Add(time.Hour).UnixMilli(), key)
		}
		if err != nil {
			return swept{}, err
		}
	}
	return s, nil
}

// step is how many rows are removed in one transaction. On a full disk it must fit into
// the WAL as it is: of each row, the page of one index lies apart from the others'.
func (t *tx) step() int {
	if sp := t.w.space; sp.tight {
		return int(min(sp.wal/(3*pageBytes), sweepStep))
	}
	return sweepStep
}

// hasMadeSpace reports whether so many sessions gave way that the next job, which may
// need that too, comes into another transaction: on a full disk the WAL is small.
func (t *tx) hasMadeSpace() bool { return t.w.space.tight && len(t.evicted) > t.step()/2 }

// postpone makes the row due at its deadline: it has moved since.
func (t *tx) postpone(key int64) error {
	old, err := t.row(key)
	if err != nil {
		return err
	}
	r := *old
	r.due = r.Deadline().UnixMilli()
	_, err = t.exec(t.w.st.postpone, r.due, key)
	if err == nil {
		t.rows[key] = &r
	}
	return err
}
