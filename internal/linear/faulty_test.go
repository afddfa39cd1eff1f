package linear

import (
	"context"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// TestFindsFaults plants faults into a small store that is right without them, and
// fails unless a history shows each. The store lives in a bubble of package
// synctest, so that how calls meet is a matter of the seed and not of the machine.
func TestFindsFaults(t *testing.T) {
	const atMost = 2000 // histories
	stores, sites := (*Target).CheckStores, (*Target).CheckSites
	for _, test := range []struct {
		fault string
		check []func(*Target, testing.TB, []uint64) (Stats, error)
	}{
		{"a commit writes the whole record", both},
		{"a commit brings a record back", both},
		{"a commit makes what does not exist", one(stores)},
		{"a commit is torn", both},
		{"a commit is done twice", both},
		{"a commit is refused as full and done", one(stores)},
		{"a commit conflicts and is done", both},
		{"conditions are ignored", both},
		{"conditions are checked before", both},
		{"a creation overwrites", one(stores)},
		{"a rename keeps the old ID", both},
		{"a rename shows both IDs", one(stores)},
		{"a rename shows neither ID", one(stores)},
		{"a rename overwrites", one(stores)},
		{"a delete is forgotten", both},
		{"a delete comes late", both},
		{"a commit does not see that a record is over", one(stores)},
		{"a read does not see that a record is over", one(stores)},
		{"a touch moves Seen back", one(stores)},
		{"labels are replaced", one(stores)},
		{"a read is stale", both},
		{"a read is torn", one(stores)},
		{"a listing misses some", both},
		{"a listing yields some twice", both},
		{"a delete hides a record that uses its ID again", one(stores)},
		{"a sweep removes what lives", one(stores)},
		{"what is acknowledged does not survive a crash", both},
		{"a cache does not see changes of its own process", both},
		{"a cache remembers for too long", both},
		{"a cache remembers that there is none", one(stores)},
		{"requests are sent again", one(sites)},
		{"answers are remembered", one(sites)},
	} {
		t.Run(test.fault, func(t *testing.T) {
			for i, check := range test.check {
				err := error(nil)
				n := uint64(0)
				for ; n < atMost && err == nil; n++ {
					synctest.Test(t, func(t *testing.T) {
						_, err = check(newToy(test.fault, n).target(t), t, []uint64{n})
					})
				}
				if err == nil {
					t.Errorf("level %d: not found in %d histories", i, n)
					continue
				}
				t.Logf("level %d: found by history %d", i, n)
			}
		})
	}
}

var both = []func(*Target, testing.TB, []uint64) (Stats, error){(*Target).CheckStores, (*Target).CheckSites}

func one[T any](f T) []T { return []T{f} }

// TestAcceptsWhatIsRight: no history of the store is refused while there is no
// fault in it, with a cache as it may be, and without.
func TestAcceptsWhatIsRight(t *testing.T) {
	for _, fault := range []string{"", "a cache"} {
		for _, check := range both {
			var stats Stats
			for seed := range uint64(100) {
				synctest.Test(t, func(t *testing.T) {
					s, err := check(newToy(fault, seed).target(t, someKeys(seed)...), t, []uint64{seed})
					if err != nil {
						t.Fatal(err)
					}
					stats.add(&s)
				})
			}
			t.Logf("%q: %v", fault, stats)
		}
	}
}

// someKeys returns keys for every other history, whose anonymous sessions then
// need no records.
func someKeys(seed uint64) [][]byte {
	if seed%2 == 0 {
		return nil
	}
	return keys32
}

var keys32 = [][]byte{[]byte("0123456789abcdef0123456789abcdef")}

// A toy is a store, right but for its fault.
type toy struct {
	fault string
	slow  time.Duration // what its calls take at most, for each step of theirs

	mu      sync.Mutex
	rng     *rand.Rand
	records map[session.ID]session.Record
	hidden  map[session.ID]bool // from listings
	past    []map[session.ID]session.Record
}

func newToy(fault string, seed uint64) *toy {
	s := &toy{
		fault: fault, slow: 300 * time.Microsecond, rng: rand.New(rand.NewPCG(seed, 7)),
		records: map[session.ID]session.Record{}, hidden: map[session.ID]bool{},
	}
	if strings.HasPrefix(fault, "a cache") {
		s.slow = 300 * time.Millisecond // what is remembered is to grow old
	}
	return s
}

// target returns two processes that use the store.
func (s *toy) target(t *testing.T, keys ...[]byte) *Target {
	tg := &Target{Alone: true, Skew: skew, Cancel: true}
	for range 4 {
		var store session.Store = s
		if strings.HasPrefix(s.fault, "a cache") {
			tg.Stale = 900 * time.Millisecond
			store = &cached{toy: s, kept: map[session.ID]kept{}}
		}
		tg.Stores = append(tg.Stores, store)
		site := Here(manager(t, store, keys...))
		switch s.fault {
		case "requests are sent again":
			site.Transport = repeating{site.Transport, s}
		case "answers are remembered":
			site.Transport = &remembering{RoundTripper: site.Transport, toy: s, answers: map[string]*http.Response{}}
		}
		tg.Sites = append(tg.Sites, site)
	}
	if s.fault == "what is acknowledged does not survive a crash" {
		tg.Breaks = []func(){s.crash}
	}
	return tg
}

// is reports whether the fault is planted; some of the time, if in is more than 1.
func (s *toy) is(fault string, in int) bool {
	return s.fault == fault && s.rng.IntN(in) == 0
}

// pause lets others come in between. s.mu is held, but not meanwhile.
func (s *toy) pause() {
	d := time.Duration(s.rng.Int64N(int64(s.slow)))
	s.mu.Unlock()
	time.Sleep(d)
	s.mu.Lock()
}

// enter begins a call, and returns what ends it.
func (s *toy) enter() (leave func()) {
	s.mu.Lock()
	s.pause()
	return func() {
		s.pause()
		s.mu.Unlock()
	}
}

// get returns the record, if there is one that is not over.
func (s *toy) get(id session.ID) (session.Record, bool) {
	r, ok := s.records[id]
	if !ok || !time.Now().Before(r.Deadline()) {
		return session.Record{}, false
	}
	return r, true
}

// changed is called before each change.
func (s *toy) changed() {
	s.past = append(s.past[max(0, len(s.past)-3):], maps.Clone(s.records))
}

func (s *toy) crash() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.past) > 0 {
		s.records = s.past[0]
		s.past = nil
	}
}

func (s *toy) Load(_ context.Context, id session.ID) (session.Record, error) {
	defer s.enter()()
	r, ok := s.get(id)
	if s.is("a read does not see that a record is over", 1) {
		r, ok = s.records[id]
	}
	if s.is("a read is torn", 2) && ok {
		half := len(r.Fields) / 2
		s.pause()
		if now, ok := s.get(id); ok {
			r.Fields = session.MergeFields(now.Fields, r.Fields[:half], nil)
		}
	}
	if s.is("a read is stale", 8) && len(s.past) > 0 {
		if old, was := s.past[0][id]; was {
			return old, nil
		}
	}
	if !ok {
		return session.Record{}, session.ErrNotFound
	}
	return r, nil
}

func (s *toy) Delete(_ context.Context, id session.ID) error {
	defer s.enter()()
	old, ok := s.get(id)
	if !ok {
		return session.ErrNotFound
	}
	switch {
	case s.is("a delete is forgotten", 2):
		return nil
	case s.is("a delete comes late", 2):
		later := time.Duration(s.rng.Int64N(int64(4 * s.slow)))
		time.AfterFunc(later, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.records, id)
		})
		return nil
	}
	s.changed()
	delete(s.records, id)
	if s.is("a delete hides a record that uses its ID again", 1) && old.Owner != "" {
		s.pause()
		s.hidden[id] = true
	}
	return nil
}

func (s *toy) Commit(_ context.Context, id session.ID, d *session.Delta) error {
	defer s.enter()()
	r, there := s.get(id)
	switch {
	case s.is("a commit does not see that a record is over", 1):
		r, there = s.records[id]
	case s.is("a creation overwrites", 1) && d.Create:
		there = false
	case s.is("a commit makes what does not exist", 1) && !there && d.Rename == (session.ID{}):
		now := time.Now()
		s.records[id] = applied(session.Record{ID: id, Created: now, Seen: now, Idle: time.Hour, Expires: now.Add(time.Hour)}, d)
		return nil
	}
	to, moves := id, false
	if d.Rename != (session.ID{}) {
		to, moves = d.Rename, true
	}
	if d.Create == there {
		if there {
			return session.ErrExists
		}
		return session.ErrNotFound
	}
	if _, taken := s.get(to); moves && taken && s.fault != "a rename overwrites" {
		return session.ErrExists
	}
	for _, c := range d.If {
		if valueOf(r, c.Key) != c.Value && s.fault != "conditions are ignored" {
			if s.is("a commit conflicts and is done", 2) && !d.Create {
				s.records[id] = applied(r, &session.Delta{Set: d.Set, Delete: d.Delete})
			}
			return session.ErrConflict
		}
	}
	if d.Create {
		r = session.Record{ID: id}
	}
	switch {
	case s.is("conditions are checked before", 1) && len(d.If) > 0:
		s.pause()
		if r, there = s.get(id); there == d.Create {
			return session.ErrNotFound
		}
	case s.is("a commit writes the whole record", 2) && !d.Create:
		s.pause()
		if _, there := s.get(id); !there {
			return session.ErrNotFound
		}
	case s.is("a commit brings a record back", 2) && !d.Create:
		s.pause()
	case s.is("a commit is torn", 2) && !moves && len(d.Set) > 0:
		half := *d
		half.Set, half.Delete = d.Set[:len(d.Set)/2], nil
		r = applied(r, &half)
		s.records[id] = r
		s.pause()
		if _, there := s.get(id); !there {
			return session.ErrNotFound
		}
	}
	s.changed()
	if d.Owner != nil {
		delete(s.hidden, to)
	}
	r = applied(r, d)
	r.ID = to
	if moves && s.fault != "a rename keeps the old ID" && s.fault != "a rename shows both IDs" {
		delete(s.records, id)
	}
	if s.is("a rename shows neither ID", 1) && moves {
		s.pause()
	}
	s.records[to] = r
	if s.is("a rename shows both IDs", 1) && moves {
		s.pause()
		delete(s.records, id)
	}
	switch {
	case s.is("a commit is done twice", 4):
		if d.Create || moves || !holds(r, d.If) {
			return session.ErrConflict
		}
		s.pause()
		if now, there := s.get(id); there {
			s.records[id] = applied(now, d)
		}
	case s.is("a commit is refused as full and done", 4):
		return session.ErrFull
	case s.is("a touch moves Seen back", 1) && !d.Seen.IsZero():
		r.Seen = d.Seen
		s.records[to] = r
	case s.is("labels are replaced", 1) && len(d.Labels) > 0:
		r.Labels = session.MergeLabels(nil, d.Labels)
		s.records[to] = r
	}
	return nil
}

func valueOf(r session.Record, key string) string {
	for _, f := range r.Fields {
		if f.Key == key {
			return f.Value
		}
	}
	return ""
}

func holds(r session.Record, conditions []session.Field) bool {
	return !slices.ContainsFunc(conditions, func(c session.Field) bool { return valueOf(r, c.Key) != c.Value })
}

// applied returns the record with the delta in it.
func applied(r session.Record, d *session.Delta) session.Record {
	if d.Seen.After(r.Seen) {
		r.Seen = d.Seen
	}
	if d.Create || d.Restart {
		r.Created = r.Seen
	}
	if d.Idle != 0 {
		r.Idle = d.Idle
	}
	if !d.Expires.IsZero() {
		r.Expires = d.Expires
	}
	if d.Owner != nil {
		r.Owner = *d.Owner
	}
	r.Labels = session.MergeLabels(r.Labels, d.Labels)
	r.Fields = session.MergeFields(r.Fields, d.Set, d.Delete)
	return r
}

func (s *toy) Find(_ context.Context, h session.Handle) (session.Record, error) {
	defer s.enter()()
	for id := range s.records {
		if r, ok := s.get(id); ok && id.Handle() == h {
			return r, nil
		}
	}
	return session.Record{}, session.ErrNotFound
}

// List looks at one record after the other.
func (s *toy) List(_ context.Context, q session.Query) iter.Seq2[session.Record, error] {
	return func(yield func(session.Record, error) bool) {
		s.mu.Lock()
		ids := slices.Collect(maps.Keys(s.records))
		s.mu.Unlock()
		for _, id := range ids {
			leave := s.enter()
			r, ok := s.get(id)
			ok = ok && q.Match(&r) && !s.hidden[id] && !s.is("a listing misses some", 4)
			twice := s.is("a listing yields some twice", 4)
			leave()
			if ok && (!yield(r, nil) || twice && !yield(r, nil)) {
				return
			}
		}
	}
}

func (s *toy) Sweep(context.Context) iter.Seq2[session.Record, error] {
	return func(yield func(session.Record, error) bool) {
		defer s.enter()()
		for id, r := range s.records {
			if _, ok := s.get(id); !ok || s.is("a sweep removes what lives", 2) {
				delete(s.records, id)
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// cached is a process's view of a toy. It remembers records that it has read for
// 0.9 seconds, and hears of no changes but its own.
type cached struct {
	*toy
	kept map[session.ID]kept
}

type kept struct {
	r    session.Record
	none bool
	at   time.Time
}

func (s *cached) Load(ctx context.Context, id session.ID) (session.Record, error) {
	life := 900 * time.Millisecond
	if s.fault == "a cache remembers for too long" {
		life *= 5
	}
	s.mu.Lock()
	k, ok := s.kept[id]
	s.mu.Unlock()
	now := time.Now()
	if ok && now.Sub(k.at) < life {
		if k.none {
			return session.Record{}, session.ErrNotFound
		}
		if now.Before(k.r.Deadline()) {
			return k.r, nil
		}
	}
	s.mu.Lock()
	mark := kept{at: now}
	s.kept[id] = kept{at: now.Add(-time.Hour)} // it is being read
	s.mu.Unlock()
	r, err := s.toy.Load(ctx, id)
	s.mu.Lock()
	defer s.mu.Unlock()
	mark.r, mark.none = r, err != nil
	if (err == nil || s.fault == "a cache remembers that there is none") && s.kept[id].at.Equal(now.Add(-time.Hour)) {
		s.kept[id] = mark
	}
	return r, err
}

func (s *cached) forget(id session.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault != "a cache does not see changes of its own process" {
		delete(s.kept, id)
	}
}

func (s *cached) Commit(ctx context.Context, id session.ID, d *session.Delta) error {
	defer s.forget(id)
	defer s.forget(d.Rename)
	return s.toy.Commit(ctx, id, d)
}

func (s *cached) Delete(ctx context.Context, id session.ID) error {
	defer s.forget(id)
	return s.toy.Delete(ctx, id)
}

// repeating is a proxy that now and then sends a request twice.
type repeating struct {
	http.RoundTripper
	toy *toy
}

func (p repeating) RoundTrip(r *http.Request) (*http.Response, error) {
	p.toy.mu.Lock()
	twice := p.toy.rng.IntN(4) == 0
	p.toy.mu.Unlock()
	if twice {
		_, _ = p.RoundTripper.RoundTrip(r)
	}
	return p.RoundTripper.RoundTrip(r)
}

// remembering is a proxy that now and then answers what it has answered before.
type remembering struct {
	http.RoundTripper
	toy     *toy
	answers map[string]*http.Response
}

func (p *remembering) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.Contains(r.URL.Path, "get") {
		return p.RoundTripper.RoundTrip(r)
	}
	key := r.Header.Get("Cookie")
	p.toy.mu.Lock()
	res := p.answers[key]
	known := res != nil && p.toy.rng.IntN(4) == 0
	p.toy.mu.Unlock()
	if !known {
		var err error
		if res, err = p.RoundTripper.RoundTrip(r); err != nil {
			return nil, err
		}
	}
	body, _ := io.ReadAll(res.Body)
	copied := *res
	res.Body, copied.Body = io.NopCloser(strings.NewReader(string(body))), io.NopCloser(strings.NewReader(string(body)))
	p.toy.mu.Lock()
	p.answers[key] = &copied
	p.toy.mu.Unlock()
	return res, nil
}
