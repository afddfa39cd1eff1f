//go:build unix

package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// killsVariable says how often TestKill kills the server: `make soak` sets 1000.
const killsVariable = "GATEHOUSE_SOAK_KILLS"

// TestKill: kill -9 at any moment loses no write that was acknowledged and tears
// none. A server, which is this program once more, has the database; this process
// loads it through its socket, notes what was acknowledged, kills it, and looks
// at what the next one has. Now and then it begins with a new file, and kills
// servers that are about to make it.
func TestKill(t *testing.T) {
	if path := os.Getenv(childVariable); path != "" {
		serveUntilKilled(t, path)
		return
	}
	kills := 30
	if n, err := strconv.Atoi(os.Getenv(killsVariable)); err == nil {
		kills = n
	}
	random := func(most time.Duration) time.Duration { return time.Duration(rand.Int64N(int64(most))) }
	start := 300 * time.Millisecond // with the process
	var slowest time.Duration       // Open alone
	var acknowledged, onTheWay int64
	var l *load
	for i := range kills {
		if i%10 == 0 {
			l = newLoad(filepath.Join(t.TempDir(), "sessions.db"))
			for range 3 {
				s := begin(t, l.path)
				time.Sleep(random(start))
				s.kill()
			}
		}
		began := time.Now()
		s := begin(t, l.path)
		took := s.ready()
		start, slowest = time.Since(began), max(slowest, took)
		before := l.acknowledged.Load()
		l.run(t, func() {
			if i%2 == 0 { // not all too early, on a machine that is slow
				waitFor(t, "writes to be acknowledged", func() bool { return l.acknowledged.Load() > before+50 })
			}
			time.Sleep(random(300 * time.Millisecond))
			s.kill()
		})
		if i%10 == 9 || i == kills-1 {
			l.sound(t)
			acknowledged += l.acknowledged.Load()
			onTheWay += l.onTheWay.Load()
		}
		if t.Failed() {
			t.Fatalf("after %d kills; the last server said:\n%s", i+1, s.said())
		}
	}
	t.Logf("%d kills, %d writes acknowledged, %d on their way, the slowest Open %v", kills, acknowledged, onTheWay, slowest)
	if acknowledged < int64(10*kills) || onTheWay < int64(kills) {
		t.Error("that is too little load to show anything")
	}
	// The aim is a second; a machine that is busy with other tests gets more.
	if slowest > 10*time.Second {
		t.Errorf("Open took %v", slowest)
	}
}

// readyWord precedes how long Open took, in what the server says.
const readyWord = "ready after "

// serveUntilKilled is the server. It checkpoints and sweeps all the time, so that
// these are often under way when it is killed.
func serveUntilKilled(t *testing.T, path string) {
	began := time.Now()
	s, err := Open(context.Background(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	err = s.writer.do(context.Background(), func(*tx) error {
		s.check.every = 100_000
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			for _, err := range s.Sweep(context.Background()) {
				if err != nil {
					fmt.Println("Sweep:", err)
				}
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	fmt.Printf("\n%s%v\n", readyWord, took)
	_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed, or its parent has gone
	os.Exit(1)
}

// A victim is a server that is going to be killed.
type victim struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Closer
	times chan time.Duration
	ended chan struct{}
	once  sync.Once

	mu   sync.Mutex
	text strings.Builder
}

func begin(t *testing.T, path string) *victim {
	t.Helper()
	v := &victim{t: t, cmd: child(t, path), times: make(chan time.Duration, 1), ended: make(chan struct{})}
	stdin, err := v.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	v.stdin = stdin
	stdout, err := v.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	v.cmd.Stderr = v.cmd.Stdout
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(v.ended)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if text, ok := strings.CutPrefix(lines.Text(), readyWord); ok {
				took, err := time.ParseDuration(text)
				if err != nil {
					t.Error(err)
				}
				v.times <- took
			}
			v.mu.Lock()
			fmt.Fprintln(&v.text, lines.Text())
			v.mu.Unlock()
		}
	}()
	t.Cleanup(v.kill)
	return v
}

// ready waits until the server has the database, and returns how long Open took.
func (v *victim) ready() time.Duration {
	v.t.Helper()
	select {
	case took := <-v.times:
		return took
	case <-v.ended:
		v.t.Fatalf("the server does not begin:\n%s", v.said())
	case <-time.After(time.Minute):
		v.t.Fatalf("the server does not begin within a minute:\n%s", v.said())
	}
	return 0
}

func (v *victim) said() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.text.String()
}

// kill is kill -9.
func (v *victim) kill() {
	v.once.Do(func() {
		_ = v.cmd.Process.Kill()
		<-v.ended
		_ = v.cmd.Wait()
		_ = v.stdin.Close()
	})
}

// A load is what many callers do to a server, and what they know of it.
type load struct {
	path    string
	workers [24]*worker
	keepers [8]*keeper

	acknowledged, onTheWay atomic.Int64
}

// A worker has one session at a time, which nobody else changes: it knows what
// must be there.
type worker struct {
	owner string
	n     int // counts all it does

	now  *state // acknowledged; nil: it has no session
	next *state // if inDoubt: what it is if the write that was under way has happened
	// inDoubt: the server was killed before it answered.
	inDoubt bool

	over  []session.ID // that have ended
	spent [][16]byte
}

// A state is what a session holds: n in each of several fields, which change
// together.
type state struct {
	id     session.ID
	n      int
	device string
}

func newLoad(path string) *load {
	l := &load{path: path}
	for i := range l.workers {
		l.workers[i] = &worker{owner: fmt.Sprintf("owner %d", i)}
	}
	for i := range l.keepers {
		l.keepers[i] = &keeper{id: fmt.Sprintf("keeper %d", i)}
	}
	return l
}

var tornFields = []string{"a", "b", "c"}

func counts(n int) (fields []session.Field) {
	for _, key := range tornFields {
		fields = append(fields, session.Field{Key: key, Value: fmt.Sprint(n)})
	}
	return fields
}

// run asserts that all that is known is there, and changes it until the server,
// which kill kills, does not answer any more.
func (l *load) run(t *testing.T, kill func()) {
	t.Helper()
	c, err := dial(t.Context(), socketPath(l.path))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l.verify(t, c)
	if t.Failed() {
		return
	}
	var wg sync.WaitGroup
	for _, w := range l.workers {
		wg.Go(func() {
			for w.step(t, l, c) {
			}
		})
	}
	for _, k := range l.keepers {
		wg.Go(func() {
			for k.step(t, l, c.Accounts()) {
			}
		})
	}
	kill()
	wg.Wait()
}

// step does one thing, and reports whether the server has answered.
func (w *worker) step(t *testing.T, l *load, c *client) bool {
	w.n++
	next := &state{id: newID(), n: w.n, device: "device of " + w.owner}
	var do func(ctx context.Context) error
	choice := rand.IntN(100)
	switch {
	case w.now == nil:
		do = func(ctx context.Context) error {
			d := creation(counts(next.n)...)
			d.Owner, d.Labels = &w.owner, []session.Label{{Name: "device", Value: next.device}}
			return c.Commit(ctx, next.id, d)
		}
	case choice < 5: // one that is over at once, for the sweep
		next = w.now
		do = func(ctx context.Context) error {
			d := creation(counts(0)...)
			d.Seen = d.Seen.Add(-2 * time.Hour)
			d.Owner, d.Labels = &w.owner, []session.Label{{Name: "device", Value: w.now.device}}
			return c.Commit(ctx, newID(), d)
		}
	case choice < 10:
		id := [16]byte(next.id[:])
		next = w.now
		do = func(ctx context.Context) error {
			first, err := c.Spend(ctx, id, time.Now().Add(time.Hour))
			if err == nil {
				w.spent = append(w.spent, id)
				if !first {
					t.Error("an id was spent before")
				}
			}
			return err
		}
	case choice < 18:
		next = nil
		do = func(ctx context.Context) error { return c.Delete(ctx, w.now.id) }
	case choice < 30: // another name, and another label
		next.device = fmt.Sprint("device ", w.n, " of ", w.owner)
		do = func(ctx context.Context) error {
			return c.Commit(ctx, w.now.id, &session.Delta{Rename: next.id, Set: counts(next.n), Labels: []session.Label{{Name: "device", Value: next.device}}})
		}
	default:
		next.id, next.device = w.now.id, w.now.device
		do = func(ctx context.Context) error {
			d := &session.Delta{Seen: time.Now(), If: counts(w.now.n)[:1], Set: counts(next.n)}
			if choice < 50 {
				d.Set = append(d.Set, large(w.n))
			}
			return c.Commit(ctx, next.id, d)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := do(ctx)
	var answer *remoteError
	switch {
	case err == nil:
		l.acknowledged.Add(1)
		w.become(next)
		return true
	case errors.As(err, &answer), ctx.Err() != nil:
		t.Errorf("%s: %v", w.owner, err)
	default:
		l.onTheWay.Add(1)
		w.next, w.inDoubt = next, true
	}
	return false
}

func (w *worker) become(next *state) {
	if w.now != nil && (next == nil || next.id != w.now.id) {
		w.over = append(w.over, w.now.id)
	}
	w.now, w.inDoubt = next, false
}

// verify asserts that the server has what was acknowledged, that what was under
// way has happened as a whole or not at all, and that there is nothing else.
func (l *load) verify(t *testing.T, c *client) {
	t.Helper()
	for _, w := range l.workers {
		if w.inDoubt && w.holds(t, c, w.next, w.now) {
			w.become(w.next)
		} else if !w.holds(t, c, w.now, w.next) {
			t.Errorf("%s: %+v was acknowledged, %+v was under way (%v), and there is neither", w.owner, w.now, w.next, w.inDoubt)
		}
		w.inDoubt = false
		for _, id := range w.over {
			if _, err := c.Load(t.Context(), id); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("%s: %v has ended and is back: %v", w.owner, id.Handle(), err)
			}
		}
		for _, id := range w.spent {
			if spent, err := c.Spent(t.Context(), id); !spent || err != nil {
				t.Errorf("%s: an id was spent and is not: %v", w.owner, err)
			}
		}
		w.over, w.spent = w.over[max(0, len(w.over)-5):], w.spent[max(0, len(w.spent)-5):]
	}
	var want []session.ID
	for _, w := range l.workers {
		var own []session.ID
		var label session.Label
		if w.now != nil {
			own, label = []session.ID{w.now.id}, session.Label{Name: "device", Value: w.now.device}
			want = append(want, w.now.id)
		}
		lists(t, c, session.Query{Owner: w.owner}, own)
		if w.now != nil {
			lists(t, c, session.Query{Label: label}, own)
		}
	}
	lists(t, c, session.Query{All: true}, want)
	l.verifyAccounts(t, c.Accounts())
}

// holds reports whether the server has this state, and nothing of the other.
func (w *worker) holds(t *testing.T, c *client, s, other *state) bool {
	t.Helper()
	if other != nil && (s == nil || other.id != s.id) {
		if _, err := c.Load(t.Context(), other.id); !errors.Is(err, session.ErrNotFound) {
			return false
		}
	}
	if s == nil {
		return true
	}
	r, err := c.Load(t.Context(), s.id)
	if err != nil {
		return false
	}
	values := map[string]string{}
	for _, f := range r.Fields {
		values[f.Key] = f.Value
	}
	for _, key := range tornFields {
		if values[key] != fmt.Sprint(s.n) {
			return false
		}
	}
	return r.Owner == w.owner && slices.Equal(r.Labels, []session.Label{{Name: "device", Value: s.device}})
}

func lists(t *testing.T, s session.Lister, q session.Query, want []session.ID) {
	t.Helper()
	var got []session.ID
	for r, err := range s.List(t.Context(), q) {
		if err != nil {
			t.Errorf("List(%+v): %v", q, err)
			return
		}
		got = append(got, r.ID)
	}
	compare := func(a, b session.ID) int { return slices.Compare(a[:], b[:]) }
	slices.SortFunc(got, compare)
	slices.SortFunc(want, compare)
	if !slices.Equal(got, want) {
		t.Errorf("List(%+v) yields %d records, want %d, or others", q, len(got), len(want))
	}
}

// sound asserts that the file and its indices are whole.
func (l *load) sound(t *testing.T) {
	t.Helper()
	s, err := Open(t.Context(), Config{Path: l.path, NoSocket: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for query, want := range map[string]string{
		"PRAGMA integrity_check": "ok",
		"SELECT count(*) FROM gatehouse_session WHERE due > min(seen + idle, expires)":                                                               "0",
		"SELECT count(*) FROM gatehouse_label WHERE session NOT IN (SELECT number FROM gatehouse_session)":                                           "0",
		"SELECT (SELECT count(*) FROM gatehouse_label) - (SELECT count(*) FROM gatehouse_session, json_each(labels))":                                "0",
		"SELECT count(*) FROM gatehouse_account_key WHERE account NOT IN (SELECT number FROM gatehouse_account)":                                     "0",
		"SELECT (SELECT count(*) FROM gatehouse_account_key) - (SELECT count(*) + coalesce(sum(json_array_length(keys)), 0) FROM gatehouse_account)": "0",
	} {
		var got string
		if err := s.writer.conn.scan(query, &got); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", query, got, err, want)
		}
	}
}
