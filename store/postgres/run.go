package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/session"
)

// SQLSTATEs, from appendix A of PostgreSQL's manual.
const (
	protocolViolation    = "08P01"
	uniqueViolation      = "23505"
	readOnly             = "25006" // read_only_sql_transaction
	unknownStatement     = "26000" // invalid_sql_statement_name
	serializationFailure = "40001"
	deadlock             = "40P01" // deadlock_detected
	duplicateStatement   = "42P05" // duplicate_prepared_statement
	diskFull             = "53100"
)

// Pauses before a statement is repeated that was in the way of others.
const firstPause, longestPause = time.Millisecond, 50 * time.Millisecond

// run calls f with a connection, and again where that cannot do a thing twice:
//
//   - The server has refused and undone the statement, for a reason that may be
//     gone: a prepared statement that was lost, other transactions in the way.
//   - Nothing was sent.
//   - The connection broke, and f only reads; this once.
//
// What is written over a connection that breaks may have been done or not, and is
// not tried again: a second time, a session that was created would be there
// already, one that was deleted would not be found, and an id that was spent
// would be somebody else's.
func (s *Store) run(ctx context.Context, what string, reads bool, f func(c *pgx.Conn, mode pgx.QueryExecMode) error) error {
	again := true
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		c, err := s.acquire(ctx)
		if err != nil {
			return failure(ctx, what, err)
		}
		mode := s.mode
		if s.unnamed.Load() {
			mode = s.plain
		}
		err = clean(f(c.Conn(), mode))
		broken := c.Conn().IsClosed()
		if code(err) == readOnly {
			// A server that became a standby, or always was one. The next
			// connection may lead to the one that is written to.
			_ = c.Conn().Close(ctx)
		}
		c.Release()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return failure(ctx, what, err)
		case mode == pgx.QueryExecModeCacheStatement && (code(err) == unknownStatement || code(err) == duplicateStatement):
			if s.unnamed.CompareAndSwap(false, true) {
				s.log.Warn("postgres: prepared statements get lost, as behind a pooler in transaction mode; from now on none are used", "error", err)
			}
		case code(err) == serializationFailure || code(err) == deadlock:
			select {
			case <-ctx.Done():
			case <-time.After(rand.N(pause)):
			}
		case again && (pgconn.SafeToRetry(err) || reads && broken):
			again = false
		case broken && !reads:
			return failure(ctx, what, fmt.Errorf("the connection broke, nobody can know whether it was done: %w", err))
		default:
			return failure(ctx, what, err)
		}
	}
}

// acquire takes a connection from the pool. One that the server has closed is of
// no use, and after a restart all of them are: the pool itself looks only at
// those that were idle for a second.
func (s *Store) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	for range s.attempts {
		c, err := s.pool.Acquire(ctx)
		if err != nil {
			return nil, err
		}
		if silent(c.Conn().PgConn().Conn()) {
			return c, nil
		}
		// It has closed, or has something to say that nobody asked for: then a
		// question shows whether that was its last word.
		if _ = c.Ping(ctx); !c.Conn().IsClosed() {
			return c, nil
		}
		c.Release()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return nil, errCloses
}

// exec executes a statement that writes, and returns how many rows it wrote.
func (s *Store) exec(ctx context.Context, what, sql string, args ...any) (int64, error) {
	var tag pgconn.CommandTag
	err := s.run(ctx, what, false, func(c *pgx.Conn, mode pgx.QueryExecMode) (err error) {
		tag, err = c.Exec(ctx, sql, append([]any{mode}, args...)...)
		return err
	})
	return tag.RowsAffected(), err
}

// row reads one row into dest. There being none is pgx.ErrNoRows, as it is.
func (s *Store) row(ctx context.Context, what, sql string, dest []any, args ...any) error {
	none := false
	err := s.run(ctx, what, true, func(c *pgx.Conn, mode pgx.QueryExecMode) error {
		err := c.QueryRow(ctx, sql, append([]any{mode}, args...)...).Scan(dest...)
		if none = errors.Is(err, pgx.ErrNoRows); none {
			return nil
		}
		return err
	})
	if none {
		return pgx.ErrNoRows
	}
	return err
}

// code returns the SQLSTATE that the server answered with, or "".
func code(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// clean returns the error without what may hold values: PostgreSQL quotes rows
// and parameters in the details.
func clean(err error) error {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err
	}
	return &pgconn.PgError{
		Severity: e.Severity, SeverityUnlocalized: e.SeverityUnlocalized, Code: e.Code, Message: e.Message,
		SchemaName: e.SchemaName, TableName: e.TableName, ConstraintName: e.ConstraintName, Routine: e.Routine,
	}
}

// failure says what failed.
func failure(ctx context.Context, what string, err error) error {
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		return fmt.Errorf("postgres: %s: %w: %w", what, ended, err)
	}
	if code(err) == diskFull {
		return fmt.Errorf("postgres: %s: %w: %w", what, fullError{}, err)
	}
	return fmt.Errorf("postgres: %s: %w", what, err)
}

// fullError is what the contracts of sessions and of accounts both have a word for.
type fullError struct{}

func (fullError) Error() string { return "the server's disk is full" }

func (fullError) Is(target error) bool { return target == session.ErrFull || target == account.ErrFull }
