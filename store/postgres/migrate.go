package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Each file takes the schema from the version before its number to its number.
// A file that was released does not change any more.
//
//go:embed migrations/*.sql
var migrationFiles embed.FS

// A migration is the text of one file.
type migration struct {
	version int
	sql     string
}

// migrations returns those of the folder, which must be numbered 1, 2, 3 and so
// on.
func migrations(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	var all []migration
	for i, name := range names { // in the order of their names
		number, _, _ := strings.Cut(path.Base(name), "_")
		if n, err := strconv.Atoi(number); err != nil || n != i+1 {
			return nil, fmt.Errorf("postgres: migration %s is not number %d", name, i+1)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		all = append(all, migration{i + 1, string(text)})
	}
	return all, nil
}

// errVersion says that the tables are not those that this program knows.
var errVersion = errors.New("the version of the schema does not fit")

// migrate brings the schema to the latest version, or only checks that it has
// it. Where there is nothing to do, it needs no right but to read.
//
// Everything here works through a pooler: there is no prepared statement, and
// what holds, holds for one transaction.
func migrate(ctx context.Context, c *pgx.Conn, schema string, all []migration, checkOnly bool) error {
	if err := checkServer(ctx, c); err != nil {
		return err
	}
	for {
		version, err := readVersion(ctx, c, schema)
		switch {
		case err != nil:
			return err
		case version > len(all):
			return fmt.Errorf("%w: %q is at version %d, made by a newer program; this one knows %d", errVersion, schema, version, len(all))
		case version == len(all):
			return nil
		case checkOnly:
			return fmt.Errorf("%w: %q is at version %d of %d, and Config.NoMigrate is set: open it once without", errVersion, schema, version, len(all))
		}
		if err := step(ctx, c, schema, all[version]); err != nil {
			return err
		}
	}
}

// checkServer refuses a database that cannot hold every key and owner, and a
// standby, where a session that was ended may still be found.
func checkServer(ctx context.Context, c *pgx.Conn) error {
	var encoding string
	var standby bool
	err := c.QueryRow(ctx, `SELECT current_setting('server_encoding'), pg_is_in_recovery()`, pgx.QueryExecModeExec).Scan(&encoding, &standby)
	switch {
	case err != nil:
		return err
	case encoding != "UTF8":
		return fmt.Errorf("the database's encoding is %s; it has to be UTF8", encoding)
	case standby:
		return errStandby
	}
	return nil
}

// querier is what a connection and a transaction have in common.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// readVersion returns the number of the last migration, 0 if there was none.
func readVersion(ctx context.Context, q querier, schema string) (version int, err error) {
	var exists bool
	err = q.QueryRow(ctx, `
		SELECT EXISTS (
			SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname = $1 AND c.relname = 'migration')`,
		pgx.QueryExecModeExec, schema).Scan(&exists)
	if err != nil || !exists {
		return 0, err
	}
	err = q.QueryRow(ctx, qualify(schema, `SELECT coalesce(max(version), 0) FROM gatehouse.migration`),
		pgx.QueryExecModeExec).Scan(&version)
	return version, err
}

// step applies one migration, unless another process has done so meanwhile.
func step(ctx context.Context, c *pgx.Conn, schema string, m migration) error {
	// Whatever the role's default is: what is read after the wait for the lock
	// must be what the others have committed.
	options := pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}
	err := pgx.BeginTxFunc(ctx, c, options, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('gatehouse migration of ' || $1, 0))`,
			pgx.QueryExecModeExec, schema)
		if err != nil {
			return err
		}
		version, err := readVersion(ctx, tx, schema)
		if err != nil || version != m.version-1 {
			return err
		}
		if version == 0 {
			if err := createSchema(ctx, tx, schema); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, qualify(schema, m.sql)); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, qualify(schema, `INSERT INTO gatehouse.migration (version) VALUES ($1)`),
			pgx.QueryExecModeExec, m.version)
		return err
	})
	if err != nil {
		return fmt.Errorf("migration %d of schema %q: %w", m.version, schema, clean(err))
	}
	return nil
}

// createSchema makes the schema and its table of versions. It asks for the schema
// first: with IF NOT EXISTS, PostgreSQL wants the right to create one even where
// there is nothing to create.
func createSchema(ctx context.Context, tx pgx.Tx, schema string) error {
	var exists bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)`,
		pgx.QueryExecModeExec, schema).Scan(&exists)
	if err != nil {
		return err
	}
	if !exists {
		if _, err := tx.Exec(ctx, "CREATE SCHEMA "+pgx.Identifier{schema}.Sanitize()); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, qualify(schema, `CREATE TABLE gatehouse.migration (
		version integer PRIMARY KEY,
		applied timestamptz NOT NULL DEFAULT now()
	)`))
	return err
}

// qualify puts the name of the schema into SQL that is written for the schema
// gatehouse.
func qualify(schema, sql string) string {
	return strings.ReplaceAll(sql, "gatehouse.", pgx.Identifier{schema}.Sanitize()+".")
}
