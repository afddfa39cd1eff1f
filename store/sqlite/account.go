package sqlite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/session"
)

// Accounts keeps people, and the log of what has happened, in the same database.
// It may be used concurrently, and promises what [Store] does: what it has
// answered without an error is on disk. Where the disk or the file is full the
// error is [account.ErrFull].
type Accounts interface {
	account.Store
	account.Log
}

// Accounts returns the people of the database. Their records are not kept in
// memory: each Get asks the database. Times in the log are kept to the microsecond.
func (s *Store) Accounts() Accounts { return accounts{s} }

// accounts has its methods apart from those that sessions have.
type accounts struct{ s *Store }

// A record is one as the database has it.
type record struct {
	account.Record
	number int64 // its primary key
}

// Get implements [account.Store].
func (a accounts) Get(ctx context.Context, key string) (account.Record, error) {
	var r *record
	err := a.s.read(ctx, func(from *reader) (err error) {
		r, err = first(all(from.st.record, scanRecord, []byte(key)))
		return err
	})
	switch {
	case err != nil:
		return account.Record{}, failAccount("get", err)
	case r == nil:
		return account.Record{}, account.ErrNotFound
	}
	return r.Record, nil
}

// Put implements [account.Store].
func (a accounts) Put(ctx context.Context, r account.Record) error {
	// The caller may go before the writer has come to it, and change it.
	own, err := checked(r)
	if err != nil {
		return failAccount("put", err)
	}
	keys, err := json.Marshal(own.Keys)
	if err != nil {
		return failAccount("put", err)
	}
	return failAccount("put", a.s.writer.do(ctx, func(t *tx) error { return t.put(&own, string(keys)) }))
}

// checked returns a copy of a record whose keys are distinct, and others than its
// ID, or an error if it is not one that a Store has to keep. What comes through the
// socket nobody has looked at; and what is not UTF-8 would become another key on
// its way through JSON.
func checked(r account.Record) (account.Record, error) {
	own := account.Record{ID: r.ID, Version: r.Version, Keys: make([]string, 0, len(r.Keys)), Data: bytes.Clone(r.Data)}
	for i, key := range append([]string{r.ID}, r.Keys...) {
		if key == "" || len(key) > account.MaxKey || !utf8.ValidString(key) || strings.ContainsRune(key, 0) {
			return own, fmt.Errorf("%w: a key is UTF-8 without NUL, of 1 to %d bytes", errRequest, account.MaxKey)
		}
		if i > 0 && key != r.ID && !slices.Contains(own.Keys, key) {
			own.Keys = append(own.Keys, key)
		}
	}
	if len(own.Keys) >= account.MaxKeys {
		return own, fmt.Errorf("%w: a record has %d keys at most", errRequest, account.MaxKeys)
	}
	if len(own.Data) > account.MaxData {
		return own, fmt.Errorf("%w: a record has %d bytes at most", errRequest, account.MaxData)
	}
	return own, nil
}

// Delete implements [account.Store].
func (a accounts) Delete(ctx context.Context, id string, version int64) error {
	return failAccount("delete", a.s.writer.do(ctx, func(t *tx) error { return t.deleteRecord(id, version) }))
}

// accountStep is how many records are read at once: fewer than of sessions, since
// one may have a megabyte.
const accountStep = 32

// List implements [account.Store]. It goes through the keys in small steps.
func (a accounts) List(ctx context.Context, prefix, after string) iter.Seq2[account.Found, error] {
	return func(yield func(account.Found, error) bool) {
		// A key is UTF-8, which has no byte 0xff: what begins with the prefix comes
		// before it. Nor has it NUL: the first that can come after a key is this.
		from, end := []byte(max(prefix, after+"\x00")), []byte(prefix+"\xff")
		for {
			var found []account.Found
			err := ctx.Err()
			if err == nil {
				err = a.s.read(ctx, func(r *reader) (err error) {
					found, err = all(r.st.found, scanFound, from, end, accountStep)
					return err
				})
			}
			if err != nil {
				yield(account.Found{}, failAccount("list", err))
				return
			}
			for _, f := range found {
				if !yield(f, nil) {
					return
				}
			}
			if len(found) < accountStep {
				return
			}
			from = []byte(found[len(found)-1].Key + "\x00")
		}
	}
}

// recordColumns are what scanRecord reads, before the data.
const recordColumns = "number, id, version, keys"

// scanRecord reads one record of a result.
func scanRecord(scan func(dest ...any) error) (*record, error) {
	var r record
	err := r.scan(scan)
	return &r, err
}

func (r *record) scan(scan func(dest ...any) error, before ...any) error {
	var keys string
	if err := scan(append(before, &r.number, &r.ID, &r.Version, &keys, &r.Data)...); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(keys), &r.Keys); err != nil {
		return fmt.Errorf("%w: the keys of account %d: %w", errDamaged, r.number, err)
	}
	return nil
}

func scanFound(scan func(dest ...any) error) (account.Found, error) {
	var (
		key []byte
		r   record
	)
	err := r.scan(scan, &key)
	return account.Found{Key: string(key), Record: r.Record}, err
}

// version returns the record with this ID, without its data, if it has that
// version.
func (t *tx) version(id string, version int64) (*record, error) {
	r, err := find(t, t.w.st.record, scanRecord, []byte(id))
	switch {
	case err != nil:
		return nil, err
	case r == nil || r.ID != id:
		return nil, account.ErrNotFound
	case r.Version != version:
		return nil, account.ErrConflict
	}
	return r, nil
}

// put is what [account.Store] says of Put. keys are the record's as JSON.
func (t *tx) put(r *account.Record, keys string) error {
	old := new(record)
	if r.Version != 0 {
		var err error
		if old, err = t.version(r.ID, r.Version); err != nil {
			return err
		}
	}
	added := slices.DeleteFunc(append([]string{r.ID}, r.Keys...), func(key string) bool {
		return key == old.ID || slices.Contains(old.Keys, key)
	})
	for _, key := range added {
		holder, err := find(t, t.w.st.holder, scanOne[int64], []byte(key))
		if err != nil {
			return err
		}
		if holder != 0 {
			return &account.TakenError{Key: key}
		}
	}
	if err := t.claim(essential, rowBytes+len(keys)+len(r.Data), 0); err != nil {
		return err
	}
	t.bytes += len(r.Data)
	number := old.number
	if number == 0 {
		res, err := t.exec(t.w.st.insertRecord, r.ID, keys, r.Data)
		if err != nil {
			return err
		}
		if number, err = res.LastInsertId(); err != nil {
			return err
		}
	} else if _, err := t.exec(t.w.st.updateRecord, keys, r.Data, number); err != nil {
		return err
	}
	for _, key := range old.Keys {
		if !slices.Contains(r.Keys, key) {
			if _, err := t.exec(t.w.st.dropKey, []byte(key)); err != nil {
				return err
			}
		}
	}
	for _, key := range added {
		if _, err := t.exec(t.w.st.addKey, []byte(key), number); err != nil {
			return err
		}
	}
	return nil
}

// deleteRecord is what [account.Store] says of Delete.
func (t *tx) deleteRecord(id string, version int64) error {
	r, err := t.version(id, version)
	if err != nil {
		return err
	}
	if _, err := t.exec(t.w.st.removeRecord, r.number); err != nil {
		return err
	}
	for _, key := range append([]string{r.ID}, r.Keys...) {
		if _, err := t.exec(t.w.st.dropKey, []byte(key)); err != nil {
			return err
		}
	}
	return nil
}

// failAccount is fail for those who expect the errors of package account.
func failAccount(doing string, err error) error {
	if _, taken := errors.AsType[*account.TakenError](err); taken || errors.Is(err, account.ErrNotFound) || errors.Is(err, account.ErrConflict) {
		return err
	}
	if errors.Is(err, session.ErrFull) {
		err = fmt.Errorf("%w: %w", account.ErrFull, err)
	}
	return fail(doing, err)
}
