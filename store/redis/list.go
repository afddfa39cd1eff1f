package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/seed-64ad3862/gatehouse/session"
)

// listAtOnce is how many sessions are read in one go.
const listAtOnce = 100

// List implements [session.Lister]. By owner or label, and of all that have an
// owner, it reads the sessions of an index. With SignedIn and a label that is the index
// of those that have an owner: any number of anonymous sessions may have the label. All goes through the keys of every
// node, in steps, and may miss sessions whose part of the keys moves to another
// node meanwhile.
//
// Where sessions were there before the index of those that have an owner, the
// first listing of these goes through all keys too, and makes the index.
//
// A session in a Cluster that is between two names may be listed under the new
// one: [Store.Delete] ends it.
func (s *Store) List(ctx context.Context, q session.Query) iter.Seq2[session.Record, error] {
	return func(yield func(session.Record, error) bool) {
		handles, adopting := s.selected(ctx, &q), false
		if q.SignedIn && q.Owner == "" {
			whole, err := s.exists(ctx, s.keys.allSignedIn())
			if err != nil {
				yield(session.Record{}, failed("list", err))
				return
			}
			if adopting = !whole; adopting {
				handles = s.scan(ctx)
			}
		}
		for batch, err := range handles {
			var found []found
			if err == nil {
				read := q
				if adopting { // the index is for those without the label too
					read.Label = session.Label{}
				}
				found, err = s.fetch(ctx, &read, batch)
			}
			if err != nil {
				yield(session.Record{}, failed("list", err))
				return
			}
			adopting = adopting && s.adopt(ctx, found) == nil
			for i := range found {
				if q.Match(&found[i].Record) && !yield(found[i].Record, nil) {
					return
				}
			}
		}
		if adopting {
			s.setAllSignedIn(ctx)
		}
	}
}

// selected yields the handles of sessions among which are those that the query
// selects.
func (s *Store) selected(ctx context.Context, q *session.Query) iter.Seq2[[]session.Handle, error] {
	switch {
	case q.All:
		return s.scan(ctx)
	case q.Owner != "":
		return s.listed(ctx, []string{s.keys.owner(q.Owner)})
	case q.Label.Name != "" && !q.SignedIn:
		return s.listed(ctx, []string{s.keys.label(q.Label)})
	}
	var keys []string
	for first := range 256 {
		keys = append(keys, s.keys.signedIn(byte(first)))
	}
	return s.listed(ctx, keys)
}

// begin notes for a store that has no sessions yet that their indexes are whole. It
// does not look far, and if it cannot tell, nothing is lost.
func (s *Store) begin(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if whole, err := s.exists(ctx, s.keys.allSignedIn()); err != nil || whole {
		return
	}
	steps := 0
	for handles, err := range s.scan(ctx) {
		if steps++; err != nil || len(handles) > 0 || steps > listAtOnce {
			return
		}
	}
	s.setAllSignedIn(ctx)
}

// adopt puts sessions that were found without an index into those of sessions that
// have an owner.
func (s *Store) adopt(ctx context.Context, all []found) error {
	var places []place
	for i := range all {
		h := all[i].ID.Handle()
		places = append(places, place{s.keys.signedIn(h[0]), entryOf(h, all[i].tag), all[i].Deadline().Add(slack).UnixMilli()})
	}
	return s.put(ctx, places)
}

// setAllSignedIn notes that these indexes have every session that has an owner. If
// that fails, the next listing tries again.
func (s *Store) setAllSignedIn(ctx context.Context) {
	_, _ = s.remote.write(ctx, true, func(ctx context.Context, c rueidis.CommandClient) rueidis.RedisResult {
		return c.Do(ctx, c.B().Set().Key(s.keys.allSignedIn()).Value("1").Build())
	})
}

// A found session is one with the tag that it has in its indexes.
type found struct {
	session.Record
	tag string
}

// fetch reads the sessions and returns those that the query selects.
func (s *Store) fetch(ctx context.Context, q *session.Query, handles []session.Handle) ([]found, error) {
	if len(handles) == 0 {
		return nil, nil
	}
	msgs, err := s.remote.batch(ctx, func(b rueidis.Builder) (cmds []rueidis.Completed) {
		for _, h := range handles {
			cmds = append(cmds, b.Hgetall().Key(s.keys.session(h)).Build())
		}
		return cmds
	})
	if err != nil {
		return nil, err
	}
	now := time.Now()
	var all []found
	for i := range msgs {
		hash, err := msgs[i].AsStrMap()
		if err != nil {
			return nil, err
		}
		r, ok := decode(hash)
		if !ok {
			r, ok = decodePending(hash, now)
		}
		if ok && q.Match(&r) {
			all = append(all, found{r, hash[tagField]})
		}
	}
	return all, nil
}

// indexesAtOnce is how many indexes are read in one go.
const indexesAtOnce = 16

// listed yields the handles in the indexes, each once if no two of them have it.
func (s *Store) listed(ctx context.Context, keys []string) iter.Seq2[[]session.Handle, error] {
	return func(yield func([]session.Handle, error) bool) {
		for some := range slices.Chunk(keys, indexesAtOnce) {
			msgs, err := s.remote.batch(ctx, func(b rueidis.Builder) (cmds []rueidis.Completed) {
				for _, key := range some {
					cmds = append(cmds, b.Zrange().Key(key).Min("0").Max("-1").Build())
				}
				return cmds
			})
			var handles []session.Handle
			for i := range msgs {
				var entries []string
				if entries, err = msgs[i].AsStrSlice(); err != nil {
					break
				}
				for _, entry := range entries {
					if h, ok := parseEntry(entry); ok {
						handles = append(handles, h)
					}
				}
			}
			if err != nil {
				yield(nil, err)
				return
			}
			// Of one session there may be entries with several tags.
			slices.SortFunc(handles, func(a, b session.Handle) int { return bytes.Compare(a[:], b[:]) })
			for batch := range slices.Chunk(slices.Compact(handles), listAtOnce) {
				if !yield(batch, nil) {
					return
				}
			}
		}
	}
}

// scan yields the handles of all sessions, each once.
func (s *Store) scan(ctx context.Context) iter.Seq2[[]session.Handle, error] {
	return func(yield func([]session.Handle, error) bool) {
		nodes, err := s.masters(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		pattern := glob.Replace(s.keys.prefix) + "s:*"
		seen := map[session.Handle]struct{}{}
		for _, node := range nodes {
			for cursor := uint64(0); ; {
				msgs, err := s.remote.batchTo(ctx, func() rueidis.Client { return node }, func(b rueidis.Builder) []rueidis.Completed {
					return []rueidis.Completed{b.Scan().Cursor(cursor).Match(pattern).Count(listAtOnce).Build()}
				})
				var entry rueidis.ScanEntry
				if err == nil {
					entry, err = msgs[0].AsScanEntry()
				}
				if err != nil {
					yield(nil, err)
					return
				}
				var batch []session.Handle
				for _, key := range entry.Elements {
					h, ok := s.keys.handle(key)
					if _, twice := seen[h]; ok && !twice {
						seen[h] = struct{}{}
						batch = append(batch, h)
					}
				}
				if !yield(batch, nil) {
					return
				}
				if cursor = entry.Cursor; cursor == 0 {
					break
				}
			}
		}
	}
}

// glob escapes what a pattern of SCAN gives a meaning to.
var glob = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)

// masters returns the nodes that together have all keys.
func (s *Store) masters(ctx context.Context) (masters []rueidis.Client, err error) {
	nodes := s.remote.current.Load().Nodes()
	if !s.cluster {
		return slices.Collect(maps.Values(nodes)), nil
	}
	err = errors.New("no node of the cluster is known")
	for addr, node := range nodes {
		var addrs []string
		if addrs, err = s.askMasters(ctx, addr, node); err != nil {
			continue // another knows
		}
		for _, a := range addrs {
			master, ok := nodes[a]
			if !ok {
				return nil, fmt.Errorf("%s is new in the cluster and not connected yet", a)
			}
			masters = append(masters, master)
		}
		return masters, nil
	}
	return nil, err
}

// askMasters asks a node for the addresses of all that have keys.
func (s *Store) askMasters(ctx context.Context, addr string, node rueidis.Client) (addrs []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	msg, err := through(ctx, &s.remote.gate, func(ctx context.Context) (rueidis.RedisMessage, error) {
		return message(node.Do(ctx, node.B().ClusterSlots().Build()))
	})
	if err != nil {
		return nil, err
	}
	ranges, err := msg.ToArray()
	if err != nil {
		return nil, err
	}
	slots := int64(0)
	for i := range ranges {
		// First and last slot, and nodes: host, port and more. The master is
		// the first.
		var first, last, port int64
		var host string
		r, err := ranges[i].ToArray()
		if err == nil && len(r) > 2 {
			first, _ = r[0].AsInt64()
			last, _ = r[1].AsInt64()
			if n, err := r[2].ToArray(); err == nil && len(n) > 1 {
				host, _ = n[0].ToString()
				port, _ = n[1].AsInt64()
			}
		}
		if host == "" {
			host, _, _ = net.SplitHostPort(addr) // it does not know its own
		}
		slots += last - first + 1
		if a := net.JoinHostPort(host, strconv.FormatInt(port, 10)); !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	if slots < 1<<14 {
		return nil, fmt.Errorf("the cluster has nodes for %d of its slots only", slots)
	}
	return addrs, nil
}
