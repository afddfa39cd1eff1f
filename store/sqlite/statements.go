package sqlite

import "fmt"

// writeStatements are the writer's.
type writeStatements struct {
	begin, commit, rollback *stmt
	row, head               *stmt
	insert, rewrite         *stmt
	change, touch, postpone *stmt
	remove                  *stmt
	label, unlabel          *stmt
	spend, forget           *stmt
	due                     *stmt // of anonymous sessions

	record, holder             *stmt
	insertRecord, updateRecord *stmt
	removeRecord               *stmt
	addKey, dropKey            *stmt
	append, trim               *stmt
}

func newWriteStatements(c *conn) writeStatements {
	return writeStatements{
		begin:    c.stmt("BEGIN IMMEDIATE"),
		commit:   c.stmt("COMMIT"),
		rollback: c.stmt("ROLLBACK"),

		row:  c.stmt("SELECT " + rowColumns + ", data FROM gatehouse_session WHERE handle = ?"),
		head: c.stmt("SELECT " + rowColumns + ", '{}' FROM gatehouse_session WHERE handle = ?"),

		insert: c.stmt("INSERT INTO gatehouse_session" +
			" (handle, id, created, seen, idle, expires, due, owner, labels, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"),
		rewrite: c.stmt("UPDATE gatehouse_session SET" +
			" handle = ?, id = ?, created = ?, seen = ?, idle = ?, expires = ?, due = ?, owner = ?, labels = ?, data = ? WHERE number = ?"),
		// These two touch no column that has an index.
		change:   c.stmt("UPDATE gatehouse_session SET created = ?, seen = ?, idle = ?, expires = ?, data = ? WHERE number = ?"),
		touch:    c.stmt("UPDATE gatehouse_session SET created = ?, seen = ?, idle = ?, expires = ? WHERE number = ?"),
		postpone: c.stmt("UPDATE gatehouse_session SET due = ? WHERE handle = ?"),
		remove:   c.stmt("DELETE FROM gatehouse_session WHERE number = ?"),

		label:   c.stmt("INSERT OR IGNORE INTO gatehouse_label (name, value, session) VALUES (?, ?, ?)"),
		unlabel: c.stmt("DELETE FROM gatehouse_label WHERE name = ? AND value = ? AND session = ?"),

		spend:  c.stmt("INSERT OR IGNORE INTO gatehouse_spent (id, until) VALUES (?, ?)"),
		forget: c.stmt("DELETE FROM gatehouse_spent WHERE id IN (SELECT id FROM gatehouse_spent WHERE until <= ? ORDER BY until LIMIT ?)"),

		due: newDueStatements(c)[0],

		record: c.stmt("SELECT " + recordColumns + ", x'' FROM gatehouse_account_key CROSS JOIN gatehouse_account ON number = account WHERE key = ?"),
		holder: c.stmt("SELECT account FROM gatehouse_account_key WHERE key = ?"),
		// A driver may take no bytes for NULL.
		insertRecord: c.stmt("INSERT INTO gatehouse_account (id, version, keys, data) VALUES (?, 1, ?, coalesce(?, x''))"),
		updateRecord: c.stmt("UPDATE gatehouse_account SET version = version + 1, keys = ?, data = coalesce(?, x'') WHERE number = ?"),
		removeRecord: c.stmt("DELETE FROM gatehouse_account WHERE number = ?"),
		addKey:       c.stmt("INSERT INTO gatehouse_account_key (key, account) VALUES (?, ?)"),
		dropKey:      c.stmt("DELETE FROM gatehouse_account_key WHERE key = ?"),

		append: c.stmt("INSERT INTO gatehouse_log" +
			" (time, kind, person, name, done_by, addr, agent, session, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"),
		trim: c.stmt("DELETE FROM gatehouse_log WHERE number IN (SELECT number FROM gatehouse_log WHERE time < ? ORDER BY time LIMIT ?)"),
	}
}

// readStatements are those of each reader. Those that list come without and with
// the values.
type readStatements struct {
	row, spent                *stmt
	due                       [2]*stmt // of anonymous sessions, and of the others
	all, owned, labeled, both [2]*stmt
	signedIn, signedInLabeled [2]*stmt

	record, found                             *stmt
	oldest, newest, entries, entriesOf, later *stmt
}

// selected ends the statements that read the log.
const selected = " AND +time >= ? AND kind = coalesce(nullif(?, ''), kind) ORDER BY number DESC LIMIT ?"

// newDueStatements are for the handles of sessions that the sweep has to look at.
func newDueStatements(c *conn) [2]*stmt {
	const query = "SELECT handle FROM gatehouse_session WHERE owner IS %s AND due <= ? ORDER BY due LIMIT ?"
	return [2]*stmt{c.stmt(fmt.Sprintf(query, "NULL")), c.stmt(fmt.Sprintf(query, "NOT NULL"))}
}

func newReadStatements(c *conn) readStatements {
	s := readStatements{
		row:   c.stmt("SELECT " + rowColumns + ", data FROM gatehouse_session WHERE handle = ?"),
		due:   newDueStatements(c),
		spent: c.stmt("SELECT count(*) FROM gatehouse_spent WHERE id = ?"),

		record: c.stmt("SELECT " + recordColumns + ", data FROM gatehouse_account_key CROSS JOIN gatehouse_account ON number = account WHERE key = ?"),
		found: c.stmt("SELECT key, " + recordColumns + ", data FROM gatehouse_account_key CROSS JOIN gatehouse_account ON number = account" +
			" WHERE key >= ? AND key < ? ORDER BY key LIMIT ?"),

		oldest: c.stmt("SELECT coalesce(min(number), 0) FROM gatehouse_log"),
		newest: c.stmt("SELECT coalesce(max(number), 0) FROM gatehouse_log"),
		// Without the plus, the planner might begin with all that is later.
		entries:   c.stmt("SELECT " + entryColumns + " FROM gatehouse_log WHERE number >= ? AND number < ?" + selected),
		entriesOf: c.stmt("SELECT " + entryColumns + " FROM gatehouse_log WHERE person = ? AND number >= ? AND number < ?" + selected),
		later:     c.stmt("SELECT 1 FROM gatehouse_log WHERE time >= ? AND +number < ? LIMIT 1"),
	}
	for i, data := range []string{"'{}'", "data"} {
		from := "SELECT " + rowColumns + ", " + data + " FROM gatehouse_session "
		labeled := from + "WHERE number IN (SELECT session FROM gatehouse_label WHERE name = ? AND value = ?)"
		s.all[i] = c.stmt(from + "WHERE number > ? ORDER BY number LIMIT ?")
		s.owned[i] = c.stmt(from + "WHERE owner = ?")
		signedIn := from + "WHERE owner IS NOT NULL AND number > ?"
		s.signedIn[i] = c.stmt(signedIn + " ORDER BY number LIMIT ?")
		// Not by way of the label, which any number of anonymous sessions may have.
		s.signedInLabeled[i] = c.stmt(signedIn +
			" AND EXISTS (SELECT 1 FROM gatehouse_label WHERE name = ? AND value = ? AND session = number) ORDER BY number LIMIT ?")
		s.labeled[i] = c.stmt(labeled)
		// Without the plus, the planner might begin with all sessions of the owner.
		s.both[i] = c.stmt(labeled + " AND +owner = ?")
	}
	return s
}
