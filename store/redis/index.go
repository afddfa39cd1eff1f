package redis

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/seed-64ad3862/gatehouse/session"
)

// For each owner and each label there is an index: a sorted set of handles, each
// with the moment after which it may be dropped. An index only ever says where
// to look: what it names is read before it is believed.
//
//   - A session is in its indexes before it has the name, and is taken out when
//     it has ended. One that loses the name stays until it would have ended:
//     another request may just be giving the name back.
//   - A session in use puts itself there again after reindexAfter, so that an
//     index that was lost is soon whole. That of a session which is not used is
//     whole when it is.

const (
	// reindexAfter is a number of the scripts, too.
	reindexAfter = 5 * time.Minute
	// slack is how long a handle stays for a session that should have ended:
	// more than an entry that could not be renewed in time is old.
	slack = 3 * reindexAfter
	// unknownIdle is assumed for a session of which only the change is known,
	// until the script says better.
	unknownIdle = time.Hour
)

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

// index lists the handle under the names.
func (s *Store) index(ctx context.Context, names []name, h session.Handle, until int64) error {
	if len(names) == 0 {
		return nil
	}
	member, now := h.String(), strconv.FormatInt(time.Now().UnixMilli(), 10)
	_, err := s.remote.batch(ctx, func(b rueidis.Builder) (cmds []rueidis.Completed) {
		for _, n := range names {
			key := s.keys.index(n)
			cmds = append(cmds,
				b.Zadd().Key(key).Gt().ScoreMember().ScoreMember(float64(until), member).Build(),
				b.Zremrangebyscore().Key(key).Min("-inf").Max(now).Build(),
				// GT alone takes a key that has no end for one that ends never.
				b.Pexpireat().Key(key).MillisecondsTimestamp(until).Nx().Build(),
				b.Pexpireat().Key(key).MillisecondsTimestamp(until).Gt().Build())
		}
		return cmds
	})
	return err
}

// reindex lists the handle under the names that a script returned, unless it is
// listed for long enough. What fails here is made good when the session is used.
func (s *Store) reindex(ctx context.Context, msg *rueidis.RedisMessage, h session.Handle, listed []name, until int64) {
	end, names := listing(msg)
	end += slack.Milliseconds()
	if end <= until {
		names = slices.DeleteFunc(names, func(n name) bool { return slices.Contains(listed, n) })
	}
	_ = s.index(ctx, names, h, end)
}

// unindex takes the handle of a session that has ended out of its indexes.
// Whatever stays there is dropped in its time.
func (s *Store) unindex(ctx context.Context, names []name, h session.Handle) {
	if len(names) == 0 {
		return
	}
	_, _ = s.remote.batch(ctx, func(b rueidis.Builder) (cmds []rueidis.Completed) {
		for _, n := range names {
			cmds = append(cmds, b.Zrem().Key(s.keys.index(n)).Member(h.String()).Build())
		}
		return cmds
	})
}

// listing reads what a script returns of a session: when it ends, in
// milliseconds, and its names. Mostly there are none.
func listing(msg *rueidis.RedisMessage) (end int64, names []name) {
	list, err := msg.ToArray()
	if err != nil || len(list) == 0 {
		return 0, nil
	}
	end, _ = list[0].AsInt64()
	return end, pairs(list[1:])
}

func pairs(list []rueidis.RedisMessage) (names []name) {
	for i := 0; i+1 < len(list); i += 2 {
		field, _ := list[i].ToString()
		value, _ := list[i+1].ToString()
		names = append(names, name{field, value})
	}
	return names
}
