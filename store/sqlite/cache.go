package sqlite

import "sync"

// A cache holds hot rows, as the last commit left them: this process alone
// writes the file, so that what is here needs no asking. Rows that have not been
// asked for again since the hand of the clock last came by give way.
type cache struct {
	shards [shards]shard
}

const (
	shards = 64
	slots  = 64
)

type shard struct {
	mu    sync.Mutex
	rows  map[int64]*entry
	clock []*entry
	hand  int
	bytes int
	max   int

	// Writes of keys that share a slot: how many are being committed, and how
	// many have been. A row that was read from the database while one was may
	// be of before or after it, and is not kept.
	writing [slots]uint32
	written [slots]uint32

	_ [64]byte // a cache line of the next shard's own
}

type entry struct {
	key  int64
	row  *row
	size int
	at   int // in clock
	used bool
}

func newCache(bytes int64) *cache {
	c := new(cache)
	for i := range c.shards {
		c.shards[i].rows = make(map[int64]*entry)
		c.shards[i].max = int(bytes / shards)
	}
	return c
}

// Handles are made of hashes of random values: all their bits are alike.
func (c *cache) shard(key int64) *shard { return &c.shards[uint64(key)%shards] }

func slotOf(key int64) int { return int(uint64(key) / shards % slots) }

// get returns the row, if it is here. If not, whoever reads it from the database
// gives the mark to fill.
func (c *cache) get(key int64) (r *row, mark uint32) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.rows[key]; e != nil {
		e.used = true
		return e.row, 0
	}
	return nil, s.written[slotOf(key)]
}

// peek is get for the writer, which needs no mark.
func (c *cache) peek(key int64) *row {
	r, _ := c.get(key)
	return r
}

// fill keeps a row that was read from the database after get gave the mark, nil
// if there was none, and returns the row that others see now: if one has come
// into the cache meanwhile, the database may already show what is only being
// committed, and once somebody has seen that, nobody may see the other.
func (c *cache) fill(key int64, r *row, mark uint32) *row {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.rows[key]; e != nil {
		return e.row
	}
	if slot := slotOf(key); r != nil && s.writing[slot] == 0 && s.written[slot] == mark {
		s.put(key, r)
	}
	return r
}

// begin says that the row is about to be committed, or removed if r is nil. Until
// end, those who find nothing here see the database before or after, and cannot
// keep it: else somebody could see the old row where another has seen the new one.
// What is removed is gone from here at once. The database may already show its
// new name, or its absence, while it is still in the place of the old one here.
func (c *cache) begin(key int64, r *row) {
	s := c.shard(key)
	s.mu.Lock()
	s.writing[slotOf(key)]++
	if r == nil {
		s.put(key, nil)
	}
	s.mu.Unlock()
}

// end keeps what was committed. Where nothing was, publish is false.
func (c *cache) end(key int64, r *row, publish bool) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	slot := slotOf(key)
	s.writing[slot]--
	s.written[slot]++
	if publish {
		s.put(key, r)
	}
}

// put keeps the row, or forgets what was there if r is nil.
func (s *shard) put(key int64, r *row) {
	e := s.rows[key]
	size := 0
	if r != nil {
		size = r.size()
	}
	switch {
	case r == nil || size > s.max:
		if e != nil {
			s.remove(e)
		}
		return
	case e != nil:
		e.used = true
	default:
		e = &entry{key: key, at: len(s.clock)}
		s.rows[key] = e
		s.clock = append(s.clock, e)
	}
	s.bytes += size - e.size
	e.row, e.size = r, size
	for s.bytes > s.max {
		if s.hand >= len(s.clock) {
			s.hand = 0
		}
		switch old := s.clock[s.hand]; {
		case old == e:
			s.hand++
		case old.used:
			old.used = false
			s.hand++
		default:
			s.remove(old)
		}
	}
}

func (s *shard) remove(e *entry) {
	last := len(s.clock) - 1
	s.clock[e.at] = s.clock[last]
	s.clock[e.at].at = e.at
	s.clock[last] = nil
	s.clock = s.clock[:last]
	delete(s.rows, e.key)
	s.bytes -= e.size
}
