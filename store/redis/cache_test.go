package redis

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

func idOf(n int) (id session.ID) {
	id[0], id[1], id[2], id[4] = byte(n), byte(n>>8), byte(n>>16), 1
	return id
}

func recordOf(n, size int) *session.Record {
	now := time.Now()
	return &session.Record{
		ID: idOf(n), Created: now, Seen: now, Idle: time.Hour, Expires: now.Add(time.Hour),
		Fields: []session.Field{{Key: "a", Value: strings.Repeat("x", size)}},
	}
}

// announced meets the session, so that it may be announced.
func announced(c *cache, h session.Handle, now time.Time) *entry {
	c.meet(h)
	return c.announce(h, now)
}

func TestFresh(t *testing.T) {
	now := time.Now()
	wall := now.Round(0) // a moment by the system's clock alone
	for _, c := range []struct {
		name      string
		sent, now time.Time
		want      bool
	}{
		{"at once", now, now, true},
		{"in time", now, now.Add(staleAfter - 1), true},
		{"late", now, now.Add(staleAfter), false},
		{"clock set back", now, wall.Add(-time.Millisecond), false},
		{"clock set on, or the machine slept", now, wall.Add(staleAfter), false},
	} {
		if got := fresh(c.sent, c.now); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if staleAfter >= time.Second {
		t.Errorf("%v is no less than the second that is promised", staleAfter)
	}
}

// TestCacheOrder: a record is kept only if nobody has forgotten its session since
// before it was read.
func TestCacheOrder(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name  string
		while func(c *cache, h session.Handle)
		kept  bool
	}{
		{"nothing", func(*cache, session.Handle) {}, true},
		{"forgotten", func(c *cache, h session.Handle) { c.forget(h) }, false},
		{"all changed", func(c *cache, _ session.Handle) { tracked{c, keys{}}.Delete(nil) }, false},
		{"connection lost", func(c *cache, _ session.Handle) { tracked{c, keys{}}.Close(nil) }, false},
		{"another forgotten", func(c *cache, _ session.Handle) {
			c.forget(session.Handle{1: 9})
			other := idOf(1)
			other[5] = 1 // in the same place
			c.forget(other.Handle())
		}, true},
		{"forgotten and announced again", func(c *cache, h session.Handle) {
			c.forget(h)
			announced(c, h, now)
		}, false},
		{"announced by another", func(c *cache, h session.Handle) {
			if announced(c, h, now) != nil {
				t.Error("two announcements")
			}
		}, true},
		{"place taken by another", func(c *cache, h session.Handle) {
			h[5]++
			c.meet(h)
		}, false},
	} {
		cache, r := newCache(1<<20), recordOf(1, 10)
		if cache.announce(r.ID.Handle(), now) != nil {
			t.Errorf("%s: announced without having been met", c.name)
		}
		a := announced(cache, r.ID.Handle(), now)
		if cache.get(&r.ID, now) != nil {
			t.Errorf("%s: an announcement is no record", c.name)
		}
		c.while(cache, r.ID.Handle())
		cache.keep(a, r)
		if got := cache.get(&r.ID, now) != nil; got != c.kept {
			t.Errorf("%s: kept %v, want %v", c.name, got, c.kept)
		}
		if cache.get(&r.ID, now.Add(staleAfter)) != nil {
			t.Errorf("%s: it is served stale", c.name)
		}
		cache.forget(r.ID.Handle())
		if cache.get(&r.ID, now) != nil {
			t.Errorf("%s: it is served when forgotten", c.name)
		}
	}

	cache, r := newCache(1<<20), recordOf(1, 10)
	cache.keep(announced(cache, r.ID.Handle(), now), r)
	if other := idOf(1); true {
		other[31] = 1
		if cache.get(&other, now) != nil {
			t.Error("another session with the same handle is served with it")
		}
	}
	r = recordOf(2, 10)
	r.Idle = time.Millisecond
	cache.keep(announced(cache, r.ID.Handle(), now), r)
	if cache.get(&r.ID, now.Add(10*time.Millisecond)) != nil {
		t.Error("a session whose time is over is served without asking")
	}
}

// TestCacheBound: the cache stays within its bytes, remembers again when what it
// has is stale, and counts right.
func TestCacheBound(t *testing.T) {
	const limit = 1 << 20
	c := newCache(limit)
	long := time.Now().Add(-staleAfter)
	keep := func(n int, sent time.Time) {
		r := recordOf(n, n%5000)
		if a := announced(c, r.ID.Handle(), sent); a != nil {
			c.keep(a, r)
		}
		if got := c.bytes.Load(); got > limit {
			t.Fatalf("%d bytes, the bound is %d", got, limit)
		}
	}
	for n := range 5000 {
		keep(n, long)
	}
	if c.bytes.Load() < limit/2 {
		t.Fatalf("%d bytes only: the test shows nothing", c.bytes.Load())
	}
	now := time.Now()
	for n := range 500 {
		keep(n, now)
	}
	kept := 0
	for n := range 500 {
		if id := idOf(n); c.get(&id, now) != nil {
			kept++
		}
	}
	if kept < 400 {
		t.Errorf("%d of 500 new records are kept in place of stale ones", kept)
	}
	c.forgetAll()
	if got := c.bytes.Load(); got != 0 {
		t.Errorf("%d bytes in an empty cache", got)
	}
}

// TestCacheRaces: whatever happens at once, the count is right in the end.
func TestCacheRaces(t *testing.T) {
	c := newCache(1 << 16)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 20000 {
				r := recordOf(i%40, 100)
				h := r.ID.Handle()
				h[5] = byte(i % 3) // several share a place
				switch (i + g) % 7 {
				case 0:
					c.forget(h)
				case 1:
					if i%100 == 0 {
						c.forgetAll()
					}
				case 2:
					c.get(&r.ID, time.Now())
				default:
					if a := announced(c, h, time.Now()); a != nil {
						if i%5 == 0 {
							c.withdraw(a)
						} else {
							c.keep(a, r)
						}
					}
				}
			}
		})
	}
	wg.Wait()
	c.forgetAll()
	if got := c.bytes.Load(); got != 0 {
		t.Errorf("%d bytes in an empty cache", got)
	}
}
