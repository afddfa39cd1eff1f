package redis_test

import (
	"crypto/rand"
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
	cfg := storetest.Config{
		New: func(t *testing.T) session.Store {
			return open(t, redis.Config{Prefix: newID().Handle().String() + ":"}, server.Addr)
		},
		UniqueHandles: true,
	}
	f.Fuzz(func(t *testing.T, data []byte) { storetest.Replay(t, cfg, data) })
}
