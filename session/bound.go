package session

import (
	"context"
	"sync"
	"time"
)

// boundContext ends after a time like [context.WithTimeout], but makes its
// timer only if somebody asks for Done: a store in memory never does.
type boundContext struct {
	context.Context
	start    time.Time
	timeout  time.Duration
	detached bool // the end of Context is not ours

	mu     sync.Mutex
	inner  context.Context
	cancel context.CancelFunc
}

func bound(ctx context.Context, timeout time.Duration) *boundContext {
	return &boundContext{Context: ctx, start: time.Now(), timeout: timeout}
}

// detach is bound without the end of ctx: the visitor may go away.
func detach(ctx context.Context, timeout time.Duration) *boundContext {
	return &boundContext{Context: ctx, start: time.Now(), timeout: timeout, detached: true}
}

func (c *boundContext) real() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner == nil {
		parent := c.Context
		if c.detached {
			parent = context.WithoutCancel(parent)
		}
		c.inner, c.cancel = context.WithDeadline(parent, c.start.Add(c.timeout))
	}
	return c.inner
}

func (c *boundContext) Deadline() (time.Time, bool) { return c.real().Deadline() }
func (c *boundContext) Done() <-chan struct{}       { return c.real().Done() }
func (c *boundContext) Err() error                  { return c.real().Err() }

// Value goes through the real one too: by it package context finds the end of a
// parent, and that of a detached one is not ours.
func (c *boundContext) Value(key any) any { return c.real().Value(key) }

// stop releases the timer. The context must not be used any more.
func (c *boundContext) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		c.cancel()
	}
}
