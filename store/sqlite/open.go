package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"modernc.org/sqlite"
)

// Settings of connections (https://sqlite.org/pragma.html).
var (
	// A commit is on disk before it is answered, on macOS too, where fsync
	// alone leaves it in the drive's memory.
	durable = []string{"busy_timeout = 5000", "synchronous = FULL", "fullfsync = ON", "checkpoint_fullfsync = ON"}

	writing = append(slices.Clip(durable),
		// The checkpointer does it beside us.
		"wal_autocheckpoint = 0",
		// Values of ended sessions are wiped where the page is written anyway.
		"secure_delete = FAST",
		"cache_size = -8192",
	)

	reading = []string{"busy_timeout = 5000", "query_only = ON"}
)

func (s *Store) open(ctx context.Context, cfg *Config) error {
	if s.db == nil {
		if err := s.openFile(ctx); err != nil {
			return err
		}
	} else if err := s.openDB(ctx); err != nil {
		return err
	}

	space, err := newSpace(s, cfg)
	if err != nil {
		return err
	}
	c, err := connect(ctx, s.db, writing...)
	if err != nil {
		return err
	}
	s.writer = &writer{conn: c, cache: s.cache, st: newWriteStatements(c), jobs: make(chan *job, maxQueue), space: space}
	if err := s.prepare(c); err != nil {
		return err
	}

	if c, err = connect(ctx, s.db, durable...); err != nil {
		return err
	}
	s.check = newCheckpointer(s, c)
	s.writer.check = s.check
	if err := s.writer.limitSpace(cfg.MaxBytes); err != nil {
		return err
	}

	for range readers {
		c, err := connect(ctx, s.db, reading...)
		if err != nil {
			return err
		}
		s.readers <- &reader{conn: c, st: newReadStatements(c)}
	}
	return nil
}

// openFile takes the file at the path, and makes it if it is not there.
func (s *Store) openFile(ctx context.Context) error {
	if err := s.take(ctx, func() error {
		err := checkPrivate(s.path, os.Geteuid())
		if errors.Is(err, ErrExposed) {
			if _, missing := os.Stat(s.path); missing == nil {
				err = cmp.Or(peek(ctx, s.path), err) // no advice to change what is another's
			}
		}
		return err
	}); err != nil {
		return err
	}
	// SQLite would make it readable by others. It gives the files beside it
	// the mode of this one.
	f, err := os.OpenFile(s.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case err == nil:
		err = f.Close()
	case errors.Is(err, fs.ErrExist):
		err = peek(ctx, s.path)
	}
	if err != nil {
		return err
	}
	// A file that somebody has doctored calls no functions of its own.
	s.db, err = openPool(s.path, "_pragma=trusted_schema(0)")
	s.own = err == nil
	return err
}

// openPool returns a pool of connections to the file. The driver reads what
// follows a question mark, which a path may have too.
func openPool(path string, options ...string) (*sql.DB, error) {
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(path)}
	for _, o := range options {
		u.RawQuery += o + "&"
	}
	connector, err := sqlite.NewConnector(u.String())
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// peek refuses a file that is not ours before anything touches it: it looks at
// the file alone, without locks and without the files beside it. If there are
// some, it shows nothing, and is left to those who look later.
func peek(ctx context.Context, path string) error {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return cmp.Or(err, errors.New("it is not a file"))
	}
	for _, suffix := range []string{"-wal", "-journal"} {
		if _, err := os.Lstat(path + suffix); err == nil {
			return nil
		}
	}
	db, err := openPool(path, "mode=ro", "immutable=1")
	if err != nil {
		return err
	}
	defer db.Close()
	c, err := connect(ctx, db)
	if err != nil {
		return err
	}
	defer c.close()
	return c.refuseForeign()
}

// openDB finds the file behind the pool, and takes it.
func (s *Store) openDB(ctx context.Context) error {
	const needed = readers + 2
	if limit := s.db.Stats().MaxOpenConnections; limit != 0 && limit <= needed {
		return fmt.Errorf("the pool is limited to %d connections; the store takes %d of them for itself, and others must be left", limit, needed)
	}
	c, err := connect(ctx, s.db)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.scan("SELECT file FROM pragma_database_list WHERE name = 'main'", &s.path); err != nil {
		return fmt.Errorf("this is no SQLite: %w", err)
	}
	if s.path == "" {
		return errors.New("the database is in memory, and gone with the process; package memory is made for that")
	}
	return s.take(ctx, func() error {
		err := checkPrivate(s.path, os.Geteuid())
		if errors.Is(err, ErrExposed) {
			// It is the application that has made the file, and it may be meant so.
			s.log.WarnContext(ctx, "sqlite: the application's database is open to others, and so is what the store keeps there", "error", err)
			err = nil
		}
		return err
	})
}

// take makes sure that the file passes the check, that no other user has it, and that
// it can be written: SQLite is content with reading, and would leave files next to it
// that stand in the way afterwards.
func (s *Store) take(ctx context.Context, check func() error) error {
	resolved, err := resolve(s.path)
	if err != nil {
		return err
	}
	s.path = resolved
	if err := check(); err != nil {
		return err
	}
	for _, path := range []string{filepath.Dir(s.path), s.path} {
		if err := writable(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s cannot be written: %w", path, err)
		}
	}
	s.lock, err = takeLock(ctx, s.path)
	return err
}

// resolve returns the one name of the file among many. The file itself need not
// be there yet.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	resolved, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return resolved, err
	}
	if _, err := os.Lstat(path); err == nil {
		return "", errors.New("the path is a symbolic link to nothing")
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	return filepath.Join(dir, filepath.Base(path)), err
}

// prepare makes the database what this package needs.
func (s *Store) prepare(c *conn) error {
	if s.own {
		if err := c.refuseForeign(); err != nil {
			return err
		}
	}
	if err := c.refuseNewer(); err != nil {
		return err
	}
	var mode string
	if err := c.scan("PRAGMA journal_mode = WAL", &mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("the database stays in journal mode %q; WAL needs a file system of this machine", mode)
	}
	return c.migrate(s.own)
}

// explain adds what SQLite does not say.
func explain(err error) error {
	if code(err) == codeNotADB {
		return fmt.Errorf("the file is no SQLite database, and is left as it is: %w", err)
	}
	return err
}
