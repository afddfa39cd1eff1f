package memory

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// A record is a block of bytes:
//
//	 0  id                                  32 bytes
//	32  created, ms since 1970              6
//	38  seen: ms after created              5
//	43  expires: the same, and early        5
//	48  idle, ms                            5
//	53  length of the payload               3
//	56  length of the owner, count of labels  1 each
//	58  payload: owner; for each label and then for each field two lengths
//	    (varint) followed by name and value
//
// All numbers are little-endian.
const (
	headLen    = 58
	maxRecord  = 1 << 20
	maxScratch = 64 << 10
	max40      = 1<<40 - 1
	// early is how long before its creation a record may end, four years: the
	// time of its creation may come from a clock that is ahead.
	early = 1 << 37
)

type head struct {
	created, seen, expires, idle int64 // ms
	owner, labels                uint8
}

func millis(t time.Time) int64 { return t.UnixMilli() }

func get(b []byte, n int) int64 {
	var v uint64
	for i := n - 1; i >= 0; i-- {
		v = v<<8 | uint64(b[i])
	}
	return int64(v)
}

func put(b []byte, n int, v int64) {
	for i := range n {
		b[i] = byte(v >> (8 * i))
	}
}

func get40(b []byte) int64 { return int64(binary.LittleEndian.Uint32(b)) | int64(b[4])<<32 }

func readHead(b []byte) head {
	created := int64(binary.LittleEndian.Uint32(b[32:])) | int64(binary.LittleEndian.Uint16(b[36:]))<<32
	return head{
		created: created, seen: created + get40(b[38:]), expires: created + get40(b[43:]) - early, idle: get40(b[48:]),
		owner: b[56], labels: b[57],
	}
}

func writeHead(b []byte, h *head) {
	put(b[32:], 6, h.created)
	put(b[38:], 5, clamp(h.seen-h.created))
	put(b[43:], 5, clamp(h.expires-h.created+early))
	put(b[48:], 5, clamp(h.idle))
	b[56], b[57] = h.owner, h.labels
}

// clamp keeps a duration within 34 years, 30 for expires: they end no session too
// late.
func clamp(ms int64) int64 { return min(max(ms, 0), max40) }

// write fills a block, but for the ID.
func write(b []byte, h *head, payload []byte) {
	writeHead(b, h)
	put(b[53:], 3, int64(len(payload)))
	copy(b[headLen:], payload)
}

func payloadOf(b []byte) []byte     { return b[headLen : headLen+int(get(b[53:], 3))] }
func seenOf(b []byte) int64         { h := readHead(b); return h.seen }
func live(b []byte, now int64) bool { h := readHead(b); return now < h.deadline() }

// names is how many entries the record has in the table of names.
func (h *head) names() int {
	if h.owner > 0 {
		return int(h.labels) + 1
	}
	return int(h.labels)
}

func (h *head) deadline() int64 { return min(h.seen+h.idle, h.expires) }

// apply does to the clocks what the delta says.
func (h *head) apply(d *session.Delta) {
	if !d.Seen.IsZero() {
		h.seen = max(h.seen, millis(d.Seen))
	}
	if d.Create || d.Restart {
		h.created = h.seen
	}
	if d.Idle != 0 {
		h.idle = d.Idle.Milliseconds()
		if d.Idle%time.Millisecond != 0 {
			h.idle++ // never sooner than asked for
		}
	}
	if !d.Expires.IsZero() {
		h.expires = millis(d.Expires)
	}
}

// A pair is one name and value of the payload and what follows it.
func pair(b []byte) (name, value, rest []byte) {
	n, i := binary.Uvarint(b)
	v, j := binary.Uvarint(b[i:])
	b = b[i+j:]
	return b[:n], b[n : n+v], b[n+v:]
}

func appendPair(b []byte, name, value string) []byte {
	b = binary.AppendUvarint(b, uint64(len(name)))
	b = binary.AppendUvarint(b, uint64(len(value)))
	b = append(b, name...)
	return append(b, value...)
}

// namesOf returns the part of the payload that holds owner and labels.
func namesOf(h *head, payload []byte) []byte {
	rest := payload[h.owner:]
	for range h.labels {
		_, _, rest = pair(rest)
	}
	return payload[:len(payload)-len(rest)]
}

// valueOf returns the field's value in the payload, nil if it is absent.
func valueOf(h *head, payload []byte, key string) []byte {
	rest := payload[len(namesOf(h, payload)):]
	var name, value []byte
	for len(rest) > 0 {
		if name, value, rest = pair(rest); string(name) == key {
			return value
		}
	}
	return nil
}

// appendMerged appends the payload as the delta leaves it, notes owner and
// labels in h, and reports whether they fit there.
func appendMerged(dst []byte, h *head, old []byte, d *session.Delta) ([]byte, bool) {
	rest := old[h.owner:]
	if d.Owner != nil {
		if len(*d.Owner) > 255 {
			return dst, false
		}
		h.owner = uint8(len(*d.Owner))
		dst = append(dst, *d.Owner...)
	} else {
		dst = append(dst, old[:h.owner]...)
	}

	labels := 0
	var name []byte
	for range h.labels {
		all := rest
		name, _, rest = pair(rest)
		if !hasLabel(d.Labels, name) {
			dst = append(dst, all[:len(all)-len(rest)]...)
			labels++
		}
	}
	for _, l := range d.Labels {
		if len(l.Name) > 255 || len(l.Value) > 255 {
			return dst, false
		}
		if l.Value != "" {
			dst = appendPair(dst, l.Name, l.Value)
			labels++
		}
	}
	if labels > 255 {
		return dst, false
	}
	h.labels = uint8(labels)

	changed := newChangedKeys(d)
	for len(rest) > 0 {
		all := rest
		name, _, rest = pair(rest)
		if !changed.has(name) {
			dst = append(dst, all[:len(all)-len(rest)]...)
		}
	}
	for _, f := range d.Set {
		dst = appendPair(dst, f.Key, f.Value)
	}
	return dst, true
}

func hasLabel(labels []session.Label, name []byte) bool {
	for _, l := range labels {
		if l.Name == string(name) {
			return true
		}
	}
	return false
}

// changedKeys are the keys that a delta sets or deletes. Of a few, each is compared;
// more are hashed.
type changedKeys struct {
	d    *session.Delta
	keys map[string]struct{} // nil for a few
}

func newChangedKeys(d *session.Delta) (c changedKeys) {
	const few = 16
	c.d = d
	if len(d.Set)+len(d.Delete) <= few {
		return c
	}
	c.keys = make(map[string]struct{}, len(d.Set)+len(d.Delete))
	for i := range d.Set {
		c.keys[d.Set[i].Key] = struct{}{}
	}
	for _, key := range d.Delete {
		c.keys[key] = struct{}{}
	}
	return c
}

func (c *changedKeys) has(key []byte) bool {
	if c.keys != nil {
		_, ok := c.keys[string(key)]
		return ok
	}
	for i := range c.d.Set {
		if c.d.Set[i].Key == string(key) {
			return true
		}
	}
	return slices.Contains(c.d.Delete, string(key))
}

// makeRecord turns a block into a record. Its strings are parts of payload,
// which is a copy that nobody changes.
func makeRecord(id session.ID, h head, payload string, fields bool) session.Record {
	r := session.Record{
		ID:      id,
		Created: time.UnixMilli(h.created),
		Seen:    time.UnixMilli(h.seen),
		Idle:    time.Duration(h.idle) * time.Millisecond,
		Expires: time.UnixMilli(h.expires),
		Owner:   payload[:h.owner],
	}
	rest := payload[h.owner:]
	if h.labels > 0 {
		r.Labels = make([]session.Label, h.labels)
		for i := range r.Labels {
			r.Labels[i].Name, r.Labels[i].Value, rest = pairOf(rest)
		}
	}
	if !fields || rest == "" {
		return r
	}
	n := 0
	for s := rest; s != ""; n++ {
		_, _, s = pairOf(s)
	}
	r.Fields = make([]session.Field, n)
	for i := range r.Fields {
		r.Fields[i].Key, r.Fields[i].Value, rest = pairOf(rest)
	}
	return r
}

// pairOf is pair for the string that a reader gets.
func pairOf(s string) (name, value, rest string) {
	n, i := uvarint(s)
	v, j := uvarint(s[i:])
	s = s[i+j:]
	return s[:n], s[n : n+v], s[n+v:]
}

func uvarint(s string) (v, n int) {
	for shift := 0; ; shift += 7 {
		c := s[n]
		n++
		v |= int(c&0x7f) << shift
		if c < 0x80 {
			return v, n
		}
	}
}
