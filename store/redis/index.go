package redis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/seed-64ad3862/gatehouse/session"
)

// For each owner and each label there is an index, and for all sessions that have
// an owner some more: sorted sets of entries, each a handle with a tag, and the
// moment after which it may be dropped. An index only ever says where to look:
// what it names is read before it is believed.
//
//   - A session is in its indexes before it has the name, and is taken out when
//     it has ended or has lost the name.
//   - A change of names or of the ID begins a new tag, and with it new entries;
//     those of the tag before are then removed. A tag never comes back, so a
//     removal that is late hits nothing of a session that has the same ID by then,
//     or has got the name back.
//   - A session in use puts itself there again after reindexAfter, so that an
//     index that was lost is soon whole. That of a session which is not used is
//     whole when it is.

const (
	// reindexAfter is a number of the scripts, too.
	reindexAfter = 5 * time.Minute
	// slack is how long an entry stays for a session that should have ended:
	// more than an entry that could not be renewed in time is old.
	slack = 3 * reindexAfter
	// unknownIdle is assumed for a session of which only the change is known,
	// until the script says better.
	unknownIdle = time.Hour
)

// newTag returns a tag that no entry has had. It guards nothing: two that were
// alike would only matter to sessions with the same ID.
func newTag() string { return fmt.Sprintf("%08x", rand.Uint32()) }

// entry is what an index has of the session. Those of before tags have none.
func entryOf(h session.Handle, tag string) string {
	if tag == "" {
		return h.String()
	}
	return h.String() + "." + tag
}

// parseEntry returns the handle in an entry.
func parseEntry(entry string) (session.Handle, bool) {
	text, _, _ := strings.Cut(entry, ".")
	h, err := session.ParseHandle(text)
	return h, err == nil
}

// provisional returns until when, in milliseconds, a session is listed that gets
// this change.
func provisional(d *session.Delta) int64 {
	seen, idle := d.Seen, d.Idle
	if seen.IsZero() {
		seen = time.Now()
	}
	if idle == 0 {
		idle = unknownIdle
	}
	end := seen.Add(idle)
	if !d.Expires.IsZero() && d.Expires.Before(end) {
		end = d.Expires
	}
	return end.Add(slack).UnixMilli()
}

// index puts an entry into these indexes.
func (s *Store) index(ctx context.Context, keys []string, entry string, until int64) error {
	places := make([]place, len(keys))
	for i, key := range keys {
		places[i] = place{key, entry, until}
	}
	return s.put(ctx, places)
}

// A place is one in an index, and until when, in milliseconds, it is taken.
type place struct {
	key, entry string
	until      int64
}

func (s *Store) put(ctx context.Context, places []place) error {
	if len(places) == 0 {
		return nil
	}
	now := strconv.FormatInt(time.Now().UnixMilli(), 10)
	_, err := s.remote.batch(ctx, func(b rueidis.Builder) (cmds []rueidis.Completed) {
		for _, p := range places {
			cmds = append(cmds,
				b.Zadd().Key(p.key).Gt().ScoreMember().ScoreMember(float64(p.until), p.entry).Build(),
				b.Zremrangebyscore().Key(p.key).Min("-inf").Max(now).Build(),
				// GT alone takes a key that has no end for one that ends never.
				b.Pexpireat().Key(p.key).MillisecondsTimestamp(p.until).Nx().Build(),
				b.Pexpireat().Key(p.key).MillisecondsTimestamp(p.until).Gt().Build())
		}
		return cmds
	})
	return err
}

// unindex removes an entry from these indexes. What stays there is dropped in its
// time.
func (s *Store) unindex(ctx context.Context, keys []string, entry string) {
	if len(keys) == 0 {
		return
	}
	_, _ = s.remote.batch(ctx, func(b rueidis.Builder) (cmds []rueidis.Completed) {
		for _, key := range keys {
			cmds = append(cmds, b.Zrem().Key(key).Member(entry).Build())
		}
		return cmds
	})
}

// reindex brings the indexes in line with what a script answers, for a change
// before which the session was put into those of the names listed. What fails here
// is made good when the session is used.
func (s *Store) reindex(ctx context.Context, c *change, listed []name, msg *rueidis.RedisMessage) {
	l, ok := parseListing(msg)
	if !ok {
		return
	}
	old, h := c.id.Handle(), c.newID().Handle()
	has, entry := s.keys.indexes(listed, h), entryOf(h, c.tag)
	want := s.keys.indexes(l.after, h)
	missing, until := want, l.end+slack.Milliseconds()
	if l.tag == c.tag && until <= c.until {
		missing = without(want, has)
	}
	// In two steps: what is removed is replaced before, also when memory is full.
	if s.index(ctx, missing, entryOf(h, l.tag), until) != nil {
		return
	}
	s.unindex(ctx, without(has, want), entry)
	had, was := s.keys.indexes(l.before, old), entryOf(old, l.was)
	if was == entryOf(h, l.tag) {
		had = without(had, want)
	}
	s.unindex(ctx, had, was)
}

// without returns the keys that are not among the others.
func without(keys, others []string) []string {
	return slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return slices.Contains(others, k) })
}

// A listing is what a script answers of a session that is listed.
type listing struct {
	end           int64  // when it ends, in milliseconds
	tag, was      string // now and before
	after, before []name
}

// parseListing reports false if nothing has to be listed, as mostly.
func parseListing(msg *rueidis.RedisMessage) (l listing, ok bool) {
	list, err := msg.ToArray()
	if err != nil || len(list) < 4 {
		return l, false
	}
	l.end, _ = list[0].AsInt64()
	l.tag, _ = list[1].ToString()
	l.was, _ = list[2].ToString()
	n, _ := list[3].AsInt64()
	list = list[4:]
	n = max(0, min(n, int64(len(list))))
	l.after, l.before = pairs(list[:n]), pairs(list[n:])
	return l, true
}

func pairs(list []rueidis.RedisMessage) (names []name) {
	for i := 0; i+1 < len(list); i += 2 {
		field, _ := list[i].ToString()
		value, _ := list[i+1].ToString()
		names = append(names, name{field, value})
	}
	return names
}
