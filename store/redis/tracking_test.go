package redis_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/redis"
)

// A logbook is what a store has written into its log.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// config is one for a machine that is slow to connect.
func (l *logbook) config() (cfg redis.Config) {
	cfg.Logger = l.logger()
	cfg.Client.Dialer.Timeout = 30 * time.Second
	return cfg
}

func (l *logbook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logbook) has(t *testing.T, warnings, recoveries int) {
	t.Helper()
	text := l.String()
	if n := strings.Count(text, "level=WARN"); n != warnings {
		t.Errorf("%d warnings, want %d:\n%s", n, warnings, text)
	}
	if n := strings.Count(text, "cached again"); n != recoveries {
		t.Errorf("%d recoveries, want %d:\n%s", n, recoveries, text)
	}
	if strings.Contains(text, "ClientOption") || strings.Contains(text, "secret") {
		t.Errorf("the log says more than it should:\n%s", text)
	}
}

// eventually waits for what must come.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in a minute: %s", what)
		}
	}
}

// A lesser server is a proxy before one that refuses what it is told to.
type lesser struct {
	*proxy
	reads  atomic.Int64
	refuse atomic.Pointer[refusals]
}

// refusals answers commands that begin with some words.
type refusals map[string]string

func newLesser(t *testing.T, to string, r refusals) *lesser {
	t.Helper()
	l := &lesser{proxy: newProxy(t, to)}
	l.refuse.Store(&r)
	l.ask(func(words []string) string {
		if words[0] == "HGETALL" {
			l.reads.Add(1)
		}
		for command, answer := range *l.refuse.Load() {
			for i, word := range strings.Fields(command) {
				if i >= len(words) || !strings.EqualFold(words[i], word) {
					answer = ""
				}
			}
			if instead, ok := strings.CutPrefix(answer, "instead: "); ok {
				words[1] = instead
			} else if answer != "" {
				return answer
			}
		}
		return ""
	})
	return l
}

// uncached fails if a read is not sent to the server.
func (l *lesser) uncached(t *testing.T, s, other *redis.Store) {
	t.Helper()
	id := create(t, s, session.Field{Key: "n", Value: "1"})
	before := l.reads.Load()
	for range 10 {
		lives(t, s, id)
	}
	if n := l.reads.Load() - before; n != 10 {
		t.Errorf("of 10 reads the server was asked %d", n)
	}
	remove(t, other, id)
	if lives(t, s, id) {
		t.Error("a session that has ended elsewhere is shown")
	}
	if err := s.Commit(t.Context(), id, &session.Delta{Seen: time.Now()}); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Commit: %v", err)
	}
}

// caches waits until a read is not sent to the server.
func (l *lesser) caches(t *testing.T, s *redis.Store) {
	t.Helper()
	id := create(t, s)
	eventually(t, "a cached read", func() bool {
		before := l.reads.Load()
		lives(t, s, id)
		return l.reads.Load() == before
	})
	remove(t, s, id)
}

// acl sets a user's rights.
func acl(t testing.TB, addr string, words ...string) {
	t.Helper()
	c := raws(t, addr)
	if err := c.Do(t.Context(), c.B().Arbitrary("ACL", "SETUSER").Args(words...).Build()).Error(); err != nil {
		t.Fatal(err)
	}
}

// TestUntracked: where the server cannot tell of changes, or a proxy before it, or
// the user may not have it do so, reads are not cached, and the log says so once.
func TestUntracked(t *testing.T) {
	t.Parallel()
	const everything = "+@all ~* &*"
	for name, test := range map[string]struct {
		refuse refusals
		rights string // of the user, who then has a password
		cached bool
	}{
		"nothing":                   {cached: true},
		"HELLO unknown":             {refuse: refusals{"HELLO": "ERR unknown command 'HELLO', with args beginning with: '3' "}},
		"hello unknown":             {refuse: refusals{"HELLO": "ERR unknown command `hello`"}},
		"RESP3 unknown":             {refuse: refusals{"HELLO 3": "NOPROTO unsupported protocol version"}},
		"HELLO not allowed":         {refuse: refusals{"HELLO": "NOPERM this user has no permissions to run the 'hello' command"}},
		"HELLO in other words":      {refuse: refusals{"HELLO": "ERR unsupported command"}},
		"HELLO 3 in other words":    {refuse: refusals{"HELLO 3": "ERR syntax error"}},
		"RESP2 in answer to RESP3":  {refuse: refusals{"HELLO 3": "instead: 2"}},
		"HELLO and CLIENT unknown":  {refuse: refusals{"HELLO": "ERR unknown command 'hello'", "CLIENT": "ERR unknown command 'client'"}},
		"CLIENT unknown":            {refuse: refusals{"CLIENT": "ERR unknown command 'CLIENT', with args beginning with: 'TRACKING' 'ON' 'OPTIN' "}},
		"CLIENT TRACKING unknown":   {refuse: refusals{"CLIENT TRACKING": "ERR unknown subcommand 'TRACKING'. Try CLIENT HELP."}},
		"CLIENT TRACKING, short":    {refuse: refusals{"CLIENT TRACKING": "ERR"}},
		"CLIENT CACHING unknown":    {refuse: refusals{"CLIENT CACHING": "ERR unknown subcommand 'CACHING'. Try CLIENT HELP."}},
		"CLIENT SETINFO unknown":    {refuse: refusals{"CLIENT SETINFO": "ERR unknown subcommand", "CLIENT ID": "ERR unknown", "CLIENT NO-TOUCH": "ERR unknown"}, cached: true},
		"a user":                    {rights: everything, cached: true},
		"a user, HELLO unknown":     {rights: everything, refuse: refusals{"HELLO": "ERR unknown command 'HELLO'"}},
		"a user, HELLO, other":      {rights: everything, refuse: refusals{"HELLO": "ERR unsupported command"}},
		"a user, RESP3 unknown":     {rights: everything, refuse: refusals{"HELLO 3": "NOPROTO unsupported protocol version"}},
		"a user without CLIENT":     {rights: everything + " -client"},
		"a user without TRACKING":   {rights: everything + " -client|tracking"},
		"a user without CACHING":    {rights: everything + " -client|caching"},
		"a user without SETINFO":    {rights: everything + " -client|setinfo -client|id -client|no-touch", cached: true},
		"a user without connection": {rights: everything + " -@connection +ping +auth +hello"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := service.Redis(t)
			if strings.Contains(name, "SETINFO") && test.rights != "" && before72(t, server.Addr) {
				test.rights = everything + " -client|id"
			}
			other := open(t, redis.Config{NoCache: true}, server.Addr)
			var log logbook
			cfg := log.config()
			if test.rights != "" {
				acl(t, server.Addr, append([]string{"visitor", "on", ">secret"}, strings.Fields(test.rights)...)...)
				cfg.Client.Username, cfg.Client.Password = "visitor", "secret"
			}
			p := newLesser(t, server.Addr, test.refuse)
			s := open(t, cfg, p.addr)
			if test.cached {
				p.caches(t, s)
				log.has(t, 0, 0)
			} else {
				p.uncached(t, s, other)
				p.cut()
				recovers(t, s, create(t, other))
				p.uncached(t, s, other)
				log.has(t, 1, 0)
			}

			cfg.RequireCache = true
			cfg.Client.InitAddress = []string{p.addr}
			s, err := redis.Open(t.Context(), cfg)
			switch {
			case test.cached && err != nil:
				t.Errorf("Open with RequireCache: %v", err)
			case test.cached:
				s.Close()
			case !errors.Is(err, redis.ErrNoTracking) || strings.Contains(err.Error(), "ClientOption"):
				t.Errorf("Open with RequireCache: %v", err)
			}
		})
	}
}

// before72 reports whether the server has not all the commands of Redis 7.2, which
// a user cannot be refused then.
func before72(t *testing.T, addr string) bool {
	t.Helper()
	c := raws(t, addr)
	return c.Do(t.Context(), c.B().Arbitrary("CLIENT", "NO-TOUCH", "OFF").Build()).Error() != nil
}

// TestGreetingFails: what is wrong with a greeting that is not about RESP3 or
// tracking is told as it is, and taken for nothing else.
func TestGreetingFails(t *testing.T) {
	server := service.Redis(t)
	acl(t, server.Addr, "visitor", "on", ">secret", "+@all", "~*")
	for name, test := range map[string]struct {
		refuse refusals
		change func(*redis.Config)
		want   string
	}{
		"password":  {nil, func(c *redis.Config) { c.Client.Username, c.Client.Password = "visitor", "another" }, "WRONGPASS"},
		"no user":   {refusals{"HELLO": "NOAUTH HELLO must be called with the client already authenticated"}, nil, "NOAUTH"},
		"loading":   {refusals{"HELLO": "LOADING Redis is loading the dataset in memory"}, nil, "LOADING"},
		"busy":      {refusals{"CLIENT TRACKING": "BUSY Redis is busy running a script"}, nil, "BUSY"},
		"touch":     {refusals{"CLIENT NO-TOUCH": "ERR no such thing"}, func(c *redis.Config) { c.Client.ClientNoTouch = true }, "no such thing"},
		"RESP2":     {refusals{"HELLO": "ERR what?"}, func(c *redis.Config) { c.Client.Username, c.Client.Password = "visitor", "another" }, "WRONGPASS"},
		"protected": {refusals{"HELLO": "DENIED Redis is running in protected mode"}, nil, "DENIED"},
	} {
		var log logbook
		p := newLesser(t, server.Addr, test.refuse)
		cfg := log.config()
		cfg.Client.InitAddress = []string{p.addr}
		if test.change != nil {
			test.change(&cfg)
		}
		s, err := redis.Open(t.Context(), cfg)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "ClientOption") {
			t.Errorf("%s: %v", name, err)
		}
		log.has(t, 0, 0)
	}
}

// TestTrackingLost: where the server ceases to tell of changes, calls succeed
// nonetheless, reads are not cached, and the log says so once; and they are again
// when it does.
func TestTrackingLost(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		refuse refusals
		rights string // that are taken away
		cut    bool
	}{
		"HELLO unknown":             {refuse: refusals{"HELLO": "ERR unknown command 'HELLO'"}, cut: true},
		"HELLO in other words":      {refuse: refusals{"HELLO": "ERR unsupported command"}, cut: true},
		"RESP3 unknown":             {refuse: refusals{"HELLO 3": "NOPROTO unsupported protocol version"}, cut: true},
		"CLIENT unknown":            {refuse: refusals{"CLIENT": "ERR unknown command 'CLIENT'"}, cut: true},
		"CLIENT TRACKING refused":   {refuse: refusals{"CLIENT TRACKING": "ERR not here"}, cut: true},
		"CLIENT CACHING refused":    {refuse: refusals{"CLIENT CACHING": "ERR not here"}},
		"right to TRACKING is gone": {rights: "-client|tracking", cut: true},
		"right to CACHING is gone":  {rights: "-client|caching"},
		"right to CLIENT is gone":   {rights: "-client"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := service.Redis(t)
			other := open(t, redis.Config{NoCache: true}, server.Addr)
			p := newLesser(t, server.Addr, nil)
			var log logbook
			s := open(t, log.config(), p.addr)
			s.CheckTracking(20 * time.Millisecond)
			p.caches(t, s)
			id := create(t, other, session.Field{Key: "n", Value: "0"})

			if test.rights != "" {
				acl(t, server.Addr, append([]string{"default"}, test.rights)...)
			}
			p.refuse.Store(&test.refuse)
			if test.cut {
				p.cut()
			}
			// No call is lost that had not been sent.
			for range 3 {
				recovers(t, s, id)
			}
			eventually(t, "a warning", func() bool { lives(t, s, id); return strings.Contains(log.String(), "WARN") })
			p.uncached(t, s, other)
			log.has(t, 1, 0)

			if test.rights != "" {
				acl(t, server.Addr, "default", "+@all")
			}
			p.refuse.Store(&refusals{})
			eventually(t, "the recovery", func() bool { lives(t, s, id); return strings.Contains(log.String(), "again") })
			p.caches(t, s)
			log.has(t, 1, 1)

			// What is cached from then on is told of.
			cached(t, s, id)
			remove(t, other, id)
			if d := shown(t, s, id); d >= bound {
				t.Errorf("a session that has ended is shown for %v", d)
			}
		})
	}
}

// TestTrackingLostUnderLoad: no change is made twice or lost while links change.
func TestTrackingLostUnderLoad(t *testing.T) {
	t.Parallel()
	server := service.Redis(t)
	sure := open(t, redis.Config{NoCache: true}, server.Addr)
	p := newLesser(t, server.Addr, nil)
	var log logbook
	s := open(t, log.config(), p.addr)
	s.CheckTracking(20 * time.Millisecond)
	const workers = 16
	ids := make([]session.ID, workers)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for i := range workers {
		ids[i] = create(t, sure, session.Field{Key: "n", Value: "x"})
		wg.Go(func() {
			// Each change is one that a second time, or after one that was lost,
			// would be refused.
			was := "x"
			for n := 0; !stop.Load(); n++ {
				value := was[:1] + strings.Repeat("y", n%7)
				if value == was {
					continue
				}
				d := &session.Delta{Seen: time.Now(), If: []session.Field{{Key: "n", Value: was}}, Set: []session.Field{{Key: "n", Value: value}}}
				if err := s.Commit(context.WithoutCancel(t.Context()), ids[i], d); err != nil {
					t.Errorf("Commit: %v", err)
					return
				}
				was = value
				if r, err := s.Load(context.WithoutCancel(t.Context()), ids[i]); err != nil || r.Fields[0].Value != value {
					t.Errorf("Load: %+v, %v, want %q", r.Fields, err, value)
					return
				}
			}
		})
	}
	for range 3 {
		before := strings.Count(log.String(), "WARN")
		p.refuse.Store(&refusals{"CLIENT CACHING": "ERR not here"})
		eventually(t, "a warning", func() bool { return strings.Count(log.String(), "WARN") > before })
		p.refuse.Store(&refusals{})
		eventually(t, "the recovery", func() bool { return strings.Count(log.String(), "again") > before })
	}
	stop.Store(true)
	wg.Wait()
}

// TestUntrackedNodes: the same of nodes of a Cluster, and of a master that Sentinel
// has chosen.
func TestUntrackedNodes(t *testing.T) {
	t.Parallel()
	t.Run("Cluster", func(t *testing.T) {
		t.Parallel()
		cluster := service.RedisCluster(t)
		other := open(t, redis.Config{NoCache: true}, cluster.Addrs()...)
		var log logbook
		s := open(t, log.config(), cluster.Addrs()...)
		var ids []session.ID
		for range 50 { // on all nodes
			ids = append(ids, create(t, other))
			cached(t, s, ids[len(ids)-1])
		}
		log.has(t, 0, 0)
		one := cluster.Nodes[0]
		for _, n := range cluster.Nodes {
			if role(t, n)[0] == "master" {
				one = n
			}
		}
		acl(t, one.Addr, "default", "-client|tracking")
		c := raws(t, one.Addr)
		_ = c.Do(t.Context(), c.B().Arbitrary("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Build())
		for _, id := range ids {
			recovers(t, s, id)
			remove(t, other, id)
			if d := shown(t, s, id); d >= bound {
				t.Errorf("a session that has ended is shown for %v", d)
			}
		}
		log.has(t, 1, 0)

		for _, n := range cluster.Nodes {
			acl(t, n.Addr, "default", "-client|tracking")
		}
		s = open(t, log.config(), cluster.Addrs()...)
		id := create(t, s)
		cached(t, s, id)
		remove(t, other, id)
		if lives(t, s, id) {
			t.Error("a session that has ended elsewhere is shown")
		}
		log.has(t, 2, 0)
	})
	t.Run("Sentinel", func(t *testing.T) {
		t.Parallel()
		watched := service.RedisSentinel(t)
		acl(t, watched.Replica.Addr, "default", "-client|tracking")
		var log logbook
		cfg := log.config()
		cfg.Client.Sentinel.MasterSet = watched.Name
		s := open(t, cfg, watched.Sentinel.Addr)
		cfg.Wait = 1 // the replica has the session before the master dies
		id := create(t, open(t, cfg, watched.Sentinel.Addr))
		cached(t, s, id)
		log.has(t, 0, 0)
		watched.Master.Kill()
		eventually(t, "a call that succeeds", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return s.Commit(ctx, id, &session.Delta{Seen: time.Now()}) == nil
		})
		recovers(t, s, id)
		log.has(t, 1, 0)
	})
}
