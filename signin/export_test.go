package signin

import (
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// SetBack is what a session is when the clock has been set back by that much: what
// has happened in it will happen.
func SetBack(s *session.Session, by time.Duration) {
	if at, ok := confirmedKey.Get(s); ok {
		confirmedKey.Set(s, at.Add(by))
	}
	if p, ok := pendingKey.Get(s); ok {
		p.At = p.At.Add(by)
		pendingKey.Set(s, p)
	}
	if states, ok := ceremoniesKey.Get(s); ok {
		for i := range states {
			states[i].Expires = states[i].Expires.Add(by)
		}
		ceremoniesKey.Set(s, states)
	}
}
