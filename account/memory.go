package account

import (
	"bytes"
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Memory is a Store and a Log in the memory of one process, for tests and for
// programs whose people come from elsewhere at each start. The zero value is
// empty and ready. It may be used concurrently.
//
// It is not bounded. Listings sort what they list.
type Memory struct {
	mu      sync.RWMutex
	records map[string]*Record // under each of their keys
	entries []Entry            // by their number
	number  int64
}

// Get implements [Store].
func (m *Memory) Get(_ context.Context, key string) (Record, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	r := m.records[key]
	if r == nil {
		return Record{}, ErrNotFound
	}
	return r.clone(), nil
}

func (r *Record) clone() Record {
	c := *r
	c.Keys, c.Data = slices.Clone(r.Keys), bytes.Clone(r.Data)
	return c
}

// Put implements [Store].
func (m *Memory) Put(_ context.Context, r Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var old *Record
	if r.Version != 0 {
		var err error
		if old, err = m.find(r.ID, r.Version); err != nil {
			return err
		}
	}
	for key := range r.all() {
		if m.records[key] != old && m.records[key] != nil {
			return &TakenError{key}
		}
	}
	m.remove(old)
	c := r.clone()
	c.Version++
	if m.records == nil {
		m.records = make(map[string]*Record)
	}
	for key := range c.all() {
		m.records[key] = &c
	}
	return nil
}

// all yields the ID and the other keys.
func (r *Record) all() iter.Seq[string] {
	return func(yield func(string) bool) {
		if !yield(r.ID) {
			return
		}
		for _, key := range r.Keys {
			if !yield(key) {
				return
			}
		}
	}
}

// find returns the record with this ID and version.
func (m *Memory) find(id string, version int64) (*Record, error) {
	r := m.records[id]
	switch {
	case r == nil || r.ID != id:
		return nil, ErrNotFound
	case r.Version != version:
		return nil, ErrConflict
	}
	return r, nil
}

func (m *Memory) remove(r *Record) {
	if r != nil {
		for key := range r.all() {
			delete(m.records, key)
		}
	}
}

// Delete implements [Store].
func (m *Memory) Delete(_ context.Context, id string, version int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.find(id, version)
	m.remove(r)
	return err
}

// List implements [Store].
func (m *Memory) List(ctx context.Context, prefix, after string) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		m.mu.RLock()
		keys := slices.Sorted(maps.Keys(m.records))
		m.mu.RUnlock()
		for _, key := range keys {
			if !strings.HasPrefix(key, prefix) || key <= after {
				continue
			}
			r, err := m.Get(ctx, key)
			if err != nil {
				continue // it has gone meanwhile
			}
			if !yield(Found{key, r}, nil) {
				return
			}
		}
	}
}

// Append implements [Log].
func (m *Memory) Append(_ context.Context, e Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.number++
	e.Number = m.number
	m.entries = append(m.entries, e)
	return nil
}

// Entries implements [Log].
func (m *Memory) Entries(_ context.Context, q LogQuery) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for before := cmp.Or(q.Before, int64(1)<<62); ; {
			e, ok := m.newest(before)
			if !ok {
				return
			}
			before = e.Number
			if q.Match(&e) && !yield(e, nil) {
				return
			}
		}
	}
}

// newest returns the entry with the greatest number below before.
func (m *Memory) newest(before int64) (Entry, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	i, _ := slices.BinarySearchFunc(m.entries, before, func(e Entry, n int64) int { return cmp.Compare(e.Number, n) })
	if i == 0 {
		return Entry{}, false
	}
	return m.entries[i-1], true
}

// Trim implements [Log].
func (m *Memory) Trim(_ context.Context, before time.Time) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := len(m.entries)
	m.entries = slices.DeleteFunc(m.entries, func(e Entry) bool { return e.Time.Before(before) })
	return n - len(m.entries), nil
}
