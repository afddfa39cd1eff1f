package linear

import (
	"hash/maphash"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/seed-64ad3862/gatehouse/session"
)

// The fields and labels that histories use. A field's value is a number.
var (
	fieldKeys  = [...]string{"a", "b", "c"}
	labelNames = [...]string{"l", "m"}
)

// A record is a [session.Record] that can be compared. Times are Unix
// milliseconds, fields and labels are in the order of their names above. The
// zero record is none.
type record struct {
	exists  bool
	created int64
	seen    int64
	idle    int64
	expires int64
	owner   string
	labels  [len(labelNames)]string
	fields  [len(fieldKeys)]string
}

// fromStore converts what a store returned. It reports false if the record has a
// field or label that no history writes.
func fromStore(s *session.Record) (r record, ok bool) {
	r = record{
		exists: true, owner: s.Owner, created: s.Created.UnixMilli(), seen: s.Seen.UnixMilli(),
		idle: s.Idle.Milliseconds(), expires: s.Expires.UnixMilli(),
	}
	ok = true
	for _, f := range s.Fields {
		i := slices.Index(fieldKeys[:], f.Key)
		if ok = ok && i >= 0 && f.Value != "" && r.fields[max(i, 0)] == ""; ok {
			r.fields[i] = f.Value
		}
	}
	for _, l := range s.Labels {
		i := slices.Index(labelNames[:], l.Name)
		if ok = ok && i >= 0 && l.Value != "" && r.labels[max(i, 0)] == ""; ok {
			r.labels[i] = l.Value
		}
	}
	return r, ok
}

// deadline is [session.Record.Deadline].
func (r *record) deadline() int64 { return min(r.seen+r.idle, r.expires) }

// holds reports whether the conditions hold. The zero record has no fields.
func (r *record) holds(conditions []session.Field) bool {
	for _, c := range conditions {
		if r.fields[slices.Index(fieldKeys[:], c.Key)] != c.Value {
			return false
		}
	}
	return true
}

// matches reports whether the query selects the record.
func (r *record) matches(q *session.Query) bool {
	switch {
	case q == nil || q.All:
		return true
	case q.Owner != "" && r.owner != q.Owner, q.SignedIn && r.owner == "":
		return false
	case q.Label.Name == "":
		return true
	}
	return r.labels[slices.Index(labelNames[:], q.Label.Name)] == q.Label.Value
}

// apply returns the record after the delta.
func (r record) apply(d *session.Delta) record {
	if d.Create {
		r = record{exists: true, seen: math.MinInt64}
	}
	if !d.Seen.IsZero() {
		r.seen = max(r.seen, d.Seen.UnixMilli())
	}
	if d.Create || d.Restart {
		r.created = r.seen
	}
	if d.Idle != 0 {
		r.idle = d.Idle.Milliseconds()
	}
	if !d.Expires.IsZero() {
		r.expires = d.Expires.UnixMilli()
	}
	if d.Owner != nil {
		r.owner = *d.Owner
	}
	for _, l := range d.Labels {
		r.labels[slices.Index(labelNames[:], l.Name)] = l.Value
	}
	for _, f := range d.Set {
		r.fields[slices.Index(fieldKeys[:], f.Key)] = f.Value
	}
	for _, key := range d.Delete {
		r.fields[slices.Index(fieldKeys[:], key)] = ""
	}
	return r
}

// A kind says what a step does.
type kind uint8

const (
	see    kind = iota // observe one record
	commit             // [session.Store.Commit]
	remove             // [session.Store.Delete]
	// These are what requests do where the outcome decides about more than one
	// step of a store.
	increment // add one to a field, in an Update whose outcome is unknown
	purge     // end the session if it belongs to an owner
)

// An outcome is what the caller of a step was told.
type outcome uint8

const (
	done outcome = iota
	notFound
	exists
	conflict
	refused // by ErrFull: nothing has changed
	unknown // it happens at some time from the call on, or never
)

// A detail says how much of a record that was observed has to be right.
type detail uint8

const (
	whole    detail = iota // all of it
	values                 // owner and fields
	without                // the field with the key is absent
	presence               // that there is one
)

// A step is an operation on the model. It takes effect at one moment between
// call and ret, as the outcome says.
type step struct {
	kind    kind
	id      int // of the record, a number in its history
	outcome outcome
	delta   *session.Delta // of a commit
	to      int            // what commit renames to; -1: nothing
	key     int            // of increment and without
	owner   string         // of purge

	// see: the record that was found, if it was, by the query, unless nil.
	found  bool
	record record
	detail detail
	query  *session.Query
	// handles are what a request listed, before it is taken apart.
	handles []session.Handle

	call, ret time.Duration // since the history began; ret is never if the outcome is unknown
	client    int
	number    int  // of a change, from 0; -1 if no later step has to see it
	after     mask // changes that must have happened before

	// proven: the ID needs no record, and one that has none is an empty session.
	proven bool
}

// never is when an operation returns whose outcome is unknown.
const never = time.Duration(math.MaxInt64)

// A mask is a set of changes by number.
type mask [4]uint64

// maxChanges bounds the changes of a history of which masks are made.
const maxChanges = 64 * len(mask{})

func (m mask) with(n int) mask {
	m[n/64] |= 1 << (n % 64)
	return m
}

func (m mask) within(of mask) bool {
	for i := range m {
		if m[i]&^of[i] != 0 {
			return false
		}
	}
	return true
}

// A state is that of all records of a history. It is never changed in place.
type state struct {
	records []record
	done    mask
}

func (s *state) with(id int, r record) *state {
	records := slices.Clone(s.records)
	records[id] = r
	return &state{records, s.done}
}

// A model is the sequential specification: the contract of [session.Store] in
// terms of what callers may be told.
type model struct {
	records int           // in a history
	began   int64         // when it did, in Unix milliseconds
	end     time.Duration // when the last call returned, since then
	skew    time.Duration // see Target.Skew
}

var seed = maphash.MakeSeed()

// porcupine returns the model as package porcupine wants it.
func (m *model) porcupine() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return &state{records: make([]record, m.records)} },
		Step: func(s, in, _ any) (bool, any) {
			next, ok := m.step(s.(*state), in.(*step))
			return ok, next
		},
		Equal: func(a, b any) bool {
			s, o := a.(*state), b.(*state)
			return s == o || s.done == o.done && slices.Equal(s.records, o.records)
		},
		Hash: func(s any) (sum uint64) {
			for i := range s.(*state).records {
				sum = sum*31 + maphash.Comparable(seed, s.(*state).records[i])
			}
			return sum
		},
		DescribeOperation: func(in, _ any) string { return in.(*step).String() },
		DescribeState:     func(s any) string { return s.(*state).String() },
	}
}

// mayLive reports whether the record may exist while the step happens: its
// deadline has not passed when the step begins.
func (m *model) mayLive(r *record, in *step) bool {
	return r.exists && m.began+(in.call-m.skew).Milliseconds() <= r.deadline()
}

// mayEnd reports whether the record may be absent while the step happens: its
// deadline has passed when the step ends. A step that saw that has seen the end
// of the record, which no later one may find again.
func (m *model) mayEnd(r *record, in *step) bool {
	return !r.exists || m.began+(min(in.ret, m.end)+m.skew).Milliseconds()+1 >= r.deadline()
}

// step returns the state after the step, or false if its outcome cannot be what
// it was in this state. An unknown outcome always can: as last of its history it
// has no effect that anyone sees.
func (m *model) step(s *state, in *step) (*state, bool) {
	next, ok := m.known(s, in)
	if !ok && in.outcome == unknown {
		return s, true
	}
	if ok && in.number >= 0 && in.outcome == done {
		next = &state{next.records, next.done.with(in.number)}
	}
	return next, ok
}

// known is step where an unknown outcome is taken for success.
func (m *model) known(s *state, in *step) (*state, bool) {
	if in.outcome == refused {
		return s, true
	}
	r := &s.records[in.id]
	if in.proven && !r.exists {
		r = &emptySession
	}
	lives, ends := m.mayLive(r, in), m.mayEnd(r, in)
	switch in.kind {
	case see:
		return m.see(s, r, in, lives, ends)
	case commit:
		return m.commit(s, r, in, lives, ends)
	case remove:
		if in.outcome == notFound {
			return s.with(in.id, record{}), ends
		}
		return s.with(in.id, record{}), lives
	case increment:
		if !lives {
			return nil, false
		}
		n, _ := strconv.Atoi(r.fields[in.key])
		changed := *r
		changed.fields[in.key] = strconv.Itoa(n + 1)
		return s.with(in.id, changed), true
	case purge:
		if lives && r.owner == in.owner {
			return s.with(in.id, record{}), true
		}
		return s, true
	}
	panic("linear: a step of no kind")
}

func (m *model) see(s *state, r *record, in *step, lives, ends bool) (*state, bool) {
	switch {
	case !in.after.within(s.done):
		return nil, false
	case !in.found && r.exists && !r.matches(in.query):
		return s, true
	case !in.found:
		return s.with(in.id, record{}), ends
	case !lives || !r.matches(in.query):
		return nil, false
	}
	switch in.detail {
	case whole:
		return s, *r == in.record
	case values:
		return s, r.owner == in.record.owner && r.fields == in.record.fields
	case without:
		return s, r.fields[in.key] == ""
	}
	return s, true
}

// commit is the contract of [session.Store.Commit].
func (m *model) commit(s *state, r *record, in *step, lives, ends bool) (*state, bool) {
	d := in.delta
	if d.Create {
		switch in.outcome {
		case exists:
			return s, lives
		case conflict:
			return s.with(in.id, record{}), ends && !(&record{}).holds(d.If)
		case done, unknown:
			return s.with(in.id, r.apply(d)), ends && (&record{}).holds(d.If)
		}
		return nil, false // it was not asked for a record that exists
	}
	if in.outcome == notFound {
		return s.with(in.id, record{}), ends
	}
	if !lives {
		return nil, false
	}
	vacant := s
	if in.to >= 0 {
		taken := &s.records[in.to]
		if in.outcome == exists {
			return s, m.mayLive(taken, in)
		}
		if !m.mayEnd(taken, in) {
			return nil, false
		}
		vacant = s.with(in.to, record{})
	}
	switch holds := r.holds(d.If); {
	case in.outcome == conflict:
		return vacant, !holds
	case in.outcome == exists || !holds:
		return nil, false
	case in.to >= 0:
		moved := r.apply(d)
		if r == &emptySession {
			moved = record{} // under a proven ID again
		}
		return vacant.with(in.id, record{}).with(in.to, moved), true
	}
	return s.with(in.id, r.apply(d)), true
}
