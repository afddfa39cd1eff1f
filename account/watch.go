package account

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/outage"
)

// watched is a Store that tells the log of its outages. Its errors beyond those of the
// contract are [ErrStore].
type watched struct {
	store  Store
	log    *slog.Logger
	outage outage.Outage
}

// note returns the error of a call that began then.
func (w *watched) note(ctx context.Context, began time.Time, err error) error {
	_, taken := errors.AsType[*TakenError](err)
	switch {
	case taken, errors.Is(err, ErrNotFound), errors.Is(err, ErrConflict):
		w.outage.Note(began, nil).Log(ctx, w.log, "account: the store", nil)
		return err
	case errors.Is(ctx.Err(), context.Canceled): // the caller has gone
		return err
	}
	w.outage.Note(began, err).Log(ctx, w.log, "account: the store", err)
	if err != nil {
		err = storeError{err}
	}
	return err
}

// A storeError is an error of the store, as it says it.
type storeError struct{ error }

func (e storeError) Is(target error) bool { return target == ErrStore }

func (e storeError) Unwrap() error { return e.error }

func (w *watched) Get(ctx context.Context, key string) (Record, error) {
	began := time.Now()
	r, err := w.store.Get(ctx, key)
	return r, w.note(ctx, began, err)
}

func (w *watched) Put(ctx context.Context, r Record) error {
	began := time.Now()
	return w.note(ctx, began, w.store.Put(ctx, r))
}

func (w *watched) Delete(ctx context.Context, id string, version int64) error {
	began := time.Now()
	return w.note(ctx, began, w.store.Delete(ctx, id, version))
}

func (w *watched) List(ctx context.Context, prefix, after string) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		began := time.Now()
		for f, err := range w.store.List(ctx, prefix, after) {
			if err != nil {
				err = w.note(ctx, began, err)
			}
			if !yield(f, err) {
				return
			}
		}
	}
}
