// Package throttletest is the contract of a [throttle.Store] as tests, for those who
// write one.
package throttletest

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/throttle"
)

// Run tests stores. Each call of open returns another that shares what it keeps with
// the others of one test, as several machines do. It takes a few seconds.
func Run(t *testing.T, open func(t *testing.T) throttle.Store) {
	t.Run("Take", func(t *testing.T) { testTake(t, open(t), open(t)) })
	t.Run("All or nothing", func(t *testing.T) { testAllOrNothing(t, open(t)) })
	t.Run("Soft", func(t *testing.T) { testSoft(t, open(t)) })
	t.Run("Give", func(t *testing.T) { testGive(t, open(t), open(t)) })
	t.Run("Forget", func(t *testing.T) { testForget(t, open(t), open(t)) })
	t.Run("At once", func(t *testing.T) { testAtOnce(t, open(t), open(t)) })
	t.Run("Many", func(t *testing.T) { testMany(t, open(t)) })
	t.Run("Ended context", func(t *testing.T) { testEnded(t, open(t)) })
}

// slow is a limit under which nothing fills up during a test.
var slow = throttle.Limit{Burst: 3, Every: time.Hour}

func random() (b [16]byte) {
	rand.Read(b[:])
	return b
}

func account(l throttle.Limit) throttle.Bucket {
	return throttle.Bucket{Name: throttle.Name{Account: random()}, Limit: l}
}

func network(l throttle.Limit) throttle.Bucket {
	return throttle.Bucket{Name: throttle.Name{Network: random()}, Limit: l}
}

func pair(l throttle.Limit) throttle.Bucket {
	return throttle.Bucket{Name: throttle.Name{Account: random(), Network: random()}, Limit: l}
}

func take(t *testing.T, s throttle.Store, b ...throttle.Bucket) time.Duration {
	t.Helper()
	wait, err := s.Take(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return wait
}

func used(t *testing.T, s throttle.Store, want int, b ...throttle.Bucket) {
	t.Helper()
	got, err := s.Used(t.Context(), b)
	if err != nil || len(got) != len(b) {
		t.Fatalf("%v, %v", got, err)
	}
	for i, n := range got {
		if n != want {
			t.Errorf("bucket %d: %d used, want %d", i, n, want)
		}
	}
}

func testTake(t *testing.T, s, other throttle.Store) {
	for _, b := range []throttle.Bucket{account(slow), network(slow), pair(slow)} {
		used(t, s, 0, b)
		for i := range 3 {
			if wait := take(t, s, b); wait != 0 {
				t.Errorf("%v: token %d waits %v", b, i, wait)
			}
			used(t, other, i+1, b)
		}
		for range 5 {
			if wait := take(t, other, b); wait <= 59*time.Minute || wait > time.Hour {
				t.Errorf("%v: waits %v", b, wait)
			}
		}
		used(t, s, 3, b)
	}
	// It fills up.
	b := pair(throttle.Limit{Burst: 2, Every: 300 * time.Millisecond})
	take(t, s, b)
	take(t, s, b)
	wait := take(t, s, b)
	if wait <= 0 || wait > 300*time.Millisecond {
		t.Errorf("waits %v", wait)
	}
	time.Sleep(wait)
	for i, full := range []bool{true, false} {
		if wait := take(t, s, b); (wait == 0) != full {
			t.Errorf("token %d waits %v", i, wait)
		}
	}
	time.Sleep(650 * time.Millisecond)
	used(t, s, 0, b)
}

func testAllOrNothing(t *testing.T, s throttle.Store) {
	empty, longer, full := account(slow), network(throttle.Limit{Burst: 1, Every: 2 * time.Hour}), pair(slow)
	for range 3 {
		take(t, s, empty)
	}
	take(t, s, longer)
	for _, some := range [][]throttle.Bucket{{full, empty}, {empty, full}} {
		if wait := take(t, s, some...); wait <= 59*time.Minute || wait > time.Hour {
			t.Errorf("waits %v", wait)
		}
	}
	if wait := take(t, s, full, longer, empty); wait <= 119*time.Minute {
		t.Errorf("waits %v, which is not for all", wait)
	}
	used(t, s, 0, full)
}

func testSoft(t *testing.T, s throttle.Store) {
	soft, full := account(slow), pair(throttle.Limit{Burst: 10, Every: time.Hour})
	soft.Soft = true
	for range 10 {
		if wait := take(t, s, full, soft); wait != 0 {
			t.Errorf("waits %v", wait)
		}
	}
	used(t, s, 3, soft)
	used(t, s, 10, full)
	if wait := take(t, s, full, soft); wait == 0 {
		t.Error("does not wait")
	}
	soft.Soft = false
	if wait := take(t, s, soft); wait <= 59*time.Minute || wait > time.Hour {
		t.Errorf("a soft bucket has gone below empty: waits %v", wait)
	}
}

func testGive(t *testing.T, s, other throttle.Store) {
	one, all, none := network(slow), pair(slow), account(slow)
	for range 3 {
		take(t, s, one, all)
	}
	if err := other.Give(t.Context(), []throttle.Bucket{one, none}, []throttle.Bucket{all}); err != nil {
		t.Fatal(err)
	}
	used(t, s, 2, one)
	used(t, s, 0, all, none)
	for range 5 { // more than there is room for
		if err := s.Give(t.Context(), []throttle.Bucket{one, all}, nil); err != nil {
			t.Fatal(err)
		}
	}
	used(t, s, 0, one, all)
	for i := range 4 {
		if wait := take(t, s, one); (wait == 0) != (i < 3) {
			t.Errorf("token %d waits %v", i, wait)
		}
	}
	if err := s.Give(t.Context(), nil, nil); err != nil {
		t.Error(err)
	}
}

func testForget(t *testing.T, s, other throttle.Store) {
	mine, not := account(slow), pair(slow)
	var at []throttle.Bucket
	for range 20 {
		b := pair(slow)
		b.Name.Account = mine.Name.Account
		at = append(at, b)
		alone := throttle.Bucket{Name: throttle.Name{Network: b.Name.Network}, Limit: throttle.Limit{Burst: 30, Every: time.Hour}}
		take(t, s, b, alone)
		defer used(t, s, 1, alone)
	}
	take(t, s, mine, not)
	if err := other.Forget(t.Context(), mine.Name.Account); err != nil {
		t.Fatal(err)
	}
	used(t, s, 0, append(at, mine)...)
	used(t, s, 1, not)
	if err := s.Forget(t.Context(), random()); err != nil {
		t.Error(err)
	}
}

func testAtOnce(t *testing.T, stores ...throttle.Store) {
	for range 20 {
		a, b := account(throttle.Limit{Burst: 7, Every: time.Hour}), pair(throttle.Limit{Burst: 5, Every: time.Hour})
		var in atomic.Int32
		var wg sync.WaitGroup
		for i := range 32 {
			wg.Go(func() {
				wait, err := stores[i%len(stores)].Take(t.Context(), []throttle.Bucket{a, b})
				if err != nil {
					t.Error(err)
				} else if wait == 0 {
					in.Add(1)
				}
			})
		}
		wg.Wait()
		if in.Load() != 5 {
			t.Errorf("%d got in", in.Load())
		}
		used(t, stores[0], 5, a, b)
	}
}

// An account that is guessed at from many networks.
func testMany(t *testing.T, s throttle.Store) {
	a := account(slow)
	for range 1000 {
		b := pair(throttle.Limit{Burst: 1, Every: time.Millisecond})
		b.Name.Account = a.Name.Account
		if wait := take(t, s, b); wait != 0 {
			t.Errorf("waits %v", wait)
		}
	}
	held := pair(slow)
	held.Name.Account = a.Name.Account
	take(t, s, a, held)
	for range 1000 {
		b := pair(throttle.Limit{Burst: 1, Every: time.Millisecond})
		b.Name.Account = a.Name.Account
		take(t, s, b)
	}
	used(t, s, 1, a, held)
}

func testEnded(t *testing.T, s throttle.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := pair(slow)
	if wait, err := s.Take(ctx, []throttle.Bucket{b}); err == nil && wait > 0 {
		t.Errorf("waits %v", wait)
	}
	if wait := take(t, s, b); wait != 0 {
		t.Errorf("afterwards, waits %v", wait)
	}
}
