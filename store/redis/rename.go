package redis

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/seed-64ad3862/gatehouse/session"
)

// rename gives the session another ID. It has to be listed under the new one
// before it has it, so its names must be known: the scripts refuse to go on
// without, and tell them.
func (s *Store) rename(ctx context.Context, c *change) error {
	move := s.moveHere
	if s.cluster {
		move = s.moveAcross
	}
	var known []name
	for round := 0; ; round++ {
		listed, h := append(slices.Clip(known), c.names...), c.Rename.Handle()
		if err := s.index(ctx, s.keys.indexes(listed, h), entryOf(h, c.tag), c.until); err != nil {
			return err
		}
		msg, err := move(ctx, c, known, round > 0)
		if err != nil {
			return err
		}
		if names, ok := others(&msg); ok {
			known = names
			continue
		}
		s.reindex(ctx, c, listed, &msg)
		return nil
	}
}

// others returns the names that a script says were not known.
func others(msg *rueidis.RedisMessage) ([]name, bool) {
	list, err := msg.ToArray()
	if err != nil || len(list) == 0 {
		return nil, false
	}
	if word, _ := list[0].ToString(); word != again {
		return nil, false
	}
	return pairs(list[1:]), true
}

// moveHere renames in one step, on a server that has both keys.
func (s *Store) moveHere(ctx context.Context, c *change, known []name, _ bool) (rueidis.RedisMessage, error) {
	args := c.appendFields(appendNames(c.appendConditions(c.header()), known))
	return s.run(ctx, renameScript, false, []string{s.keys.session(c.id.Handle()), s.keys.session(c.Rename.Handle())}, args)
}

// reserveFor is how long the new name waits for the session.
const reserveFor = 30 * time.Second

// moveAcross renames where the keys are on different nodes, in three steps: it
// reserves the new name, takes the session away, and puts it under the new name.
// No step leaves two, and when we die between them there is none.
//
// The reservation is no session, but is listed as one and can be deleted: who
// ends the sessions of a person while one is between its names ends that too,
// since without the reservation it cannot be put.
func (s *Store) moveAcross(ctx context.Context, c *change, known []name, update bool) (rueidis.RedisMessage, error) {
	from, to := []string{s.keys.session(c.id.Handle())}, []string{s.keys.session(c.Rename.Handle())}
	args := []string{"", hexID(c.Rename), "", strconv.FormatInt(reserveFor.Milliseconds(), 10), c.tag}
	if update {
		args[2] = "1"
	}
	msg, err := s.run(ctx, reserveScript, false, to, appendNames(args, known))
	switch {
	case errors.Is(err, session.ErrExists):
		if _, _, err := s.read(ctx, c.id, false); err != nil {
			return msg, err
		}
		return msg, err
	case errors.Is(err, session.ErrNotFound):
		return msg, s.endedBetween(ctx, from, c)
	case err != nil:
		return msg, err
	}

	msg, err = s.run(ctx, takeScript, false, from, appendNames(c.appendConditions(c.header()), known))
	if errors.Is(err, session.ErrNotFound) || errors.Is(err, session.ErrConflict) {
		if _, gone := s.run(ctx, deleteScript, false, to, []string{hexID(c.Rename)}); errors.Is(gone, session.ErrNotFound) {
			return msg, s.endedBetween(ctx, from, c)
		}
	}
	if err != nil {
		return msg, err
	}
	if _, more := others(&msg); more {
		return msg, nil
	}
	all, err := msg.AsStrSlice()
	if err != nil {
		return msg, err
	}
	args = append(c.header(), strconv.Itoa(len(all)))
	return s.run(ctx, putScript, true, to, c.appendFields(append(args, all...)))
}

// endedBetween ends the session whose new name was deleted before it had it: who
// did so was told that it has ended.
func (s *Store) endedBetween(ctx context.Context, from []string, c *change) error {
	_, err := s.run(ctx, deleteScript, false, from, []string{hexID(c.id)})
	if err == nil {
		err = session.ErrNotFound
	}
	return err
}
