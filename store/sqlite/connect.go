package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/throttle"
)

// A Database is what [Connect] gives: the store, wherever it is.
type Database interface {
	session.Store
	session.Lister
	session.Sweeper
	Spend(ctx context.Context, id [16]byte, until time.Time) (first bool, err error)
	Spent(ctx context.Context, id [16]byte) (bool, error)
	Accounts() Accounts
	Throttle() throttle.Store
	io.Closer
}

// connectTime is how long Connect waits for a file that is in use by somebody who
// does not listen: another command, or a server that is just beginning or ending.
const connectTime = 3 * time.Second

// Connect is for commands that look at the sessions and people of a server, or
// change them. It reaches the process that has the database through its socket, or
// opens the file itself if there is none, which must exist. Two commands at once
// take turns. If the file is in use and nobody listens for some seconds, the error
// is [ErrInUse].
//
// A command should be short: a server that begins while a command has the file
// waits for it a second at most.
func Connect(ctx context.Context, path string) (Database, error) {
	resolved, err := resolve(path)
	if err == nil {
		_, err = os.Stat(resolved)
	}
	if err != nil {
		return nil, fmt.Errorf("sqlite: connect: %w", err)
	}
	uid := os.Geteuid()
	if uid == 0 { // who may reach any user's server; Open asks for more
		if info, err := os.Stat(resolved); err == nil {
			uid = ownerOf(info)
		}
	}
	if err := cmp.Or(checkPrivate(resolved, uid), checkSocket(socketPath(resolved), uid)); err != nil {
		return nil, fmt.Errorf("sqlite: connect: %w", err)
	}
	for start := time.Now(); ; {
		c, err := dial(ctx, socketPath(resolved))
		if err == nil {
			return c, nil
		}
		s, err := Open(ctx, Config{Path: resolved, NoSocket: true, CacheBytes: 1 << 20})
		if err == nil {
			return s, nil
		}
		if !errors.Is(err, ErrInUse) || ctx.Err() != nil || time.Since(start) > connectTime {
			return nil, err
		}
	}
}
