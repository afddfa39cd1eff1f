package postgres_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/postgres"
	"github.com/seed-64ad3862/gatehouse/throttle"
)

// scissors is a network between a client and a server that cuts a connection
// when the server has answered, and before the client hears of it.
type scissors struct {
	addr string
	cut  atomic.Bool  // the next answer, and no other
	pass atomic.Int64 // all of it but so many bytes, none if 0
}

func newScissors(t *testing.T, server string) *scissors {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	s := &scissors{addr: l.Addr().String()}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go s.connect(client, server)
		}
	}()
	return s
}

func (s *scissors) connect(client net.Conn, addr string) {
	defer client.Close()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := server.Read(b)
		if err != nil {
			return
		}
		if s.cut.CompareAndSwap(true, false) {
			if but := int(s.pass.Load()); but > 0 {
				_, _ = client.Write(b[:n-but])
			}
			return
		}
		if _, err := client.Write(b[:n]); err != nil {
			return
		}
	}
}

// TestBrokenMidway: a change whose answer is lost has been made, in this test.
// Who asked learns that it cannot be known, and nothing that is wrong; who only
// reads notices nothing.
func TestBrokenMidway(t *testing.T) {
	pg := service.Postgres(t)
	wire := newScissors(t, pg.Addr)
	pool := newPool(t, strings.Replace(pg.URL(), pg.Addr, wire.addr, 1), func(c *pgxpool.Config) { c.MaxConns = 1 })
	store := open(t, postgres.Config{Pool: pool})
	ctx, owner := t.Context(), "o"
	var id session.ID
	create := func() error {
		id = newID()
		d := born()
		d.Owner = &owner
		return store.Commit(ctx, id, d)
	}
	there := func() bool {
		_, err := store.Load(ctx, id)
		if err != nil && !errors.Is(err, session.ErrNotFound) {
			t.Errorf("Load: %v", err)
		}
		return err == nil
	}
	renamed := newID()
	people, throttled := store.Accounts(), store.Throttle()
	key := func() string { return fmt.Sprintf("%x", id) }
	put := func() error {
		id = newID()
		return people.Put(ctx, account.Record{ID: key()})
	}
	version := func() int64 {
		r, err := people.Get(ctx, key())
		if err != nil && !errors.Is(err, account.ErrNotFound) {
			t.Errorf("Get: %v", err)
		}
		return r.Version
	}
	logged := func() bool {
		n := 0
		for _, err := range people.Entries(ctx, account.LogQuery{Person: key()}) {
			if err != nil {
				t.Errorf("Entries: %v", err)
			}
			n++
		}
		return n == 1
	}
	bucket := func() []throttle.Bucket {
		return []throttle.Bucket{{Name: throttle.Name{Account: [16]byte(id[:])}, Limit: throttle.Limit{Burst: 9, Every: time.Hour}}}
	}
	used := func() int {
		n, err := throttled.Used(ctx, bucket())
		if err != nil || len(n) != 1 {
			t.Fatalf("Used: %v, %v", n, err)
		}
		return n[0]
	}
	take := func() error {
		_, err := throttled.Take(ctx, bucket())
		return err
	}
	fresh := func() error {
		id = newID()
		return nil
	}
	for _, test := range []struct {
		name   string
		reads  bool
		before func() error
		call   func() error
		made   func() bool
	}{
		{"create", false, nil, create, there},
		{"change", false, create, func() error {
			return store.Commit(ctx, id, &session.Delta{If: []session.Field{{Key: "a"}}, Set: []session.Field{{Key: "a", Value: "1"}}})
		}, func() bool {
			r, err := store.Load(ctx, id)
			return err == nil && value(r, "a") == "1"
		}},
		{"rename", false, create, func() error { return store.Commit(ctx, id, &session.Delta{Rename: renamed}) }, func() bool {
			_, err := store.Load(ctx, renamed)
			return err == nil && !there()
		}},
		{"delete", false, create, func() error { return store.Delete(ctx, id) }, func() bool { return !there() }},
		{"spend", false, create, func() error {
			_, err := store.Spend(ctx, [16]byte(id[:]), time.Now().Add(time.Hour))
			return err
		}, func() bool {
			spent, err := store.Spent(ctx, [16]byte(id[:]))
			return err == nil && spent
		}},
		{"sweep", false, func() error {
			return errors.Join(create(), store.Commit(ctx, id, &session.Delta{Expires: time.Now().Add(-time.Second)}))
		}, func() error { return last(store.Sweep(ctx)) }, func() bool { return last(store.Sweep(ctx)) == nil }},
		{"put", false, nil, put, func() bool { return version() == 1 }},
		{"put again", false, put, func() error { return people.Put(ctx, account.Record{ID: key(), Version: 1}) }, func() bool { return version() == 2 }},
		{"remove", false, put, func() error { return people.Delete(ctx, key(), 1) }, func() bool { return version() == 0 }},
		{"append", false, fresh, func() error { return people.Append(ctx, account.Entry{Time: time.Now(), Person: key()}) }, logged},
		{"take", false, fresh, take, func() bool { return used() == 1 }},
		{"give", false, func() error { return errors.Join(fresh(), take(), take()) }, func() error { return throttled.Give(ctx, bucket(), nil) }, func() bool { return used() == 1 }},
		{"get", true, put, func() error {
			_, err := people.Get(ctx, key())
			return err
		}, func() bool { return version() == 1 }},
		{"list of keys", true, put, func() error { return last(people.List(ctx, key(), "")) }, func() bool { return version() == 1 }},
		{"load", true, create, func() error {
			_, err := store.Load(ctx, id)
			return err
		}, there},
		{"find", true, create, func() error {
			_, err := store.Find(ctx, id.Handle())
			return err
		}, there},
		{"list", true, create, func() error { return last(store.List(ctx, session.Query{Owner: owner})) }, there},
		{"spent", true, create, func() error {
			_, err := store.Spent(ctx, [16]byte(id[:]))
			return err
		}, there},
	} {
		// Once for the connection to prepare the statement, whose answer is
		// another one.
		for _, cut := range []bool{false, true} {
			if test.before != nil {
				if err := test.before(); err != nil {
					t.Fatalf("%s: %v", test.name, err)
				}
			}
			renamed = newID()
			wire.cut.Store(cut)
			err := test.call()
			if wire.cut.Load() {
				t.Fatalf("%s: nothing was cut", test.name)
			}
			unknown := err != nil && strings.Contains(err.Error(), "nobody can know")
			if want := cut && !test.reads; unknown != want || !unknown && err != nil ||
				errors.Is(err, account.ErrNotFound) || errors.Is(err, account.ErrConflict) || errors.Is(err, session.ErrExists) || errors.Is(err, session.ErrNotFound) || errors.Is(err, session.ErrConflict) {
				t.Errorf("%s: %v; the answer was lost: %v", test.name, err, cut)
			}
			if !test.made() {
				t.Errorf("%s: it was not done, the test shows nothing", test.name)
			}
		}
	}
}

// TestBrokenAtTheEnd: what had been read when the connection broke is not there
// twice when it has been read again.
func TestBrokenAtTheEnd(t *testing.T) {
	pg := service.Postgres(t)
	wire := newScissors(t, pg.Addr)
	wire.pass.Store(20) // all but CommandComplete and ReadyForQuery
	pool := newPool(t, strings.Replace(pg.URL(), pg.Addr, wire.addr, 1), func(c *pgxpool.Config) { c.MaxConns = 1 })
	store := open(t, postgres.Config{Pool: pool})
	d := born(session.Field{Key: "a", Value: "1"})
	d.Labels = []session.Label{{Name: "device", Value: "phone"}}
	id := made(t, store, d)
	for _, cut := range []bool{false, true} { // the first time it is prepared
		wire.cut.Store(cut)
		r, err := store.Load(t.Context(), id)
		if err != nil || len(r.Labels) != 1 || len(r.Fields) != 1 || wire.cut.Load() {
			t.Errorf("%+v, %v", r, err)
		}
	}
}
