package sqlite

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seed-64ad3862/gatehouse/session"
)

// numbered is a row whose key is the number.
func numbered(n int64, value string) *row {
	r := &row{Record: session.Record{Fields: []session.Field{{Key: "v", Value: value}}}}
	binary.BigEndian.PutUint64(r.ID[:], uint64(n))
	return r
}

func (c *cache) write(key int64, r *row) {
	c.begin(key, r)
	c.end(key, r, true)
}

// TestCacheIsBounded: in bytes, whatever is put in, and what is asked for stays.
func TestCacheIsBounded(t *testing.T) {
	const limit = 1 << 20
	c := newCache(limit)
	random := rand.New(rand.NewPCG(1, 2))
	hot := []int64{1, 2, 3, 4, 5}
	for _, key := range hot {
		c.write(key, numbered(key, "hot"))
	}
	for i := range 50_000 {
		key := int64(100 + random.IntN(20_000))
		switch random.IntN(4) {
		case 0:
			c.write(key, nil)
		case 1:
			_, mark := c.get(key)
			c.fill(key, numbered(key, "filled"), mark)
		default:
			c.write(key, numbered(key, string(make([]byte, random.IntN(3_000)))))
		}
		if i%10 == 0 {
			for _, key := range hot {
				if c.peek(key) == nil {
					t.Fatalf("a row that is asked for all the time has given way after %d others", i)
				}
			}
		}
	}
	rows := 0
	for i := range c.shards {
		s := &c.shards[i]
		bytes := 0
		for key, e := range s.rows {
			rows++
			bytes += e.row.size()
			if e.key != key || s.clock[e.at] != e || e.row.key() != key {
				t.Fatalf("an entry is not where it belongs: %+v", e)
			}
		}
		if bytes != s.bytes || bytes > s.max || s.max != limit/shards || len(s.clock) != len(s.rows) {
			t.Errorf("%d bytes, counted as %d, of %d; %d rows, %d in the clock", bytes, s.bytes, s.max, len(s.rows), len(s.clock))
		}
	}
	if rows < len(hot)+10 {
		t.Errorf("%d rows: the test shows nothing", rows)
	}
}

// TestCacheFill: what was read from the database while a write was on its way is
// not kept.
func TestCacheFill(t *testing.T) {
	for name, test := range map[string]struct {
		between func(c *cache)
		kept    bool
	}{
		"nothing happens":        {func(*cache) {}, true},
		"a write of it":          {func(c *cache) { c.write(1, numbered(1, "new")); c.shard(1).put(1, nil) }, false},
		"a write of it begins":   {func(c *cache) { c.begin(1, numbered(1, "new")) }, false},
		"a write of it fails":    {func(c *cache) { c.begin(1, numbered(1, "new")); c.end(1, nil, false) }, false},
		"a write that shares":    {func(c *cache) { c.write(1+shards*slots, nil) }, false},
		"a write of another one": {func(c *cache) { c.write(2, nil); c.write(1+shards, nil) }, true},
	} {
		c := newCache(1 << 20)
		_, mark := c.get(1)
		test.between(c)
		c.fill(1, numbered(1, "old"), mark)
		if kept := c.peek(1) != nil; kept != test.kept {
			t.Errorf("%s: kept: %v, want %v", name, kept, test.kept)
		}
	}
}

// TestNeverBack: once somebody has seen a value, nobody sees one of before, while
// rows come into the cache, are written, and give way all the time. Reads that
// begin after that moment are meant, whether the write is answered yet or not.
func TestNeverBack(t *testing.T) {
	const sessions, writes = 12, 100
	s := open(t, Config{NoSocket: true, CacheBytes: shards * 800}) // a row or two in each part
	var ids [sessions]session.ID
	var seen [sessions]atomic.Int64
	for i := range ids {
		// They share parts of the cache, so that they displace each other.
		ids[i] = newID()
		ids[i][7] = byte(i % 3)
		commit(t, s, ids[i], creation(session.Field{Key: "n", Value: `0`}))
	}
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for i, id := range ids {
		writers.Go(func() {
			for n := 1; n <= writes; n++ {
				if err := s.Commit(context.Background(), id, set("n", fmt.Sprint(n))); err != nil {
					t.Errorf("Commit: %v", err)
				}
			}
		})
		for range 3 {
			readers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					before := seen[i].Load()
					n, err := strconv.ParseInt(value(t, s, id, "n"), 10, 64)
					if err != nil || n < before {
						t.Errorf("somebody sees %d (%v), and somebody has seen %d before", n, err, before)
						return
					}
					for old := seen[i].Load(); n > old && !seen[i].CompareAndSwap(old, n); old = seen[i].Load() {
					}
				}
			})
		}
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	for i, id := range ids {
		if got := value(t, s, id, "n"); got != fmt.Sprint(writes) {
			t.Errorf("session %d ends with %s, want %d", i, got, writes)
		}
	}
}

// TestCacheHolds: what is left of a large session counts for as much as it holds,
// which is the text that it was read from.
func TestCacheHolds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	s := open(t, Config{Path: path, NoSocket: true, CacheBytes: 1})
	var ids [500]session.ID
	for i := range ids {
		ids[i] = newID()
		commit(t, s, ids[i], creation(session.Field{Key: "a", Value: `1`}, session.Field{Key: "big", Value: `"` + strings.Repeat("x", 60_000) + `"`}))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	const limit = 4 << 20
	s = open(t, Config{Path: path, NoSocket: true, CacheBytes: limit})
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for _, id := range ids {
		value(t, s, id, "a") // from the database
		commit(t, s, id, &session.Delta{Delete: []string{"big"}})
	}
	if got := heap() - before; got > 2*limit {
		t.Errorf("the cache holds %d bytes, its bound is %d", got, limit)
	}
	runtime.KeepAlive(s)
}
