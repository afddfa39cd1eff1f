package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/postgres"
	"github.com/seed-64ad3862/gatehouse/throttle"
)

// insert puts rows into the table that end after so long, one with an owner and
// a label of its own among ten.
const insert = `
INSERT INTO gatehouse.session (id, created, seen, idle, expires, due, owner, labels, data)
SELECT sha256(convert_to('%[3]s' || i, 'UTF8')), now(), now(), '%[2]s', now() + interval '1 day', now() + interval '%[2]s',
	CASE WHEN i %% 10 = 0 THEN 'o' || i ELSE '' END,
	CASE WHEN i %% 10 = 0 THEN jsonb_build_object('device', 'd' || i) ELSE '{}' END,
	jsonb_build_object('name', '"alex"')
FROM generate_series(1, %[1]d) AS i`

// TestPlans: nothing that happens all day reads the whole table.
func TestPlans(t *testing.T) {
	plans := &planLog{}
	pg := service.Postgres(t, "shared_preload_libraries=auto_explain", "auto_explain.log_min_duration=0",
		"auto_explain.log_nested_statements=on", "auto_explain.log_level=notice")
	// With plans for all parameters, which PostgreSQL makes when it has made some
	// for one.
	pool := newPool(t, pg.URL(), plans.listen, func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["plan_cache_mode"] = "force_generic_plan" })
	store := open(t, postgres.Config{Pool: pool})
	must(t, pool, fmt.Sprintf(insert, 20000, "1 hour", "live"), fmt.Sprintf(insert, 2000, "-1 hour", "over"),
		`INSERT INTO gatehouse.spent SELECT sha256(convert_to('' || i, 'UTF8')), now() + (i - 2000) * interval '1 s' FROM generate_series(1, 20000) AS i`,
		`INSERT INTO gatehouse.record SELECT 'r' || i, 1, '' FROM generate_series(1, 20000) AS i`,
		`INSERT INTO gatehouse.record_key SELECT k || i, 'r' || i FROM generate_series(1, 20000) AS i, unnest('{r,k}'::text[]) AS k`,
		`INSERT INTO gatehouse.entry (time, kind, person, name, by, addr, agent, session, detail)
			SELECT now() + (i - 20000) * interval '1 minute', 'k', 'r' || i % 1000, '', '', '', '', '', '' FROM generate_series(1, 20000) AS i`,
		`INSERT INTO gatehouse.bucket SELECT sha256(convert_to('' || i, 'UTF8')), now() + (i - 2000) * interval '1 s' FROM generate_series(1, 20000) AS i`,
		"VACUUM ANALYZE gatehouse.session, gatehouse.spent, gatehouse.record, gatehouse.record_key, gatehouse.entry, gatehouse.bucket")
	ctx := t.Context()
	people, throttled := store.Accounts(), store.Throttle()
	// A list of entries is planned for what it selects, however often it was before:
	// a plan for all looks cheaper, and may read the log to its end.
	planned := open(t, postgres.Config{Pool: newPool(t, pg.URL(), plans.listen, func(c *pgxpool.Config) { c.MaxConns = 1 })}).Accounts()
	since := account.LogQuery{Kind: "other", Since: time.Now().Add(-2000 * time.Minute)}
	for range 20 {
		if err := last(planned.Entries(ctx, since)); err != nil {
			t.Fatal(err)
		}
	}
	// first ends a list as who shows a page of it does.
	first := func(seq iter.Seq2[account.Entry, error]) error {
		for _, err := range seq {
			return err
		}
		return errors.New("there is none")
	}
	bucket := []throttle.Bucket{{Name: throttle.Name{Account: [16]byte{1}}, Limit: throttle.Limit{Burst: 3, Every: time.Hour}}}
	id := made(t, store, born(session.Field{Key: "a", Value: "1"}))
	change := func(d *session.Delta) func() error {
		return func() error { return store.Commit(ctx, id, d) }
	}
	list := func(q session.Query) func() error {
		return func() error { return last(store.List(ctx, q)) }
	}
	device := session.Label{Name: "device", Value: "d70"}
	// several has a call made for some records in one statement.
	several := func(call func(id session.ID) error) func() error {
		return func() error {
			var calls []func() error
			for range 3 {
				id := made(t, store, born())
				calls = append(calls, func() error { return call(id) })
			}
			plans.take()
			return errors.Join(gathered(t, store, calls...)...)
		}
	}
	for _, test := range []struct {
		name, index string
		call        func() error
	}{
		{"Load", "session_pkey", func() error {
			_, err := store.Load(ctx, id)
			return err
		}},
		{"Load of several", "session_pkey", several(func(id session.ID) error {
			_, err := store.Load(ctx, id)
			return err
		})},
		{"plain commits", "session_pkey", several(func(id session.ID) error {
			return store.Commit(ctx, id, &session.Delta{Seen: time.Now(), Set: []session.Field{{Key: "b", Value: "1"}}})
		})},
		{"Find", "session_pkey", func() error {
			_, err := store.Find(ctx, id.Handle())
			return err
		}},
		{"touch", "session_pkey", change(&session.Delta{Seen: time.Now()})},
		{"set with a condition", "session_pkey", change(&session.Delta{
			Set: []session.Field{{Key: "b", Value: "1"}}, If: []session.Field{{Key: "a", Value: "1"}},
		})},
		{"List by owner", "session_owner", list(session.Query{Owner: "o70"})},
		{"List by label", "session_labels", list(session.Query{Label: device})},
		{"List by both", "session_", list(session.Query{Owner: "o70", Label: device})},
		{"List of the signed in", "session_signed_in", list(session.Query{SignedIn: true})},
		{"List of the signed in by label", "session_signed_in", list(session.Query{SignedIn: true, Label: device})},
		{"List of the signed in by owner", "session_owner", list(session.Query{SignedIn: true, Owner: "o70"})},
		{"List all", "session_pkey", list(session.Query{All: true})},
		{"Sweep", "session_due", func() error { return last(store.Sweep(ctx)) }},
		{"Sweep of spent ids", "spent_expires", func() error { return last(store.Sweep(ctx)) }},
		{"Spent", "spent_pkey", func() error {
			_, err := store.Spent(ctx, [16]byte(id[:]))
			return err
		}},
		{"Delete", "session_pkey", func() error { return store.Delete(ctx, id) }},
		{"Get", "record_key_pkey", func() error {
			_, err := people.Get(ctx, "k70")
			return err
		}},
		{"Put", "record_pkey", func() error { return people.Put(ctx, account.Record{ID: "new", Keys: []string{"another", "more"}}) }},
		{"Put again", "record_key_record", func() error {
			return people.Put(ctx, account.Record{ID: "new", Version: 1, Keys: []string{"more", "k"}})
		}},
		{"Put of what is taken", "record_key_pkey", func() error {
			if err := people.Put(ctx, account.Record{ID: "k70"}); !errors.As(err, new(*account.TakenError)) {
				return fmt.Errorf("not taken: %w", err)
			}
			return nil
		}},
		{"Delete of a record", "record_pkey", func() error { return people.Delete(ctx, "new", 2) }},
		{"List of keys", "record_key_pkey", func() error { return last(people.List(ctx, "k19", "k195")) }},
		{"Entries", "entry_pkey", func() error { return first(people.Entries(ctx, account.LogQuery{Kind: "k"})) }},
		{"Entries since", "entry_time", func() error { return last(planned.Entries(ctx, since)) }},
		{"Entries of a person", "entry_person", func() error { return last(people.Entries(ctx, account.LogQuery{Person: "r70"})) }},
		{"Trim", "entry_time", func() error {
			_, err := people.Trim(ctx, time.Now().Add(-19000*time.Minute))
			return err
		}},
		{"Take", "bucket_pkey", func() error {
			_, err := throttled.Take(ctx, bucket)
			return err
		}},
		{"Used", "bucket_pkey", func() error {
			_, err := throttled.Used(ctx, bucket)
			return err
		}},
		{"Give", "bucket_pkey", func() error { return throttled.Give(ctx, bucket, bucket) }},
		{"Forget", "bucket_pkey", func() error { return throttled.Forget(ctx, [16]byte{1}) }},
		{"Sweep of buckets", "bucket_filled", func() error {
			must(t, pool, `INSERT INTO gatehouse.bucket SELECT sha256(convert_to('more' || i, 'UTF8')), now() FROM generate_series(1, 600) AS i`)
			plans.take()
			return last(store.Sweep(ctx))
		}},
	} {
		plans.take()
		if err := test.call(); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		plan := plans.take()
		if !strings.Contains(plan, test.index) || strings.Contains(plan, "Seq Scan") {
			t.Errorf("%s does not use %s, or not only:\n%.3000s", test.name, test.index, plan)
		}
	}
}

// planLog collects the plans that the server reports.
type planLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *planLog) listen(c *pgxpool.Config) {
	c.ConnConfig.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.text.WriteString(n.Message + "\n")
	}
}

func (l *planLog) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

// TestPoolOfOne: a method that calls another one, or whose caller does, waits for
// no connection that it has itself.
func TestPoolOfOne(t *testing.T) {
	pool := newPool(t, service.Postgres(t).URL(), func(c *pgxpool.Config) { c.MaxConns = 1 })
	store := open(t, postgres.Config{Pool: pool})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	owner := "o"
	label := session.Label{Name: "l", Value: "v"}
	for range 5 {
		d := born()
		d.Owner, d.Labels = &owner, []session.Label{label}
		made(t, store, d)
		over := born()
		over.Idle = time.Microsecond
		made(t, store, over)
	}
	listed, swept := 0, 0
	for _, q := range []session.Query{{All: true}, {SignedIn: true}, {Owner: owner}, {Label: label}} {
		for r, err := range store.List(ctx, q) {
			if err != nil {
				t.Fatal(err)
			}
			listed++
			if err := store.Commit(ctx, r.ID, &session.Delta{Rename: newID(), If: []session.Field{{Key: "a"}}}); err != nil {
				t.Fatal(err)
			}
			for inner, err := range store.Sweep(ctx) {
				if err != nil {
					t.Fatal(err)
				}
				swept++
				if _, err := store.Load(ctx, inner.ID); !errors.Is(err, session.ErrNotFound) {
					t.Fatal(err)
				}
			}
		}
	}
	if listed < 20 || swept != 5 { // those that are renamed may come again
		t.Errorf("%d listed, %d swept", listed, swept)
	}
	people := store.Accounts()
	for i := range 250 { // more than a batch
		if err := errors.Join(people.Put(ctx, account.Record{ID: fmt.Sprint(i)}), people.Append(ctx, account.Entry{Time: time.Now()})); err != nil {
			t.Fatal(err)
		}
	}
	found, logged := 0, 0
	for f, err := range people.List(ctx, "", "") {
		if err != nil {
			t.Fatal(err)
		}
		found++
		if _, err := people.Get(ctx, f.ID); err != nil {
			t.Fatal(err)
		}
		if found != 7 {
			continue
		}
		for _, err := range people.Entries(ctx, account.LogQuery{}) {
			if err != nil {
				t.Fatal(err)
			}
			logged++
			if _, err := people.Get(ctx, f.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	if found != 250 || logged != 250 {
		t.Errorf("%d records, %d entries", found, logged)
	}
	if held := pool.Stat().AcquiredConns(); held != 0 {
		t.Errorf("%d connections are held", held)
	}
}

func TestSweep(t *testing.T) {
	pool := newPool(t, service.Postgres(t).URL())
	store := open(t, postgres.Config{Pool: pool})
	ctx := t.Context()
	rows := func(where string) (n int) {
		t.Helper()
		if err := pool.QueryRow(ctx, "SELECT count(*) FROM "+where).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}

	t.Run("side by side", func(t *testing.T) {
		empty(t, pool, "gatehouse")
		const over = 20000
		must(t, pool, fmt.Sprintf(insert, over, "-1 second", "over"), fmt.Sprintf(insert, 1000, "1 hour", "live"),
			`INSERT INTO gatehouse.spent SELECT sha256(convert_to('' || i, 'UTF8')), now() + (i - 1200) * interval '1 hour' FROM generate_series(1, 1300) AS i`)
		signIn := made(t, store, born())
		var swept, done atomic.Int32
		var seen sync.Map
		var slowest time.Duration
		var wg, commits sync.WaitGroup
		commits.Go(func() {
			for done.Load() == 0 {
				start := time.Now()
				if err := store.Commit(ctx, signIn, &session.Delta{Seen: start}); err != nil {
					t.Errorf("Commit: %v", err)
				}
				slowest = max(slowest, time.Since(start))
			}
		})
		start := time.Now()
		for range 3 {
			wg.Go(func() {
				for r, err := range store.Sweep(ctx) {
					if err != nil {
						t.Errorf("Sweep: %v", err)
						return
					}
					if _, twice := seen.LoadOrStore(r.ID, true); twice {
						t.Error("a record is swept twice")
					}
					if time.Now().Before(r.Deadline()) {
						t.Errorf("a record is swept that ends at %v", r.Deadline())
					}
					swept.Add(1)
				}
			})
		}
		wg.Wait()
		took := time.Since(start)
		done.Store(1)
		commits.Wait()
		t.Logf("%d records in %v; the slowest commit beside it took %v", swept.Load(), took, slowest)
		if swept.Load() != over || rows("gatehouse.session") != 1001 || rows("gatehouse.spent") != 100 {
			t.Errorf("%d of %d were swept, %d of 1001 records and %d of 100 spent ids are there",
				swept.Load(), over, rows("gatehouse.session"), rows("gatehouse.spent"))
		}
	})

	t.Run("due and used since", func(t *testing.T) {
		empty(t, pool, "gatehouse")
		sweep := func() (n int) {
			t.Helper()
			for _, err := range store.Sweep(ctx) {
				if err != nil {
					t.Fatal(err)
				}
				n++
			}
			return n
		}
		id := made(t, store, born())
		if err := store.Commit(ctx, id, &session.Delta{Seen: time.Now().Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		if rows("gatehouse.session WHERE due < seen + idle") != 1 {
			t.Error("to use a session moves it in the index")
		}
		must(t, pool, "UPDATE gatehouse.session SET due = now() - interval '1 s'") // as if it were that late
		if n := sweep(); n != 0 || rows("gatehouse.session WHERE due = seen + idle") != 1 {
			t.Errorf("%d swept, or the row is not due at its end", n)
		}
		// One whose end comes nearer is due sooner.
		if err := store.Commit(ctx, id, &session.Delta{Expires: time.Now().Add(-time.Second)}); err != nil {
			t.Fatal(err)
		}
		if n := sweep(); n != 1 {
			t.Errorf("%d swept of one that is over", n)
		}
	})

	t.Run("somebody is at it", func(t *testing.T) {
		empty(t, pool, "gatehouse")
		over := born()
		over.Idle = time.Microsecond
		held, free := made(t, store, over), made(t, store, over)
		tx, err := pool.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback(ctx) }()
		if _, err := tx.Exec(ctx, "SELECT FROM gatehouse.session WHERE id = $1 FOR UPDATE", held[:]); err != nil {
			t.Fatal(err)
		}
		for _, want := range []session.ID{free, held} {
			short, cancel := context.WithTimeout(ctx, patience)
			var got []session.ID
			for r, err := range store.Sweep(short) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, r.ID)
			}
			cancel()
			if len(got) != 1 || got[0] != want {
				t.Fatalf("%d are swept, want the one that is free", len(got))
			}
			_ = tx.Rollback(ctx)
		}
	})
}

// TestWaitedTooLong: a change that waited for another one until the record was
// over finds it over.
func TestWaitedTooLong(t *testing.T) {
	pool := newPool(t, service.Postgres(t).URL())
	store := open(t, postgres.Config{Pool: pool})
	ctx := t.Context()
	for name, call := range map[string]func(id session.ID) error{
		"change": func(id session.ID) error {
			now := time.Now()
			return store.Commit(ctx, id, &session.Delta{Seen: now.Add(time.Hour), Expires: now.Add(time.Hour)})
		},
		"rename": func(id session.ID) error { return store.Commit(ctx, id, &session.Delta{Rename: newID()}) },
		"delete": func(id session.ID) error { return store.Delete(ctx, id) },
	} {
		d := born()
		d.Idle = 3 * time.Second
		id := made(t, store, d)
		tx, err := pool.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback(ctx) }()
		if _, err := tx.Exec(ctx, "UPDATE gatehouse.session SET data = data WHERE id = $1", id[:]); err != nil {
			t.Fatal(err)
		}
		answer := make(chan error, 1)
		go func() { answer <- call(id) }()
		for waiting := 0; waiting == 0; time.Sleep(time.Millisecond) {
			if len(answer) > 0 {
				t.Fatalf("%s does not wait: %v", name, <-answer)
			}
			if err := pool.QueryRow(ctx, "SELECT count(*) FROM pg_locks WHERE NOT granted").Scan(&waiting); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Until(d.Seen.Add(d.Idle + 50*time.Millisecond)))
		if err := tx.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		if err := <-answer; !errors.Is(err, session.ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", name, err)
		}
	}
}

// TestUseIsHeapOnly: to use a session, and to keep a value in it, writes to no
// index.
func TestUseIsHeapOnly(t *testing.T) {
	pg := service.Postgres(t, "autovacuum=off")
	pool := newPool(t, pg.URL())
	store := open(t, postgres.Config{Pool: pool})
	owner := "o"
	const sessions, uses = 50, 10
	for range sessions {
		d := born()
		d.Owner, d.Labels = &owner, []session.Label{{Name: "device", Value: "phone"}}
		id := made(t, store, d)
		for i := range uses {
			d := &session.Delta{Seen: time.Now().Add(time.Duration(i) * time.Minute), Set: []session.Field{{Key: "a", Value: fmt.Sprint(i)}}}
			if err := store.Commit(t.Context(), id, d); err != nil {
				t.Fatal(err)
			}
		}
	}
	pool.Reset() // a backend that ends tells what it has counted
	other := newPool(t, pg.URL())
	var updates, hot int
	for start := time.Now(); updates < sessions*uses; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatalf("only %d updates are counted", updates)
		}
		if err := other.QueryRow(t.Context(), "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'session'").Scan(&updates, &hot); err != nil {
			t.Fatal(err)
		}
	}
	// A page that others have filled is left once.
	if hot < updates*8/10 {
		t.Errorf("%d of %d updates are heap-only", hot, updates)
	}
	t.Logf("%d of %d updates are heap-only", hot, updates)
}

// TestRenameToItself: it is no rename.
func TestRenameToItself(t *testing.T) {
	store := open(t, postgres.Config{Pool: newPool(t, service.Postgres(t).URL())})
	id := made(t, store, born(session.Field{Key: "a", Value: "1"}))
	for value, want := range map[string]error{"1": nil, "2": session.ErrConflict} {
		err := store.Commit(t.Context(), id, &session.Delta{Rename: id, If: []session.Field{{Key: "a", Value: value}}})
		if !errors.Is(err, want) {
			t.Errorf("if a is %s: %v, want %v", value, err, want)
		}
	}
}

// TestNull: what a person has made null is absent, for conditions too.
func TestNull(t *testing.T) {
	pool := newPool(t, service.Postgres(t).URL())
	store := open(t, postgres.Config{Pool: pool})
	id := made(t, store, born(session.Field{Key: "a", Value: "1"}))
	must(t, pool, `UPDATE gatehouse.session SET data = '{"a": null, "b": 7}'`)
	r, err := store.Load(t.Context(), id)
	if err != nil || len(r.Fields) != 1 || value(r, "b") != "7" {
		t.Errorf("%+v, %v", r, err)
	}
	err = store.Commit(t.Context(), id, &session.Delta{If: []session.Field{{Key: "a"}}, Set: []session.Field{{Key: "a", Value: "2"}}})
	if err != nil {
		t.Error(err)
	}
}
