package signin

import (
	"context"
	"errors"
	"log/slog"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/throttle"
)

// told reports whether the log knows of an error already: a store that fails is one
// outage, which the package that calls it has told when it began, and not one for every
// request. The same is true of a store of sessions that is full. While the sessions' store fails, all else waits too: a page without its
// session has nothing of its own to tell.
func (p *Pages) told(err error) bool {
	return errors.Is(err, account.ErrStore) || errors.Is(err, throttle.ErrStore) || errors.Is(err, session.ErrFull) || p.cfg.Sessions.Failing()
}

// report tells the log of an error, unless it knows, or the visitor has gone.
func (p *Pages) report(ctx context.Context, level slog.Level, text string, err error, args ...any) {
	if p.told(err) || errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return
	}
	p.log.Log(ctx, level, "signin: "+text, append(args, "error", err)...)
}
