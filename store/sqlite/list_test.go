package sqlite

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// flood makes n anonymous sessions by a statement, and users of them every some.
func flood(t testing.TB, s *Store, n, every int) {
	t.Helper()
	now := time.Now()
	err := s.writer.conn.exec(fmt.Sprintf(`
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		INSERT INTO gatehouse_session (handle, id, created, seen, idle, expires, due, owner, labels, data)
		SELECT random(), zeroblob(32), %d, %[2]d, 1800000, %[3]d, %[3]d, iif(i %% %[4]d = 0, 'user' || i, NULL), '{}', '{"csrf":"\"0123456789abcdef\""}' FROM n`,
		n, now.UnixMilli(), now.Add(time.Hour).UnixMilli(), every))
	if err != nil {
		t.Fatal(err)
	}
	// The ID begins with the handle, and is unique.
	const mend = `UPDATE gatehouse_session SET id = CAST(unhex(printf('%016x', handle)) || randomblob(24) AS BLOB) WHERE id = zeroblob(32)`
	if err := s.writer.conn.exec(mend); err != nil {
		t.Fatal(err)
	}
}

// TestSignedInPlan: a listing of the signed in reads an index that has no anonymous
// session in it.
func TestSignedInPlan(t *testing.T) {
	s := open(t, Config{NoSocket: true})
	flood(t, s, 5000, 1000)
	for _, analyzed := range []bool{false, true} {
		if analyzed { // the planner knows how many there are of each
			if err := s.writer.conn.exec("ANALYZE"); err != nil {
				t.Fatal(err)
			}
		}
		r := newReadStatements(s.writer.conn)
		for _, st := range append(r.signedIn[:], r.signedInLabeled[:]...) {
			if plan := s.writer.conn.plan(t, st.query); !strings.Contains(plan, "INDEX gatehouse_session_signed_in (number>?)") {
				t.Errorf("%s\n%s", st.query, plan)
			}
		}
		for i, index := range []string{"gatehouse_session_due_anonymous (due<?)", "gatehouse_session_due_signed_in (due<?)"} {
			if plan := s.writer.conn.plan(t, r.due[i].query); !strings.Contains(plan, index) {
				t.Errorf("%s\n%s", r.due[i].query, plan)
			}
		}
		n := 0
		for rec, err := range s.List(t.Context(), session.Query{SignedIn: true}) {
			if err != nil || rec.Owner == "" {
				t.Fatalf("%q, %v", rec.Owner, err)
			}
			n++
		}
		if n != 5 {
			t.Errorf("%d are listed, want 5", n)
		}
	}
}

// plan returns SQLite's, a step on each line.
func (c *conn) plan(t testing.TB, query string) (plan string) {
	t.Helper()
	rows, err := c.c.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, make([]any, strings.Count(query, "?"))...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		plan += detail + "\n"
	}
	return plan
}

// BenchmarkListSignedIn lists 5,120 sessions of users, alone and among 512,000
// anonymous ones.
func BenchmarkListSignedIn(b *testing.B) {
	const users = 5120
	for _, every := range []int{1, 100} {
		b.Run(fmt.Sprintf("anonymous=%d", users*(every-1)), func(b *testing.B) {
			s := open(b, Config{NoSocket: true})
			flood(b, s, users*every, every)
			for b.Loop() {
				n := 0
				for _, err := range s.List(b.Context(), session.Query{SignedIn: true, Fields: true}) {
					if err != nil {
						b.Fatal(err)
					}
					n++
				}
				if n != users {
					b.Fatalf("%d are listed", n)
				}
			}
		})
	}
}
