package session

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// noted takes note of what came of a call to the store that began then. The
// caller leaves out those that failed because a visitor went away. A store that is
// full has answered: it refuses some and serves the others.
func (m *Manager) noted(ctx context.Context, began time.Time, err error) {
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrExists) || errors.Is(err, ErrConflict) {
		err = nil // it has answered
	}
	if errors.Is(err, ErrFull) {
		const text = "session: the store is full and has refused a change"
		m.lines.Log(ctx, m.cfg.Logger, slog.LevelWarn, text, text, slog.Any("error", err))
		err = nil
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
// [Event] and the log have said so. It asks nothing. One that is full does not fail.
func (m *Manager) Failing() bool { return m.outage.Failing() }
