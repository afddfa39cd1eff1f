package redis_test

import (
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/redis"
)

// Of each kind there are as many as goroutines in a benchmark.
const (
	atOnce  = 64
	ofThese = 1000
)

// parallel shares the work among so many goroutines. Each gets numbers that
// go around.
func parallel(b *testing.B, f func(n int)) {
	b.Helper()
	b.SetParallelism(max(1, atOnce/runtime.GOMAXPROCS(0)))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for n := 0; pb.Next(); n = (n + 1) % ofThese {
			f(n)
		}
	})
}

// begun returns sessions with a value of 100 bytes.
func begun(b *testing.B, s *redis.Store) (ids []session.ID) {
	b.Helper()
	now := time.Now()
	for range ofThese {
		ids = append(ids, newID())
		if err := s.Commit(b.Context(), ids[len(ids)-1], &session.Delta{
			Create: true, Seen: now, Idle: time.Hour, Expires: now.Add(time.Hour),
			Set: []session.Field{{Key: "name", Value: payload}},
		}); err != nil {
			b.Fatal(err)
		}
	}
	return ids
}

var payload = `"` + strings.Repeat("x", 98) + `"`

func benchmarkLoad(b *testing.B, cfg redis.Config) {
	s := open(b, cfg, service.Redis(b).Addr)
	ids := begun(b, s)
	parallel(b, func(n int) {
		if r, err := s.Load(b.Context(), ids[n]); err != nil || r.Fields[0].Value != payload {
			b.Error(r, err)
		}
	})
}

func BenchmarkLoad(b *testing.B)       { benchmarkLoad(b, redis.Config{NoCache: true}) }
func BenchmarkLoadCached(b *testing.B) { benchmarkLoad(b, redis.Config{}) }

func BenchmarkCommit(b *testing.B) {
	s := open(b, redis.Config{}, service.Redis(b).Addr)
	ids := begun(b, s)
	parallel(b, func(n int) {
		if err := s.Commit(b.Context(), ids[n], &session.Delta{Seen: time.Now(), Set: []session.Field{{Key: "name", Value: payload}}}); err != nil {
			b.Error(err)
		}
	})
}

// benchmarkVisit is a request that reads one value, with the whole of package
// session around it.
func benchmarkVisit(b *testing.B, cfg redis.Config) {
	m, err := session.New(session.Config{Store: open(b, cfg, service.Redis(b).Addr)})
	if err != nil {
		b.Fatal(err)
	}
	name := session.NewKey[string]("name")
	var requests []*http.Request
	for range ofThese {
		w, r := nobody{}, must(http.NewRequestWithContext(b.Context(), http.MethodGet, "/", nil))
		m.Handler(m.With(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			name.Set(s, payload[1:len(payload)-1])
		})).ServeHTTP(w, r)
		for _, c := range (&http.Response{Header: http.Header(w)}).Cookies() {
			r.AddCookie(c)
		}
		requests = append(requests, r)
	}
	h := m.Handler(m.With(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		if v, _ := name.Get(s); len(v) != len(payload)-2 {
			b.Errorf("%q", v)
		}
	}))
	parallel(b, func(n int) { h.ServeHTTP(nobody{}, requests[n]) })
}

func BenchmarkVisit(b *testing.B)       { benchmarkVisit(b, redis.Config{NoCache: true}) }
func BenchmarkVisitCached(b *testing.B) { benchmarkVisit(b, redis.Config{}) }

// nobody reads an answer.
type nobody http.Header

func (n nobody) Header() http.Header         { return http.Header(n) }
func (n nobody) Write(p []byte) (int, error) { return len(p), nil }
func (n nobody) WriteHeader(int)             {}

// What the others are to be compared with: rueidis, and nothing else.

func raw(b *testing.B) (rueidis.Client, []string) {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{service.Redis(b).Addr}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	var keys []string
	for range ofThese {
		id := newID()
		keys = append(keys, id.Handle().String())
		if err := c.Do(b.Context(), c.B().Set().Key(keys[len(keys)-1]).Value(payload).Build()).Error(); err != nil {
			b.Fatal(err)
		}
	}
	return c, keys
}

func BenchmarkRawGet(b *testing.B) {
	c, keys := raw(b)
	parallel(b, func(n int) {
		if v, err := c.Do(b.Context(), c.B().Get().Key(keys[n]).Build()).ToString(); err != nil || v != payload {
			b.Error(v, err)
		}
	})
}

func BenchmarkRawDoCache(b *testing.B) {
	c, keys := raw(b)
	parallel(b, func(n int) {
		if v, err := c.DoCache(b.Context(), c.B().Get().Key(keys[n]).Cache(), time.Minute).ToString(); err != nil || v != payload {
			b.Error(v, err)
		}
	})
}

func BenchmarkRawSet(b *testing.B) {
	c, keys := raw(b)
	parallel(b, func(n int) {
		if err := c.Do(b.Context(), c.B().Set().Key(keys[n]).Value(payload).Build()).Error(); err != nil {
			b.Error(err)
		}
	})
}
