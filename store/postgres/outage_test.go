package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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

const (
	// callTimeout is what each call is given in these tests, and patience how
	// much longer it may take on a machine that is busy.
	callTimeout = time.Second
	patience    = 10 * time.Second
)

// TestOutage takes the server away from under a load and gives it back. What was
// acknowledged must be there, what failed may have been done or not, and every
// call ends when its context does. How long it takes until each worker is
// answered again is logged.
func TestOutage(t *testing.T) {
	for _, test := range []struct {
		name     string
		away, up func(s *service.PostgresServer)
	}{
		{"FastRestart", func(s *service.PostgresServer) { s.Stop() }, func(s *service.PostgresServer) { s.Start() }},
		{"Crash", func(s *service.PostgresServer) { s.Kill() }, func(s *service.PostgresServer) { s.Start() }},
		{"BlackHole", func(s *service.PostgresServer) { s.Pause() }, func(s *service.PostgresServer) { s.Resume() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			pg := service.Postgres(t)
			// More workers than connections: loads and plain commits share statements.
			store := open(t, postgres.Config{Pool: newPool(t, pg.URL(), func(c *pgxpool.Config) { c.MaxConns = 4 })})
			var stop atomic.Bool
			workers := make([]*worker, 12)
			var wg sync.WaitGroup
			for i := range workers {
				w := &worker{t: t, store: store}
				workers[i] = w
				wg.Go(func() {
					for !stop.Load() {
						w.round()
					}
				})
			}
			// answered waits until each worker has had a round without an error
			// that began after that moment.
			answered := func(since time.Time) {
				t.Helper()
				for _, w := range workers {
					for w.well.Load() < since.UnixNano() {
						if time.Since(since) > time.Minute {
							t.Fatal("a worker is not answered any more")
						}
						time.Sleep(time.Millisecond)
					}
				}
			}
			answered(time.Now())
			test.away(pg)
			time.Sleep(3 * callTimeout / 2) // so that calls end while it is away
			test.up(pg)
			back := time.Now()
			answered(back)
			t.Logf("every worker is answered %v after the server is back", time.Since(back).Round(time.Millisecond))
			stop.Store(true)
			wg.Wait()
			failed := 0
			for _, w := range workers {
				w.check()
				failed += w.failed
			}
			t.Logf("%d calls failed", failed)
			if failed == 0 {
				t.Error("nobody has noticed an outage: the test shows nothing")
			}
		})
	}
}

// A worker has sessions of its own, and knows what must be in the store.
type worker struct {
	t      *testing.T
	store  *postgres.Store
	well   atomic.Int64 // when the last round began in which nothing failed
	failed int

	id    session.ID // zero: there is none that was acknowledged
	n     int        // its count
	maybe bool       // that may be one more, as a commit failed
	plain int        // a count that is stored without a condition
	tried int        // that may be stored, as a commit failed since then
	ended []session.ID
	spent [][16]byte // by a call that was the first

	person  account.Record // as it was stored last
	another bool           // that may be one more, as a change failed
	entries int            // that were appended
	unsure  int            // that may have been
}

// call bounds a call, and reports whether it was answered.
func (w *worker) call(what string, f func(ctx context.Context) error) (error, bool) {
	ctx, cancel := context.WithTimeout(w.t.Context(), callTimeout)
	defer cancel()
	start := time.Now()
	err := f(ctx)
	if took := time.Since(start); took > callTimeout+patience {
		w.t.Errorf("%s took %v", what, took)
	}
	for _, answer := range []error{nil, session.ErrNotFound, session.ErrExists, session.ErrConflict, account.ErrConflict} {
		if errors.Is(err, answer) {
			return answer, true
		}
	}
	w.failed++
	return err, false
}

func (w *worker) round() {
	began, failed := time.Now(), w.failed
	w.load()
	w.count()
	w.plainCount()
	w.end()
	w.spend()
	w.change()
	w.log()
	w.take()
	if w.failed == failed {
		w.well.Store(began.UnixNano())
	} else {
		time.Sleep(time.Millisecond)
	}
}

// load reads the session, or begins one.
func (w *worker) load() {
	if w.id == (session.ID{}) {
		id := newID()
		err, ok := w.call("create", func(ctx context.Context) error {
			return w.store.Commit(ctx, id, born(session.Field{Key: "n", Value: "0"}))
		})
		if ok && err != nil {
			w.t.Errorf("create: %v", err)
		}
		if ok {
			w.id, w.n, w.maybe, w.plain, w.tried = id, 0, false, 0, 0
		}
		return
	}
	var r session.Record
	err, ok := w.call("load", func(ctx context.Context) (err error) {
		r, err = w.store.Load(ctx, w.id)
		return err
	})
	if !ok {
		return
	}
	n, _ := strconv.Atoi(value(r, "n"))
	if right := n == w.n || w.maybe && n == w.n+1; err != nil || !right {
		w.t.Errorf("load: count %d, %v; want %d, one more: %v", n, err, w.n, w.maybe)
	}
	if err == nil && n == w.n+1 {
		w.n, w.maybe = n, false
	}
	plain, _ := strconv.Atoi(value(r, "plain"))
	if err == nil && plain != w.plain && (plain < 1 || plain > w.tried) {
		w.t.Errorf("load: the plain count is %d, want %d, or what was tried, up to %d", plain, w.plain, w.tried)
	}
}

// plainCount stores a count without a condition. One that failed may come late, and
// then replace a later one.
func (w *worker) plainCount() {
	if w.id == (session.ID{}) {
		return
	}
	next := max(w.plain, w.tried) + 1
	err, ok := w.call("plain commit", func(ctx context.Context) error {
		return w.store.Commit(ctx, w.id, &session.Delta{Seen: time.Now(), Set: []session.Field{{Key: "plain", Value: strconv.Itoa(next)}}})
	})
	switch {
	case !ok:
		w.tried = next
	case err == nil:
		w.plain = next
	default:
		w.t.Errorf("plain commit: %v", err)
	}
}

// count adds one, on the condition that nobody else has.
func (w *worker) count() {
	if w.id == (session.ID{}) {
		return
	}
	err, ok := w.call("commit", func(ctx context.Context) error {
		return w.store.Commit(ctx, w.id, &session.Delta{
			If:  []session.Field{{Key: "n", Value: strconv.Itoa(w.n)}},
			Set: []session.Field{{Key: "n", Value: strconv.Itoa(w.n + 1)}},
		})
	})
	switch {
	case !ok:
		w.maybe = true
	case err == nil:
		w.n, w.maybe = w.n+1, false // a commit that comes too late finds its condition false
	case w.maybe && errors.Is(err, session.ErrConflict):
		w.n, w.maybe = w.n+1, false // it came
	default:
		w.t.Errorf("commit: %v", err)
	}
}

// end ends every tenth session.
func (w *worker) end() {
	if w.n%10 != 9 || w.id == (session.ID{}) {
		return
	}
	id := w.id
	w.id = session.ID{}
	err, ok := w.call("delete", func(ctx context.Context) error { return w.store.Delete(ctx, id) })
	if ok && err == nil {
		w.ended = append(w.ended, id)
	} else if ok {
		w.t.Errorf("delete: %v", err)
	}
}

func (w *worker) spend() {
	full := newID()
	id := [16]byte(full[:])
	var first bool
	_, ok := w.call("spend", func(ctx context.Context) (err error) {
		first, err = w.store.Spend(ctx, id, time.Now().Add(time.Hour))
		return err
	})
	if ok && !first {
		w.t.Error("a fresh id is spent")
	}
	if ok {
		w.spent = append(w.spent, id)
	}
}

// change changes a person, whom it makes first.
func (w *worker) change() {
	a := w.store.Accounts()
	if w.person.ID == "" {
		id := fmt.Sprintf("%x", newID())
		if _, ok := w.call("put", func(ctx context.Context) error { return a.Put(ctx, account.Record{ID: id}) }); ok {
			w.person = account.Record{ID: id, Version: 1}
		}
		return
	}
	next := w.person
	next.Keys = []string{fmt.Sprintf("%s/%d", next.ID, next.Version)}
	err, ok := w.call("put", func(ctx context.Context) error { return a.Put(ctx, next) })
	switch {
	case !ok:
		w.another = true
	case err == nil || w.another && errors.Is(err, account.ErrConflict): // it came
		w.person.Version, w.another = w.person.Version+1, false
	default:
		w.t.Errorf("put: %v", err)
	}
}

func (w *worker) log() {
	if w.person.ID == "" {
		return
	}
	_, ok := w.call("append", func(ctx context.Context) error {
		return w.store.Accounts().Append(ctx, account.Entry{Time: time.Now(), Person: w.person.ID})
	})
	if ok {
		w.entries++
	} else {
		w.unsure++
	}
}

// take takes and gives back a token. What is left of it after a crash is nobody's
// concern.
func (w *worker) take() {
	full := newID()
	b := []throttle.Bucket{{Name: throttle.Name{Account: [16]byte(full[:])}, Limit: throttle.Limit{Burst: 1, Every: time.Hour}}}
	var wait time.Duration
	_, ok := w.call("take", func(ctx context.Context) (err error) {
		wait, err = w.store.Throttle().Take(ctx, b)
		return err
	})
	if ok && wait != 0 {
		w.t.Errorf("take: a wait of %v for a token of a fresh bucket", wait)
	}
	_, _ = w.call("give", func(ctx context.Context) error { return w.store.Throttle().Give(ctx, b, nil) })
}

// check looks at everything that was acknowledged.
func (w *worker) check() {
	w.load()
	w.checkPeople()
	for _, id := range w.ended {
		if _, err := w.store.Load(w.t.Context(), id); !errors.Is(err, session.ErrNotFound) {
			w.t.Errorf("a session that was ended: %v", err)
		}
	}
	for _, id := range w.spent {
		spent, err := w.store.Spent(w.t.Context(), id)
		first, spendErr := w.store.Spend(w.t.Context(), id, time.Now().Add(time.Hour))
		if !spent || err != nil || first || spendErr != nil {
			w.t.Errorf("an id that was spent: spent %v, %v; first again %v, %v", spent, err, first, spendErr)
		}
	}
}

func (w *worker) checkPeople() {
	r, err := w.store.Accounts().Get(w.t.Context(), w.person.ID)
	right := r.Version == w.person.Version || w.another && r.Version == w.person.Version+1
	keys := []string(nil)
	if r.Version > 1 {
		keys = []string{fmt.Sprintf("%s/%d", r.ID, r.Version-1)}
	}
	if err != nil || !right || !slices.Equal(r.Keys, keys) {
		w.t.Errorf("a person: %+v, %v; want version %d, one more: %v", r, err, w.person.Version, w.another)
	}
	n := 0
	for _, err := range w.store.Accounts().Entries(w.t.Context(), account.LogQuery{Person: w.person.ID}) {
		if err != nil {
			w.t.Error(err)
		}
		n++
	}
	if n < w.entries || n > w.entries+w.unsure {
		w.t.Errorf("%d entries; %d were appended, and %d may have been", n, w.entries, w.unsure)
	}
}

// TestRestartUnnoticed: after a restart every connection in the pool is dead, and
// nobody has to suffer for it, not even who writes and could not try again.
func TestRestartUnnoticed(t *testing.T) {
	pg := service.Postgres(t)
	// Package pgxpool itself would look at connections that were idle for long.
	pool := newPool(t, pg.URL(), func(c *pgxpool.Config) {
		c.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	})
	store := open(t, postgres.Config{Pool: pool})
	for name, away := range map[string]func(){"fast": pg.Stop, "crash": pg.Kill} {
		t.Run(name, func(t *testing.T) {
			var conns []*pgxpool.Conn
			for range pool.Config().MaxConns {
				c, err := pool.Acquire(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				conns = append(conns, c)
			}
			for _, c := range conns {
				c.Release()
			}
			if idle := pool.Stat().IdleConns(); idle != pool.Config().MaxConns {
				t.Fatalf("%d connections are idle", idle)
			}
			away()
			pg.Start()
			var wg sync.WaitGroup
			for range 2 * len(conns) {
				wg.Go(func() {
					if err := store.Commit(t.Context(), newID(), born()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		})
	}
}

// TestStandby: a standby is no store, and one that becomes the primary is one
// without a restart.
func TestStandby(t *testing.T) {
	pg := service.Postgres(t)
	pool := newPool(t, pg.URL())
	store := open(t, postgres.Config{Pool: pool})
	id := made(t, store, born())
	pg.Stop()
	if err := os.WriteFile(filepath.Join(pg.Dir, "data", "standby.signal"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	pg.Start()
	for _, noMigrate := range []bool{false, true} {
		_, err := postgres.Open(t.Context(), postgres.Config{Pool: pool, NoMigrate: noMigrate})
		if err == nil || !strings.Contains(err.Error(), "standby") {
			t.Errorf("Open: %v", err)
		}
	}
	touch := func() error { return store.Commit(t.Context(), id, &session.Delta{Seen: time.Now()}) }
	if e, ok := errors.AsType[*pgconn.PgError](touch()); !ok || e.Code != "25006" {
		t.Errorf("Commit: %v", e)
	}
	must(t, pool, "SELECT pg_promote()")
	if err := touch(); err != nil {
		t.Errorf("Commit to the new primary: %v", err)
	}
}

// TestContext: a call that nobody waits for any more ends, whatever it waits for
// itself.
func TestContext(t *testing.T) {
	pg := service.Postgres(t)
	store := open(t, postgres.Config{Pool: newPool(t, pg.URL(), func(c *pgxpool.Config) { c.MaxConns = 1 })})
	id := made(t, store, born())
	people, throttled := store.Accounts(), store.Throttle()
	bucket := []throttle.Bucket{{Limit: throttle.Limit{Burst: 1, Every: time.Hour}}}
	if err := people.Put(t.Context(), account.Record{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	calls := map[string]func(ctx context.Context) error{
		"Load": func(ctx context.Context) error {
			_, err := store.Load(ctx, id)
			return err
		},
		"Create":  func(ctx context.Context) error { return store.Commit(ctx, newID(), born()) },
		"Change":  func(ctx context.Context) error { return store.Commit(ctx, id, &session.Delta{Seen: time.Now()}) },
		"Rename":  func(ctx context.Context) error { return store.Commit(ctx, id, &session.Delta{Rename: newID()}) },
		"Delete":  func(ctx context.Context) error { return store.Delete(ctx, id) },
		"ListAll": func(ctx context.Context) error { return last(store.List(ctx, session.Query{All: true})) },
		"List":    func(ctx context.Context) error { return last(store.List(ctx, session.Query{Owner: "o"})) },
		"ListIn":  func(ctx context.Context) error { return last(store.List(ctx, session.Query{SignedIn: true})) },
		"Sweep":   func(ctx context.Context) error { return last(store.Sweep(ctx)) },
		"Find": func(ctx context.Context) error {
			_, err := store.Find(ctx, id.Handle())
			return err
		},
		"Spend": func(ctx context.Context) error {
			_, err := store.Spend(ctx, [16]byte{}, time.Now().Add(time.Hour))
			return err
		},
		"Spent": func(ctx context.Context) error {
			_, err := store.Spent(ctx, [16]byte{})
			return err
		},
		"Get": func(ctx context.Context) error {
			_, err := people.Get(ctx, "a")
			return err
		},
		"Put":      func(ctx context.Context) error { return people.Put(ctx, account.Record{ID: "a", Version: 1}) },
		"Remove":   func(ctx context.Context) error { return people.Delete(ctx, "a", 7) },
		"ListKeys": func(ctx context.Context) error { return last(people.List(ctx, "", "")) },
		"Append":   func(ctx context.Context) error { return people.Append(ctx, account.Entry{Time: time.Now()}) },
		"Entries":  func(ctx context.Context) error { return last(people.Entries(ctx, account.LogQuery{})) },
		"Trim": func(ctx context.Context) error {
			_, err := people.Trim(ctx, time.Now())
			return err
		},
		"Take": func(ctx context.Context) error {
			_, err := throttled.Take(ctx, bucket)
			return err
		},
		"Used": func(ctx context.Context) error {
			_, err := throttled.Used(ctx, bucket)
			return err
		},
		"Give":   func(ctx context.Context) error { return throttled.Give(ctx, bucket, nil) },
		"Forget": func(ctx context.Context) error { return throttled.Forget(ctx, [16]byte{}) },
	}
	try := func(t *testing.T, ctx context.Context, want error) {
		for name, call := range calls {
			start := time.Now()
			err := call(ctx)
			if took := time.Since(start); !errors.Is(err, want) || took > patience {
				t.Errorf("%s: %v after %v, want %v", name, err, took, want)
			}
		}
	}
	t.Run("canceled before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		try(t, ctx, context.Canceled)
	})
	t.Run("the server is silent", func(t *testing.T) {
		pg.Pause()
		defer pg.Resume()
		for name, call := range calls {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			start := time.Now()
			err := call(ctx)
			if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > patience {
				t.Errorf("%s: %v after %v, want a deadline that is exceeded", name, err, took)
			}
			cancel()
		}
	})
	t.Run("afterwards", func(t *testing.T) {
		id = made(t, store, born())
		if _, err := store.Load(t.Context(), id); err != nil {
			t.Error(err)
		}
		if r, err := people.Get(t.Context(), "a"); err != nil {
			t.Errorf("%+v, %v", r, err)
		}
		if err := throttled.Give(t.Context(), nil, bucket); err != nil {
			t.Error(err)
		}
		if wait, err := throttled.Take(t.Context(), bucket); wait != 0 || err != nil {
			t.Errorf("a wait of %v, %v", wait, err)
		}
	})
}

// last returns the error that ends the sequence.
func last[T any](seq iter.Seq2[T, error]) (err error) {
	for _, err = range seq {
		if err != nil {
			return fmt.Errorf("yielded: %w", err)
		}
	}
	return nil
}
