package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/seed-64ad3862/gatehouse/session"
)

// A conn is a connection of our own, out of a pool. No context ever ends what it
// does: SQLite would be interrupted in the middle of it, and the pool would
// discard the connection. All that is asked here is short.
type conn struct {
	c        *sql.Conn
	prepared []*sql.Stmt
}

// connect takes a connection and sets it up. The pool must have one to spare.
func connect(ctx context.Context, db *sql.DB, pragmas ...string) (*conn, error) {
	c, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	conn := &conn{c: c}
	for _, p := range pragmas {
		if err := conn.exec("PRAGMA " + p); err != nil {
			conn.close()
			return nil, err
		}
	}
	return conn, nil
}

// close ends the connection. It does not go back to the pool, where others would
// find it set up for us.
func (c *conn) close() {
	// Package sql leaves it to us, and SQLite keeps the file open for them.
	for _, s := range c.prepared {
		_ = s.Close()
	}
	_ = c.c.Raw(func(any) error { return driver.ErrBadConn })
	_ = c.c.Close()
}

func (c *conn) exec(query string, args ...any) error {
	_, err := c.c.ExecContext(context.Background(), query, args...)
	return wrap(err)
}

// scan runs a query that has one row.
func (c *conn) scan(query string, dest ...any) error {
	return wrap(c.c.QueryRowContext(context.Background(), query).Scan(dest...))
}

// A stmt is a statement of a connection. It is prepared when first used, and ends
// with the connection.
type stmt struct {
	c        *conn
	query    string
	prepared *sql.Stmt
}

func (c *conn) stmt(query string) *stmt { return &stmt{c: c, query: query} }

func (s *stmt) prepare() (*sql.Stmt, error) {
	if s.prepared == nil {
		prepared, err := s.c.c.PrepareContext(context.Background(), s.query)
		if err != nil {
			return nil, fmt.Errorf("prepare %q: %w", s.query, wrap(err))
		}
		s.prepared = prepared
		s.c.prepared = append(s.c.prepared, prepared)
	}
	return s.prepared, nil
}

// exec runs the statement and returns what it has done.
func (s *stmt) exec(args ...any) (sql.Result, error) {
	p, err := s.prepare()
	if err != nil {
		return nil, err
	}
	res, err := p.Exec(args...)
	return res, wrap(err)
}

// all returns what scan makes of each row of the result.
func all[T any](s *stmt, scan func(scan func(dest ...any) error) (T, error), args ...any) (found []T, err error) {
	p, err := s.prepare()
	if err != nil {
		return nil, err
	}
	rows, err := p.Query(args...)
	if err != nil {
		return nil, wrap(err)
	}
	defer rows.Close()
	for rows.Next() {
		v, err := scan(rows.Scan)
		if err != nil {
			return nil, wrap(err)
		}
		found = append(found, v)
	}
	return found, wrap(rows.Err())
}

// first is for a result of at most one row: the zero value is that of none.
func first[T any](found []T, err error) (T, error) {
	var none T
	if err != nil || len(found) == 0 {
		return none, err
	}
	return found[0], nil
}

// scanOne is for a result of one column.
func scanOne[T any](scan func(dest ...any) error) (v T, err error) {
	err = scan(&v)
	return v, err
}

// Result codes (https://sqlite.org/rescode.html), without what extends them.
const (
	codeIOErr  = 10
	codeFull   = 13
	codeTooBig = 18
	codeNotADB = 26
)

// code returns SQLite's result code, 0 if the error does not tell.
func code(err error) int {
	var coded interface{ Code() int } // modernc.org/sqlite
	if errors.As(err, &coded) {
		return coded.Code() & 0xff
	}
	return 0
}

// wrap makes an error of the driver one of ours.
func wrap(err error) error {
	switch {
	case err == nil:
		return nil
	case code(err) == codeFull, code(err) == codeTooBig,
		// What SQLite itself says, through whichever driver.
		strings.Contains(err.Error(), "database or disk is full"):
		return fmt.Errorf("%w: %w", session.ErrFull, err)
	}
	return err
}
