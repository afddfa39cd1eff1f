package storetest_test

import (
	"context"
	"iter"
	"net"
	"net/rpc"
	"net/rpc/jsonrpc"
	"slices"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/memory"
	"github.com/seed-64ad3862/gatehouse/store/storetest"
)

// TestProcesses: the suite itself, on a store in the memory of one process that
// others call.
func TestProcesses(t *testing.T) {
	storetest.Processes(t, storetest.ProcessConfig{
		Where: func(t *testing.T) string {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			server := rpc.NewServer()
			if err := server.RegisterName("Store", &served{memory.New(memory.Config{})}); err != nil {
				t.Fatal(err)
			}
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					// JSON, since gob takes an owner that is empty for none.
					go server.ServeCodec(jsonrpc.NewServerCodec(conn))
				}
			}()
			t.Cleanup(func() { _ = l.Close() })
			return l.Addr().String()
		},
		Open: func(t *testing.T, where string) session.Store {
			c, err := jsonrpc.Dial("tcp", where)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			return &called{c}
		},
		Rounds: 20,
	})
}

// served is a store as package net/rpc wants it.
type served struct{ *memory.Store }

// Change and Spending are the arguments of a call; package rpc wants them
// exported.
type (
	Change struct {
		ID    session.ID
		Delta session.Delta
	}
	Spending struct {
		ID    [16]byte
		Until time.Time
	}
)

func (s *served) Load(id session.ID, r *session.Record) (err error) {
	*r, err = s.Store.Load(context.Background(), id)
	return err
}

func (s *served) Commit(c Change, _ *bool) error {
	return s.Store.Commit(context.Background(), c.ID, &c.Delta)
}

func (s *served) Delete(id session.ID, _ *bool) error {
	return s.Store.Delete(context.Background(), id)
}

func (s *served) List(q session.Query, all *[]session.Record) error {
	for r, err := range s.Store.List(context.Background(), q) {
		if err != nil {
			return err
		}
		*all = append(*all, r)
	}
	return nil
}

func (s *served) Find(h session.Handle, r *session.Record) (err error) {
	*r, err = s.Store.Find(context.Background(), h)
	return err
}

func (s *served) Spend(c Spending, first *bool) (err error) {
	*first, err = s.Store.Spend(context.Background(), c.ID, c.Until)
	return err
}

// called is the same store for a caller.
type called struct{ client *rpc.Client }

func (c *called) call(method string, arg, reply any) error {
	err := c.client.Call("Store."+method, arg, reply)
	if err == nil {
		return nil
	}
	known := []error{session.ErrNotFound, session.ErrExists, session.ErrConflict}
	if i := slices.IndexFunc(known, func(e error) bool { return e.Error() == err.Error() }); i >= 0 {
		return known[i]
	}
	return err
}

func (c *called) Load(_ context.Context, id session.ID) (r session.Record, err error) {
	err = c.call("Load", id, &r)
	return r, err
}

func (c *called) Commit(_ context.Context, id session.ID, d *session.Delta) error {
	return c.call("Commit", Change{id, *d}, new(bool))
}

func (c *called) Delete(_ context.Context, id session.ID) error {
	return c.call("Delete", id, new(bool))
}

func (c *called) List(_ context.Context, q session.Query) iter.Seq2[session.Record, error] {
	return func(yield func(session.Record, error) bool) {
		var all []session.Record
		if err := c.call("List", q, &all); err != nil {
			yield(session.Record{}, err)
			return
		}
		for _, r := range all {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (c *called) Find(_ context.Context, h session.Handle) (r session.Record, err error) {
	err = c.call("Find", h, &r)
	return r, err
}

func (c *called) Spend(_ context.Context, id [16]byte, until time.Time) (first bool, err error) {
	err = c.call("Spend", Spending{id, until}, &first)
	return first, err
}
