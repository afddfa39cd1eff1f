package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/seed-64ad3862/gatehouse/session"
)

// Config configures a [Store]. Only Client's addresses are required.
type Config struct {
	// Client says where the server is and how to reach it. One address is a
	// single server's, or that of any node of a Cluster; several are nodes of
	// one Cluster, or, with Sentinel.MasterSet, sentinels. [rueidis.ParseURL]
	// makes it of a URL (redis://, rediss:// with TLS); the errors of that
	// function may quote the URL with its password.
	//
	// Timeouts that are zero are shorter than those of rueidis: 2 seconds to
	// connect, 3 until a server that is silent is given up. What would break a
	// promise of the store is an error: reading from replicas, or limits to the
	// life of a connection, at whose end rueidis sends again what may have been
	// executed.
	Client rueidis.ClientOption

	// Prefix begins the name of every key, "gatehouse:" if empty.
	Prefix string

	// NoCache has every read ask the server. See the package comment for what
	// a cached one may show.
	NoCache bool

	// RequireCache has [Open] fail with [ErrNoTracking] where the server does not
	// tell of changes. Otherwise every read asks it then, with a warning in the
	// log; in either case so if it ceases to tell of them later.
	RequireCache bool

	// CacheBytes bounds what the cache takes, 32 MiB if zero or less.
	CacheBytes int64

	// Wait is how many replicas must have what is written before a call
	// returns, none if zero. Where that takes longer than the call may, it is
	// an error although the server has it. Each write then takes a connection
	// of its own.
	Wait int

	// Logger is told when reads cease to be cached, and when they are again.
	// [slog.Default] if nil.
	Logger *slog.Logger
}

// ErrNoTracking says that the server, or a proxy before it, does not tell of
// changes: it does not know CLIENT TRACKING or RESP3, or the user may not use it.
var ErrNoTracking = errors.New("the server does not tell of changes (CLIENT TRACKING), which Config.RequireCache asks for")

// A Store is a [session.Store] and [session.Lister], and remembers the
// challenges that are spent (captcha.Once). It may be used concurrently.
//
// Every method asks again until its context ends where the server is away or
// about to be replaced, but sends nothing twice that may have been executed: its
// error then means that nobody can know. A context without a deadline gets one
// of 5 seconds.
type Store struct {
	remote  remote
	keys    keys
	cache   *cache // nil: none
	cluster bool
}

const (
	defaultPrefix       = "gatehouse:"
	defaultDialTimeout  = 2 * time.Second
	defaultSilence      = 3 * time.Second
	defaultSentinelPoll = 5 * time.Second
	// defaultFlushDelay lets calls that are made at once go out as one packet:
	// half the work for this machine and the server. One alone does not wait.
	defaultFlushDelay = 50 * time.Microsecond
	// maxRedirects: where nodes send us to each other, we wait a little instead.
	maxRedirects = 4
)

// Open connects to the server, which must be there, or says what is wrong.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	s, err := configure(cfg)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	type opened struct {
		link *link
		err  error
	}
	ch := make(chan opened)
	go func() {
		link, err := s.remote.open(ctx)
		select {
		case ch <- opened{link, err}:
		case <-ctx.Done():
			if err == nil {
				link.Close()
			}
		}
	}()
	select {
	case o := <-ch:
		if o.err != nil {
			return nil, fmt.Errorf("redis: open: %w", explained(ctx, cfg.Client, o.err))
		}
		s.remote.current.Store(o.link)
		s.cluster = o.link.Mode() == rueidis.ClientModeCluster
		s.warm(ctx)
		s.begin(ctx)
		return s, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("redis: open: %w", ctx.Err())
	}
}

// warm makes the second connection, the one for reads that are tracked, which
// rueidis has not made yet. Who came first would have to wait for the server's
// greeting, and could not be called away. Those of a Cluster's nodes are made as
// they are needed.
func (s *Store) warm(ctx context.Context) {
	if s.remote.current.Load().tracks && !s.cluster {
		_, _, _ = s.readHandle(ctx, session.Handle{}, true) // there is none
	}
}

func configure(cfg Config) (*Store, error) {
	opt := cfg.Client
	fail := func(text string) (*Store, error) { return nil, errors.New(text) }
	noCache := cfg.NoCache || opt.DisableCache || opt.AlwaysRESP2
	switch {
	case len(opt.InitAddress) == 0:
		return fail("Config.Client needs an address")
	case cfg.Wait < 0:
		return fail("Config.Wait is negative")
	case cfg.RequireCache && noCache:
		return fail("Config.RequireCache contradicts NoCache, Client.DisableCache and AlwaysRESP2")
	case opt.SendToReplicas != nil, opt.ReplicaOnly, len(opt.Standalone.ReplicaAddress) != 0:
		return fail("Config.Client must not read from replicas: they show sessions that have ended")
	case opt.ConnLifetime != 0:
		return fail("Config.Client.ConnLifetime must be zero: rueidis sends again what was under way, and it may have been executed")
	case opt.DialFn != nil, opt.DisableAutoPipelining:
		return fail("Config.Client.DialFn and DisableAutoPipelining heed no context")
	case opt.NewCacheStoreFn != nil, opt.ClientTrackingOptions != nil:
		return fail("Config.Client.NewCacheStoreFn and ClientTrackingOptions are the store's own")
	}
	set(&cfg.Prefix, defaultPrefix)
	set(&opt.Dialer.Timeout, defaultDialTimeout)
	set(&opt.Dialer.KeepAlive, rueidis.DefaultTCPKeepAlive)
	set(&opt.ConnWriteTimeout, defaultSilence)
	set(&opt.Sentinel.TopologyRefreshInterval, defaultSentinelPoll)
	set(&opt.ClusterOption.MaxMovedRedirections, maxRedirects)
	set(&opt.MaxFlushDelay, defaultFlushDelay)
	opt.DisableRetry = true                                                      // see call
	opt.AlwaysPipelining = true                                                  // else it heeds no cancellation while it is alone
	opt.RingScaleEachConn = max(opt.RingScaleEachConn, rueidis.DefaultRingScale) // see straight
	opt.InitAddress = slices.Clone(opt.InitAddress)                              // rueidis may shuffle it

	s := &Store{keys: keys{cfg.Prefix}}
	r := &s.remote
	r.wait = cfg.Wait
	opt.DialCtxFn = r.gate.dial(&opt)
	r.gate.start = time.Now()
	r.gate.apart = cfg.Wait > 0
	r.gate.patience = opt.Dialer.Timeout
	r.gate.linger = opt.ConnWriteTimeout + 2*opt.Dialer.KeepAlive
	r.log = cmp.Or(cfg.Logger, slog.Default())
	r.start, r.checks, r.first = r.gate.start, checkEvery, firstAgain
	if noCache {
		opt.DisableCache = true
		r.opt = opt
		return s, nil
	}
	if cfg.CacheBytes <= 0 {
		cfg.CacheBytes = defaultCacheBytes
	}
	s.cache = newCache(cfg.CacheBytes)
	opt.NewCacheStoreFn = func(rueidis.CacheStoreOption) rueidis.CacheStore { return tracked{s.cache, s.keys} }
	r.opt, r.caching, r.require = opt, true, cfg.RequireCache
	r.checkAfter(r.checks)
	return s, nil
}

func set[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Close ends the connections, and with them every call that is under way.
func (s *Store) Close() {
	s.remote.closed.Store(true)
	s.remote.close()
}

// Load implements [session.Store].
func (s *Store) Load(ctx context.Context, id session.ID) (session.Record, error) {
	if s.cache == nil {
		r, _, err := s.read(ctx, id, false)
		return r, failed("load", err)
	}
	now := time.Now()
	if r := s.cache.get(&id, now); r != nil {
		return *r, nil
	}
	if !s.remote.tracks(now) {
		r, _, err := s.read(ctx, id, false)
		return r, failed("load", err)
	}
	announced := s.cache.announce(id.Handle(), now)
	r, tracked, err := s.read(ctx, id, announced != nil)
	switch {
	case announced == nil && err == nil:
		s.cache.meet(id.Handle())
	case tracked && err == nil:
		kept := r
		s.cache.keep(announced, &kept)
	case announced != nil:
		s.cache.withdraw(announced)
	}
	return r, failed("load", err)
}

// read reads the session with this ID. If track is set and the server can do it, it
// tells when the session changes.
func (s *Store) read(ctx context.Context, id session.ID, track bool) (r session.Record, tracked bool, err error) {
	r, tracked, err = s.readHandle(ctx, id.Handle(), track)
	if err == nil && r.ID != id {
		err = session.ErrNotFound
	}
	if err != nil {
		return session.Record{}, false, err
	}
	return r, tracked, nil
}

func (s *Store) readHandle(ctx context.Context, h session.Handle, track bool) (r session.Record, tracked bool, err error) {
	type answer struct {
		rueidis.RedisMessage
		tracked bool
	}
	key := s.keys.session(h)
	a, err := call(ctx, &s.remote, true, func(ctx context.Context) (a answer, err error) {
		c := s.remote.current.Load()
		get := c.B().Hgetall().Key(key)
		if a.tracked = track && c.tracks; a.tracked {
			a.RedisMessage, err = message(c.DoCache(ctx, get.Cache().ToStaticTTL(), staleAfter))
		} else {
			a.RedisMessage, err = message(c.Do(ctx, get.Build()))
		}
		return a, err
	})
	if err != nil {
		return r, false, err
	}
	hash, err := a.AsStrMap()
	if err != nil {
		return r, false, err
	}
	r, ok := decode(hash)
	if !ok {
		return r, false, session.ErrNotFound
	}
	return r, a.tracked, nil
}

// Find implements [session.Lister]. It always asks the server.
func (s *Store) Find(ctx context.Context, h session.Handle) (session.Record, error) {
	r, _, err := s.readHandle(ctx, h, false)
	return r, failed("find", err)
}

// Delete implements [session.Store].
func (s *Store) Delete(ctx context.Context, id session.ID) error {
	defer s.forget(id)
	h := id.Handle()
	msg, err := s.run(ctx, deleteScript, false, []string{s.keys.session(h)}, []string{hexID(id)})
	if err != nil {
		return failed("delete", err)
	}
	list, err := msg.ToArray()
	if err != nil || len(list) == 0 {
		return failed("delete", err)
	}
	tag, err := list[0].ToString()
	if err != nil {
		return failed("delete", err)
	}
	s.unindex(ctx, s.keys.indexes(pairs(list[1:]), h), entryOf(h, tag))
	return nil
}

// Spend records the id as spent until that time and reports whether this call
// was the first to do so: of any number of calls, on any number of machines,
// exactly one is. None is for an id whose time is over. If it cannot tell, because
// the connection broke or memory is full, it is an error.
func (s *Store) Spend(ctx context.Context, id [16]byte, until time.Time) (first bool, err error) {
	// In milliseconds from now: the server's clock may be another. Two of them are for
	// what is rounded down, here and in the server, which counts whole ones: the mark
	// must not be gone before the id is.
	left := time.Until(until)
	if left <= 0 {
		return false, nil
	}
	key, ms := s.keys.spent(id), left.Milliseconds()+2
	msg, err := s.remote.write(ctx, false, func(ctx context.Context, c rueidis.CommandClient) rueidis.RedisResult {
		return c.Do(ctx, c.B().Set().Key(key).Value("").Nx().PxMilliseconds(ms).Build())
	})
	if err != nil {
		return false, failed("spend", err)
	}
	return !msg.IsNil(), nil
}

// Spent reports whether the id is spent.
func (s *Store) Spent(ctx context.Context, id [16]byte) (bool, error) {
	spent, err := s.exists(ctx, s.keys.spent(id))
	return spent, failed("spent", err)
}

func (s *Store) exists(ctx context.Context, key string) (bool, error) {
	msg, err := s.remote.read(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return c.Do(ctx, c.B().Exists().Key(key).Build())
	})
	if err != nil {
		return false, err
	}
	n, err := msg.ToInt64()
	return n > 0, err
}

// forget has this process see what it has done, whatever became of it. It must
// come before the call returns.
func (s *Store) forget(id session.ID) {
	if s.cache != nil {
		s.cache.forget(id.Handle())
	}
}

// failed says in which operation an error came up. What a [session.Store]
// answers with stays as it is.
func failed(operation string, err error) error {
	if err == nil || errors.Is(err, session.ErrNotFound) || errors.Is(err, session.ErrExists) || errors.Is(err, session.ErrConflict) {
		return err
	}
	if said, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(said.Error(), "OOM ") {
		return fmt.Errorf("redis: %s: %w: %w", operation, session.ErrFull, err)
	}
	return fmt.Errorf("redis: %s: %w", operation, err)
}
