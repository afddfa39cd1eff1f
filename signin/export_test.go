package signin

import (
	"context"
	"log/slog"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/internal/logtext"
	"github.com/seed-64ad3862/gatehouse/session"
)

// Auditor is of the pages what appends to a log.
type Auditor struct{ p *Pages }

func NewAuditor(log account.Log) Auditor {
	p := &Pages{log: slog.New(slog.DiscardHandler), throttled: logtext.Repeats[account.Entry]{Burst: 1}}
	p.cfg.Log = log
	return Auditor{p}
}

func (a Auditor) Append(ctx context.Context, e account.Entry) { a.p.append(ctx, e) }

// StepOf is what looks for the code of an authenticator.
var StepOf = stepOf

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
