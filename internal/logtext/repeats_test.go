package logtext_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/logtext"
)

type repeated = logtext.Repeated[int]

func TestRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r logtext.Repeats[int]
		n := 0
		add := func(kind string, want bool, counts ...repeated) {
			t.Helper()
			n++
			if got, write := r.Add(kind, n); write != want || !slices.Equal(got, counts) {
				t.Fatalf("after %d: written %v, %v; want %v, %v", n, write, got, want, counts)
			}
		}
		for range 5 {
			add("a", true)
		}
		add("a", false) // 6
		add("b", true)  // another kind, in full
		add("a", false) // 8
		if got := r.Due(); got != nil {
			t.Errorf("due at once: %v", got)
		}
		time.Sleep(time.Minute - 1)
		if got := r.Due(); got != nil {
			t.Errorf("due too early: %v", got)
		}
		add("a", false) // 9
		time.Sleep(time.Nanosecond)
		// One more a minute, and the count of those before.
		add("a", true, repeated{Last: 9, Times: 3, In: time.Minute})
		add("a", false) // 11
		time.Sleep(time.Minute)
		// Something else happens: the count is not forgotten.
		add("b", true, repeated{Last: 11, Times: 1, In: time.Minute})
		add("a", true)
		add("a", false) // 14
		time.Sleep(90 * time.Second)
		if got := r.Due(); !slices.Equal(got, []repeated{{14, 1, 90 * time.Second}}) {
			t.Errorf("due: %v", got)
		}
		if got := r.Due(); got != nil {
			t.Errorf("due again: %v", got)
		}
		if got := r.All(); got != nil {
			t.Errorf("all, and there are none: %v", got)
		}
		add("a", true)
		add("a", false) // 16
		time.Sleep(time.Second)
		if got := r.All(); !slices.Equal(got, []repeated{{16, 1, time.Second}}) {
			t.Errorf("all: %v", got)
		}
		if got := r.All(); got != nil {
			t.Errorf("all again: %v", got)
		}
		// After five quiet minutes, and not later, five at once again.
		time.Sleep(5*time.Minute - 31*time.Second)
		for range 5 {
			add("a", true)
		}
		add("a", false)
	})
}

// A count that is written does not keep others from their time.
func TestRepeatsOfTwoKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := logtext.Repeats[int]{Burst: 1}
		for i, kind := range []string{"a", "a", "b"} {
			r.Add(kind, i)
		}
		time.Sleep(20 * time.Second)
		r.Add("b", 3)
		time.Sleep(50 * time.Second)
		if got := r.Due(); !slices.Equal(got, []repeated{{1, 1, 70 * time.Second}}) {
			t.Errorf("after 70 s: %v", got)
		}
		if got := r.Due(); got != nil {
			t.Errorf("at once: %v", got)
		}
		time.Sleep(10 * time.Second)
		if got := r.Due(); !slices.Equal(got, []repeated{{3, 1, time.Minute}}) {
			t.Errorf("after 80 s: %v", got)
		}
	})
}

// There are only so many kinds, and what is more than that is one: no client fills
// the memory, or the log, by inventing kinds.
func TestRepeatsOfManyKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := logtext.Repeats[int]{Burst: 2, Kinds: 3}
		written := 0
		flood := func() {
			for i := range 1000 {
				if _, ok := r.Add(fmt.Sprint(i), i); ok {
					written++
				}
			}
		}
		flood()
		if written != 3+2 {
			t.Errorf("%d written of 1000 kinds, want 5", written)
		}
		if got := r.All(); !slices.Equal(got, []repeated{{999, 995, 0}}) {
			t.Errorf("counted %v", got)
		}
		// Kinds of which nothing is left to say make room.
		time.Sleep(2 * time.Minute)
		if _, ok := r.Add("late", 0); !ok {
			t.Error("a kind that comes late is not written")
		}
		for range 5 {
			r.Add("later", 1)
		}
		if got := r.All(); !slices.Equal(got, []repeated{{1, 3, 0}}) {
			t.Errorf("counted %v, want what is more than two of the kind", got)
		}
	})
}

// A kind of which a count is left to be written stays.
func TestRepeatsKeepsCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := logtext.Repeats[int]{Burst: 1, Kinds: 1}
		r.Add("a", 1)
		r.Add("a", 2)
		time.Sleep(59 * time.Second)
		for i := range 10 {
			r.Add(fmt.Sprint("new", i), 3)
		}
		time.Sleep(time.Second)
		if got := r.Due(); !slices.Equal(got, []repeated{{2, 1, time.Minute}}) {
			t.Errorf("due: %v", got)
		}
	})
}

func TestRepeatsConcurrently(t *testing.T) {
	var r logtext.Repeats[int]
	var mu sync.Mutex
	written, counted := 0, 0
	count := func(counts []repeated) {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range counts {
			counted += c.Times
		}
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 1000 {
				counts, ok := r.Add(fmt.Sprint(i%3), i)
				count(counts)
				count(r.Due())
				if ok {
					mu.Lock()
					written++
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	count(r.All())
	if written+counted != 8000 || written < 15 {
		t.Errorf("%d written and %d counted of 8000", written, counted)
	}
}
