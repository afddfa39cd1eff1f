package sqlite

// writeStatements are the writer's.
type writeStatements struct {
	begin, commit, rollback *stmt
	row, head               *stmt
	insert, rewrite         *stmt
	change, touch, postpone *stmt
	remove                  *stmt
	label, unlabel          *stmt
	spend, forget           *stmt
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
	}
}

// readStatements are those of each reader. Those that list come without and with
// the values.
type readStatements struct {
	row, due, spent           *stmt
	all, owned, labeled, both [2]*stmt
}

func newReadStatements(c *conn) readStatements {
	s := readStatements{
		row:   c.stmt("SELECT " + rowColumns + ", data FROM gatehouse_session WHERE handle = ?"),
		due:   c.stmt("SELECT handle FROM gatehouse_session WHERE due <= ? ORDER BY due LIMIT ?"),
		spent: c.stmt("SELECT count(*) FROM gatehouse_spent WHERE id = ?"),
	}
	for i, data := range []string{"'{}'", "data"} {
		from := "SELECT " + rowColumns + ", " + data + " FROM gatehouse_session "
		labeled := from + "WHERE number IN (SELECT session FROM gatehouse_label WHERE name = ? AND value = ?)"
		s.all[i] = c.stmt(from + "WHERE number > ? ORDER BY number LIMIT ?")
		s.owned[i] = c.stmt(from + "WHERE owner = ?")
		s.labeled[i] = c.stmt(labeled)
		// Without the plus, the planner might begin with all sessions of the owner.
		s.both[i] = c.stmt(labeled + " AND +owner = ?")
	}
	return s
}
