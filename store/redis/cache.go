package redis

import (
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/redis/rueidis"

	"github.com/seed-64ad3862/gatehouse/session"
)

// staleAfter is how long a record that was read may be served again, counted
// from before the read was sent. The server tells us earlier that it has
// changed; this bound holds when that is lost. It leaves a tenth of the second
// that we promise to whoever is slow to look at the answer.
const staleAfter = 900 * time.Millisecond

// A cache remembers records for less than a second, so that a session in use is
// read from the server about once in a second and process. It is a table in
// which each handle has one place, shared with others: who comes last has it.
// Looking up takes no lock, and what is read by all cores is written by none.
//
// Only a session that is read again, with nothing changed since it was met, is
// announced, read with the server asked to tell of changes, and remembered. So
// what a visitor makes up takes no memory of the server's, and one that is
// written all the time costs no messages. That there is no such session is not
// remembered: one that begins is known everywhere at once.
//
// What this process writes is forgotten, not kept. To keep it, the script would have
// to read the session back, tracked: only so is it known what others had changed
// before, and are their next changes told. That was tried, and costs the server more
// than the read that it saves.
//
// rueidis has a cache of its own, which it lets us replace. Its own serves a
// reply that was long under way to callers that came in meanwhile, and counts on
// the system's clock never being set back: both break the bound.
type cache struct {
	places []atomic.Pointer[entry]
	max    int64 // for records; what places take is bounded by itself
	bytes  atomic.Int64
	hand   atomic.Uint32 // goes around to remove what is stale
}

// An entry is a record, or says of a session that it was met, or that it is being
// read. What forgets the session meanwhile removes the entry, and the record that
// then arrives is not kept, since it may be from before the change.
type entry struct {
	handle session.Handle
	sent   time.Time       // when reading began; zero: met
	rec    *session.Record // nil: met or announced
	bytes  int64
}

const (
	defaultCacheBytes = 32 << 20
	bytesPerPlace     = 512
	// placeBytes is what a place takes with an entry that is no record.
	placeBytes = int64(unsafe.Sizeof(atomic.Pointer[entry]{}) + unsafe.Sizeof(entry{}))
)

func newCache(bytes int64) *cache {
	places := int64(1)
	for places*bytesPerPlace < bytes/2 {
		places *= 2
	}
	return &cache{places: make([]atomic.Pointer[entry], places), max: bytes - places*placeBytes}
}

// IDs are hashes of values that we chose; nobody can aim them at one place.
func (c *cache) place(h session.Handle) *atomic.Pointer[entry] {
	at := uint(h[0]) | uint(h[1])<<8 | uint(h[2])<<16 | uint(h[3])<<24
	return &c.places[at&uint(len(c.places)-1)]
}

// fresh reports whether what was sent then may be served now. The system's clock
// may be set back, and the other one, in some systems, stands still while the
// machine sleeps: both must agree.
func fresh(sent, now time.Time) bool {
	wall := now.Round(0).Sub(sent.Round(0))
	return now.Sub(sent) < staleAfter && 0 <= wall && wall < staleAfter
}

// get returns the record if it is known. One whose deadline has passed by our
// clock is not: the server's decides.
func (c *cache) get(id *session.ID, now time.Time) *session.Record {
	e := c.place(id.Handle()).Load()
	if e == nil || e.rec == nil || e.rec.ID != *id || !fresh(e.sent, now) || !now.Before(e.rec.Deadline()) {
		return nil
	}
	return e.rec
}

// meet notes that there is such a session.
func (c *cache) meet(h session.Handle) {
	place := c.place(h)
	if old := place.Load(); old == nil || old.handle != h {
		c.swap(place, old, &entry{handle: h})
	}
}

// announce says that the session is about to be read. It returns nil if it has
// not been met, or if somebody else is reading it: what is read is then not to be
// kept.
func (c *cache) announce(h session.Handle, now time.Time) *entry {
	place := c.place(h)
	old := place.Load()
	if old == nil || old.handle != h || old.rec == nil && fresh(old.sent, now) {
		return nil
	}
	e := &entry{handle: h, sent: now}
	if !c.swap(place, old, e) {
		return nil
	}
	return e
}

// keep puts the record in the place of its announcement, if that is still there.
func (c *cache) keep(announced *entry, r *session.Record) {
	e := &entry{announced.handle, announced.sent, r, sizeOf(r)}
	place := c.place(e.handle)
	if c.bytes.Add(e.bytes) > c.max && !c.sweep() || !c.swap(place, announced, e) {
		c.bytes.Add(-e.bytes)
		c.swap(place, announced, nil)
	}
}

// withdraw takes an announcement back.
func (c *cache) withdraw(announced *entry) { c.swap(c.place(announced.handle), announced, nil) }

// forget makes everybody who comes from now on read the session from the server.
func (c *cache) forget(h session.Handle) {
	place := c.place(h)
	for {
		e := place.Load()
		if e == nil || e.handle != h || c.swap(place, e, nil) {
			return
		}
	}
}

func (c *cache) forgetAll() {
	for i := range c.places {
		for e := c.places[i].Load(); e != nil && !c.swap(&c.places[i], e, nil); e = c.places[i].Load() {
		}
	}
}

// swap replaces an entry if it is still there. The bytes of the new one have
// been counted.
func (c *cache) swap(place *atomic.Pointer[entry], from, to *entry) bool {
	ok := place.CompareAndSwap(from, to)
	if ok && from != nil {
		c.bytes.Add(-from.bytes)
	}
	return ok
}

// sweep removes stale entries from some places and reports whether there is room
// then. While there is, they may lie where they are: all of them are bounded.
func (c *cache) sweep() bool {
	now := time.Now()
	for range 32 {
		place := &c.places[int(c.hand.Add(1))&(len(c.places)-1)]
		if e := place.Load(); e != nil && e.rec != nil && !fresh(e.sent, now) {
			c.swap(place, e, nil)
		}
	}
	return c.bytes.Load() <= c.max
}

func sizeOf(r *session.Record) int64 {
	n := int64(unsafe.Sizeof(*r)) + int64(len(r.Owner))
	for i := range r.Fields {
		n += int64(len(r.Fields[i].Key)+len(r.Fields[i].Value)) + 48 // headers, and what small strings waste
	}
	for i := range r.Labels {
		n += int64(len(r.Labels[i].Name)+len(r.Labels[i].Value)) + 48
	}
	return n
}

// tracked is what rueidis calls with the server's messages, in the order in
// which a connection brings them: its cache, in which nothing is ever found.
type tracked struct {
	cache *cache
	keys  keys
}

func (tracked) Flight(string, string, time.Duration, time.Time) (rueidis.RedisMessage, rueidis.CacheEntry) {
	return rueidis.RedisMessage{}, nil
}
func (tracked) Update(string, string, rueidis.RedisMessage) int64 { return 0 }
func (tracked) Cancel(string, string, error)                      {}

// Delete is told which keys have changed; all of them, if none is named.
func (t tracked) Delete(changed []rueidis.RedisMessage) {
	if changed == nil {
		t.cache.forgetAll()
	}
	for i := range changed {
		if key, err := changed[i].ToString(); err == nil {
			if h, ok := t.keys.handle(key); ok {
				t.cache.forget(h)
			}
		}
	}
}

// Close is told that the connection is gone, and with it the messages to come.
func (t tracked) Close(error) { t.cache.forgetAll() }
