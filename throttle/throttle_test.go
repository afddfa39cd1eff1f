package throttle

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func newThrottle(t testing.TB, cfg Config) *Throttle {
	t.Helper()
	th, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return th
}

func from(account, addr string) Attempt {
	return Attempt{Account: account, Addr: netip.MustParseAddr(addr)}
}

func wait(t *testing.T, err error) time.Duration {
	t.Helper()
	if err == nil {
		return 0
	}
	var denied *Denied
	if !errors.As(err, &denied) {
		t.Fatal(err)
	}
	if denied.Wait <= 0 {
		t.Errorf("denied, and to wait for %v", denied.Wait)
	}
	return denied.Wait
}

func TestPair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(t, Config{})
		a := from("zoe", "192.0.2.1")
		for i := range 5 {
			if d := wait(t, th.Try(t.Context(), a)); d != 0 {
				t.Errorf("attempt %d waits %v", i, d)
			}
		}
		// Who keeps on trying does not wait longer.
		for range 10 {
			if d := wait(t, th.Try(t.Context(), a)); d != 2*time.Minute {
				t.Errorf("waits %v", d)
			}
		}
		// Nobody else is stopped.
		for _, other := range []Attempt{from("zoe", "192.0.2.2"), from("bob", "192.0.2.1"), {}} {
			if d := wait(t, th.Try(t.Context(), other)); d != 0 {
				t.Errorf("%v waits %v", other, d)
			}
		}
		time.Sleep(2*time.Minute - time.Nanosecond)
		if d := wait(t, th.Try(t.Context(), a)); d != 1 {
			t.Errorf("waits %v", d)
		}
		time.Sleep(time.Nanosecond)
		if d := wait(t, th.Try(t.Context(), a)); d != 0 {
			t.Errorf("after the wait, waits %v", d)
		}
		if d := wait(t, th.Try(t.Context(), a)); d != 2*time.Minute {
			t.Errorf("waits %v", d)
		}
		if err := th.Succeeded(t.Context(), a); err != nil {
			t.Error(err)
		}
		for i := range 5 {
			if d := wait(t, th.Try(t.Context(), a)); d != 0 {
				t.Errorf("attempt %d after a success waits %v", i, d)
			}
		}
	})
}

func TestNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(t, Config{})
		for i := range 50 {
			a := from(fmt.Sprint("invented", i), "2001:db8::1")
			if d := wait(t, th.Try(t.Context(), a)); d != 0 {
				t.Errorf("attempt %d waits %v", i, d)
			}
		}
		for _, addr := range []string{"2001:db8::1", "2001:db8::ffff:1", "2001:db8::2%eth0"} {
			if d := wait(t, th.Try(t.Context(), from("zoe", addr))); d != 10*time.Second {
				t.Errorf("%s waits %v", addr, d)
			}
		}
		for _, addr := range []string{"2001:db8:0:1::1", "192.0.2.1"} {
			if d := wait(t, th.Try(t.Context(), from("zoe", addr))); d != 0 {
				t.Errorf("%s waits %v", addr, d)
			}
		}
		// Signing in to an account of one's own does not buy guesses.
		mine := from("mallory", "2001:db8::1")
		if err := th.Succeeded(t.Context(), mine); err != nil {
			t.Error(err)
		}
		if d := wait(t, th.Try(t.Context(), from("zoe", "2001:db8::1"))); d != 0 {
			t.Errorf("waits %v", d)
		}
		if d := wait(t, th.Try(t.Context(), from("zoe", "2001:db8::1"))); d != 10*time.Second {
			t.Errorf("waits %v", d)
		}
		if err := th.UnbanNetwork(t.Context(), mine.Addr); err != nil {
			t.Error(err)
		}
		if d := wait(t, th.Try(t.Context(), from("bob", "2001:db8::1"))); d != 0 {
			t.Errorf("waits %v", d)
		}
	})
}

func TestAccount(t *testing.T) {
	for _, lock := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			th := newThrottle(t, Config{Lock: lock})
			guess := func(i int) time.Duration {
				return wait(t, th.Try(t.Context(), from("zoe", fmt.Sprintf("192.0.%d.%d", i/250, i%250))))
			}
			for i := range 100 {
				if d := guess(i); d != 0 {
					t.Errorf("guess %d waits %v", i, d)
				}
			}
			want := time.Duration(0)
			if lock {
				want = 10 * time.Minute
			}
			for i := range 1000 {
				if d := guess(100 + i); d != want {
					t.Fatalf("lock %t: guess %d waits %v", lock, 100+i, d)
				}
			}
			// The owner gets in, from a device that is known.
			home := from("zoe", "198.51.100.1")
			if d := wait(t, th.Try(t.Context(), home)); d != want {
				t.Errorf("lock %t: the owner waits %v", lock, d)
			}
			home.Known = true
			if d := wait(t, th.Try(t.Context(), home)); d != 0 {
				t.Errorf("lock %t: the owner on a known device waits %v", lock, d)
			}
			if s, err := th.Suspect(t.Context(), from("zoe", "198.51.100.2")); err != nil || !s {
				t.Errorf("not suspect: %v", err)
			}
			if err := th.Succeeded(t.Context(), home); err != nil {
				t.Error(err)
			}
			if s, err := th.Suspect(t.Context(), from("zoe", "198.51.100.2")); err != nil || s {
				t.Errorf("suspect after a success: %v", err)
			}
		})
	}
}

func TestSuspect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(t, Config{})
		suspect := func(a Attempt) bool {
			s, err := th.Suspect(t.Context(), a)
			if err != nil {
				t.Error(err)
			}
			return s
		}
		for i := range 10 {
			a := from(fmt.Sprint("name", i), "192.0.2.1")
			if suspect(a) {
				t.Errorf("suspect after %d attempts", i)
			}
			if err := th.Try(t.Context(), a); err != nil {
				t.Error(err)
			}
		}
		// A page knows the network before it knows the name.
		if !suspect(from("", "192.0.2.1")) || suspect(from("", "192.0.2.2")) {
			t.Error("not of the network")
		}
		time.Sleep(10 * time.Second)
		if suspect(from("", "192.0.2.1")) {
			t.Error("still suspect")
		}
		for i := range 3 {
			if suspect(from("zoe", "198.51.100.9")) {
				t.Errorf("suspect after %d failures", i)
			}
			if err := th.Try(t.Context(), from("zoe", fmt.Sprint("198.51.100.", i))); err != nil {
				t.Error(err)
			}
		}
		if !suspect(from("zoe", "198.51.100.9")) || suspect(from("bob", "198.51.100.9")) {
			t.Error("not of the account")
		}
		never := newThrottle(t, Config{SuspectAccount: -1, SuspectNetwork: -1, Store: th.cfg.Store, Key: th.cfg.Key})
		if s, err := never.Suspect(t.Context(), from("zoe", "198.51.100.9")); err != nil || s {
			t.Errorf("suspect though never: %v", err)
		}
	})
}

func TestUnban(t *testing.T) {
	th := newThrottle(t, Config{})
	for i := range 3 {
		for range 6 {
			th.Try(t.Context(), from("zoe", fmt.Sprint("192.0.2.", i)))
		}
	}
	for range 6 {
		th.Try(t.Context(), from("bob", "192.0.2.1"))
	}
	if err := th.Unban(t.Context(), "zoe"); err != nil {
		t.Error(err)
	}
	for i := range 3 {
		if d := wait(t, th.Try(t.Context(), from("zoe", fmt.Sprint("192.0.2.", i)))); d != 0 {
			t.Errorf("waits %v", d)
		}
	}
	if d := wait(t, th.Try(t.Context(), from("bob", "192.0.2.1"))); d == 0 {
		t.Error("another one has been unbanned")
	}
}

// A hundred at once are not a hundred for the price of one.
func TestAtOnce(t *testing.T) {
	th := newThrottle(t, Config{})
	var in atomic.Int32
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if th.Try(context.Background(), from("zoe", "192.0.2.1")) == nil {
				in.Add(1)
			}
		})
	}
	wg.Wait()
	if in.Load() != 5 {
		t.Errorf("%d of 100 got in", in.Load())
	}
}

// A million invented names, from many networks, take no memory, stop nobody, and do
// not wash away what is held against one.
func TestFlood(t *testing.T) {
	th := newThrottle(t, Config{})
	for range 5 {
		if err := th.Try(t.Context(), from("zoe", "192.0.2.1")); err != nil {
			t.Fatal(err)
		}
	}
	denied := 0
	table := th.cfg.Store.(*Table)
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 1_000_000 {
		// As Try does, but for what names are derived with, which takes time.
		var n, a Name
		binary.LittleEndian.PutUint64(n.Network[:], rnd.Uint64())
		binary.LittleEndian.PutUint64(a.Account[:], rnd.Uint64())
		wait, err := table.Take(t.Context(), []Bucket{{n, th.cfg.Network, false}, {Name{a.Account, n.Network}, th.cfg.Pair, false}, {a, th.cfg.Account, true}})
		if wait > 0 || err != nil {
			denied++
		}
	}
	if denied > 0 {
		t.Errorf("%d denied", denied)
	}
	if got := len(table.entries); got != 1<<16 {
		t.Errorf("%d entries", got)
	}
	if d := wait(t, th.Try(t.Context(), from("zoe", "192.0.2.1"))); d == 0 {
		t.Error("the guesses were forgotten")
	}
	if d := wait(t, th.Try(t.Context(), from("bob", "198.51.100.1"))); d != 0 {
		t.Errorf("another one waits %v", d)
	}
}

// TestEviction: where there is no place left, the bucket gives way of which the smallest
// part has been used, however long it takes to fill.
func TestEviction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, network := range []byte{0, 1} { // in each half
			table := NewTable(2 * ways)
			time.Sleep(time.Hour)
			bucket := func(i int) Bucket {
				b := Bucket{Name: Name{Account: [16]byte{15: byte(i + 1)}, Network: [16]byte{15: network}}, Limit: Limit{Burst: 10, Every: time.Second}}
				if i%2 == 0 {
					b.Limit.Every = time.Minute
				}
				return b
			}
			used := func(i int) int {
				n, err := table.Used(t.Context(), []Bucket{bucket(i)})
				if err != nil {
					t.Fatal(err)
				}
				return n[0]
			}
			for i := range ways {
				for range 8 - (3*i+1)%8 { // 7, 4, 1, 6, 3, 8, 5, 2
					if wait, err := table.Take(t.Context(), []Bucket{bucket(i)}); wait != 0 || err != nil {
						t.Fatal(wait, err)
					}
				}
			}
			for i, least := range []int{2, 7, 4} {
				if n := used(least); n != i+1 {
					t.Fatalf("%d of bucket %d are used, want %d", n, least, i+1)
				}
				for range 9 { // so that it stays
					if wait, err := table.Take(t.Context(), []Bucket{bucket(ways + i)}); wait != 0 || err != nil {
						t.Fatal(wait, err)
					}
				}
				for j := range ways + i + 1 {
					if n := used(j); (n == 0) != slices.Contains([]int{2, 7, 4}[:i+1], j) {
						t.Errorf("after eviction %d: %d of bucket %d are used", i+1, n, j)
					}
				}
			}
		}
	})
}

// A Table against buckets that are counted one token at a time.
func TestTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(1, 2))
		table := NewTable(1 << 12)
		type bucket struct {
			tokens int
			next   time.Time // when one more is in it, if it is not full
		}
		model := make(map[Name]*bucket)
		limit := Limit{Burst: 4, Every: time.Second}
		at := func(b Bucket) *bucket {
			m := model[b.Name]
			if m == nil {
				m = &bucket{tokens: b.Limit.Burst}
				model[b.Name] = m
			}
			for m.tokens < b.Limit.Burst && !time.Now().Before(m.next) {
				m.tokens++
				m.next = m.next.Add(b.Limit.Every)
			}
			return m
		}
		for step := range 20_000 {
			var some []Bucket
			for i := range 3 {
				some = append(some, Bucket{Name{Account: [16]byte{byte(i + 1), byte(rnd.IntN(4))}}, limit, i == 2})
			}
			want := time.Duration(0)
			for _, b := range some {
				if m := at(b); !b.Soft && m.tokens == 0 {
					want = max(want, time.Until(m.next))
				}
			}
			used, _ := table.Used(t.Context(), some)
			for i, b := range some {
				if missing := b.Limit.Burst - at(b).tokens; used[i] != missing {
					t.Fatalf("step %d: %d used, want %d", step, used[i], missing)
				}
			}
			got, err := table.Take(t.Context(), some)
			if err != nil || got != want {
				t.Fatalf("step %d: waits %v, want %v (%v)", step, got, want, err)
			}
			if want == 0 {
				for _, b := range some {
					m := at(b)
					if m.tokens == b.Limit.Burst {
						m.next = time.Now().Add(b.Limit.Every)
					}
					m.tokens = max(m.tokens-1, 0)
				}
			}
			time.Sleep(time.Duration(rnd.IntN(400)) * time.Millisecond)
		}
	})
}

func TestNew(t *testing.T) {
	for want, cfg := range map[string]Config{
		"Pair.Burst 0":      {Pair: Limit{0, time.Second}},
		"Network.Burst -1":  {Network: Limit{-1, time.Second}},
		"Account.Burst 100": {Account: Limit{10_001 * 10, time.Second}},
		"Pair.Every 0s":     {Pair: Limit{1, 0}},
		"Network.Every 1ns": {Network: Limit{1, 1}},
		"Account.Every 24":  {Account: Limit{1, 24*time.Hour + 1}},
		"Key has 31 bytes":  {Key: make([]byte, 31)},
		"Key has 0 bytes":   {Key: []byte{}},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestHeader(t *testing.T) {
	for d, want := range map[time.Duration]string{1: "1", time.Second: "1", time.Second + 1: "2", time.Hour: "3600"} {
		h := make(http.Header)
		(&Denied{d}).Header(h)
		if got := h.Get("Retry-After"); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

type broken struct{ Store }

var errBroken = errors.New("broken")

func (broken) Take(context.Context, []Bucket) (time.Duration, error) { return 0, errBroken }
func (broken) Used(context.Context, []Bucket) ([]int, error)         { return nil, errBroken }
func (broken) Give(context.Context, []Bucket, []Bucket) error        { return errBroken }
func (broken) Forget(context.Context, [16]byte) error                { return errBroken }

func TestBroken(t *testing.T) {
	th := newThrottle(t, Config{Store: broken{}})
	_, suspect := th.Suspect(t.Context(), Attempt{})
	for _, err := range []error{th.Try(t.Context(), Attempt{}), th.Succeeded(t.Context(), Attempt{}), th.Cancel(t.Context(), Attempt{}), th.TryCode(t.Context(), Attempt{}), th.CodeSucceeded(t.Context(), Attempt{}), suspect, th.Unban(t.Context(), ""), th.UnbanNetwork(t.Context(), netip.Addr{})} {
		var denied *Denied
		if !errors.Is(err, errBroken) || !errors.Is(err, ErrStore) || errors.As(err, &denied) {
			t.Error(err)
		}
	}
}

func BenchmarkTry(b *testing.B) {
	th := newThrottle(b, Config{})
	a := from("zoe", "192.0.2.1")
	b.ReportAllocs()
	for b.Loop() {
		th.Try(b.Context(), a)
	}
}

// TestKnown: who is known is kept out neither by the neighbours' guesses nor by those
// of everybody else, but by their own.
func TestKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(t, Config{Lock: true})
		stranger := from("zoe", "192.0.2.1")
		owner := stranger
		owner.Known = true
		for range 5 {
			wait(t, th.Try(t.Context(), stranger))
		}
		if wait(t, th.Try(t.Context(), stranger)) == 0 {
			t.Error("a neighbour guesses on")
		}
		for i := range 5 {
			if d := wait(t, th.Try(t.Context(), owner)); d != 0 {
				t.Errorf("attempt %d of the owner waits %v", i, d)
			}
		}
		if wait(t, th.Try(t.Context(), owner)) == 0 {
			t.Error("who is known guesses on")
		}
		if err := th.Unban(t.Context(), "zoe"); err != nil {
			t.Fatal(err)
		}
		for _, a := range []Attempt{stranger, owner} {
			if d := wait(t, th.Try(t.Context(), a)); d != 0 {
				t.Errorf("%+v waits %v after an Unban", a, d)
			}
		}
	})
}

// TestCancel: what nobody has looked at costs nothing, and nothing of before comes back
// with it.
func TestCancel(t *testing.T) {
	for _, known := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			th := newThrottle(t, Config{Lock: true, Account: Limit{5, time.Hour}})
			a := from("zoe", "192.0.2.1")
			a.Known = known
			for range 4 {
				wait(t, th.Try(t.Context(), a))
			}
			for range 300 {
				if d := wait(t, th.Try(t.Context(), a)); d != 0 {
					t.Fatalf("waits %v", d)
				}
				if err := th.Cancel(t.Context(), a); err != nil {
					t.Fatal(err)
				}
			}
			wait(t, th.Try(t.Context(), a))
			if wait(t, th.Try(t.Context(), a)) == 0 {
				t.Error("what was counted before has come back")
			}
		})
	}
}

// TestCode: codes have one bucket for an account, from wherever they come, another one
// for those who are known, and passwords none of them.
func TestCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(t, Config{})
		try := func(i int, known bool) time.Duration {
			a := from("zoe", fmt.Sprintf("192.0.2.%d", i))
			a.Known = known
			return wait(t, th.TryCode(t.Context(), a))
		}
		for i := range 20 {
			if d := try(i, false); d != 0 {
				t.Errorf("code %d waits %v", i, d)
			}
		}
		if d := try(100, false); d != time.Hour {
			t.Errorf("from elsewhere: waits %v", d)
		}
		if d := try(100, true); d != 0 {
			t.Errorf("who is known waits %v", d)
		}
		if d := wait(t, th.TryCode(t.Context(), from("yan", "192.0.2.1"))); d != 0 {
			t.Errorf("another account waits %v", d)
		}
		if d := wait(t, th.Try(t.Context(), from("zoe", "192.0.2.1"))); d != 0 {
			t.Errorf("a password waits %v", d)
		}
		// A right password gives no codes back; a right code does.
		if err := th.Succeeded(t.Context(), from("zoe", "192.0.2.1")); err != nil {
			t.Fatal(err)
		}
		if try(1, false) == 0 {
			t.Error("a password gives codes back")
		}
		time.Sleep(time.Hour)
		if try(1, false) != 0 || try(1, false) == 0 {
			t.Error("not one more after an hour")
		}
		if err := th.CodeSucceeded(t.Context(), from("zoe", "192.0.2.9")); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			try(i, false)
		}
		if try(1, false) == 0 {
			t.Error("not bounded any more")
		}
		if err := th.Unban(t.Context(), "zoe"); err != nil {
			t.Fatal(err)
		}
		if d := try(1, false); d != 0 {
			t.Errorf("after an Unban: waits %v", d)
		}
	})
}

// TestRemembered: that an account is under attack is not forgotten for names that
// somebody invents.
func TestRemembered(t *testing.T) {
	th := newThrottle(t, Config{Store: NewTable(1 << 10)})
	network := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	for i := range 60 {
		wait(t, th.Try(t.Context(), Attempt{Account: "zoe", Addr: network(i)}))
	}
	fresh := from("zoe", "198.51.100.1")
	for i := range 50_000 {
		for range 4 {
			wait(t, th.Try(t.Context(), Attempt{Account: fmt.Sprint("invented", i), Addr: network(1000 + i)}))
		}
	}
	if suspect, err := th.Suspect(t.Context(), fresh); !suspect || err != nil {
		t.Errorf("suspect: %v, %v", suspect, err)
	}
}
