package sqlite

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// TestWALIsBounded: it begins anew while others write without a pause.
func TestWALIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	s := open(t, Config{Path: path, NoSocket: true})
	const writers, each, size = 16, 150, 60_000 // 140 MB in all
	var peak atomic.Int64
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			id := newID()
			if err := s.Commit(context.Background(), id, creation()); err != nil {
				t.Errorf("Commit: %v", err)
			}
			for i := range each {
				// What stays the same is not written again.
				large := `"` + strings.Repeat(string(rune('a'+i%26)), size) + `"`
				if err := s.Commit(context.Background(), id, &session.Delta{Seen: time.Now(), Set: []session.Field{{Key: "large", Value: large}}}); err != nil {
					t.Errorf("Commit: %v", err)
				}
				info, err := os.Stat(path + "-wal")
				if err != nil {
					t.Error(err)
					return
				}
				for old := peak.Load(); info.Size() > old && !peak.CompareAndSwap(old, info.Size()); old = peak.Load() {
				}
			}
		})
	}
	wg.Wait()
	t.Logf("at most %d bytes", peak.Load())
	if peak.Load() > maxWAL {
		t.Errorf("the WAL has grown to %d bytes, want at most %d", peak.Load(), maxWAL)
	}
}

// TestCheckpointWhileRead: a reader that stays where it is does not stop the
// writer, and the WAL is copied when it has gone.
func TestCheckpointWhileRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	s := open(t, Config{Path: path, NoSocket: true})
	id := newID()
	commit(t, s, id, creation())
	r := <-s.readers
	if err := r.conn.exec("BEGIN"); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := r.conn.scan("SELECT count(*) FROM gatehouse_session", &n); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		commit(t, s, newID(), creation())
		s.check.checkpoint()
	}
	var again int
	if err := r.conn.scan("SELECT count(*) FROM gatehouse_session", &again); err != nil || again != n {
		t.Errorf("the reader sees %d, %v; before %d", again, err, n)
	}
	if err := r.conn.exec("COMMIT"); err != nil {
		t.Fatal(err)
	}
	s.readers <- r
	s.check.checkpoint()
	var busy, pages, copied int
	if err := s.check.conn.scan("PRAGMA wal_checkpoint(PASSIVE)", &busy, &pages, &copied); err != nil || busy != 0 || pages != copied {
		t.Errorf("busy %d, %d of %d pages copied, %v", busy, copied, pages, err)
	}
}
