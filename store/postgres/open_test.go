package postgres_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/postgres"
	"github.com/seed-64ad3862/gatehouse/throttle"
)

func must(t testing.TB, pool *pgxpool.Pool, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// useEach has each method of people and buckets do what it is for.
func useEach(t *testing.T, store *postgres.Store) {
	t.Helper()
	people, throttled, ctx := store.Accounts(), store.Throttle(), t.Context()
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("Put", people.Put(ctx, account.Record{ID: "a", Keys: []string{"k"}}))
	check("Put again", people.Put(ctx, account.Record{ID: "a", Keys: []string{"l"}, Version: 1}))
	if err := people.Put(ctx, account.Record{ID: "l"}); !errors.As(err, new(*account.TakenError)) {
		t.Errorf("Put of a key that is taken: %v", err)
	}
	_, err := people.Get(ctx, "l")
	check("Get", err)
	check("List", last(people.List(ctx, "", "")))
	check("Delete", people.Delete(ctx, "a", 2))
	check("Append", people.Append(ctx, account.Entry{Time: time.Now(), Kind: "k", Person: "a"}))
	for _, q := range []account.LogQuery{{}, {Person: "a"}} {
		check("Entries", last(people.Entries(ctx, q)))
	}
	if n, err := people.Trim(ctx, time.Now().Add(time.Hour)); n != 1 || err != nil {
		t.Errorf("Trim: %d, %v", n, err)
	}
	b := []throttle.Bucket{
		{Name: throttle.Name{Account: [16]byte{1}}, Limit: throttle.Limit{Burst: 3, Every: time.Millisecond}},
		{Name: throttle.Name{Network: [16]byte{1}}, Limit: throttle.Limit{Burst: 3, Every: time.Hour}},
	}
	for range 2 {
		_, err = throttled.Take(ctx, b)
		check("Take", err)
	}
	_, err = throttled.Used(ctx, b)
	check("Used", err)
	check("Give", throttled.Give(ctx, b[1:], b[1:]))
	time.Sleep(5 * time.Millisecond)
	check("Sweep", last(store.Sweep(ctx)))
	check("Forget", throttled.Forget(ctx, [16]byte{1}))
}

func TestOpen(t *testing.T) {
	pg := service.Postgres(t)
	pool := newPool(t, pg.URL())
	refused := func(cfg postgres.Config, want string) {
		t.Helper()
		s, err := postgres.Open(t.Context(), cfg)
		if err == nil || s != nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "postgres: ") {
			t.Errorf("Open: %v, want %q", err, want)
		}
	}
	refused(postgres.Config{}, "Config.Pool is needed")
	for _, name := range []string{"a-b", "A", "1a", `a"; DROP TABLE x; --`, "a.b", "ü", strings.Repeat("a", 64)} {
		refused(postgres.Config{Pool: pool, Schema: name}, "Config.Schema")
	}
	refused(postgres.Config{Pool: pool, NoMigrate: true}, "Config.NoMigrate is set")

	t.Run("a schema is a store of its own", func(t *testing.T) {
		a := open(t, postgres.Config{Pool: pool})
		b := open(t, postgres.Config{Pool: pool, Schema: "select"}) // a word of SQL
		id := made(t, a, born())
		if _, err := b.Load(t.Context(), id); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("the other store: %v", err)
		}
		made(t, b, born())
	})
	t.Run("an older program", func(t *testing.T) {
		open(t, postgres.Config{Pool: pool, Schema: "newer"})
		must(t, pool, "INSERT INTO newer.migration (version) VALUES (1000)")
		refused(postgres.Config{Pool: pool, Schema: "newer"}, "made by a newer program")
	})
	t.Run("the least privileges", func(t *testing.T) {
		open(t, postgres.Config{Pool: pool})
		must(t, pool, "CREATE ROLE app LOGIN",
			"GRANT USAGE ON SCHEMA gatehouse TO app",
			"GRANT SELECT ON gatehouse.migration TO app",
			"GRANT SELECT, INSERT, UPDATE, DELETE ON gatehouse.session, gatehouse.spent TO app",
			"GRANT SELECT, INSERT, UPDATE, DELETE ON gatehouse.record, gatehouse.record_key, gatehouse.entry, gatehouse.bucket TO app",
			// Some take this from everybody.
			"REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA gatehouse FROM PUBLIC",
			"GRANT EXECUTE ON FUNCTION gatehouse.bucket_take, gatehouse.bucket_give TO app")
		app := newPool(t, strings.Replace(pg.URL(), "gatehouse@", "app@", 1))
		for _, noMigrate := range []bool{true, false} {
			store := open(t, postgres.Config{Pool: app, NoMigrate: noMigrate})
			id := made(t, store, born(session.Field{Key: "a", Value: "1"}))
			short := born()
			short.Idle = time.Microsecond
			over := made(t, store, short)
			err := store.Commit(t.Context(), id, &session.Delta{If: []session.Field{{Key: "a", Value: "1"}}, Rename: newID()})
			_, first := store.Spend(t.Context(), [16]byte(id[:]), time.Now().Add(time.Hour))
			var swept []session.ID
			for r, sweepErr := range store.Sweep(t.Context()) {
				swept, err = append(swept, r.ID), errors.Join(err, sweepErr)
			}
			listErr := last(store.List(t.Context(), session.Query{All: true}))
			if err := errors.Join(err, first, listErr); err != nil || len(swept) != 1 || swept[0] != over {
				t.Errorf("%v, swept %v", err, swept)
			}
			useEach(t, store)
			batches(t, store)
			must1(t, last(store.Sweep(t.Context()))) // what those have left
		}
		refused(postgres.Config{Pool: app, Schema: "more"}, "permission denied")
	})
	t.Run("a schema that somebody else has made", func(t *testing.T) {
		must(t, pool, "CREATE ROLE owner LOGIN", "CREATE SCHEMA made AUTHORIZATION owner")
		store := open(t, postgres.Config{Pool: newPool(t, strings.Replace(pg.URL(), "gatehouse@", "owner@", 1)), Schema: "made"})
		made(t, store, born())
	})
	t.Run("not UTF-8", func(t *testing.T) {
		must(t, pool, "CREATE DATABASE latin ENCODING LATIN1 TEMPLATE template0")
		latin := newPool(t, strings.Replace(pg.URL(), "/gatehouse?", "/latin?", 1))
		refused(postgres.Config{Pool: latin}, "LATIN1")
	})
}
