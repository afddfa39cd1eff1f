package postgres_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/postgres"
)

func must(t testing.TB, pool *pgxpool.Pool, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
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
			"GRANT SELECT, INSERT, UPDATE, DELETE ON gatehouse.session, gatehouse.spent TO app")
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
