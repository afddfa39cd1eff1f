package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// A gate makes every caller's context count, which rueidis does not in two
// places: who needs a connection while another caller is dialing waits for that
// caller, and who finds the queue of a connection full, because the server does
// not answer, waits for room. While all is well, calls go straight through; else
// each is made on a goroutine of its own, which its caller leaves in time.
type gate struct {
	// under counts calls: those under way, and those given up that may still
	// take room in a queue.
	under atomic.Int64
	// calmAt is when all is well again if nothing more happens, counted from
	// start: some time after a connection broke or a call was not answered.
	calmAt atomic.Int64
	start  time.Time
	// dialing counts connections on which the server has not said anything yet.
	dialing atomic.Int64
	// apart: no call goes straight through. Who waits for replicas takes a
	// connection from a pool, and may have to dial or wait for it.
	apart bool
	// linger is how long a call that was given up may take room: a connection
	// that is silent for so long has been closed by rueidis.
	linger time.Duration
	// patience is how long a server may take for its first word.
	patience time.Duration
}

const (
	// straight is well below what fits into the queue of one connection.
	straight = 1 << (rueidis.DefaultRingScale - 1)
	// alarmed is how long after the last sign of trouble more of it is expected.
	alarmed = 5 * time.Second
	// atOnce bounds the goroutines that wait for a server that is away.
	atOnce = 1 << 14
)

var errBusy = errors.New("too many calls wait for the server")

func through[T any](ctx context.Context, g *gate, f func(ctx context.Context) (T, error)) (T, error) {
	n := g.under.Add(1)
	if n <= straight && !g.apart && g.calm() {
		v, err := f(ctx)
		g.leave(ctx, err)
		return v, err
	}
	var none T
	if n > atOnce {
		g.under.Add(-1)
		return none, errBusy
	}
	type answer struct {
		v   T
		err error
	}
	answered := make(chan answer, 1)
	go func() {
		v, err := f(ctx)
		g.leave(ctx, err)
		answered <- answer{v, err}
	}()
	select {
	case a := <-answered:
		return a.v, a.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

func (g *gate) leave(ctx context.Context, err error) {
	switch {
	case err == nil || !broken(err):
	case ctx.Err() == nil:
		g.alarm()
	default: // given up
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			g.alarm()
		}
		time.AfterFunc(g.linger, func() { g.under.Add(-1) })
		return
	}
	g.under.Add(-1)
}

func (g *gate) alarm() { g.calmAt.Store(int64(time.Since(g.start) + alarmed)) }

func (g *gate) calm() bool {
	return g.dialing.Load() == 0 && int64(time.Since(g.start)) >= g.calmAt.Load()
}

// A dialer is what rueidis connects with.
type dialer func(ctx context.Context, addr string, d *net.Dialer, config *tls.Config) (net.Conn, error)

// dial returns what connects as opt says, and tells the gate.
func (g *gate) dial(opt *rueidis.ClientOption) dialer {
	inner := dialer(opt.DialCtxFn)
	if inner == nil {
		inner = func(ctx context.Context, addr string, d *net.Dialer, config *tls.Config) (net.Conn, error) {
			if config != nil {
				return (&tls.Dialer{NetDialer: d, Config: config}).DialContext(ctx, "tcp", addr)
			}
			return d.DialContext(ctx, "tcp", addr)
		}
	}
	return func(ctx context.Context, addr string, d *net.Dialer, config *tls.Config) (net.Conn, error) {
		g.dialing.Add(1)
		c, err := inner(ctx, addr, d, config)
		if err != nil {
			g.dialing.Add(-1)
			return nil, err
		}
		w := &watched{Conn: &greeting{Conn: c}, gate: g}
		w.silent.Store(true)
		// Those who came before dialing was seen wait for the first word, and
		// cannot be called away from there.
		w.patience = time.AfterFunc(g.patience, func() {
			if w.silent.Load() {
				_ = w.Conn.Close() // which Read tells of
			}
		})
		return w, nil
	}
}

// A watched connection tells the gate when the server first says something, and
// when it is over, before rueidis knows.
type watched struct {
	net.Conn
	gate     *gate
	silent   atomic.Bool
	patience *time.Timer
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if err != nil {
		w.gate.alarm()
	}
	if w.silent.Load() {
		w.spoke()
	}
	return n, err
}

func (w *watched) Close() error {
	w.gate.alarm()
	w.spoke()
	return w.Conn.Close()
}

func (w *watched) spoke() {
	if w.silent.CompareAndSwap(true, false) {
		w.patience.Stop()
		w.gate.dialing.Add(-1)
	}
}
