package memory

// A table finds places by a tag of 32 bits. It is a hash table with linear
// probing whose slots are numbers, so that the garbage collector never looks
// into it. A tag may occur often, also for one place only once.
//
// A slot is empty if zero; otherwise its upper half is the tag and its lower
// half the place plus one.
type table struct {
	slots []uint64
	n     int
}

const minSlots = 8

func slotOf(tag uint32, at place) uint64 { return uint64(tag)<<32 | (uint64(at) + 1) }

// home is where a tag belongs: the tags' range is spread over the slots in
// order (Lemire, "Fast random integer generation in an interval", 2019), so
// that any number of slots will do and a range of tags is a range of slots.
func (t *table) home(tag uint32) int {
	return int(uint64(tag) * uint64(len(t.slots)) >> 32)
}

func (t *table) after(i int) int {
	if i++; i < len(t.slots) {
		return i
	}
	return 0
}

// A cursor goes through the places of one tag.
type cursor struct {
	t   *table
	tag uint32
	i   int
	at  place
}

func (t *table) seek(tag uint32) cursor {
	if t.n == 0 {
		return cursor{}
	}
	return cursor{t: t, tag: tag, i: t.home(tag)}
}

func (c *cursor) next() bool {
	if c.t == nil {
		return false
	}
	for {
		s := c.t.slots[c.i]
		if s == 0 {
			return false
		}
		c.i = c.t.after(c.i)
		if uint32(s>>32) == c.tag {
			c.at = place(uint32(s) - 1)
			return true
		}
	}
}

// insert adds an entry and returns by how many bytes the table grew.
func (t *table) insert(tag uint32, at place) (grown int) {
	if grown = t.growth(1); grown > 0 {
		t.resize(len(t.slots) + grown/8)
	}
	t.put(slotOf(tag, at), t.home(tag))
	t.n++
	return grown
}

// growth returns by how many bytes the table will grow if so many are inserted.
func (t *table) growth(n int) int {
	slots := len(t.slots)
	// At four fifths of the slots a search looks at three on the average; a
	// growth of a quarter leaves little of the memory idle.
	for (t.n+n)*5 > slots*4 {
		slots += max(minSlots, slots/4+1)
	}
	return 8 * (slots - len(t.slots))
}

// put stores the slot at the first free one from i on and returns where.
func (t *table) put(slot uint64, i int) int {
	for t.slots[i] != 0 {
		i = t.after(i)
	}
	t.slots[i] = slot
	return i
}

func (t *table) resize(n int) (grown int) {
	old := t.slots
	t.slots = make([]uint64, n)
	last, lastAt := uint32(0), -1
	for _, s := range old {
		if s == 0 {
			continue
		}
		// A tag that many records share is not sought from its home again and
		// again.
		tag := uint32(s >> 32)
		from := t.home(tag)
		if lastAt >= 0 && tag == last {
			from = lastAt
		}
		last, lastAt = tag, t.put(s, from)
	}
	return 8 * (len(t.slots) - len(old))
}

func (t *table) index(tag uint32, at place) int {
	if t.n == 0 {
		return -1
	}
	want := slotOf(tag, at)
	for i := t.home(tag); t.slots[i] != 0; i = t.after(i) {
		if t.slots[i] == want {
			return i
		}
	}
	return -1
}

// move tells an entry its new place.
func (t *table) move(tag uint32, from, to place) {
	if i := t.index(tag, from); i >= 0 {
		t.slots[i] = slotOf(tag, to)
	}
}

// remove takes an entry out and returns by how many bytes the table grew, which
// is never more than 0.
func (t *table) remove(tag uint32, at place) (grown int) {
	i := t.index(tag, at)
	if i < 0 {
		return 0
	}
	// Entries that a search would not reach over the gap move into it, so that
	// no marks for removed entries are needed (Knuth, TAOCP 6.4, algorithm R).
	for j := i; ; {
		j = t.after(j)
		s := t.slots[j]
		if s == 0 {
			break
		}
		home := t.home(uint32(s >> 32))
		if i <= j && (home <= i || home > j) || i > j && home <= i && home > j {
			t.slots[i] = s
			i = j
		}
	}
	t.slots[i] = 0
	t.n--
	if len(t.slots) > minSlots && t.n*4 < len(t.slots) {
		return t.resize(max(minSlots, t.n*2))
	}
	return 0
}

// eachIn calls f for every place whose tag is in [from, to).
func (t *table) eachIn(from, to uint64, f func(place)) {
	if t.n == 0 || from >= to {
		return
	}
	end := t.home(uint32(to - 1))
	first := t.home(uint32(from))
	for i, passed := first, 0; passed < len(t.slots); passed++ {
		s := t.slots[i]
		if s == 0 && first+passed >= end {
			return
		}
		if tag := s >> 32; s != 0 && from <= tag && tag < to {
			f(place(uint32(s) - 1))
		}
		i = t.after(i)
	}
}
