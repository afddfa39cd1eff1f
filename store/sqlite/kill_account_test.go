//go:build unix

package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
)

// A keeper is to accounts what a worker is to sessions: it has one record at a time,
// and entries of the log, which nobody else changes.
type keeper struct {
	id string
	n  int // counts all it does

	now, next *account.Record // as those of a worker
	inDoubt   bool

	logged []string // the details of entries that were acknowledged, in order
	maybe  string   // of one whose Append was not answered
}

func (k *keeper) key(n int) string { return fmt.Sprintf("key %d of %s", n, k.id) }

// step does one thing, and reports whether the server has answered.
func (k *keeper) step(t *testing.T, l *load, a Accounts) bool {
	k.n++
	next := &account.Record{ID: k.id, Keys: []string{"name of " + k.id, k.key(k.n)}, Version: 1}
	next.Data = bytes.Repeat(fmt.Appendf(nil, "%d,", k.n), 1+rand.IntN(2000))
	detail := ""
	var do func(ctx context.Context) error
	choice := rand.IntN(100)
	switch {
	case choice < 30:
		next, detail = k.now, fmt.Sprint(k.n)
		do = func(ctx context.Context) error {
			return a.Append(ctx, account.Entry{Time: time.Now(), Kind: "kill", Person: k.id, Detail: detail})
		}
	case choice < 35: // those of nobody are removed all the time
		next = k.now
		do = func(ctx context.Context) error {
			for range 3 {
				if err := a.Append(ctx, account.Entry{Time: time.Unix(int64(k.n), 0), Kind: "old"}); err != nil {
					return err
				}
			}
			_, err := a.Trim(ctx, time.Now().Add(-time.Hour))
			return err
		}
	case k.now == nil:
		do = func(ctx context.Context) error {
			r := *next
			r.Version = 0
			return a.Put(ctx, r)
		}
	case choice < 45:
		next = nil
		do = func(ctx context.Context) error { return a.Delete(ctx, k.id, k.now.Version) }
	default:
		next.Version = k.now.Version + 1
		do = func(ctx context.Context) error {
			r := *next
			r.Version--
			return a.Put(ctx, r)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := do(ctx)
	var answer *remoteError
	switch {
	case err == nil:
		l.acknowledged.Add(1)
		k.now = next
		if detail != "" {
			k.logged = append(k.logged, detail)
		}
		return true
	case errors.As(err, &answer), ctx.Err() != nil:
		t.Errorf("%s: %v", k.id, err)
	default:
		l.onTheWay.Add(1)
		k.next, k.inDoubt, k.maybe = next, true, detail
	}
	return false
}

// verify asserts what load.verify says, and returns the keys that there must be.
func (k *keeper) verify(t *testing.T, a Accounts) (keys []string) {
	t.Helper()
	if k.inDoubt && k.holds(t, a, k.next) {
		k.now = k.next
	} else if !k.holds(t, a, k.now) {
		t.Errorf("%s: %.60v was acknowledged, %.60v was under way (%v), and there is neither", k.id, k.now, k.next, k.inDoubt)
	}
	k.inDoubt = false

	var logged []string
	last := int64(0)
	for e, err := range a.Entries(t.Context(), account.LogQuery{Person: k.id}) {
		if err != nil {
			t.Errorf("%s: Entries: %v", k.id, err)
			return nil
		}
		if last != 0 && e.Number >= last {
			t.Errorf("%s: entry %d after %d", k.id, e.Number, last)
		}
		last = e.Number
		logged = append(logged, e.Detail)
	}
	slices.Reverse(logged)
	if k.maybe != "" && len(logged) > 0 && logged[len(logged)-1] == k.maybe {
		k.logged = append(k.logged, k.maybe)
	}
	k.maybe = ""
	if !slices.Equal(logged, k.logged) {
		t.Errorf("%s: %d entries, want %d, or others", k.id, len(logged), len(k.logged))
	}
	if k.now == nil {
		return nil
	}
	return append([]string{k.id}, k.now.Keys...)
}

// holds reports whether the server has this record, or none if it is nil.
func (k *keeper) holds(t *testing.T, a Accounts, want *account.Record) bool {
	t.Helper()
	if want == nil {
		_, err := a.Get(t.Context(), k.id)
		return errors.Is(err, account.ErrNotFound)
	}
	for _, key := range append([]string{want.ID}, want.Keys...) {
		r, err := a.Get(t.Context(), key)
		if err != nil || r.ID != want.ID || r.Version != want.Version || !slices.Equal(r.Keys, want.Keys) || !bytes.Equal(r.Data, want.Data) {
			return false
		}
	}
	return true
}

// verifyAccounts asserts that there are all keys that were acknowledged, and no other.
func (l *load) verifyAccounts(t *testing.T, a Accounts) {
	t.Helper()
	var want, got []string
	for _, k := range l.keepers {
		want = append(want, k.verify(t, a)...)
	}
	for f, err := range a.List(t.Context(), "", "") {
		if err != nil {
			t.Errorf("List: %v", err)
			return
		}
		got = append(got, f.Key)
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("there are the keys %q, want %q", got, want)
	}
}
