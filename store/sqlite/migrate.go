package sqlite

import (
	"embed"
	"errors"
	"fmt"
)

// migrations are numbered from 1, without a gap. One that has been released never
// changes: the next one changes what it made.
//
//go:embed migrations/*.sql
var migrations embed.FS

// applicationID is what file(1) and others tell our files by: "Gate".
const applicationID = 0x47617465

// The table that says which migrations there have been. user_version would be
// the place, but it is the application's in a database that it shares with us.
const schemaTable = "gatehouse_schema"

// refuseForeign refuses a database that another application has made.
func (c *conn) refuseForeign() error {
	var id, tables, ours int64
	if err := c.scan("PRAGMA application_id", &id); err != nil {
		return explain(err)
	}
	err := c.scan("SELECT count(*), coalesce(sum(name = '"+schemaTable+"'), 0) FROM sqlite_schema", &tables, &ours)
	if err != nil {
		return explain(err)
	}
	if ours == 0 && (tables > 0 || id != 0 && id != applicationID) {
		return errors.New("the database is another application's, and is left as it is; to share it, give Config.DB")
	}
	return nil
}

// version is the number of the last migration that the database has had.
func (c *conn) version() (version int, err error) {
	var exists bool
	if err := c.scan("SELECT count(*) FROM sqlite_schema WHERE name = '"+schemaTable+"'", &exists); err != nil || !exists {
		return 0, explain(err)
	}
	err = c.scan("SELECT version FROM "+schemaTable, &version)
	return version, err
}

func (c *conn) refuseNewer() error {
	files, err := migrations.ReadDir("migrations")
	if err != nil {
		return err
	}
	version, err := c.version()
	if err == nil && version > len(files) {
		err = fmt.Errorf("the database was written by a newer version of Gatehouse: it has schema %d, this one knows up to %d", version, len(files))
	}
	return err
}

// migrate brings the database to the newest schema, each step in a transaction of
// its own.
func (c *conn) migrate(own bool) error {
	version, err := c.version()
	if err != nil {
		return err
	}
	files, err := migrations.ReadDir("migrations") // sorted by name
	if err != nil {
		return err
	}
	for i := version; i < len(files); i++ {
		script, err := migrations.ReadFile("migrations/" + files[i].Name())
		if err != nil {
			return err
		}
		first := ""
		if i == 0 {
			first = "CREATE TABLE " + schemaTable + " (version INTEGER NOT NULL) STRICT; INSERT INTO " + schemaTable + " VALUES (0);"
			if own {
				first += fmt.Sprintf("PRAGMA application_id = %d;", applicationID)
			}
		}
		last := fmt.Sprintf("UPDATE %s SET version = %d;", schemaTable, i+1)
		for _, q := range []string{"BEGIN IMMEDIATE", first + string(script) + last, "COMMIT"} {
			if err := c.exec(q); err != nil {
				_ = c.exec("ROLLBACK")
				return fmt.Errorf("migration %s: %w", files[i].Name(), err)
			}
		}
	}
	return nil
}
