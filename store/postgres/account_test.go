package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/account/accounttest"
	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/store/postgres"
	"github.com/seed-64ad3862/gatehouse/throttle"
	"github.com/seed-64ad3862/gatehouse/throttle/throttletest"
)

// emptyPeople forgets records, entries and buckets.
func emptyPeople(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	must(t, pool, "DELETE FROM gatehouse.record", "DELETE FROM gatehouse.entry", "DELETE FROM gatehouse.bucket")
}

// views opens the store several times, each with its own pool.
func views(t *testing.T, url string, changes ...func(c *pgxpool.Config)) (first *pgxpool.Pool, stores []*postgres.Store) {
	t.Helper()
	for _, change := range changes {
		pool := newPool(t, url, change)
		if first == nil {
			first = pool
		}
		stores = append(stores, open(t, postgres.Config{Pool: pool}))
	}
	return first, stores
}

// conform runs the contracts.
func conform(t *testing.T, pool *pgxpool.Pool, stores []*postgres.Store) {
	t.Run("Accounts", func(t *testing.T) {
		accounttest.Run(t, func(t *testing.T) (all []account.Store) {
			emptyPeople(t, pool)
			for _, s := range stores {
				all = append(all, s.Accounts())
			}
			return all
		})
	})
	t.Run("Log", func(t *testing.T) {
		accounttest.RunLog(t, func(t *testing.T) (all []account.Log) {
			emptyPeople(t, pool)
			for _, s := range stores {
				all = append(all, s.Accounts())
			}
			return all
		})
	})
	t.Run("Throttle", func(t *testing.T) {
		var next atomic.Int64
		throttletest.Run(t, func(t *testing.T) throttle.Store { return stores[int(next.Add(1))%len(stores)].Throttle() })
	})
}

func TestPeople(t *testing.T) {
	usual := func(*pgxpool.Config) {}
	pool, stores := views(t, service.Postgres(t).URL(), usual, usual, usual)
	conform(t, pool, stores)
}

// TestPeoplePooler: as TestPooler.
func TestPeoplePooler(t *testing.T) {
	pool, stores := views(t, service.PgBouncer(t, service.Postgres(t), "transaction").URL(),
		func(*pgxpool.Config) {},
		func(c *pgxpool.Config) {
			c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
			c.ConnConfig.StatementCacheCapacity, c.ConnConfig.DescriptionCacheCapacity = 0, 0
		},
		func(c *pgxpool.Config) { c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeDescribeExec })
	conform(t, pool, stores)
}

// TestPeopleModes: as TestModes.
func TestPeopleModes(t *testing.T) {
	pg := service.Postgres(t)
	for name, change := range map[string]func(c *pgx.ConnConfig){
		"simple protocol": func(c *pgx.ConnConfig) { c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol },
		"cache describe":  func(c *pgx.ConnConfig) { c.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe },
		"repeatable read": func(c *pgx.ConnConfig) { c.RuntimeParams["default_transaction_isolation"] = "repeatable read" },
		"serializable":    func(c *pgx.ConnConfig) { c.RuntimeParams["default_transaction_isolation"] = "serializable" },
	} {
		t.Run(name, func(t *testing.T) {
			pool, stores := views(t, pg.URL(), func(c *pgxpool.Config) { change(c.ConnConfig) })
			conform(t, pool, stores)
			swapKeys(t, stores[0].Accounts())
		})
	}
}

// swapKeys has records take each other's keys, and others that they share, in
// every order, at once.
func swapKeys(t *testing.T, a *postgres.Accounts) {
	ctx := t.Context()
	const keys, each = 6, 60
	var stored, refused atomic.Int64
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			r := account.Record{ID: fmt.Sprintf("swap/%d", i%8)} // some are two who change one record
			for n := range each {
				r.Keys = nil
				for k := range 3 {
					r.Keys = append(r.Keys, fmt.Sprintf("key/%d", (i+n*(k+1)*(1-2*(i%2))+keys*each*4)%keys))
				}
				slices.Sort(r.Keys)
				r.Keys = slices.Compact(r.Keys)
				r.Data = []byte(strings.Join(r.Keys, " "))
				got, err := a.Get(ctx, r.ID)
				if err == nil && strings.Join(got.Keys, " ") != string(got.Data) {
					t.Errorf("what was stored with %q has %q", got.Data, got.Keys)
				}
				switch {
				case errors.Is(err, account.ErrNotFound):
					r.Version = 0
				case err != nil:
					t.Errorf("Get: %v", err)
				default:
					r.Version = got.Version
				}
				if n%7 == 6 {
					err = a.Delete(ctx, r.ID, r.Version)
				} else {
					err = a.Put(ctx, r)
				}
				_, taken := errors.AsType[*account.TakenError](err)
				switch {
				case err == nil:
					stored.Add(1)
				case taken || errors.Is(err, account.ErrConflict) || errors.Is(err, account.ErrNotFound):
					refused.Add(1)
				default:
					t.Errorf("Put or Delete: %v", err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d changes stored, %d refused", stored.Load(), refused.Load())
	if stored.Load() == 0 || refused.Load() == 0 {
		t.Error("the test shows nothing")
	}
	for f, err := range a.List(ctx, "swap/", "") {
		if err != nil || strings.Join(f.Keys, " ") != string(f.Data) {
			t.Errorf("what was stored with %q has %q, %v", f.Data, f.Keys, err)
		}
	}
}

// TestSwapKeys: nobody waits in a circle, so that PostgreSQL has nothing to
// resolve.
func TestSwapKeys(t *testing.T) {
	pg := service.Postgres(t)
	pool, stores := views(t, pg.URL(), func(*pgxpool.Config) {})
	swapKeys(t, stores[0].Accounts())

	// New records that want the same keys.
	var wg sync.WaitGroup
	for round := range 40 {
		for i := range 8 {
			r := account.Record{ID: fmt.Sprintf("new/%d/%d", round, i)}
			for k := range 8 {
				r.Keys = append(r.Keys, fmt.Sprintf("wanted/%d/%d", round, (k+i)%8))
			}
			wg.Go(func() {
				err := stores[0].Accounts().Put(t.Context(), r)
				if taken, ok := errors.AsType[*account.TakenError](err); err != nil && (!ok || taken.Key != r.Keys[0]) {
					t.Errorf("Put: %v", err)
				}
			})
		}
		wg.Wait()
	}

	// Buckets in every order, some given back, some forgotten.
	s := stores[0].Throttle()
	var b []throttle.Bucket
	for i := range 4 {
		b = append(b, throttle.Bucket{Name: throttle.Name{Account: [16]byte{1}, Network: [16]byte{byte(i)}}, Limit: throttle.Limit{Burst: 1000, Every: time.Minute}})
	}
	for i := range 12 {
		wg.Go(func() {
			some := []throttle.Bucket{b[i%4], b[(i+1)%4], b[(i+2+i%2)%4]}
			for n := range 50 {
				_, err := s.Take(t.Context(), some)
				if err == nil {
					err = s.Give(t.Context(), some[:1+n%2], some[2:])
				}
				if n%10 == 9 {
					err = errors.Join(err, s.Forget(t.Context(), [16]byte{1}), last(stores[0].Sweep(t.Context())))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()

	pool.Reset() // a backend that ends tells what it has counted
	other := newPool(t, pg.URL())
	for range 20 {
		var deadlocks int
		if err := other.QueryRow(t.Context(), "SELECT deadlocks FROM pg_stat_database WHERE datname = 'gatehouse'").Scan(&deadlocks); err != nil || deadlocks > 0 {
			t.Fatalf("%d deadlocks, %v", deadlocks, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestKeyThatIsGoneSoon: who wants a key that somebody is about to give up, or to
// take, waits for what they do.
func TestKeyThatIsGoneSoon(t *testing.T) {
	pool, stores := views(t, service.Postgres(t).URL(), func(*pgxpool.Config) {})
	a, ctx := stores[0].Accounts(), t.Context()
	for _, test := range []struct {
		name, sql string
		taken     bool
	}{
		{"given up", "DELETE FROM gatehouse.record_key WHERE key = 'k'", false},
		{"with its record", "DELETE FROM gatehouse.record WHERE id = 'a'", false},
		{"taken", "INSERT INTO gatehouse.record_key VALUES ('l', 'a')", true},
	} {
		emptyPeople(t, pool)
		if err := errors.Join(a.Put(ctx, account.Record{ID: "a", Keys: []string{"k"}}), a.Put(ctx, account.Record{ID: "b"})); err != nil {
			t.Fatal(err)
		}
		tx, err := pool.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback(ctx) }()
		if _, err := tx.Exec(ctx, test.sql); err != nil {
			t.Fatal(err)
		}
		key := "k"
		if test.taken {
			key = "l"
		}
		answer := make(chan error, 1)
		go func() { answer <- a.Put(ctx, account.Record{ID: "b", Version: 1, Keys: []string{key}}) }()
		for waiting := 0; waiting == 0; time.Sleep(time.Millisecond) {
			if len(answer) > 0 {
				t.Fatalf("%s: does not wait: %v", test.name, <-answer)
			}
			if err := pool.QueryRow(ctx, "SELECT count(*) FROM pg_locks WHERE NOT granted").Scan(&waiting); err != nil {
				t.Fatal(err)
			}
		}
		if err := tx.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		err = <-answer
		if taken, ok := errors.AsType[*account.TakenError](err); ok != test.taken || ok && taken.Key != key || !ok && err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestPeopleText: what PostgreSQL's text cannot hold.
func TestPeopleText(t *testing.T) {
	_, stores := views(t, service.Postgres(t).URL(), func(*pgxpool.Config) {})
	a, ctx := stores[0].Accounts(), t.Context()
	for _, bad := range []string{"a\x00b", "a\xffb"} {
		for name, r := range map[string]account.Record{"id": {ID: bad}, "key": {ID: "a", Keys: []string{bad}}} {
			if err := a.Put(ctx, r); err == nil || strings.Contains(err.Error(), "b") && strings.Contains(err.Error(), bad) {
				t.Errorf("%s %q: %v", name, bad, err)
			}
		}
		if _, err := a.Get(ctx, bad); !errors.Is(err, account.ErrNotFound) {
			t.Errorf("Get: %v", err)
		}
		if err := a.Delete(ctx, bad, 1); !errors.Is(err, account.ErrNotFound) {
			t.Errorf("Delete: %v", err)
		}
		for _, args := range [][2]string{{bad, ""}, {"", bad}} {
			if err := last(a.List(ctx, args[0], args[1])); err == nil {
				t.Error("List of what cannot be")
			}
		}
		e := account.Entry{Time: time.Unix(1, 1500), Kind: account.Kind(bad), Person: bad, Name: bad, By: bad, Agent: bad, Session: bad, Detail: bad, Addr: netip.MustParseAddr("fe80::1%eth0")}
		if err := a.Append(ctx, e); err != nil {
			t.Fatal(err)
		}
		for got, err := range a.Entries(ctx, account.LogQuery{}) {
			const want = "a\ufffdb"
			if err != nil || got.Kind != want || got.Person != want || got.Name != want || got.By != want || got.Agent != want || got.Session != want || got.Detail != want || got.Addr != e.Addr {
				t.Errorf("%+v, %v", got, err)
			}
		}
		for _, q := range []account.LogQuery{{Person: bad}, {Kind: account.Kind(bad)}} {
			for e, err := range a.Entries(ctx, q) {
				t.Errorf("%+v, %v", e, err)
			}
		}
	}
	// Parts of microseconds are not kept: what is left of the time is what queries
	// and Trim go by.
	for _, test := range []struct {
		since time.Time
		match bool
	}{{time.Unix(1, 1000), true}, {time.Unix(1, 1001), false}, {time.Unix(1, 2000), false}} {
		n := 0
		q := account.LogQuery{Since: test.since}
		for e, err := range a.Entries(ctx, q) {
			if err != nil || !q.Match(&e) {
				t.Errorf("%+v, %v", e, err)
			}
			n++
		}
		if (n > 0) != test.match {
			t.Errorf("since %v: %d entries", test.since, n)
		}
	}
	if n, err := a.Trim(ctx, time.Unix(1, 1000)); n != 0 || err != nil {
		t.Errorf("Trim: %d, %v", n, err)
	}
	if n, err := a.Trim(ctx, time.Unix(1, 1001)); n != 2 || err != nil {
		t.Errorf("Trim: %d, %v", n, err)
	}
}

// TestListPrefix: prefixes whose end is not one character further.
func TestListPrefix(t *testing.T) {
	_, stores := views(t, service.Postgres(t).URL(), func(*pgxpool.Config) {})
	a, ctx := stores[0].Accounts(), t.Context()
	keys := []string{"a", "a\u007f", "a\u0080", "a\ud7ff", "a\ud7ffz", "a\ue000", "a\U0010ffff", "a\U0010ffffz", "b", "\U0010ffff", "\U0010ffff\U0010ffff", strings.Repeat("\U0010ffff", account.MaxKey/4)}
	for _, key := range keys {
		if err := a.Put(ctx, account.Record{ID: key}); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(keys)
	for _, prefix := range append(keys, "") {
		var got, want []string
		for f, err := range a.List(ctx, prefix, "") {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, f.Key)
		}
		for _, key := range keys {
			if strings.HasPrefix(key, prefix) {
				want = append(want, key)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", prefix, got, want)
		}
	}
}

// TestPeopleServerErrors: as TestServerErrors. Nor does a table that somebody has
// changed keep anybody busy for ever.
func TestPeopleServerErrors(t *testing.T) {
	pool, stores := views(t, service.Postgres(t).URL(), func(*pgxpool.Config) {})
	a, ctx := stores[0].Accounts(), t.Context()
	const secret = "a-value-that-nobody-may-see"
	must(t, pool,
		`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '53100', DETAIL = NEW::text, HINT = NEW::text; END $$`,
		`CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON gatehouse.record FOR EACH ROW EXECUTE FUNCTION refuse()`,
		`CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON gatehouse.entry FOR EACH ROW EXECUTE FUNCTION refuse()`)
	for name, err := range map[string]error{
		"put":    a.Put(ctx, account.Record{ID: secret, Data: []byte(secret)}),
		"append": a.Append(ctx, account.Entry{Time: time.Now(), Detail: secret}),
	} {
		pgErr, ok := errors.AsType[*pgconn.PgError](err)
		if !ok || !errors.Is(err, account.ErrFull) || !strings.HasPrefix(err.Error(), "postgres: account: "+name+": ") || strings.Contains(fmt.Sprintf("%+v %#v", err, pgErr), secret) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, pool, "DROP TRIGGER refuse ON gatehouse.record")
	if err := a.Put(ctx, account.Record{ID: "a", Keys: []string{"k"}}); err != nil {
		t.Fatal(err)
	}
	must(t, pool, "DELETE FROM gatehouse.record_key")
	short, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := a.Put(short, account.Record{ID: "a"}); err == nil || short.Err() != nil {
		t.Errorf("a record without its key: %v", err)
	}
}

// TestTrim: in steps, and beside each other.
func TestTrim(t *testing.T) {
	pool, stores := views(t, service.Postgres(t).URL(), func(*pgxpool.Config) {})
	a := stores[0].Accounts()
	must(t, pool, `INSERT INTO gatehouse.entry (time, kind, person, name, by, addr, agent, session, detail)
		SELECT now() - i * interval '1 minute', 'k', '', '', '', '', '', '', '' FROM generate_series(0, 5999) AS i`)
	var sum atomic.Int64
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			n, err := a.Trim(t.Context(), time.Now().Add(-1000*time.Minute))
			sum.Add(int64(n))
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var left int
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM gatehouse.entry").Scan(&left); err != nil || int(sum.Load())+left != 6000 || left > 1001 || left < 1000 {
		t.Errorf("%d trimmed, %d left, %v", sum.Load(), left, err)
	}
}

// TestSweepBuckets: those that are full go, and no others.
func TestSweepBuckets(t *testing.T) {
	pool, stores := views(t, service.Postgres(t).URL(), func(*pgxpool.Config) {})
	must(t, pool, `INSERT INTO gatehouse.bucket SELECT sha256(convert_to('' || i, 'UTF8')), now() + (i - 1200) * interval '1 hour' FROM generate_series(1, 1300) AS i`)
	if err := last(stores[0].Sweep(t.Context())); err != nil {
		t.Fatal(err)
	}
	var left int
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM gatehouse.bucket").Scan(&left); err != nil || left != 100 {
		t.Errorf("%d left, %v", left, err)
	}
}

// TestBucketsAfterwards: what the package says of a restart and of a crash.
func TestBucketsAfterwards(t *testing.T) {
	pg := service.Postgres(t)
	_, stores := views(t, pg.URL(), func(*pgxpool.Config) {})
	a, s := stores[0].Accounts(), stores[0].Throttle()
	b := []throttle.Bucket{{Limit: throttle.Limit{Burst: 2, Every: time.Hour}}}
	if err := a.Put(t.Context(), account.Record{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Take(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		away func()
		used int
	}{{"restart", pg.Stop, 1}, {"crash", pg.Kill, 0}} {
		test.away()
		pg.Start()
		if used, err := s.Used(t.Context(), b); err != nil || used[0] != test.used {
			t.Errorf("after a %s: %v used, %v; want %d", test.name, used, err, test.used)
		}
		if _, err := a.Get(t.Context(), "a"); err != nil {
			t.Errorf("after a %s: %v", test.name, err)
		}
	}
}
