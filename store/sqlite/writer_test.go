package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/session"
)

// creation returns a record that lives long.
func creation(fields ...session.Field) *session.Delta {
	now := time.Now()
	return &session.Delta{Create: true, Seen: now, Idle: time.Hour, Expires: now.Add(24 * time.Hour), Set: fields}
}

func set(key, value string) *session.Delta {
	return &session.Delta{Set: []session.Field{{Key: key, Value: value}}}
}

func commit(t testing.TB, s session.Store, id session.ID, d *session.Delta) {
	t.Helper()
	if err := s.Commit(context.Background(), id, d); err != nil {
		t.Fatalf("Commit: %v", err)
	}
}

func value(t testing.TB, s session.Store, id session.ID, key string) string {
	t.Helper()
	r, err := s.Load(context.Background(), id)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	for _, f := range r.Fields {
		if f.Key == key {
			return f.Value
		}
	}
	return ""
}

// large is a field of some kilobytes.
func large(i int) session.Field {
	return session.Field{Key: "large", Value: `"` + strings.Repeat(string(rune('a'+i%26)), 8000) + `"`}
}

// hold makes the writer stop in a transaction until the function that it returns
// is called. What is committed meanwhile goes together into the one after it.
func hold(t testing.TB, s *Store) (release func()) {
	t.Helper()
	begun, finish := make(chan struct{}), make(chan struct{})
	var held sync.WaitGroup
	held.Go(func() {
		err := s.writer.do(context.Background(), func(*tx) error {
			close(begun)
			<-finish
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-begun
	return func() {
		close(finish)
		held.Wait()
	}
}

func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	for start := time.Now(); !done(); time.Sleep(time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// TestFailingJob: one job that the database refuses does not fail the others of
// its batch.
func TestFailingJob(t *testing.T) {
	s := open(t, Config{NoSocket: true})
	var ids [5]session.ID
	for i := range ids {
		ids[i] = newID()
		commit(t, s, ids[i], creation())
	}
	broken := s.writer.conn.stmt("INSERT INTO gatehouse_spent (id, until) VALUES (NULL, NULL)")

	release := hold(t, s)
	var wg sync.WaitGroup
	jobs := 0
	add := func(do func() error, want error) {
		jobs++
		wg.Go(func() {
			if err := do(); !errors.Is(err, want) || (want == nil) != (err == nil) {
				t.Errorf("%v, want %v", err, want)
			}
		})
		waitFor(t, "the job to be queued", func() bool { return len(s.writer.jobs) == jobs })
	}
	add(func() error { return s.Commit(t.Context(), ids[0], set("a", `1`)) }, nil)
	add(func() error { return s.Commit(t.Context(), newID(), set("a", `1`)) }, session.ErrNotFound)
	var refused error
	add(func() error {
		refused = s.writer.do(t.Context(), func(t *tx) error { _, err := t.exec(broken); return err })
		return nil
	}, nil)
	add(func() error { return s.Commit(t.Context(), ids[1], set("a", `2`)) }, nil)
	add(func() error { return s.Delete(t.Context(), ids[2]) }, nil)
	add(func() error { return s.Commit(t.Context(), ids[2], set("a", `3`)) }, session.ErrNotFound)
	release()
	wg.Wait()
	if refused == nil || !strings.Contains(refused.Error(), "NOT NULL") {
		t.Errorf("the job that cannot be done: %v", refused)
	}
	if a, b := value(t, s, ids[0], "a"), value(t, s, ids[1], "a"); a != `1` || b != `2` {
		t.Errorf("values %q, %q; want 1, 2", a, b)
	}
	if _, err := s.Load(t.Context(), ids[2]); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Load of what was deleted: %v", err)
	}
}

// TestContextEnds: before its transaction begins, a job is not done any more;
// later, it is finished without its caller.
func TestContextEnds(t *testing.T) {
	s := open(t, Config{NoSocket: true})
	id := newID()
	commit(t, s, id, creation())

	release := hold(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	d := set("early", `1`)
	queued := make(chan error)
	go func() { queued <- s.Commit(ctx, id, d) }()
	waitFor(t, "the job to be queued", func() bool { return len(s.writer.jobs) == 1 })
	cancel()
	if err := <-queued; !errors.Is(err, context.Canceled) {
		t.Errorf("Commit: %v, want %v", err, context.Canceled)
	}
	d.Set[0].Key = "scribble" // it is the caller's again
	release()

	ctx, cancel = context.WithCancel(t.Context())
	begun, finish := make(chan struct{}), make(chan struct{})
	go func() {
		_, err := do(ctx, s.writer, func(tx *tx) (int, error) {
			close(begun)
			<-finish
			return 1, tx.commit(id, set("late", `1`))
		})
		queued <- err
	}()
	<-begun
	cancel()
	if err := <-queued; !errors.Is(err, context.Canceled) {
		t.Errorf("do: %v, want %v", err, context.Canceled)
	}
	close(finish)
	commit(t, s, id, set("after", `1`)) // it comes after
	for key, want := range map[string]string{"early": "", "scribble": "", "late": `1`, "after": `1`} {
		if got := value(t, s, id, key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
}

// TestQueueIsBounded: where too many wait, others wait outside, and give up with
// their context.
func TestQueueIsBounded(t *testing.T) {
	s := open(t, Config{NoSocket: true})
	release := hold(t, s)
	var wg sync.WaitGroup
	for range maxQueue {
		wg.Go(func() {
			if err := s.Commit(context.Background(), newID(), creation()); err != nil {
				t.Errorf("Commit: %v", err)
			}
		})
	}
	waitFor(t, "the queue to be full", func() bool { return len(s.writer.jobs) == maxQueue })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Commit(ctx, newID(), creation()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Commit: %v, want %v", err, context.DeadlineExceeded)
	}
	release()
	wg.Wait()
	n := 0
	for _, err := range s.List(t.Context(), session.Query{All: true}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != maxQueue {
		t.Errorf("%d records, want %d", n, maxQueue)
	}
}

// TestClose: what waits is finished, what comes later is told so, and no goroutine
// is left.
func TestClose(t *testing.T) {
	goroutines := runtime.NumGoroutine()
	var log bytes.Buffer
	path := filepath.Join(t.TempDir(), "sessions.db")
	s, err := Open(t.Context(), Config{Path: path, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	err = s.writer.do(t.Context(), func(*tx) error {
		s.check.every = 1 // each commit wakes the checkpointer, the last one too
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	release := hold(t, s)
	const n = 100
	var ids [n]session.ID
	var wg sync.WaitGroup
	for i := range ids {
		ids[i] = newID()
		wg.Go(func() {
			if err := s.Commit(context.Background(), ids[i], creation()); err != nil {
				t.Errorf("Commit: %v", err)
			}
		})
	}
	waitFor(t, "the jobs to be queued", func() bool { return len(s.writer.jobs) == n })
	wg.Go(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	waitFor(t, "Close to begin", func() bool {
		select {
		case <-s.done:
			return true
		default:
			return false
		}
	})
	release()
	wg.Wait()

	a := s.Accounts()
	for name, call := range map[string]func() error{
		"Load":          func() error { _, err := s.Load(t.Context(), ids[0]); return err },
		"Find":          func() error { _, err := s.Find(t.Context(), ids[0].Handle()); return err },
		"Commit":        func() error { return s.Commit(t.Context(), ids[0], set("a", `1`)) },
		"Delete":        func() error { return s.Delete(t.Context(), ids[0]) },
		"Spend":         func() error { _, err := s.Spend(t.Context(), [16]byte{}, time.Now().Add(time.Hour)); return err },
		"Spent":         func() error { _, err := s.Spent(t.Context(), [16]byte{}); return err },
		"Get":           func() error { _, err := a.Get(t.Context(), "a"); return err },
		"Put":           func() error { return a.Put(t.Context(), account.Record{ID: "a"}) },
		"DeleteAccount": func() error { return a.Delete(t.Context(), "a", 1) },
		"Append":        func() error { return a.Append(t.Context(), account.Entry{}) },
		"Trim":          func() error { _, err := a.Trim(t.Context(), time.Now()); return err },
		"Accounts": func() (last error) {
			for _, err := range a.List(t.Context(), "", "") {
				last = err
			}
			return last
		},
		"Entries": func() (last error) {
			for _, err := range a.Entries(t.Context(), account.LogQuery{}) {
				last = err
			}
			return last
		},
		"List": func() (last error) {
			for _, err := range s.List(t.Context(), session.Query{All: true}) {
				last = err
			}
			return last
		},
		"Sweep": func() (last error) {
			for _, err := range s.Sweep(t.Context()) {
				last = err
			}
			return last
		},
	} {
		if err := call(); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v, want %v", name, err, ErrClosed)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close again: %v", err)
	}
	if log.Len() > 0 {
		t.Errorf("it logs %s", &log)
	}
	waitFor(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= goroutines })

	s = open(t, Config{Path: path})
	for i := range ids {
		if _, err := s.Load(t.Context(), ids[i]); err != nil {
			t.Fatalf("Load after Close and Open: %v", err)
		}
	}
}

// TestBatchIsCut: a batch that is too large for one transaction takes several.
func TestBatchIsCut(t *testing.T) {
	s := open(t, Config{NoSocket: true})
	release := hold(t, s)
	const n = 12
	large := `"` + strings.Repeat("x", maxBatchBytes/4) + `"`
	var ids [n]session.ID
	var wg sync.WaitGroup
	for i := range ids {
		ids[i] = newID()
		wg.Go(func() {
			if err := s.Commit(context.Background(), ids[i], creation(session.Field{Key: "large", Value: large})); err != nil {
				t.Errorf("Commit: %v", err)
			}
		})
	}
	waitFor(t, "the jobs to be queued", func() bool { return len(s.writer.jobs) == n })
	release()
	wg.Wait()
	for i := range ids {
		if got := value(t, s, ids[i], "large"); got != large {
			t.Fatalf("record %d has %d bytes, want %d", i, len(got), len(large))
		}
	}
}

// TestDurable: the settings on which it depends that an answered commit is on
// disk. That they do what they say is SQLite's to test.
func TestDurable(t *testing.T) {
	s := open(t, Config{NoSocket: true})
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "fullfsync": "1", "wal_autocheckpoint": "0",
		"journal_size_limit": fmt.Sprint(maxWAL), "secure_delete": "2",
	} {
		var got string
		if err := s.writer.conn.scan("PRAGMA "+pragma, &got); err != nil || got != want {
			t.Errorf("the writer has %s = %s, %v; want %s", pragma, got, err, want)
		}
	}
	for pragma, want := range map[string]string{"synchronous": "2", "checkpoint_fullfsync": "1"} {
		var got string
		if err := s.check.conn.scan("PRAGMA "+pragma, &got); err != nil || got != want {
			t.Errorf("the checkpointer has %s = %s, %v; want %s", pragma, got, err, want)
		}
	}
}
