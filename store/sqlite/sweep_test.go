package sqlite

import (
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

func due(t *testing.T, s *Store, id session.ID) (due time.Time) {
	t.Helper()
	var ms int64
	if err := s.writer.conn.c.QueryRowContext(t.Context(), "SELECT due FROM gatehouse_session WHERE id = ?", id[:]).Scan(&ms); err != nil {
		t.Fatal(err)
	}
	return time.UnixMilli(ms)
}

func sweepAll(t *testing.T, s *Store) (ids []session.ID) {
	t.Helper()
	for r, err := range s.Sweep(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Fields != nil {
			t.Errorf("%v is yielded with its fields", r.ID.Handle())
		}
		ids = append(ids, r.ID)
	}
	return ids
}

// TestDue: what keeps a session alive leaves the index of the sweep alone, and a
// sweep after the deadline finds it all the same.
func TestDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{NoSocket: true})
		begin := time.Now().Truncate(time.Millisecond)
		id := newID()
		d := creation(session.Field{Key: "a", Value: `1`})
		d.Seen = begin
		commit(t, s, id, d)
		check := func(want time.Duration) {
			t.Helper()
			if got := due(t, s, id).Sub(begin); got != want {
				t.Errorf("due %v after the beginning, want %v", got, want)
			}
		}
		check(time.Hour)
		for range 5 {
			time.Sleep(10 * time.Minute)
			commit(t, s, id, &session.Delta{Seen: time.Now(), Set: []session.Field{{Key: "a", Value: `2`}}})
			check(time.Hour)
		}
		time.Sleep(20 * time.Minute) // the first hour is over, the session is not
		if ids := sweepAll(t, s); len(ids) != 0 {
			t.Fatalf("the sweep takes %v, which is alive", ids)
		}
		check(110 * time.Minute)
		commit(t, s, id, &session.Delta{Idle: 45 * time.Minute}) // sooner
		check(95 * time.Minute)
		time.Sleep(25*time.Minute - time.Millisecond)
		if ids := sweepAll(t, s); len(ids) != 0 {
			t.Fatalf("the sweep takes %v before its deadline", ids)
		}
		time.Sleep(time.Millisecond)
		if ids := sweepAll(t, s); len(ids) != 1 || ids[0] != id {
			t.Fatalf("the sweep takes %v at the deadline, want %v", ids, id)
		}
	})
}

// TestSpentIsForgotten, but not before its time.
func TestSpentIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{NoSocket: true})
		spend := func(i byte, until time.Time, want bool) {
			t.Helper()
			if first, err := s.Spend(t.Context(), [16]byte{i}, until); first != want || err != nil {
				t.Errorf("Spend(%d): %v, %v; want %v", i, first, err, want)
			}
		}
		left := func(want int) {
			t.Helper()
			sweepAll(t, s)
			var n int
			if err := s.writer.conn.scan("SELECT count(*) FROM gatehouse_spent", &n); err != nil || n != want {
				t.Errorf("%d spent ids, %v; want %d", n, err, want)
			}
		}
		soon, late := time.Now().Add(time.Minute), time.Now().Add(time.Hour)
		for i := range byte(250) { // more than one step
			spend(i, soon, true)
		}
		spend(251, late, true)
		time.Sleep(time.Minute - time.Millisecond)
		left(251)
		spend(1, soon, false)
		time.Sleep(time.Millisecond)
		left(1)
		spend(251, late, false)
		time.Sleep(time.Hour)
		left(0)
	})
}

// TestSweepInSteps: others get their turn between them, and nothing is lost when
// the loop ends early.
func TestSweepInSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{NoSocket: true})
		const n = 3*sweepStep + 1
		for range n {
			commit(t, s, newID(), creation())
		}
		time.Sleep(time.Hour)
		for range s.Sweep(t.Context()) {
			break
		}
		var left int
		if err := s.writer.conn.scan("SELECT count(*) FROM gatehouse_session", &left); err != nil || left != n-sweepStep {
			t.Errorf("%d are left after one step, %v; want %d", left, err, n-sweepStep)
		}
		if ids := sweepAll(t, s); len(ids) != n-sweepStep {
			t.Errorf("the next sweep takes %d, want %d", len(ids), n-sweepStep)
		}
	})
}

// TestExpiredIsInNobodysWay: the place of a record that is over but not yet swept
// is free, whatever its labels were.
func TestExpiredIsInNobodysWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{NoSocket: true})
		label := session.Label{Name: "device", Value: "phone"}
		a, b := newID(), newID()
		for _, id := range []session.ID{a, b} {
			d := creation()
			d.Labels = []session.Label{label}
			commit(t, s, id, d)
		}
		time.Sleep(time.Hour)
		commit(t, s, a, creation())
		commit(t, s, a, &session.Delta{Rename: b})
		for r, err := range s.List(t.Context(), session.Query{Label: label}) {
			t.Errorf("the label is on %v, %v", r.ID.Handle(), err)
		}
		if ids := sweepAll(t, s); len(ids) != 0 {
			t.Errorf("the sweep takes %v", ids)
		}
		if _, err := s.Load(t.Context(), b); err != nil {
			t.Errorf("Load: %v", err)
		}
		// Two IDs with one handle do not happen, and do no harm.
		twin := b
		twin[31] ^= 1
		if _, err := s.Load(t.Context(), twin); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("Load: %v", err)
		}
		if err := s.Delete(t.Context(), twin); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("Delete: %v", err)
		}
		if err := s.Commit(t.Context(), twin, &session.Delta{}); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("Commit: %v", err)
		}
		if err := s.Commit(t.Context(), twin, creation()); !errors.Is(err, session.ErrExists) {
			t.Errorf("Commit: %v", err)
		}
		if err := s.Commit(t.Context(), b, &session.Delta{Rename: twin}); !errors.Is(err, session.ErrExists) {
			t.Errorf("Commit: %v", err)
		}
	})
}

// TestIdleForEver: the longest duration there is does not wrap around.
func TestIdleForEver(t *testing.T) {
	s := open(t, Config{NoSocket: true, CacheBytes: 1})
	id, d := newID(), creation()
	d.Idle = math.MaxInt64
	commit(t, s, id, d)
	if r, err := s.Load(t.Context(), id); err != nil || r.Deadline().Sub(d.Expires).Abs() > time.Millisecond {
		t.Errorf("deadline %v, %v; want %v", r.Deadline(), err, d.Expires)
	}
}

// TestSweepPastDamage: a row that nobody can read does not stop the sweep, which
// tells of it.
func TestSweepPastDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{NoSocket: true, CacheBytes: 1})
		var ids [3]session.ID
		for i := range ids {
			ids[i] = newID()
			commit(t, s, ids[i], creation())
		}
		if err := s.writer.conn.exec("UPDATE gatehouse_session SET labels = 'x' WHERE id = ?", ids[1][:]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		var gone []session.ID
		var last error
		for r, err := range s.Sweep(t.Context()) {
			if last = err; err == nil {
				gone = append(gone, r.ID)
			}
		}
		if !errors.Is(last, errDamaged) || !strings.Contains(last.Error(), ids[1].Handle().String()) || len(gone) != 2 {
			t.Errorf("%d are gone, %v", len(gone), last)
		}
		if ids := sweepAll(t, s); len(ids) != 0 {
			t.Errorf("the next sweep takes %v", ids)
		}
	})
}

// TestSweepPastDamageAlive: the same where only the values are damaged, of a
// session that has lived on.
func TestSweepPastDamageAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{NoSocket: true, CacheBytes: 1})
		begin := time.Now().Truncate(time.Millisecond)
		var ids [3]session.ID
		for i := range ids {
			ids[i] = newID()
			d := creation(session.Field{Key: "a", Value: `1`})
			d.Seen = begin.Add(time.Duration(i) * time.Millisecond) // the order in which they are due
			commit(t, s, ids[i], d)
		}
		time.Sleep(30 * time.Minute)
		commit(t, s, ids[1], &session.Delta{Seen: time.Now()})
		if err := s.writer.conn.exec("UPDATE gatehouse_session SET data = 'x' WHERE id = ?", ids[1][:]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(31 * time.Minute)
		gone, damaged := 0, 0
		for _, err := range s.Sweep(t.Context()) {
			if errors.Is(err, errDamaged) {
				damaged++
			} else if err == nil {
				gone++
			}
		}
		if gone != 2 || damaged != 1 {
			t.Errorf("%d of 2 that are over are yielded, %d of 1 that is damaged", gone, damaged)
		}
		for _, err := range s.Sweep(t.Context()) {
			t.Errorf("still in the way: %v", err)
		}
	})
}
