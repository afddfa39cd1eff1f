package sqlite

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

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

func encodeDelta(d *session.Delta) ([]byte, error) {
	return json.Marshal(&wireDelta{
		d.Create, wireID(d.Rename), d.If, d.Set, d.Delete, d.Seen, wireDuration(d.Idle), d.Expires, d.Restart, d.Owner, d.Labels,
	})
}

// errRequest says that a request is not as it should be.
var errRequest = errors.New("bad request")

// decodeDelta reads what encodeDelta writes, and refuses what no caller of
// [session.Store] may ask for.
func decodeDelta(b []byte) (*session.Delta, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var w wireDelta
	if err := dec.Decode(&w); err != nil {
		return nil, fmt.Errorf("%w: %w", errRequest, err)
	}
	if dec.More() {
		return nil, fmt.Errorf("%w: more than one object", errRequest)
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
}

// meanings are the errors that callers ask for.
var meanings = []struct {
	err    error
	code   string
	status int
}{
	{session.ErrNotFound, "not_found", http.StatusNotFound},
	{session.ErrExists, "exists", http.StatusConflict},
	{session.ErrConflict, "conflict", http.StatusPreconditionFailed},
	{session.ErrFull, "full", http.StatusInsufficientStorage},
	{session.ErrQuery, "query", http.StatusBadRequest},
	{errRequest, "request", http.StatusBadRequest},
	{ErrClosed, "closed", http.StatusServiceUnavailable},
	{context.DeadlineExceeded, "timeout", http.StatusGatewayTimeout},
}

func errorToWire(err error) (w wireError, status int) {
	for _, m := range meanings {
		if errors.Is(err, m.err) {
			return wireError{m.code, err.Error()}, m.status
		}
	}
	return wireError{"store", err.Error()}, http.StatusInternalServerError
}

func (w *wireError) err() error {
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
