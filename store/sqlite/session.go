package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// Load implements [session.Store].
func (s *Store) Load(ctx context.Context, id session.ID) (session.Record, error) {
	r, err := s.row(ctx, id.Handle())
	if err != nil {
		return session.Record{}, fail("load", err)
	}
	if r == nil || r.ID != id || !r.live(time.Now()) {
		return session.Record{}, session.ErrNotFound
	}
	return r.Record, nil
}

// Find implements [session.Lister].
func (s *Store) Find(ctx context.Context, h session.Handle) (session.Record, error) {
	r, err := s.row(ctx, h)
	if err != nil {
		return session.Record{}, fail("find", err)
	}
	if r == nil || !r.live(time.Now()) {
		return session.Record{}, session.ErrNotFound
	}
	return r.Record, nil
}

// Commit implements [session.Store].
func (s *Store) Commit(ctx context.Context, id session.ID, d *session.Delta) error {
	if err := d.Validate(); err != nil {
		return err
	}
	// The caller may go before the writer has come to it, and change it.
	own := *d
	own.If, own.Set, own.Delete, own.Labels = slices.Clone(d.If), slices.Clone(d.Set), slices.Clone(d.Delete), slices.Clone(d.Labels)
	if d.Owner != nil {
		owner := *d.Owner
		own.Owner = &owner
	}
	return fail("commit", s.writer.do(ctx, func(t *tx) error { return t.commit(id, &own) }))
}

// Delete implements [session.Store].
func (s *Store) Delete(ctx context.Context, id session.ID) error {
	return fail("delete", s.writer.do(ctx, func(t *tx) error { return t.delete(id) }))
}

// row returns the row with this handle, over or not, and nil if there is none.
func (s *Store) row(ctx context.Context, h session.Handle) (*row, error) {
	select {
	case <-s.done:
		return nil, ErrClosed
	default:
	}
	key := keyOf(h)
	r, mark := s.cache.get(key)
	if r != nil {
		return r, nil
	}
	err := s.read(ctx, func(from *reader) (err error) {
		r, err = first(all(from.st.row, scanRow, key))
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.cache.fill(key, r, mark), nil
}

// fail says what was done when the error came. What callers expect stays as it
// is.
func fail(doing string, err error) error {
	for _, expected := range []error{session.ErrNotFound, session.ErrExists, session.ErrConflict, ErrClosed, context.Canceled, context.DeadlineExceeded} {
		if err == nil || errors.Is(err, expected) {
			return err
		}
	}
	return fmt.Errorf("sqlite: %s: %w", doing, err)
}
