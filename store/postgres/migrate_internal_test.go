package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/throttle"
)

func TestMigrations(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	for _, test := range []struct {
		name  string
		files fstest.MapFS
		want  string // of the error
	}{
		{"in order", fstest.MapFS{"migrations/0001_a.sql": file("one"), "migrations/0002_b.sql": file("two")}, ""},
		{"a gap", fstest.MapFS{"migrations/0001_a.sql": file(""), "migrations/0003_b.sql": file("")}, "0003_b.sql is not number 2"},
		{"one number twice", fstest.MapFS{"migrations/0001_a.sql": file(""), "migrations/0001_b.sql": file("")}, "0001_b.sql is not number 2"},
		{"no number", fstest.MapFS{"migrations/a.sql": file("")}, "a.sql is not number 1"},
	} {
		all, err := migrations(test.files)
		if test.want != "" {
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %v, want %q", test.name, err, test.want)
			}
			continue
		}
		if err != nil || len(all) != 2 || all[1] != (migration{2, "two"}) {
			t.Errorf("%s: %+v, %v", test.name, all, err)
		}
	}
	if all, err := migrations(migrationFiles); err != nil || len(all) == 0 {
		t.Errorf("our own: %d, %v", len(all), err)
	}
}

// TestMigrate: each step is done once, whole or not at all, and in order.
func TestMigrate(t *testing.T) {
	ctx := t.Context()
	pool, err := pgxpool.New(ctx, service.Postgres(t).URL()+"&pool_max_conns=8")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	one := migration{1, `CREATE TABLE gatehouse.a (n integer); INSERT INTO gatehouse.a VALUES (1);`}
	two := migration{2, `INSERT INTO gatehouse.a VALUES (2); CREATE INDEX a_n ON gatehouse.a (n);`}
	bad := migration{3, `INSERT INTO gatehouse.a VALUES (3); SELECT 1 / (n - n) FROM gatehouse.a;`}
	good := migration{3, `INSERT INTO gatehouse.a VALUES (3);`}
	in := func(ctx context.Context, all []migration, checkOnly bool) error {
		return pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error { return migrate(ctx, c.Conn(), "s", all, checkOnly) })
	}
	want := func(version, rows int) {
		t.Helper()
		var n int
		got, err := readVersion(ctx, pool, "s")
		if err == nil {
			err = pool.QueryRow(ctx, `SELECT count(*) FROM s.a`).Scan(&n)
		}
		if err != nil || got != version || n != rows {
			t.Fatalf("version %d with %d rows, %v; want %d with %d", got, n, err, version, rows)
		}
	}
	several := func(all ...migration) {
		t.Helper()
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				if err := in(ctx, all, false); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}

	if err := in(ctx, []migration{one}, true); !errors.Is(err, errVersion) {
		t.Fatalf("a check where there is nothing: %v", err)
	}
	several(one)
	want(1, 1)
	several(one, two)
	want(2, 2)
	if err := in(ctx, []migration{one, two, bad}, false); err == nil || !strings.Contains(err.Error(), "migration 3") {
		t.Fatalf("a migration that fails: %v", err)
	}
	want(2, 2)
	if err := in(ctx, []migration{one, two, good}, true); !errors.Is(err, errVersion) {
		t.Fatalf("a check of what is old: %v", err)
	}
	several(one, two, good)
	want(3, 3)
	for _, checkOnly := range []bool{true, false} {
		if err := in(ctx, []migration{one, two}, checkOnly); !errors.Is(err, errVersion) || !strings.Contains(err.Error(), "newer") {
			t.Fatalf("an older program: %v", err)
		}
		if err := in(ctx, []migration{one, two, good}, checkOnly); err != nil {
			t.Fatal(err)
		}
	}

	// Who waits for another process gives up with its context.
	tx, err := pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('gatehouse migration of s', 0))`); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- in(short, []migration{one, two, good, {4, "SELECT 1"}}, false) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
}

// TestMigrateReleased: what was kept by any version of the schema is there in the
// latest, in every schema, and what is new can be used.
func TestMigrateReleased(t *testing.T) {
	ctx := t.Context()
	pool, err := pgxpool.New(ctx, service.Postgres(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	all, err := migrations(migrationFiles)
	if err != nil {
		t.Fatal(err)
	}
	for from := 1; from < len(all); from++ {
		schema := fmt.Sprint("from_", from)
		if err := pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error { return migrate(ctx, c.Conn(), schema, all[:from], false) }); err != nil {
			t.Fatal(err)
		}
		// Statements of sessions have not changed since the first version.
		old := newStore(Config{Pool: pool, Schema: schema, Logger: slog.New(slog.DiscardHandler)})
		id, now, owner := session.ID{byte(from)}, time.Now(), "o"
		d := &session.Delta{Create: true, Seen: now, Idle: time.Hour, Expires: now.Add(time.Hour), Owner: &owner, Set: []session.Field{{Key: "a", Value: "1"}}}
		if err := old.Commit(ctx, id, d); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(ctx, Config{Pool: pool, Schema: schema, NoMigrate: true}); !errors.Is(err, errVersion) {
			t.Errorf("from %d, without migration: %v", from, err)
		}
		s, err := Open(ctx, Config{Pool: pool, Schema: schema})
		if err != nil {
			t.Fatal(err)
		}
		if r, err := s.Load(ctx, id); err != nil || len(r.Fields) != 1 {
			t.Errorf("from %d: %+v, %v", from, r, err)
		}
		signedIn := 0
		for r, err := range s.List(ctx, session.Query{SignedIn: true}) {
			if err != nil || r.ID != id {
				t.Errorf("from %d: %+v, %v", from, r, err)
			}
			signedIn++
		}
		if signedIn != 1 {
			t.Errorf("from %d: %d sessions are signed in", from, signedIn)
		}
		if err := s.Accounts().Put(ctx, account.Record{ID: "a"}); err != nil {
			t.Error(err)
		}
		b := []throttle.Bucket{{Limit: throttle.Limit{Burst: 1, Every: time.Hour}}}
		for _, denied := range []bool{false, true} {
			if wait, err := s.Throttle().Take(ctx, b); err != nil || (wait > 0) != denied {
				t.Errorf("from %d: a wait of %v, %v", from, wait, err)
			}
		}
	}
}
