package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// errClosed is what calls get after [Store.Close].
var errClosed = errors.New("the store is closed")

// remote is the server, or the servers, behind a client of rueidis. It decides
// what is sent again: rueidis only follows MOVED and ASK.
type remote struct {
	links
	gate   gate
	wait   int // replicas that must have a write
	closed atomic.Bool
}

// errBehind says that a change was made and may still be lost.
var errBehind = errors.New("it is done, but not on as many replicas as Config.Wait asks for")

const (
	// callTime bounds a call whose context has no deadline.
	callTime = 5 * time.Second

	firstPause = 5 * time.Millisecond
	maxPause   = 250 * time.Millisecond
)

// call sends f until it is answered or the context ends. What may have been
// executed is not sent again unless it is harmless twice: a second Create would
// find the first one's record, a second Delete nothing.
func call[T any](ctx context.Context, r *remote, harmless bool, f func(ctx context.Context) (T, error)) (T, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTime)
		defer cancel()
	}
	var last error
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		v, err := through(ctx, &r.gate, f)
		if err == nil {
			return v, nil
		}
		err = trackingError(err)
		if why, ok := errors.AsType[untracked](err); ok {
			r.without(why)
		}
		if r.closed.Load() {
			return v, errClosed
		}
		if ctx.Err() != nil {
			return v, ended(ctx, last)
		}
		switch {
		case refused(err), harmless && broken(err):
		case broken(err):
			return v, fmt.Errorf("the connection broke, and nobody knows whether it was done: %w", err)
		default:
			return v, err
		}
		last = err
		if pause == maxPause {
			r.suspect()
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return v, ended(ctx, last)
		}
	}
}

// ended is the context's error, with what the server said while there was time.
func ended(ctx context.Context, last error) error {
	if last == nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w; before: %w", ctx.Err(), last)
}

// refused reports whether the error says that the command was not executed, and
// may be soon: the server is starting, or is about to be replaced by another, or
// cannot be reached at all.
func refused(err error) bool {
	if said, ok := rueidis.IsRedisErr(err); ok {
		return unavailable[firstWord(said.Error())]
	}
	var op *net.OpError
	var why untracked
	return errors.Is(err, rueidis.ErrNoSlot) || errors.As(err, &op) && op.Op == "dial" || errors.As(err, &why)
}

// unavailable are the words with which a server says so.
var unavailable = map[string]bool{
	"LOADING": true, "READONLY": true, "MASTERDOWN": true, "CLUSTERDOWN": true,
	"TRYAGAIN": true, "MOVED": true, "ASK": true, "BUSY": true,
}

func firstWord(text string) string {
	word, _, _ := strings.Cut(text, " ")
	return word
}

// broken reports whether the error is the connection's: whether the command was
// executed, nobody can know.
func broken(err error) bool {
	_, answered := rueidis.IsRedisErr(err)
	return !answered && !errors.Is(err, errBehind) && !errors.Is(err, errBusy)
}

// read sends a command that changes nothing.
func (r *remote) read(ctx context.Context, f func(ctx context.Context, c rueidis.Client) rueidis.RedisResult) (rueidis.RedisMessage, error) {
	return call(ctx, r, true, func(ctx context.Context) (rueidis.RedisMessage, error) {
		return message(f(ctx, r.current.Load()))
	})
}

// write sends a command that changes something, and waits for replicas if that
// was asked for.
func (r *remote) write(ctx context.Context, harmless bool, f func(ctx context.Context, c rueidis.CommandClient) rueidis.RedisResult) (rueidis.RedisMessage, error) {
	return call(ctx, r, harmless, func(ctx context.Context) (msg rueidis.RedisMessage, err error) {
		if r.wait == 0 {
			return message(f(ctx, r.current.Load()))
		}
		// WAIT is about what its own connection has written.
		err = r.current.Load().Dedicated(func(c rueidis.DedicatedClient) error {
			if msg, err = message(f(ctx, c)); err != nil || refusal(&msg) != nil {
				return err
			}
			return r.replicated(ctx, c)
		})
		return msg, err
	})
}

func (r *remote) replicated(ctx context.Context, c rueidis.DedicatedClient) error {
	patience := callTime
	if end, ok := ctx.Deadline(); ok {
		patience = time.Until(end)
	}
	// In time to say so; and zero would be for ever.
	ms := max(1, patience.Milliseconds()*9/10)
	n, err := c.Do(ctx, c.B().Wait().Numreplicas(int64(r.wait)).Timeout(ms).Build()).AsInt64()
	if err == nil && n < int64(r.wait) {
		err = fmt.Errorf("%w: %d of %d have it", errBehind, n, r.wait)
	}
	return err
}

// batch sends commands that are harmless twice, all at once.
func (r *remote) batch(ctx context.Context, build func(b rueidis.Builder) []rueidis.Completed) ([]rueidis.RedisMessage, error) {
	return r.batchTo(ctx, func() rueidis.Client { return r.current.Load() }, build)
}

// batchTo sends them to one node.
func (r *remote) batchTo(ctx context.Context, node func() rueidis.Client, build func(b rueidis.Builder) []rueidis.Completed) ([]rueidis.RedisMessage, error) {
	return call(ctx, r, true, func(ctx context.Context) ([]rueidis.RedisMessage, error) {
		client := node()
		results := client.DoMulti(ctx, build(client.B())...)
		msgs := make([]rueidis.RedisMessage, len(results))
		for i := range results {
			var err error
			if msgs[i], err = message(results[i]); err != nil {
				return nil, err
			}
		}
		return msgs, nil
	})
}

// message returns the answer; nil is one too.
func message(res rueidis.RedisResult) (rueidis.RedisMessage, error) {
	msg, err := res.ToMessage()
	if rueidis.IsRedisNil(err) {
		err = nil
	}
	return msg, err
}
