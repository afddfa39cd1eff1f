package redis

import (
	"encoding/hex"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// keys makes the names of keys.
type keys struct{ prefix string }

func (k keys) session(h session.Handle) string {
	b := make([]byte, 0, 64)
	b = append(b, k.prefix...)
	b = append(b, "s:"...)
	return string(hex.AppendEncode(b, h[:]))
}

// handle reads what session makes.
func (k keys) handle(key string) (session.Handle, bool) {
	text, ok := strings.CutPrefix(key, k.prefix)
	if ok {
		text, ok = strings.CutPrefix(text, "s:")
	}
	if !ok {
		return session.Handle{}, false
	}
	h, err := session.ParseHandle(text)
	return h, err == nil && h.String() == text
}

func (k keys) owner(owner string) string { return k.prefix + "o:" + owner }

// label escapes the name, in which there may be "=".
func (k keys) label(l session.Label) string {
	return k.prefix + "l:" + url.QueryEscape(l.Name) + "=" + l.Value
}

// signedIn is one of the indexes of all sessions that have an owner: there is one
// for each first byte of the handle, since one alone would be a key too large to
// read at once, and the work of one node of a Cluster.
func (k keys) signedIn(first byte) string { return k.prefix + "i:" + hex.EncodeToString([]byte{first}) }

// allSignedIn is there once these indexes have every session that has an owner.
func (k keys) allSignedIn() string { return k.prefix + "i:all" }

func (k keys) spent(id [16]byte) string { return k.prefix + "x:" + hex.EncodeToString(id[:]) }

// The fields of a session's hash.
const (
	headField    = "head"
	ownerField   = "owner"
	labelPrefix  = "l:"
	valuePrefix  = "v:"
	pendingField = "pending"
	tagField     = "tag"
)

// decode reads a session's hash. It reports false if that is no session.
func decode(hash map[string]string) (session.Record, bool) {
	r, ok := parseHead(hash[headField])
	if ok {
		decodeRest(&r, hash)
	}
	return r, ok
}

// decodePending reads the reservation of a name for a session that is about to
// get it, as a session that ends when the reservation does.
func decodePending(hash map[string]string, now time.Time) (r session.Record, ok bool) {
	if r.ID, ok = parseID(hash[pendingField]); ok {
		r.Created, r.Seen, r.Idle, r.Expires = now, now, reserveFor, now.Add(reserveFor)
		decodeRest(&r, hash)
	}
	return r, ok
}

func decodeRest(r *session.Record, hash map[string]string) {
	r.Owner = hash[ownerField]
	r.Fields = make([]session.Field, 0, len(hash))
	for field, text := range hash {
		if key, ok := strings.CutPrefix(field, valuePrefix); ok {
			r.Fields = append(r.Fields, session.Field{Key: key, Value: text})
		} else if name, ok := strings.CutPrefix(field, labelPrefix); ok {
			r.Labels = append(r.Labels, session.Label{Name: name, Value: text})
		}
	}
}

// parseHead reads the ID and the clocks.
func parseHead(head string) (r session.Record, ok bool) {
	const digits = 2 * len(r.ID)
	if len(head) <= digits || head[digits] != ' ' {
		return r, false
	}
	if r.ID, ok = parseID(head[:digits]); !ok {
		return r, false
	}
	rest := head[digits+1:]
	var ms [5]int64 // created, seen, idle, expires, indexed
	for i := range ms {
		number := rest
		if i < len(ms)-1 {
			number, rest, _ = strings.Cut(rest, " ")
		}
		var err error
		if ms[i], err = strconv.ParseInt(number, 10, 64); err != nil {
			return r, false
		}
	}
	const limit = math.MaxInt64 / int64(time.Millisecond)
	if ms[2] < 0 || ms[2] > limit {
		return r, false
	}
	r.Created, r.Seen, r.Expires = time.UnixMilli(ms[0]), time.UnixMilli(ms[1]), time.UnixMilli(ms[3])
	r.Idle = time.Duration(ms[2]) * time.Millisecond
	return r, true
}

func parseID(text string) (id session.ID, ok bool) {
	var digits [2 * len(id)]byte
	if len(text) != len(digits) {
		return id, false
	}
	copy(digits[:], text)
	_, err := hex.Decode(id[:], digits[:])
	return id, err == nil
}

// millis is a moment as the scripts take it, "" if it is zero.
func millis(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.UnixMilli(), 10)
}

// millisOf is a duration as the scripts take it, "" if it is zero. What is
// shorter than a millisecond is one: it is not nothing.
func millisOf(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return strconv.FormatInt(max(1, d.Milliseconds()), 10)
}

// A name is what a session is listed by: its owner or a label, as the hash's
// field and its value.
type name struct{ field, value string }

// indexes returns the keys of the indexes in which a session is by these names.
func (k keys) indexes(names []name, h session.Handle) (all []string) {
	for _, n := range names {
		if label, ok := strings.CutPrefix(n.field, labelPrefix); ok {
			all = append(all, k.label(session.Label{Name: label, Value: n.value}))
		} else {
			all = append(all, k.owner(n.value), k.signedIn(h[0]))
		}
	}
	return all
}
