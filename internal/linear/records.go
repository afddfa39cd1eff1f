package linear

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// recordsOfStore is how many IDs a history at the level of the store has: two
// would do for a rename, the third lets two of them cross.
const recordsOfStore = 3

// A storeClient calls a store, one call after the other.
type storeClient struct {
	*history
	number  int
	process int
	store   session.Store
	rng     *rand.Rand
	plan    *plan
	ids     []session.ID
	known   []record // what it believes of each record
	written int      // values, so that no two are equal
	gaveUp  bool     // a call
}

// A plan is what the clients of one history have in common.
type plan struct {
	weights [7]int // of the calls, in the order of next
	short   bool   // records end by their deadlines, within the history
	cancels bool
	salt    string // of names
}

// useStores makes a history at the level of the store.
func (h *history) useStores() {
	rng := rand.New(rand.NewPCG(h.seed, 1))
	h.records = recordsOfStore
	p := &plan{short: rng.IntN(6) == 0, cancels: h.target.Cancel && rng.IntN(4) == 0}
	for i := range p.weights {
		p.weights[i] = [...]int{1, 1, 4, 10}[rng.IntN(4)]
	}
	ids := make([]session.ID, h.records)
	for i := range ids {
		ids[i] = randomID()
	}
	p.salt = ids[0].Handle().String()
	clients := 2 + rng.IntN(5)
	side(clients, func(i int) {
		process := i % len(h.target.Stores)
		c := &storeClient{
			history: h, number: i, process: process, store: h.target.Stores[process],
			rng: rand.New(rand.NewPCG(h.seed, uint64(10+i))), plan: p, ids: ids, known: make([]record, len(ids)),
		}
		h.call(c.rng, clients, c.next)
	})
}

// next makes one call, and reports whether its outcome is unknown.
func (c *storeClient) next() (gaveUp bool) {
	c.gaveUp = false
	if c.plan.short {
		// Some records end while the history goes on.
		time.Sleep(time.Duration(c.rng.Int64N(int64(300*time.Millisecond) / int64(c.target.calls()))))
	}
	n := 0
	for _, w := range c.plan.weights {
		n += w
	}
	n = c.rng.IntN(n)
	for i, w := range c.plan.weights {
		if n -= w; n >= 0 {
			continue
		}
		// Most calls are about what seems to be there, most creations not.
		id := c.rng.IntN(len(c.ids))
		for range len(c.ids) {
			if c.known[id].exists == (i != 1) || c.rng.IntN(4) == 0 {
				break
			}
			id = (id + 1) % len(c.ids)
		}
		if i > 1 && !c.known[id].exists && c.rng.IntN(3) == 0 {
			i = 1
		}
		switch i {
		case 0:
			c.load(id)
		case 1:
			c.create(id)
		case 2:
			c.commit(id, c.change(id))
		case 3:
			c.commit(id, c.conditional(id))
		case 4:
			c.rename(id)
		case 5:
			c.end(id)
		case 6:
			c.look(id)
		}
		break
	}
	return c.gaveUp
}

// bounded is how long a call may take where nothing cancels it.
const bounded = 20 * time.Second

// context returns the context of a call, which is now and then cancelled before or
// while it goes on.
func (c *storeClient) context() (context.Context, context.CancelFunc) {
	if !c.plan.cancels || c.rng.IntN(5) > 0 || c.unknown() >= doubtful {
		return context.WithTimeout(c.ctx, bounded)
	}
	ctx, cancel := context.WithTimeout(c.ctx, time.Duration(c.rng.IntN(2000))*time.Microsecond)
	if c.rng.IntN(4) == 0 {
		cancel()
	}
	return ctx, cancel
}

// told returns the outcome that a store's error stands for, of a call with the
// context. Where nothing goes wrong, no call may fail.
func (c *storeClient) told(ctx context.Context, err error) outcome {
	switch {
	case err == nil:
		return done
	case errors.Is(err, session.ErrNotFound):
		return notFound
	case errors.Is(err, session.ErrExists):
		return exists
	case errors.Is(err, session.ErrConflict):
		return conflict
	case errors.Is(err, session.ErrFull):
		return refused
	}
	if len(c.target.Breaks) == 0 && ctx.Err() == nil {
		c.failed("client %d: a store that is well answers %w", c.number, err)
	}
	c.gaveUp = true
	return unknown
}

func (c *storeClient) step(k kind, id int) *step {
	return &step{kind: k, id: id, to: -1, client: c.number, call: c.now()}
}

func (c *storeClient) load(id int) {
	ctx, cancel := c.context()
	defer cancel()
	after := c.mustSee(c.process, id)
	s := c.step(see, id)
	r, err := c.store.Load(ctx, c.ids[id])
	if c.saw(ctx, s, &r, err) {
		c.loaded(s, after)
		c.add(c.process, s)
	}
}

// saw puts what a call returned into the step, and reports whether it says
// anything.
func (c *storeClient) saw(ctx context.Context, s *step, r *session.Record, err error) bool {
	switch c.told(ctx, err) {
	case done:
		rec, ok := fromStore(r)
		if !ok || r.ID != c.ids[s.id] {
			c.failed("client %d: record %d is %+v", c.number, s.id, *r)
			return false
		}
		s.found, s.record = true, rec
	case notFound:
	case unknown:
		return false
	default:
		c.failed("client %d: a call that reads answers %v", c.number, err)
		return false
	}
	c.known[s.id] = s.record
	return true
}

func (c *storeClient) create(id int) {
	d := c.change(id)
	now := c.wall()
	d.Create, d.Delete = true, nil
	if d.Seen.IsZero() {
		d.Seen = now
	}
	if d.Idle == 0 {
		d.Idle = time.Hour
	}
	if d.Expires.IsZero() {
		d.Expires = now.Add(24 * time.Hour)
	}
	if c.rng.IntN(10) == 0 {
		d.If = []session.Field{{Key: c.pick(fieldKeys[:]), Value: [...]string{"", "0"}[c.rng.IntN(2)]}}
	}
	c.commit(id, d)
}

// wall is the time of day in whole milliseconds, which is as exact as a store has
// to be.
func (c *storeClient) wall() time.Time {
	return time.UnixMilli(c.began.UnixMilli() + c.now().Milliseconds())
}

func (c *storeClient) pick(from []string) string { return from[c.rng.IntN(len(from))] }

// change returns a delta of what comes to mind.
func (c *storeClient) change(id int) *session.Delta {
	d := &session.Delta{}
	one := func(in int) bool { return c.rng.IntN(in) == 0 }
	for _, key := range fieldKeys {
		switch c.rng.IntN(5) {
		case 0, 1:
			d.Set = append(d.Set, session.Field{Key: key, Value: c.value()})
		case 2:
			d.Delete = append(d.Delete, key)
		}
	}
	now := c.wall()
	if one(3) {
		d.Seen = now.Add(time.Duration(c.rng.IntN(2000)-1000) * time.Millisecond)
	}
	if one(8) {
		d.Idle = time.Duration(1+c.rng.IntN(3)) * time.Hour
	}
	if one(8) {
		d.Expires = now.Add(time.Duration(1+c.rng.IntN(24)) * time.Hour)
	}
	d.Restart = one(8)
	if one(4) {
		owner := c.plan.owner(c.rng.IntN(3))
		d.Owner = &owner
	}
	if one(4) {
		d.Labels = []session.Label{{Name: c.pick(labelNames[:]), Value: c.plan.owner(c.rng.IntN(3))}}
	}
	if c.plan.short && one(2) {
		d.Expires = now.Add(time.Duration(c.rng.IntN(40)) * time.Millisecond)
	}
	return d
}

// owner returns one of two names that no other history uses, or none.
func (p *plan) owner(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(p.salt, "-", n)
}

func (c *storeClient) value() string {
	c.written++
	return strconv.Itoa(1000*(c.number+1) + c.written)
}

// conditional returns a change of a field on condition that it is what this client
// last saw of it, and mostly nothing else.
func (c *storeClient) conditional(id int) *session.Delta {
	d := &session.Delta{}
	if c.rng.IntN(3) == 0 {
		d = c.change(id)
	}
	for range 1 + c.rng.IntN(2) {
		k := c.rng.IntN(len(fieldKeys))
		if slices.ContainsFunc(d.If, func(f session.Field) bool { return f.Key == fieldKeys[k] }) {
			continue
		}
		d.If = append(d.If, session.Field{Key: fieldKeys[k], Value: c.known[id].fields[k]})
	}
	if len(d.Set) == 0 {
		key := d.If[0].Key
		d.Set = []session.Field{{Key: key, Value: c.value()}}
		d.Delete = slices.DeleteFunc(d.Delete, func(k string) bool { return k == key })
	}
	return d
}

func (c *storeClient) rename(id int) {
	d := c.change(id)
	if c.rng.IntN(2) == 0 {
		d = &session.Delta{}
	}
	if c.rng.IntN(3) == 0 {
		d.If = c.conditional(id).If
	}
	d.Rename = c.ids[(id+1+c.rng.IntN(len(c.ids)-1))%len(c.ids)]
	c.commit(id, d)
}

func (c *storeClient) commit(id int, d *session.Delta) {
	ctx, cancel := c.context()
	defer cancel()
	s := c.step(commit, id)
	s.delta = d
	if d.Rename != (session.ID{}) {
		s.to = slices.Index(c.ids, d.Rename)
	}
	err := c.store.Commit(ctx, c.ids[id], d)
	s.outcome = c.told(ctx, err)
	c.add(c.process, s)
	switch {
	case s.outcome == notFound:
		c.known[id] = record{}
	case s.outcome != done:
	case s.to >= 0:
		c.known[s.to], c.known[id] = c.known[id].apply(d), record{}
	default:
		c.known[id] = c.known[id].apply(d)
	}
}

// end ends a record, by Delete or by an end that lies in the past.
func (c *storeClient) end(id int) {
	if c.rng.IntN(3) == 0 {
		c.commit(id, &session.Delta{Expires: c.wall().Add(-time.Minute)})
		return
	}
	ctx, cancel := c.context()
	defer cancel()
	s := c.step(remove, id)
	s.outcome = c.told(ctx, c.store.Delete(ctx, c.ids[id]))
	c.add(c.process, s)
	if s.outcome == done || s.outcome == notFound {
		c.known[id] = record{}
	}
}

// look reads records in the ways that operators do.
func (c *storeClient) look(id int) {
	lister, ok := c.store.(session.Lister)
	if !ok {
		return
	}
	if c.rng.IntN(4) == 0 {
		if sweeper, ok := c.store.(session.Sweeper); ok {
			c.sweep(sweeper)
			return
		}
	}
	ctx, cancel := c.context()
	defer cancel()
	if c.rng.IntN(3) == 0 {
		s := c.step(see, id)
		r, err := lister.Find(ctx, c.ids[id].Handle())
		if c.saw(ctx, s, &r, err) {
			c.add(c.process, s)
		}
		return
	}
	c.list(ctx, lister)
}

// list is one observation of each record. One that is yielded twice must have been
// absent in between.
func (c *storeClient) list(ctx context.Context, lister session.Lister) {
	q := &session.Query{Fields: true}
	name := c.plan.owner(1 + c.rng.IntN(2))
	label := session.Label{Name: c.pick(labelNames[:]), Value: name}
	switch c.rng.IntN(5) {
	case 0:
		q.Label = label
	case 1:
		q.Owner, q.Label = name, label
	case 2:
		q.SignedIn, q.Label = true, label
	case 3:
		if c.target.Alone {
			q.All = true
			break
		}
		fallthrough
	default:
		q.Owner = name
	}
	call := c.now()
	var steps []*step
	times := make([]int, len(c.ids))
	for r, err := range lister.List(ctx, *q) {
		if err != nil {
			if c.told(ctx, err) != unknown {
				c.failed("client %d: List answers %v", c.number, err)
			}
			return
		}
		id := slices.Index(c.ids, r.ID)
		if id < 0 {
			c.failed("client %d: List(%+v) yields a record of others, %+v", c.number, *q, r)
			return
		}
		s := c.step(see, id)
		if !c.saw(ctx, s, &r, nil) {
			return
		}
		steps = append(steps, s)
		times[id]++
	}
	for id, n := range times {
		if n != 1 {
			steps = append(steps, c.step(see, id))
		}
	}
	for _, s := range steps {
		s.call, s.query = call, q
		c.add(c.process, s)
	}
}

// sweep has the store remove what is over, which changes nothing that others see.
// What it yields must be over; a record with the same ID may have begun since.
func (c *storeClient) sweep(sweeper session.Sweeper) {
	ctx, cancel := c.context()
	defer cancel()
	for r, err := range sweeper.Sweep(ctx) {
		if err != nil {
			c.told(ctx, err)
			return
		}
		if c.wall().Add(c.target.Skew).Before(r.Deadline()) {
			c.failed("client %d: Sweep removes %+v", c.number, r)
		}
	}
}

// randomID returns an ID as hashes are.
func randomID() (id session.ID) {
	for i := 0; i < len(id); i += 8 {
		binary.LittleEndian.PutUint64(id[i:], rand.Uint64())
	}
	return id
}

var outcomeNames = [...]string{"done", "not found", "exists", "conflict", "refused", "unknown"}

// String describes the step and its outcome.
func (s *step) String() string {
	switch s.kind {
	case see:
		what := "none"
		if s.found {
			what = s.record.String()
			switch s.detail {
			case presence:
				what = "one"
			case without:
				what = "one without " + fieldKeys[s.key]
			}
		}
		if q := s.query; q != nil {
			return fmt.Sprintf("list %d %s: %s", s.id, describeQuery(q), what)
		}
		return fmt.Sprintf("load %d: %s", s.id, what)
	case commit:
		return fmt.Sprintf("commit %d%s: %s", s.id, describeDelta(s.delta, s.to), outcomeNames[s.outcome])
	case remove:
		return fmt.Sprintf("delete %d: %s", s.id, outcomeNames[s.outcome])
	case increment:
		return fmt.Sprintf("increment %d %s: %s", s.id, fieldKeys[s.key], outcomeNames[s.outcome])
	}
	return fmt.Sprintf("end %d of %s: %s", s.id, s.owner, outcomeNames[s.outcome])
}

func describeQuery(q *session.Query) string {
	return strings.TrimSpace(fmt.Sprintf("{%s %s=%s signedin=%v all=%v}", q.Owner, q.Label.Name, q.Label.Value, q.SignedIn, q.All))
}

func describeDelta(d *session.Delta, to int) string {
	var b strings.Builder
	if d.Create {
		b.WriteString(" create")
	}
	if to >= 0 {
		fmt.Fprintf(&b, " to %d", to)
	}
	for _, f := range d.If {
		fmt.Fprintf(&b, " if %s=%q", f.Key, f.Value)
	}
	for _, f := range d.Set {
		fmt.Fprintf(&b, " %s=%s", f.Key, f.Value)
	}
	for _, key := range d.Delete {
		fmt.Fprintf(&b, " -%s", key)
	}
	if !d.Seen.IsZero() {
		fmt.Fprintf(&b, " seen=%d", d.Seen.UnixMilli())
	}
	if d.Idle != 0 {
		fmt.Fprintf(&b, " idle=%v", d.Idle)
	}
	if !d.Expires.IsZero() {
		fmt.Fprintf(&b, " expires=%d", d.Expires.UnixMilli())
	}
	if d.Restart {
		b.WriteString(" restart")
	}
	if d.Owner != nil {
		fmt.Fprintf(&b, " owner=%q", *d.Owner)
	}
	for _, l := range d.Labels {
		fmt.Fprintf(&b, " %s=%q", l.Name, l.Value)
	}
	return b.String()
}

// String describes the record.
func (r record) String() string {
	if !r.exists {
		return "-"
	}
	if r.idle > math.MaxInt32 { // of a site, which does not show its clocks
		return fmt.Sprintf("{%s %v}", r.owner, r.fields)
	}
	return fmt.Sprintf("{%s %q fields %q created %d seen %d idle %ds expires %d}", r.owner, r.labels, r.fields, r.created, r.seen, r.idle/1000, r.expires)
}

// String describes the state.
func (s *state) String() string { return fmt.Sprint(s.records) }
