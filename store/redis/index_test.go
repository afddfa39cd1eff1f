package redis_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/redis"
)

// signIn creates a session of the owner, with this ID.
func signIn(t testing.TB, s session.Store, id session.ID, owner string, labels ...session.Label) session.ID {
	t.Helper()
	now := time.Now()
	if err := s.Commit(t.Context(), id, &session.Delta{
		Create: true, Seen: now, Idle: time.Hour, Expires: now.Add(24 * time.Hour), Owner: &owner, Labels: labels,
	}); err != nil {
		t.Fatal(err)
	}
	return id
}

func commit(t testing.TB, s session.Store, id session.ID, d *session.Delta) {
	t.Helper()
	if err := s.Commit(t.Context(), id, d); err != nil {
		t.Fatal(err)
	}
}

// is reports whether the query lists the session, once.
func is(t testing.TB, s session.Lister, q session.Query, id session.ID) bool {
	t.Helper()
	n := 0
	for r, err := range s.List(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		if r.ID == id {
			n++
		}
	}
	if n > 1 {
		t.Errorf("List(%+v) yields a session %d times", q, n)
	}
	return n > 0
}

// TestLateRemoval: what takes a session out of its indexes may arrive late. By then
// there may be another with the same ID, or the same may have got the name back: that
// one is listed, before and after.
func TestLateRemoval(t *testing.T) {
	server := service.Redis(t)
	sure := open(t, redis.Config{NoCache: true}, server.Addr)
	alice, bob, none := "alice", "bob", ""
	phone, tablet := session.Label{Name: "device", Value: "phone"}, session.Label{Name: "device", Value: "tablet"}
	for name, test := range map[string]struct {
		change func(ctx context.Context, s *redis.Store, id session.ID) error
		// back is done while the removal is on its way.
		back func(id, to session.ID)
	}{
		"deleted and created": {
			func(ctx context.Context, s *redis.Store, id session.ID) error { return s.Delete(ctx, id) },
			func(id, _ session.ID) { signIn(t, sure, id, alice, phone) },
		},
		"deleted, and another renamed to it": {
			func(ctx context.Context, s *redis.Store, id session.ID) error { return s.Delete(ctx, id) },
			func(id, _ session.ID) {
				commit(t, sure, signIn(t, sure, newID(), alice, phone), &session.Delta{Rename: id})
			},
		},
		"renamed and created": {
			nil,
			func(id, _ session.ID) { signIn(t, sure, id, alice, phone) },
		},
		"renamed to and fro": {
			nil,
			func(id, to session.ID) { commit(t, sure, to, &session.Delta{Rename: id}) },
		},
		"given to another, and back": {
			func(ctx context.Context, s *redis.Store, id session.ID) error {
				return s.Commit(ctx, id, &session.Delta{Owner: &bob, Labels: []session.Label{tablet}})
			},
			func(id, _ session.ID) {
				commit(t, sure, id, &session.Delta{Owner: &alice, Labels: []session.Label{phone}})
			},
		},
		"signed out, and in again": {
			func(ctx context.Context, s *redis.Store, id session.ID) error {
				return s.Commit(ctx, id, &session.Delta{Owner: &none, Labels: []session.Label{{Name: phone.Name}}})
			},
			func(id, _ session.ID) {
				commit(t, sure, id, &session.Delta{Owner: &alice, Labels: []session.Label{phone}})
			},
		},
		"given the same again": {
			func(ctx context.Context, s *redis.Store, id session.ID) error {
				return s.Commit(ctx, id, &session.Delta{Owner: &alice})
			},
			func(id, _ session.ID) { commit(t, sure, id, &session.Delta{Owner: &alice}) },
		},
	} {
		for _, across := range []bool{false, true} {
			for _, left := range []bool{false, true} { // the caller does not wait for it
				t.Run(fmt.Sprintf("%s, across slots %v, left %v", name, across, left), func(t *testing.T) {
					p := newProxy(t, server.Addr)
					s := open(t, redis.Config{NoCache: true}, p.addr)
					if across {
						s.AcrossSlots()
					}
					id, to := signIn(t, sure, newID(), alice, phone), newID()
					listed := func() {
						t.Helper()
						for _, q := range []session.Query{{Owner: alice}, {Label: phone}, {Owner: alice, Label: phone}, {SignedIn: true}} {
							if !is(t, sure, q, id) {
								t.Errorf("List(%+v) misses the session", q)
							}
						}
					}
					listed()

					removal, release := make(chan struct{}), make(chan struct{})
					var once sync.Once
					p.ask(func(words []string) string {
						if words[0] == "ZREM" {
							once.Do(func() { close(removal) })
							<-release
						}
						return ""
					})
					ctx, leave := context.WithCancel(t.Context())
					defer leave()
					done := make(chan error, 1)
					go func() {
						if test.change == nil {
							done <- s.Commit(ctx, id, &session.Delta{Rename: to})
						} else {
							done <- test.change(ctx, s, id)
						}
					}()
					select {
					case <-removal:
					case err := <-done:
						t.Fatalf("nothing was removed, %v: the test shows nothing", err)
					}
					if left {
						leave()
						<-done
					}
					test.back(id, to)
					listed()
					close(release)
					if !left {
						if err := <-done; err != nil {
							t.Error(err)
						}
					}
					// What was removed last comes after what was held up, over the
					// same connections.
					for range 20 {
						remove(t, s, signIn(t, s, newID(), bob))
					}
					listed()
					remove(t, sure, id)
					if is(t, sure, session.Query{Owner: alice}, id) || is(t, sure, session.Query{SignedIn: true}, id) {
						t.Error("it is listed when it has ended")
					}
				})
			}
		}
	}
}

// TestNamesLost: who has lost a name, or has another ID, has no entry there.
func TestNamesLost(t *testing.T) {
	for _, across := range []bool{false, true} {
		server := service.Redis(t)
		s, c := open(t, redis.Config{}, server.Addr), raws(t, server.Addr)
		if across {
			s.AcrossSlots()
		}
		alice, bob, none := "alice", "bob", ""
		entries := func() (n int64) {
			t.Helper()
			for _, pattern := range []string{"gatehouse:o:*", "gatehouse:l:*", "gatehouse:i:??"} {
				for _, key := range must(c.Do(t.Context(), c.B().Keys().Pattern(pattern).Build()).AsStrSlice()) {
					n += must(c.Do(t.Context(), c.B().Zcard().Key(key).Build()).ToInt64())
				}
			}
			return n
		}
		has := func(what string, want int64) {
			t.Helper()
			if n := entries(); n != want {
				t.Errorf("across slots %v: %s: %d entries, want %d", across, what, n, want)
			}
		}
		phone := session.Label{Name: "device", Value: "phone"}
		id := signIn(t, s, newID(), alice, phone)
		has("signed in", 3)
		commit(t, s, id, &session.Delta{Owner: &bob})
		has("another owner", 3)
		to := newID()
		commit(t, s, id, &session.Delta{Rename: to, Owner: &alice, Labels: []session.Label{{Name: "device", Value: "tablet"}}})
		has("renamed, with other names", 3)
		commit(t, s, to, &session.Delta{Labels: []session.Label{{Name: "device"}}})
		has("a label less", 2)
		id, to = to, newID()
		commit(t, s, id, &session.Delta{Rename: to, Owner: &none})
		has("signed out and renamed", 0)
		commit(t, s, to, &session.Delta{Owner: &alice})
		has("signed in again", 2)
		commit(t, s, to, &session.Delta{Owner: &none})
		has("signed out", 0)
		if tag, err := c.Do(t.Context(), c.B().Hget().Key("gatehouse:s:"+to.Handle().String()).Field("tag").Build()).ToString(); err == nil {
			t.Errorf("a session without names has the tag %q", tag)
		}
	}
}

// calls returns how many commands of these names the servers have executed.
func calls(t testing.TB, addrs []string, names ...string) (n int) {
	t.Helper()
	for _, addr := range addrs {
		c := raws(t, addr)
		text := must(c.Do(t.Context(), c.B().Info().Section("commandstats").Build()).ToString())
		for _, name := range names {
			if _, rest, ok := strings.Cut(text, "cmdstat_"+name+":calls="); ok {
				number, _, _ := strings.Cut(rest, ",")
				n += must(strconv.Atoi(number))
			}
		}
	}
	return n
}

// TestSignedInCost: what it takes to list those who are signed in does not depend on
// how many sessions there are of others, now or before.
func TestSignedInCost(t *testing.T) {
	for name, addrs := range map[string][]string{
		"Single":  {service.Redis(t).Addr},
		"Cluster": service.RedisCluster(t).Addrs(),
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, redis.Config{}, addrs...)
			phone := session.Label{Name: "device", Value: "phone"}
			var ids []session.ID
			cost := func() int {
				t.Helper()
				before := calls(t, addrs, "hgetall", "zrange", "scan")
				for _, q := range []session.Query{{SignedIn: true}, {SignedIn: true, Label: phone}} {
					for _, id := range ids {
						if !is(t, s, q, id) {
							t.Error("a session is missing")
						}
					}
				}
				return calls(t, addrs, "hgetall", "zrange", "scan") - before
			}
			alice, none := "alice", ""
			for range 20 {
				ids = append(ids, signIn(t, s, newID(), alice, phone))
			}
			before := cost()
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range 250 {
						commit(t, s, create(t, s), &session.Delta{Labels: []session.Label{phone}})
					}
					for range 20 { // they were signed in, and are not
						id := signIn(t, s, newID(), alice, phone)
						commit(t, s, id, &session.Delta{Rename: newID(), Owner: &none})
					}
				})
			}
			wg.Wait()
			if after := cost(); after != before {
				t.Errorf("%d commands with 2,000 sessions of others, %d without", after, before)
			}
		})
	}
}

// TestSignedInBefore: sessions that are there since before the index of those that
// have an owner are listed, and once they have been, the index is used.
func TestSignedInBefore(t *testing.T) {
	single, cluster := service.Redis(t), service.RedisCluster(t)
	for name, addrs := range map[string][]string{"Single": {single.Addr}, "Cluster": cluster.Addrs()} {
		t.Run(name, func(t *testing.T) {
			c := open(t, redis.Config{}, addrs...).Client()
			now := time.Now()
			var ids []session.ID
			for n := range 300 {
				id, owner := newID(), "owner"+strconv.Itoa(n%7)
				h := id.Handle().String()
				fields := []string{"HSET", "gatehouse:s:" + h, "head", fmt.Sprintf("%x %d %d 3600000 %d %d", id, now.UnixMilli(), now.UnixMilli(), now.Add(24*time.Hour).UnixMilli(), now.UnixMilli()), "v:n", "1"}
				cmds := [][]string{append(fields, "owner", owner), {"ZADD", "gatehouse:o:" + owner, strconv.FormatInt(now.Add(2*time.Hour).UnixMilli(), 10), h}}
				if n >= 100 {
					cmds = [][]string{fields}
				} else {
					ids = append(ids, id)
				}
				for _, words := range append(cmds, []string{"PEXPIREAT", "gatehouse:s:" + h, strconv.FormatInt(now.Add(time.Hour).UnixMilli(), 10)}) {
					if err := c.Do(t.Context(), c.B().Arbitrary(words[0]).Keys(words[1]).Args(words[2:]...).Build()).Error(); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := c.Do(t.Context(), c.B().Del().Key("gatehouse:i:all").Build()).Error(); err != nil { // what Open has noted
				t.Fatal(err)
			}
			s := open(t, redis.Config{}, addrs...)
			all := func(want []session.ID) (scans int) {
				t.Helper()
				before := calls(t, addrs, "scan")
				got := map[session.ID]bool{}
				for r, err := range s.List(t.Context(), session.Query{SignedIn: true}) {
					if err != nil {
						t.Fatal(err)
					}
					got[r.ID] = true
				}
				for _, id := range want {
					if !got[id] {
						t.Errorf("%v is missing", id.Handle())
					}
				}
				if len(got) != len(want) {
					t.Errorf("%d are listed, want %d", len(got), len(want))
				}
				return calls(t, addrs, "scan") - before
			}
			// A listing that is left early has not seen all.
			s.List(t.Context(), session.Query{SignedIn: true})(func(session.Record, error) bool { return false })
			if all(ids) == 0 {
				t.Error("the index was complete already: the test shows nothing")
			}
			if n := all(ids); n != 0 {
				t.Errorf("the second listing goes through all keys, in %d steps", n)
			}

			// So it is if the first listing is of those with a label, which none has.
			if err := c.Do(t.Context(), c.B().Del().Key("gatehouse:i:all").Build()).Error(); err != nil {
				t.Fatal(err)
			}
			for first := range 256 {
				if err := c.Do(t.Context(), c.B().Del().Key(fmt.Sprintf("gatehouse:i:%02x", first)).Build()).Error(); err != nil {
					t.Fatal(err)
				}
			}
			if n := count(t, s, session.Query{SignedIn: true, Label: session.Label{Name: "device", Value: "phone"}}); n != 0 {
				t.Errorf("%d have a label that none has", n)
			}
			if n := all(ids); n != 0 {
				t.Errorf("after a listing by label, another goes through all keys, in %d steps", n)
			}

			// They can be changed and ended as others can.
			none, to := "", newID()
			remove(t, s, ids[0])
			commit(t, s, ids[1], &session.Delta{Owner: &none})
			commit(t, s, ids[2], &session.Delta{Rename: to})
			commit(t, s, ids[3], &session.Delta{Seen: now.Add(6 * time.Minute)})
			want := append([]session.ID{to}, ids[3:]...)
			if n := all(want); n != 0 {
				t.Errorf("a listing goes through all keys, in %d steps", n)
			}
			for _, id := range ids[:3] {
				h := id.Handle().String()
				if err := c.Do(t.Context(), c.B().Zscore().Key("gatehouse:i:"+h[:2]).Member(h).Build()).Error(); !rueidis.IsRedisNil(err) {
					t.Errorf("an entry of a session that has ended is left, %v", err)
				}
			}
		})
	}
}
