package memory

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/storetest"
)

// check verifies what must always hold of a shard: pools are dense, tables and
// blocks agree, and the bytes are counted right.
func (s *shard) check() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	total, size, names := 0, 8*(len(s.ids.slots)+len(s.names.slots)), 0
	for k := range s.pools {
		for class := range s.pools[k] {
			p := &s.pools[k][class]
			if chunks := (p.n + perChunk(class) - 1) / perChunk(class); chunks != len(p.chunks) {
				return fmt.Errorf("pool %d/%d: %d records in %d chunks", k, class, p.n, len(p.chunks))
			}
			for i, number := range p.chunks {
				c := &s.chunks[number]
				if c.pos != i || int(c.kind) != k || c.class != class {
					return fmt.Errorf("pool %d/%d: chunk %d is %+v", k, class, i, *c)
				}
				size += len(c.buf)
			}
			for i := range p.n {
				at := p.place(i, class)
				b := s.block(at)
				if found, ok := s.find(b[:32]); !ok || found != at {
					return fmt.Errorf("record %x lies at %d, is found at %d, %v", b[:8], at, found, ok)
				}
				h := readHead(b)
				if int(h.kind()) != k {
					return fmt.Errorf("record %x of kind %d in a pool of kind %d", b[:8], h.kind(), k)
				}
				tags := map[uint32]bool{}
				s.eachName(at, func(tag uint32) { tags[tag] = true })
				for tag := range tags {
					if s.names.index(tag, at) < 0 {
						return fmt.Errorf("record %x: a name is not in the table", b[:8])
					}
				}
				names += len(tags)
			}
			total += p.n
		}
	}
	if total != s.ids.n || names != s.names.n || size != s.bytes {
		return fmt.Errorf("%d records, table has %d; %d names, table has %d; %d bytes, counted %d", total, s.ids.n, names, s.names.n, size, s.bytes)
	}
	if s.bytes > s.max {
		return fmt.Errorf("%d bytes, at most %d are allowed", s.bytes, s.max)
	}
	return nil
}

func (s *Store) check(t *testing.T) {
	t.Helper()
	for i := range s.shards {
		if err := s.shards[i].check(); err != nil {
			t.Fatalf("shard %d: %v", i, err)
		}
	}
}

// FuzzDelta: after any operations the store answers as a plain model does, and
// its tables and slabs agree.
func FuzzDelta(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 32 {
		b := make([]byte, 400)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4096 {
			return
		}
		s := New(Config{MaxBytes: 16 << 20})
		storetest.Replay(t, storetest.Config{New: func(*testing.T) session.Store { return s }}, data)
		s.check(t)
	})
}

// TestTable compares the table with a map.
func TestTable(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	type entry struct {
		tag uint32
		at  place
	}
	for round := range 20 {
		var tb table
		var want []entry
		tags := uint32(1) << (round % 20)
		grown := 0
		for op := range 3000 {
			if len(want) == 0 || r.IntN(100) < 55-op/100 {
				e := entry{r.Uint32() / tags * tags, place(op)}
				grown += tb.insert(e.tag, e.at)
				want = append(want, e)
			} else {
				i := r.IntN(len(want))
				if moved := place(10000 + op); op%3 == 0 {
					tb.move(want[i].tag, want[i].at, moved)
					want[i].at = moved
				} else {
					grown += tb.remove(want[i].tag, want[i].at)
					want = slices.Delete(want, i, i+1)
				}
			}
			if grown != 8*len(tb.slots) || tb.n != len(want) {
				t.Fatalf("%d bytes for %d slots, %d entries of %d", grown, len(tb.slots), tb.n, len(want))
			}
		}
		for _, e := range want {
			n := 0
			for c := tb.seek(e.tag); c.next(); {
				if c.at == e.at {
					n++
				}
			}
			if n != 1 {
				t.Fatalf("an entry is found %d times", n)
			}
		}
		// Every entry is in exactly one of any ranges of tags.
		seen := map[place]int{}
		for from, i := uint64(0), 1; from < 1<<32; i++ {
			to := min(from+uint64(r.Uint32()>>(i%16)), 1<<32)
			tb.eachIn(from, to, func(at place) { seen[at]++ })
			from = to
		}
		for _, e := range want {
			if seen[e.at] != 1 {
				t.Fatalf("an entry is in %d ranges", seen[e.at])
			}
		}
		if len(seen) != len(want) {
			t.Fatalf("%d entries in all ranges, want %d", len(seen), len(want))
		}
	}
}

func TestClasses(t *testing.T) {
	for size := headLen; size <= maxRecord; size += 1 + size/100 {
		c := classOf(size)
		if c == len(classes) {
			if size <= classes[len(classes)-1] {
				t.Errorf("size %d has a chunk to itself", size)
			}
			continue
		}
		if classes[c] < size || c > 0 && classes[c-1] >= size {
			t.Errorf("size %d is of class %d, %d bytes", size, c, classes[c])
		}
		if perChunk(c) > 1<<slotBits {
			t.Errorf("class %d: %d slots", c, perChunk(c))
		}
	}
}

func id(n int) (id session.ID) {
	r := rand.New(rand.NewPCG(uint64(n), 7))
	for i := range id {
		id[i] = byte(r.Uint32())
	}
	return id
}

func record(owner string, size int) *session.Delta {
	now := time.Now()
	d := &session.Delta{
		Create: true, Seen: now, Idle: time.Hour, Expires: now.Add(24 * time.Hour),
		Set: []session.Field{{Key: "k", Value: `"` + strings.Repeat("x", size) + `"`}},
	}
	if owner != "" {
		d.Owner = &owner
	}
	return d
}

// TestFull: a flood of anonymous sessions displaces anonymous ones, the older
// ones, and nobody who is signed in; it is logged, and memory stays bounded.
func TestFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := New(Config{MaxBytes: 1 << 20, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		const people = 1000
		for i := range people {
			if err := s.Commit(t.Context(), id(i), record(fmt.Sprintf("p%d", i), 50)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		const flood = 50000
		for i := range flood {
			if err := s.Commit(t.Context(), id(people+i), record("", 20+i%200)); err != nil {
				t.Fatalf("newcomer %d: %v", i, err)
			}
			if i%1000 == 0 {
				s.check(t)
				time.Sleep(time.Second)
			}
		}
		s.check(t)
		for i := range people {
			if _, err := s.Load(t.Context(), id(i)); err != nil {
				t.Fatalf("person %d was displaced: %v", i, err)
			}
		}
		st := s.Stats()
		if st.Bytes > 1<<20 || st.Anonymous == 0 || int64(st.Sessions)+st.Evicted != people+flood {
			t.Errorf("%+v", st)
		}
		young, old := 0, 0
		for i := range flood {
			if _, err := s.Load(t.Context(), id(people+i)); err == nil {
				if i > flood/2 {
					young++
				} else {
					old++
				}
			}
		}
		if old*10 > young {
			t.Errorf("%d of the older half and %d of the younger are left", old, young)
		}
		if n := strings.Count(log.String(), "give way"); n != 1 {
			t.Errorf("it is logged %d times in %v", n, flood/1000*time.Second)
		}
	})
}

// TestFullOfPeople: the anonymous are refused, and a person displaces the one
// not seen for longest.
func TestFullOfPeople(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{MaxBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler)})
		n := 0
		for ; s.Stats().Evicted < 1000; n++ { // so that each part is full
			time.Sleep(time.Millisecond)
			if err := s.Commit(t.Context(), id(n), record("p", 50)); err != nil {
				t.Fatalf("person %d: %v", n, err)
			}
		}
		before := s.Stats()
		for i := range 1000 {
			if err := s.Commit(t.Context(), id(n+i), record("", 20000)); !errors.Is(err, session.ErrFull) {
				t.Fatalf("an anonymous newcomer: %v, want ErrFull", err)
			}
		}
		if after := s.Stats(); after != before {
			t.Errorf("anonymous newcomers made %+v of %+v", after, before)
		}
		if _, err := s.Load(t.Context(), id(n-1)); err != nil {
			t.Errorf("the last person to come: %v", err)
		}
		s.check(t)
		// Events of those signed in who gave way.
		evicted := 0
		for r, err := range s.Sweep(t.Context()) {
			if err != nil || r.Owner != "p" {
				t.Errorf("%+v, %v", r, err)
			}
			evicted++
		}
		if evicted == 0 {
			t.Errorf("nobody who gave way is reported")
		}
	})
}

// TestTooLarge: a record that no eviction could make room for displaces nobody.
func TestTooLarge(t *testing.T) {
	s := New(Config{MaxBytes: 1 << 20})
	for i := range 100 {
		if err := s.Commit(t.Context(), id(i), record("", 50)); err != nil {
			t.Fatal(err)
		}
	}
	for _, size := range []int{300 << 10, 2 << 20} {
		if err := s.Commit(t.Context(), id(1000), record("p", size)); !errors.Is(err, session.ErrFull) {
			t.Errorf("%d bytes: %v, want ErrFull", size, err)
		}
		if err := s.Commit(t.Context(), id(1), &session.Delta{Set: record("", size).Set}); !errors.Is(err, session.ErrFull) {
			t.Errorf("growing to %d bytes: %v, want ErrFull", size, err)
		}
	}
	if st := s.Stats(); st.Sessions != 100 || st.Evicted != 0 {
		t.Errorf("%+v", st)
	}
	s.check(t)
}

// TestMemoryIsGivenBack: what has expired and was swept, or was deleted, takes
// no memory.
func TestMemoryIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{})
		const n = 20000
		fill := func() {
			for i := range n {
				if err := s.Commit(t.Context(), id(i), record(fmt.Sprint("p", i%3), 50+i%100)); err != nil {
					t.Fatal(err)
				}
			}
		}
		fill()
		full := s.Stats().Bytes
		time.Sleep(61 * time.Minute)
		swept := 0
		for _, err := range s.Sweep(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			swept++
		}
		s.check(t)
		if st := s.Stats(); swept != n || st.Sessions != 0 || st.Bytes > full/50 {
			t.Errorf("swept %d, %+v, was %d bytes", swept, st, full)
		}
		fill()
		for i := range n {
			if err := s.Delete(t.Context(), id(i)); err != nil {
				t.Fatal(err)
			}
		}
		s.check(t)
		if st := s.Stats(); st.Sessions != 0 || st.Bytes > full/50 {
			t.Errorf("deleted all: %+v", st)
		}
	})
}

// TestSignedInLabel: to list those who are signed in and have a label reads no anonymous
// session that has it too. Each that is read allocates.
func TestSignedInLabel(t *testing.T) {
	s := New(Config{})
	phone := session.Label{Name: "device", Value: "phone"}
	for n, owner := range append([]string{"alex", "kim"}, make([]string, 5000)...) {
		d := record(owner, 1)
		d.Labels = []session.Label{phone}
		if err := s.Commit(t.Context(), id(n), d); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Commit(t.Context(), id(5002), record("lee", 1)); err != nil {
		t.Fatal(err)
	}
	for _, q := range []session.Query{{SignedIn: true, Label: phone}, {SignedIn: true, Label: phone, Owner: "alex"}} {
		var owners []string
		allocated := testing.AllocsPerRun(1, func() {
			owners = nil
			for r, err := range s.List(t.Context(), q) {
				if err != nil {
					t.Fatal(err)
				}
				owners = append(owners, r.Owner)
			}
		})
		slices.Sort(owners)
		if want := []string{"alex", "kim"}; q.Owner == "" && !slices.Equal(owners, want) {
			t.Errorf("%+v yields %q, want %q", q, owners, want)
		}
		if allocated > 500 {
			t.Errorf("%+v allocates %v times: it reads sessions of others", q, allocated)
		}
	}
}
