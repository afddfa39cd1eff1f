package redis_test

import (
	"context"
	"crypto/rand"
	"iter"
	"sync"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/redis"
	"github.com/seed-64ad3862/gatehouse/store/storetest"
)

func open(t testing.TB, cfg redis.Config, addrs ...string) *redis.Store {
	t.Helper()
	cfg.Client.InitAddress = addrs
	s, err := redis.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestStore(t *testing.T) {
	single := service.Redis(t)
	cluster := service.RedisCluster(t)
	sentinel := service.RedisSentinel(t)
	watched, old := redis.Config{}, redis.Config{}
	old.Client.AlwaysRESP2 = true // so nothing can be cached
	watched.Client.Sentinel.MasterSet = sentinel.Name
	var wg sync.WaitGroup
	for _, test := range []struct {
		name   string
		cfg    redis.Config
		addrs  []string
		rounds int
	}{
		{"Single", redis.Config{}, []string{single.Addr}, 25},
		{"Single, uncached, RESP2", old, []string{single.Addr}, 5},
		{"Cluster", redis.Config{}, cluster.Addrs(), 5},
		{"Cluster, uncached", redis.Config{NoCache: true}, cluster.Addrs()[:1], 5},
		{"Sentinel", watched, []string{sentinel.Sentinel.Addr}, 5},
	} {
		// Side by side, more than there are cores: mostly they sleep.
		wg.Go(func() {
			t.Run(test.name, func(t *testing.T) {
				storetest.Run(t, storetest.Config{
					// A prefix of its own: List must not go through what other
					// tests have left.
					New: func(t *testing.T) session.Store {
						cfg := test.cfg
						cfg.Prefix = t.Name() + " [*?] "
						return open(t, cfg, test.addrs...)
					},
					UniqueHandles: true,
					Rounds:        test.rounds,
				})
			})
		})
	}
	wg.Wait()
}

func TestProcesses(t *testing.T) {
	storetest.Processes(t, storetest.ProcessConfig{
		Where: func(t *testing.T) string { return service.Redis(t).Addr },
		Open:  func(t *testing.T, where string) session.Store { return open(t, redis.Config{}, where) },
		Stale: time.Second,
	})
}

func newID() (id session.ID) {
	rand.Read(id[:])
	return id
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// FuzzStore compares the store with the model of package storetest. It runs one
// server for all inputs, and gives each a prefix of its own.
func FuzzStore(f *testing.F) {
	server := service.Redis(f)
	f.Add([]byte("a seed"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := open(t, redis.Config{Prefix: newID().Handle().String() + ":"}, server.Addr)
		storetest.Replay(t, apart{s}, data)
	})
}

// apart is a store whose callers may use IDs that begin alike: package storetest
// has some that differ in the last byte only.
type apart struct{ *redis.Store }

func swap(id session.ID) session.ID {
	id[7] ^= id[31]
	return id
}

func (a apart) Load(ctx context.Context, id session.ID) (session.Record, error) {
	r, err := a.Store.Load(ctx, swap(id))
	r.ID = id
	return r, err
}

func (a apart) Commit(ctx context.Context, id session.ID, d *session.Delta) error {
	to := *d
	if to.Rename != (session.ID{}) {
		to.Rename = swap(to.Rename)
	}
	return a.Store.Commit(ctx, swap(id), &to)
}

func (a apart) Delete(ctx context.Context, id session.ID) error {
	return a.Store.Delete(ctx, swap(id))
}

func (a apart) List(ctx context.Context, q session.Query) iter.Seq2[session.Record, error] {
	return func(yield func(session.Record, error) bool) {
		for r, err := range a.Store.List(ctx, q) {
			r.ID = swap(r.ID)
			if !yield(r, err) {
				return
			}
		}
	}
}

func (a apart) Find(ctx context.Context, h session.Handle) (session.Record, error) {
	for r, err := range a.List(ctx, session.Query{All: true, Fields: true}) {
		if err != nil || r.ID.Handle() == h {
			return r, err
		}
	}
	return session.Record{}, session.ErrNotFound
}
