-- Times are milliseconds since 1970, durations milliseconds.

CREATE TABLE gatehouse_session (
	-- In the order of their beginning, so that those in use lie on few pages.
	number  INTEGER PRIMARY KEY,
	-- The first eight bytes of the id, as a signed number: printf('%016x', handle)
	-- is what people and logs see.
	handle  INTEGER NOT NULL,
	id      BLOB    NOT NULL,
	created INTEGER NOT NULL,
	seen    INTEGER NOT NULL,
	idle    INTEGER NOT NULL,
	expires INTEGER NOT NULL,
	-- When the sweep looks at it: at its deadline, or sooner. Whoever only keeps a
	-- session alive leaves it, and with it the index, alone.
	due     INTEGER NOT NULL,
	owner   TEXT, -- NULL: nobody is signed in
	labels  TEXT    NOT NULL, -- {"name": "value"}
	-- {"key": "JSON text"}: each value's text is kept to the byte, so that it
	-- takes two steps to look into one:
	-- json_extract(json_extract(data, '$.name'), '$')
	data    TEXT    NOT NULL
) STRICT;

CREATE UNIQUE INDEX gatehouse_session_handle ON gatehouse_session (handle);

CREATE INDEX gatehouse_session_due ON gatehouse_session (due);

CREATE INDEX gatehouse_session_owner ON gatehouse_session (owner) WHERE owner IS NOT NULL;

CREATE TABLE gatehouse_label (
	name    TEXT    NOT NULL,
	value   TEXT    NOT NULL,
	session INTEGER NOT NULL, -- its number
	PRIMARY KEY (name, value, session)
) STRICT, WITHOUT ROWID;

-- The answers that have been used up (captcha.Once).
CREATE TABLE gatehouse_spent (
	id    BLOB    NOT NULL PRIMARY KEY,
	until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX gatehouse_spent_until ON gatehouse_spent (until);
