package redis_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/redis"
)

// TestLayout: what the package comment says of keys and fields, for those who
// read them in other languages.
func TestLayout(t *testing.T) {
	server := service.Redis(t)
	s, c := open(t, redis.Config{}, server.Addr), raws(t, server.Addr)
	ctx := t.Context()
	do := func(words ...string) rueidis.RedisResult {
		t.Helper()
		res := c.Do(ctx, c.B().Arbitrary(words...).Build())
		if err := res.Error(); err != nil {
			t.Fatalf("%q: %v", words, err)
		}
		return res
	}
	id, now, owner := newID(), time.Now(), "alice"
	handle := id.Handle().String()
	d := &session.Delta{
		Create: true, Seen: now, Idle: time.Hour, Expires: now.Add(24 * time.Hour), Owner: &owner,
		Labels: []session.Label{{Name: "device", Value: "phone"}, {Name: "a=b %", Value: "c=d"}},
		Set:    []session.Field{{Key: "name", Value: `"Alice"`}},
	}
	if err := s.Commit(ctx, id, d); err != nil {
		t.Fatal(err)
	}
	hash, err := do("HGETALL", "gatehouse:s:"+handle).AsStrMap()
	want := map[string]string{
		"head":  fmt.Sprintf("%x %d %d %d %d %d", id, now.UnixMilli(), now.UnixMilli(), time.Hour.Milliseconds(), d.Expires.UnixMilli(), now.UnixMilli()),
		"owner": "alice", "l:device": "phone", "l:a=b %": "c=d", "v:name": `"Alice"`,
	}
	tag := hash["tag"]
	delete(hash, "tag")
	if err != nil || fmt.Sprint(hash) != fmt.Sprint(want) || !regexp.MustCompile("^[0-9a-f]{8}$").MatchString(tag) {
		t.Errorf("the session is %v, %q, %v\nwant %v and a tag", hash, tag, err, want)
	}
	at := func(key string) time.Time {
		t.Helper()
		ms, err := do("PEXPIRETIME", key).ToInt64()
		if err != nil {
			t.Fatal(err)
		}
		return time.UnixMilli(ms)
	}
	if got := at("gatehouse:s:" + handle); got.UnixMilli() != now.Add(time.Hour).UnixMilli() {
		t.Errorf("it expires at %v, want an hour after %v", got, now)
	}
	for _, key := range []string{"gatehouse:o:alice", "gatehouse:i:" + handle[:2], "gatehouse:l:device=phone", "gatehouse:l:a%3Db+%25=c=d"} {
		if score, err := do("ZSCORE", key, handle+"."+tag).AsFloat64(); err != nil || score < float64(now.Add(time.Hour).UnixMilli()) {
			t.Errorf("%s: %v, %v", key, score, err)
		}
		if got := at(key); got.Before(now.Add(time.Hour)) || got.After(now.Add(2*time.Hour)) {
			t.Errorf("%s expires at %v", key, got)
		}
	}
	spent := [16]byte{0xab, 15: 1}
	if first, err := s.Spend(ctx, spent, now.Add(time.Minute)); !first || err != nil {
		t.Fatal(first, err)
	}
	if got := at("gatehouse:x:ab000000000000000000000000000001"); got.Before(now.Add(time.Minute)) || got.After(now.Add(time.Minute+10*time.Millisecond)) {
		t.Errorf("what is spent is kept until %v, want %v", got, now.Add(time.Minute))
	}

	// A session whose time is over is not kept for the sake of its index.
	if err := s.Commit(ctx, id, &session.Delta{Expires: now.Add(-time.Second)}); err != nil {
		t.Fatal(err)
	}
	if n, err := do("EXISTS", "gatehouse:s:"+handle).ToInt64(); n != 0 || err != nil {
		t.Errorf("a session that is over is kept: %v, %v", n, err)
	}
}

// TestForeignHash: what is not a session of ours is none, and does no harm.
func TestForeignHash(t *testing.T) {
	server := service.Redis(t)
	s, c := open(t, redis.Config{}, server.Addr), raws(t, server.Addr)
	id := newID()
	hex := fmt.Sprintf("%x", id)
	for _, head := range []string{
		"", " ", "x", hex, hex + " ", hex + " 1 2 3 4", hex + " 1 2 3 4 5 6", hex + " 1 2 3 4 5 ", hex + " a b c d e",
		hex[:63] + " 1 2 3 4 5", strings.Repeat("g", 64) + " 1 2 3 4 5", hex + " 1 2 -3 4 5", hex + " 1 2 9999999999999999 4 5",
		fmt.Sprintf("%x 1 2 3 4 5", newID()), // another session with the same handle
	} {
		key := "gatehouse:s:" + id.Handle().String()
		if err := c.Do(t.Context(), c.B().Hset().Key(key).FieldValue().FieldValue("head", head).FieldValue("v:name", "1").Build()).Error(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Load(t.Context(), id); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("head %q: Load: %v", head, err)
		}
		now := time.Now()
		d := &session.Delta{Create: true, Seen: now, Idle: time.Hour, Expires: now.Add(time.Hour)}
		if err := s.Commit(t.Context(), id, d); !errors.Is(err, session.ErrExists) {
			t.Errorf("head %q: Create: %v", head, err)
		}
	}
}

// TestIndexHeals: an index that was lost is whole again when the session has
// been used some minutes later.
func TestIndexHeals(t *testing.T) {
	server := service.Redis(t)
	s, c := open(t, redis.Config{}, server.Addr), raws(t, server.Addr)
	ctx, owner := t.Context(), "alice"
	id := create(t, s)
	now := time.Now()
	label := session.Label{Name: "device", Value: "phone"}
	if err := s.Commit(ctx, id, &session.Delta{Owner: &owner, Labels: []session.Label{label}}); err != nil {
		t.Fatal(err)
	}
	queries := []session.Query{{Owner: owner}, {Label: label}, {SignedIn: true}}
	signedIn := "gatehouse:i:" + id.Handle().String()[:2]
	listed := func(want int) {
		t.Helper()
		for _, q := range queries {
			if n := count(t, s, q); n != want {
				t.Errorf("List(%+v) yields %d, want %d", q, n, want)
			}
		}
	}
	touch := func(after time.Duration) {
		t.Helper()
		if err := s.Commit(ctx, id, &session.Delta{Seen: now.Add(after)}); err != nil {
			t.Fatal(err)
		}
	}
	listed(1)
	if err := c.Do(ctx, c.B().Del().Key("gatehouse:o:alice", "gatehouse:l:device=phone", signedIn).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	touch(time.Minute)
	listed(0) // nothing is written that need not be
	touch(6 * time.Minute)
	listed(1)

	// It is listed for as long as it lives, also when that is for longer than
	// was known when it was listed.
	if err := s.Commit(ctx, id, &session.Delta{Idle: 23 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	long := func() {
		t.Helper()
		for _, key := range []string{"gatehouse:o:alice", "gatehouse:l:device=phone", "gatehouse:i:" + id.Handle().String()[:2]} {
			tag := must(c.Do(ctx, c.B().Hget().Key("gatehouse:s:"+id.Handle().String()).Field("tag").Build()).ToString())
			until, err := c.Do(ctx, c.B().Zscore().Key(key).Member(id.Handle().String()+"."+tag).Build()).AsFloat64()
			end, err2 := c.Do(ctx, c.B().Pexpiretime().Key(key).Build()).AsInt64()
			if err := errors.Join(err, err2); err != nil || until < float64(now.Add(23*time.Hour).UnixMilli()) || end < int64(until) {
				t.Errorf("%s: it is listed until %.0f, the index is there until %d, %v", key, until, end, err)
			}
		}
	}
	long()
	to := newID()
	if err := s.Commit(ctx, id, &session.Delta{Rename: to}); err != nil {
		t.Fatal(err)
	}
	id = to
	long()
}

// TestIndexStaysSmall: sessions that nobody ended leave their index when the
// owner's next one comes; those that somebody ended or renamed, at once.
func TestIndexStaysSmall(t *testing.T) {
	server := service.Redis(t)
	s, c := open(t, redis.Config{}, server.Addr), raws(t, server.Addr)
	owner := "alice"
	begin := func() (id session.ID) {
		t.Helper()
		id = create(t, s)
		if err := s.Commit(t.Context(), id, &session.Delta{Owner: &owner}); err != nil {
			t.Fatal(err)
		}
		return id
	}
	has := func(want int64) {
		t.Helper()
		if n, err := c.Do(t.Context(), c.B().Zcard().Key("gatehouse:o:alice").Build()).ToInt64(); n != want || err != nil {
			t.Errorf("%d handles in the index, %v; want %d", n, err, want)
		}
	}
	id := begin()
	over := float64(time.Now().Add(-time.Second).UnixMilli())
	for range 10 {
		if err := c.Do(t.Context(), c.B().Zadd().Key("gatehouse:o:alice").ScoreMember().ScoreMember(over, newID().Handle().String()).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	has(11)
	begin()
	has(2)
	to := newID()
	if err := s.Commit(t.Context(), id, &session.Delta{Rename: to}); err != nil {
		t.Fatal(err)
	}
	has(2)
	remove(t, s, to)
	has(1)
}

func count(t testing.TB, s session.Lister, q session.Query) (n int) {
	t.Helper()
	for _, err := range s.List(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// TestReserved: a name that waits for its session is none, but is listed and can
// be deleted.
func TestReserved(t *testing.T) {
	server := service.Redis(t)
	s, c := open(t, redis.Config{}, server.Addr), raws(t, server.Addr)
	ctx, id, owner := t.Context(), newID(), "alice"
	handle := id.Handle().String()
	for _, cmd := range []rueidis.Completed{
		c.B().Hset().Key("gatehouse:s:"+handle).FieldValue().FieldValue("pending", fmt.Sprintf("%x", id)).FieldValue("owner", owner).Build(),
		c.B().Zadd().Key("gatehouse:o:"+owner).ScoreMember().ScoreMember(math.MaxInt32*1000, handle).Build(),
	} {
		if err := c.Do(ctx, cmd).Error(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Load(ctx, id); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Load: %v", err)
	}
	if _, err := s.Find(ctx, id.Handle()); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Find: %v", err)
	}
	now := time.Now()
	if err := s.Commit(ctx, id, &session.Delta{Seen: now}); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Commit: %v", err)
	}
	d := &session.Delta{Create: true, Seen: now, Idle: time.Hour, Expires: now.Add(time.Hour)}
	if err := s.Commit(ctx, id, d); !errors.Is(err, session.ErrExists) {
		t.Errorf("Create: %v", err)
	}
	for _, q := range []session.Query{{Owner: owner}, {All: true}} {
		for r, err := range s.List(ctx, q) {
			if err != nil || r.ID != id || r.Owner != owner || !now.Before(r.Deadline()) {
				t.Errorf("List(%+v) yields %+v, %v", q, r, err)
			}
		}
		if n := count(t, s, q); n != 1 {
			t.Errorf("List(%+v) yields %d", q, n)
		}
	}
	if err := s.Delete(ctx, newIDLike(id)); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Delete of another: %v", err)
	}
	remove(t, s, id)
	if n := count(t, s, session.Query{All: true}); n != 0 {
		t.Errorf("%d are listed after Delete", n)
	}
}

func newIDLike(id session.ID) session.ID {
	id[31]++
	return id
}

// TestEndAllMeetsRenew: who ends all sessions of a person ends also one that gets
// another name at that moment.
func TestEndAllMeetsRenew(t *testing.T) {
	for _, test := range []struct {
		name  string
		addrs []string
	}{
		{"Single", []string{service.Redis(t).Addr}},
		{"Cluster", service.RedisCluster(t).Addrs()},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := open(t, redis.Config{}, test.addrs...)
			m := must(session.New(session.Config{Store: s}))
			for round := range 150 {
				owner := "owner" + strconv.Itoa(round)
				id, to := create(t, s), newID()
				if err := s.Commit(t.Context(), id, &session.Delta{Owner: &owner}); err != nil {
					t.Fatal(err)
				}
				var wg sync.WaitGroup
				wg.Go(func() {
					time.Sleep(time.Duration(round%15) * 100 * time.Microsecond)
					if err := s.Commit(t.Context(), id, &session.Delta{Rename: to}); err != nil && !errors.Is(err, session.ErrNotFound) {
						t.Errorf("Rename: %v", err)
					}
				})
				if n, err := m.EndAll(t.Context(), session.Query{Owner: owner}); err != nil || n == 0 {
					t.Errorf("EndAll: %d, %v", n, err)
				}
				wg.Wait()
				if lives(t, s, id) || lives(t, s, to) || count(t, s, session.Query{Owner: owner}) != 0 {
					t.Fatalf("round %d: it lives", round)
				}
			}
		})
	}
}

// TestFull: in a full memory nobody signs in, and everybody who is stays.
func TestFull(t *testing.T) {
	server := service.Redis(t, "--maxmemory-policy", "noeviction")
	s, c := open(t, redis.Config{}, server.Addr), raws(t, server.Addr)
	ctx, now, owner := t.Context(), time.Now(), "alice"
	large := session.Field{Key: "large", Value: strings.Repeat("1", 5000)}
	id := create(t, s, large)
	other := create(t, s)
	if err := c.Do(ctx, c.B().ConfigSet().ParameterValue().ParameterValue("maxmemory", "1").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]*session.Delta{
		"Create":   {Create: true, Seen: now, Idle: time.Hour, Expires: now.Add(time.Hour)},
		"Value":    {Seen: now, Set: []session.Field{{Key: "more", Value: `1`}}, Delete: []string{"large"}},
		"SetOwner": {Seen: now, Owner: &owner},
		"Slim":     {Seen: now, Set: []session.Field{{Key: "more", Value: `1`}}},
	} {
		at := id
		if d.Create {
			at = newID()
		}
		if err := s.Commit(ctx, at, d); !errors.Is(err, session.ErrFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if r, err := s.Load(ctx, id); err != nil || len(r.Fields) != 1 || r.Fields[0] != large || r.Owner != "" {
		t.Errorf("what was refused has changed the session: %v, %v", r, err)
	}
	if _, err := s.Spend(ctx, [16]byte{1}, now.Add(time.Hour)); !errors.Is(err, session.ErrFull) {
		t.Errorf("Spend: %v", err)
	}
	if err := s.Commit(ctx, id, &session.Delta{Seen: now.Add(time.Minute)}); err != nil {
		t.Errorf("a touch: %v", err)
	}
	if err := s.Commit(ctx, id, &session.Delta{Seen: now.Add(time.Minute), Delete: []string{"large"}}); err != nil {
		t.Errorf("less: %v", err)
	}
	if r, err := s.Load(ctx, id); err != nil || len(r.Fields) != 0 || r.Seen.UnixMilli() != now.Add(time.Minute).UnixMilli() {
		t.Errorf("after that: %+v, %v", r, err)
	}
	to := newID()
	if err := s.Commit(ctx, id, &session.Delta{Rename: to}); err != nil {
		t.Errorf("Rename: %v", err)
	}
	remove(t, s, to)
	remove(t, s, other)
}

// TestACL: a user who may do what the package comment says, and nothing else,
// suffices.
func TestACL(t *testing.T) {
	server := service.Redis(t)
	c := raws(t, server.Addr)
	words := strings.Fields("ACL SETUSER gatehouse on >secret ~gatehouse:* " +
		"+hello +auth +ping +client|tracking +client|caching " +
		"+hgetall +hmget +hget +hset +hdel +exists +del +rename +persist +pexpire +pexpireat +set " +
		"+zadd +zrem +zrange +zremrangebyscore +eval +evalsha +scan")
	if err := c.Do(t.Context(), c.B().Arbitrary(words...).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	cfg := redis.Config{}
	cfg.Client.Username, cfg.Client.Password = "gatehouse", "secret"
	s := open(t, cfg, server.Addr)
	ctx, owner := context.WithoutCancel(t.Context()), "alice"
	id, to := create(t, s), newID()
	lives(t, s, id)
	if err := s.Commit(ctx, id, &session.Delta{Owner: &owner, Delete: []string{"x"}}); err != nil {
		t.Error(err)
	}
	if err := s.Commit(ctx, id, &session.Delta{Rename: to}); err != nil {
		t.Error(err)
	}
	if n := count(t, s, session.Query{All: true}) + count(t, s, session.Query{Owner: owner}); n != 2 {
		t.Errorf("%d are listed, want 2", n)
	}
	if first, err := s.Spend(ctx, [16]byte{1}, time.Now().Add(time.Hour)); !first || err != nil {
		t.Error(first, err)
	}
	if spent, err := s.Spent(ctx, [16]byte{1}); !spent || err != nil {
		t.Error(spent, err)
	}
	remove(t, s, to)

	cfg.Client.InitAddress, cfg.Client.Password = []string{server.Addr}, "wrong-secret"
	if _, err := redis.Open(ctx, cfg); err == nil || strings.Contains(err.Error(), "wrong-secret") {
		t.Errorf("a wrong password: %v", err)
	}
}

// TestConfig: what would break a promise is refused.
func TestConfig(t *testing.T) {
	for want, change := range map[string]func(*redis.Config){
		"address":       func(c *redis.Config) { c.Client.InitAddress = nil },
		"negative":      func(c *redis.Config) { c.Wait = -1 },
		"replicas":      func(c *redis.Config) { c.Client.SendToReplicas = func(rueidis.Completed) bool { return true } },
		"from replicas": func(c *redis.Config) { c.Client.ReplicaOnly = true },
		"read from":     func(c *redis.Config) { c.Client.Standalone.ReplicaAddress = []string{"127.0.0.1:1"} },
		"RequireCache":  func(c *redis.Config) { c.RequireCache, c.NoCache = true, true },
		"DisableCache":  func(c *redis.Config) { c.RequireCache, c.Client.DisableCache = true, true },
		"AlwaysRESP2":   func(c *redis.Config) { c.RequireCache, c.Client.AlwaysRESP2 = true, true },
		"ConnLifetime":  func(c *redis.Config) { c.Client.ConnLifetime = time.Hour },
		"DialFn": func(c *redis.Config) {
			c.Client.DialFn = func(string, *net.Dialer, *tls.Config) (net.Conn, error) { return nil, nil }
		},
		"store's own": func(c *redis.Config) { c.Client.ClientTrackingOptions = []string{"BCAST"} },
		"NewCacheStoreFn": func(c *redis.Config) {
			c.Client.NewCacheStoreFn = func(rueidis.CacheStoreOption) rueidis.CacheStore { return nil }
		},
	} {
		cfg := redis.Config{}
		cfg.Client.InitAddress = []string{"127.0.0.1:1"}
		change(&cfg)
		if _, err := redis.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want something of %q", err, want)
		}
	}
}
