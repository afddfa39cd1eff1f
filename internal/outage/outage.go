// Package outage sees the failures of something that many requests call, such as a
// store, as outages with a beginning and an end, so that a log has two lines of each
// instead of one for every request that meets it.
package outage

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Settled is how long no call must have failed for an outage to be over. Where one of
// several servers is down, some calls fail and others do not; that is one outage, not
// hundreds.
const Settled = time.Second

// An Outage is whether something fails, as those who call it find: nothing asks it for
// the sake of asking. The zero Outage is none. It may be used concurrently.
type Outage struct {
	failing atomic.Bool // what every call looks at

	mu          sync.Mutex
	since, last time.Time // the first and the last failure
	failures    int
}

// A Change is what a call has changed: mostly nothing.
type Change struct {
	Begins, Ends bool

	// Of one that ends: how many calls have failed, and how long it has lasted.
	Failures int
	Lasted   time.Duration
}

// Failing reports whether there is an outage.
func (o *Outage) Failing() bool { return o.failing.Load() }

// Note takes note of a call that began then, and failed unless err is nil.
func (o *Outage) Note(began time.Time, err error) Change {
	if err == nil {
		if !o.failing.Load() {
			return Change{}
		}
		return o.succeeded(began)
	}
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = now
	o.failures++
	if o.failing.Load() {
		return Change{}
	}
	o.since, o.failures = now, 1
	o.failing.Store(true)
	return Change{Begins: true}
}

// succeeded notes a call that succeeded during an outage.
func (o *Outage) succeeded(began time.Time) Change {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.failing.Load() || began.Sub(o.last) < Settled {
		return Change{}
	}
	o.failing.Store(false)
	return Change{Ends: true, Failures: o.failures, Lasted: began.Sub(o.since)}
}

// Log tells a log of the change, if there is one: what, "session: the store" say, fails
// with that error, or answers again.
func (c Change) Log(ctx context.Context, log *slog.Logger, what string, err error) {
	switch {
	case c.Begins:
		log.LogAttrs(ctx, slog.LevelError, what+" fails", slog.Any("error", err))
	case c.Ends:
		log.LogAttrs(ctx, slog.LevelInfo, what+" answers again", slog.Int("failures", c.Failures), slog.Duration("after", c.Lasted))
	}
}
