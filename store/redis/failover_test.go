package redis_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/redis"
)

// writers is how many write at once while a server ends.
const writers = 64

// A writer sets one key after the other in a session of its own, and now and
// then ends another session.
type writer struct {
	store session.Store
	id    session.ID
	acked []string // keys

	ended   []session.ID  // acknowledged
	refused int           // calls that failed
	away    time.Duration // the longest time without a success
	wrong   []error       // answers that are never right here
}

func (w *writer) run(t *testing.T, stop <-chan struct{}) {
	ctx := context.WithoutCancel(t.Context())
	last := time.Now()
	do := func(f func(ctx context.Context) error) bool {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		err := f(ctx)
		switch now := time.Now(); {
		case err == nil:
			w.away = max(w.away, now.Sub(last))
			last = now
			return true
		case errors.Is(err, session.ErrNotFound), errors.Is(err, session.ErrExists), errors.Is(err, session.ErrConflict):
			w.wrong = append(w.wrong, err)
		}
		w.refused++
		return false
	}
	for round := 0; ; round++ {
		select {
		case <-stop:
			return
		default:
		}
		key := strconv.Itoa(round)
		if do(func(ctx context.Context) error {
			return w.store.Commit(ctx, w.id, &session.Delta{Seen: time.Now(), Set: []session.Field{{Key: key, Value: "1"}}})
		}) {
			w.acked = append(w.acked, key)
		}
		if round%10 != 0 {
			continue
		}
		id, now := newID(), time.Now()
		begun := do(func(ctx context.Context) error {
			return w.store.Commit(ctx, id, &session.Delta{Create: true, Seen: now, Idle: time.Hour, Expires: now.Add(time.Hour)})
		})
		if !begun {
			continue
		}
		// That it began may be lost with a server, and then there is nothing
		// to end.
		before := len(w.wrong)
		if do(func(ctx context.Context) error { return w.store.Delete(ctx, id) }) {
			w.ended = append(w.ended, id)
		}
		w.wrong = slices.DeleteFunc(w.wrong, func(err error) bool {
			return len(w.wrong) > before && errors.Is(err, session.ErrNotFound)
		})
	}
}

// failover has sessions written to while a server is killed, until all are
// served again. It asserts what must hold, and logs what an operator has to
// expect. With waits of 2, half of the writers wait for a replica: nothing that
// they were told is lost, but they are not served before the server that kill
// returns is there again as a replica of the one that took its place.
func failover(t *testing.T, cfg redis.Config, addrs []string, waits int, kill func() *service.Server) {
	t.Helper()
	all := make([][]*writer, waits) // by Config.Wait
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for wait := range all {
		cfg.Wait = wait
		s := open(t, cfg, addrs...)
		for range writers / len(all) {
			w := &writer{store: s, id: create(t, s)}
			all[wait] = append(all[wait], w)
			wg.Go(func() { w.run(t, stop) })
		}
	}
	defer wg.Wait()
	time.Sleep(time.Second)
	killed := kill()
	start := time.Now()
	served := make([]time.Duration, waits)
	for wait, ws := range all {
		for _, w := range ws {
			recovers(t, w.store, w.id)
		}
		served[wait] = time.Since(start)
		if wait+1 < waits {
			killed.Start()
		}
	}
	time.Sleep(time.Second)
	close(stop)
	wg.Wait()

	for wait, ws := range all {
		var refused, acked, lost, risen, ended int
		var away time.Duration
		for _, w := range ws {
			for _, err := range w.wrong {
				t.Errorf("Wait=%d: %v", wait, err)
			}
			refused, acked, ended, away = refused+w.refused, acked+len(w.acked), ended+len(w.ended), max(away, w.away)
			r, err := w.store.Load(t.Context(), w.id)
			if err != nil {
				t.Errorf("Wait=%d: a session that was there long before: %v", wait, err)
				continue
			}
			kept := map[string]bool{}
			for _, f := range r.Fields {
				kept[f.Key] = true
			}
			for _, key := range w.acked {
				if !kept[key] {
					lost++
				}
			}
			for _, id := range w.ended {
				if lives(t, w.store, id) {
					risen++
				}
			}
		}
		if acked == 0 || ended == 0 {
			t.Errorf("Wait=%d: nothing was written: the test shows nothing", wait)
		}
		if wait > 0 && lost+risen > 0 {
			t.Errorf("Wait=%d: %d acknowledged changes are lost, %d sessions that had ended are back", wait, lost, risen)
		}
		t.Logf("Wait=%d: all served again after %v; %d calls refused, the longest time without one that was not %v; of %d acknowledged changes %d are lost, of %d sessions that ended %d are back",
			wait, served[wait].Round(time.Millisecond), refused, away.Round(time.Millisecond), acked, lost, ended, risen)
	}
}

// TestClusterFailover: a master of a Cluster is killed under load, just after it
// has lost its replica.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	cluster := service.RedisCluster(t)
	failover(t, redis.Config{}, cluster.Addrs(), 2, func() *service.Server {
		master := cluster.Nodes[slices.IndexFunc(cluster.Nodes, func(n *service.Server) bool { return role(t, n)[0] == "master" })]
		replica := cluster.Nodes[slices.IndexFunc(cluster.Nodes, func(n *service.Server) bool {
			r := role(t, n)
			return r[0] == "slave" && net.JoinHostPort(r[1], r[2]) == master.Addr
		})]
		replica.Pause()
		c := raws(t, master.Addr)
		if err := c.Do(t.Context(), c.B().ClientKill().TypeReplica().Build()).Error(); err != nil {
			t.Error(err)
		}
		time.Sleep(200 * time.Millisecond)
		master.Kill()
		replica.Resume()
		return master
	})
}

// TestSentinelFailover: the master that Sentinel watches is killed under load.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	watched := service.RedisSentinel(t)
	cfg := redis.Config{}
	cfg.Client.Sentinel.MasterSet = watched.Name
	failover(t, cfg, []string{watched.Sentinel.Addr}, 1, func() *service.Server {
		watched.Master.Kill()
		return watched.Master
	})
}

// role asks what a server is, and if it is a replica, whose.
func role(t *testing.T, server *service.Server) (words [3]string) {
	t.Helper()
	c := raws(t, server.Addr)
	list, err := c.Do(t.Context(), c.B().Role().Build()).ToArray()
	if err != nil {
		t.Fatal(err)
	}
	for i := range min(len(words), len(list)) {
		if n, err := list[i].AsInt64(); err == nil {
			words[i] = strconv.FormatInt(n, 10)
		} else {
			words[i], _ = list[i].ToString()
		}
	}
	return words
}
