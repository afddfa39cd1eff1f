package clock_test

import (
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/clock"
)

func TestClocks(t *testing.T) {
	const life = 5 * time.Minute
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		age           time.Duration // negative: ahead
		ahead, recent bool
	}{
		{0, false, true},
		{-time.Nanosecond, false, true},
		{-20 * time.Millisecond, false, true},
		{-45 * time.Second, false, true},
		{-clock.Skew, false, true},
		{-clock.Skew - time.Nanosecond, true, false},
		{-24 * time.Hour, true, false},
		{-290 * 365 * 24 * time.Hour, true, false},
		{time.Nanosecond, false, true},
		{life - time.Nanosecond, false, true},
		{life, false, false},
		{24 * time.Hour, false, false},
		{290 * 365 * 24 * time.Hour, false, false},
	} {
		at := now.Add(-tt.age)
		if got := clock.Ahead(at, now); got != tt.ahead {
			t.Errorf("%v old: ahead %v", tt.age, got)
		}
		if got := clock.Recent(at, now, life); got != tt.recent {
			t.Errorf("%v old: recent %v", tt.age, got)
		}
		if got := clock.Good(at.Add(life), now, life); got != tt.recent {
			t.Errorf("%v old: good %v", tt.age, got)
		}
	}
	// The zero time is that of nothing, and a time beyond what a Duration can hold is
	// no time at which anything happened.
	for _, at := range []time.Time{{}, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if clock.Recent(at, now, life) {
			t.Errorf("%v is recent", at)
		}
	}
	if clock.Recent(now, now, 0) {
		t.Error("what is good for no time is good")
	}
}
