package session

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"time"
)

// A session whose cookie comes under a former name gets a new identifier. Requests
// that were sent with the former cookie as well must find it under that one, or
// their answers would put an empty session in its place. So the new identifier
// follows from the former one, the minute, and a key that only servers have: a
// request with the former cookie finds it in this minute and the next, and so that
// machines' clocks may differ, in the one before. An attacker who knows the former
// identifier, which may have gone over plain HTTP, cannot compute the new one, and
// has no use for it later.
const formerStep = time.Minute

// newFormerKeys returns the keys that make such identifiers. The first one makes,
// all find.
func newFormerKeys(cfg Config) [][]byte {
	if len(cfg.FormerNames) == 0 || len(cfg.Keys) > 0 {
		return cfg.Keys
	}
	key := make([]byte, sha256.Size)
	rand.Read(key) // cannot fail since Go 1.24
	return [][]byte{key}
}

// successor returns the identifier that follows from a former one if it is renewed
// in the given minute since 1970.
func (m *Manager) successor(key []byte, former string, minute int64) (string, ID) {
	h := hmac.New(sha256.New, key)
	h.Write([]byte("gatehouse former identifier\x00" + m.cookie.name + "\x00"))
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(minute)))
	h.Write([]byte(former))
	return derivedValue([sha256.Size]byte(h.Sum(nil)))
}

func formerMinute(t time.Time) int64 { return t.Unix() / int64(formerStep/time.Second) }

// renewFormer gives the session an identifier under the present name.
func (s *Session) renewFormer() {
	c := s.change()
	c.newValue, c.newID = s.m.successor(s.m.formerKeys[0], s.value, formerMinute(s.now))
	c.follows = true
}

// findSuccessor returns the record, as find does, and the identifier of the session
// that another request has just renewed.
func (s *Session) findSuccessor(bounded *boundContext, former string) (rec Record, value string, lowered bool, err error) {
	now := formerMinute(bounded.start)
	for _, key := range s.m.formerKeys {
		for _, minute := range [...]int64{now, now - 1, now + 1} {
			value, id := s.m.successor(key, former, minute)
			rec, lowered, err := s.find(bounded, id)
			if !errors.Is(err, ErrNotFound) {
				return rec, value, lowered, err
			}
		}
	}
	return Record{}, "", false, ErrNotFound
}

// follow makes the changes, which did not find the session under the former
// identifier, changes of the session under the one that another request has just
// given it, and reports whether there is one.
func (s *Session) follow(bounded *boundContext) (bool, error) {
	s.underFormer = false
	rec, value, lowered, err := s.findSuccessor(bounded, s.value)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	s.rec, s.done, s.value, s.lowered = rec, nil, value, lowered
	if s.follows {
		s.newValue, s.newID, s.follows = "", ID{}, false
		s.setCookie(value)
	}
	return true, nil
}

// deleteSuccessor is delete where another request has just renewed the session.
func (s *Session) deleteSuccessor(bounded *boundContext, former string) error {
	s.underFormer = false
	rec, _, _, err := s.findSuccessor(bounded, former)
	if err != nil {
		return err
	}
	return s.delete(bounded, &rec)
}
