//go:build darwin || linux

package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/session"
)

// TestMaxBytes: the file's own bound. There is room again when others have ended.
func TestMaxBytes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	const limit = 1 << 20
	s := open(t, Config{Path: path, MaxBytes: limit})
	var ids []session.ID
	var full error
	owner := "alex"
	for full == nil {
		id := newID()
		d := creation(large(len(ids)))
		d.Owner = &owner // or the first would give way
		if full = s.Commit(t.Context(), id, d); full == nil {
			ids = append(ids, id)
		}
	}
	if !errors.Is(full, session.ErrFull) || !strings.HasPrefix(full.Error(), "sqlite: commit: session: store is full") {
		t.Errorf("when it is full: %v", full)
	}
	if len(ids) < 50 {
		t.Errorf("it is full with %d records", len(ids))
	}
	// One that is too large is in nobody else's way.
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			d := &session.Delta{Seen: time.Now()}
			if i%2 == 0 {
				d.Set = []session.Field{{Key: "more", Value: `"` + strings.Repeat("m", limit) + `"`}}
			}
			if err := s.Commit(context.Background(), ids[i], d); errors.Is(err, session.ErrFull) != (i%2 == 0) || err != nil && i%2 != 0 {
				t.Errorf("commit %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	for _, id := range ids[:10] {
		if err := s.Delete(t.Context(), id); err != nil {
			t.Errorf("Delete: %v", err)
		}
	}
	for i := range 5 {
		d := creation(large(i))
		d.Owner = &owner
		commit(t, s, newID(), d)
	}
	for i, id := range ids[10:] {
		if got := value(t, s, id, "large"); got != large(i+10).Value {
			t.Fatalf("record %d has %d bytes", i, len(got))
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() > limit {
		t.Errorf("the file has %d bytes, %v; want at most %d", info.Size(), err, limit)
	}
}

// sound asserts that SQLite finds nothing wrong with the file.
func sound(t *testing.T, s *Store) {
	t.Helper()
	text, err := do(t.Context(), s.writer, func(t *tx) (text string, err error) {
		err = t.w.conn.scan("PRAGMA integrity_check", &text)
		return text, err
	})
	if err != nil || text != "ok" {
		t.Fatalf("the database is %q, %v", text, err)
	}
}

// fillByUsers fills a file with users' sessions, and a few anonymous ones, until a large
// anonymous one is refused.
func fillByUsers(t *testing.T, s *Store) {
	t.Helper()
	owner := "alex"
	for n := 0; ; n++ {
		if err := s.Commit(t.Context(), newID(), creation(large(n))); errors.Is(err, session.ErrFull) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		for range 20 { // so that those without are few
			d := creation(large(n))
			d.Owner = &owner
			commit(t, s, newID(), d)
		}
	}
}

// TestFewAnonymous: a small session without owner, as a sign-in may begin with, finds space
// where large ones do not, can be changed while it is small, and can get an owner. There
// are never more than a few of them.
func TestFewAnonymous(t *testing.T) {
	s := open(t, Config{MaxBytes: 2 << 20})
	fillByUsers(t, s)
	owner := "alex"
	for n := range 300 {
		id := newID()
		commit(t, s, id, creation(session.Field{Key: "a", Value: `1`}))
		for _, size := range []int{100, 500, 1000} {
			if err := s.Commit(t.Context(), id, set("b", `"`+strings.Repeat("b", size)+`"`)); err != nil {
				t.Fatalf("session %d gets %d bytes: %v", n, size, err)
			}
		}
		to := newID()
		if err := s.Commit(t.Context(), id, &session.Delta{Rename: to, Labels: []session.Label{{Name: "device", Value: "phone"}}}); err != nil {
			t.Fatalf("session %d is renewed: %v", n, err)
		}
		if n%50 == 0 {
			if err := s.Commit(t.Context(), to, set("b", `"`+strings.Repeat("b", 50_000)+`"`)); !errors.Is(err, session.ErrFull) {
				t.Errorf("session %d gets 50,000 bytes: %v", n, err)
			}
			commit(t, s, to, &session.Delta{Rename: newID(), Owner: &owner})
		}
	}
	var left int
	if err := s.writer.conn.scan("SELECT count(*) FROM gatehouse_session WHERE owner IS NULL", &left); err != nil || left > fewAnonymous || left < fewAnonymous/4 {
		t.Errorf("%d anonymous sessions are left, %v", left, err)
	}
	sound(t, s)
}

// TestFewAnonymousAtOnce: of many small sessions without owner that come at once, where
// there are never more than a few, none is refused, and none gives way to another of its
// transaction.
func TestFewAnonymousAtOnce(t *testing.T) {
	s := open(t, Config{MaxBytes: 2 << 20})
	fillByUsers(t, s)
	for range 3 {
		release := hold(t, s)
		const n = 250
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				if err := s.Commit(context.Background(), newID(), creation(session.Field{Key: "a", Value: `1`})); err != nil {
					t.Errorf("one of %d at once: %v", n, err)
				}
			})
		}
		for len(s.writer.jobs) < n {
			time.Sleep(time.Millisecond)
		}
		release()
		wg.Wait()
	}
	if n := len(sweepAll(t, s)); n < 100 {
		t.Errorf("%d gave way", n)
	}
}

// TestGaveWayIsYielded: the next sweep yields the sessions that gave way for want of space,
// each once; if there are very many, some of them.
func TestGaveWayIsYielded(t *testing.T) {
	s := open(t, Config{MaxBytes: 1 << 20, CacheBytes: 1})
	made := map[session.ID]bool{}
	for n := 0; s.writer.space.evicted.count() < 300; n++ {
		id := newID()
		d := creation(large(n))
		d.Labels = []session.Label{{Name: "device", Value: "phone"}}
		commit(t, s, id, d)
		made[id] = true
	}
	// Nothing of a transaction that fails has given way.
	if err := s.Commit(t.Context(), newID(), creation(session.Field{Key: "a", Value: `"` + strings.Repeat("a", 2<<20) + `"`})); !errors.Is(err, session.ErrFull) {
		t.Errorf("one that is too large: %v", err)
	}
	gone := map[session.ID]bool{}
	for id := range made {
		if _, err := s.Load(t.Context(), id); errors.Is(err, session.ErrNotFound) {
			gone[id] = true
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for r := range s.Sweep(t.Context()) { // which ends early
		delete(gone, r.ID)
		break
	}
	for r, err := range s.Sweep(t.Context()) {
		if err != nil || !gone[r.ID] || r.Fields != nil || len(r.Labels) != 1 || !time.Now().Before(r.Deadline()) {
			t.Fatalf("the sweep yields %+v, %v", r, err)
		}
		delete(gone, r.ID)
	}
	if len(gone) > 0 {
		t.Errorf("%d gave way and are not yielded", len(gone))
	}
	if ids := sweepAll(t, s); len(ids) > 0 {
		t.Errorf("another sweep yields %d", len(ids))
	}
	for range 3 {
		s.writer.space.evicted.add(make([]session.Record, maxEvicted/2+1))
	}
	if ids := sweepAll(t, s); len(ids) != maxEvicted {
		t.Errorf("of very many %d are yielded, want %d", len(ids), maxEvicted)
	}
}

// TestWrap: what SQLite says through whichever driver.
func TestWrap(t *testing.T) {
	for text, want := range map[string]bool{
		"database or disk is full":                  true,
		"sqlite3: database or disk is full: insert": true,
		"attempt to write a readonly database":      false,
	} {
		if err := wrap(errors.New(text)); errors.Is(err, session.ErrFull) != want || !strings.Contains(err.Error(), text) {
			t.Errorf("%q becomes %v", text, err)
		}
	}
	if err := wrap(nil); err != nil {
		t.Errorf("nil becomes %v", err)
	}
}

// TestMaxBytesAccounts: when sessions have filled the file, accounts are refused as a
// whole, and there is room again when sessions have ended.
func TestMaxBytesAccounts(t *testing.T) {
	s := open(t, Config{MaxBytes: 1 << 20})
	a := s.Accounts()
	put(t, a, account.Record{ID: "a", Keys: []string{"k"}, Data: []byte("first")})
	var ids []session.ID
	var full error
	for owner := "alex"; full == nil; {
		id := newID()
		d := creation(large(len(ids)))
		d.Owner = &owner // or it would be refused while there is room for accounts
		if full = s.Commit(t.Context(), id, d); full == nil {
			ids = append(ids, id)
		}
	}
	r := account.Record{ID: "a", Version: 1, Keys: []string{"l"}, Data: bytes.Repeat([]byte("second"), 2000)}
	if err := a.Put(t.Context(), r); !errors.Is(err, account.ErrFull) {
		t.Errorf("Put: %v", err)
	}
	if got, err := a.Get(t.Context(), "k"); err != nil || got.Version != 1 || string(got.Data) != "first" {
		t.Errorf("after a refusal: %+v, %v", got, err)
	}
	if _, err := a.Get(t.Context(), "l"); !errors.Is(err, account.ErrNotFound) {
		t.Errorf("a key of what was refused: %v", err)
	}
	for _, id := range ids[:10] {
		if err := s.Delete(t.Context(), id); err != nil {
			t.Errorf("Delete: %v", err)
		}
	}
	put(t, a, r)
	if got, err := a.Get(t.Context(), "l"); err != nil || got.Version != 2 || !bytes.Equal(got.Data, r.Data) {
		t.Errorf("with room again: version %d, %v", got.Version, err)
	}
}

// room is a way to have none, and to have it again.
type room struct {
	shrink, grow func()
	full         bool // the error is session.ErrFull
}

// outOfRoom asserts that nothing acknowledged is lost when there is no room left
// to write to, that it is said, and that all goes on when there is room again.
func outOfRoom(t *testing.T, dir string, r room) {
	path := filepath.Join(dir, "sessions.db")
	var log bytes.Buffer
	cfg := Config{Path: path, CacheBytes: 1, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	acknowledged := map[session.ID]string{}
	people, entries := map[string]string{}, 0
	var mu sync.Mutex
	// try makes a record and changes one; the errors that there are go to the log.
	try := func(i int) error {
		id, owner := newID(), "alex"
		d := creation(large(i))
		d.Owner = &owner // or others would give way
		if err := s.Commit(context.Background(), id, d); err != nil {
			if _, err := s.Load(context.Background(), id); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("a record whose creation was refused is there: %v", err)
			}
			return err
		}
		mu.Lock()
		acknowledged[id] = large(i).Value
		mu.Unlock()
		if err := s.Commit(context.Background(), id, &session.Delta{Set: []session.Field{large(i + 1)}}); err != nil {
			return err
		}
		mu.Lock()
		acknowledged[id] = large(i + 1).Value
		mu.Unlock()
		return nil
	}
	// tryAccounts does so with people and their log.
	tryAccounts := func(i int) error {
		a := s.Accounts()
		r := account.Record{ID: fmt.Sprintf("%x", newID()), Data: []byte(large(i).Value)}
		r.Keys = []string{"key of " + r.ID}
		if err := a.Put(context.Background(), r); err != nil {
			if _, err := a.Get(context.Background(), r.Keys[0]); !errors.Is(err, account.ErrNotFound) {
				t.Errorf("an account whose creation was refused is there: %v", err)
			}
			return err
		}
		mu.Lock()
		people[r.ID] = large(i).Value
		mu.Unlock()
		if err := a.Append(context.Background(), account.Entry{Time: time.Now(), Kind: "k", Detail: large(i).Value}); err != nil {
			return err
		}
		mu.Lock()
		entries++
		mu.Unlock()
		r.Version, r.Keys, r.Data = 1, []string{"another key of " + r.ID}, []byte(large(i+1).Value)
		if err := a.Put(context.Background(), r); err != nil {
			if got, err := a.Get(context.Background(), "key of "+r.ID); err != nil || got.Version != 1 {
				t.Errorf("an account whose change was refused has version %d, %v", got.Version, err)
			}
			return err
		}
		mu.Lock()
		people[r.ID] = large(i + 1).Value
		mu.Unlock()
		return nil
	}
	verify := func(when string) {
		t.Helper()
		for id, want := range acknowledged {
			if got := value(t, s, id, "large"); got != want {
				t.Fatalf("%s: a record has %.3q…, want %.3q…", when, got, want)
			}
		}
		n := 0
		for _, err := range s.List(t.Context(), session.Query{All: true}) {
			if err != nil {
				t.Fatalf("%s: List: %v", when, err)
			}
			n++
		}
		if n != len(acknowledged) {
			t.Fatalf("%s: %d records, want %d", when, n, len(acknowledged))
		}
		n = 0
		for f, err := range s.Accounts().List(t.Context(), "", "") {
			if err != nil {
				t.Fatalf("%s: List: %v", when, err)
			}
			if string(f.Data) != people[f.ID] {
				t.Fatalf("%s: an account has %.3q…, want %.3q…", when, f.Data, people[f.ID])
			}
			n++
		}
		if n != 2*len(people) {
			t.Fatalf("%s: %d keys of accounts, want %d", when, n, 2*len(people))
		}
		n = 0
		for _, err := range s.Accounts().Entries(t.Context(), account.LogQuery{}) {
			if err != nil {
				t.Fatalf("%s: Entries: %v", when, err)
			}
			n++
		}
		if n != entries {
			t.Fatalf("%s: %d entries of the log, want %d", when, n, entries)
		}
	}
	for i := range 20 {
		if err := errors.Join(try(i), tryAccounts(i)); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 3 {
		when := fmt.Sprintf("round %d, without room", round)
		r.shrink()
		var refused error
		for i := 0; refused == nil; i++ {
			if refused = try(i); i > 10_000 {
				t.Fatalf("%s: it never says so", when)
			}
		}
		t.Logf("%s: %v", when, refused)
		if !strings.HasPrefix(refused.Error(), "sqlite: commit: ") || errors.Is(refused, session.ErrFull) != r.full {
			t.Errorf("%s: %v", when, refused)
		}
		refused = nil
		for i := 0; refused == nil; i++ {
			if refused = tryAccounts(i); i > 10_000 {
				t.Fatalf("%s: accounts never say so", when)
			}
		}
		t.Logf("%s: %v", when, refused)
		if !strings.HasPrefix(refused.Error(), "sqlite: put: ") && !strings.HasPrefix(refused.Error(), "sqlite: append: ") || errors.Is(refused, account.ErrFull) != r.full {
			t.Errorf("%s: %v", when, refused)
		}
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() { _ = try(i) })
			wg.Go(func() { _ = tryAccounts(i) })
		}
		wg.Wait()
		s.check.checkpoint()
		verify(when)
		if round == 1 { // it ends in this state
			if err := s.Close(); err != nil {
				t.Errorf("%s: Close: %v", when, err)
			}
		}
		r.grow()
		if round == 1 {
			if s, err = Open(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
		}
		when = fmt.Sprintf("round %d, with room again", round)
		verify(when)
		for i := range 20 {
			if err := errors.Join(try(i), tryAccounts(i)); err != nil {
				t.Fatalf("%s: %v", when, err)
			}
		}
		s.check.checkpoint()
		verify(when)
	}
	var sound string
	if err := s.writer.conn.scan("PRAGMA integrity_check", &sound); err != nil || sound != "ok" {
		t.Errorf("the database is %q, %v", sound, err)
	}
	t.Logf("log:\n%s", log.String())
}

// TestFileLimit: the system refuses to let the files grow. A process of its own
// bears the limit.
func TestFileLimit(t *testing.T) {
	if os.Getenv(childVariable) == "" {
		inChild(t, "limit")
		return
	}
	dir := t.TempDir()
	var unlimited syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &unlimited); err != nil {
		t.Fatal(err)
	}
	limit := func(l syscall.Rlimit) {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &l); err != nil {
			t.Fatal(err)
		}
	}
	outOfRoom(t, dir, room{
		full: true,
		shrink: func() {
			info, err := os.Stat(filepath.Join(dir, "sessions.db-wal"))
			if err != nil {
				t.Fatal(err)
			}
			l := unlimited
			l.Cur = max(uint64(info.Size()), 1<<17) + 50_000
			limit(l)
		},
		grow: func() { limit(unlimited) },
	})
}

// TestFileLimitBatch: where the system refuses to let the files grow, a change that is too
// large for what is left is refused as such, and is in the way of no other of its batch.
func TestFileLimitBatch(t *testing.T) {
	if os.Getenv(childVariable) == "" {
		inChild(t, "limit")
		return
	}
	s := open(t, Config{Path: filepath.Join(t.TempDir(), "sessions.db"), CacheBytes: 1})
	owner := "alex"
	var ids []session.ID
	for i := range 40 {
		d := creation(large(i))
		d.Owner = &owner
		ids = append(ids, newID())
		commit(t, s, ids[i], d)
	}
	for _, id := range ids[20:] { // which leaves pages that are free
		if err := s.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = uint64(max(fileSize(s.path), fileSize(s.path+"-wal")) + 100_000)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		release := hold(t, s)
		var wg sync.WaitGroup
		for i, id := range ids[:20] {
			wg.Go(func() {
				d := set("small", fmt.Sprint(round))
				if i%10 == 5 {
					d = set("huge", `"`+strings.Repeat("h", 4<<20)+`"`)
				}
				switch err := s.Commit(context.Background(), id, d); {
				case i%10 == 5 && !errors.Is(err, session.ErrFull):
					t.Errorf("round %d: one that is too large: %v", round, err)
				case i%10 != 5 && err != nil:
					t.Errorf("round %d: a small one: %v", round, err)
				}
			})
		}
		for len(s.writer.jobs) < 20 {
			time.Sleep(time.Millisecond)
		}
		release()
		wg.Wait()
	}
	for i, id := range ids[:20] {
		want := "2"
		if i%10 == 5 {
			want = ""
		}
		if got := value(t, s, id, "small"); got != want {
			t.Errorf("session %d has %q, want %q", i, got, want)
		}
	}
	var err error
	for i := 0; err == nil && i < 50; i++ {
		err = s.Accounts().Put(t.Context(), account.Record{ID: fmt.Sprint(i), Data: bytes.Repeat([]byte("a"), 1_000_000)})
	}
	if !errors.Is(err, account.ErrFull) || !errors.Is(err, session.ErrFull) {
		t.Errorf("accounts that are too large: %v", err)
	}
}

// TestReadOnly: a file that cannot be written is refused, says why, and loses
// nothing.
func TestReadOnly(t *testing.T) {
	const nobody = 65534
	if os.Getuid() == 0 { // to whom modes mean nothing
		if os.Getenv(childVariable) == "" {
			inChild(t, "nobody")
			return
		}
		if err := errors.Join(syscall.Setgid(nobody), syscall.Setuid(nobody)); err != nil {
			t.Fatal(err)
		}
	}
	// That of the test is root's.
	dir, err := os.MkdirTemp("", "gatehouse-readonly-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "sessions.db")
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	id := newID()
	commit(t, s, id, creation(large(0)))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		file, folder os.FileMode
		want         string
	}{
		"file":            {0o400, 0o700, path + " cannot be written: permission denied"},
		"folder":          {0o600, 0o500, dir + " cannot be written: permission denied"},
		"file and folder": {0o400, 0o500, dir + " cannot be written: permission denied"},
		"unreadable":      {0o200, 0o700, path + " cannot be written: permission denied"},
	} {
		if err := errors.Join(os.Chmod(path, test.file), os.Chmod(dir, test.folder)); err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), Config{Path: path, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	if err := errors.Join(os.Chmod(dir, 0o700), os.Chmod(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the file has changed, %v", err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"sessions.db", "sessions.db.lock"}) {
		t.Errorf("there are %q", got)
	}
	s, err = Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := value(t, s, id, "large"); got != large(0).Value {
		t.Errorf("the record has %d bytes", len(got))
	}
}
