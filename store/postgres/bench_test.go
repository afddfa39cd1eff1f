package postgres_test

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/postgres"
)

const benchSessions = 10000

// parallel runs f on 64 goroutines, each time for another session.
func parallel(b *testing.B, f func(i int) error) {
	b.SetParallelism(64 / runtime.GOMAXPROCS(0))
	b.ReportAllocs()
	var next atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := f(int(next.Add(7919)) % benchSessions); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkStore measures the store beside what package pgx does with the
// plainest statements on a table of two columns, through the same pool. What is
// committed is on disk. Compare within one run only.
func BenchmarkStore(b *testing.B) {
	pg := service.Postgres(b, "fsync=on", "shared_buffers=256MB")
	pool := newPool(b, pg.URL(), func(c *pgxpool.Config) { c.MaxConns = 32 })
	store := open(b, postgres.Config{Pool: pool})
	must(b, pool, "CREATE TABLE raw (id bytea PRIMARY KEY, data text NOT NULL) WITH (fillfactor = 85)")
	fields := []session.Field{
		{Key: "name", Value: `"alex"`},
		{Key: "visits", Value: `12`},
		{Key: "cart", Value: `["4006381333931","5901234123457"]`},
		{Key: "seen", Value: `"2026-11-23T02:21:36Z"`},
	}
	text := `{"name": "\"alex\"", "visits": "12", "cart": "[\"4006381333931\",\"5901234123457\"]", "seen": "\"2026-11-23T02:21:36Z\""}`
	ids := make([]session.ID, benchSessions)
	for i := range ids {
		ids[i] = made(b, store, born(fields...))
		if _, err := pool.Exec(b.Context(), "INSERT INTO raw VALUES ($1, $2)", ids[i][:], text); err != nil {
			b.Fatal(err)
		}
	}
	must(b, pool, "VACUUM ANALYZE")
	ctx := b.Context()

	b.Run("Load", func(b *testing.B) {
		parallel(b, func(i int) error {
			r, err := store.Load(ctx, ids[i])
			if err == nil && len(r.Fields) != len(fields) {
				return fmt.Errorf("%d fields", len(r.Fields))
			}
			return err
		})
	})
	b.Run("Load/raw", func(b *testing.B) {
		parallel(b, func(i int) error {
			var data string
			return pool.QueryRow(ctx, "SELECT data FROM raw WHERE id = $1", ids[i][:]).Scan(&data)
		})
	})
	b.Run("Commit", func(b *testing.B) {
		parallel(b, func(i int) error {
			return store.Commit(ctx, ids[i], &session.Delta{Seen: time.Now(), Set: []session.Field{{Key: "visits", Value: "13"}}})
		})
	})
	b.Run("Touch", func(b *testing.B) {
		parallel(b, func(i int) error { return store.Commit(ctx, ids[i], &session.Delta{Seen: time.Now()}) })
	})
	b.Run("Commit/raw", func(b *testing.B) {
		parallel(b, func(i int) error {
			_, err := pool.Exec(ctx, "UPDATE raw SET data = $2 WHERE id = $1", ids[i][:], text)
			return err
		})
	})
}
