package postgres

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/seed-64ad3862/gatehouse/account"
)

// Batches of people, of which few come near to [account.MaxData], and of entries.
const (
	foundBatch = 100
	entryBatch = 200
	trimBatch  = 500
)

// puts is how often Put tries. Each time that it fails without a reason that is
// still there, somebody else's change has been stored.
const puts = 20

// Accounts is an [account.Store] and an [account.Log]. It may be used
// concurrently, by any number of processes at once.
type Accounts struct{ store *Store }

// Accounts returns the records of package account that are kept in the schema.
func (s *Store) Accounts() *Accounts { return &Accounts{s} }

// found is what a row of records is scanned into.
func found(f *account.Found) []any { return []any{&f.Key, &f.ID, &f.Version, &f.Data, &f.Keys} }

// Get implements [account.Store].
func (a *Accounts) Get(ctx context.Context, key string) (account.Record, error) {
	if !isText(key) {
		return account.Record{}, account.ErrNotFound // it cannot be stored
	}
	var f account.Found
	err := a.store.row(ctx, "account: get", a.store.sql.getRecord, found(&f), key)
	if errors.Is(err, pgx.ErrNoRows) {
		return account.Record{}, account.ErrNotFound
	}
	if err != nil {
		return account.Record{}, err
	}
	return f.Record, nil
}

// errKey does not say what the key is.
var errKey = errors.New("a key is not UTF-8, or has a zero byte")

// Put implements [account.Store]. It is one statement, and another one that asks
// why if that did nothing.
func (a *Accounts) Put(ctx context.Context, r account.Record) error {
	const what = "account: put"
	all := append([]string{r.ID}, r.Keys...)
	if slices.ContainsFunc(all, func(key string) bool { return !isText(key) }) {
		return failure(ctx, what, errKey)
	}
	keys := slices.Compact(slices.Sorted(slices.Values(all)))
	data := r.Data
	if data == nil {
		data = []byte{} // no null
	}
	var err error
	for range puts {
		var n int64
		if r.Version == 0 {
			n, err = a.store.exec(ctx, what, a.store.sql.createRecord, r.ID, data, keys)
		} else {
			n, err = a.store.exec(ctx, what, a.store.sql.changeRecord, r.ID, data, keys, r.Version)
		}
		switch {
		case err == nil && n > 0:
			return nil
		case err != nil && code(err) != uniqueViolation:
			return err
		}
		if why := a.why(ctx, what, r.ID, r.Version, all); why != nil {
			return why
		}
	}
	return cmp.Or(err, account.ErrConflict)
}

// why returns the reason for which the record could not be stored or removed, or
// nil if there is none any more.
func (a *Accounts) why(ctx context.Context, what, id string, version int64, keys []string) error {
	var is *int64
	var taken *string
	if err := a.store.row(ctx, what, a.store.sql.whyRecord, []any{&is, &taken}, id, keys, version == 0); err != nil {
		return err
	}
	switch {
	case version != 0 && is == nil:
		return account.ErrNotFound
	case version != 0 && *is != version:
		return account.ErrConflict
	case taken != nil:
		return &account.TakenError{Key: *taken}
	}
	return nil
}

// Delete implements [account.Store].
func (a *Accounts) Delete(ctx context.Context, id string, version int64) error {
	const what = "account: delete"
	if !isText(id) {
		return account.ErrNotFound
	}
	version = cmp.Or(version, -1) // of no record either; 0 would stand for a new one
	for range puts {
		n, err := a.store.exec(ctx, what, a.store.sql.deleteRecord, id, version)
		if err != nil {
			return err
		}
		if n > 0 {
			return nil
		}
		if err := a.why(ctx, what, id, version, []string{}); err != nil {
			return err
		}
	}
	return account.ErrConflict
}

// List implements [account.Store], in small steps. No connection is held while
// the caller looks at a record.
func (a *Accounts) List(ctx context.Context, prefix, after string) iter.Seq2[account.Found, error] {
	return func(yield func(account.Found, error) bool) {
		const what = "account: list"
		if !isText(prefix) || !isText(after) {
			yield(account.Found{}, failure(ctx, what, errKey))
			return
		}
		end := endOf(prefix)
		for {
			var batch []account.Found
			err := a.store.run(ctx, what, true, func(c *pgx.Conn, mode pgx.QueryExecMode) (err error) {
				batch, err = all(ctx, c, mode, found, a.store.sql.listRecords, prefix, end, after, foundBatch)
				return err
			})
			if err != nil {
				yield(account.Found{}, err)
				return
			}
			for _, f := range batch {
				if !yield(f, nil) {
					return
				}
			}
			if len(batch) < foundBatch {
				return
			}
			after = batch[len(batch)-1].Key
		}
	}
}

// endOf returns the first text that comes after all keys with the prefix. The
// order of UTF-8 is that of the characters.
func endOf(prefix string) string {
	for prefix != "" {
		last, size := utf8.DecodeLastRuneInString(prefix)
		prefix = prefix[:len(prefix)-size]
		switch last++; {
		case last == 0xd800: // surrogates are no characters
			last = 0xe000
		case last > utf8.MaxRune:
			continue
		}
		return prefix + string(last)
	}
	return strings.Repeat(string(utf8.MaxRune), account.MaxKey/utf8.UTFMax+1) // longer than any key
}

// A logged is a row of the log.
type logged struct {
	account.Entry
	addr string
}

func intoLogged(l *logged) []any {
	return []any{&l.Number, &l.Time, &l.Kind, &l.Person, &l.Name, &l.By, &l.addr, &l.Agent, &l.Session, &l.Detail}
}

// Append implements [account.Log]. Bytes that PostgreSQL's text cannot hold become
// U+FFFD, and the time is kept in microseconds.
func (a *Accounts) Append(ctx context.Context, e account.Entry) error {
	addr := ""
	if e.Addr.IsValid() {
		addr = e.Addr.String()
	}
	_, err := a.store.exec(ctx, "account: append", a.store.sql.appendEntry, e.Time,
		text(string(e.Kind)), text(e.Person), text(e.Name), text(e.By), text(addr), text(e.Agent), text(e.Session), text(e.Detail))
	return err
}

func text(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
}

// microseconds rounds up: what was not before t is not before that, in a table
// that knows no smaller parts.
func microseconds(t time.Time) time.Time {
	return t.Add(time.Microsecond - 1).Truncate(time.Microsecond)
}

// Entries implements [account.Log], in small steps. No connection is held while
// the caller looks at an entry.
func (a *Accounts) Entries(ctx context.Context, q account.LogQuery) iter.Seq2[account.Entry, error] {
	return func(yield func(account.Entry, error) bool) {
		if !isText(q.Person) || !isText(string(q.Kind)) {
			return // there is none
		}
		sql, args := a.store.sql.listEntries, []any{cmp.Or(q.Before, 1<<62), string(q.Kind), microseconds(q.Since), entryBatch}
		if q.Person != "" {
			sql, args = a.store.sql.listEntriesOf, append(args, q.Person)
		}
		for {
			var batch []logged
			err := a.store.run(ctx, "account: entries", true, func(c *pgx.Conn, mode pgx.QueryExecMode) (err error) {
				if mode == pgx.QueryExecModeCacheStatement {
					// To be planned for these values: the best way to the newest of the
					// last hour is not that to the newest of the last year.
					mode = a.store.plain
				}
				batch, err = all(ctx, c, mode, intoLogged, sql, args...)
				return err
			})
			if err != nil {
				yield(account.Entry{}, err)
				return
			}
			for _, l := range batch {
				l.Time = l.Time.UTC()
				l.Addr, _ = netip.ParseAddr(l.addr) // none if it is empty
				if !yield(l.Entry, nil) {
					return
				}
			}
			if len(batch) < entryBatch {
				return
			}
			args[0] = batch[len(batch)-1].Number
		}
	}
}

// Trim implements [account.Log], in small steps that pass over entries that
// somebody else is removing just now.
func (a *Accounts) Trim(ctx context.Context, before time.Time) (int, error) {
	before = microseconds(before)
	for sum := 0; ; {
		n, err := a.store.exec(ctx, "account: trim", a.store.sql.trimEntries, before, trimBatch)
		sum += int(n)
		if err != nil || n < trimBatch {
			return sum, err
		}
	}
}
