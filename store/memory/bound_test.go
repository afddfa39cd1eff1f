package memory

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// TestLabelsKeepTheBound: labels take room in a table, and that counts too.
func TestLabelsKeepTheBound(t *testing.T) {
	s := New(Config{MaxBytes: 1 << 20, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	for i := range 1000 {
		if err := s.Commit(t.Context(), id(i), record("", 400)); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 40 {
		for i := range 1000 {
			err := s.Commit(t.Context(), id(i), &session.Delta{Labels: []session.Label{{Name: fmt.Sprintf("%02d", round), Value: fmt.Sprint(i)}}})
			if err != nil && !errors.Is(err, session.ErrNotFound) && !errors.Is(err, session.ErrFull) {
				t.Fatal(err)
			}
		}
		if round%8 == 0 {
			s.check(t)
		}
	}
	s.check(t)
	if s.Stats().Evicted == 0 {
		t.Error("nobody gave way: the test shows nothing")
	}
}

// TestIdleForEver: the longest duration there is does not wrap around.
func TestIdleForEver(t *testing.T) {
	s := New(Config{})
	d := record("", 1)
	d.Idle = math.MaxInt64
	d.Expires = d.Seen.Add(time.Hour)
	if err := s.Commit(t.Context(), id(1), d); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Load(t.Context(), id(1)); err != nil || r.Deadline().Sub(d.Expires).Abs() > time.Millisecond {
		t.Errorf("deadline %v, %v; want %v", r.Deadline(), err, d.Expires)
	}
}

// TestExpiredFoundByCommitIsReported: whoever finds an expired record first, the
// sweep tells of it once.
func TestExpiredFoundByCommitIsReported(t *testing.T) {
	s := New(Config{})
	d := record("p", 1)
	d.Seen = d.Seen.Add(-2 * time.Hour)
	if err := s.Commit(t.Context(), id(1), d); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), id(1), &session.Delta{Seen: time.Now()}); !errors.Is(err, session.ErrNotFound) {
		t.Fatalf("Commit: %v", err)
	}
	for _, want := range []int{1, 0} {
		n := 0
		for r, err := range s.Sweep(t.Context()) {
			if err != nil || r.Owner != "p" {
				t.Errorf("%+v, %v", r, err)
			}
			n++
		}
		if n != want {
			t.Errorf("the sweep yields %d, want %d", n, want)
		}
	}
}
