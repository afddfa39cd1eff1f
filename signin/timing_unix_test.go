//go:build unix

package signin_test

import (
	"net/http"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
)

// cpuTime is what this process has used of the processor.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// TestTiming: an unknown name takes as long as a known one, one that is disabled, and
// one without a password. What is compared is the time of the processor, which does
// not depend on what else the machine does, by the medians of samples that alternate;
// chance gets several tries, and a real difference fails them all.
func TestTiming(t *testing.T) {
	s := newSite(t, fromHeader)
	s.person(t, account.Person{Name: "known"})
	s.person(t, account.Person{Name: "disabled", Disabled: true})
	if _, err := s.people.Create(t.Context(), account.Person{Name: "without"}); err != nil {
		t.Fatal(err)
	}
	names := []string{"known", "unknown", "disabled", "without"}
	v := s.visitor(t)
	v.Open("/login")
	action, values := v.Filled("/login")
	values.Set("password", "wrong")
	n := 0
	sample := func(name string) time.Duration {
		n++
		from(v, network(n))
		values.Set("name", name)
		if err := s.throttle.Unban(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		start := cpuTime(t)
		v.Do(t.Context(), http.MethodPost, action, values.Encode())
		took := cpuTime(t) - start
		if v.Status != http.StatusUnprocessableEntity {
			t.Fatalf("%s: status %d: %s", name, v.Status, v.Text())
		}
		return took
	}
	var worst float64
	for range 5 {
		times := make(map[string][]time.Duration)
		for range 40 {
			for _, name := range names {
				times[name] = append(times[name], sample(name))
			}
		}
		median := func(name string) float64 {
			slices.Sort(times[name])
			return float64(times[name][len(times[name])/2])
		}
		worst = 0
		for _, name := range names[1:] {
			worst = max(worst, median(name)/median("known"), median("known")/median(name))
		}
		if worst < 1.1 {
			return
		}
	}
	t.Errorf("the medians differ by a factor of %.2f", worst)
}
