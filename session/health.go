package session

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// settled is how long no call must have failed for a store to have recovered.
// Where one of several servers is down, some calls fail and others do not; that
// is one outage, not hundreds.
const settled = time.Second

// health is whether the store answers, as the requests find it: nobody asks it
// for the sake of asking.
type health struct {
	failing atomic.Bool // what every request looks at

	mu          sync.Mutex
	since, last time.Time // the first and the last failure
	failures    int
}

// noted takes note of what came of a call to the store that began then. The
// caller leaves out those that failed because a visitor went away.
func (m *Manager) noted(ctx context.Context, began time.Time, err error) {
	if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrExists) || errors.Is(err, ErrConflict) {
		if m.health.failing.Load() {
			m.answered(ctx, began)
		}
		return
	}
	h := &m.health
	now := time.Now()
	h.mu.Lock()
	h.last = now
	h.failures++
	first := !h.failing.Load()
	if first {
		h.since, h.failures = now, 1
		h.failing.Store(true)
	}
	h.mu.Unlock()
	if first {
		m.observe(ctx, Event{Kind: Failing, Err: err})
		m.cfg.Logger.LogAttrs(ctx, slog.LevelError, "session: the store fails", slog.Any("error", err))
	}
}

// answered is noted for a call that succeeded while the store was failing.
func (m *Manager) answered(ctx context.Context, began time.Time) {
	h := &m.health
	h.mu.Lock()
	recovered := h.failing.Load() && began.Sub(h.last) >= settled
	failures, lasted := h.failures, began.Sub(h.since)
	if recovered {
		h.failing.Store(false)
	}
	h.mu.Unlock()
	if recovered {
		m.observe(ctx, Event{Kind: Recovered, Failures: failures, Lasted: lasted})
		m.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "session: the store answers again",
			slog.Int("failures", failures), slog.Duration("after", lasted))
	}
}
