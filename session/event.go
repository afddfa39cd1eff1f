package session

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/logtext"
)

// A Kind says what happened.
type Kind uint8

// The kinds of [Event].
const (
	// Created: a session began.
	Created Kind = iota + 1
	// Renewed: it has a new identifier; Previous is the old handle. Owner is
	// who it belongs to from now on: a sign-in is a Renewed or Created with
	// an owner.
	Renewed
	// Ended: it is over; Reason says why. A session whose store removes what
	// has expired by itself, as Redis does, ends without one.
	Ended
	// Rejected: a request carried a cookie of our name that was not used; Err
	// says why. An identifier that is merely unknown is not reported.
	Rejected
	// Unreadable: a stored value did not decode; Err names the key.
	Unreadable
	// Failed: the session could not be loaded or stored; Err says why. While
	// the store is down there is one for every request that needs it; for
	// alarms there is Failing.
	Failed
	// Lost: what a request changed is not stored, because the session ended or
	// was renewed meanwhile. Nobody is to blame.
	Lost
	// Failing: a call to the store has failed, and none had before for a
	// second at least; Err says why. A store that is full ([ErrFull]) has answered:
	// that is Failed for each request that is refused, and warnings in the log, which are
	// counted if there are many.
	Failing
	// Recovered: the store answers again, and no call has failed for a second.
	// Lasted and Failures tell of the time since Failing.
	Recovered
)

// String returns the kind's name in lower case.
func (k Kind) String() string {
	switch k {
	case Created:
		return "created"
	case Renewed:
		return "renewed"
	case Ended:
		return "ended"
	case Rejected:
		return "rejected"
	case Unreadable:
		return "unreadable"
	case Failed:
		return "failed"
	case Lost:
		return "lost"
	case Failing:
		return "failing"
	case Recovered:
		return "recovered"
	}
	return "unknown"
}

// A Reason says why a session ended.
type Reason uint8

// The reasons of [Ended].
const (
	// SignedOut: a request called [Session.Destroy], or [Session.SetOwner] for
	// another owner.
	SignedOut Reason = iota + 1
	// Revoked: [Manager.End] or [Manager.EndAll].
	Revoked
	// Expired: one of the two clocks ran out.
	Expired
	// Evicted: it gave way in a store that was full.
	Evicted
)

// String returns the reason in lower case.
func (r Reason) String() string {
	switch r {
	case SignedOut:
		return "signed out"
	case Revoked:
		return "revoked"
	case Expired:
		return "expired"
	case Evicted:
		return "evicted"
	}
	return "unknown"
}

// An Event is something an operator may want to count or keep. It holds no
// secret and no value of a session.
type Event struct {
	Kind     Kind
	Reason   Reason // of Ended
	Handle   Handle // zero if the event is about no session
	Previous Handle // of Renewed
	Owner    string
	Err      error // of Rejected, Unreadable, Failed, Lost and Failing

	Lasted   time.Duration // of Recovered: since Failing
	Failures int           // of Recovered: calls to the store that failed meanwhile
}

func (m *Manager) observe(ctx context.Context, e Event) {
	if m.cfg.Observe != nil {
		m.cfg.Observe(ctx, e)
	}
}

// failed reports what the client sees nothing of, or too little.
func (m *Manager) failed(ctx context.Context, h Handle, err error) {
	e := Event{Kind: Failed, Handle: h, Err: err}
	if errors.Is(err, ErrEnded) {
		e.Kind = Lost
	}
	m.observe(ctx, e)
	for _, mistake := range []error{ErrValue, ErrTooLarge, ErrHeaderSent} {
		if errors.Is(err, mistake) {
			m.log(ctx, slog.LevelError, mistake.Error(), e)
			return
		}
	}
	// That the store fails has been logged.
	m.cfg.Logger.LogAttrs(ctx, slog.LevelDebug, "session: "+e.Kind.String(), slog.Any("session", h), slog.Any("error", err))
}

// log writes a line that a client may cause again and again, or counts it: lines of
// one kind.
func (m *Manager) log(ctx context.Context, level slog.Level, kind string, e Event) {
	m.lines.Log(ctx, m.cfg.Logger, level, kind, "session: "+e.Kind.String(),
		slog.Any("session", e.Handle), slog.String("error", logtext.Cut(e.Err.Error(), maxError)))
}

// The bounds in the log of texts that a client may have chosen, in bytes as they
// are written.
const (
	maxError = 512
	maxStack = 8 << 10
)

// FlushLog logs how many lines have been counted and not logged: of each kind of
// line that clients can cause, such as those of values that cannot be stored, five
// are logged as they come and then one a minute, and the others counted. Requests
// that use a session do so once these are a minute old. Call FlushLog when the
// program ends.
func (m *Manager) FlushLog(ctx context.Context) { m.lines.Close(ctx, m.cfg.Logger) }
