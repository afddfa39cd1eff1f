package storetest

import (
	"cmp"
	"errors"
	"fmt"
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
//	f.Fuzz(func(t *testing.T, data []byte) { storetest.Replay(t, mystore.New(), data) })
//
// The store must be empty, and large enough that nothing gives way.
func Replay(t *testing.T, store session.Store, data []byte) {
	t.Helper()
	r := replay{t: t, store: store, data: data, model: map[session.ID]session.Record{}, now: time.Now().Truncate(time.Millisecond)}
	for len(r.data) > 0 {
		r.step()
	}
	for i := range byte(8) {
		r.compare(r.id(i))
	}
	if l, ok := store.(session.Lister); ok {
		r.list(l, session.Query{All: true})
	}
}

type replay struct {
	t     *testing.T
	store session.Store
	data  []byte
	model map[session.ID]session.Record
	now   time.Time
}

func (r *replay) next() (b byte) {
	if len(r.data) > 0 {
		b, r.data = r.data[0], r.data[1:]
	}
	return b
}

// id makes a few IDs, some of which begin alike.
func (r *replay) id(b byte) (id session.ID) {
	id[0], id[4], id[31] = b>>1&1, b>>2&1, b&7+1
	return id
}

func (r *replay) text(b byte) string {
	return strings.Repeat(string(rune('a'+b%3)), int(b)*int(b)/16)
}

func (r *replay) delta() *session.Delta {
	d := &session.Delta{}
	flags := r.next()
	if flags&1 != 0 {
		d.Create = true
		d.Seen, d.Idle, d.Expires = r.now, time.Hour, r.now.Add(2*time.Hour)
		if r.next()%4 == 0 {
			d.Seen = r.now.Add(-90 * time.Minute) // it is over already
		}
	}
	if flags&2 != 0 {
		d.Seen = r.now.Add(time.Duration(r.next()) * time.Second)
	}
	if flags&4 != 0 {
		d.Rename = r.id(r.next())
	}
	if flags&8 != 0 {
		owner := r.text(r.next() % 16)
		d.Owner = &owner
	}
	if flags&16 != 0 {
		d.Labels = append(d.Labels, session.Label{Name: "l" + r.text(4*(r.next()%2)), Value: r.text(r.next() % 12)})
	}
	if flags&32 != 0 {
		d.If = append(d.If, r.field())
	}
	if flags&64 != 0 {
		d.Delete = append(d.Delete, r.field().Key)
	}
	if flags&128 != 0 {
		d.Restart = !d.Seen.IsZero()
		d.Idle = time.Duration(1+r.next()%8) * time.Hour
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

func (r *replay) field() session.Field {
	return session.Field{Key: string(rune('k' + r.next()%4)), Value: r.text(r.next())}
}

func (r *replay) step() {
	switch op := r.next(); op % 8 {
	case 0:
		id := r.id(r.next())
		delete(r.model, id)
		if err := r.store.Delete(r.t.Context(), id); err != nil {
			r.t.Fatalf("Delete: %v", err)
		}
	case 1:
		r.compare(r.id(r.next()))
	case 2:
		if l, ok := r.store.(session.Lister); ok {
			r.list(l, session.Query{Owner: cmp.Or(r.text(r.next()%16), "a")})
		}
	case 3:
		if l, ok := r.store.(session.Lister); ok {
			r.list(l, session.Query{Label: session.Label{Name: "l", Value: cmp.Or(r.text(r.next()%12), "a")}})
		}
	case 4:
		if s, ok := r.store.(session.Sweeper); ok {
			for rec, err := range s.Sweep(r.t.Context()) {
				if err != nil {
					r.t.Fatalf("Sweep: %v", err)
				}
				if r.live(rec.ID) {
					r.t.Fatalf("Sweep removed a live record")
				}
			}
		}
	default:
		id, d := r.id(r.next()), r.delta()
		if d.Rename == id {
			d.Rename = session.ID{}
		}
		want := r.commit(id, d)
		if err := r.store.Commit(r.t.Context(), id, d); !errors.Is(err, want) {
			r.t.Fatalf("Commit(%+v): %v, want %v", d, err, want)
		}
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
	delete(r.model, id)
	r.model[to] = rec
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
}

func describe(r session.Record) string {
	labels := slices.SortedFunc(slices.Values(r.Labels), func(a, b session.Label) int { return strings.Compare(a.Name, b.Name) })
	keys := slices.Sorted(maps.Keys(fieldsOf(r)))
	var b strings.Builder
	fmt.Fprintf(&b, "%x %d %d %v %d %q %v", r.ID, r.Created.UnixMilli(), r.Seen.UnixMilli(), r.Idle, r.Expires.UnixMilli(), r.Owner, labels)
	for _, k := range keys {
		fmt.Fprintf(&b, " %s=%s", k, fieldsOf(r)[k])
	}
	fmt.Fprintf(&b, " (%d)", len(r.Fields))
	return b.String()
}

func (r *replay) list(l session.Lister, q session.Query) {
	q.Fields = true
	want := map[session.ID]bool{}
	for id, rec := range r.model {
		if r.live(id) && q.Match(&rec) {
			want[id] = true
		}
	}
	for rec, err := range l.List(r.t.Context(), q) {
		if err != nil || !want[rec.ID] {
			r.t.Fatalf("List(%+v) yields %v, %v", q, describe(rec), err)
		}
		delete(want, rec.ID)
		if m := r.model[rec.ID]; describe(rec) != describe(m) {
			r.t.Fatalf("List(%+v) yields %v\nwant %v", q, describe(rec), describe(m))
		}
	}
	if len(want) != 0 {
		r.t.Fatalf("List(%+v) misses %d records", q, len(want))
	}
}
