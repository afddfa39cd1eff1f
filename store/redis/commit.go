package redis

import (
	"context"
	"encoding/hex"
	"strconv"

	"github.com/seed-64ad3862/gatehouse/session"
)

// Commit implements [session.Store].
func (s *Store) Commit(ctx context.Context, id session.ID, d *session.Delta) error {
	if err := d.Validate(); err != nil {
		return err
	}
	defer s.forget(id)
	if isSlim(d) {
		if done, err := s.commitSlim(ctx, id, d); done || err != nil {
			return failed("commit", err)
		}
	}
	c := change{Delta: d, id: id, names: namesGiven(d), tag: newTag(), until: provisional(d)}
	if d.Rename != (session.ID{}) && d.Rename != id {
		defer s.forget(d.Rename)
		return failed("rename", s.rename(ctx, &c))
	}
	// Listed first: a listing that is to end all sessions of an owner misses none.
	h := id.Handle()
	if err := s.index(ctx, s.keys.indexes(c.names, h), entryOf(h, c.tag), c.until); err != nil {
		return failed("commit", err)
	}
	script := commitScript
	if d.Create {
		script = createScript
	}
	args := c.appendFields(c.appendConditions(c.header()))
	msg, err := s.run(ctx, script, false, []string{s.keys.session(h)}, args)
	if err != nil {
		return failed("commit", err)
	}
	s.reindex(ctx, &c, c.names, &msg)
	return nil
}

// maxSlim bounds how many values slimScript takes, which has them all on the stack
// of Lua.
const maxSlim = 100

// isSlim reports whether the change is what nearly all are: values that are set,
// and the time of use.
func isSlim(d *session.Delta) bool {
	return len(d.Set) > 0 && len(d.Set) <= maxSlim && !d.Seen.IsZero() &&
		!d.Create && d.Rename == session.ID{} && len(d.If) == 0 && len(d.Delete) == 0 &&
		d.Idle == 0 && d.Expires.IsZero() && !d.Restart && d.Owner == nil && len(d.Labels) == 0
}

// commitSlim applies a slim change, unless the session has to be listed again: then
// it does nothing, and reports false.
func (s *Store) commitSlim(ctx context.Context, id session.ID, d *session.Delta) (done bool, err error) {
	args := make([]string, 0, 2+2*len(d.Set))
	args = append(args, hexID(id), millis(d.Seen))
	for _, f := range d.Set {
		args = append(args, valuePrefix+f.Key, f.Value)
	}
	msg, err := s.run(ctx, slimScript, false, []string{s.keys.session(id.Handle())}, args)
	if err != nil {
		return false, err
	}
	n, err := msg.ToInt64()
	return n != notSlim, err
}

// A change is a delta on its way to a script.
type change struct {
	*session.Delta
	id    session.ID
	names []name // that it gives
	tag   string // of the entries in its indexes, if the change begins a new one
	until int64  // until when they are listed, see provisional
}

// newID is the session's ID after the change.
func (c *change) newID() session.ID {
	if c.Rename != (session.ID{}) {
		return c.Rename
	}
	return c.id
}

// namesGiven returns the names that the delta gives.
func namesGiven(d *session.Delta) (given []name) {
	if d.Owner != nil && *d.Owner != "" {
		given = append(given, name{ownerField, *d.Owner})
	}
	for _, l := range d.Labels {
		if l.Value != "" {
			given = append(given, name{labelPrefix + l.Name, l.Value})
		}
	}
	return given
}

func hexID(id session.ID) string {
	var b [2 * len(id)]byte
	hex.Encode(b[:], id[:])
	return string(b[:])
}

// header is what the arguments of a script that applies the change begin with.
func (c *change) header() []string {
	args := make([]string, 8, 16+2*(len(c.Set)+len(c.If)+len(c.names)))
	args[0] = hexID(c.id)
	if c.Rename != (session.ID{}) {
		args[1] = hexID(c.Rename)
	}
	args[2], args[3], args[4] = millis(c.Seen), millisOf(c.Idle), millis(c.Expires)
	if c.Restart {
		args[5] = "1"
	}
	// A session with another ID has to be listed anew, for as long as it lives.
	if c.Owner != nil || len(c.Labels) > 0 || args[1] != "" {
		args[6] = "1"
	}
	args[7] = c.tag
	return args
}

// appendConditions appends the list of what must hold.
func (c *change) appendConditions(args []string) []string {
	args = append(args, strconv.Itoa(2*len(c.If)))
	for _, f := range c.If {
		args = append(args, valuePrefix+f.Key, f.Value)
	}
	return args
}

// appendFields appends the list of fields to set and that of fields to remove.
func (c *change) appendFields(args []string) []string {
	args = append(args, strconv.Itoa(2*len(c.Set)+2*len(c.names)))
	for _, f := range c.Set {
		args = append(args, valuePrefix+f.Key, f.Value)
	}
	for _, n := range c.names {
		args = append(args, n.field, n.value)
	}

	at := len(args)
	args = append(args, "")
	for _, key := range c.Delete {
		args = append(args, valuePrefix+key)
	}
	if c.Owner != nil && *c.Owner == "" {
		args = append(args, ownerField)
	}
	for _, l := range c.Labels {
		if l.Value == "" {
			args = append(args, labelPrefix+l.Name)
		}
	}
	args[at] = strconv.Itoa(len(args) - at - 1)
	return args
}

// appendNames appends a list of names.
func appendNames(args []string, names []name) []string {
	args = append(args, strconv.Itoa(2*len(names)))
	for _, n := range names {
		args = append(args, n.field, n.value)
	}
	return args
}
