// Package linear checks that stores of sessions, and sessions on top of them, keep
// their promises while much happens at once and much goes wrong.
//
// It has concurrent callers do random things to a few records, notes what each was
// told and when, and asks package porcupine whether the answers could have come
// from one caller after the other: whether each call can be given a moment between
// its beginning and its end, so that a sequential model of [session.Store], which
// is written from the contract alone, answers in that order as the store did. Such
// a history is called linearizable (Herlihy and Wing, 1990), and is the contract's
// "every method is atomic".
//
// # What is checked
//
// Of a store ([Target.CheckStores]): creation, must-exist, conditions, deltas that
// keep each other's fields, labels and clocks, renames between a few IDs that are
// used again and again, deletion, and the end of a record by its deadline. In
// particular no lost field, no condition that two pass, no record that returns, and
// no moment at which a renamed record has two IDs or none. A List is taken apart
// into one observation for each record: what it yields was so at some moment while
// it went on, and what it does not yield was absent, or not selected, at some moment
// while it went on. So a record that is there throughout is in it, once.
//
// Of sessions ([Target.CheckSites]), through requests to a [session.Manager]: values
// that concurrent requests set are all there, Update counts each request once,
// Consume gives a value to one request, an identifier that was renewed or signed out
// is no session from that moment on, and a sign-in keeps what the session holds.
//
// An error that is none of the session package's leaves the outcome open: such a
// call may take effect at any moment from its beginning to the end of the history,
// or never. So whatever is done to the machines, what was acknowledged must be there
// afterwards, and what has ended must stay ended.
//
// # Caches
//
// A store whose Load may be out of date by contract, as package redis says of its
// cache, has a [Target.Stale]. A record that its Load finds may be that of a moment
// up to so long before the call; but every change that the same process made, and
// that was acknowledged before the call, is in it. That there is no record is never
// out of date, and nothing else is: Commit, Delete, Find and List are as above.
package linear

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/seed-64ad3862/gatehouse/session"
)

// A Target is what histories are made of.
type Target struct {
	// Stores are ways to one store: several handles, or processes. Each is
	// taken to be a process with a memory of its own.
	Stores []session.Store

	// Sites are ways to one site, whose requests [Handler] answers.
	Sites []Site

	// Stale is how much out of date a record may be that Load finds, unless
	// this process has changed it meanwhile.
	Stale time.Duration

	// Skew is how far the clock by which a record ends may be from ours, while
	// a call goes on.
	Skew time.Duration

	// Breaks are what goes wrong meanwhile: each breaks something, mends it,
	// and returns. They are called one at a time, on the test's goroutine.
	Breaks []func()

	// Cancel has every fourth history cancel some of its calls.
	Cancel bool

	// Calls is how many calls the clients of a history make together, 40 if
	// zero. The less the calls meet each other, the more can be checked.
	Calls int

	// Alone: nothing but one history is in the store, so that everything can be
	// listed.
	Alone bool
}

func (tg *Target) calls() int { return cmp.Or(tg.Calls, 40) }

// A Site is a server of [Handler].
type Site struct {
	URL       string
	Transport http.RoundTripper
}

// Stats say what histories were made of.
type Stats struct {
	Histories    int
	Acknowledged int // calls that changed something
	Answered     int // other calls, and those whose change was refused
	Unknown      int // changes whose outcome is unknown
	Met          int // steps at the same time as one of another client
	Breaks       int
	Slowest      time.Duration // check
}

func (s Stats) String() string {
	return fmt.Sprintf("%d histories: %d changes acknowledged, %d other answers, %d outcomes unknown, %d met others; %d breaks; the slowest check took %v",
		s.Histories, s.Acknowledged, s.Answered, s.Unknown, s.Met, s.Breaks, s.Slowest.Round(time.Millisecond))
}

func (s *Stats) add(o *Stats) {
	s.Histories += o.Histories
	s.Acknowledged += o.Acknowledged
	s.Answered += o.Answered
	s.Unknown += o.Unknown
	s.Met += o.Met
	s.Breaks += o.Breaks
	s.Slowest = max(s.Slowest, o.Slowest)
}

// CheckStores makes a history at the level of [session.Store] from each seed and
// returns an error for the first that is not linearizable. What the clients of a
// history ask for depends on its seed alone; how their calls meet does not.
func (tg *Target) CheckStores(t testing.TB, seeds []uint64) (Stats, error) {
	return tg.check(t, seeds, func(h *history) { h.useStores() })
}

// CheckSites does the same at the level of requests.
func (tg *Target) CheckSites(t testing.TB, seeds []uint64) (Stats, error) {
	return tg.check(t, seeds, func(h *history) { h.useSites() })
}

func (tg *Target) check(t testing.TB, seeds []uint64, use func(h *history)) (stats Stats, err error) {
	atOnce := 8
	if tg.Alone {
		atOnce = 1
	}
	for round := range slices.Chunk(seeds, atOnce) {
		var wg sync.WaitGroup
		running := &running{target: tg, ctx: t.Context()}
		running.left.Store(int64(len(round)))
		histories := make([]*history, len(round))
		for i, seed := range round {
			h := newHistory(running, seed)
			histories[i] = h
			wg.Go(func() {
				defer running.left.Add(-1)
				use(h)
			})
		}
		stats.Breaks += running.spoil(rand.New(rand.NewPCG(round[0], 2)))
		wg.Wait()

		errs := make([]error, len(histories))
		for i, h := range histories {
			wg.Go(func() { errs[i] = h.check(t.ArtifactDir) })
		}
		wg.Wait()
		for i, h := range histories {
			stats.add(&h.stats)
			if errs[i] != nil && err == nil {
				err = errs[i]
			}
		}
		if err != nil {
			return stats, err
		}
	}
	return stats, nil
}

// running is what the histories of a round have in common.
type running struct {
	target *Target
	ctx    context.Context
	left   atomic.Int64 // histories
	calls  atomic.Int64 // that have returned
	broken atomic.Bool
}

// spoil breaks things while the histories go on, and returns how often it did. It
// goes by what has been done and not by the clock, so that a slow machine is
// disturbed as much as a fast one.
func (r *running) spoil(rng *rand.Rand) (n int) {
	if len(r.target.Breaks) == 0 {
		return 0
	}
	const between = 100
	for next := int64(1 + rng.IntN(between)); r.left.Load() > 0; {
		if r.calls.Load() < next {
			time.Sleep(100 * time.Microsecond)
			continue
		}
		r.broken.Store(true)
		r.target.Breaks[rng.IntN(len(r.target.Breaks))]()
		r.broken.Store(false)
		n++
		next = r.calls.Load() + int64(1+rng.IntN(2*between))
	}
	return n
}

// mended waits until nothing is being broken: calls to what is known to be away
// would show nothing but outcomes that are unknown.
func (r *running) mended() {
	for r.broken.Load() && r.ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
}

// A history is what some clients did to a few records.
type history struct {
	*running
	seed  uint64
	began time.Time
	stats Stats

	mu      sync.Mutex
	steps   []*step
	records int
	changes int // numbered
	cookies []cookie
	// acknowledged are the changes of each process that have been, by record.
	acknowledged map[ofRecord]mask
	wrong        error // an answer that is wrong by itself
}

type ofRecord struct{ process, id int }

func newHistory(r *running, seed uint64) *history {
	return &history{running: r, seed: seed, began: time.Now(), acknowledged: map[ofRecord]mask{}}
}

// now is the time since the history began. It is read from a monotonic clock.
func (h *history) now() time.Duration { return time.Since(h.began) }

// add notes a step that has returned now. process is whose it is.
func (h *history) add(process int, s *step) {
	s.ret = h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case s.outcome == unknown:
		s.ret = never
		h.stats.Unknown++
	case s.outcome == done && s.kind != see:
		h.stats.Acknowledged++
	default:
		h.stats.Answered++
	}
	s.number = -1
	if h.target.Stale > 0 && s.kind != see && s.outcome == done && h.changes < maxChanges {
		s.number = h.changes
		h.changes++
		for _, id := range []int{s.id, s.to} {
			at := ofRecord{process, id}
			h.acknowledged[at] = h.acknowledged[at].with(s.number)
		}
	}
	h.steps = append(h.steps, s)
}

// loaded widens an observation of [session.Store.Load] to what a store with a
// cache promises. after is what mustSee returned before the call.
func (h *history) loaded(s *step, after mask) {
	if s.found {
		s.call -= h.target.Stale
		s.after = after
	}
}

// mustSee returns the changes of the record that the process must see.
func (h *history) mustSee(process, id int) mask {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.acknowledged[ofRecord{process, id}]
}

// failed notes an answer that is wrong whatever else has happened.
func (h *history) failed(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.wrong == nil {
		h.wrong = fmt.Errorf(format, args...)
	}
}

// An outcome that is unknown doubles what has to be searched. After the first of
// these numbers of them no call is cancelled any more, and after the second the
// history ends.
const (
	doubtful = 6
	hopeless = 12
)

// unknown returns how many outcomes are.
func (h *history) unknown() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stats.Unknown
}

// patience bounds the check of one history. They are made small enough for a
// fraction of a second.
const patience = 5 * time.Minute

// check returns an error unless the history is linearizable. Then it leaves a
// picture in the folder.
func (h *history) check(folder func() string) error {
	h.stats.Histories = 1
	if h.wrong != nil {
		return fmt.Errorf("seed %d: %w\n%s", h.seed, h.wrong, describe(h.steps))
	}
	end := h.now()
	for _, steps := range parts(h.steps, h.records) {
		m := &model{began: h.began.UnixMilli(), end: end, skew: h.target.Skew}
		ops := make([]porcupine.Operation, len(steps))
		for i, s := range steps {
			ops[i] = porcupine.Operation{ClientId: s.client, Input: s, Call: int64(s.call), Return: int64(s.ret)}
			m.records = max(m.records, s.id+1, s.to+1)
		}
		h.stats.Met += met(steps)
		began := time.Now()
		result, info := porcupine.CheckOperationsVerbose(m.porcupine(), ops, patience)
		h.stats.Slowest = max(h.stats.Slowest, time.Since(began))
		switch result {
		case porcupine.Unknown:
			return fmt.Errorf("seed %d: not decided within %v: the history is too large\n%s", h.seed, patience, describe(steps))
		case porcupine.Illegal:
			path := filepath.Join(folder(), fmt.Sprintf("history-%d.html", h.seed))
			if err := porcupine.VisualizePath(m.porcupine(), info, path); err != nil {
				path = err.Error()
			}
			return fmt.Errorf("seed %d: not linearizable; with -artifacts there is a picture in %s\n%s%s", h.seed, path, describe(steps), longest(m, info))
		}
	}
	return nil
}

// met counts the steps that were under way while one of another client was.
func met(steps []*step) (n int) {
	for _, s := range steps {
		if slices.ContainsFunc(steps, func(o *step) bool { return o.client != s.client && o.call <= s.ret && s.call <= o.ret }) {
			n++
		}
	}
	return n
}

// side runs f for each client side by side. They begin together, since a call may
// take less time than a goroutine to begin.
func side(clients int, f func(client int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range clients {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}

// call has one of the clients make its calls by next, which reports whether the
// outcome is unknown.
func (h *history) call(rng *rand.Rand, clients int, next func() (gaveUp bool)) {
	for range h.target.calls() / clients {
		if h.unknown() >= hopeless {
			return
		}
		if rng.IntN(2) == 0 {
			runtime.Gosched()
		}
		gaveUp := next()
		h.calls.Add(1)
		if gaveUp {
			h.mended()
		}
	}
}

// parts returns the steps of each set of records between which none was renamed,
// with records numbered from 0 in each. A history is linearizable if its parts are,
// and to check them takes much less time.
func parts(steps []*step, records int) (parts [][]*step) {
	root := make([]int, records)
	for i := range root {
		root[i] = i
	}
	find := func(id int) int {
		for root[id] != id {
			id = root[id]
		}
		return id
	}
	for _, s := range steps {
		if s.to >= 0 {
			root[find(s.to)] = find(s.id)
		}
	}
	part, number := map[int]int{}, map[int]int{}
	var sizes []int
	renumber := func(id int) int {
		p := part[find(id)]
		if _, ok := number[id]; !ok {
			number[id] = sizes[p]
			sizes[p]++
		}
		return number[id]
	}
	for _, s := range steps {
		p, ok := part[find(s.id)]
		if !ok {
			p = len(parts)
			part[find(s.id)] = p
			parts, sizes = append(parts, nil), append(sizes, 0)
		}
		own := *s
		own.id = renumber(s.id)
		if s.to >= 0 {
			own.to = renumber(s.to)
		}
		parts[p] = append(parts[p], &own)
	}
	for i := range parts {
		parts[i] = withoutLate(parts[i])
	}
	return parts
}

// withoutLate leaves out the steps whose outcome is unknown and that began after
// all answers: they may have happened after them.
func withoutLate(steps []*step) []*step {
	last := time.Duration(math.MinInt64)
	for _, s := range steps {
		if s.outcome != unknown {
			last = max(last, s.ret)
		}
	}
	return slices.DeleteFunc(steps, func(s *step) bool { return s.outcome == unknown && s.call > last })
}

// describe lists the steps in the order of their calls.
func describe(steps []*step) string {
	var b strings.Builder
	for _, s := range slices.SortedFunc(slices.Values(steps), func(a, b *step) int { return cmp.Compare(a.call, b.call) }) {
		ret := "never"
		if s.ret != never {
			ret = s.ret.String()
		}
		fmt.Fprintf(&b, "%12v %12s  client %-2d %v\n", s.call, ret, s.client, s)
	}
	return b.String()
}

// longest describes how far the model can follow a history.
func longest(m *model, info porcupine.LinearizationInfo) string {
	var best []porcupine.Operation
	for _, part := range info.PartialLinearizationsOperations() {
		for _, ops := range part {
			if len(ops) > len(best) {
				best = ops
			}
		}
	}
	s := &state{records: make([]record, m.records)}
	var b strings.Builder
	fmt.Fprintf(&b, "In this order the first %d are possible:\n", len(best))
	for _, op := range best {
		in := op.Input.(*step)
		s, _ = m.step(s, in)
		fmt.Fprintf(&b, "  client %-2d %v\n", in.client, in)
	}
	fmt.Fprintf(&b, "and then there is %v\n", s)
	return b.String()
}
