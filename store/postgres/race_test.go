package postgres_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/postgres"
)

func newID() (id session.ID) {
	_, _ = rand.Read(id[:])
	return id
}

// born is the creation of a session that lives long.
func born(fields ...session.Field) *session.Delta {
	now := time.Now()
	return &session.Delta{Create: true, Seen: now, Idle: time.Hour, Expires: now.Add(24 * time.Hour), Set: fields}
}

func made(t testing.TB, store session.Store, d *session.Delta) session.ID {
	t.Helper()
	id := newID()
	if err := store.Commit(t.Context(), id, d); err != nil {
		t.Fatal(err)
	}
	return id
}

func value(r session.Record, key string) string {
	for _, f := range r.Fields {
		if f.Key == key {
			return f.Value
		}
	}
	return ""
}

// race runs what is decided by who comes first: commits of different keys,
// conditions, renames of one session, two sessions that take each other's name,
// and spent ids.
func race(t *testing.T, store *postgres.Store) {
	ctx := t.Context()
	id := made(t, store, born(session.Field{Key: "n", Value: "0"}))
	var counted, spends atomic.Int32
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			if err := store.Commit(ctx, id, &session.Delta{Seen: time.Now(), Set: []session.Field{{Key: fmt.Sprint("k", i), Value: "1"}}}); err != nil {
				t.Errorf("a key: %v", err)
			}
			r, err := store.Load(ctx, id)
			if err != nil {
				t.Errorf("load: %v", err)
				return
			}
			was := value(r, "n")
			n, _ := strconv.Atoi(was)
			err = store.Commit(ctx, id, &session.Delta{
				If:  []session.Field{{Key: "n", Value: was}},
				Set: []session.Field{{Key: "n", Value: strconv.Itoa(n + 1)}},
			})
			if err == nil {
				counted.Add(1)
			} else if !errors.Is(err, session.ErrConflict) {
				t.Errorf("a condition: %v", err)
			}
			first, err := store.Spend(ctx, [16]byte(id[:]), time.Now().Add(time.Minute))
			if err != nil {
				t.Errorf("spend: %v", err)
			}
			if first {
				spends.Add(1)
			}
		})
	}
	wg.Wait()
	r, err := store.Load(ctx, id)
	if err != nil || len(r.Fields) != 33 || value(r, "n") != fmt.Sprint(counted.Load()) || spends.Load() != 1 {
		t.Errorf("%v: %d of 33 keys, n is %s of %d, %d first spends of 1", err, len(r.Fields), value(r, "n"), counted.Load(), spends.Load())
	}

	// Sixteen new names for one session.
	var renamed atomic.Int32
	for range 16 {
		wg.Go(func() {
			err := store.Commit(ctx, id, &session.Delta{Rename: newID()})
			if err == nil {
				renamed.Add(1)
			} else if !errors.Is(err, session.ErrNotFound) {
				t.Errorf("rename: %v", err)
			}
		})
	}
	wg.Wait()
	if renamed.Load() != 1 {
		t.Errorf("%d renames of one session succeed", renamed.Load())
	}

	// Two that want each other's name: a deadlock, if they meet.
	a, b := made(t, store, born()), made(t, store, born())
	for _, pair := range [][2]session.ID{{a, b}, {b, a}} {
		wg.Go(func() {
			for range 20 {
				if err := store.Commit(ctx, pair[0], &session.Delta{Rename: pair[1]}); !errors.Is(err, session.ErrExists) {
					t.Errorf("a name that is taken: %v", err)
				}
			}
		})
	}
	wg.Wait()
}
