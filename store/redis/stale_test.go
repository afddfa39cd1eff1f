package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/redis"
)

// bound is within what time an ended session is refused everywhere.
const bound = time.Second

func create(t testing.TB, s session.Store, fields ...session.Field) session.ID {
	t.Helper()
	id, now := newID(), time.Now()
	if err := s.Commit(t.Context(), id, &session.Delta{Create: true, Seen: now, Idle: time.Hour, Expires: now.Add(24 * time.Hour), Set: fields}); err != nil {
		t.Fatal(err)
	}
	return id
}

// lives reports whether the store shows the session.
func lives(t testing.TB, s session.Store, id session.ID) bool {
	t.Helper()
	_, err := s.Load(t.Context(), id)
	if err != nil && !errors.Is(err, session.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

// cached has the store remember the session.
func cached(t testing.TB, s session.Store, id session.ID) {
	t.Helper()
	for range 2 {
		if !lives(t, s, id) {
			t.Fatal("there is no such session")
		}
	}
}

// shown returns for how long the store goes on showing a session that has ended:
// from now until the start of the last call that did.
func shown(t testing.TB, s session.Store, id session.ID) (last time.Duration) {
	t.Helper()
	for end := time.Now(); ; {
		at := time.Since(end)
		if !lives(t, s, id) {
			return last
		}
		if last = at; last > 10*bound {
			t.Fatalf("it is shown for %v already", last)
		}
	}
}

func remove(t testing.TB, s session.Store, id session.ID) {
	t.Helper()
	if err := s.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

// TestEndedElsewhere: a session that another process ends is refused here within
// the bound, whatever becomes of the server's message about it.
func TestEndedElsewhere(t *testing.T) {
	t.Parallel()
	server := service.Redis(t)
	other := open(t, redis.Config{NoCache: true}, server.Addr)
	oneConnection := redis.Config{} // which is there from the start
	oneConnection.Client.PipelineMultiplex = -1

	t.Run("Told", func(t *testing.T) {
		here := open(t, redis.Config{}, server.Addr)
		var worst time.Duration
		for range 20 {
			id := create(t, other)
			cached(t, here, id)
			remove(t, other, id)
			worst = max(worst, shown(t, here, id))
		}
		if worst >= bound {
			t.Errorf("shown for %v", worst)
		}
		t.Logf("shown for %v at most", worst)
	})

	t.Run("Not told", func(t *testing.T) {
		p := newProxy(t, server.Addr)
		p.deaf.Store(true)
		here := open(t, redis.Config{}, p.addr)
		var worst time.Duration
		for i := range 6 {
			id := create(t, other)
			cached(t, here, id)
			time.Sleep(time.Duration(i) * bound / 6) // some are about to be read again
			remove(t, other, id)
			worst = max(worst, shown(t, here, id))
		}
		if worst >= bound {
			t.Errorf("shown for %v", worst)
		}
		if worst == 0 || p.pushes.Load() == 0 {
			t.Error("nothing was cached, or no message was lost: the test shows nothing")
		}
		t.Logf("shown for %v at most, %d messages lost", worst, p.pushes.Load())
	})

	t.Run("Connection lost", func(t *testing.T) {
		p := newProxy(t, server.Addr)
		p.deaf.Store(true)
		here := open(t, redis.Config{}, p.addr)
		id := create(t, other)
		cached(t, here, id)
		p.cut()
		remove(t, other, id)
		if d := shown(t, here, id); d >= bound {
			t.Errorf("shown for %v", d)
		} else {
			t.Logf("shown for %v", d)
		}
	})

	// A reply from before the end arrives late: it must not count as new.
	t.Run("Late reply", func(t *testing.T) {
		p := newProxy(t, server.Addr)
		p.deaf.Store(true)
		here := open(t, oneConnection, p.addr)
		id := create(t, other)
		lives(t, here, id) // it has been met
		p.stall()
		late := make(chan error, 1)
		go func() {
			_, err := here.Load(context.WithoutCancel(t.Context()), id)
			late <- err
		}()
		time.Sleep(bound / 5) // it has been answered
		remove(t, other, id)
		ended := time.Now()
		time.Sleep(bound / 2)
		p.release()
		if err := <-late; err != nil {
			t.Fatalf("what was sent before the end: %v", err)
		}
		worst := time.Since(ended) + shown(t, here, id)
		if worst >= bound {
			t.Errorf("shown for %v", worst)
		}
		t.Logf("shown for %v", worst)
	})

	// Who comes while a reply is late is not served with it.
	t.Run("Stalled", func(t *testing.T) {
		p := newProxy(t, server.Addr)
		p.deaf.Store(true)
		here := open(t, oneConnection, p.addr)
		id := create(t, other)
		lives(t, here, id) // it has been met
		p.stall()
		answer := func() chan error {
			ch := make(chan error, 1)
			go func() {
				_, err := here.Load(context.WithoutCancel(t.Context()), id)
				ch <- err
			}()
			return ch
		}
		before := answer()
		time.Sleep(bound / 5)
		remove(t, other, id)
		time.Sleep(bound)
		after := answer()
		time.Sleep(bound / 5)
		p.release()
		if err := <-before; err != nil {
			t.Errorf("what was sent before the end: %v", err)
		}
		if err := <-after; !errors.Is(err, session.ErrNotFound) {
			t.Errorf("what was sent %v after the end: %v", bound, err)
		}
		if lives(t, here, id) {
			t.Error("a reply from before the end is served after it")
		}
	})
}

// TestBegunElsewhere: that there is no such session is not remembered.
func TestBegunElsewhere(t *testing.T) {
	server := service.Redis(t)
	p := newProxy(t, server.Addr)
	p.deaf.Store(true)
	here, other := open(t, redis.Config{}, p.addr), open(t, redis.Config{}, server.Addr)
	id, now := newID(), time.Now()
	for range 3 {
		if lives(t, here, id) {
			t.Fatal("it lives before it begins")
		}
	}
	if err := other.Commit(t.Context(), id, &session.Delta{Create: true, Seen: now, Idle: time.Hour, Expires: now.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if !lives(t, here, id) {
		t.Error("it is not seen at once")
	}
}

// TestOwnWrites: what a call of this process has done, its next ones see, also
// while the server's messages are late and others read all the time.
func TestOwnWrites(t *testing.T) {
	server := service.Redis(t)
	p := newProxy(t, server.Addr)
	p.deaf.Store(true)
	s := open(t, redis.Config{}, p.addr)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for round := range 30 {
		id := create(t, s, session.Field{Key: "n", Value: "0"})
		reading, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		for range 4 {
			go func() {
				defer func() { done <- struct{}{} }()
				for reading.Err() == nil {
					_, _ = s.Load(ctx, id)
					time.Sleep(100 * time.Microsecond)
				}
			}()
		}
		for n := range 20 {
			value := string(rune('a' + n))
			if err := s.Commit(ctx, id, &session.Delta{Set: []session.Field{{Key: "n", Value: value}}}); err != nil {
				t.Fatal(err)
			}
			if r, err := s.Load(ctx, id); err != nil || r.Fields[0].Value != value {
				t.Fatalf("round %d: after the commit of %q: %+v, %v", round, value, r.Fields, err)
			}
		}
		remove(t, s, id)
		if lives(t, s, id) {
			t.Fatalf("round %d: it lives after Delete", round)
		}
		stop()
		for range 4 {
			<-done
		}
	}
}

// TestRefusedUpdateReadsAgain: who is told that another process was faster reads
// what that one wrote, not what is cached here.
func TestRefusedUpdateReadsAgain(t *testing.T) {
	server := service.Redis(t)
	p := newProxy(t, server.Addr)
	p.deaf.Store(true)
	here, other := open(t, redis.Config{}, p.addr), open(t, redis.Config{}, server.Addr)
	id := create(t, other, session.Field{Key: "n", Value: "1"})
	cached(t, here, id)
	if err := other.Commit(t.Context(), id, &session.Delta{Set: []session.Field{{Key: "n", Value: "2"}}}); err != nil {
		t.Fatal(err)
	}
	err := here.Commit(t.Context(), id, &session.Delta{If: []session.Field{{Key: "n", Value: "1"}}, Set: []session.Field{{Key: "n", Value: "3"}}})
	if !errors.Is(err, session.ErrConflict) {
		t.Fatal(err)
	}
	if r, err := here.Load(t.Context(), id); err != nil || r.Fields[0].Value != "2" {
		t.Errorf("after the refusal: %+v, %v", r.Fields, err)
	}
}

// TestMadeUp: what visitors make up takes no memory of the server's.
func TestMadeUp(t *testing.T) {
	server := service.Redis(t)
	s, c := open(t, redis.Config{}, server.Addr), raws(t, server.Addr)
	tracks := func() (n int) {
		t.Helper()
		text, err := c.Do(t.Context(), c.B().Info().Section("stats").Build()).ToString()
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ = strings.Cut(text, "tracking_total_keys:")
		if _, err := fmt.Sscan(text, &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	first := tracks() // the one that Open has read
	if first > 1 {
		t.Errorf("the server watches %d keys for one that has just begun", first)
	}
	for range 10 {
		id := newID()
		for range 3 {
			lives(t, s, id)
		}
	}
	if n := tracks() - first; n != 0 {
		t.Errorf("the server watches %d keys that are not there", n)
	}
	cached(t, s, create(t, s))
	if n := tracks() - first; n != 1 {
		t.Errorf("the server watches %d keys of one session", n)
	}
}

// raws returns a client for what the store does not do.
func raws(t testing.TB, addr string) rueidis.Client {
	t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, ForceSingleClient: true, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
