package sqlite

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/session"
)

// What goes through the socket. Fields and labels are objects of strings, as in
// the database: the text of a value is kept to the byte.

// A wireID is 64 hexadecimal digits.
type wireID session.ID

func (id wireID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

func (id *wireID) UnmarshalText(b []byte) error { return parseHex(id[:], string(b)) }

// parseHex reads the digits of an ID of this length.
func parseHex(id []byte, text string) error {
	if n := hex.EncodedLen(len(id)); len(text) != n {
		return fmt.Errorf("%w: an ID has %d hexadecimal digits, this has %d bytes", errRequest, n, len(text))
	}
	if _, err := hex.Decode(id, []byte(text)); err != nil {
		return fmt.Errorf("%w: an ID has hexadecimal digits only: %w", errRequest, err)
	}
	return nil
}

// A wireDuration is what [time.Duration.String] writes.
type wireDuration time.Duration

func (d wireDuration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

func (d *wireDuration) UnmarshalText(b []byte) error {
	parsed, err := time.ParseDuration(string(b))
	*d = wireDuration(parsed)
	return err
}

type wireFields []session.Field

func (f wireFields) MarshalJSON() ([]byte, error) { return appendData(nil, f), nil }

func (f *wireFields) UnmarshalJSON(b []byte) (err error) {
	*f, err = parseData(string(b))
	return err
}

type wireLabels []session.Label

func (l wireLabels) MarshalJSON() ([]byte, error) { return appendLabels(nil, l), nil }

func (l *wireLabels) UnmarshalJSON(b []byte) (err error) {
	*l, err = parseLabels(string(b))
	return err
}

type wireRecord struct {
	ID      wireID         `json:"id"`
	Handle  session.Handle `json:"handle"`
	Created time.Time      `json:"created"`
	Seen    time.Time      `json:"seen"`
	Idle    wireDuration   `json:"idle"`
	Expires time.Time      `json:"expires"`
	Owner   string         `json:"owner,omitempty"`
	Labels  wireLabels     `json:"labels,omitempty"`
	Fields  wireFields     `json:"fields,omitempty"`
}

func toWire(r *session.Record) *wireRecord {
	return &wireRecord{
		wireID(r.ID), r.ID.Handle(), r.Created.UTC(), r.Seen.UTC(), wireDuration(r.Idle), r.Expires.UTC(),
		r.Owner, r.Labels, r.Fields,
	}
}

func (w *wireRecord) record() session.Record {
	return session.Record{
		ID: session.ID(w.ID), Created: w.Created, Seen: w.Seen, Idle: time.Duration(w.Idle), Expires: w.Expires,
		Owner: w.Owner, Labels: w.Labels, Fields: w.Fields,
	}
}

type wireDelta struct {
	Create  bool         `json:"create,omitempty"`
	Rename  wireID       `json:"rename,omitzero"`
	If      wireFields   `json:"if,omitempty"`
	Set     wireFields   `json:"set,omitempty"`
	Delete  []string     `json:"delete,omitempty"`
	Seen    time.Time    `json:"seen,omitzero"`
	Idle    wireDuration `json:"idle,omitzero"`
	Expires time.Time    `json:"expires,omitzero"`
	Restart bool         `json:"restart,omitempty"`
	Owner   *string      `json:"owner,omitempty"`
	Labels  wireLabels   `json:"labels,omitempty"`
}

type wireSpent struct {
	Spent bool `json:"spent"`
	First bool `json:"first,omitempty"`
}

// A wireAccount is an [account.Record].
type wireAccount struct {
	ID      string   `json:"id"`
	Keys    []string `json:"keys,omitempty"`
	Version int64    `json:"version"`
	Data    []byte   `json:"data"` // in base64: JSON would not keep what is not UTF-8
}

type wireFound struct {
	Key string `json:"key"`
	wireAccount
}

func accountToWire(r *account.Record) *wireAccount {
	return &wireAccount{r.ID, r.Keys, r.Version, r.Data}
}

func foundToWire(f *account.Found) *wireFound {
	return &wireFound{f.Key, *accountToWire(&f.Record)}
}

func (w *wireAccount) record() account.Record {
	return account.Record{ID: w.ID, Keys: w.Keys, Version: w.Version, Data: w.Data}
}

func (w *wireFound) found() account.Found {
	return account.Found{Key: w.Key, Record: w.record()}
}

// A log's query has no value for what it does not ask for.
func encodeLogQuery(q *account.LogQuery) url.Values {
	values := url.Values{}
	if q.Person != "" {
		values.Set("person", q.Person)
	}
	if q.Kind != "" {
		values.Set("kind", string(q.Kind))
	}
	if !q.Since.IsZero() {
		values.Set("since", q.Since.Format(time.RFC3339Nano))
	}
	if q.Before != 0 {
		values.Set("before", strconv.FormatInt(q.Before, 10))
	}
	return values
}

func parseLogQuery(values url.Values) (q account.LogQuery, err error) {
	q.Person, q.Kind = values.Get("person"), account.Kind(values.Get("kind"))
	if text := values.Get("since"); text != "" {
		q.Since, err = parseTime("since", text)
	}
	if text := values.Get("before"); text != "" && err == nil {
		q.Before, err = parseNumber("before", text)
	}
	return q, err
}

func parseTime(name, text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: %s: %w", errRequest, name, err)
	}
	return t, nil
}

func parseNumber(name, text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %s: %w", errRequest, name, err)
	}
	return n, nil
}

type wireTrimmed struct {
	Removed int `json:"removed"`
}

func encodeDelta(d *session.Delta) ([]byte, error) {
	return json.Marshal(&wireDelta{
		d.Create, wireID(d.Rename), d.If, d.Set, d.Delete, d.Seen, wireDuration(d.Idle), d.Expires, d.Restart, d.Owner, d.Labels,
	})
}

// errRequest says that a request is not as it should be.
var errRequest = errors.New("bad request")

// decode reads one object into w, and refuses what has no place there.
func decode(b []byte, w any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(w); err != nil {
		return fmt.Errorf("%w: %w", errRequest, err)
	}
	if dec.More() {
		return fmt.Errorf("%w: more than one object", errRequest)
	}
	return nil
}

// decodeAccount reads a record that is to be stored. Whether it is within the
// bounds, the store asks.
func decodeAccount(b []byte) (account.Record, error) {
	var w wireAccount
	err := decode(b, &w)
	return w.record(), err
}

// decodeEntry reads an entry that is to be appended.
func decodeEntry(b []byte) (e account.Entry, err error) {
	err = decode(b, &e)
	return e, err
}

// decodeDelta reads what encodeDelta writes, and refuses what no caller of
// [session.Store] may ask for.
func decodeDelta(b []byte) (*session.Delta, error) {
	var w wireDelta
	if err := decode(b, &w); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, f := range w.Set {
		if f.Value == "" || seen[f.Key] || slices.Contains(w.Delete, f.Key) {
			return nil, fmt.Errorf("%w: the key %q is set to nothing, or changed twice", errRequest, f.Key)
		}
		seen[f.Key] = true
	}
	named := map[string]bool{}
	for _, l := range w.Labels {
		if named[l.Name] {
			return nil, fmt.Errorf("%w: the label %q is changed twice", errRequest, l.Name)
		}
		named[l.Name] = true
	}
	if w.Create && (w.Seen.IsZero() || w.Idle <= 0 || w.Expires.IsZero()) {
		return nil, fmt.Errorf("%w: a creation needs seen, idle and expires", errRequest)
	}
	return &session.Delta{
		Create: w.Create, Rename: session.ID(w.Rename), If: w.If, Set: w.Set, Delete: w.Delete,
		Seen: w.Seen, Idle: time.Duration(w.Idle), Expires: w.Expires, Restart: w.Restart, Owner: w.Owner, Labels: w.Labels,
	}, nil
}

// A wireError is an error that keeps its meaning on the other side.
type wireError struct {
	Code string `json:"error"`
	Text string `json:"text"`
	// Taken is the key of an [account.TakenError].
	Taken string `json:"taken,omitempty"`
}

const codeTaken = "account_taken"

// meanings are the errors that callers ask for.
var meanings = []struct {
	err    error
	code   string
	status int
}{
	// These come first: an account's ErrFull is that of sessions, too.
	{account.ErrNotFound, "account_not_found", http.StatusNotFound},
	{account.ErrConflict, "account_conflict", http.StatusPreconditionFailed},
	{account.ErrFull, "account_full", http.StatusInsufficientStorage},
	{session.ErrNotFound, "not_found", http.StatusNotFound},
	{session.ErrExists, "exists", http.StatusConflict},
	{session.ErrConflict, "conflict", http.StatusPreconditionFailed},
	{session.ErrFull, "full", http.StatusInsufficientStorage},
	{session.ErrQuery, "query", http.StatusBadRequest},
	{session.ErrInvalidDelta, "delta", http.StatusBadRequest},
	{errRequest, "request", http.StatusBadRequest},
	{ErrClosed, "closed", http.StatusServiceUnavailable},
	{context.DeadlineExceeded, "timeout", http.StatusGatewayTimeout},
}

func errorToWire(err error) (w wireError, status int) {
	if taken, ok := errors.AsType[*account.TakenError](err); ok {
		return wireError{codeTaken, err.Error(), taken.Key}, http.StatusConflict
	}
	for _, m := range meanings {
		if errors.Is(err, m.err) {
			return wireError{Code: m.code, Text: err.Error()}, m.status
		}
	}
	return wireError{Code: "store", Text: err.Error()}, http.StatusInternalServerError
}

// err is nil if there is none.
func (w *wireError) err() error {
	switch w.Code {
	case "":
		return nil
	case codeTaken:
		return &remoteError{w.Text, &account.TakenError{Key: w.Taken}}
	}
	for _, m := range meanings {
		if m.code == w.Code {
			return &remoteError{w.Text, m.err}
		}
	}
	return &remoteError{text: w.Text}
}

// A remoteError has the text of the other side, and its meaning for errors.Is.
type remoteError struct {
	text string
	is   error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.is }
