package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// Replay reads data as a list of operations, applies each to the store and to a
// simple model, and fails where their answers differ: the body of a fuzz target
//
//	f.Fuzz(func(t *testing.T, data []byte) { storetest.Replay(t, cfg, data) })
//
// Of the Config it takes New and UniqueHandles. The store must be empty, and large
// enough that nothing gives way. [Run] does the same with sequences of its own.
func Replay(t *testing.T, cfg Config, data []byte) {
	t.Helper()
	(&replay{t: t, store: cfg.New(t), data: data, alone: true, uniqueHandles: cfg.UniqueHandles}).run()
}

type replay struct {
	t     *testing.T
	store session.Store
	data  []byte
	// alone: all that is in the store is of this replay. Otherwise salt and
	// prefix tell its records and names from those of others.
	alone         bool
	uniqueHandles bool
	salt          session.ID
	prefix        string

	model  map[session.ID]session.Record
	over   map[string]int // how many with this epitaph are for Sweep
	now    time.Time
	loaded []loaded
}

// loaded is a record and what it was when it was loaded.
type loaded struct {
	rec session.Record
	was string
}

func (r *replay) run() {
	r.t.Helper()
	r.model, r.over = map[session.ID]session.Record{}, map[string]int{}
	r.now = time.Now().Truncate(time.Millisecond)
	for len(r.data) > 0 {
		r.step()
	}
	for i := range byte(8) {
		r.compare(r.id(i))
	}
	if l, ok := r.store.(session.Lister); ok {
		r.list(l, session.Query{All: true, Fields: true})
	}
	for _, l := range r.loaded {
		if is := describe(l.rec); is != l.was {
			r.t.Fatalf("a loaded record became %v\nwas %v", is, l.was)
		}
	}
}

func (r *replay) next() (b byte) {
	if len(r.data) > 0 {
		b, r.data = r.data[0], r.data[1:]
	}
	return b
}

// id makes a few IDs, some of which begin alike.
func (r *replay) id(b byte) session.ID {
	id := r.salt
	id[0] ^= b >> 1 & 1
	id[4] ^= b >> 2 & 1
	id[31] = b&7 + 1
	if r.uniqueHandles {
		id[7] ^= id[31]
	}
	return id
}

// own reports whether the ID is one that id makes.
func (r *replay) own(id session.ID) bool {
	return r.alone || [23]byte(id[8:31]) == [23]byte(r.salt[8:31])
}

func (r *replay) text(b byte) string {
	return strings.Repeat(string(rune('a'+b%3)), int(b)*int(b)/16)
}

// name makes a few names of owners and values of labels: some are the beginning
// of others or differ in case only.
func (r *replay) name(b byte) string {
	if b %= 8; b < 6 {
		return r.prefix + [...]string{"a", "A", "ab", "b", "用户 ", "o" + strings.Repeat("x", 200)}[b]
	}
	return ""
}

func (r *replay) label() session.Label {
	b := r.next()
	return session.Label{Name: [...]string{"l", "l", "l2", "L"}[b%4], Value: r.name(b >> 2)}
}

// ago makes moments that no test is slow enough to mistake for now.
func (r *replay) ago(minutes int) time.Time { return r.now.Add(time.Duration(-minutes) * time.Minute) }

func (r *replay) delta(id session.ID) *session.Delta {
	d := &session.Delta{}
	flags, clocks := r.next(), r.next()
	// Most creations are of what is not there, and most changes of what is.
	if d.Create = r.live(id) == (flags&7 == 0); d.Create {
		d.Seen, d.Idle, d.Expires = r.ago(50), time.Hour, r.ago(-120)
		switch r.next() % 8 {
		case 0:
			d.Seen = r.ago(90) // it is over already
		case 1:
			d.Expires = r.ago(10) // likewise
		}
	}
	if clocks&3 == 0 {
		d.Seen = r.now.Add(-10 * time.Second * time.Duration(r.next()))
	}
	if clocks&4 != 0 {
		d.Restart = !d.Seen.IsZero()
	}
	if clocks&24 == 0 {
		d.Idle = time.Duration(1+r.next()%8) * time.Hour
	}
	if clocks&96 == 0 {
		d.Expires = r.ago(50 - 20*int(r.next()%16)) // from 50 minutes ago
	}
	if flags&8 != 0 && clocks&128 != 0 {
		d.Rename = r.id(r.next()) // if it is a creation too, it is refused
	}
	if flags&16 != 0 {
		owner := r.name(r.next())
		d.Owner = &owner
	}
	if flags&32 != 0 {
		if l := r.label(); l.Name != "" {
			d.Labels = append(d.Labels, l)
		}
	}
	if flags&64 != 0 {
		c := r.field()
		switch r.next() % 4 {
		case 0, 1:
			c.Value = fieldsOf(r.model[id])[c.Key] // it holds, if the record is live
		case 2:
			c.Value = ""
		}
		d.If = append(d.If, c)
	}
	if flags&128 != 0 {
		d.Delete = append(d.Delete, r.field().Key)
	}
	for range r.next() % 3 {
		f := r.field()
		taken := func(o session.Field) bool { return o.Key == f.Key }
		if f.Value != "" && !slices.ContainsFunc(d.Set, taken) && !slices.Contains(d.Delete, f.Key) {
			d.Set = append(d.Set, f)
		}
	}
	return d
}

// scribble makes the delta another one, as its owner may after Commit.
func scribble(d *session.Delta) {
	for i := range d.Set {
		d.Set[i] = session.Field{Key: "scribble", Value: `0`}
	}
	for i := range d.Labels {
		d.Labels[i] = session.Label{Name: "scribble", Value: "0"}
	}
	for i := range d.Delete {
		d.Delete[i] = "scribble"
	}
	if d.Owner != nil {
		*d.Owner = "scribble"
	}
}

func (r *replay) field() session.Field {
	return session.Field{Key: string(rune('k' + r.next()%4)), Value: r.text(r.next())}
}

func (r *replay) step() {
	lister, _ := r.store.(session.Lister)
	switch op := r.next(); op % 16 {
	case 0:
		id, want := r.id(r.next()), session.ErrNotFound
		if r.live(id) {
			want = nil
			delete(r.model, id)
		}
		if err := r.store.Delete(r.t.Context(), id); !errors.Is(err, want) {
			r.t.Fatalf("Delete: %v, want %v", err, want)
		}
	case 1, 2:
		id := r.id(r.next())
		r.compare(id)
		if lister != nil {
			r.find(lister, id.Handle())
		}
	case 3, 4:
		if b := r.next(); lister != nil {
			r.list(lister, session.Query{Owner: cmp.Or(r.name(b), r.prefix+"a"), Fields: op&128 != 0})
		}
	case 5:
		q := session.Query{Label: r.label(), Fields: op&128 != 0}
		if q.Label.Value = cmp.Or(q.Label.Value, r.prefix+"a"); op&64 != 0 {
			q.Owner = r.name(r.next())
		}
		if lister != nil {
			r.list(lister, q)
		}
	case 7:
		if lister != nil {
			r.list(lister, session.Query{SignedIn: true, Fields: op&128 != 0})
		}
	case 6:
		if s, ok := r.store.(session.Sweeper); ok {
			r.sweep(s)
		}
	default:
		id := r.id(r.next())
		d := r.delta(id)
		if d.Rename == id {
			d.Rename = session.ID{}
		}
		want := r.commit(id, d)
		if err := r.store.Commit(r.t.Context(), id, d); !errors.Is(err, want) {
			r.t.Fatalf("Commit(%+v): %v, want %v", d, err, want)
		}
		scribble(d)
		r.compare(id)
		if d.Rename != (session.ID{}) {
			r.compare(d.Rename)
		}
	}
}

// sweep asserts that what Sweep yields is over, and yielded once. The ID may be
// in use again: a store may yield what was over when it made room for another.
func (r *replay) sweep(s session.Sweeper) {
	for rec, err := range s.Sweep(r.t.Context()) {
		if err != nil {
			r.t.Fatalf("Sweep: %v", err)
		}
		if !r.own(rec.ID) {
			continue
		}
		is := epitaph(rec)
		if r.over[is]--; r.over[is] < 0 || r.now.Before(rec.Deadline()) {
			r.t.Fatalf("Sweep yields %v, which is not over or was yielded before", describe(rec))
		}
	}
	for i := range byte(8) {
		r.compare(r.id(i)) // it removed nothing else
	}
}

func (r *replay) live(id session.ID) bool {
	rec, ok := r.model[id]
	return ok && r.now.Before(rec.Deadline())
}

// commit is the contract in its plainest form.
func (r *replay) commit(id session.ID, d *session.Delta) error {
	live := r.live(id)
	switch {
	case d.Create && d.Rename != session.ID{}:
		return session.ErrInvalidDelta
	case d.Create && live:
		return session.ErrExists
	case !d.Create && !live:
		return session.ErrNotFound
	}
	to := id
	if d.Rename != (session.ID{}) {
		if to = d.Rename; r.live(to) {
			return session.ErrExists
		}
	}
	var rec session.Record
	if live {
		rec = r.model[id]
	}
	for _, c := range d.If {
		if fieldsOf(rec)[c.Key] != c.Value {
			return session.ErrConflict
		}
	}
	if d.Seen.After(rec.Seen) {
		rec.Seen = d.Seen
	}
	if d.Create || d.Restart {
		rec.Created = rec.Seen
	}
	if d.Idle != 0 {
		rec.Idle = d.Idle
	}
	if !d.Expires.IsZero() {
		rec.Expires = d.Expires
	}
	if d.Owner != nil {
		rec.Owner = *d.Owner
	}
	rec.Labels = session.MergeLabels(rec.Labels, d.Labels)
	rec.Fields = session.MergeFields(rec.Fields, d.Set, d.Delete)
	rec.ID = to
	if live {
		delete(r.model, id)
	}
	r.model[to] = rec
	if !r.live(to) {
		r.over[epitaph(rec)]++
	}
	return nil
}

func (r *replay) compare(id session.ID) {
	got, err := r.store.Load(r.t.Context(), id)
	if !r.live(id) {
		if !errors.Is(err, session.ErrNotFound) {
			r.t.Fatalf("Load: %v, %v, want ErrNotFound", describe(got), err)
		}
		return
	}
	if want := r.model[id]; err != nil || describe(got) != describe(want) {
		r.t.Fatalf("Load: %v, %v\nwant  %v", describe(got), err, describe(want))
	}
	r.loaded = append(r.loaded, loaded{got, describe(got)})
}

// find compares what Find answers, unless several records have the handle:
// those that id makes may, others do not in practice.
func (r *replay) find(l session.Lister, h session.Handle) {
	var want []session.Record
	for id, rec := range r.model {
		if id.Handle() == h {
			want = append(want, rec)
		}
	}
	if len(want) > 1 {
		return
	}
	got, err := l.Find(r.t.Context(), h)
	switch {
	case len(want) == 0 || !r.live(want[0].ID):
		if !errors.Is(err, session.ErrNotFound) {
			r.t.Fatalf("Find: %v, %v, want ErrNotFound", describe(got), err)
		}
	case err != nil || describe(got) != describe(want[0]):
		r.t.Fatalf("Find: %v, %v\nwant  %v", describe(got), err, describe(want[0]))
	}
}

// epitaph is what Sweep must tell of a record. How long it might have lived is
// no part of it: a store need not keep a moment before the record was created.
func epitaph(rec session.Record) string {
	rec.Idle, rec.Expires, rec.Fields = 0, time.Time{}, nil
	return describe(rec)
}

func describe(r session.Record) string {
	labels := slices.SortedFunc(slices.Values(r.Labels), func(a, b session.Label) int { return strings.Compare(a.Name, b.Name) })
	keys := slices.Sorted(maps.Keys(fieldsOf(r)))
	var b strings.Builder
	fmt.Fprintf(&b, "%x %d %d %v %d %q %v", r.ID, r.Created.UnixMilli(), r.Seen.UnixMilli(), r.Idle, r.Expires.UnixMilli(), r.Owner, labels)
	for _, k := range keys {
		v := fieldsOf(r)[k]
		if len(v) > 60 {
			v = fmt.Sprintf("%s…%s (%d bytes, %08x)", v[:20], v[len(v)-20:], len(v), crc32.ChecksumIEEE([]byte(v)))
		}
		fmt.Fprintf(&b, " %s=%s", k, v)
	}
	fmt.Fprintf(&b, " (%d)", len(r.Fields))
	return b.String()
}

func (r *replay) list(l session.Lister, q session.Query) {
	want := map[session.ID]string{}
	for id, rec := range r.model {
		if r.live(id) && q.Match(&rec) {
			if !q.Fields {
				rec.Fields = nil
			}
			want[id] = describe(rec)
		}
	}
	for rec, err := range l.List(r.t.Context(), q) {
		if err == nil && (q.All || q.SignedIn && q.Owner == "") && !r.own(rec.ID) {
			continue
		}
		if !q.Fields {
			rec.Fields = nil // a store may give them unasked
		}
		if is, ok := want[rec.ID]; err != nil || !ok || describe(rec) != is {
			r.t.Fatalf("List(%+v) yields %v, %v\nwant %v", q, describe(rec), err, is)
		}
		delete(want, rec.ID)
	}
	if len(want) != 0 {
		r.t.Fatalf("List(%+v) misses %d records", q, len(want))
	}
}
