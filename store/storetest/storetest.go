// Package storetest is the contract of [session.Store] as tests, for the stores
// of this module and for those of others:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, storetest.Config{
//			New: func(t *testing.T) session.Store { return mystore.New() },
//		})
//	}
//
// A store that is also a [session.Lister], a [session.Sweeper] or a captcha.Once
// is tested as one. Run the tests under the race detector.
package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// Config says what is to be tested and how patiently.
type Config struct {
	// New returns a store for one test, of which there are some hundreds. It
	// may have records of others in it.
	New func(t *testing.T) session.Store

	// Second is what the tests take for a second, a second if zero: they give
	// sessions lives of some of them and wait. It must be well above the
	// store's resolution of time. A store that runs on [time.Now] alone is
	// best tested inside [testing/synctest.Test], where waiting costs nothing.
	Second time.Duration

	// Rounds is how often races are repeated, 100 if zero, and a third of how
	// many random sequences of operations there are.
	Rounds int

	// UniqueHandles: the store answers ErrExists for a new record where another
	// has its handle, as it may. IDs of the tests then differ in their handles.
	UniqueHandles bool

	// Bubble, unless nil, runs each test, but for the one that waits in real
	// time for a store that may never answer: [testing/synctest.Test] fits.
	Bubble func(t *testing.T, f func(t *testing.T))
}

// Run runs all tests.
func Run(t *testing.T, cfg Config) {
	if cfg.Second == 0 {
		cfg.Second = time.Second
	}
	if cfg.Rounds == 0 {
		cfg.Rounds = 100
	}
	if cfg.Bubble == nil {
		cfg.Bubble = func(t *testing.T, f func(t *testing.T)) { f(t) }
	}
	for _, test := range []struct {
		name string
		run  func(*suite)
		fits func(store session.Store) bool // nil: every store
	}{
		{"Create", (*suite).create, nil},
		{"Values", (*suite).values, nil},
		{"MustExist", (*suite).mustExist, nil},
		{"DeltaOnly", (*suite).deltaOnly, nil},
		{"ManyKeys", (*suite).manyKeys, nil},
		{"Conditions", (*suite).conditions, nil},
		{"Delete", (*suite).delete, nil},
		{"CreateAndRename", (*suite).createAndRename, nil},
		{"Rename", (*suite).rename, nil},
		{"RenameIsAtomic", (*suite).renameIsAtomic, nil},
		{"Idle", (*suite).idle, nil},
		{"Absolute", (*suite).absolute, nil},
		{"ClocksAlone", (*suite).clocksAlone, nil},
		{"Restart", (*suite).restart, nil},
		{"SeenNeverMovesBack", (*suite).seen, nil},
		{"OwnerAndLabels", (*suite).ownerAndLabels, nil},
		{"ConcurrentKeys", (*suite).concurrentKeys, nil},
		{"ConcurrentConditions", (*suite).concurrentConditions, nil},
		{"DeleteIsFinal", (*suite).deleteIsFinal, nil},
		{"KeepsNothingOfTheDelta", (*suite).keepsNothing, nil},
		{"RecordsDoNotChange", (*suite).recordsDoNotChange, nil},
		{"List", (*suite).list, isLister},
		{"ListAll", (*suite).listAll, isLister},
		{"ListWhileChanging", (*suite).listWhileChanging, isLister},
		{"Find", (*suite).find, isLister},
		{"Sweep", (*suite).sweep, isSweeper},
		{"SpendOnce", (*suite).spendOnce, isSpender},
		{"Requests/KeepEachOthersKeys", (*suite).requestsKeepKeys, nil},
		{"Requests/Update", (*suite).requestsUpdate, nil},
		{"Requests/ConsumeOnce", (*suite).requestsConsume, nil},
		{"Requests/SignOutIsFinal", (*suite).requestsSignOut, nil},
		{"Requests/RenewIsFinal", (*suite).requestsRenew, nil},
		{"Requests/ExpiryIsFinal", (*suite).requestsExpiry, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg.Bubble(t, func(t *testing.T) {
				s := newSuite(t, cfg)
				if test.fits != nil && !test.fits(s.store) {
					t.Log("the store is none of those: there is nothing to test")
					return
				}
				test.run(s)
			})
		})
	}
	t.Run("ListHoldsNobodyUp", func(t *testing.T) {
		if s := newSuite(t, cfg); isLister(s.store) {
			s.listHoldsNobodyUp()
		}
	})
	t.Run("Replay", func(t *testing.T) {
		for i := range 3 * cfg.Rounds {
			// A test of its own for each: its store is closed when it ends,
			// and its name says how to run it alone.
			if !t.Run(fmt.Sprint(i), func(t *testing.T) { cfg.Bubble(t, func(t *testing.T) { replaySeed(t, cfg, i) }) }) {
				return // the others say the same
			}
		}
	})
}

// replaySeed replays the random sequence with this number.
func replaySeed(t *testing.T, cfg Config, seed int) {
	r := mathrand.New(mathrand.NewPCG(uint64(seed), 1))
	data := make([]byte, 300+r.IntN(500))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	salt := newID()
	(&replay{t: t, store: cfg.New(t), data: data, uniqueHandles: cfg.UniqueHandles, salt: salt, prefix: salt.Handle().String() + " "}).run()
}

type suite struct {
	*testing.T
	Config
	store session.Store
	ctx   context.Context
}

func newSuite(t *testing.T, cfg Config) *suite {
	return &suite{T: t, Config: cfg, store: cfg.New(t), ctx: t.Context()}
}

func newID() (id session.ID) {
	rand.Read(id[:])
	return id
}

// delta returns the creation of a record that lives long.
func (s *suite) delta(fields ...session.Field) *session.Delta {
	now := time.Now()
	return &session.Delta{Create: true, Seen: now, Idle: time.Hour, Expires: now.Add(24 * time.Hour), Set: fields}
}

func (s *suite) commit(id session.ID, d *session.Delta) {
	s.Helper()
	if err := s.store.Commit(s.ctx, id, d); err != nil {
		s.Fatalf("Commit(%+v): %v", d, err)
	}
}

func (s *suite) made(fields ...session.Field) session.ID {
	s.Helper()
	id := newID()
	s.commit(id, s.delta(fields...))
	return id
}

func (s *suite) refused(id session.ID, d *session.Delta, want error) {
	s.Helper()
	if err := s.store.Commit(s.ctx, id, d); !errors.Is(err, want) {
		s.Fatalf("Commit(%+v): %v, want %v", d, err, want)
	}
}

func (s *suite) load(id session.ID) session.Record {
	s.Helper()
	r, err := s.store.Load(s.ctx, id)
	if err != nil {
		s.Fatalf("Load: %v", err)
	}
	if r.ID != id {
		s.Fatalf("Load(%x) has the ID %x", id, r.ID)
	}
	return r
}

func (s *suite) absent(id session.ID) {
	s.Helper()
	if r, err := s.store.Load(s.ctx, id); !errors.Is(err, session.ErrNotFound) {
		s.Fatalf("Load: %+v, %v, want ErrNotFound", r, err)
	}
}

func fieldsOf(r session.Record) map[string]string {
	m := map[string]string{}
	for _, f := range r.Fields {
		m[f.Key] = f.Value
	}
	return m
}

func (s *suite) has(id session.ID, fields ...session.Field) {
	s.Helper()
	r := s.load(id)
	want := map[string]string{}
	for _, f := range fields {
		want[f.Key] = f.Value
	}
	if got := fieldsOf(r); !maps.Equal(got, want) || len(r.Fields) != len(got) {
		s.Fatalf("the record has %.300q, want %.300q", r.Fields, fields)
	}
}

// near reports whether two moments are the same to a store that keeps
// milliseconds.
func near(a, b time.Time) bool { return a.Sub(b).Abs() <= 2*time.Millisecond }

func f(key, value string) session.Field { return session.Field{Key: key, Value: value} }

func (s *suite) create() {
	s.absent(newID())
	d := s.delta(f("a", `1`), f("b", `"x"`))
	id := newID()
	s.commit(id, d)
	s.has(id, d.Set...)
	r := s.load(id)
	if !near(r.Created, d.Seen) || !near(r.Seen, d.Seen) || r.Idle != d.Idle || !near(r.Expires, d.Expires) {
		s.Errorf("clocks %v %v %v %v, want those of %+v", r.Created, r.Seen, r.Idle, r.Expires, d)
	}
	if r.Owner != "" || len(r.Labels) != 0 {
		s.Errorf("owner %q, labels %v, want none", r.Owner, r.Labels)
	}
	s.refused(id, s.delta(f("a", `2`)), session.ErrExists)
	s.has(id, d.Set...)

	empty := s.made()
	s.has(empty)
}

func (s *suite) values() {
	var all [256]byte
	for i := range all {
		all[i] = byte(i)
	}
	id := newID()
	fields := []session.Field{
		f("text", `"汉字 \u0000 \" </script>"`),
		f("键 with: odd {chars} 'and' \"quotes\"", `[1,2,{"a":null}]`),
		f(strings.Repeat("k", 255), `true`),
		f("large", `"`+strings.Repeat("0123456789", 6000)+`"`),
	}
	for i := range 200 {
		fields = append(fields, f(fmt.Sprintf("key%d", i), fmt.Sprint(i)))
	}
	s.commit(id, s.delta(fields...))
	s.has(id, fields...)
	// Growing and shrinking by one keeps all others.
	for range 3 {
		s.commit(id, &session.Delta{Set: []session.Field{f("large", `0`)}})
		fields[3].Value = `0`
		s.has(id, fields...)
		fields[3].Value = `"` + strings.Repeat("x", 20000) + `"`
		s.commit(id, &session.Delta{Set: fields[3:4]})
		s.has(id, fields...)
	}
}

func (s *suite) mustExist() {
	id := newID()
	for _, d := range []*session.Delta{
		{Set: []session.Field{f("a", `1`)}},
		{Delete: []string{"a"}},
		{Seen: time.Now()},
		{Rename: newID()},
		{},
	} {
		s.refused(id, d, session.ErrNotFound)
		s.absent(id)
		if d.Rename != (session.ID{}) {
			s.absent(d.Rename)
		}
	}
}

func (s *suite) deltaOnly() {
	id := s.made(f("a", `1`), f("b", `2`), f("c", `3`))
	before := s.load(id)
	s.commit(id, &session.Delta{Set: []session.Field{f("b", `20`), f("d", `4`)}, Delete: []string{"c", "absent"}})
	s.has(id, f("a", `1`), f("b", `20`), f("d", `4`))
	after := s.load(id)
	if !after.Created.Equal(before.Created) || !after.Seen.Equal(before.Seen) || after.Idle != before.Idle || !after.Expires.Equal(before.Expires) {
		s.Errorf("a delta without clocks changed them: %+v, was %+v", after, before)
	}
	// What was loaded before does not change under its reader.
	if got := fieldsOf(before); got["b"] != `2` || got["c"] != `3` {
		s.Errorf("a loaded record changed: %v", got)
	}
}

// manyKeys: there is no number of keys above which a change fails or loses some.
func (s *suite) manyKeys() {
	const n = 16_000
	want := make(map[string]string, n)
	d := s.delta()
	for i := range n {
		field := f("k"+strconv.Itoa(i), strconv.Itoa(i))
		want[field.Key] = field.Value
		d.Set = append(d.Set, field)
	}
	id := newID()
	s.commit(id, d)
	s.hasExactly(id, want)
	d = &session.Delta{}
	for i := range n {
		key := "k" + strconv.Itoa(i)
		if i%2 == 0 {
			d.Delete = append(d.Delete, key)
			delete(want, key)
		} else {
			d.Set = append(d.Set, f(key, "true"))
			want[key] = "true"
		}
	}
	s.commit(id, d)
	s.hasExactly(id, want)
}

func (s *suite) hasExactly(id session.ID, want map[string]string) {
	s.Helper()
	if got := fieldsOf(s.load(id)); !maps.Equal(got, want) {
		s.Errorf("the record has %d values, want %d, or others", len(got), len(want))
	}
}

func (s *suite) conditions() {
	id := s.made(f("a", `1`))
	set := []session.Field{f("b", `1`)}
	s.refused(id, &session.Delta{If: []session.Field{f("a", `2`)}, Set: set}, session.ErrConflict)
	s.refused(id, &session.Delta{If: []session.Field{f("a", ``)}, Set: set}, session.ErrConflict)
	s.refused(id, &session.Delta{If: []session.Field{f("x", `1`)}, Set: set}, session.ErrConflict)
	s.refused(id, &session.Delta{If: []session.Field{f("a", `1`), f("x", `1`)}, Set: set, Rename: newID()}, session.ErrConflict)
	s.has(id, f("a", `1`))
	s.commit(id, &session.Delta{If: []session.Field{f("a", `1`), f("x", ``)}, Set: set})
	s.has(id, f("a", `1`), f("b", `1`))
	s.commit(id, &session.Delta{If: []session.Field{f("a", `1`)}, Delete: []string{"a"}})
	s.has(id, f("b", `1`))
	s.refused(newID(), &session.Delta{If: []session.Field{f("a", `1`)}, Set: set}, session.ErrNotFound)
}

func (s *suite) delete() {
	id := s.made(f("a", `1`))
	// Of any number of calls one is told that it was the one to end the
	// session, and reports it.
	for _, want := range []error{nil, session.ErrNotFound, session.ErrNotFound} {
		s.deleted(id, want)
		s.absent(id)
		s.refused(id, &session.Delta{Set: []session.Field{f("a", `2`)}}, session.ErrNotFound)
		s.absent(id)
	}
	s.deleted(newID(), session.ErrNotFound)
	// The place is free, and what is there now can be deleted in its turn.
	s.commit(id, s.delta(f("b", `1`)))
	s.has(id, f("b", `1`))
	s.deleted(id, nil)
}

func (s *suite) deleted(id session.ID, want error) {
	s.Helper()
	if err := s.store.Delete(s.ctx, id); !errors.Is(err, want) {
		s.Fatalf("Delete: %v, want %v", err, want)
	}
}

func (s *suite) rename() {
	for range 20 { // from and to wherever the store puts them
		owner := "owner"
		id, to := newID(), newID()
		d := s.delta(f("a", `1`))
		d.Owner, d.Labels = &owner, []session.Label{{Name: "l", Value: "v"}}
		s.commit(id, d)
		other := s.made(f("o", `1`))
		s.refused(id, &session.Delta{Rename: other, Set: d.Set}, session.ErrExists)
		s.has(id, d.Set...)
		s.has(other, f("o", `1`))

		s.commit(id, &session.Delta{Rename: to, Set: []session.Field{f("b", `2`)}})
		s.absent(id)
		s.has(to, f("a", `1`), f("b", `2`))
		if r := s.load(to); r.Owner != owner || !slices.Equal(r.Labels, d.Labels) || r.Idle != d.Idle || !near(r.Expires, d.Expires) {
			s.Errorf("renamed record is %+v, want all of %+v", r, d)
		}
		s.refused(id, &session.Delta{Set: d.Set}, session.ErrNotFound)
		s.refused(id, &session.Delta{Rename: newID()}, session.ErrNotFound)
	}
}

// renameIsAtomic: of many who rename at once one succeeds, and nobody ever sees
// both names.
// createAndRename: a delta that creates and renames is refused before anything
// else is looked at.
func (s *suite) createAndRename() {
	taken := s.made(f("a", `1`))
	for _, id := range []session.ID{newID(), taken} {
		for _, to := range []session.ID{newID(), taken, id} {
			d := s.delta(f("a", `2`))
			d.Rename = to
			d.If = []session.Field{f("a", `3`)}
			if err := s.store.Commit(s.ctx, id, d); !errors.Is(err, session.ErrInvalidDelta) {
				s.Errorf("Commit with Create and Rename: %v, want %v", err, session.ErrInvalidDelta)
			}
			for _, absent := range []session.ID{id, to} {
				if absent != taken {
					s.absent(absent)
				}
			}
		}
	}
	s.has(taken, f("a", `1`))
}

func (s *suite) renameIsAtomic() {
	for range s.Rounds {
		id := s.made(f("a", `1`))
		var won atomic.Int32
		var to [8]session.ID
		var wg sync.WaitGroup
		for i := range to {
			to[i] = newID()
			wg.Go(func() {
				switch err := s.store.Commit(s.ctx, id, &session.Delta{Rename: to[i]}); {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, session.ErrNotFound):
					s.Errorf("Commit: %v, want nil or ErrNotFound", err)
				}
				// If the new name is valid, the old one is not any more.
				if _, err := s.store.Load(s.ctx, to[i]); err == nil {
					if _, err := s.store.Load(s.ctx, id); err == nil {
						s.Errorf("both names are valid")
					}
				}
			})
		}
		wg.Wait()
		n := 0
		for _, id := range to {
			if _, err := s.store.Load(s.ctx, id); err == nil {
				n++
			}
		}
		s.absent(id)
		if won.Load() != 1 || n != 1 {
			s.Fatalf("%d renames succeeded, %d records are there, want 1", won.Load(), n)
		}
	}
}

// gone asserts that no method knows the record any more.
func (s *suite) gone(id session.ID) {
	s.Helper()
	s.absent(id)
	now := time.Now()
	s.refused(id, &session.Delta{Set: []session.Field{f("a", `2`)}, Seen: now, Idle: time.Hour, Expires: now.Add(time.Hour)}, session.ErrNotFound)
	s.refused(id, &session.Delta{Rename: newID(), Seen: now}, session.ErrNotFound)
	s.refused(id, &session.Delta{Seen: now}, session.ErrNotFound)
	s.refused(id, &session.Delta{Delete: []string{"a"}}, session.ErrNotFound)
	s.absent(id)
	if l, ok := s.store.(session.Lister); ok {
		if _, err := l.Find(s.ctx, id.Handle()); !errors.Is(err, session.ErrNotFound) {
			s.Errorf("Find of an expired record: %v, want ErrNotFound", err)
		}
	}
	s.deleted(id, session.ErrNotFound)
	s.absent(id)
}

func (s *suite) idle() {
	id := newID()
	d := s.delta(f("a", `1`))
	d.Idle = 3 * s.Second
	s.commit(id, d)
	for range 4 { // commits keep it alive beyond its first idle time
		time.Sleep(s.Second)
		s.commit(id, &session.Delta{Seen: time.Now()})
	}
	s.has(id, f("a", `1`))
	time.Sleep(d.Idle + s.Second/5)
	s.gone(id)
	// The place is free.
	s.commit(id, s.delta(f("b", `2`)))
	s.has(id, f("b", `2`))

	d = s.delta()
	d.Idle = s.Second
	taken := newID()
	s.commit(taken, d)
	time.Sleep(s.Second + s.Second/5)
	s.commit(id, &session.Delta{Rename: taken})
	s.has(taken, f("b", `2`))
}

func (s *suite) absolute() {
	id := newID()
	d := s.delta()
	d.Expires = time.Now().Add(3 * s.Second)
	s.commit(id, d)
	for range 2 {
		time.Sleep(s.Second)
		s.commit(id, &session.Delta{Seen: time.Now()})
	}
	time.Sleep(s.Second + s.Second/5)
	s.gone(id)
}

// clocksAlone: a delta that changes one clock and does not restart.
func (s *suite) clocksAlone() {
	now := time.Now()
	soon, late := now.Add(s.Second), now.Add(time.Hour)
	create := func(idle time.Duration, expires time.Time) session.ID {
		d := s.delta()
		d.Idle, d.Expires = idle, expires
		id := newID()
		s.commit(id, d)
		return id
	}
	check := func(id session.ID, d *session.Delta, idle time.Duration, expires time.Time) session.ID {
		s.Helper()
		before := s.load(id)
		s.commit(id, d)
		r := s.load(id)
		if !r.Created.Equal(before.Created) || !r.Seen.Equal(before.Seen) || r.Idle != idle || !near(r.Expires, expires) {
			s.Errorf("clocks %v %v %v %v after %+v, were %+v", r.Created, r.Seen, r.Idle, r.Expires, d, before)
		}
		return id
	}
	over := []session.ID{
		check(create(time.Hour, late), &session.Delta{Expires: soon}, time.Hour, soon),
		check(create(time.Hour, late), &session.Delta{Idle: s.Second}, s.Second, late),
	}
	// A clock that is ahead when the session begins does not keep it from ending.
	ahead := s.delta()
	ahead.Seen, ahead.Expires = now.Add(time.Hour), soon
	over = append(over, newID())
	s.commit(over[len(over)-1], ahead)
	stay := []session.ID{
		check(create(time.Hour, soon), &session.Delta{Expires: late}, time.Hour, late),
		check(create(s.Second, late), &session.Delta{Idle: time.Hour}, time.Hour, late),
	}
	time.Sleep(s.Second + s.Second/5)
	for _, id := range over {
		s.gone(id)
	}
	for _, id := range stay {
		s.has(id)
	}
}

func (s *suite) restart() {
	id := s.made(f("a", `1`))
	time.Sleep(s.Second)
	now := time.Now()
	s.commit(id, &session.Delta{Restart: true, Seen: now, Idle: 2 * s.Second, Expires: now.Add(3 * s.Second)})
	r := s.load(id)
	if !near(r.Created, now) || !near(r.Seen, now) || r.Idle != 2*s.Second || !near(r.Expires, now.Add(3*s.Second)) {
		s.Errorf("restarted record is %+v, want clocks from %v", r, now)
	}
	s.has(id, f("a", `1`))
	time.Sleep(2*s.Second + s.Second/5)
	s.gone(id)
}

func (s *suite) seen() {
	id := newID()
	d := s.delta()
	s.commit(id, d)
	s.commit(id, &session.Delta{Seen: d.Seen.Add(-time.Minute)})
	if r := s.load(id); !near(r.Seen, d.Seen) {
		s.Errorf("Seen moved back to %v from %v", r.Seen, d.Seen)
	}
	later := d.Seen.Add(time.Minute)
	s.commit(id, &session.Delta{Seen: later})
	if r := s.load(id); !near(r.Seen, later) || !near(r.Created, d.Seen) {
		s.Errorf("seen %v, created %v, want %v and %v", r.Seen, r.Created, later, d.Seen)
	}
}

func (s *suite) ownerAndLabels() {
	id := s.made(f("a", `1`))
	owner := "用户 42"
	s.commit(id, &session.Delta{Owner: &owner, Labels: []session.Label{{Name: "device", Value: "phone"}, {Name: "sid", Value: "x"}}})
	check := func(owner string, labels ...session.Label) {
		s.Helper()
		r := s.load(id)
		r.Labels = slices.SortedFunc(slices.Values(r.Labels), func(a, b session.Label) int { return strings.Compare(a.Name, b.Name) })
		if r.Owner != owner || !slices.Equal(r.Labels, labels) {
			s.Fatalf("owner %q, labels %v, want %q, %v", r.Owner, r.Labels, owner, labels)
		}
		s.has(id, f("a", `1`))
	}
	device, sid := session.Label{Name: "device", Value: "phone"}, session.Label{Name: "sid", Value: "x"}
	check(owner, device, sid)
	s.commit(id, &session.Delta{Labels: []session.Label{{Name: "device", Value: "tablet"}}})
	device.Value = "tablet"
	check(owner, device, sid)
	s.commit(id, &session.Delta{Labels: []session.Label{{Name: "sid"}, {Name: "absent"}}})
	check(owner, device)
	none := ""
	s.commit(id, &session.Delta{Owner: &none})
	check("", device)
}

func (s *suite) concurrentKeys() {
	for range s.Rounds {
		const n = 64
		id := s.made()
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				if err := s.store.Commit(s.ctx, id, &session.Delta{Set: []session.Field{f(fmt.Sprintf("k%d", i), fmt.Sprint(i))}, Seen: time.Now()}); err != nil {
					s.Errorf("Commit: %v", err)
				}
			})
		}
		wg.Wait()
		if got := fieldsOf(s.load(id)); len(got) != n {
			s.Fatalf("%d of %d keys were kept", len(got), n)
		}
	}
}

func (s *suite) concurrentConditions() {
	for range s.Rounds {
		id := s.made(f("a", `0`))
		var won atomic.Int32
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				err := s.store.Commit(s.ctx, id, &session.Delta{If: []session.Field{f("a", `0`)}, Set: []session.Field{f("a", fmt.Sprint(i+1))}})
				switch {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, session.ErrConflict):
					s.Errorf("Commit: %v, want nil or ErrConflict", err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			s.Fatalf("%d commits found the condition true, want 1", won.Load())
		}
	}
	// In a fast store those who start together seldom meet between a look and a
	// write; those who go on until they have met do.
	id := s.made(f("a", `0`))
	var counted, met atomic.Int32
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := 0; i < 200*s.Rounds && int(met.Load()) < 10*s.Rounds; i++ {
				r, err := s.store.Load(s.ctx, id)
				if err != nil {
					s.Errorf("Load: %v", err)
					return
				}
				was := fieldsOf(r)["a"]
				n, _ := strconv.Atoi(was)
				err = s.store.Commit(s.ctx, id, &session.Delta{If: []session.Field{f("a", was)}, Set: []session.Field{f("a", fmt.Sprint(n+1))}})
				switch {
				case err == nil:
					counted.Add(1)
				case errors.Is(err, session.ErrConflict):
					met.Add(1)
				default:
					s.Errorf("Commit: %v, want nil or ErrConflict", err)
					return
				}
			}
		})
	}
	wg.Wait()
	s.has(id, f("a", fmt.Sprint(counted.Load())))
}

func (s *suite) deleteIsFinal() {
	for range s.Rounds {
		id := s.made()
		var wg sync.WaitGroup
		var deleted atomic.Bool
		for i := range 8 {
			wg.Go(func() {
				after := deleted.Load()
				err := s.store.Commit(s.ctx, id, &session.Delta{Set: []session.Field{f(fmt.Sprint(i), `1`)}, Seen: time.Now()})
				if err != nil && !errors.Is(err, session.ErrNotFound) || err == nil && after {
					s.Errorf("Commit: %v, after the deletion: %v", err, after)
				}
			})
		}
		var ended atomic.Int32
		for range 3 {
			wg.Go(func() {
				switch err := s.store.Delete(s.ctx, id); {
				case err == nil:
					ended.Add(1)
				case !errors.Is(err, session.ErrNotFound):
					s.Errorf("Delete: %v, want nil or ErrNotFound", err)
				}
				deleted.Store(true)
			})
		}
		wg.Wait()
		s.absent(id)
		if ended.Load() != 1 {
			s.Fatalf("%d of 3 deletions ended the session, want 1", ended.Load())
		}
	}
	// In a fast store they seldom meet, unless they run already and wait for
	// each other.
	ids := make([]session.ID, 20*s.Rounds)
	arrived := make([]atomic.Int32, len(ids))
	for i := range ids {
		ids[i] = s.made()
	}
	var ended atomic.Int32
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for i, id := range ids {
				for arrived[i].Add(1); arrived[i].Load() < 2; {
					runtime.Gosched()
				}
				if s.store.Delete(s.ctx, id) == nil {
					ended.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if int(ended.Load()) != len(ids) {
		s.Errorf("deletions ended %d sessions, there were %d", ended.Load(), len(ids))
	}
}

// keepsNothing: the slices of a delta are the caller's again after Commit.
func (s *suite) keepsNothing() {
	a, b := session.Label{Name: "a", Value: "1"}, session.Label{Name: "b", Value: "2"}
	for _, begin := range []*session.Delta{s.delta(), s.delta(f("a", `1`), f("b", `1`))} {
		owner := "owner"
		begin.Owner, begin.Labels = &owner, []session.Label{a}
		want := slices.Clone(begin.Set)
		id := newID()
		s.commit(id, begin)
		scribble(begin)
		s.has(id, want...)

		d := &session.Delta{Set: []session.Field{f("b", `2`), f("c", `3`)}, Labels: []session.Label{b}}
		s.commit(id, d)
		scribble(d)
		want = session.MergeFields(want, []session.Field{f("b", `2`), f("c", `3`)}, nil)
		s.has(id, want...)
		if r := s.load(id); r.Owner != "owner" || len(r.Labels) != 2 || !slices.Contains(r.Labels, a) || !slices.Contains(r.Labels, b) {
			s.Errorf("owner %q, labels %v, want those of the deltas as they were", r.Owner, r.Labels)
		}
	}
}

// recordsDoNotChange: who holds a record sees it as it was, whatever is
// committed since.
func (s *suite) recordsDoNotChange() {
	d := s.delta(f("a", `1`), f("b", `1`))
	owner, other := "owner"+newID().Handle().String(), "other"
	d.Owner, d.Labels = &owner, []session.Label{{Name: "l", Value: "1"}}
	id := newID()
	s.commit(id, d)
	held := []session.Record{s.load(id)}
	if l, ok := s.store.(session.Lister); ok {
		r, err := l.Find(s.ctx, id.Handle())
		if err != nil {
			s.Fatalf("Find: %v", err)
		}
		held = append(held, r, s.listed(session.Query{Owner: owner, Fields: true})[id])
	}
	was := describe(held[0])
	for _, d := range []*session.Delta{
		{Set: []session.Field{f("a", `2`)}},
		{Labels: []session.Label{{Name: "l", Value: "2"}}},
		{Delete: []string{"b"}, Owner: &other},
		{Set: []session.Field{f("a", `3`), f("c", `3`)}},
	} {
		s.commit(id, d)
		for _, r := range held {
			if is := describe(r); is != was {
				s.Fatalf("a record that was loaded before Commit(%+v) is %s\nwas %s", d, is, was)
			}
		}
	}
	s.deleted(id, nil)
}

// What a store may be besides.

func isLister(store session.Store) bool {
	_, ok := store.(session.Lister)
	return ok
}

func isSweeper(store session.Store) bool {
	_, ok := store.(session.Sweeper)
	return ok
}

func isSpender(store session.Store) bool {
	_, ok := store.(once)
	return ok
}

func (s *suite) lister() session.Lister { return s.store.(session.Lister) }

func (s *suite) listed(q session.Query) map[session.ID]session.Record {
	s.Helper()
	all := map[session.ID]session.Record{}
	for r, err := range s.lister().List(s.ctx, q) {
		if err != nil {
			s.Fatalf("List(%+v): %v", q, err)
		}
		if _, twice := all[r.ID]; twice {
			s.Fatalf("List(%+v) yields a record twice", q)
		}
		all[r.ID] = r
	}
	return all
}

func (s *suite) list() {
	alice, bob := "alice"+newID().Handle().String(), "bob"+newID().Handle().String()
	phone, tablet := session.Label{Name: "device", Value: "phone" + alice}, session.Label{Name: "device", Value: "tablet" + alice}
	make := func(owner string, labels ...session.Label) session.ID {
		d := s.delta(f("a", `"`+owner+`"`))
		if owner != "" {
			d.Owner = &owner
		}
		d.Labels = labels
		id := newID()
		s.commit(id, d)
		return id
	}
	var ids []session.ID
	for range 300 {
		ids = append(ids, make(""))
	}
	a1, a2 := make(alice, phone), make(alice, tablet, session.Label{Name: "n", Value: "v"})
	b1, b2 := make(bob, phone), make(bob)
	x := make("", phone)
	ids = append(ids, a1, a2, b1, b2, x)
	check := func(q session.Query, want ...session.ID) {
		s.Helper()
		got := s.listed(q)
		for _, id := range want {
			if _, ok := got[id]; !ok {
				s.Errorf("List(%+v) misses a record", q)
			}
		}
		exact := !q.All && (!q.SignedIn || q.Owner != "" || q.Label.Name != "") // others may use the store
		if exact && len(got) != len(want) {
			s.Errorf("List(%+v) yields %d records, want %d", q, len(got), len(want))
		}
		for id, r := range got {
			if !q.Match(&r) {
				s.Errorf("List(%+v) yields %v: %s", q, id.Handle(), describe(r))
			}
		}
	}
	check(session.Query{All: true}, ids...)
	check(session.Query{SignedIn: true}, a1, a2, b1, b2)
	check(session.Query{SignedIn: true, Fields: true}, a1, a2, b1, b2)
	check(session.Query{SignedIn: true, Owner: alice}, a1, a2)
	check(session.Query{SignedIn: true, Label: phone}, a1, b1)
	check(session.Query{Owner: alice}, a1, a2)
	check(session.Query{Owner: bob}, b1, b2)
	check(session.Query{Owner: "nobody" + alice})
	check(session.Query{Label: phone}, a1, b1, x)
	check(session.Query{Owner: alice, Label: phone}, a1)
	check(session.Query{Owner: bob, Label: tablet})
	for _, fields := range []bool{false, true} {
		for _, q := range []session.Query{{Owner: alice, Fields: fields}, {Label: phone, Fields: fields}, {All: true, Fields: fields}, {SignedIn: true, Fields: fields}} {
			for id, r := range s.listed(q) {
				if !slices.Contains(ids[300:], id) {
					continue
				}
				want := s.load(id)
				if !fields { // they may be given unasked
					r.Fields, want.Fields = nil, nil
				}
				if describe(r) != describe(want) {
					s.Errorf("List(%+v) yields %s\nwant %s", q, describe(r), describe(want))
				}
			}
		}
	}
	// Who has seen enough gets no more.
	for _, q := range []session.Query{{Owner: alice}, {Label: phone}, {All: true}, {SignedIn: true}} {
		n := 0
		s.lister().List(s.ctx, q)(func(session.Record, error) bool { n++; return false })
		if n != 1 {
			s.Errorf("List(%+v) yields %d records to a loop that breaks at the first", q, n)
		}
	}
	// The list follows every change.
	renamed := newID()
	s.commit(a1, &session.Delta{Rename: renamed, Labels: []session.Label{tablet}})
	check(session.Query{Label: phone}, b1, x)
	check(session.Query{Label: tablet}, renamed, a2)
	s.commit(x, &session.Delta{Owner: &alice})
	check(session.Query{Owner: alice}, renamed, a2, x)
	check(session.Query{SignedIn: true}, renamed, a2, x, b1, b2)
	s.deleted(a2, nil)
	check(session.Query{Owner: alice}, renamed, x)
	nobody := ""
	s.commit(b2, &session.Delta{Owner: &nobody})
	if got := s.listed(session.Query{SignedIn: true}); !has(got, renamed, x, b1) || has(got, a2) || has(got, b2) {
		s.Errorf("List of the signed in does not follow Delete, or an owner that is taken away")
	}
	s.commit(renamed, &session.Delta{Set: []session.Field{f("large", `"`+strings.Repeat("x", 10000)+`"`)}})
	check(session.Query{Owner: alice}, renamed, x)

	d := s.delta()
	d.Owner, d.Idle = &alice, s.Second
	s.commit(newID(), d)
	time.Sleep(s.Second + s.Second/5)
	check(session.Query{Owner: alice}, renamed, x)

	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	for _, q := range []session.Query{{All: true}, {SignedIn: true}} {
		for _, err := range s.lister().List(ctx, q) {
			if !errors.Is(err, context.Canceled) {
				s.Errorf("List(%+v) with a context that has ended: %v", q, err)
			}
		}
	}
}

// has reports whether all the records are among those that were listed.
func has(listed map[session.ID]session.Record, ids ...session.ID) bool {
	for _, id := range ids {
		if _, ok := listed[id]; !ok {
			return false
		}
	}
	return true
}

// listAll: a list ends with the last record and no sooner.
func (s *suite) listAll() {
	owner := "owner" + newID().Handle().String()
	label := session.Label{Name: "device", Value: owner}
	const n, some = 1500, 20
	var ids [n]session.ID
	var wg sync.WaitGroup
	for part := range 8 { // a store that is far away takes as long for all as for one
		wg.Go(func() {
			for i := part; i < n; i += 8 {
				d := s.delta(f("n", fmt.Sprint(i)))
				if i < some {
					d.Owner = &owner
				} else if i < 2*some {
					d.Labels = []session.Label{label}
				}
				ids[i] = newID()
				if err := s.store.Commit(s.ctx, ids[i], d); err != nil {
					s.Errorf("Commit: %v", err)
				}
			}
		})
	}
	wg.Wait()
	for _, c := range []struct {
		q    session.Query
		want []session.ID
	}{
		{session.Query{Owner: owner}, ids[:some]},
		{session.Query{Label: label}, ids[some : 2*some]},
		{session.Query{SignedIn: true}, ids[:some]},
		{session.Query{All: true}, ids[:]},
		{session.Query{All: true, Fields: true}, ids[:]},
	} {
		got, listed := s.listed(c.q), 0
		for _, id := range c.want {
			if _, ok := got[id]; ok {
				listed++
			}
		}
		if listed != len(c.want) || !c.q.All && !c.q.SignedIn && len(got) != listed {
			s.Errorf("List(%+v) yields %d of %d records, %d in all", c.q, listed, len(c.want), len(got))
		}
	}
}

// patience is how long a store may take for some dozens of calls.
const patience = 10 * time.Second

// listHoldsNobodyUp: who ranges over a list may call any method meanwhile, or
// ending the sessions of somebody would wait for itself. It takes real time: the
// clock of a bubble stands still while a goroutine waits for a lock.
func (s *suite) listHoldsNobodyUp() {
	l := s.lister()
	done := make(chan error, 1)
	go func() { done <- s.changeListed(l) }()
	select {
	case err := <-done:
		if err != nil {
			s.Error(err)
		}
	case <-time.After(patience):
		s.Errorf("a method that is called in a loop over List has not returned for %v", patience)
	}
}

// changeListed calls no method of the test, which may have ended meanwhile.
func (s *suite) changeListed(l session.Lister) error {
	owner := "owner" + newID().Handle().String()
	label := session.Label{Name: "device", Value: owner}
	for _, q := range []session.Query{{Owner: owner}, {Label: label}, {All: true}} {
		const n = 6
		for range n {
			d := s.delta(f("a", `1`))
			d.Owner, d.Labels = &owner, []session.Label{label}
			if err := s.store.Commit(s.ctx, newID(), d); err != nil {
				return fmt.Errorf("commit: %w", err)
			}
		}
		seen := 0
		for r, err := range l.List(s.ctx, q) {
			if err != nil {
				return fmt.Errorf("list %+v: %w", q, err)
			}
			if r.Owner != owner {
				continue
			}
			seen++
			_, loadErr := s.store.Load(s.ctx, r.ID)
			_, findErr := l.Find(s.ctx, r.ID.Handle())
			err := errors.Join(loadErr, findErr,
				s.store.Commit(s.ctx, r.ID, &session.Delta{Seen: time.Now()}),
				s.store.Commit(s.ctx, r.ID, &session.Delta{Set: []session.Field{f("large", `"`+strings.Repeat("x", 5000)+`"`)}}),
				s.store.Commit(s.ctx, newID(), s.delta()))
			l.List(s.ctx, q)(func(_ session.Record, inner error) bool {
				err = errors.Join(err, inner)
				return false
			})
			if sweeper, ok := s.store.(session.Sweeper); ok {
				for _, inner := range sweeper.Sweep(s.ctx) {
					err = errors.Join(err, inner)
				}
			}
			if err = errors.Join(err, s.store.Delete(s.ctx, r.ID)); err != nil {
				return fmt.Errorf("in a loop over list %+v: %w", q, err)
			}
		}
		if seen != n {
			return fmt.Errorf("list %+v yields %d of %d records that its caller deletes one by one", q, seen, n)
		}
	}
	return nil
}

// listWhileChanging: a session that is there all the time is listed exactly
// once, whatever begins, ends and grows around it.
func (s *suite) listWhileChanging() {
	stay := map[session.ID]bool{}
	for range 500 {
		stay[s.made()] = true
	}
	ctx, cancel := context.WithCancel(s.ctx)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil && i < 5000; i++ {
				id := newID()
				if err := s.store.Commit(s.ctx, id, s.delta(f("a", `"`+strings.Repeat("x", i%700)+`"`))); err != nil {
					s.Errorf("Commit: %v", err)
					return
				}
				if i%8 != 0 {
					if err := s.store.Delete(s.ctx, id); err != nil {
						s.Errorf("Delete: %v", err)
					}
				}
			}
		})
	}
	for range 10 {
		got := s.listed(session.Query{All: true})
		n := 0
		for id := range stay {
			if _, ok := got[id]; ok {
				n++
			}
		}
		if n != len(stay) {
			s.Errorf("%d of %d sessions that were there all the time are listed", n, len(stay))
		}
	}
	cancel()
	wg.Wait()
}

func (s *suite) find() {
	l := s.lister()
	id := s.made(f("a", `1`))
	r, err := l.Find(s.ctx, id.Handle())
	if err != nil || r.ID != id || fieldsOf(r)["a"] != `1` {
		s.Errorf("Find: %+v, %v", r, err)
	}
	if _, err := l.Find(s.ctx, newID().Handle()); !errors.Is(err, session.ErrNotFound) {
		s.Errorf("Find of what never was: %v, want ErrNotFound", err)
	}
}

func (s *suite) sweep() {
	sweeper := s.store.(session.Sweeper)
	lister, _ := s.store.(session.Lister)
	const n = 300
	owner := "owner" + newID().Handle().String()
	var dead, stay []session.ID
	for i := range n {
		d := s.delta(f("a", fmt.Sprintf(`"%s"`, strings.Repeat("x", i))))
		if i%3 == 0 {
			d.Owner = &owner
		}
		id := newID()
		switch i % 4 {
		case 0:
			d.Idle = s.Second
			dead = append(dead, id)
		case 2:
			d.Expires = d.Seen.Add(s.Second)
			dead = append(dead, id)
		default:
			stay = append(stay, id)
		}
		s.commit(id, d)
	}
	time.Sleep(s.Second + s.Second/5)
	notListed := func() {
		s.Helper()
		if lister == nil {
			return
		}
		all, owned := s.listed(session.Query{All: true}), s.listed(session.Query{Owner: owner})
		for _, id := range dead {
			_, inAll := all[id]
			_, inOwned := owned[id]
			if _, err := lister.Find(s.ctx, id.Handle()); inAll || inOwned || !errors.Is(err, session.ErrNotFound) {
				s.Fatalf("an expired record is listed: %v, %v, found: %v", inAll, inOwned, err)
			}
		}
	}
	sweep := func() map[session.ID]session.Record {
		s.Helper()
		gone := map[session.ID]session.Record{}
		for r, err := range sweeper.Sweep(s.ctx) {
			if _, twice := gone[r.ID]; twice || err != nil || slices.Contains(stay, r.ID) {
				s.Fatalf("Sweep yields %+v, %v, twice: %v", r, err, twice)
			}
			gone[r.ID] = r
		}
		return gone
	}
	notListed()
	gone, owned := sweep(), 0
	missed := 0
	for _, id := range dead {
		if r, ok := gone[id]; !ok {
			missed++
		} else if r.Owner == owner {
			owned++
		}
	}
	if missed != 0 || owned != n/6 {
		s.Errorf("%d of %d were not swept, %d of %d had their owner", missed, len(dead), owned, n/6)
	}
	notListed()
	again := sweep()
	for _, id := range dead {
		if _, ok := again[id]; ok {
			s.Fatalf("a record that was swept is swept again")
		}
		s.absent(id)
		s.deleted(id, session.ErrNotFound)
	}
	for i, id := range stay {
		s.has(id, f("a", fmt.Sprintf(`"%s"`, strings.Repeat("x", 2*i+1))))
	}

	for range 3 {
		d := s.delta()
		d.Idle = s.Second
		s.commit(newID(), d)
	}
	time.Sleep(s.Second + s.Second/5)
	calls := 0
	sweeper.Sweep(s.ctx)(func(session.Record, error) bool { calls++; return false })
	if calls != 1 {
		s.Errorf("Sweep yields %d records to a loop that breaks at the first", calls)
	}
}

// once is captcha.Once, which a store may be.
type once interface {
	Spend(ctx context.Context, id [16]byte, until time.Time) (first bool, err error)
}

func (s *suite) spendOnce() {
	o := s.store.(once)
	spent, _ := o.(interface {
		Spent(ctx context.Context, id [16]byte) (bool, error)
	})
	for range s.Rounds {
		full := newID()
		id := [16]byte(full[:])
		until := time.Now().Add(time.Minute)
		if spent != nil {
			if yes, err := spent.Spent(s.ctx, id); yes || err != nil {
				s.Fatalf("Spent before: %v, %v", yes, err)
			}
		}
		var won atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				first, err := o.Spend(s.ctx, id, until)
				if err != nil {
					s.Errorf("Spend: %v", err)
				}
				if first {
					won.Add(1)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			s.Fatalf("%d calls were the first", won.Load())
		}
		if spent != nil {
			if yes, err := spent.Spent(s.ctx, id); !yes || err != nil {
				s.Fatalf("Spent after: %v, %v", yes, err)
			}
		}
	}
	over := newID()
	if first, err := o.Spend(s.ctx, [16]byte(over[:]), time.Now().Add(-time.Hour)); first || err != nil {
		s.Errorf("an id whose time is over: %v, %v; it may have been spent and forgotten", first, err)
	}
}

// requests is a Manager over the store and a handler behind it.
func (s *suite) requests(cfg session.Config, h func(s *session.Session, w http.ResponseWriter, r *http.Request)) func(path, cookie string) *http.Response {
	cfg.Store = s.store
	m, err := session.New(cfg)
	if err != nil {
		s.Fatal(err)
	}
	handler := m.Handler(m.With(func(w http.ResponseWriter, r *http.Request, ses *session.Session) { h(ses, w, r) }))
	return func(path, cookie string) *http.Response {
		r := httptest.NewRequestWithContext(s.ctx, "GET", path, nil)
		if cookie != "" {
			r.Header.Set("Cookie", cookie)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Result()
	}
}

// cookieOf returns the cookie that the answer sets, ready to be sent.
func (s *suite) cookieOf(r *http.Response) string {
	s.Helper()
	if len(r.Cookies()) != 1 {
		s.Fatalf("status %d with %d cookies, want one", r.StatusCode, len(r.Cookies()))
	}
	return r.Cookies()[0].Name + "=" + r.Cookies()[0].Value
}

var (
	count = session.NewKey[int]("count")
	name  = session.NewKey[string]("name")
)

const requestsAtOnce = 64

func (s *suite) requestsKeepKeys() {
	do := s.requests(session.Config{}, func(ses *session.Session, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/count" {
			n := 0
			for i := range requestsAtOnce {
				if _, ok := session.NewKey[string](fmt.Sprintf("/%d", i)).Get(ses); ok {
					n++
				}
			}
			fmt.Fprint(w, n)
			return
		}
		time.Sleep(s.Second / 200)
		session.NewKey[string](r.URL.Path).Set(ses, r.URL.Path)
	})
	for range s.Rounds {
		cookie := s.cookieOf(do("/first", ""))
		var wg sync.WaitGroup
		for i := range requestsAtOnce {
			wg.Go(func() {
				if r := do(fmt.Sprintf("/%d", i), cookie); r.StatusCode != http.StatusOK || len(r.Cookies()) != 0 {
					s.Errorf("status %d, cookies %v", r.StatusCode, r.Cookies())
				}
			})
		}
		wg.Wait()
		if got := body(do("/count", cookie)); got != fmt.Sprint(requestsAtOnce) {
			s.Fatalf("%s of %d keys were kept", got, requestsAtOnce)
		}
	}
}

func (s *suite) requestsUpdate() {
	do := s.requests(session.Config{}, func(ses *session.Session, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/read" {
			n, _ := count.Get(ses)
			fmt.Fprint(w, n)
			return
		}
		if err := count.Update(r.Context(), ses, func(n int) int { return n + 1 }); err != nil {
			s.Errorf("Update: %v", err)
		}
	})
	for range max(1, s.Rounds/10) {
		cookie := s.cookieOf(do("/", ""))
		var wg sync.WaitGroup
		for range requestsAtOnce {
			wg.Go(func() { do("/", cookie) })
		}
		wg.Wait()
		if got := body(do("/read", cookie)); got != fmt.Sprint(requestsAtOnce+1) {
			s.Fatalf("the count is %s, want %d", got, requestsAtOnce+1)
		}
	}
}

func body(r *http.Response) string {
	var b strings.Builder
	_ = r.Write(&b)
	_, text, _ := strings.Cut(b.String(), "\r\n\r\n")
	return text
}

func (s *suite) requestsConsume() {
	var won atomic.Int32
	do := s.requests(session.Config{}, func(ses *session.Session, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/first" {
			name.Set(ses, "once")
			return
		}
		v, ok, err := name.Consume(r.Context(), ses)
		if err != nil || ok && v != "once" {
			s.Errorf("Consume: %q, %v, %v", v, ok, err)
		}
		if ok {
			won.Add(1)
		}
	})
	for i := range s.Rounds {
		cookie := s.cookieOf(do("/first", ""))
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { do("/", cookie) })
		}
		wg.Wait()
		if won.Load() != int32(i+1) {
			s.Fatalf("%d requests got the value of %d sessions", won.Load(), i+1)
		}
	}
}

// ends runs slow requests that change the session, ends it when they have all
// loaded it, lets them go on, and asserts that the old cookie is worth nothing
// then. What end returns, unless nil, is checked last.
func (s *suite) ends(cfg session.Config, rounds int, end func(do func(path, cookie string) *http.Response, cookie string) (check func())) {
	var arrived atomic.Int32
	var late atomic.Bool
	var release chan struct{}
	do := s.requests(cfg, func(ses *session.Session, w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/first":
			name.Set(ses, "alex")
		case "/slow":
			if _, ok := name.Get(ses); !ok {
				late.Store(true)
			}
			arrived.Add(1)
			<-release
			name.Set(ses, "slow")
		case "/out":
			ses.Destroy()
		case "/renew":
			ses.Renew()
		case "/read":
			n, _ := name.Get(ses)
			fmt.Fprint(w, n)
		}
	})
	const n = 4
	for range rounds {
		var statuses [n]int
		for attempt := 0; ; attempt++ {
			cookie := s.cookieOf(do("/first", ""))
			arrived.Store(0)
			late.Store(false)
			release = make(chan struct{})
			var wg sync.WaitGroup
			var cookies, answered atomic.Int32
			for i := range n {
				wg.Go(func() {
					r := do("/slow", cookie)
					statuses[i] = r.StatusCode
					// It would put out the cookie of a session that has begun
					// since.
					cookies.Add(int32(len(r.Cookies())))
					answered.Add(1)
				})
			}
			for arrived.Load() < n && answered.Load() == 0 { // unless the store fails
				time.Sleep(s.Second / 1000)
			}
			check := end(do, cookie)
			close(release)
			wg.Wait()
			if late.Load() {
				// The session was over before all had it: the machine is busy.
				if cfg.Idle != 0 && attempt < 10 {
					continue
				}
				s.Fatal("requests found no session that nothing had ended")
			}
			if statuses != [n]int{409, 409, 409, 409} || cookies.Load() != 0 {
				s.Errorf("requests under way when the session ended: status %v, %d cookies set, want 409 and none", statuses, cookies.Load())
			}
			if got := body(do("/read", cookie)); got != "" {
				s.Fatalf("the session that ended is back with %q", got)
			}
			if check != nil {
				check()
			}
			break
		}
	}
}

func (s *suite) requestsSignOut() {
	s.ends(session.Config{}, s.Rounds, func(do func(path, cookie string) *http.Response, cookie string) func() {
		if r := do("/out", cookie); !strings.Contains(r.Header.Get("Set-Cookie"), "Max-Age=0") {
			s.Errorf("sign-out sets %q", r.Header.Get("Set-Cookie"))
		}
		return nil
	})
}

func (s *suite) requestsRenew() {
	s.ends(session.Config{}, s.Rounds, func(do func(path, cookie string) *http.Response, cookie string) func() {
		fresh := s.cookieOf(do("/renew", cookie))
		if fresh == cookie {
			s.Errorf("the cookie is the same after Renew")
		}
		return func() {
			if got := body(do("/read", fresh)); got != "alex" {
				s.Errorf("under the new cookie the name is %q, want alex", got)
			}
		}
	})
}

func (s *suite) requestsExpiry() {
	s.ends(session.Config{Idle: s.Second}, max(1, s.Rounds/20), func(func(path, cookie string) *http.Response, string) func() {
		time.Sleep(2 * s.Second)
		return nil
	})
}
