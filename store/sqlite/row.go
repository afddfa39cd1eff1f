package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// A row is a record as the database has it: its times are whole milliseconds. It
// never changes once it is made, since the cache shares it with everybody.
type row struct {
	session.Record
	number int64 // its primary key
	due    int64 // when the sweep looks at it, in ms: at the deadline, or sooner
	// held is how much text the fields and labels are parts of: that of the
	// database's row they were read from, which may be longer than they are.
	held int
}

// keyOf returns what the row with this handle is found by.
func keyOf(h session.Handle) int64 { return int64(binary.BigEndian.Uint64(h[:])) }

func (r *row) key() int64 { return keyOf(r.ID.Handle()) }

func (r *row) live(now time.Time) bool { return now.Before(r.Deadline()) }

// changed returns a row with what the delta changes in r. That of a creation is
// the zero row.
func (r *row) changed(id session.ID, d *session.Delta) *row {
	n := *r
	n.ID = id
	if !d.Seen.IsZero() {
		if seen := whole(d.Seen); seen.After(n.Seen) {
			n.Seen = seen
		}
	}
	if d.Create || d.Restart {
		n.Created = n.Seen
	}
	if d.Idle != 0 {
		// Never sooner than asked for.
		n.Idle = (d.Idle + time.Millisecond - 1).Truncate(time.Millisecond)
		if n.Idle < d.Idle { // beyond the end of durations
			n.Idle = d.Idle.Truncate(time.Millisecond)
		}
	}
	if !d.Expires.IsZero() {
		n.Expires = whole(d.Expires)
	}
	if d.Owner != nil {
		n.Owner = *d.Owner
	}
	n.Labels = session.MergeLabels(n.Labels, d.Labels)
	n.Fields = session.MergeFields(n.Fields, d.Set, d.Delete)
	if deadline := n.Deadline().UnixMilli(); d.Create || deadline < n.due {
		n.due = deadline
	}
	return &n
}

func whole(t time.Time) time.Time { return time.UnixMilli(t.UnixMilli()) }

// holds reports whether the record meets the conditions.
func holds(r *session.Record, conditions []session.Field) bool {
	for _, c := range conditions {
		value := ""
		for _, f := range r.Fields {
			if f.Key == c.Key {
				value = f.Value
			}
		}
		if value != c.Value {
			return false
		}
	}
	return true
}

// size is what the row takes in memory, about.
func (r *row) size() int {
	return 320 + len(r.Owner) + 32*(len(r.Fields)+len(r.Labels)) + max(r.texts()-len(r.Owner), r.held)
}

// texts is how long its texts are together.
func (r *row) texts() int {
	n := len(r.Owner)
	for _, f := range r.Fields {
		n += len(f.Key) + len(f.Value)
	}
	for _, l := range r.Labels {
		n += len(l.Name) + len(l.Value)
	}
	return n
}

func appendData(b []byte, fields []session.Field) []byte {
	b = append(b, '{')
	for _, f := range fields {
		b = appendPair(b, f.Key, f.Value)
	}
	return append(b, '}')
}

func appendLabels(b []byte, labels []session.Label) []byte {
	b = append(b, '{')
	for _, l := range labels {
		b = appendPair(b, l.Name, l.Value)
	}
	return append(b, '}')
}

func parseData(text string) (fields []session.Field, err error) {
	err = parsePairs(text, func(name, value string) { fields = append(fields, session.Field{Key: name, Value: value}) })
	return fields, err
}

func parseLabels(text string) (labels []session.Label, err error) {
	err = parsePairs(text, func(name, value string) { labels = append(labels, session.Label{Name: name, Value: value}) })
	return labels, err
}

// errDamaged says that a row is not as this package writes it.
var errDamaged = errors.New("a row of the database is damaged")

// rowColumns are what scanRow reads. Those who do not want the values read "'{}'"
// in place of data.
const rowColumns = "number, handle, id, created, seen, idle, expires, due, coalesce(owner, ''), labels"

// scanRow reads one row of a result.
func scanRow(scan func(dest ...any) error) (*row, error) {
	var (
		r                            row
		id                           []byte
		key                          int64
		created, seen, idle, expires int64
		labels, data                 string
	)
	if err := scan(&r.number, &key, &id, &created, &seen, &idle, &expires, &r.due, &r.Owner, &labels, &data); err != nil {
		return nil, err
	}
	if len(id) != len(r.ID) {
		return nil, fmt.Errorf("%w: an id of %d bytes", errDamaged, len(id))
	}
	r.ID = session.ID(id)
	if r.key() != key {
		return nil, fmt.Errorf("%w: %v has another's handle", errDamaged, r.ID.Handle())
	}
	r.Created, r.Seen, r.Expires = time.UnixMilli(created), time.UnixMilli(seen), time.UnixMilli(expires)
	r.Idle = time.Duration(idle) * time.Millisecond
	var err error
	if r.Labels, err = parseLabels(labels); err != nil {
		return nil, fmt.Errorf("%w: the labels of %v are %w", errDamaged, r.ID.Handle(), err)
	}
	r.held = len(labels) + len(data)
	if r.Fields, err = parseData(data); err != nil {
		return nil, fmt.Errorf("%w: the data of %v are %w", errDamaged, r.ID.Handle(), err)
	}
	return &r, nil
}
