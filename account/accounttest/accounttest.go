// Package accounttest is the contract of [account.Store] and [account.Log] as
// tests, for stores of your own too.
package accounttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
)

// Run tests the store that open returns. Each call of open is for an empty one,
// and returns several views of it: connections, or processes, that work on one set
// of records. If there is one view only, it is used concurrently.
func Run(t *testing.T, open func(t *testing.T) []account.Store) {
	for name, test := range map[string]func(t *testing.T, s []account.Store){
		"Put":        testPut,
		"Taken":      testTaken,
		"Keys":       testKeys,
		"Bounds":     testBounds,
		"List":       testList,
		"Conflict":   testConflict,
		"CreateRace": testCreateRace,
		"UpdateRace": testUpdateRace,
		"Shared":     testShared,
		"Canceled":   testCanceled,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
	t.Run("Directory", func(t *testing.T) { testDirectory(t, open(t)) })
	t.Run("Unique", func(t *testing.T) { testUnique(t, open(t)) })
}

// RunLog tests the log that open returns, as [Run] does a store.
func RunLog(t *testing.T, open func(t *testing.T) []account.Log) {
	t.Run("Entries", func(t *testing.T) { testEntries(t, open(t)) })
	t.Run("Trim", func(t *testing.T) { testTrim(t, open(t)) })
	t.Run("AppendRace", func(t *testing.T) { testAppendRace(t, open(t)) })
}

func put(t *testing.T, s account.Store, r account.Record) {
	t.Helper()
	if err := s.Put(t.Context(), r); err != nil {
		t.Fatalf("Put(%q, version %d): %v", r.ID, r.Version, err)
	}
}

func get(t *testing.T, s account.Store, key string) account.Record {
	t.Helper()
	r, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("Get(%q): %v", key, err)
	}
	return r
}

func none(t *testing.T, s account.Store, key string) {
	t.Helper()
	if r, err := s.Get(t.Context(), key); !errors.Is(err, account.ErrNotFound) {
		t.Errorf("Get(%q): %+v, %v; want ErrNotFound", key, r, err)
	}
}

// same compares but for the order of keys.
func same(a, b account.Record) bool {
	slices.Sort(a.Keys)
	slices.Sort(b.Keys)
	return a.ID == b.ID && a.Version == b.Version && slices.Equal(a.Keys, b.Keys) && bytes.Equal(a.Data, b.Data)
}

func testPut(t *testing.T, views []account.Store) {
	s := views[0]
	none(t, s, "a")
	r := account.Record{ID: "a", Keys: []string{"k1", "k2"}, Data: []byte("one")}
	put(t, s, r)
	r.Data[0] = 'X' // what was given is the caller's
	r.Data[0], r.Version = 'o', 1
	for _, key := range []string{"a", "k1", "k2"} {
		if got := get(t, s, key); !same(got, r) {
			t.Errorf("Get(%q) = %+v, want %+v", key, got, r)
		}
	}
	got := get(t, s, "a")
	got.Data[0], got.Keys[0] = 'X', "X" // and so is what is got
	if got := get(t, s, "a"); !same(got, r) {
		t.Errorf("the store's own has been changed: %+v", got)
	}

	r.Data, r.Keys = []byte("two"), []string{"k2", "k3"}
	put(t, s, r)
	r.Version = 2
	none(t, s, "k1")
	for _, key := range []string{"a", "k2", "k3"} {
		if got := get(t, s, key); !same(got, r) {
			t.Errorf("Get(%q) = %+v, want %+v", key, got, r)
		}
	}
	if err := s.Delete(t.Context(), "k2", 2); !errors.Is(err, account.ErrNotFound) {
		t.Errorf("Delete by a key that is no ID: %v", err)
	}
	if err := s.Delete(t.Context(), "a", 1); !errors.Is(err, account.ErrConflict) {
		t.Errorf("Delete of a former version: %v", err)
	}
	if err := s.Delete(t.Context(), "a", 2); err != nil {
		t.Errorf("Delete: %v", err)
	}
	for _, key := range []string{"a", "k2", "k3"} {
		none(t, s, key)
	}
	if err := s.Delete(t.Context(), "a", 2); !errors.Is(err, account.ErrNotFound) {
		t.Errorf("Delete of what has gone: %v", err)
	}
	put(t, s, account.Record{ID: "a", Keys: []string{"k1"}}) // with no data
	if got := get(t, s, "k1"); got.Version != 1 || len(got.Data) != 0 {
		t.Errorf("after a new beginning: %+v", got)
	}
}

func testTaken(t *testing.T, views []account.Store) {
	s := views[0]
	put(t, s, account.Record{ID: "a", Keys: []string{"k"}, Data: []byte("a")})
	put(t, s, account.Record{ID: "b", Keys: []string{"l"}, Data: []byte("b")})
	for _, tt := range []struct {
		r    account.Record
		want string
	}{
		{account.Record{ID: "a"}, "a"},
		{account.Record{ID: "c", Keys: []string{"m", "k"}}, "k"},
		{account.Record{ID: "c", Keys: []string{"a"}}, "a"},
		{account.Record{ID: "k"}, "k"}, // somebody's key cannot be another's ID
		{account.Record{ID: "b", Version: 1, Keys: []string{"l", "m", "k"}}, "k"},
	} {
		err := s.Put(t.Context(), tt.r)
		if taken, ok := errors.AsType[*account.TakenError](err); !ok || taken.Key != tt.want {
			t.Errorf("Put(%+v): %v; want %q to be taken", tt.r, err, tt.want)
		}
	}
	none(t, s, "m")
	none(t, s, "c")
	if got := get(t, s, "l"); got.Version != 1 || string(got.Data) != "b" {
		t.Errorf("after a refusal: %+v", got)
	}
	put(t, s, account.Record{ID: "a", Version: 1})
	put(t, s, account.Record{ID: "b", Version: 1, Keys: []string{"k"}}) // it is free now
}

// Keys are bytes: nothing is folded, trimmed or taken for a pattern.
func testKeys(t *testing.T, views []account.Store) {
	s := views[0]
	keys := []string{"k", "K", "k ", " k", "k%", "k_", `k\`, "k'", `k"`, "é", "e\u0301", "ß", "ss", "名", "\U0001F600", "k\n", "*", "k?", "[k]"}
	for _, key := range keys {
		put(t, s, account.Record{ID: "id/" + key, Keys: []string{key}, Data: []byte(key)})
	}
	for _, key := range keys {
		if r := get(t, s, key); string(r.Data) != key {
			t.Errorf("%q finds %q", key, r.Data)
		}
	}
}

func testBounds(t *testing.T, views []account.Store) {
	s := views[0]
	r := account.Record{ID: strings.Repeat("i", account.MaxKey), Data: bytes.Repeat([]byte{0, 0xff}, account.MaxData/2)}
	for i := range account.MaxKeys - 1 {
		r.Keys = append(r.Keys, fmt.Sprintf("%0*d", account.MaxKey, i))
	}
	put(t, s, r)
	r.Version = 1
	if got := get(t, s, r.Keys[60]); !same(got, r) {
		t.Error("the largest record is not what was stored")
	}
}

func testList(t *testing.T, views []account.Store) {
	s := views[0]
	var want []string
	for i := range 250 {
		put(t, s, account.Record{ID: fmt.Sprintf("p/%03d", i), Keys: []string{fmt.Sprintf("n/%03d", 999-i)}, Data: fmt.Append(nil, i)})
		want = append(want, fmt.Sprintf("n/%03d", 999-i))
	}
	for _, key := range []string{"n", "n0", "N/500", "m/5", "o/5", "n/", "n/ü", "n%", "n_500"} {
		put(t, s, account.Record{ID: "q" + key, Keys: []string{key}})
	}
	want = append(want, "n/", "n/ü")
	slices.Sort(want)
	list := func(prefix, after string) (keys []string) {
		for f, err := range s.List(t.Context(), prefix, after) {
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(append(f.Keys, f.ID), f.Key) || f.Version != 1 {
				t.Errorf("found under %q: %+v", f.Key, f.Record)
			}
			keys = append(keys, f.Key)
			if len(keys)%100 == 0 { // the store can be used meanwhile
				r := get(t, s, f.ID)
				r.Version = 0
				if err := s.Put(t.Context(), r); err == nil {
					t.Error("created twice")
				}
			}
		}
		return keys
	}
	if got := list("n/", ""); !slices.Equal(got, want) {
		t.Errorf("list: %q\nwant %q", got, want)
	}
	if got := list("n/", "n/900"); !slices.Equal(got, want[slices.Index(want, "n/900")+1:]) {
		t.Errorf("list after: %q", got)
	}
	if got := list("x", ""); got != nil {
		t.Errorf("list of nothing: %q", got)
	}
	if got := list("", ""); len(got) != 2*(250+9) {
		t.Errorf("list of all: %d keys", len(got))
	}
	for _, err := range s.List(t.Context(), "n/", "") {
		if err != nil {
			t.Error(err)
		}
		break // and nobody waits for the rest
	}
}

func testConflict(t *testing.T, views []account.Store) {
	s := views[0]
	if err := s.Put(t.Context(), account.Record{ID: "a", Version: 1}); !errors.Is(err, account.ErrNotFound) {
		t.Errorf("Put of a version of nothing: %v", err)
	}
	put(t, s, account.Record{ID: "a", Data: []byte("1")})
	put(t, s, account.Record{ID: "a", Data: []byte("2"), Version: 1})
	for _, v := range []int64{1, 3, -1} {
		if err := s.Put(t.Context(), account.Record{ID: "a", Data: []byte("3"), Version: v}); !errors.Is(err, account.ErrConflict) {
			t.Errorf("Put of version %d: %v", v, err)
		}
	}
	if got := get(t, s, "a"); string(got.Data) != "2" || got.Version != 2 {
		t.Errorf("after conflicts: %+v", got)
	}
}

// atOnce calls f concurrently, with the views in turn.
func atOnce(views []account.Store, n int, f func(i int, s account.Store)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i, views[i%len(views)]) })
	}
	wg.Wait()
}

// Of several that create under one key, one does.
func testCreateRace(t *testing.T, views []account.Store) {
	for round := range 20 {
		var mu sync.Mutex
		won := 0
		atOnce(views, 8, func(i int, s account.Store) {
			err := s.Put(t.Context(), account.Record{ID: fmt.Sprintf("%d/%d", round, i), Keys: []string{fmt.Sprintf("key/%d", round)}})
			if _, taken := errors.AsType[*account.TakenError](err); err != nil && !taken {
				t.Errorf("Put: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			}
		})
		if won != 1 {
			t.Fatalf("%d have the key", won)
		}
	}
}

// No change is lost, and none is stored twice.
func testUpdateRace(t *testing.T, views []account.Store) {
	put(t, views[0], account.Record{ID: "a"})
	const each = 10
	atOnce(views, 8, func(i int, s account.Store) {
		for done := 0; done < each; {
			r, err := s.Get(t.Context(), "a")
			if err != nil {
				t.Errorf("Get: %v", err)
				return
			}
			r.Data = append(r.Data, byte('a'+i))
			switch err := s.Put(t.Context(), r); {
			case err == nil:
				done++
			case !errors.Is(err, account.ErrConflict):
				t.Errorf("Put: %v", err)
				return
			}
		}
	})
	r := get(t, views[0], "a")
	for i := range 8 {
		if n := bytes.Count(r.Data, []byte{byte('a' + i)}); n != each {
			t.Errorf("%d changes of %c are there, want %d", n, 'a'+i, each)
		}
	}
	if r.Version != 1+8*each {
		t.Errorf("version %d", r.Version)
	}
}

// What one view has stored, all others see.
func testShared(t *testing.T, views []account.Store) {
	for i, s := range views {
		put(t, s, account.Record{ID: fmt.Sprint(i), Keys: []string{fmt.Sprint("k", i)}})
		for _, other := range views {
			get(t, other, fmt.Sprint("k", i))
		}
	}
}

func testCanceled(t *testing.T, views []account.Store) {
	s := views[0]
	put(t, s, account.Record{ID: "a"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	// A store in memory need not look.
	if err := s.Put(ctx, account.Record{ID: "a", Version: 1}); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Put: %v", err)
	}
	for _, err := range s.List(ctx, "", "") {
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("List: %v", err)
		}
	}
}

// testDirectory is a life of people.
func testDirectory(t *testing.T, views []account.Store) {
	ctx := t.Context()
	open := func(i int) *account.Directory {
		d, err := account.New(account.Config{Store: views[i%len(views)]})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := open(0)

	// Of several that set up at once, with several links, one does.
	var tokens [8]string
	for i := range tokens {
		var err error
		if tokens[i], err = open(i).NewSetup(ctx, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	made := 0
	atOnce(views, len(tokens), func(i int, _ account.Store) {
		_, err := open(i).SetUp(ctx, tokens[i], account.Person{Name: fmt.Sprint("admin", i), Password: "hash"})
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			made++
		case !errors.Is(err, account.ErrSetUp) && !errors.Is(err, account.ErrLink):
			t.Errorf("set up: %v", err)
		}
	})
	if made != 1 {
		t.Fatalf("%d first administrators", made)
	}

	p, err := d.Create(ctx, account.Person{Name: "alex", Email: "alex@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	token, err := d.NewLink(ctx, p.ID, account.Recovery, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	// A link is used once.
	used := 0
	atOnce(views, 8, func(i int, _ account.Store) {
		d := open(i)
		p, err := d.ByLink(ctx, token, account.Recovery)
		if err == nil {
			_, err = d.Update(ctx, p.ID, func(p *account.Person) error { return p.UseLink(token, account.Recovery) })
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			used++
		case !errors.Is(err, account.ErrLink):
			t.Errorf("use: %v", err)
		}
	})
	if used != 1 {
		t.Errorf("a link was used %d times", used)
	}
	// All machines have one secret.
	var secrets [8][]byte
	atOnce(views, len(secrets), func(i int, _ account.Store) {
		var err error
		if secrets[i], err = open(i).Secret(ctx, "test"); err != nil {
			t.Error(err)
		}
	})
	for _, s := range secrets {
		if len(s) != 32 || !bytes.Equal(s, secrets[0]) {
			t.Errorf("secrets %x and %x", s, secrets[0])
		}
	}
	if err := d.Delete(ctx, p.ID); err != nil {
		t.Error(err)
	}
	if _, err := d.ByName(ctx, "alex"); !errors.Is(err, account.ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
}

// testUnique: what a person is found by, or signs in with, belongs to one person,
// whichever way two come to claim it, and is free again when that one gives it up.
func testUnique(t *testing.T, views []account.Store) {
	ctx := t.Context()
	var all []*account.Directory
	for _, s := range views {
		d, err := account.New(account.Config{Store: s})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	d := all[0]
	long := bytes.Repeat([]byte{0xff, 0}, 511) // longer than any key
	for _, claim := range []struct {
		what  string
		taken error
		claim func(p *account.Person, i int)
	}{
		{"name", account.ErrNameTaken, func(p *account.Person, _ int) { p.Name = "claimed" }},
		{"name in another case", account.ErrNameTaken, func(p *account.Person, i int) { p.Name = []string{"cased", "CASED", "ｃａｓｅｄ"}[i%3] }},
		{"name that looks the same", account.ErrNameTaken, func(p *account.Person, i int) { p.Name = []string{"l00k", "1ook", "look"}[i%3] }},
		{"address", account.ErrEmailTaken, func(p *account.Person, i int) {
			p.Email = []string{"zoe\u0308@example.com", "ZO\u00cb@example.COM", "zo\u00eb@example.com"}[i%3]
		}},
		{"passkey", account.ErrPasskeyTaken, func(p *account.Person, i int) {
			p.Passkeys = append(p.Passkeys, account.Passkey{ID: []byte("claimed"), Label: fmt.Sprint(i)})
		}},
		{"long passkey among others", account.ErrPasskeyTaken, func(p *account.Person, i int) {
			for n := range account.MaxPasskeys - 1 {
				p.Passkeys = append(p.Passkeys, account.Passkey{ID: append([]byte(p.Name), byte(n))})
			}
			p.Passkeys = append(p.Passkeys, account.Passkey{ID: long})
		}},
	} {
		t.Run(claim.what, func(t *testing.T) {
			const n = 9
			var number atomic.Int64
			name := func() string { return fmt.Sprintf("%s%d", strings.ReplaceAll(claim.what, " ", "-"), number.Add(1)) }
			create := func(d *account.Directory, i int) (string, error) {
				p := account.Person{Name: name()}
				claim.claim(&p, i)
				p, err := d.Create(ctx, p)
				return p.ID, err
			}
			update := func(d *account.Directory, id string, i int) error {
				_, err := d.Update(ctx, id, func(p *account.Person) error { claim.claim(p, i); return nil })
				return err
			}
			ids := make([]string, n)
			for i := range ids {
				p, err := d.Create(ctx, account.Person{Name: name()})
				if err != nil {
					t.Fatal(err)
				}
				ids[i] = p.ID
			}
			for round, by := range map[string]func(d *account.Directory, i int) (string, error){
				"created": create,
				"updated": func(d *account.Directory, i int) (string, error) { return ids[i], update(d, ids[i], i) },
				"both": func(d *account.Directory, i int) (string, error) {
					if i%2 == 0 {
						return create(d, i)
					}
					return ids[i], update(d, ids[i], i)
				},
			} {
				var mu sync.Mutex
				var won []string
				atOnce(views, n, func(i int, _ account.Store) {
					id, err := by(all[i%len(all)], i)
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil:
						won = append(won, id)
					case !errors.Is(err, claim.taken):
						t.Errorf("%s: %v, want %v", round, err, claim.taken)
					}
				})
				if len(won) != 1 {
					t.Fatalf("%s: %d have it", round, len(won))
				}
				// Later it is as when they came at once, and nothing else has changed.
				if _, err := create(d, 0); !errors.Is(err, claim.taken) {
					t.Errorf("%s: created later: %v", round, err)
				}
				for i, id := range ids {
					if id == won[0] {
						continue
					}
					before, err := d.ByID(ctx, id)
					if err != nil {
						t.Fatal(err)
					}
					if err := update(d, id, i); !errors.Is(err, claim.taken) {
						t.Errorf("%s: updated later: %v", round, err)
					}
					if after, err := d.ByID(ctx, id); err != nil || !reflect.DeepEqual(after, before) {
						t.Errorf("%s: after a refusal %+v, was %+v: %v", round, after, before, err)
					}
				}
				// Its owner may change all else.
				if _, err := d.Update(ctx, won[0], func(p *account.Person) error { p.DisplayName = "mine"; return nil }); err != nil {
					t.Errorf("%s: its owner: %v", round, err)
				}
				if !slices.Contains(ids, won[0]) {
					if err := d.Delete(ctx, won[0]); err != nil {
						t.Fatal(err)
					}
					continue
				}
				if _, err := d.Update(ctx, won[0], func(p *account.Person) error {
					p.Name, p.Email, p.Passkeys = name(), "", nil
					return nil
				}); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	// Nor has one person the same passkey twice.
	twice := []account.Passkey{{ID: []byte("a")}, {ID: []byte("b")}, {ID: []byte("a")}}
	if _, err := d.Create(ctx, account.Person{Name: "twice", Passkeys: twice}); !errors.Is(err, account.ErrPerson) {
		t.Errorf("one passkey twice: %v", err)
	}
	for _, bad := range [][]byte{nil, {}, make([]byte, 1024)} {
		if _, err := d.Create(ctx, account.Person{Name: "bad", Passkeys: []account.Passkey{{ID: bad}}}); !errors.Is(err, account.ErrPerson) {
			t.Errorf("an ID of %d bytes: %v", len(bad), err)
		}
	}
}

// ---- the log

func entries(t *testing.T, l iter.Seq2[account.Entry, error]) (all []account.Entry) {
	t.Helper()
	for e, err := range l {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func testEntries(t *testing.T, views []account.Log) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	full := account.Entry{
		Time: start.Add(-time.Second), Kind: "all", Person: "p", Name: "名 \x01", By: "b", Addr: netip.MustParseAddr("2001:db8::1"),
		Agent: "agent", Session: "0123456789abcdef", Detail: "detail",
	}
	if err := views[0].Append(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		e := account.Entry{Time: start.Add(time.Duration(i) * time.Second), Kind: "even", Person: fmt.Sprint("person", i%3)}
		if i%2 == 1 {
			e.Kind = "odd"
		}
		if err := views[i%len(views)].Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	all := entries(t, views[0].Entries(t.Context(), account.LogQuery{}))
	if len(all) != 301 || !slices.IsSortedFunc(all, func(a, b account.Entry) int { return int(b.Number - a.Number) }) {
		t.Fatalf("%d entries, the newest first?", len(all))
	}
	full.Number = all[300].Number
	if got := all[300]; !got.Time.Equal(full.Time) {
		t.Errorf("time %v, want %v", got.Time, full.Time)
	} else if got.Time = full.Time; !reflect.DeepEqual(got, full) {
		t.Errorf("got %+v\nwant %+v", got, full)
	}
	for _, q := range []account.LogQuery{
		{Person: "person1"},
		{Kind: "odd"},
		{Kind: "odd", Person: "person2"},
		{Since: start.Add(250 * time.Second)},
		{Before: all[100].Number},
		{Person: "person0", Kind: "even", Since: start.Add(100 * time.Second), Before: all[20].Number},
		{Person: "nobody"},
	} {
		var want []int64
		for _, e := range all {
			if q.Match(&e) {
				want = append(want, e.Number)
			}
		}
		var got []int64
		for _, e := range entries(t, views[0].Entries(t.Context(), q)) {
			got = append(got, e.Number)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v: %d entries, want %d", q, len(got), len(want))
		}
	}
	for _, err := range views[0].Entries(t.Context(), account.LogQuery{}) {
		if err != nil {
			t.Error(err)
		}
		break // and nobody waits for the rest
	}
}

func testTrim(t *testing.T, views []account.Log) {
	l := views[0]
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range 100 {
		if err := l.Append(t.Context(), account.Entry{Time: start.Add(time.Duration(i) * time.Minute), Kind: "k"}); err != nil {
			t.Fatal(err)
		}
	}
	last := entries(t, l.Entries(t.Context(), account.LogQuery{}))[0].Number
	if n, err := l.Trim(t.Context(), start.Add(40*time.Minute)); n != 40 || err != nil {
		t.Errorf("Trim: %d, %v", n, err)
	}
	if left := entries(t, l.Entries(t.Context(), account.LogQuery{})); len(left) != 60 || !left[59].Time.Equal(start.Add(40*time.Minute)) {
		t.Errorf("%d are left", len(left))
	}
	if n, err := l.Trim(t.Context(), start.Add(1000*time.Minute)); n != 60 || err != nil {
		t.Errorf("Trim of all: %d, %v", n, err)
	}
	if err := l.Append(t.Context(), account.Entry{Time: start, Kind: "k"}); err != nil {
		t.Fatal(err)
	}
	if got := entries(t, l.Entries(t.Context(), account.LogQuery{})); len(got) != 1 || got[0].Number <= last {
		t.Errorf("a number is given twice: %+v, after %d", got, last)
	}
}

func testAppendRace(t *testing.T, views []account.Log) {
	const each = 20
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range each {
				if err := views[i%len(views)].Append(t.Context(), account.Entry{Time: time.Now(), Kind: "k", Person: fmt.Sprint(i)}); err != nil {
					t.Errorf("Append: %v", err)
				}
			}
		})
	}
	wg.Wait()
	seen := make(map[int64]bool)
	for _, e := range entries(t, views[0].Entries(t.Context(), account.LogQuery{})) {
		if seen[e.Number] {
			t.Errorf("number %d twice", e.Number)
		}
		seen[e.Number] = true
	}
	if len(seen) != 8*each {
		t.Errorf("%d entries, want %d", len(seen), 8*each)
	}
}
