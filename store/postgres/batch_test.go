package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/postgres"
)

// gathered makes the calls in one batch of each kind and returns their errors.
func gathered(t *testing.T, store *postgres.Store, calls ...func() error) []error {
	t.Helper()
	queued, release := store.Gather()
	errs := make([]error, len(calls))
	var wg sync.WaitGroup
	for i, call := range calls {
		wg.Go(func() { errs[i] = call() })
	}
	until(t, "all calls are queued", func() bool { return queued() == len(calls) })
	release()
	wg.Wait()
	return errs
}

// until waits for a condition.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for start := time.Now(); !holds(); time.Sleep(time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatalf("in vain, until %s", what)
		}
	}
}

func set(key, value string) *session.Delta {
	return &session.Delta{Set: []session.Field{{Key: key, Value: value}}}
}

// statementLog counts the statements of a pool that change sessions or read them.
type statementLog struct {
	loads, loadBatches, changes, changeBatches atomic.Int32
}

func (l *statementLog) listen(c *pgxpool.Config) { c.ConnConfig.Tracer = l }

func (l *statementLog) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	switch sql := data.SQL; {
	case strings.Contains(sql, "SKIP LOCKED") && strings.Contains(sql, "unnest"):
		l.changeBatches.Add(1)
	case strings.Contains(sql, "UPDATE \"gatehouse\".session"):
		l.changes.Add(1)
	case strings.Contains(sql, "WHERE id = ANY"):
		l.loadBatches.Add(1)
	case strings.Contains(sql, "WHERE id = $1"):
		l.loads.Add(1)
	}
	return ctx
}

func (l *statementLog) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// want compares the statements since the last call.
func (l *statementLog) want(t *testing.T, loads, loadBatches, changes, changeBatches int32) {
	t.Helper()
	got := [4]int32{l.loads.Swap(0), l.loadBatches.Swap(0), l.changes.Swap(0), l.changeBatches.Swap(0)}
	if want := [4]int32{loads, loadBatches, changes, changeBatches}; got != want {
		t.Errorf("%v loads, of many, changes, of many; want %v", got, want)
	}
}

// batches makes calls of all kinds in one batch: each has its own outcome, that
// which it would have had by itself.
func batches(t *testing.T, store *postgres.Store) {
	ctx := t.Context()
	now := time.Now().Truncate(time.Microsecond)
	fields := []session.Field{{Key: "a", Value: "1"}, {Key: "b", Value: `"\u0000\"\\"`}, {Key: "c", Value: "3"}}
	over := born(fields...)
	over.Seen, over.Idle = now.Add(-time.Minute), time.Second
	ended, missing := made(t, store, over), newID()
	var calls []func() error
	var checks []func(err error)
	commit := func(id session.ID, d *session.Delta, check func(err error)) {
		calls = append(calls, func() error { return store.Commit(ctx, id, d) })
		checks = append(checks, check)
	}
	for name, d := range map[string]*session.Delta{
		"touch":                 {Seen: now.Add(time.Minute)},
		"seen before":           {Seen: now.Add(-time.Hour)},
		"idle":                  {Idle: 2 * time.Hour},
		"expires":               {Expires: now.Add(time.Hour)},
		"end":                   {Expires: now.Add(-time.Hour)},
		"nothing":               {},
		"set":                   {Set: []session.Field{{Key: "a", Value: "2"}, {Key: `k"`, Value: `"\\"`}}},
		"delete":                {Delete: []string{"a"}},
		"delete several":        {Delete: []string{"c", "none", "a", ""}},
		"delete all and set":    {Delete: []string{"a", "b", "c"}, Set: []session.Field{{Key: "d", Value: "4"}}},
		"everything":            {Seen: now.Add(time.Second), Idle: time.Minute, Expires: now.Add(time.Minute), Delete: []string{"b"}, Set: []session.Field{{Key: "a", Value: "5"}}},
		"as large as may be":    set("a", strings.Repeat("x", 60<<10)),
		"many keys are deleted": {Delete: strings.Split(strings.Repeat("k,", 500)+"a", ",")},
	} {
		// One goes in the batch, and one by itself.
		id, twin := made(t, store, born(fields...)), made(t, store, born(fields...))
		must1(t, store.Commit(ctx, twin, d))
		want, wantErr := store.Load(ctx, twin)
		commit(id, d, func(err error) {
			got, loadErr := store.Load(ctx, id)
			if err != nil || !errors.Is(loadErr, wantErr) || !alike(got, want) {
				t.Errorf("%s: %v, and then %+v, %v; want %+v, %v", name, err, got, loadErr, want, wantErr)
			}
		})
	}
	notFound := func(err error) {
		if !errors.Is(err, session.ErrNotFound) {
			t.Errorf("a record that is not there: %v", err)
		}
	}
	commit(ended, set("a", "6"), notFound)
	commit(missing, set("a", "6"), notFound)
	commit(missing, set("b", "7"), notFound)
	// One record several times: all is done, as if one after the other.
	shared := made(t, store, born())
	for i := range 5 {
		commit(shared, &session.Delta{Seen: now.Add(time.Duration(i) * time.Second), Set: []session.Field{{Key: fmt.Sprint("k", i), Value: "1"}}}, func(err error) {
			if err != nil {
				t.Errorf("one of several commits to one record: %v", err)
			}
		})
	}
	// Loads, of one record several times too.
	read := made(t, store, born(fields...))
	labelled := born()
	labelled.Labels = []session.Label{{Name: "device", Value: "phone"}}
	for id, want := range map[session.ID]int{read: 3, made(t, store, labelled): 0, ended: -1, missing: -1} {
		for range 2 {
			calls = append(calls, func() error {
				r, err := store.Load(ctx, id)
				if err == nil && (r.ID != id || len(r.Fields) != want || len(r.Labels) != 0 != (want == 0)) {
					err = fmt.Errorf("loaded %+v", r)
				}
				if want < 0 && errors.Is(err, session.ErrNotFound) {
					err = nil
				}
				return err
			})
			checks = append(checks, func(err error) {
				if err != nil {
					t.Errorf("load: %v", err)
				}
			})
		}
	}
	for i, err := range gathered(t, store, calls...) {
		checks[i](err)
	}
	if r, err := store.Load(ctx, shared); err != nil || len(r.Fields) != 5 || !r.Seen.Equal(now.Add(4*time.Second)) {
		t.Errorf("a record of several commits: %+v, %v", r, err)
	}
}

func must1(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// alike reports whether two records differ in their IDs only, and by some seconds in
// what was the time of their making.
func alike(a, b session.Record) bool {
	byKey := func(x, y session.Field) int { return strings.Compare(x.Key, y.Key) }
	slices.SortFunc(a.Fields, byKey)
	slices.SortFunc(b.Fields, byKey)
	near := func(x, y time.Time) bool { return x.Sub(y).Abs() < 20*time.Second }
	return slices.Equal(a.Fields, b.Fields) && a.Idle == b.Idle && near(a.Seen, b.Seen) && near(a.Expires, b.Expires) && near(a.Created, b.Created)
}

// TestBatch: what waits goes in one statement of each kind, and what it cannot do
// is done by others.
func TestBatch(t *testing.T) {
	var log statementLog
	pool := newPool(t, service.Postgres(t).URL(), log.listen)
	store := open(t, postgres.Config{Pool: pool})
	batches(t, store)

	ids := make([]session.ID, 10)
	for i := range ids {
		ids[i] = made(t, store, born())
	}
	log.want(t, log.loads.Load(), log.loadBatches.Load(), log.changes.Load(), log.changeBatches.Load())
	var calls []func() error
	for _, id := range ids {
		calls = append(calls, func() error { return store.Commit(t.Context(), id, set("a", "1")) })
	}
	if err := errors.Join(gathered(t, store, calls...)...); err != nil {
		t.Error(err)
	}
	log.want(t, 0, 0, 0, 1)
	// The same record twice, and one that is not there.
	calls = append(calls, calls[0], func() error {
		if err := store.Commit(t.Context(), newID(), set("a", "1")); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("a record that is not there: %v", err)
		}
		return nil
	})
	if err := errors.Join(gathered(t, store, calls...)...); err != nil {
		t.Error(err)
	}
	log.want(t, 0, 0, 2, 1)
	calls = nil
	for _, id := range append(ids, ids[0], newID()) {
		calls = append(calls, func() error {
			if _, err := store.Load(t.Context(), id); !errors.Is(err, session.ErrNotFound) {
				return err
			}
			return nil
		})
	}
	if err := errors.Join(gathered(t, store, calls...)...); err != nil {
		t.Error(err)
	}
	log.want(t, 0, 1, 0, 0)
	// What waits alone is a statement as always, and so is what does not wait.
	for _, call := range []func() error{calls[0], func() error { return store.Commit(t.Context(), ids[0], set("a", "1")) }} {
		if err := errors.Join(gathered(t, store, call)[0], call()); err != nil {
			t.Error(err)
		}
	}
	log.want(t, 2, 0, 2, 0)
	// What is more than a change of values and clocks never waits for others.
	queued, release := store.Gather()
	defer release()
	owner, id := "o", ids[0]
	for _, d := range []*session.Delta{
		{If: []session.Field{{Key: "a", Value: "1"}}},
		{Owner: &owner},
		{Restart: true, Seen: time.Now()},
		{Labels: []session.Label{{Name: "device", Value: "phone"}}},
		set("a", strings.Repeat("x", 65<<10)),
		{Delete: []string{strings.Repeat("x", 65<<10)}},
		{Rename: newID()},
	} {
		if err := store.Commit(t.Context(), id, d); err != nil || queued() != 0 {
			t.Errorf("Commit(%+v): %v, %d are queued", d, err, queued())
		}
	}
	made(t, store, born())
}

// waitsForLock returns how many transactions wait for a lock.
func waitsForLock(t *testing.T, pool *pgxpool.Pool) (n int) {
	t.Helper()
	must1(t, pool.QueryRow(t.Context(), "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted").Scan(&n))
	return n
}

// lock locks what the statement says until it is released.
func lock(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) (release func(end string)) {
	t.Helper()
	c, err := pool.Acquire(t.Context())
	must1(t, err)
	for _, s := range []string{"BEGIN", sql} {
		if s == "BEGIN" {
			_, err = c.Exec(t.Context(), s)
		} else {
			_, err = c.Exec(t.Context(), s, args...)
		}
		must1(t, err)
	}
	once := sync.OnceFunc(c.Release)
	release = func(end string) {
		if !c.Conn().IsClosed() {
			_, _ = c.Exec(context.Background(), end)
		}
		once()
	}
	t.Cleanup(once)
	return release
}

// TestBatchContext: a caller whose context ends is let go, in the queue or in a
// batch, the first as well as the last, and the others' calls are made.
func TestBatchContext(t *testing.T) {
	pg := service.Postgres(t)
	pool, admin := newPool(t, pg.URL()), newPool(t, pg.URL())
	store := open(t, postgres.Config{Pool: pool})
	type answer struct {
		i   int
		err error
	}
	// start queues commits to three records, the load of each, and returns how they end.
	start := func(t *testing.T) (ids []session.ID, cancels []context.CancelFunc, answers chan answer, release func()) {
		queued, release := store.Gather()
		answers = make(chan answer, 6)
		for i := range 6 {
			if i < 3 {
				ids = append(ids, made(t, store, born()))
			}
			ctx, cancel := context.WithCancel(t.Context())
			t.Cleanup(cancel)
			cancels = append(cancels, cancel)
			go func() {
				if i < 3 {
					answers <- answer{i, store.Commit(ctx, ids[i], set("a", "1"))}
					return
				}
				_, err := store.Load(ctx, ids[i-3])
				answers <- answer{i, err}
			}()
			until(t, "the call is queued", func() bool { return queued() == i+1 })
		}
		return ids, cancels, answers, release
	}
	for gone := range 3 {
		t.Run(fmt.Sprint("queued ", gone), func(t *testing.T) {
			ids, cancels, answers, release := start(t)
			for _, i := range []int{gone, gone + 3} {
				cancels[i]()
				if a := <-answers; a.i != i || !errors.Is(a.err, context.Canceled) {
					t.Errorf("call %d of a context that has ended: %d: %v", i, a.i, a.err)
				}
			}
			release()
			for range 4 {
				if a := <-answers; a.err != nil {
					t.Errorf("call %d: %v", a.i, a.err)
				}
			}
			for i, id := range ids {
				if r, err := store.Load(t.Context(), id); err != nil || value(r, "a") == "1" != (i != gone) {
					t.Errorf("record %d: %+v, %v", i, r, err)
				}
			}
		})
		t.Run(fmt.Sprint("under way ", gone), func(t *testing.T) {
			ids, cancels, answers, release := start(t)
			unlock := lock(t, admin, "LOCK TABLE gatehouse.session IN ACCESS EXCLUSIVE MODE")
			release()
			until(t, "both batches wait", func() bool { return waitsForLock(t, admin) == 2 })
			for _, i := range []int{gone, gone + 3} {
				cancels[i]()
				if a := <-answers; a.i != i || !errors.Is(a.err, context.Canceled) {
					t.Errorf("call %d of a context that has ended: %d: %v", i, a.i, a.err)
				}
			}
			if n := waitsForLock(t, admin); n != 2 || len(answers) > 0 {
				t.Errorf("%d of 2 batches wait, %d have been answered", n, len(answers))
			}
			unlock("ROLLBACK")
			for range 4 {
				if a := <-answers; a.err != nil {
					t.Errorf("call %d: %v", a.i, a.err)
				}
			}
			for i, id := range ids { // the statement was for all of them
				if r, err := store.Load(t.Context(), id); err != nil || value(r, "a") != "1" {
					t.Errorf("record %d: %+v, %v", i, r, err)
				}
			}
		})
	}
	t.Run("all are gone", func(t *testing.T) {
		ids, cancels, answers, release := start(t)
		unlock := lock(t, admin, "LOCK TABLE gatehouse.session IN ACCESS EXCLUSIVE MODE")
		release()
		until(t, "both batches wait", func() bool { return waitsForLock(t, admin) == 2 })
		for i := range 6 {
			cancels[i]()
			if a := <-answers; a.i != i || !errors.Is(a.err, context.Canceled) {
				t.Errorf("call %d of a context that has ended: %d: %v", i, a.i, a.err)
			}
		}
		until(t, "the statements end", func() bool { return pool.Stat().AcquiredConns() == 0 })
		unlock("ROLLBACK")
		if _, err := store.Load(t.Context(), ids[0]); err != nil {
			t.Error(err)
		}
	})
	t.Run("ended before", func(t *testing.T) {
		_, release := store.Gather()
		defer release()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := store.Load(ctx, newID())
		for _, err := range []error{err, store.Commit(ctx, newID(), set("a", "1"))} {
			if !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "postgres: ") {
				t.Errorf("%v", err)
			}
		}
	})
}

// TestBatchRefused: a statement that the server refuses for the sake of one call
// is made again without harm to the others.
func TestBatchRefused(t *testing.T) {
	var log statementLog
	pool := newPool(t, service.Postgres(t).URL(), log.listen)
	store := open(t, postgres.Config{Pool: pool})
	must(t, pool,
		`CREATE TABLE changed (id bytea)`,
		`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN IF NEW.data ? 'poison' THEN RAISE EXCEPTION 'refused' USING ERRCODE = '54000'; END IF;
			INSERT INTO changed VALUES (NEW.id); RETURN NEW; END $$`,
		`CREATE TRIGGER refuse BEFORE UPDATE ON gatehouse.session FOR EACH ROW EXECUTE FUNCTION refuse()`)
	var calls []func() error
	const n = 8
	ids := make([]session.ID, n)
	for i := range n {
		ids[i] = made(t, store, born())
		key := "a"
		if i == n/2 {
			key = "poison"
		}
		calls = append(calls, func() error { return store.Commit(t.Context(), ids[i], set(key, "1")) })
	}
	for i, err := range gathered(t, store, calls...) {
		if e, refused := errors.AsType[*pgconn.PgError](err); refused != (i == n/2) || refused && e.Code != "54000" || !refused && err != nil {
			t.Errorf("commit %d: %v", i, err)
		}
	}
	log.want(t, 0, 0, n, 1)
	var changed int
	must1(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM changed").Scan(&changed))
	if changed != n-1 {
		t.Errorf("%d changes, want each of %d once", changed, n-1)
	}

	// A record that cannot be read is no fault of the others.
	must(t, pool, `ALTER TABLE gatehouse.session DISABLE TRIGGER refuse`)
	_, err := pool.Exec(t.Context(), `UPDATE gatehouse.session SET data = '[]' WHERE id = $1`, ids[0][:])
	must1(t, err)
	calls = nil
	for _, id := range ids {
		calls = append(calls, func() error {
			_, err := store.Load(t.Context(), id)
			return err
		})
	}
	for i, err := range gathered(t, store, calls...) {
		if (err == nil) != (i > 0) {
			t.Errorf("load %d: %v", i, err)
		}
	}
}

// TestBatchLockedRow: a row that another transaction has locked holds up the calls
// for it and no others.
func TestBatchLockedRow(t *testing.T) {
	pg := service.Postgres(t)
	pool, admin := newPool(t, pg.URL()), newPool(t, pg.URL())
	store := open(t, postgres.Config{Pool: pool})
	for name, test := range map[string]struct {
		lock, end string
		want      error
	}{
		"locked":            {"SELECT FROM gatehouse.session WHERE id = $1 FOR UPDATE", "COMMIT", nil},
		"changed":           {`UPDATE gatehouse.session SET data = '{"b": "2"}' WHERE id = $1`, "COMMIT", nil},
		"not changed":       {`UPDATE gatehouse.session SET data = '{"b": "3"}' WHERE id = $1`, "ROLLBACK", nil},
		"deleted":           {"DELETE FROM gatehouse.session WHERE id = $1", "COMMIT", session.ErrNotFound},
		"renamed":           {"UPDATE gatehouse.session SET id = sha256(id) WHERE id = $1", "COMMIT", session.ErrNotFound},
		"ended":             {"UPDATE gatehouse.session SET expires = now() WHERE id = $1", "COMMIT", session.ErrNotFound},
		"not deleted":       {"DELETE FROM gatehouse.session WHERE id = $1", "ROLLBACK", nil},
		"read for a change": {"SELECT FROM gatehouse.session WHERE id = $1 FOR NO KEY UPDATE", "COMMIT", nil},
	} {
		t.Run(name, func(t *testing.T) {
			ids := make([]session.ID, 4)
			for i := range ids {
				ids[i] = made(t, store, born(session.Field{Key: "b", Value: "1"}))
			}
			unlock := lock(t, admin, test.lock, ids[0][:])
			queued, release := store.Gather()
			answers := make([]chan error, len(ids))
			for i, id := range ids {
				answers[i] = make(chan error, 1)
				go func() { answers[i] <- store.Commit(t.Context(), id, set("a", "1")) }()
			}
			until(t, "all are queued", func() bool { return queued() == len(ids) })
			release()
			for _, answer := range answers[1:] {
				if err := <-answer; err != nil {
					t.Error(err)
				}
			}
			until(t, "one waits by itself", func() bool { return waitsForLock(t, admin) == 1 })
			if len(answers[0]) > 0 {
				t.Errorf("a commit to a locked row: %v", <-answers[0])
			}
			unlock(test.end)
			if err := <-answers[0]; !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
			if r, err := store.Load(t.Context(), ids[0]); test.want == nil && (err != nil || value(r, "a") != "1" || (value(r, "b") == "2") != (name == "changed")) {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// TestStall: statements that do not end hold up the calls behind them for a moment
// only, even if there are as many as there may be.
func TestStall(t *testing.T) {
	pg := service.Postgres(t)
	pool, admin := newPool(t, pg.URL()), newPool(t, pg.URL())
	store := open(t, postgres.Config{Pool: pool})
	defer store.Crowd()()
	for range 3 {
		var unlock []func(string)
		var stalled sync.WaitGroup
		for range store.MaxStatements() {
			held := made(t, store, born())
			unlock = append(unlock, lock(t, admin, "SELECT FROM gatehouse.session WHERE id = $1 FOR UPDATE", held[:]))
			stalled.Go(func() {
				if err := store.Commit(t.Context(), held, set("a", "1")); err != nil {
					t.Errorf("after the stall: %v", err)
				}
			})
		}
		until(t, "all stall", func() bool { return waitsForLock(t, admin) == len(unlock) })
		var wg sync.WaitGroup
		for range 40 {
			id := made(t, store, born())
			wg.Go(func() {
				for range 5 {
					if err := store.Commit(t.Context(), id, set("a", "1")); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if n := waitsForLock(t, admin); n != len(unlock) {
			t.Errorf("%d statements stall, want %d", n, len(unlock))
		}
		for _, f := range unlock {
			f("ROLLBACK")
		}
		stalled.Wait()
	}
}

// TestBatchBroken: where the answer to a batch is lost, all of its callers learn
// that the outcome is not known, and nothing is sent a second time; those who read
// notice nothing.
func TestBatchBroken(t *testing.T) {
	pg := service.Postgres(t)
	wire := newScissors(t, pg.Addr)
	var log statementLog
	pool := newPool(t, strings.Replace(pg.URL(), pg.Addr, wire.addr, 1), func(c *pgxpool.Config) { c.MaxConns = 1 }, log.listen)
	store := open(t, postgres.Config{Pool: pool})
	ids := make([]session.ID, 5)
	for i := range ids {
		ids[i] = made(t, store, born())
	}
	for _, cut := range []bool{false, true} { // the first time it is prepared
		var calls, reads []func() error
		for _, id := range ids {
			calls = append(calls, func() error { return store.Commit(t.Context(), id, set("a", strconv.FormatBool(cut))) })
			reads = append(reads, func() error {
				r, err := store.Load(t.Context(), id)
				if err == nil && value(r, "a") != strconv.FormatBool(cut) {
					err = fmt.Errorf("%+v", r)
				}
				return err
			})
		}
		wire.cut.Store(cut)
		for _, err := range gathered(t, store, append(calls, calls[0])...) {
			if unknown := err != nil && strings.Contains(err.Error(), "nobody can know"); unknown != cut || !unknown && err != nil {
				t.Errorf("%v; the answer was lost: %v", err, cut)
			}
		}
		if cut {
			log.want(t, 0, 0, 0, 1)
		} else {
			log.want(t, 0, 0, 1, 1) // for the call that comes twice
		}
		if err := errors.Join(gathered(t, store, reads...)...); err != nil {
			t.Errorf("after the batch: %v", err)
		}
		wire.cut.Store(cut)
		if err := errors.Join(gathered(t, store, reads...)...); err != nil || wire.cut.Load() {
			t.Errorf("reads: %v; the answer was lost: %v", err, cut)
		}
		if cut {
			log.want(t, 0, 3, 0, 0)
		} else {
			log.want(t, 0, 2, 0, 0)
		}
	}
}

// TestCrowd: more goroutines than a statement each is made for, on two stores, with
// sessions of their own and shared ones. Who has an answer finds its change.
func TestCrowd(t *testing.T) {
	pg := service.Postgres(t)
	var log statementLog
	var stores []*postgres.Store
	for range 2 {
		pool := newPool(t, pg.URL(), func(c *pgxpool.Config) { c.MaxConns = 4 }, log.listen)
		stores = append(stores, open(t, postgres.Config{Pool: pool}))
	}
	var shared []session.ID
	for range 3 {
		shared = append(shared, made(t, stores[0], born()))
	}
	const goroutines, rounds = 48, 60
	var keys atomic.Int32
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			ctx, random := t.Context(), rand.New(rand.NewPCG(1, uint64(g)))
			id, store := newID(), stores[g%2]
			if err := store.Commit(ctx, id, born()); err != nil {
				t.Error(err)
				return
			}
			// A commit that is given up may still be made, even after later ones: some
			// give none up, and know what must be there.
			patient := g%4 < 2
			for i := 1; i <= rounds; i++ {
				short, cancel := context.WithCancel(ctx)
				if !patient && random.IntN(4) == 0 {
					time.AfterFunc(time.Duration(random.IntN(3000))*time.Microsecond, cancel)
				}
				err := store.Commit(short, id, &session.Delta{
					Seen: time.Now(), Set: []session.Field{{Key: "n", Value: strconv.Itoa(i)}, {Key: fmt.Sprint("k", i), Value: "1"}}, Delete: []string{fmt.Sprint("k", i-1)},
				})
				if err != nil && short.Err() == nil {
					t.Errorf("commit: %v", err)
				}
				cancel()
				r, err := stores[random.IntN(2)].Load(ctx, id)
				n, _ := strconv.Atoi(value(r, "n"))
				if err != nil || n > i || patient && (n != i || len(r.Fields) != 2) {
					t.Errorf("load: n is %d of %d, with %d keys, %v", n, i, len(r.Fields), err)
				}
				if random.IntN(8) == 0 {
					key := fmt.Sprint("k", keys.Add(1))
					if err := store.Commit(ctx, shared[random.IntN(len(shared))], set(key, "1")); err != nil {
						t.Errorf("a shared session: %v", err)
					}
				}
			}
			if err := store.Delete(ctx, id); err != nil {
				t.Errorf("delete: %v", err)
			}
			if err := store.Commit(ctx, id, set("n", "0")); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("commit to what was deleted: %v", err)
			}
			if _, err := store.Load(ctx, id); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("load of what was deleted: %v", err)
			}
		})
	}
	wg.Wait()
	kept := 0
	for _, id := range shared {
		r, err := stores[1].Load(t.Context(), id)
		must1(t, err)
		kept += len(r.Fields)
	}
	if kept != int(keys.Load()) {
		t.Errorf("%d of %d keys of shared sessions", kept, keys.Load())
	}
	loads, changes := log.loads.Load()+log.loadBatches.Load(), log.changes.Load()+log.changeBatches.Load()
	t.Logf("%d loads in %d statements, %d commits in %d", goroutines*(rounds+1), loads, goroutines*(rounds+1)+int(keys.Load()), changes)
	if log.loadBatches.Load() == 0 || log.changeBatches.Load() == 0 {
		t.Error("nothing went in batches: the test shows nothing")
	}
}
