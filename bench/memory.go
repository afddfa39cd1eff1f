package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"

	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

// Who fills a heap.
const (
	heapOurs   = "ours"
	heapVaried = "ours-varied"
	heapScs    = "scs"
	heapMap    = "map"
)

// plenty is room for all sessions that are measured here.
const plenty = 1 << 30

// heap is what a store full of sessions costs.
type heap struct {
	Alloc, InUse float64 // bytes per session
	GC, GCWall   time.Duration
}

// ourStore is a manager whose store has room for all.
func ourStore(cfg session.Config) (*session.Manager, error) {
	if cfg.Store == nil {
		cfg.Store = memory.New(memory.Config{MaxBytes: plenty})
	}
	return session.New(cfg)
}

// fill serves the request that begins a session so many times, on all cores.
func fill(h http.Handler, n int) {
	var wg sync.WaitGroup
	for i := range fillers {
		wg.Go(func() {
			r := request(http.MethodGet, pathBegin, "")
			w := &discard{header: make(http.Header)}
			for range (n + i) / fillers {
				clear(w.header)
				again := *r
				h.ServeHTTP(w, &again)
			}
			if w.failed {
				panic("fill: a session could not be stored")
			}
		})
	}
	wg.Wait()
}

const fillers = 2

// heapOf measures the heap of so many sessions, made by requests as always.
func heapOf(who string, n int) (heap, error) {
	var keep any
	var make func()
	switch who {
	case heapOurs, heapVaried:
		m, err := ourStore(session.Config{})
		if err != nil {
			return heap{}, err
		}
		keep = m
		make = func() {
			fill(ourPages(m, nil)[pathBegin], n)
		}
		if who == heapVaried {
			make = func() { fill(variedPage(m), n) }
		}
	case heapScs:
		m := scs.New()
		keep = m
		make = func() { fill(scsPages(m, nil)[pathBegin], n) }
	case heapMap:
		m := map[string][]byte{}
		keep = m
		make = func() {
			var id [32]byte
			for range n {
				rand.Read(id[:])
				m[string(id[:])] = []byte(key + payload)
			}
		}
	default:
		return heap{}, fmt.Errorf("heap of whom: %q", who)
	}

	var before, after runtime.MemStats
	settle(&before)
	make()
	settle(&after)
	var gcs, walls []float64
	for range 7 {
		cpu, start := cpuTime(), time.Now()
		runtime.GC()
		gcs = append(gcs, float64(cpuTime()-cpu))
		walls = append(walls, float64(time.Since(start)))
	}
	runtime.KeepAlive(keep)
	return heap{
		Alloc: float64(after.HeapAlloc-before.HeapAlloc) / float64(n),
		InUse: float64(after.HeapInuse-before.HeapInuse) / float64(n),
		GC:    time.Duration(median(gcs)), GCWall: time.Duration(median(walls)),
	}, nil
}

// variedPage begins sessions of 60 to 140 bytes, 100 on the average.
func variedPage(m *session.Manager) http.Handler {
	values := make([]string, 81)
	for i := range values {
		values[i] = strings.Repeat("x", 60+i-len(key))
	}
	return m.Handler(m.With(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		ourName.Set(s, values[next()%len(values)])
	}))
}

// settle reads the statistics when nothing is left to collect.
func settle(m *runtime.MemStats) {
	runtime.GC()
	runtime.GC() // what the first only marked, finalizers and pools, goes now
	runtime.ReadMemStats(m)
}

// pause is how long reads took, alone and while the store was swept.
type pause struct {
	Calm, Swept latency
	Removed     int
	Sweep       time.Duration // 0: not known
}

type latency struct {
	Max, P999, P50 time.Duration
	Reads          int
	// Locked is what the runtime says that goroutines waited for locks, all
	// together: unlike the others it does not grow because the machine has
	// something else to do, unless just then somebody holds a lock.
	Locked time.Duration
}

const (
	readers      = 16
	readInterval = time.Millisecond // the runtime's timers are no finer
	liveSessions = 1000
	calmTime     = 3 * time.Second
	sweepTime    = 4 * time.Second // begins half a second before the sweep
	shortLife    = time.Second
)

// pauseOf fills a store with sessions that end after a second and a few that
// stay, and reads the latter before and while the former are removed.
func pauseOf(who string, n int) (pause, error) {
	sweepAt := time.Now().Add(full.firstSweep)
	if n < full.sessions {
		sweepAt = time.Now().Add(quick.firstSweep)
	}
	var pages httpSite
	var sweep func() (int, time.Duration, error)
	switch who {
	case heapOurs:
		m, err := ourStore(session.Config{Idle: time.Hour})
		if err != nil {
			return pause{}, err
		}
		pages = ourPages(m, nil)
		fill(m.Handler(m.With(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
			ourName.Set(s, payload)
			s.SetTimeouts(shortLife, 0)
		})), n)
		sweep = func() (int, time.Duration, error) {
			start := time.Now()
			n, err := m.Sweep(context.Background())
			return n, time.Since(start), err
		}
	case heapScs:
		// It sweeps when its ticker says so and not otherwise.
		store := memstore.NewWithCleanupInterval(time.Until(sweepAt))
		m := scs.New()
		m.Store = store
		pages = scsPages(m, nil)
		if err := fillScs(m, n); err != nil {
			return pause{}, err
		}
		sweep = func() (int, time.Duration, error) { return n, 0, nil }
	default:
		return pause{}, fmt.Errorf("pause of whom: %q", who)
	}
	cookies := make([]string, liveSessions)
	for i := range cookies {
		var err error
		if cookies[i], err = begin(pages); err != nil {
			return pause{}, err
		}
	}
	time.Sleep(shortLife)
	runtime.GC()
	if late := time.Since(sweepAt.Add(-calmTime - time.Second)); late > 0 {
		return pause{}, fmt.Errorf("filling took %v too long for the sweep at its time", late)
	}

	var p pause
	p.Calm = readFor(pages, cookies, readInterval, calmTime)
	time.Sleep(time.Until(sweepAt.Add(-500 * time.Millisecond)))
	done := make(chan error, 1)
	go func() {
		time.Sleep(time.Until(sweepAt))
		var err error
		p.Removed, p.Sweep, err = sweep()
		done <- err
	}()
	p.Swept = readFor(pages, cookies, readInterval, sweepTime)
	err := <-done
	if err == nil && p.Removed != n {
		err = fmt.Errorf("%d of %d were swept", p.Removed, n)
	}
	return p, err
}

// fillScs puts the sessions straight into the store, or its ticker would not
// wait: what they hold was encoded by scs, once.
func fillScs(m *scs.SessionManager, n int) error {
	deadline := time.Now().Add(shortLife)
	b, err := m.Codec.Encode(deadline, map[string]any{key: payload})
	if err != nil {
		return err
	}
	for range n {
		if err := m.Store.Commit(rand.Text()+rand.Text()[:17], slices.Clone(b), deadline); err != nil {
			return err
		}
	}
	return nil
}

// readFor is readUntil for so long.
func readFor(pages httpSite, cookies []string, every, d time.Duration) latency {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return readUntil(ctx, pages, cookies, every, d)
}

// readUntil lets readers read a session each every so often until the context
// ends, probably after d, and says how long that took them. A read that comes late
// because the one before it was slow counts from when it was due.
func readUntil(ctx context.Context, pages httpSite, cookies []string, every, d time.Duration) latency {
	all := make([][]time.Duration, readers)
	locked := lockedTime()
	var wg sync.WaitGroup
	for i := range all {
		all[i] = make([]time.Duration, 0, int(d/every)+1) // so that none grows meanwhile
		wg.Go(func() {
			w := &discard{header: make(http.Header)}
			again := new(http.Request)
			requests := make([]*http.Request, len(cookies))
			for j, c := range cookies {
				requests[j] = request(http.MethodGet, pathRead, c)
			}
			due := time.Now()
			for j := 0; ctx.Err() == nil; j++ {
				start := due
				if wait := time.Until(due); wait > 0 {
					time.Sleep(wait)
					start = time.Now() // the timer's delay is not the store's
				}
				*again = *requests[(j*readers+i)%len(requests)]
				clear(w.header)
				pages[pathRead].ServeHTTP(w, again)
				all[i] = append(all[i], time.Since(start))
				due = start.Add(every)
			}
			if w.bytes != len(payload)*len(all[i]) {
				panic("a session could not be read")
			}
		})
	}
	wg.Wait()
	times := slices.Concat(all...)
	slices.Sort(times)
	return latency{
		Max: times[len(times)-1], P999: times[len(times)-1-len(times)/1000], P50: times[len(times)/2], Reads: len(times),
		Locked: lockedTime() - locked,
	}
}

// lockedTime is how long goroutines have waited for locks so far.
func lockedTime() time.Duration {
	s := []metrics.Sample{{Name: "/sync/mutex/wait/total:seconds"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindFloat64 {
		return 0
	}
	return time.Duration(s[0].Value.Float64() * float64(time.Second))
}

func benchMemory(ctx context.Context, cfg config, r *report) error {
	if err := benchHeap(ctx, cfg, r); err != nil {
		return err
	}
	return benchPause(ctx, cfg, r)
}

func benchHeap(ctx context.Context, cfg config, r *report) error {
	n := thousands(float64(cfg.sessions))
	r.title(n + " sessions in memory")
	r.text("Each in a process of its own, %d processes in turns, filled by requests; heap after garbage collection, less what it was before; one full `runtime.GC()`, median of seven. The map holds 32 bytes of id and a slice of 100 bytes each and nothing else.", cfg.fills)
	names := []struct{ who, name string }{
		{heapOurs, nameOurs}, {heapVaried, nameOurs + ", 60 to 140 bytes"}, {heapScs, nameScs + ", memstore"}, {heapMap, "map[string][]byte"},
	}
	all := make([][]heap, len(names))
	for range cfg.fills {
		for i, v := range names {
			var h heap
			if err := ask(ctx, &h, "heap", v.who, cfg.sessions); err != nil {
				return err
			}
			all[i] = append(all[i], h)
		}
	}
	mid := func(i int, f func(h heap) float64) float64 {
		var vs []float64
		for _, h := range all[i] {
			vs = append(vs, f(h))
		}
		return median(vs)
	}
	var rows [][]string
	var alloc, gc [4]float64
	for i, v := range names {
		alloc[i] = mid(i, func(h heap) float64 { return h.Alloc })
		gc[i] = mid(i, func(h heap) float64 { return float64(h.GC) })
		rows = append(rows, []string{
			v.name, size(alloc[i]), size(mid(i, func(h heap) float64 { return h.InUse })),
			duration(gc[i]), duration(mid(i, func(h heap) float64 { return float64(h.GCWall) })),
		})
	}
	r.atMost("Heap per session, "+n+" of 100 bytes", alloc[0], 180, size, "scs "+size(alloc[2]))
	r.atMost("Heap per session, "+n+" of 60 to 140 bytes", alloc[1], 180, size, "")
	r.atMost("CPU of one full garbage collection there", gc[0], 10e6, duration, "scs "+duration(gc[2]))
	r.table([]string{"", "heap per session (HeapAlloc)", "HeapInuse", "CPU of one full GC", "its wall time"}, rows)
	return nil
}

func benchPause(ctx context.Context, cfg config, r *report) error {
	r.printf("### Reads while %s sessions are removed\n\n", thousands(float64(cfg.sessions)))
	r.text("%d readers, a read each every %v, of %s sessions that stay; for %v before, and for %v in which the others, whose time was over, are removed: by `Manager.Sweep`, and by the memstore's cleanup. Time of the handler, a read that waited for the one before it counted from when it was due. %d processes each, in turns: median (least to most).",
		readers, readInterval, thousands(liveSessions), calmTime, sweepTime, cfg.fills)
	names := []struct{ who, name string }{{heapOurs, nameOurs}, {heapScs, nameScs + ", memstore"}}
	all := make([][]pause, len(names))
	for range cfg.fills {
		for i, v := range names {
			var p pause
			if err := ask(ctx, &p, "pause", v.who, cfg.sessions); err != nil {
				return err
			}
			all[i] = append(all[i], p)
		}
	}
	span := func(i int, f func(p pause) time.Duration) (string, float64) {
		var vs []float64
		for _, p := range all[i] {
			vs = append(vs, float64(f(p)))
		}
		mid := median(vs)
		if len(vs) == 1 || mid == 0 {
			return duration(mid), mid
		}
		return fmt.Sprintf("%s (%s to %s)", duration(mid), duration(slices.Min(vs)), duration(slices.Max(vs))), mid
	}
	var rows [][]string
	var worst [2]float64
	for i, v := range names {
		row := []string{v.name}
		for _, f := range []func(p pause) time.Duration{
			func(p pause) time.Duration { return p.Calm.P999 },
			func(p pause) time.Duration { return p.Calm.Max },
			func(p pause) time.Duration { return p.Swept.P999 },
			func(p pause) time.Duration { return p.Swept.Max },
			func(p pause) time.Duration { return p.Swept.Locked },
			func(p pause) time.Duration { return p.Sweep },
		} {
			text, v := span(i, f)
			if v == 0 {
				text = "not told"
			}
			row = append(row, text)
		}
		_, worst[i] = span(i, func(p pause) time.Duration { return p.Swept.Max })
		rows = append(rows, row)
	}
	r.atMost("Worst pause of a read while "+thousands(float64(cfg.sessions))+" sessions are removed", worst[0], 2e6, duration, "scs "+duration(worst[1]))
	r.table([]string{"", "before: 99.9 %", "longest", "meanwhile: 99.9 %", "longest", "waiting for locks, together", "the sweep took"}, rows)
	return nil
}
