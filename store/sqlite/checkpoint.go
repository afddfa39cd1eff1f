package sqlite

import (
	"errors"
	"log/slog"
	"sync"
)

const (
	pageBytes = 4096

	// checkpointBytes of writes, and the WAL is copied into the database's
	// file. On a small disk it is sooner.
	checkpointBytes = 8 << 20

	// maxWAL is what the WAL's file is cut back to if it has grown beyond, unless the
	// disk is small.
	maxWAL = 4 * checkpointBytes
)

// A checkpointer copies the WAL into the database's file, on a connection of its
// own, while others write. SQLite would do so inside of a commit, which then
// takes as long as some thousand writes.
type checkpointer struct {
	log  *slog.Logger
	turn *sync.Mutex // the writer's, which is taken before mu
	wake chan struct{}

	mu   sync.Mutex
	conn *conn // used by one at a time
	bad  bool  // the last attempt failed

	every int // bytes of writes, the writer's
	bytes int // likewise, since it last woke us
}

func newCheckpointer(s *Store, c *conn) *checkpointer {
	return &checkpointer{conn: c, log: s.log, turn: &s.writer.turn, wake: make(chan struct{}, 1), every: s.writer.space.every}
}

// wrote is called by the writer.
func (c *checkpointer) wrote(bytes int) {
	if c.bytes += bytes; c.bytes < c.every {
		return
	}
	c.soon()
}

// soon has the WAL copied. It is called by the writer.
func (c *checkpointer) soon() {
	c.bytes = 0
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// close lets run return. Nobody must write any more.
func (c *checkpointer) close() { close(c.wake) }

func (c *checkpointer) run() {
	for range c.wake {
		c.checkpoint()
	}
}

// checkpoint copies what there is. The WAL begins anew when all of it has been
// copied, which never happens while others go on writing: the last bit is copied
// while the writer waits.
func (c *checkpointer) checkpoint() {
	err := c.pass()
	if err == nil {
		err = c.pass()
	}
	if err == nil {
		c.turn.Lock()
		err = c.pass()
		c.turn.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && !c.bad {
		c.log.Warn("sqlite: the WAL cannot be copied into the database and grows until it can", "error", err)
	}
	c.bad = err != nil
}

// pass copies what the WAL has at this moment and nobody reads any more.
func (c *checkpointer) pass() error {
	_, err := c.copy("PASSIVE")
	return err
}

// errBusy says that another program reads what is in the WAL.
var errBusy = errors.New("the WAL is being read")

// restart copies all of the WAL, and has the next transaction begin at its beginning. It
// waits for readers a little. The writer's turn must be held.
func (c *checkpointer) restart() error {
	busy, err := c.copy("RESTART")
	if err == nil && busy {
		err = errBusy
	}
	return err
}

// copy copies the WAL in one of SQLite's modes.
func (c *checkpointer) copy(mode string) (busy bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var pages, copied int
	err = c.conn.scan("PRAGMA wal_checkpoint("+mode+")", &busy, &pages, &copied)
	return busy, err
}
