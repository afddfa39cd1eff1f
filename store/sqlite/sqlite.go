package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/seed-64ad3862/gatehouse/throttle"
)

// Config configures a [Store]. One of Path and DB is needed.
type Config struct {
	// Path is the database's file. It is made if it is not there, readable by
	// no other user (mode 0600); one that is there must be so. Its folder must
	// exist. Next to it appear the same name with -wal and -shm, which are part of
	// the database, and with .lock, which has a reserve of disk space of up to
	// 4 MB, and .sock.
	Path string

	// DB is used instead of Path: an application's own database, in which the
	// store's tables, whose names begin with gatehouse_, lie beside the
	// others. It is the caller's to close, after the store. The store takes
	// six of its connections for itself, and puts the file into WAL mode. The
	// application must not write to the store's tables, and a transaction of
	// its own that writes holds up everybody's sessions.
	//
	// Any driver of SQLite 3.37 or later should do; the tests use
	// modernc.org/sqlite. A database in memory is refused: package memory is
	// made for that.
	DB *sql.DB

	// CacheBytes bounds the memory for sessions that are served without asking
	// the database: 64 MiB if zero.
	CacheBytes int64

	// MaxBytes bounds the database's file: beyond it there is [session.ErrFull],
	// for accounts [account.ErrFull], until others have ended. Sessions without
	// an owner give way sooner, so that the last sixteenth, or 4 MB if that is
	// less, is for users. The WAL next to it may take 32 MB more, and beyond
	// that while another program reads in one long transaction; the reserve
	// takes up to 4 MB.
	//
	// The disk is a bound in any case: sessions without an owner get half at
	// most of what it has when the store is opened, or is swept. In a database
	// that is given as DB they get all of it.
	MaxBytes int64

	// NoSocket leaves out the socket through which the commands reach this
	// process; see [Connect].
	NoSocket bool

	// Logger gets what nobody else may notice: a socket that cannot be, a
	// checkpoint that fails. [slog.Default] if nil.
	Logger *slog.Logger
}

const defaultCache = 64 << 20

func (c *Config) validate() error {
	switch {
	case (c.Path == "") == (c.DB == nil):
		return errors.New("sqlite: one of Config.Path and Config.DB is needed")
	case c.CacheBytes < 0:
		return fmt.Errorf("sqlite: Config.CacheBytes is negative: %d", c.CacheBytes)
	case c.MaxBytes < 0:
		return fmt.Errorf("sqlite: Config.MaxBytes is negative: %d", c.MaxBytes)
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = defaultCache
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return nil
}

// A Store is a [session.Store], [session.Lister] and [session.Sweeper], and
// remembers the challenges that are spent (captcha.Once). [Store.Accounts] keeps
// people. It may be used concurrently.
//
// What a method that changes something has answered without an error is on disk.
// If the caller's context ends while its change waits to be written, the error is
// the context's, and the change may be committed all the same, shortly after: a
// caller that must know has to look. Where the disk or the file is full the error
// is [session.ErrFull]. Sessions without an owner give way before that. When there is
// room again, the store works again.
//
// Keys are handles: of two IDs with one handle the second is refused with
// [session.ErrExists].
type Store struct {
	log     *slog.Logger
	path    string
	lock    *lock
	db      *sql.DB
	own     bool // db is ours to close
	cache   *cache
	readers chan *reader // those that are idle
	writer  *writer
	check   *checkpointer
	socket  *socket // nil: there is none

	attempts func() *throttle.Table // made when it is first asked for

	done    chan struct{} // closed by Close
	closing sync.Once
	running sync.WaitGroup // the goroutines of writer and check
}

// Open opens the database, and makes or migrates what it needs there. It gives up
// when ctx ends, which does not concern the Store then.
//
// Where another process, or another Store of this one, has the file, the error is
// [ErrInUse]. Where other users have access to it, or own it, the error is
// [ErrExposed]. A file that is no database, is another application's, or was
// written by a newer version of this package, is refused as it is.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Store{
		log:     cfg.Logger,
		path:    cfg.Path,
		db:      cfg.DB,
		cache:   newCache(cfg.CacheBytes),
		readers: make(chan *reader, readers),
		done:    make(chan struct{}),

		attempts: sync.OnceValue(func() *throttle.Table { return throttle.NewTable(0) }),
	}
	if err := s.open(ctx, &cfg); err != nil {
		s.release()
		return nil, fmt.Errorf("sqlite: open %s: %w", cmp.Or(s.path, "Config.DB"), err)
	}
	s.running.Go(func() {
		s.writer.run()
		s.check.close()
	})
	s.running.Go(s.check.run)
	if !cfg.NoSocket {
		var err error
		if s.socket, err = listen(s); err != nil {
			s.log.WarnContext(ctx, "sqlite: commands cannot reach this process", "error", err)
		}
	}
	return s, nil
}

// Close finishes what is waiting, and closes the file. Methods that are called
// later answer [ErrClosed].
func (s *Store) Close() error {
	s.closing.Do(func() {
		if s.socket != nil {
			s.socket.close()
		}
		close(s.done)
		s.writer.close()
		s.running.Wait()
		for range readers {
			(<-s.readers).conn.close()
		}
		s.release()
	})
	return nil
}

// release gives up what has been opened so far.
func (s *Store) release() {
	for len(s.readers) > 0 {
		(<-s.readers).conn.close()
	}
	if s.check != nil {
		s.check.conn.close()
	}
	if s.writer != nil {
		s.writer.conn.close()
	}
	if s.own {
		_ = s.db.Close()
	}
	if s.lock != nil {
		if s.writer != nil { // whose refresh may still be called
			s.writer.turn.Lock()
			defer s.writer.turn.Unlock()
		}
		s.lock.release()
	}
}
