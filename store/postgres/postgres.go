package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-64ad3862/gatehouse/session"
)

// Config configures a [Store]. Only Pool is required.
type Config struct {
	// Pool is where the connections come from. It stays the caller's: shared
	// with the rest of the program, and not closed by the store.
	Pool *pgxpool.Pool

	// Schema is where the tables are, "gatehouse" if empty: up to 63 lower-case
	// letters, digits and underscores, no digit first. Two schemas are two stores.
	Schema string

	// NoMigrate makes [Open] check that the tables are there and as they have to
	// be, where it would otherwise make or change them. It is for programs whose
	// role may not.
	NoMigrate bool

	// Logger is told, once, that something between here and the server loses
	// prepared statements. [slog.Default] if nil.
	Logger *slog.Logger
}

// A Store is a [session.Store], [session.Lister] and [session.Sweeper], and
// remembers what is spent (captcha.Once); Accounts and Throttle return the stores
// of other packages in the same schema. It may be used concurrently, by any number
// of processes at once. It runs nothing between calls and needs no closing.
//
// Its errors wrap those of package pgx, without what PostgreSQL says about the
// values in question.
type Store struct {
	pool *pgxpool.Pool
	log  *slog.Logger
	sql  statements

	// How statements are executed: with prepared ones until one was lost.
	mode     pgx.QueryExecMode
	plain    pgx.QueryExecMode
	unnamed  atomic.Bool
	attempts int // how many connections of the pool may be dead, and one more

	loads   *batcher[session.Record]
	changes *batcher[change]
}

var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// Open returns the store of the schema, whose tables it makes or brings up to
// date if need be. Any number of processes may do so at once. It refuses a schema
// that a newer version has changed.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Pool == nil {
		return nil, errors.New("postgres: Config.Pool is needed; pgxpool.New makes one")
	}
	if cfg.Schema == "" {
		cfg.Schema = "gatehouse"
	}
	if !schemaName.MatchString(cfg.Schema) {
		return nil, fmt.Errorf("postgres: Config.Schema %q is not a name of lower-case letters, digits and underscores", cfg.Schema)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	all, err := migrations(migrationFiles)
	if err != nil {
		return nil, err
	}
	s := newStore(cfg)
	c, err := s.acquire(ctx)
	if err != nil {
		return nil, failure(ctx, "open", err)
	}
	defer c.Release()
	if err := migrate(ctx, c.Conn(), cfg.Schema, all, cfg.NoMigrate); err != nil {
		return nil, failure(ctx, "open", err)
	}
	return s, nil
}

// newStore returns the store of a schema that is as it has to be.
func newStore(cfg Config) *Store {
	config := cfg.Pool.Config()
	s := &Store{
		pool: cfg.Pool, log: cfg.Logger, sql: newStatements(cfg.Schema),
		mode:  config.ConnConfig.DefaultQueryExecMode,
		plain: pgx.QueryExecModeExec, attempts: int(config.MaxConns) + 1,
	}
	if config.ConnConfig.DescriptionCacheCapacity > 0 {
		s.plain = pgx.QueryExecModeCacheDescribe // as good, and in binary
	}
	if s.mode == pgx.QueryExecModeDescribeExec {
		// It describes a statement in one round trip and executes it in the
		// next, where a pooler in transaction mode may have another client's
		// statement instead.
		s.mode = s.plain
	}
	present := new(atomic.Int64)
	s.loads = newBatcher("load", config, present, s.loadOne, s.loadMany)
	s.changes = newBatcher("commit", config, present, s.changeOne, s.changeMany)
	return s
}
