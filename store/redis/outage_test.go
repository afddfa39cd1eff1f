package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/redis"
)

// late is how much longer than its context a call may take on a machine that is
// busy. What does not look at its context takes seconds.
const late = time.Second

// each calls every method with a context that ends so soon, all at once, and
// reports those whose error or time is wrong.
func each(t *testing.T, s *redis.Store, id session.ID, within time.Duration, want error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	now := time.Now()
	alice := "alice"
	var wg sync.WaitGroup
	for name, f := range map[string]func() error{
		"Load":   func() error { _, err := s.Load(ctx, id); return err },
		"Commit": func() error { return s.Commit(ctx, id, &session.Delta{Seen: now}) },
		"Commit an owner": func() error {
			return s.Commit(ctx, id, &session.Delta{Owner: &alice})
		},
		"Rename": func() error { return s.Commit(ctx, id, &session.Delta{Rename: newID()}) },
		"Delete": func() error { return s.Delete(ctx, newID()) },
		"Find":   func() error { _, err := s.Find(ctx, id.Handle()); return err },
		"Spend":  func() error { _, err := s.Spend(ctx, [16]byte(id[:]), now.Add(time.Hour)); return err },
		"Spent":  func() error { _, err := s.Spent(ctx, [16]byte(id[:])); return err },
		"List": func() error {
			for _, err := range s.List(ctx, session.Query{All: true}) {
				return err
			}
			return nil
		},
		"List an owner": func() error {
			for _, err := range s.List(ctx, session.Query{Owner: alice}) {
				return err
			}
			return nil
		},
	} {
		wg.Go(func() {
			err := f()
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
			if d := time.Since(now); d > within+late {
				t.Errorf("%s took %v, its context %v", name, d, within)
			}
		})
	}
	wg.Wait()
}

// recovers waits until a call succeeds again.
func recovers(t *testing.T, s session.Store, id session.ID) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		try, stop := context.WithTimeout(ctx, time.Second)
		err := s.Commit(try, id, &session.Delta{Seen: time.Now()})
		stop()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("not served again: %v", err)
		}
	}
}

// TestPaused: a server that is there and says nothing costs a caller its own
// time and no more, however many there are.
func TestPaused(t *testing.T) {
	for _, cfg := range []redis.Config{{}, {NoCache: true}} {
		t.Run(fmt.Sprintf("NoCache=%v", cfg.NoCache), func(t *testing.T) {
			server := service.Redis(t)
			cfg.Client.ConnWriteTimeout = time.Minute // none is given up meanwhile
			s := open(t, cfg, server.Addr)
			id := create(t, s)
			server.Pause()

			// More than there is room for in the queues of the connections.
			var wg sync.WaitGroup
			var worst atomic.Int64
			for range 4000 {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
					defer cancel()
					start := time.Now()
					if _, err := s.Load(ctx, newID()); !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("Load: %v", err)
					}
					for d := int64(time.Since(start)); ; {
						was := worst.Load()
						if d <= was || worst.CompareAndSwap(was, d) {
							break
						}
					}
				})
			}
			wg.Wait()
			// Who waited for the connections to be given up would take a minute.
			if d := time.Duration(worst.Load()); d > 200*time.Millisecond+3*late {
				t.Errorf("one of many took %v, its context 200ms", d)
			}
			each(t, s, id, 300*time.Millisecond, context.DeadlineExceeded)
			time.Sleep(2 * time.Second)
			each(t, s, id, 300*time.Millisecond, context.DeadlineExceeded)

			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(100*time.Millisecond, cancel)
			start := time.Now()
			if _, err := s.Load(ctx, newID()); !errors.Is(err, context.Canceled) || time.Since(start) > late {
				t.Errorf("a canceled Load: %v after %v", err, time.Since(start))
			}
			server.Resume()
			recovers(t, s, id)
		})
	}
}

// TestUnreachable: nobody waits for another caller's attempt to connect.
func TestUnreachable(t *testing.T) {
	server := service.Redis(t)
	p := newProxy(t, server.Addr)
	s := open(t, redis.Config{NoCache: true}, p.addr)
	id := create(t, s)
	p.hole.Store(true)
	p.cut()
	patient, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { _, _ = s.Load(patient, id) })
	}
	time.Sleep(100 * time.Millisecond)
	each(t, s, id, 200*time.Millisecond, context.DeadlineExceeded)
	p.hole.Store(false)
	wg.Wait()
	recovers(t, s, id)
}

// TestHalfReachable: the same where one connection works and another is being
// made for the first time.
func TestHalfReachable(t *testing.T) {
	server := service.Redis(t)
	id := create(t, open(t, redis.Config{}, server.Addr))
	for range 20 {
		// The second connection may have been made before it could be stopped.
		if halfReachable(t, server.Addr, id) {
			return
		}
	}
	t.Error("in no try were some calls served and some not: the test shows nothing")
}

// halfReachable reports whether some calls were served and some not.
func halfReachable(t *testing.T, addr string, id session.ID) bool {
	p := newProxy(t, addr)
	cfg := redis.Config{NoCache: true}
	cfg.Client.PipelineMultiplex, cfg.Client.ForceSingleClient = 1, true // two connections, one of them at once
	s := open(t, cfg, p.addr)
	p.hole.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	for range 4 { // patient ones
		go func() {
			for ctx.Err() == nil {
				_, _ = s.Load(ctx, id)
				time.Sleep(time.Millisecond)
			}
		}()
	}
	time.Sleep(100 * time.Millisecond)
	served, away := 0, 0
	for ctx.Err() == nil {
		try, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		start := time.Now()
		if _, err := s.Load(try, id); err == nil {
			served++
		} else {
			away++
		}
		if d := time.Since(start); d > 50*time.Millisecond+late {
			t.Errorf("a call took %v, its context 50ms", d)
		}
		stop()
	}
	t.Logf("%d calls were served, %d not", served, away)
	return served > 0 && away > 0
}

// TestRestart: a server that is down answers nobody; when it is back it is used
// again, with all that it was told.
func TestRestart(t *testing.T) {
	server := service.Redis(t, "--appendonly", "yes", "--appendfsync", "always")
	s := open(t, redis.Config{}, server.Addr)
	id := create(t, s)
	ended := create(t, s)
	remove(t, s, ended)
	server.Kill()
	time.Sleep(bound) // what is cached is stale
	each(t, s, id, 300*time.Millisecond, context.DeadlineExceeded)

	waiting := make(chan error, 1)
	go func() {
		_, err := s.Load(context.WithoutCancel(t.Context()), id) // until its 5 seconds are over
		waiting <- err
	}()
	server.Start()
	if err := <-waiting; err != nil {
		t.Errorf("who waited meanwhile: %v", err)
	}
	recovers(t, s, id)
	if !lives(t, s, id) || lives(t, s, ended) {
		t.Error("what was acknowledged before the end of the server is lost")
	}
}

// TestUnknownOutcome: where the answer is lost, the error is the connection's. It
// is not what a second attempt would have been told.
func TestUnknownOutcome(t *testing.T) {
	server := service.Redis(t)
	sure := open(t, redis.Config{NoCache: true}, server.Addr)
	now := time.Now()
	if err := sure.Commit(t.Context(), create(t, sure), &session.Delta{Rename: newID()}); err != nil {
		t.Fatal(err)
	}
	if err := sure.Commit(t.Context(), create(t, sure), &session.Delta{Seen: now}); err != nil {
		t.Fatal(err)
	}
	lost := func(t *testing.T, f func(s *redis.Store) error) {
		t.Helper()
		p := newProxy(t, server.Addr)
		s := open(t, redis.Config{NoCache: true}, p.addr)
		// All connections are there; the server knows the scripts.
		for range 20 {
			remove(t, s, create(t, s))
		}
		p.swallows.Store(true)
		err := f(s)
		p.swallows.Store(false)
		for _, wrong := range []error{nil, session.ErrExists, session.ErrNotFound, session.ErrConflict, context.DeadlineExceeded} {
			if errors.Is(err, wrong) {
				t.Errorf("the answer was lost: %v", err)
			}
		}
	}
	t.Run("Create", func(t *testing.T) {
		id := newID()
		lost(t, func(s *redis.Store) error {
			return s.Commit(t.Context(), id, &session.Delta{Create: true, Seen: now, Idle: time.Hour, Expires: now.Add(time.Hour)})
		})
		if !lives(t, sure, id) {
			t.Error("it was not executed: the test shows nothing")
		}
	})
	t.Run("Update", func(t *testing.T) {
		id := create(t, sure, session.Field{Key: "n", Value: "1"})
		lost(t, func(s *redis.Store) error {
			return s.Commit(t.Context(), id, &session.Delta{If: []session.Field{{Key: "n", Value: "1"}}, Set: []session.Field{{Key: "n", Value: "2"}}})
		})
		if r, err := sure.Load(t.Context(), id); err != nil || r.Fields[0].Value != "2" {
			t.Errorf("%+v, %v", r.Fields, err)
		}
	})
	t.Run("Delete", func(t *testing.T) {
		id := create(t, sure)
		lost(t, func(s *redis.Store) error { return s.Delete(t.Context(), id) })
		if lives(t, sure, id) {
			t.Error("it was not executed: the test shows nothing")
		}
	})
	t.Run("Rename", func(t *testing.T) {
		id, to := create(t, sure), newID()
		lost(t, func(s *redis.Store) error { return s.Commit(t.Context(), id, &session.Delta{Rename: to}) })
		if lives(t, sure, id) || !lives(t, sure, to) {
			t.Error("it was not executed: the test shows nothing")
		}
	})
	t.Run("Spend", func(t *testing.T) {
		id := [16]byte{1}
		lost(t, func(s *redis.Store) error {
			_, err := s.Spend(t.Context(), id, now.Add(time.Hour))
			return err
		})
		if spent, err := sure.Spent(t.Context(), id); !spent || err != nil {
			t.Error("it was not executed: the test shows nothing")
		}
	})
	t.Run("Load", func(t *testing.T) { // may be asked again
		p := newProxy(t, server.Addr)
		s := open(t, redis.Config{NoCache: true}, p.addr)
		id := create(t, s)
		p.swallows.Store(true)
		time.AfterFunc(200*time.Millisecond, func() { p.swallows.Store(false) })
		if !lives(t, s, id) {
			t.Error("it is not found")
		}
	})
}

// TestRenameStepByStep loses the connection, or ends all sessions of the person,
// at each answer that a rename waits for.
func TestRenameStepByStep(t *testing.T) {
	server := service.Redis(t)
	sure := open(t, redis.Config{NoCache: true}, server.Addr)
	m := must(session.New(session.Config{Store: sure}))
	endAll := func(owner string) int {
		n, err := m.EndAll(context.WithoutCancel(t.Context()), session.Query{Owner: owner})
		if err != nil {
			t.Errorf("EndAll: %v", err)
		}
		return n
	}
	cfg := redis.Config{NoCache: true}
	cfg.Client.PipelineMultiplex = -1
	for name, across := range map[string]bool{"one server": false, "across slots": true} {
		t.Run(name, func(t *testing.T) {
			p := newProxy(t, server.Addr)
			s := open(t, cfg, p.addr)
			if across {
				s.AcrossSlots()
			}
			// rename calls hook at the nth answer, and reports whether there
			// were so many.
			var conditions []session.Field
			rename := func(n int, hook func(owner string, to session.ID) bool) (id, to session.ID, owner string, there bool, err error) {
				var called atomic.Bool
				id, to = create(t, sure), newID()
				owner = to.Handle().String()
				if err := sure.Commit(t.Context(), id, &session.Delta{Owner: &owner}); err != nil {
					t.Fatal(err)
				}
				lives(t, s, newID()) // it is connected
				p.at(n, func() bool { called.Store(true); return hook(owner, to) })
				err = s.Commit(t.Context(), id, &session.Delta{If: conditions, Rename: to, Labels: []session.Label{{Name: "l", Value: owner}}})
				p.at(0, nil)
				return id, to, owner, called.Load(), err
			}
			rename(0, nil) // the server knows the scripts then

			t.Run("Connection lost", func(t *testing.T) {
				kept, lost, renamed := 0, 0, 0
				for n := 1; ; n++ {
					id, to, owner, there, err := rename(n, func(string, session.ID) bool { return false })
					old, is := lives(t, sure, id), lives(t, sure, to)
					switch {
					case old && is:
						t.Errorf("answer %d: two names, %v", n, err)
					case err == nil && (old || !is):
						t.Errorf("answer %d: renamed, and old %v, new %v", n, old, is)
					case errors.Is(err, session.ErrNotFound), errors.Is(err, session.ErrExists), errors.Is(err, session.ErrConflict):
						t.Errorf("answer %d: %v", n, err)
					case err == nil:
						renamed++
					case old:
						kept++
					default:
						lost++
					}
					endAll(owner)
					if lives(t, sure, id) || lives(t, sure, to) {
						t.Errorf("answer %d: it lives after EndAll", n)
					}
					if !there {
						break
					}
				}
				if kept == 0 || lost == 0 || renamed < 3 {
					t.Error("the test shows nothing")
				}
				t.Logf("%d came to nothing, after %d nobody knows the session's name, %d were done", kept, lost, renamed)
			})

			t.Run("EndAll", func(t *testing.T) {
				for n := 1; ; n++ {
					ended := 0
					id, to, owner, there, err := rename(n, func(owner string, _ session.ID) bool { ended = endAll(owner); return true })
					if !there {
						endAll(owner)
						break
					}
					if ended == 0 || err != nil && !errors.Is(err, session.ErrNotFound) {
						t.Errorf("answer %d: %d ended, %v", n, ended, err)
					}
					if lives(t, sure, id) || lives(t, sure, to) {
						t.Errorf("answer %d: it lives after EndAll", n)
					}
				}
			})

			// Who is told that the session has ended under its new name is told
			// the truth, also where it would not have got that name.
			for _, conditions = range [][]session.Field{nil, {{Key: "n", Value: "1"}}} {
				t.Run(fmt.Sprintf("New name deleted, conditions %v", conditions), func(t *testing.T) {
					for n, there := 1, true; there; n++ {
						var id, to session.ID
						var err error
						ended := false
						id, to, _, there, err = rename(n, func(_ string, to session.ID) bool {
							ended = sure.Delete(context.WithoutCancel(t.Context()), to) == nil
							return true
						})
						if ended && (lives(t, sure, id) || lives(t, sure, to)) {
							t.Errorf("answer %d: it lives, %v", n, err)
						}
					}
				})
			}
		})
	}
}

// TestWait: what no replica has is not acknowledged.
func TestWait(t *testing.T) {
	servers := service.RedisSentinel(t)
	s := open(t, redis.Config{Wait: 1}, servers.Master.Addr)
	id := create(t, s)
	servers.Replica.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := s.Delete(ctx, id); err == nil || !strings.Contains(err.Error(), "Config.Wait") {
		t.Errorf("Delete: %v", err)
	}
	if lives(t, s, id) {
		t.Error("it was not executed: the test shows nothing")
	}
	// What changes nothing has nothing to wait for.
	ctx, cancel = context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := s.Delete(ctx, id); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Delete of what is gone: %v", err)
	}
	servers.Replica.Resume()
	remove(t, s, create(t, s))
}

// TestClosed: after Close every call fails at once.
func TestClosed(t *testing.T) {
	server := service.Redis(t)
	s := open(t, redis.Config{}, server.Addr)
	id := create(t, s)
	s.Close()
	start := time.Now()
	if err := s.Commit(t.Context(), id, &session.Delta{Seen: time.Now()}); err == nil {
		t.Error("Commit works")
	}
	if _, err := s.Load(t.Context(), id); err == nil || errors.Is(err, session.ErrNotFound) {
		t.Errorf("Load: %v", err)
	}
	if d := time.Since(start); d > late {
		t.Errorf("it took %v", d)
	}
}

// TestOpen: what is wrong is told, and in time.
func TestOpen(t *testing.T) {
	server := service.Redis(t)
	p := newProxy(t, server.Addr)
	p.hole.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	cfg := redis.Config{}
	cfg.Client.InitAddress = []string{p.addr}
	if _, err := redis.Open(ctx, cfg); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > late {
		t.Errorf("a server that says nothing: %v after %v", err, time.Since(start))
	}
	cfg.Client.InitAddress = []string{"127.0.0.1:1"}
	if _, err := redis.Open(t.Context(), cfg); err == nil {
		t.Error("a server that is not there")
	}
}

// TestWarm: the connections that calls will need are there when Open returns.
func TestWarm(t *testing.T) {
	p := newProxy(t, service.Redis(t).Addr)
	s := open(t, redis.Config{}, p.addr)
	first := p.connections()
	id := create(t, s)
	for range 200 {
		lives(t, s, id)
		remove(t, s, create(t, s))
	}
	if got := p.connections(); got != first {
		t.Errorf("%d more were made later", got-first)
	}
}
