package sqlite

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// TestRenameSeen: once somebody has seen the new name, nobody sees the old one.
func TestRenameSeen(t *testing.T) {
	s := open(t, Config{NoSocket: true})
	ctx := t.Context()
	for start := time.Now(); time.Since(start) < 3*time.Second; {
		id, to := newID(), newID()
		commit(t, s, id, creation())
		ctx, cancel := context.WithCancel(ctx)
		var onlookers sync.WaitGroup
		for range 2 {
			onlookers.Go(func() {
				for ctx.Err() == nil {
					if _, err := s.Load(context.Background(), to); err != nil {
						continue
					}
					if _, err := s.Load(context.Background(), id); !errors.Is(err, session.ErrNotFound) {
						t.Errorf("after the new name was seen, the old one: %v", err)
					}
					return
				}
			})
		}
		commit(t, s, id, &session.Delta{Rename: to})
		cancel()
		onlookers.Wait()
		if t.Failed() {
			return
		}
	}
}
