package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// A link is a client of rueidis. With one that tracks, the server tells of changes
// to what was read so (CLIENT TRACKING, CLIENT CACHING).
type link struct {
	rueidis.Client
	tracks bool
}

// links are the link to the server, and what makes another where the server ceases
// to tell of changes, or begins to: it may be replaced by one that is less, or a
// right be taken away or given. Managed services and proxies often cannot do it.
// Without it every read asks the server; that is slower, and shows no less.
type links struct {
	opt     rueidis.ClientOption
	log     *slog.Logger
	caching bool // it is wanted
	require bool // at the start

	current atomic.Pointer[link]
	// busy: a link is being made or checked.
	busy atomic.Bool
	// checkAt is when to ask whether the server still tells of changes, and
	// whether it does so again, counted from start.
	checkAt atomic.Int64
	start   time.Time
	again   time.Duration // until the next attempt; only what is busy has it
	// Shorter in tests: checkEvery and firstAgain.
	checks, first time.Duration

	mu     sync.Mutex
	closed bool
	old    *time.Timer // closes the link before the current one
}

const (
	// checkEvery: a right that is taken away is seen by connections that are
	// there. The bound of what is cached holds meanwhile.
	checkEvery = 10 * time.Second
	// firstAgain and maxAgain are after what time it is tried again whether the
	// server tells of changes: later each time.
	firstAgain = time.Minute
	maxAgain   = time.Hour
)

// untracked says that the server does not tell of changes, and what it says.
type untracked struct{ said string }

func (u untracked) Error() string {
	return "the server does not tell of changes (CLIENT TRACKING): " + u.said
}

// trackingError returns rueidis' error, untracked if that is what it means, without
// its advice.
func trackingError(err error) error {
	if !errors.Is(err, rueidis.ErrNoCache) {
		return err
	}
	said, command, found := strings.Cut(err.Error(), ": [CLIENT ")
	switch word := firstWord(said); {
	case !found, word == "NOAUTH": // HELLO was refused, and with it what was to be done next
		return untracked{"it does not speak RESP3"}
	case unavailable[word], !strings.HasPrefix(command, "TRACKING "):
		return fmt.Errorf("CLIENT %s: %s", strings.TrimSuffix(firstLine(command), "]"), said)
	}
	return untracked{said}
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// open makes the first link.
func (l *links) open(ctx context.Context) (*link, error) {
	if !l.caching {
		return l.dial(ctx, false)
	}
	c, err := l.dial(ctx, true)
	var why untracked
	switch {
	case !errors.As(err, &why):
		return c, err
	case l.require:
		return nil, fmt.Errorf("%w: %s", ErrNoTracking, why.said)
	}
	if c, err = l.dial(ctx, false); err == nil {
		l.lost(why)
	}
	return c, err
}

// dial makes a link. It takes as long as it takes.
func (l *links) dial(ctx context.Context, tracks bool) (*link, error) {
	opt := l.opt
	opt.DisableCache = !tracks
	client, err := rueidis.NewClient(opt)
	if err != nil {
		return nil, trackingError(err)
	}
	c := &link{client, tracks}
	if tracks {
		if err := c.check(ctx); err != nil {
			client.Close()
			return nil, err
		}
	}
	return c, nil
}

// check returns untracked if the server does not let a read be tracked. A
// connection tells nothing of that when the read is made.
func (c *link) check(ctx context.Context) error {
	err := c.Do(ctx, c.B().ClientCaching().Yes().Build()).Error()
	if said, ok := rueidis.IsRedisErr(err); ok && !unavailable[firstWord(said.Error())] {
		return untracked{said.Error()}
	}
	return nil
}

// lost says that reads are not cached from now on.
func (l *links) lost(why untracked) {
	l.again = max(l.first, min(2*l.again, maxAgain))
	l.checkAfter(l.again)
	l.log.Warn("redis: reads are not cached, and each asks the server: it does not tell of changes (CLIENT TRACKING)", "server", why.said)
}

func (l *links) checkAfter(d time.Duration) { l.checkAt.Store(int64(time.Since(l.start) + d)) }

// tracks reports whether the server tells of changes, and now and then has that
// looked at.
func (l *links) tracks(now time.Time) bool {
	c := l.current.Load()
	if int64(now.Sub(l.start)) >= l.checkAt.Load() {
		l.alone(func(ctx context.Context) {
			if c.tracks {
				l.checkAfter(l.checks)
				if why, ok := errors.AsType[untracked](c.check(ctx)); ok {
					l.fallBack(ctx, why)
				}
			} else {
				l.recover(ctx)
			}
		})
	}
	return c.tracks
}

// without has the current link replaced by one that does not track, since a
// connection could not be made that does. Who needs one has to ask again.
func (l *links) without(why untracked) {
	l.alone(func(ctx context.Context) { l.fallBack(ctx, why) })
}

// suspect looks whether calls fail since the server that Sentinel has chosen does
// not tell of changes: rueidis then goes on with the one before, and does not say so.
func (l *links) suspect() {
	if c := l.current.Load(); !c.tracks || c.Mode() != rueidis.ClientModeSentinel {
		return
	}
	l.alone(func(ctx context.Context) {
		c, err := l.dial(ctx, true)
		if err == nil {
			c.Close()
		} else if why, ok := errors.AsType[untracked](err); ok {
			l.fallBack(ctx, why)
		}
	})
}

// alone runs f on a goroutine of its own, unless it is running already.
func (l *links) alone(f func(ctx context.Context)) {
	if !l.caching || !l.busy.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer l.busy.Store(false)
		ctx, cancel := context.WithTimeout(context.Background(), callTime)
		defer cancel()
		f(ctx)
	}()
}

func (l *links) fallBack(ctx context.Context, why untracked) {
	if !l.current.Load().tracks {
		return // by another call, for the same reason
	}
	if c, err := l.dial(ctx, false); err == nil && l.replace(c) {
		l.lost(why)
	}
}

func (l *links) recover(ctx context.Context) {
	c, err := l.dial(ctx, true)
	if err != nil {
		l.again = min(2*l.again, maxAgain)
		l.checkAfter(l.again)
		return
	}
	if l.replace(c) {
		l.checkAfter(l.checks)
		l.log.Info("redis: reads are cached again")
	}
}

// replace makes c the current link, unless the store is closed. Calls that are
// under way over the one before may end.
func (l *links) replace(c *link) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		c.Close()
		return false
	}
	was := l.current.Swap(c)
	l.old = time.AfterFunc(2*callTime, was.Close)
	return true
}

func (l *links) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.current.Load().Close()
	if l.old != nil && l.old.Stop() {
		l.old.Reset(0)
	}
}
