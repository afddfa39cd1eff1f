package sqlite

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/session"
)

// smallDisk is large enough for some thousand sessions.
const smallDisk = "24m"

// users are what a store has acknowledged of users.
type users struct {
	mu       sync.Mutex
	sessions map[session.ID]string // the value of "large", or of "n"
	accounts map[string]int64      // versions, by key
	spent    [][16]byte
	events   int
	atLeast  bool // there may be more events, of a process that was killed
}

func newUsers() *users {
	return &users{sessions: map[session.ID]string{}, accounts: map[string]int64{}}
}

// signUp does what happens when a user is new and signs in, and changes something.
func (u *users) signUp(s *Store) error {
	ctx := context.Background()
	name := fmt.Sprintf("%x", newID())
	r := account.Record{ID: name, Keys: []string{"name/" + name}, Data: []byte(strings.Repeat("d", 500))}
	if err := s.Accounts().Put(ctx, r); err != nil {
		return err
	}
	u.note(func() { u.accounts["name/"+name] = 1 })
	r.Version, r.Data = 1, []byte(strings.Repeat("e", 600))
	if err := s.Accounts().Put(ctx, r); err != nil {
		return err
	}
	u.note(func() { u.accounts["name/"+name] = 2 })
	return u.signIn(s, name)
}

// signIn does what happens when a user signs in: a challenge is spent, a session with an
// owner begins, gets another ID, and it is in the log.
func (u *users) signIn(s *Store, name string) error {
	ctx := context.Background()
	first, id := newID(), newID()
	challenge := [16]byte(id[:])
	if isFirst, err := s.Spend(ctx, challenge, time.Now().Add(time.Hour)); err != nil || !isFirst {
		return fmt.Errorf("Spend: %v, %w", isFirst, err)
	}
	u.note(func() { u.spent = append(u.spent, challenge) })
	d := creation(append(usual(1), session.Field{Key: "n", Value: "0"})...)
	d.Owner = &name
	if err := s.Commit(ctx, first, d); err != nil {
		return err
	}
	d = &session.Delta{Rename: id, Labels: []session.Label{{Name: "device", Value: "laptop"}}}
	if err := s.Commit(ctx, first, d); err != nil {
		return err
	}
	u.note(func() { u.sessions[id] = "0" })
	if err := s.Accounts().Append(ctx, account.Entry{Time: time.Now(), Kind: "login", Person: name, Detail: "d"}); err != nil {
		return err
	}
	u.note(func() { u.events++ })
	if err := s.Commit(ctx, id, &session.Delta{Set: []session.Field{{Key: "n", Value: "1"}}}); err != nil {
		return err
	}
	u.note(func() { u.sessions[id] = "1" })
	return nil
}

func (u *users) note(f func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f()
}

// verify asserts that all of it is there, and that the file is sound.
func (u *users) verify(t *testing.T, s *Store) {
	t.Helper()
	u.mu.Lock()
	defer u.mu.Unlock()
	for id, want := range u.sessions {
		if got := value(t, s, id, "n"); got != want {
			t.Fatalf("a session has n=%q, want %q", got, want)
		}
	}
	for key, version := range u.accounts {
		if r, err := s.Accounts().Get(t.Context(), key); err != nil || r.Version != version {
			t.Fatalf("account %s: version %d, %v; want %d", key, r.Version, err, version)
		}
	}
	for _, id := range u.spent {
		if spent, err := s.Spent(t.Context(), id); err != nil || !spent {
			t.Fatalf("a challenge is spent: %v, %v", spent, err)
		}
	}
	events := 0
	for _, err := range s.Accounts().Entries(t.Context(), account.LogQuery{}) {
		if err != nil {
			t.Fatal(err)
		}
		events++
	}
	if u.atLeast && events > u.events {
		u.events = events
	}
	u.atLeast = false
	if events != u.events {
		t.Fatalf("%d events in the log, want %d", events, u.events)
	}
	sound(t, s)
}

// A strange file takes what the disk has left.
type strangeFile string

// grow takes all that the disk has, to the last block, and returns how much it took.
func (f strangeFile) grow(t *testing.T) (took int) {
	t.Helper()
	file, err := os.OpenFile(string(f), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for block := make([]byte, 4096); err == nil; {
		var n int
		n, err = file.Write(block)
		took += n
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return took
}

func (f strangeFile) remove(t *testing.T) {
	t.Helper()
	if err := os.Remove(string(f)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

// visit is what a stranger can have stored: a session without owner that ends then.
func visit(s *Store, ends time.Time, n int) (session.ID, error) {
	d := creation(large(n))
	if n%2 == 1 {
		d = creation(usual(n)...)
	}
	d.Expires = ends
	id := newID()
	return id, s.Commit(context.Background(), id, d)
}

// visitUntilFull makes sessions without owner until so many more have given way or been refused, and
// returns those that were acknowledged. Small ones are never refused. All of them end at one
// time, which is not over when the last gives way.
func visitUntilFull(t *testing.T, s *Store, most int) (acknowledged map[session.ID]int, ends time.Time) {
	t.Helper()
	for window := 5 * time.Second; ; window *= 2 {
		acknowledged, ends = map[session.ID]int{}, whole(time.Now().Add(window))
		var mu sync.Mutex
		var wg sync.WaitGroup
		var refused atomic.Int64
		var late atomic.Bool
		before := s.writer.space.evicted.count()
		for range 8 {
			wg.Go(func() {
				for n := 0; s.writer.space.evicted.count()-before+int(refused.Load()) < most; n++ {
					id, err := visit(s, ends, n)
					switch {
					case err == nil && time.Now().After(ends):
						late.Store(true) // the machine is slow: once more, with more time
						return
					case err == nil:
						mu.Lock()
						acknowledged[id] = n
						mu.Unlock()
					case errors.Is(err, session.ErrFull) && n%2 == 0:
						refused.Add(1)
					default:
						t.Errorf("visit %d of a flood is refused with %v", n, err)
						return
					}
				}
			})
		}
		wg.Wait()
		if !late.Load() || t.Failed() {
			lost := 0
			for id, n := range acknowledged {
				r, err := s.Load(t.Context(), id)
				switch {
				case err == nil && n%2 == 0 && r.Fields[0].Value != large(n).Value:
					t.Fatal("a session has another's value")
				case errors.Is(err, session.ErrNotFound) && time.Now().Before(ends):
					lost++
				case err != nil && !errors.Is(err, session.ErrNotFound):
					t.Fatal(err)
				}
			}
			if gaveWay := s.writer.space.evicted.count() - before; lost > gaveWay {
				t.Errorf("%d sessions that were acknowledged are lost, and %d gave way", lost, gaveWay)
			}
			return acknowledged, ends
		}
		sweepCount(t, s)
	}
}

func sweepCount(t *testing.T, s *Store) (n int) {
	t.Helper()
	for _, err := range s.Sweep(t.Context()) {
		if err != nil {
			t.Fatalf("Sweep: %v", err)
		}
		n++
	}
	return n
}

// free returns how much the disk of a folder has left.
func free(t *testing.T, dir string) int64 {
	t.Helper()
	n, err := available(dir)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func openLogging(t *testing.T, path string, log *bytes.Buffer) *Store {
	t.Helper()
	return open(t, Config{Path: path, CacheBytes: 1, Logger: slog.New(slog.NewTextHandler(log, nil))})
}

// TestFlood: sessions without owner fill the share of a small disk that is theirs, and the
// oldest give way to new ones; users are served all the time, the disk keeps space for them, and when the
// sessions have ended there can be new ones, without a restart.
func TestFlood(t *testing.T) {
	dir := onDisk(t, smallDisk)
	if dir == "" {
		return
	}
	var log bytes.Buffer
	whole := free(t, dir)
	s := openLogging(t, filepath.Join(dir, "sessions.db"), &log)
	u := newUsers()
	for round := range 3 {
		stop := make(chan struct{})
		var others sync.WaitGroup
		var signedUp atomic.Int64
		for range 2 {
			others.Go(func() {
				for {
					if err := u.signUp(s); err != nil {
						t.Errorf("round %d: a user signs in during the flood: %v", round, err)
						return
					}
					signedUp.Add(1)
					select {
					case <-stop:
						return
					default:
					}
				}
			})
		}
		acknowledged, ends := visitUntilFull(t, s, 500)
		close(stop)
		others.Wait()
		if t.Failed() {
			return
		}
		file := fileSize(s.path)
		t.Logf("round %d: %d visits, %d sign-ins meanwhile, the file has %d bytes, the disk has %d of %d left",
			round, len(acknowledged), signedUp.Load(), file, free(t, dir), whole)
		if len(acknowledged) < 300 {
			t.Errorf("round %d: there is space for %d visits", round, len(acknowledged))
		}
		if file > whole*5/8 {
			t.Errorf("round %d: a flood takes %d of %d bytes", round, file, whole)
		}
		if left := free(t, dir); left < whole/16 {
			t.Errorf("round %d: the disk has %d bytes left", round, left)
		}
		u.verify(t, s)
		time.Sleep(time.Until(ends.Add(10 * time.Millisecond)))
		t.Logf("round %d: the sweep finds %d of %d sessions", round, sweepCount(t, s), len(acknowledged))
		for n := range 100 {
			if _, err := visit(s, time.Now().Add(time.Millisecond), n); err != nil {
				t.Fatalf("round %d: when the others have ended: %v", round, err)
			}
		}
	}
	if text := log.String(); !strings.Contains(text, "there is no space for all anonymous sessions") || strings.Count(text, "\n") > 20 {
		t.Errorf("the log:\n%s", text)
	}
}

// TestFloodMaxBytes: the same, with a bound that is configured.
func TestFloodMaxBytes(t *testing.T) {
	const most = 4 << 20
	s := open(t, Config{MaxBytes: most, CacheBytes: 1})
	u := newUsers()
	for range 2 {
		acknowledged, ends := visitUntilFull(t, s, 100)
		if len(acknowledged) < 200 {
			t.Errorf("there is space for %d visits", len(acknowledged))
		}
		for range 20 {
			if err := u.signUp(s); err != nil {
				t.Fatalf("a user signs in when anonymous sessions have filled the file: %v", err)
			}
		}
		time.Sleep(time.Until(ends.Add(10 * time.Millisecond)))
		sweepCount(t, s)
		u.verify(t, s)
	}
	s.check.checkpoint()
	if n := fileSize(s.path); n > most {
		t.Errorf("the file has %d bytes", n)
	}
}

// TestFloodGivesWay: where there is no space, the anonymous sessions not used for longest
// give way to new ones, however young they are, and to users; users' sessions stay.
func TestFloodGivesWay(t *testing.T) {
	s := open(t, Config{MaxBytes: 2 << 20, CacheBytes: 1})
	used, owner := newID(), "alex"
	d := creation(large(1))
	d.Owner = &owner
	commit(t, s, used, d)
	ends := time.Now().Add(time.Hour)
	inUse, err := visit(s, ends, 1)
	if err != nil {
		t.Fatal(err)
	}
	var first, last session.ID
	for n := range 1000 { // four times what fits
		time.Sleep(time.Millisecond) // which is how exact the times are
		id, err := visit(s, ends, n)
		if err != nil {
			t.Fatalf("visit %d: %v", n, err)
		}
		if n%20 == 0 {
			if err := s.Commit(t.Context(), inUse, &session.Delta{Seen: time.Now()}); err != nil {
				t.Fatalf("visit %d: the session that is in use: %v", n, err)
			}
		}
		if last = id; n == 0 {
			first = id
		}
	}
	if _, err := s.Load(t.Context(), first); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("the first: %v", err)
	}
	for _, id := range []session.ID{last, used} {
		if _, err := s.Load(t.Context(), id); err != nil {
			t.Errorf("the last, or a user's: %v", err)
		}
	}
	big := account.Record{ID: "a", Data: bytes.Repeat([]byte("a"), 1<<19)}
	if err := s.Accounts().Put(t.Context(), big); err != nil {
		t.Errorf("a user who needs the space of anonymous sessions: %v", err)
	}
	sound(t, s)
}

// TestFloodMaxBytesBeyondDisk: where the bound is larger than the disk, the disk is the bound.
func TestFloodMaxBytesBeyondDisk(t *testing.T) {
	dir := onDisk(t, smallDisk)
	if dir == "" {
		return
	}
	whole := free(t, dir)
	s := open(t, Config{Path: filepath.Join(dir, "sessions.db"), MaxBytes: 1 << 30, CacheBytes: 1})
	u := newUsers()
	visitUntilFull(t, s, 500)
	for range 20 {
		if err := u.signUp(s); err != nil {
			t.Fatal(err)
		}
	}
	if s.writer.space.tight || fileSize(s.path) > whole*5/8 || free(t, dir) < whole/16 {
		t.Errorf("of %d bytes a flood takes %d, and the disk has %d left", whole, fileSize(s.path), free(t, dir))
	}
	u.verify(t, s)
}

// TestTwoStepsOnFullDisk: other files have taken all that the disk has. A sign-in of two
// steps has an anonymous session, which is changed between them, also during a flood.
func TestTwoStepsOnFullDisk(t *testing.T) {
	dir := onDisk(t, smallDisk)
	if dir == "" {
		return
	}
	s := open(t, Config{Path: filepath.Join(dir, "sessions.db"), CacheBytes: 1})
	u := newUsers()
	if err := u.signUp(s); err != nil {
		t.Fatal(err)
	}
	strangeFile(filepath.Join(dir, "strange")).grow(t)
	for range 100 { // until all pages that were free are taken
		if err := u.signUp(s); err != nil {
			t.Fatal(err)
		}
	}
	if !s.writer.space.tight {
		t.Fatal("the disk is not full: the test shows nothing")
	}
	ends := time.Now().Add(time.Hour)
	for n := range 200 {
		id, owner := newID(), "alex"
		commit(t, s, id, creation(session.Field{Key: "challenge", Value: `"` + strings.Repeat("c", 100) + `"`}))
		for visits := range n % 10 { // of others, meanwhile
			if _, err := visit(s, ends, visits); err != nil && !errors.Is(err, session.ErrFull) {
				t.Fatal(err)
			}
		}
		commit(t, s, id, set("pending", `"`+strings.Repeat("p", 200)+`"`))
		to := newID()
		commit(t, s, id, &session.Delta{Rename: to, Owner: &owner, Delete: []string{"challenge", "pending"}})
		if err := s.Delete(t.Context(), to); err != nil { // or the reserve would be used up
			t.Fatal(err)
		}
	}
	u.verify(t, s)
}

// TestFullDisk: other files take all that the disk has. Users sign in from the reserve,
// also after a restart, and after kill -9; what is over can be removed; and when the disk
// has space again, all is as before.
func TestFullDisk(t *testing.T) {
	if path, ok := strings.CutPrefix(os.Getenv(childVariable), victimRole); ok {
		signUpUntilKilled(t, path)
		return
	}
	dir := onDisk(t, smallDisk)
	if dir == "" {
		return
	}
	path, strange := filepath.Join(dir, "sessions.db"), strangeFile(filepath.Join(dir, "strange"))
	var log bytes.Buffer
	s := openLogging(t, path, &log)
	want := s.lock.reserve.want
	u := newUsers()
	signUps := func(when string, n int) {
		t.Helper()
		for i := range n {
			if err := u.signUp(s); err != nil {
				t.Fatalf("%s: sign-in %d: %v\n%s", when, i, err, log.String())
			}
		}
		u.verify(t, s)
	}
	reopen := func() {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		strange.grow(t)
		s = openLogging(t, path, &log)
	}
	for round := range 2 {
		when := func(what string) string { return fmt.Sprintf("round %d, %s", round, what) }
		signUps(when("with space"), 20)
		ends := time.Now().Add(3 * time.Second)
		for n := range 200 {
			if _, err := visit(s, ends, n); err != nil {
				t.Fatal(err)
			}
		}

		t.Logf("%s: other files take %d bytes", when("full"), strange.grow(t))
		visitUntilFull(t, s, 100)
		signUps(when("full"), 30)
		strange.grow(t)
		signUps(when("fuller"), 10)
		reopen()
		signUps(when("restarted"), 30)
		reopen()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		strange.grow(t)
		killWhileSigningUp(t, path, 20, u)
		strange.grow(t)
		s = openLogging(t, path, &log)
		signUps(when("killed"), 20)

		time.Sleep(time.Until(ends.Add(10 * time.Millisecond)))
		sweepCount(t, s)
		left, err := do(t.Context(), s.writer, func(t *tx) (left int, err error) {
			err = t.w.conn.scan("SELECT count(*) FROM gatehouse_session WHERE owner IS NULL AND expires <= "+fmt.Sprint(ends.UnixMilli()), &left)
			return left, err
		})
		if err != nil || left > 0 {
			t.Errorf("%s: the sweep leaves %d sessions, %v", when("full"), left, err)
		}
		if got := free(t, dir); got > want {
			t.Errorf("the disk has %d bytes left: that is not full", got)
		}
		for n := range 50 { // there are free pages now
			if _, err := visit(s, time.Now().Add(time.Hour), n); err != nil {
				t.Fatalf("%s: visit %d: %v\n%s", when("swept"), n, err, log.String())
			}
		}
		signUps(when("swept"), 20)
		reopen()
		signUps(when("restarted again"), 10)

		strange.remove(t)
		sweepCount(t, s)
		if r := &s.lock.reserve; r.has != r.want || r.want < want*15/16 || fileSize(path+".lock") != reserveStart+r.want || s.writer.space.tight {
			t.Errorf("%s: the reserve has %d of %d bytes; there were %d", when("with space again"), r.has, r.want, want)
		}
		for n := range 300 {
			if _, err := visit(s, time.Now().Add(time.Millisecond), n); err != nil {
				t.Fatalf("%s: %v", when("with space again"), err)
			}
		}
		signUps(when("with space again"), 20)
		sweepCount(t, s)
	}
	t.Logf("log:\n%s", log.String())
}

// TestFullDiskWithoutReserve: the WAL alone has space enough to remove what is over, and
// what that frees is enough to go on.
func TestFullDiskWithoutReserve(t *testing.T) {
	dir := onDisk(t, smallDisk)
	if dir == "" {
		return
	}
	path, strange := filepath.Join(dir, "sessions.db"), strangeFile(filepath.Join(dir, "strange"))
	var log bytes.Buffer
	s := openLogging(t, path, &log)
	ends := time.Now().Add(2 * time.Second)
	for n := range 300 {
		if _, err := visit(s, ends, n); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openLogging(t, path, &log) // with a new WAL
	strange.grow(t)
	s.writer.turn.Lock()
	for s.writer.space.reserve.give() {
		strange.grow(t)
	}
	s.writer.turn.Unlock()
	time.Sleep(time.Until(ends.Add(10 * time.Millisecond)))
	sweepCount(t, s)
	u := newUsers()
	for n := range 30 {
		if err := u.signUp(s); err != nil {
			t.Fatalf("sign-in %d: %v\n%s", n, err, log.String())
		}
	}
	u.verify(t, s)
}

const victimRole = "killed at "

// signUpUntilKilled signs users up, and says who.
func signUpUntilKilled(t *testing.T, path string) {
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println()
	for {
		u := newUsers()
		if err := u.signUp(s); err != nil {
			fmt.Println("refused", err)
			return
		}
		for key := range u.accounts {
			fmt.Println("signed", key)
		}
	}
}

// killWhileSigningUp has another process sign up so many users at least, and kills it.
func killWhileSigningUp(t *testing.T, path string, n int, u *users) {
	t.Helper()
	cmd := child(t, victimRole+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	signed := 0
	var said strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if key, ok := strings.CutPrefix(lines.Text(), "signed "); ok {
			u.accounts[key] = 2
			u.events++
			if signed++; signed == n {
				_ = cmd.Process.Kill()
			}
		} else {
			fmt.Fprintln(&said, lines.Text())
		}
	}
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != -1 || signed < n {
		t.Fatalf("%d users signed up in another process: %v\n%s", signed, err, said.String())
	}
	u.atLeast = true
}
