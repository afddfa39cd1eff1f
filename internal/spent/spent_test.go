package spent

import (
	"encoding/binary"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

func number(i int) (id [16]byte) {
	binary.LittleEndian.PutUint64(id[:], uint64(i))
	return id
}

func TestTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(3)
		until := time.Now().Add(time.Minute)
		spend := func(i int, until time.Time, want bool, wantErr error) {
			t.Helper()
			if got, err := l.Spend(t.Context(), number(i), until); got != want || !errors.Is(err, wantErr) {
				t.Errorf("Spend(%d) = %v, %v; want %v, %v", i, got, err, want, wantErr)
			}
		}
		spend(1, until, true, nil)
		spend(1, until, false, nil)
		spend(2, until.Add(time.Minute), true, nil)
		spend(3, until.Add(time.Minute), true, nil)
		spend(4, until, false, ErrFull)
		spend(3, until.Add(time.Minute), false, nil) // what is known is known, full or not
		for i, want := range map[int]bool{1: true, 2: true, 4: false} {
			if got, _ := l.Spent(t.Context(), number(i)); got != want {
				t.Errorf("Spent(%d) = %v", i, got)
			}
		}
		time.Sleep(time.Minute - time.Nanosecond)
		spend(1, until, false, nil)
		time.Sleep(slotWidth*time.Second + time.Nanosecond)
		spend(4, until.Add(time.Minute), true, nil) // the first is forgotten
		spend(2, until.Add(time.Minute), false, nil)
		time.Sleep(time.Hour)
		if got, _ := l.Spent(t.Context(), number(2)); got || l.n != 0 || len(l.slots) != 0 {
			t.Errorf("after an hour: spent %v, %d ids, %d slots", got, l.n, len(l.slots))
		}
		spend(5, time.Now().Add(-time.Hour), false, nil)
		if l.n != 0 {
			t.Error("what was over before is remembered")
		}
	})
}

// A clock that was ahead for a while does not make anything good twice.
func TestTableClockSetBack(t *testing.T) {
	l := New(10)
	l.Spent(t.Context(), number(0))       // by the real clock
	synctest.Test(t, func(t *testing.T) { // in the year 2000
		until := time.Now().Add(time.Minute)
		for i, want := range []bool{true, false, false} {
			if got, err := l.Spend(t.Context(), number(1), until); got != want || err != nil {
				t.Errorf("try %d: %v, %v", i, got, err)
			}
		}
	})
}

// A million answers fit, no single one waits for long, and their memory comes
// back.
func TestTableMillion(t *testing.T) {
	if testing.Short() {
		t.Skip("a million ids")
	}
	const n = 1_000_000
	synctest.Test(t, func(t *testing.T) {
		heap := func() int {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return int(m.HeapAlloc)
		}
		l := New(DefaultMax)
		before := heap()
		for i := range n {
			until := time.Now().Add(5*time.Minute + time.Duration(i%60)*time.Second)
			if first, err := l.Spend(t.Context(), number(i), until); !first || err != nil {
				t.Fatalf("Spend(%d) = %v, %v", i, first, err)
			}
		}
		full := heap() - before
		t.Logf("%d bytes per id", full/n)
		if full > 64*n {
			t.Errorf("%d ids take %d bytes", n, full)
		}
		time.Sleep(10 * time.Minute)
		if first, err := l.Spend(t.Context(), number(n), time.Now().Add(time.Minute)); !first || err != nil {
			t.Errorf("afterwards: %v, %v", first, err)
		}
		if left := heap() - before; left > full/20 {
			t.Errorf("%d bytes of %d are left after expiry", left, full)
		}
		runtime.KeepAlive(l)
	})
}

// Whatever is thrown at it, the table stays within its bound.
func TestTableFlood(t *testing.T) {
	l := New(1000)
	until := time.Now().Add(time.Hour)
	for i := range 5000 {
		first, err := l.Spend(t.Context(), number(i), until)
		if first != (i < 1000) || errors.Is(err, ErrFull) != (i >= 1000) {
			t.Fatalf("Spend(%d) = %v, %v", i, first, err)
		}
	}
	if l.n != 1000 {
		t.Errorf("%d ids", l.n)
	}
}

func BenchmarkTable(b *testing.B) {
	l := New(1 << 62)
	until := time.Now().Add(time.Hour)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		l.Spend(b.Context(), number(i), until)
		i++
	}
}
