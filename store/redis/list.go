package redis

import (
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

// List implements [session.Lister]. By owner or label it reads the sessions of
// an index; All goes through the keys of every node, in steps, and may miss
// sessions whose part of the keys moves to another node meanwhile.
//
// A session in a Cluster that is between two names may be listed under the new
// one: [Store.Delete] ends it.
func (s *Store) List(ctx context.Context, q session.Query) iter.Seq2[session.Record, error] {
	return func(yield func(session.Record, error) bool) {
		handles := s.listed(ctx, &q)
		if q.All {
			handles = s.scan(ctx)
		}
		for batch, err := range handles {
			var found []session.Record
			if err == nil {
				found, err = s.fetch(ctx, &q, batch)
			}
			if err != nil {
				yield(session.Record{}, failed("list", err))
				return
			}
			for _, r := range found {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// fetch reads the sessions and returns those that the query selects.
func (s *Store) fetch(ctx context.Context, q *session.Query, handles []session.Handle) ([]session.Record, error) {
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
	var found []session.Record
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
			found = append(found, r)
		}
	}
	return found, nil
}

// listed yields the handles of the index that fits the query best.
func (s *Store) listed(ctx context.Context, q *session.Query) iter.Seq2[[]session.Handle, error] {
	return func(yield func([]session.Handle, error) bool) {
		key := s.keys.label(q.Label)
		if q.Owner != "" {
			key = s.keys.owner(q.Owner)
		}
		msg, err := s.remote.read(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
			return c.Do(ctx, c.B().Zrange().Key(key).Min("0").Max("-1").Build())
		})
		var members []string
		if err == nil {
			members, err = msg.AsStrSlice()
		}
		if err != nil {
			yield(nil, err)
			return
		}
		var handles []session.Handle
		for _, m := range members {
			if h, err := session.ParseHandle(m); err == nil {
				handles = append(handles, h)
			}
		}
		for len(handles) > 0 {
			n := min(listAtOnce, len(handles))
			if !yield(handles[:n], nil) {
				return
			}
			handles = handles[n:]
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
