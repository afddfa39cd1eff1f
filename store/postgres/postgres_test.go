package postgres_test

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/postgres"
	"github.com/seed-64ad3862/gatehouse/store/storetest"
)

// newPool returns a pool, of up to 16 connections unless a change says otherwise.
func newPool(t testing.TB, url string, change ...func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.MaxConns = 16
	for _, c := range change {
		c(cfg)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func open(t testing.TB, cfg postgres.Config) *postgres.Store {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	s, err := postgres.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// empty forgets what earlier tests have left. TRUNCATE takes longer.
func empty(t testing.TB, pool *pgxpool.Pool, schema string) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), "DELETE FROM "+schema+".session; DELETE FROM "+schema+".spent"); err != nil {
		t.Fatal(err)
	}
}

func TestStore(t *testing.T) {
	pool := newPool(t, service.Postgres(t).URL())
	store := open(t, postgres.Config{Pool: pool})
	storetest.Run(t, storetest.Config{New: func(t *testing.T) session.Store {
		empty(t, pool, "gatehouse")
		return store
	}})
}

func TestProcesses(t *testing.T) {
	storetest.Processes(t, storetest.ProcessConfig{
		Where: func(t *testing.T) string { return service.Postgres(t).URL() },
		Open: func(t *testing.T, where string) session.Store {
			return open(t, postgres.Config{Pool: newPool(t, where)})
		},
	})
}

// TestPooler: behind a PgBouncer that knows nothing of prepared statements and
// gives each transaction another connection, nobody has to configure anything.
func TestPooler(t *testing.T) {
	url := service.PgBouncer(t, service.Postgres(t), "transaction").URL()
	var pool *pgxpool.Pool
	several := &severalStores{}
	for _, change := range []func(c *pgx.ConnConfig){
		func(*pgx.ConnConfig) {}, // pgx's defaults
		func(c *pgx.ConnConfig) { // what one is told to set for such a pooler
			c.DefaultQueryExecMode = pgx.QueryExecModeExec
			c.StatementCacheCapacity, c.DescriptionCacheCapacity = 0, 0
		},
		func(c *pgx.ConnConfig) { c.DefaultQueryExecMode = pgx.QueryExecModeDescribeExec }, // what harms others
	} {
		pool = newPool(t, url, func(c *pgxpool.Config) { change(c.ConnConfig) })
		several.stores = append(several.stores, open(t, postgres.Config{Pool: pool}))
	}
	for _, store := range several.stores {
		batches(t, store)
	}
	storetest.Run(t, storetest.Config{Rounds: 5, New: func(t *testing.T) session.Store {
		empty(t, pool, "gatehouse")
		return several
	}})
}

// severalStores calls one after the other, as a load balancer would.
type severalStores struct {
	stores []*postgres.Store
	calls  atomic.Uint64
}

func (s *severalStores) next() *postgres.Store { return s.stores[s.calls.Add(1)%uint64(len(s.stores))] }

func (s *severalStores) Load(ctx context.Context, id session.ID) (session.Record, error) {
	return s.next().Load(ctx, id)
}

func (s *severalStores) Commit(ctx context.Context, id session.ID, d *session.Delta) error {
	return s.next().Commit(ctx, id, d)
}

func (s *severalStores) Delete(ctx context.Context, id session.ID) error {
	return s.next().Delete(ctx, id)
}

func (s *severalStores) Find(ctx context.Context, h session.Handle) (session.Record, error) {
	return s.next().Find(ctx, h)
}

func (s *severalStores) List(ctx context.Context, q session.Query) iter.Seq2[session.Record, error] {
	return s.next().List(ctx, q)
}

func (s *severalStores) Sweep(ctx context.Context) iter.Seq2[session.Record, error] {
	return s.next().Sweep(ctx)
}

func (s *severalStores) Spend(ctx context.Context, id [16]byte, until time.Time) (bool, error) {
	return s.next().Spend(ctx, id, until)
}

func (s *severalStores) Spent(ctx context.Context, id [16]byte) (bool, error) {
	return s.next().Spent(ctx, id)
}

// TestModes: the statements mean the same however the pool executes them and
// whatever the database has as its isolation.
func TestModes(t *testing.T) {
	pg := service.Postgres(t)
	for _, test := range []struct {
		schema, isolation string
		change            func(c *pgx.ConnConfig)
	}{
		{"cache_describe", "read committed", func(c *pgx.ConnConfig) { c.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe }},
		{"describe_exec", "read committed", func(c *pgx.ConnConfig) { c.DefaultQueryExecMode = pgx.QueryExecModeDescribeExec }},
		{"describe_exec_uncached", "read committed", func(c *pgx.ConnConfig) {
			c.DefaultQueryExecMode, c.DescriptionCacheCapacity = pgx.QueryExecModeDescribeExec, 0
		}},
		{"exec", "read committed", func(c *pgx.ConnConfig) { c.DefaultQueryExecMode = pgx.QueryExecModeExec }},
		{"simple_protocol", "read committed", func(c *pgx.ConnConfig) { c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol }},
		{"repeatable_read", "repeatable read", func(*pgx.ConnConfig) {}},
		{"serializable", "serializable", func(*pgx.ConnConfig) {}},
	} {
		t.Run(test.schema, func(t *testing.T) {
			pool := newPool(t, pg.URL(), func(c *pgxpool.Config) {
				test.change(c.ConnConfig)
				c.ConnConfig.RuntimeParams["default_transaction_isolation"] = test.isolation
			})
			store := open(t, postgres.Config{Pool: pool, Schema: test.schema})
			cfg := storetest.Config{New: func(t *testing.T) session.Store {
				empty(t, pool, test.schema)
				return store
			}}
			random := rand.New(rand.NewPCG(1, 2))
			for range 8 {
				data := make([]byte, 600)
				for i := range data {
					data[i] = byte(random.Uint32())
				}
				storetest.Replay(t, cfg, data)
			}
			race(t, store)
			batches(t, store)
		})
	}
}

// FuzzReplay compares the store with a model. The server takes what it needs of
// the time.
func FuzzReplay(f *testing.F) {
	pool := newPool(f, service.Postgres(f).URL())
	store := open(f, postgres.Config{Pool: pool})
	cfg := storetest.Config{New: func(t *testing.T) session.Store {
		empty(t, pool, "gatehouse")
		return store
	}}
	f.Add([]byte("\x07\x00\x00\x00\x01a\x03\x00\x07\x01\x00"))
	f.Fuzz(func(t *testing.T, data []byte) { storetest.Replay(t, cfg, data) })
}
