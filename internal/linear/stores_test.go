package linear

import (
	"context"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/memory"
	"github.com/seed-64ad3862/gatehouse/store/sqlite"
)

const (
	// historiesVariable says how many histories are made of each target, at
	// each level: `make soak` sets 1000.
	historiesVariable = "GATEHOUSE_SOAK_HISTORIES"
	// seedVariable makes them all of one seed, which a failure has named.
	seedVariable = "GATEHOUSE_HISTORY_SEED"
)

// seeds returns 0 to n-1, and one that is new each time.
func seeds(t *testing.T, n int) []uint64 {
	t.Helper()
	if soak, err := strconv.Atoi(os.Getenv(historiesVariable)); err == nil {
		n = soak
	}
	s := make([]uint64, n+1)
	for i := range s {
		s[i] = uint64(i)
	}
	s[n] = rand.Uint64()
	if text := os.Getenv(seedVariable); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		for i := range s {
			s[i] = seed
		}
	}
	t.Logf("the last seed is %d", s[n])
	return s
}

// A rig is a target that a test builds.
type rig struct {
	*testing.T
	Target
	keys [][]byte // of its sites, see session.Config.Keys
}

func newRig(t *testing.T) *rig { return &rig{T: t, Target: Target{Skew: skew, Cancel: true}} }

// check makes histories of the target at both levels.
func (g *rig) check(stores, sites int) {
	g.Helper()
	for _, level := range []struct {
		name  string
		check func(*Target, testing.TB, []uint64) (Stats, error)
		n     int
	}{
		{"records", (*Target).CheckStores, stores},
		{"requests", (*Target).CheckSites, sites},
	} {
		g.Run(level.name, func(t *testing.T) {
			began := time.Now()
			stats, err := level.check(&g.Target, t, seeds(t, level.n))
			t.Logf("%v, in %v", stats, time.Since(began).Round(time.Millisecond))
			if err != nil {
				t.Fatalf("%v\n%s=N makes it again", err, seedVariable)
			}
			if stats.Acknowledged < level.n || len(g.Breaks) > 0 && stats.Breaks == 0 {
				t.Error("that is too little to show anything")
			}
		})
	}
}

// use adds stores of this process, and sites.
func (g *rig) use(stores ...session.Store) {
	g.Helper()
	for _, s := range stores {
		g.Stores, g.Sites = append(g.Stores, s), append(g.Sites, Here(manager(g.T, s, g.keys...)))
	}
}

// manager returns a manager that observes.
func manager(t *testing.T, s session.Store, keys ...[]byte) *session.Manager {
	t.Helper()
	m, err := session.New(session.Config{Store: s, Keys: keys, Timeout: bounded, Logger: quiet, Observe: Observe})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// open adds stores that this process opens.
func (g *rig) open(whats ...string) {
	g.Helper()
	for _, what := range whats {
		s, closeStore, err := openStore(g.Context(), what)
		if err != nil {
			g.Fatal(err)
		}
		g.Cleanup(closeStore)
		g.use(s)
	}
}

// start adds another process, and that it is killed now and then. Its site has
// keys.
func (g *rig) start(what string) {
	g.Helper()
	p := startProcess(g.T, what)
	g.keys = keys32
	g.Stores, g.Sites = append(g.Stores, p), append(g.Sites, p.site())
	g.Breaks = append(g.Breaks, p.again)
}

// skew is for what stores round to milliseconds, and for a clock that is being set.
const skew = 50 * time.Millisecond

func TestMemory(t *testing.T) {
	g := newRig(t)
	store := memory.New(memory.Config{Logger: quiet})
	g.use(store, store)
	g.Calls = 400
	g.check(39, 39)
}

// TestRequestsMeet: the same, where each call to the store takes time, so that
// requests meet between any two.
func TestRequestsMeet(t *testing.T) {
	var stats Stats
	for _, seed := range seeds(t, 100) {
		synctest.Test(t, func(t *testing.T) {
			g := newRig(t)
			g.keys = someKeys(seed)
			store := &slow{Store: memory.New(memory.Config{Logger: quiet}), rng: rand.New(rand.NewPCG(seed, 5))}
			g.use(store, store)
			s, err := g.CheckSites(t, []uint64{seed})
			if err != nil {
				t.Fatal(err)
			}
			stats.add(&s)
		})
	}
	t.Log(stats)
}

// slow is a store whose calls take time before they do anything, and after.
type slow struct {
	*memory.Store
	mu  sync.Mutex
	rng *rand.Rand
}

func (s *slow) pause() {
	s.mu.Lock()
	d := time.Duration(s.rng.Int64N(int64(time.Millisecond)))
	s.mu.Unlock()
	time.Sleep(d)
}

func (s *slow) Load(ctx context.Context, id session.ID) (session.Record, error) {
	s.pause()
	defer s.pause()
	return s.Store.Load(ctx, id)
}

func (s *slow) Commit(ctx context.Context, id session.ID, d *session.Delta) error {
	s.pause()
	defer s.pause()
	return s.Store.Commit(ctx, id, d)
}

func (s *slow) Delete(ctx context.Context, id session.ID) error {
	s.pause()
	defer s.pause()
	return s.Store.Delete(ctx, id)
}

func (s *slow) List(ctx context.Context, q session.Query) iter.Seq2[session.Record, error] {
	s.pause()
	return s.Store.List(ctx, q)
}

func TestSQLite(t *testing.T) {
	t.Run("one process", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "sessions.db")
		g := newRig(t)
		g.open("sqlite " + path)
		g.use(socket(t, path))
		g.check(47, 47)
	})
	t.Run("killed and cut off", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "sessions.db")
		g := newRig(t)
		g.start("sqlite " + path)
		// The wire's socket lies next to another file, which is not used.
		behind := filepath.Join(t.TempDir(), "wire.db")
		if err := os.WriteFile(behind, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		w := newWire(t, "unix", behind+".sock", path+".sock")
		g.use(socket(t, path), socket(t, behind))
		g.Breaks = append(g.Breaks, w.cut)
		g.check(15, 15)
	})
}

// socket returns the store of the process that has the file.
func socket(t *testing.T, path string) session.Store {
	t.Helper()
	s, err := sqlite.Connect(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestRedis(t *testing.T) {
	for _, kind := range []string{"redis", "redis-uncached"} {
		newRig := func(t *testing.T) *rig {
			g := newRig(t)
			if kind == "redis" {
				// What the package's documentation promises.
				g.Stale = 900 * time.Millisecond
				g.keys = keys32
			}
			return g
		}
		t.Run(kind, func(t *testing.T) {
			server := service.Redis(t)
			g := newRig(t)
			g.open(kind+" "+server.Addr, kind+" "+server.Addr)
			g.check(63, 63)
		})
		t.Run(kind+", killed and cut off", func(t *testing.T) {
			server := service.Redis(t, "--appendonly", "yes", "--appendfsync", "always")
			w := newWire(t, "tcp", "127.0.0.1:0", server.Addr)
			g := newRig(t)
			g.start(kind + " " + server.Addr)
			g.start(kind + " " + w.listener.Addr().String())
			g.open(kind + " " + w.listener.Addr().String())
			g.Breaks = append(g.Breaks, w.cut, func() { again(server) })
			g.check(15, 15)
		})
	}
}

// again kills a server and starts it again.
func again(server interface {
	Kill()
	Start()
},
) {
	server.Kill()
	server.Start()
}

func TestPostgres(t *testing.T) {
	t.Run("running", func(t *testing.T) {
		url := service.Postgres(t).URL()
		g := newRig(t)
		g.open("postgres "+url, "postgres "+url)
		g.check(39, 39)
	})
	t.Run("killed and cut off", func(t *testing.T) {
		server := service.Postgres(t)
		w := newWire(t, "tcp", "127.0.0.1:0", server.Addr)
		cut := strings.Replace(server.URL(), server.Addr, w.listener.Addr().String(), 1)
		g := newRig(t)
		g.start("postgres " + server.URL())
		g.start("postgres " + cut)
		g.open("postgres " + cut)
		g.Breaks = append(g.Breaks, w.cut, func() { again(server) })
		g.check(15, 15)
	})
}

// TestFindsLosses: what loses acknowledged changes when a process is killed is
// found: a store in the memory of the process, and a server that keeps nothing on
// its disk.
func TestFindsLosses(t *testing.T) {
	for name, build := range map[string]func(g *rig){
		"memory": func(g *rig) { g.start("memory") },
		"redis": func(g *rig) {
			server := service.Redis(g)
			g.open("redis-uncached " + server.Addr)
			g.Breaks = []func(){func() { again(server) }}
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			build(g)
			for i, check := range both {
				found := false
				for n := uint64(0); n < 200 && !found; n++ {
					stats, err := check(&g.Target, t, []uint64{n})
					if found = err != nil; found {
						t.Logf("level %d, history %d: %v", i, n, stats)
					}
				}
				if !found {
					t.Errorf("level %d: it is not found", i)
				}
			}
		})
	}
}
