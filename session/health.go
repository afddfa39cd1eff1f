package session

import (
	"context"
	"errors"
	"time"
)

// noted takes note of what came of a call to the store that began then. The
// caller leaves out those that failed because a visitor went away.
func (m *Manager) noted(ctx context.Context, began time.Time, err error) {
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrExists) || errors.Is(err, ErrConflict) {
		err = nil // it has answered
	}
	change := m.outage.Note(began, err)
	switch {
	case change.Begins:
		m.observe(ctx, Event{Kind: Failing, Err: err})
	case change.Ends:
		m.observe(ctx, Event{Kind: Recovered, Failures: change.Failures, Lasted: change.Lasted})
	default:
		return
	}
	change.Log(ctx, m.cfg.Logger, "session: the store", err)
}

// Failing reports whether the store fails, as the last calls to it have found; an
// [Event] and the log have said so. It asks nothing.
func (m *Manager) Failing() bool { return m.outage.Failing() }
