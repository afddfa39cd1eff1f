package memory

import (
	"sync"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// TestRenamesCross: those who rename from one shard to another and those who
// rename back take the two locks in one order. What waits for a lock for ever
// makes no other test fail, so that this one looks at the clock.
func TestRenamesCross(t *testing.T) {
	s := New(Config{MaxBytes: 1 << 20})
	var wg sync.WaitGroup
	for i := range 2 {
		a, b := session.ID{0: byte(i + 1), 4: byte(i)}, session.ID{0: byte(i + 1), 4: byte(1 - i)}
		if err := s.Commit(t.Context(), a, record("", 10)); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for range 20000 {
				if err := s.Commit(t.Context(), a, &session.Delta{Rename: b}); err != nil {
					t.Errorf("Commit: %v", err)
					return
				}
				a, b = b, a
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("two renames wait for each other")
	}
}
