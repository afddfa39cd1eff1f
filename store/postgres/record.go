package postgres

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/seed-64ad3862/gatehouse/session"
)

// The columns that package pgx cannot scan into a record by itself. It lends
// their bytes for the time of the call.
type (
	idColumn     session.ID
	labelsColumn []session.Label
	dataColumn   []session.Field
)

// ScanBytes implements [pgtype.BytesScanner], as do the others.
func (c *idColumn) ScanBytes(b []byte) error {
	if len(b) != len(c) {
		return fmt.Errorf("an id of %d bytes", len(b))
	}
	*c = idColumn(b)
	return nil
}

func (c *labelsColumn) ScanBytes(b []byte) error {
	fields, err := readObject(b)
	*c = nil // a read that broke off after this is made again
	for _, f := range fields {
		*c = append(*c, session.Label{Name: f.Key, Value: f.Value})
	}
	return err
}

func (c *dataColumn) ScanBytes(b []byte) (err error) {
	*c, err = readObject(b)
	return err
}

// into returns what the columns are scanned into.
func into(r *session.Record) []any {
	return []any{(*idColumn)(&r.ID), &r.Created, &r.Seen, &r.Idle, &r.Expires, &r.Owner, (*labelsColumn)(&r.Labels)}
}

// intoAll is into with the column data.
func intoAll(r *session.Record) []any {
	return append(into(r), (*dataColumn)(&r.Fields))
}

// checkDelta refuses what PostgreSQL would: its text holds no zero byte, and is
// UTF-8. What has passed through package session is, but for the error it would
// not be told apart from a server that fails.
func checkDelta(d *session.Delta) error {
	ok := d.Owner == nil || isText(*d.Owner)
	for _, fields := range [][]session.Field{d.If, d.Set} {
		for _, f := range fields {
			ok = ok && isText(f.Key) && isText(f.Value)
		}
	}
	for _, key := range d.Delete {
		ok = ok && isText(key)
	}
	for _, l := range d.Labels {
		ok = ok && isText(l.Name) && isText(l.Value)
	}
	if !ok {
		return errText
	}
	return nil
}

var errText = fmt.Errorf("%w: PostgreSQL stores text in UTF-8 and without zero bytes", session.ErrValue)

func isText(s string) bool {
	return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}
