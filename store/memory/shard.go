package memory

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// A shard is a part of the store with a lock of its own.
//
// Its records lie in pools, one for each size class and kind. A pool is dense:
// when a record goes, the last one takes its place and the tables learn where it
// is now. So nothing fragments, memory that is given back is given back at once,
// and to look through all records is to walk along a slice.
type shard struct {
	mu     sync.Mutex
	number int
	max    int
	bytes  int // of chunks and tables
	seed   maphash.Seed

	ids     table // every record, by the start of its ID
	names   table // owners and labels of records, by their hash
	chunks  []chunk
	spare   []uint32 // numbers of chunks that are not in use
	pools   [kinds][]pool
	scratch []byte
	gone    []session.Record // see report
}

// kind keeps sessions apart that give way at different times.
type kind uint8

const (
	anonymous kind = iota
	owned
	kinds
)

func (h *head) kind() kind {
	if h.owner > 0 {
		return owned
	}
	return anonymous
}

const (
	chunkBytes = 16 << 10
	firstBytes = 1 << 10 // of a chunk that begins: it doubles as it fills
	maxGone    = 256
	// sampled is how many records are compared to find one not seen for long:
	// with 8, a victim is among the oldest quarter nine times in ten.
	sampled = 8
)

// classes are the sizes of blocks, dense where sessions are. One larger than
// the last has a chunk to itself.
var classes = func() (sizes []int) {
	for size := 64; size <= 4096; {
		sizes = append(sizes, size)
		switch {
		case size < 256:
			size += 4
		case size < 512:
			size += 16
		case size < 1024:
			size += 64
		case size < 2048:
			size += 128
		default:
			size += 512
		}
	}
	return sizes
}()

func classOf(size int) int {
	if size <= 256 {
		return (max(size, 64) - 64 + 3) / 4
	}
	for c := (256 - 64) / 4; c < len(classes); c++ {
		if size <= classes[c] {
			return c
		}
	}
	return len(classes)
}

// A place is where a record lies: the number of its chunk and its slot there.
type place uint32

const slotBits = 8 // chunkBytes / 64

func (p place) chunk() uint32 { return uint32(p >> slotBits) }
func (p place) slot() int     { return int(p & (1<<slotBits - 1)) }

type chunk struct {
	buf   []byte
	size  int // of a block
	class int
	kind  kind
	pos   int // in its pool's list
}

type pool struct {
	chunks []uint32
	n      int // records; all chunks but the last are full
}

func perChunk(class int) int {
	if class == len(classes) {
		return 1
	}
	return chunkBytes / classes[class]
}

func (p *pool) place(i, class int) place {
	per := perChunk(class)
	return place(p.chunks[i/per]<<slotBits) | place(i%per)
}

func (s *shard) init(number, maxBytes int, seed maphash.Seed) {
	s.number, s.max, s.seed = number, maxBytes, seed
	for k := range s.pools {
		s.pools[k] = make([]pool, len(classes)+1)
	}
}

func (s *shard) count(k kind) (n int) {
	for i := range s.pools[k] {
		n += s.pools[k][i].n
	}
	return n
}

func (s *shard) block(at place) []byte {
	c := &s.chunks[at.chunk()]
	off := at.slot() * c.size
	return c.buf[off : off+c.size : off+c.size]
}

// fits reports whether the record's block would do for it with this head and
// payload.
func (s *shard) fits(at place, h *head, payload int) bool {
	c := &s.chunks[at.chunk()]
	return h.kind() == c.kind && classOf(headLen+payload) == c.class && headLen+payload <= c.size
}

// find returns the place of the record whose ID begins with b, eight bytes or
// more.
func (s *shard) find(b []byte) (place, bool) {
	for c := s.ids.seek(tagOf(b)); c.next(); {
		if block := s.block(c.at); string(block[:len(b)]) == string(b) {
			return c.at, true
		}
	}
	return 0, false
}

func (s *shard) record(at place, fields bool) session.Record {
	b := s.block(at)
	h, payload := readHead(b), payloadOf(b)
	if !fields {
		payload = namesOf(&h, payload)
	}
	return makeRecord(session.ID(b[:32]), h, string(payload), fields)
}

// drop reports whether there is a record with the ID, and makes room for one if
// there is only what is left of one that has expired.
func (s *shard) drop(id session.ID, now int64) bool {
	at, ok := s.find(id[:])
	if ok && !live(s.block(at), now) {
		s.report(at)
		s.remove(at)
		return false
	}
	return ok
}

// report keeps what the next sweep has to tell of a record that goes before it.
func (s *shard) report(at place) {
	if len(s.gone) < maxGone {
		s.gone = append(s.gone, s.record(at, false))
	}
}

// insert puts a record in, for which others may give way, but not the one named
// keep. It returns how many did.
func (s *shard) insert(id session.ID, h *head, payload []byte, now int64, keep session.ID) (at place, evicted int, err error) {
	at, evicted, ok := s.alloc(h, headLen+len(payload), now, keep)
	if !ok {
		return 0, evicted, fmt.Errorf("%w: memory: nobody is left who may give way", session.ErrFull)
	}
	b := s.block(at)
	copy(b, id[:])
	write(b, h, payload)
	s.bytes += s.ids.insert(tagOf(id[:]), at)
	s.index(at)
	return at, evicted, nil
}

// removeOld removes the record with this ID. Where it was written anew in the
// same shard, perhaps under the same ID, the one at added stays.
func (s *shard) removeOld(id session.ID, added place, same bool) {
	for c := s.ids.seek(tagOf(id[:])); c.next(); {
		if same && c.at == added {
			continue
		}
		if session.ID(s.block(c.at)[:len(id)]) == id {
			s.remove(c.at)
			return
		}
	}
}

// index enters owner and labels of the record into the table of names; unindex
// takes them out.
func (s *shard) index(at place) {
	s.eachName(at, func(tag uint32) {
		if s.names.index(tag, at) < 0 { // an owner and a label may have one tag
			s.bytes += s.names.insert(tag, at)
		}
	})
}

func (s *shard) unindex(at place) {
	s.eachName(at, func(tag uint32) { s.bytes += s.names.remove(tag, at) })
}

func (s *shard) eachName(at place, f func(tag uint32)) {
	b := s.block(at)
	h, payload := readHead(b), payloadOf(b)
	if h.owner > 0 {
		f(s.nameTag(nil, payload[:h.owner]))
	}
	rest := payload[h.owner:]
	for range h.labels {
		var name, value []byte
		name, value, rest = pair(rest)
		f(s.nameTag(name, value))
	}
}

// nameTag is seeded, so that nobody can choose owners that collide.
func (s *shard) nameTag(name, value []byte) uint32 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	h.Write(name)
	h.WriteByte(0)
	h.Write(value)
	return uint32(h.Sum64())
}

// remove takes a record out; the last one of its pool moves to its place.
func (s *shard) remove(at place) {
	b := s.block(at)
	s.unindex(at)
	s.bytes += s.ids.remove(tagOf(b), at)

	c := &s.chunks[at.chunk()]
	p := &s.pools[c.kind][c.class]
	last := p.place(p.n-1, c.class)
	if last != at && c.class < len(classes) {
		from := s.block(last)
		s.ids.move(tagOf(from), last, at)
		s.eachName(last, func(tag uint32) { s.names.move(tag, last, at) })
		copy(b, from)
	} else if last != at {
		// A chunk that holds one record moves in the list only.
		other := last.chunk()
		p.chunks[c.pos], p.chunks[s.chunks[other].pos] = other, at.chunk()
		s.chunks[other].pos, c.pos = c.pos, s.chunks[other].pos
	}
	p.n--
	if p.n == (len(p.chunks)-1)*perChunk(c.class) {
		number := p.chunks[len(p.chunks)-1]
		p.chunks = p.chunks[:len(p.chunks)-1]
		s.bytes -= len(s.chunks[number].buf)
		s.chunks[number] = chunk{}
		s.spare = append(s.spare, number)
	}
}

// alloc finds room for a record of the size and makes it if need be.
func (s *shard) alloc(h *head, size int, now int64, keep session.ID) (at place, evicted int, ok bool) {
	k, class := h.kind(), classOf(size)
	p, per := &s.pools[k][class], perChunk(class)
	for {
		need := s.ids.growth(1) + s.names.growth(h.names())
		if slot := p.n - (len(p.chunks)-1)*per; slot == per { // or there is no chunk
			need += max(firstBytes, blockSize(class, size))
		} else if c := &s.chunks[p.chunks[len(p.chunks)-1]]; (slot+1)*c.size > len(c.buf) {
			need += max(len(c.buf), c.size)
		}
		if s.bytes+need <= s.max {
			break
		}
		n := 0
		if need <= s.max/2 { // else it is too large for anybody to make room
			n = s.evict(k, class, now, keep)
		}
		if n == 0 {
			return 0, evicted, false
		}
		evicted += n
	}
	if p.n == len(p.chunks)*per {
		s.addChunk(p, k, class, size)
	}
	number := p.chunks[len(p.chunks)-1]
	c := &s.chunks[number]
	slot := p.n - (len(p.chunks)-1)*per
	if end := (slot + 1) * c.size; end > len(c.buf) {
		grown := make([]byte, min(max(2*len(c.buf), end), per*c.size))
		copy(grown, c.buf)
		s.bytes += len(grown) - len(c.buf)
		c.buf = grown
	}
	p.n++
	return place(number<<slotBits) | place(slot), evicted, true
}

func blockSize(class, size int) int {
	if class == len(classes) {
		return size
	}
	return classes[class]
}

func (s *shard) addChunk(p *pool, k kind, class, size int) {
	c := chunk{size: blockSize(class, size), class: class, kind: k, pos: len(p.chunks)}
	c.buf = make([]byte, max(c.size, min(firstBytes, perChunk(class)*c.size)/c.size*c.size))
	s.bytes += len(c.buf)
	var number uint32
	if n := len(s.spare); n > 0 {
		number, s.spare = s.spare[n-1], s.spare[:n-1]
		s.chunks[number] = c
	} else {
		number = uint32(len(s.chunks))
		s.chunks = append(s.chunks, c)
	}
	p.chunks = append(p.chunks, number)
}

// evict makes records give way to one of the kind and class, and returns how
// many did; 0 says that none may. One of the same pool leaves its very place;
// otherwise those of a chunk of the largest pool go, so that it comes free.
func (s *shard) evict(k kind, class int, now int64, keep session.ID) int {
	for victim := anonymous; victim <= k; victim++ {
		if victim == k && s.evictOne(k, class, now, keep) {
			return 1
		}
		largest, most := 0, 0
		for c, p := range s.pools[victim] {
			if bytes := len(p.chunks) * chunkBytes; bytes > most {
				largest, most = c, bytes
			}
		}
		p := &s.pools[victim][largest]
		n := 0
		for chunks := len(p.chunks); len(p.chunks) == chunks && s.evictOne(victim, largest, now, keep); {
			n++
		}
		// All that is left of the largest may be the one to keep.
		for c := 0; n == 0 && c < len(s.pools[victim]); c++ {
			if s.evictOne(victim, c, now, keep) {
				n = 1
			}
		}
		if n > 0 {
			return n
		}
	}
	return 0
}

// evictOne removes the record of the pool that was not seen for longest, of a
// sample; one that has expired above all.
func (s *shard) evictOne(k kind, class int, now int64, keep session.ID) bool {
	p := &s.pools[k][class]
	var victim place
	oldest, found := int64(0), false
	for range sampled {
		if p.n == 0 {
			return false
		}
		at := p.place(rand.IntN(p.n), class)
		b := s.block(at)
		if session.ID(b[:32]) == keep {
			continue
		}
		seen := seenOf(b)
		if !live(b, now) {
			seen = -1
		}
		if !found || seen < oldest {
			victim, oldest, found = at, seen, true
		}
	}
	if !found {
		return false
	}
	if k == owned { // of the anonymous there may be a flood
		s.report(victim)
	}
	s.remove(victim)
	return true
}

const (
	tags     = 1 << 32
	listStep = 256 // records, about, under one lock
)

// list appends the records whose tags begin at from, as many as one step takes,
// and returns where the next one begins: at tags after the last. Tags stay what
// they are however records move between two steps.
func (s *shard) list(dst []session.Record, from uint64, fields bool) ([]session.Record, uint64) {
	now := millis(time.Now())
	s.mu.Lock()
	defer s.mu.Unlock()
	to := min(from+tags/uint64(s.ids.n/listStep+1), tags)
	s.ids.eachIn(from, to, func(at place) {
		if live(s.block(at), now) {
			dst = append(dst, s.record(at, fields))
		}
	})
	return dst, to
}

// signedIn appends the IDs of the records that have an owner.
func (s *shard) signedIn(dst []session.ID) []session.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	for class := range s.pools[owned] {
		p := &s.pools[owned][class]
		for i := range p.n {
			dst = append(dst, session.ID(s.block(p.place(i, class))[:32]))
		}
	}
	return dst
}

// records appends those of the records with these IDs that are still there.
func (s *shard) records(dst []session.Record, ids []session.ID, fields bool) []session.Record {
	now := millis(time.Now())
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range ids {
		if at, ok := s.find(ids[i][:]); ok && live(s.block(at), now) {
			dst = append(dst, s.record(at, fields))
		}
	}
	return dst
}

// named appends the records that a query by owner or label selects. The lock is
// held.
func (s *shard) named(dst []session.Record, q *session.Query, now int64) []session.Record {
	var tag uint32
	if q.Owner != "" {
		tag = s.nameTag(nil, []byte(q.Owner))
	} else {
		tag = s.nameTag([]byte(q.Label.Name), []byte(q.Label.Value))
	}
	for c := s.names.seek(tag); c.next(); {
		if live(s.block(c.at), now) {
			if r := s.record(c.at, q.Fields); q.Match(&r) {
				dst = append(dst, r)
			}
		}
	}
	return dst
}

// sweep goes through a shard's pools backwards: what moves to fill a gap has
// been seen.
type sweep struct {
	begun bool
	kind  kind
	class int
	i     int // records below it are still to be seen
}

const sweepStep = 64

func (s *shard) sweep(dst []session.Record, st *sweep) (gone []session.Record, more bool) {
	now := millis(time.Now())
	s.mu.Lock()
	defer s.mu.Unlock()
	if !st.begun {
		st.begun = true
		st.i = s.pools[0][0].n
		dst = append(dst, s.gone...)
		s.gone = nil
	}
	for range sweepStep {
		p := &s.pools[st.kind][st.class]
		for st.i = min(st.i, p.n); st.i == 0; st.i = p.n {
			if st.class++; st.class > len(classes) {
				st.class = 0
				if st.kind++; st.kind == kinds {
					return dst, false
				}
			}
			p = &s.pools[st.kind][st.class]
		}
		st.i--
		at := p.place(st.i, st.class)
		if !live(s.block(at), now) {
			dst = append(dst, s.record(at, false))
			s.remove(at)
		}
	}
	return dst, true
}
