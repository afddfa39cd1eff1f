-- Records of package account: people, and secrets of the installation.

CREATE TABLE gatehouse_account (
	number  INTEGER PRIMARY KEY,
	id      TEXT    NOT NULL,
	version INTEGER NOT NULL,
	-- ["name/alex"]: those under which gatehouse_account_key finds it beside its
	-- id. They are here as well, so that one statement reads a record as it was at
	-- one moment, and no index is needed from a record to its keys.
	keys    TEXT    NOT NULL,
	data    BLOB    NOT NULL -- of a person, JSON: CAST(data AS TEXT)
) STRICT;

-- No key belongs to two records. It is bytes and no text: text would be compared in
-- the encoding of the database, which in an application's own may be UTF-16.
CREATE TABLE gatehouse_account_key (
	key     BLOB    NOT NULL PRIMARY KEY,
	account INTEGER NOT NULL -- its number
) STRICT, WITHOUT ROWID;

-- What has happened (account.Log). A number is never given twice, not even when all
-- entries have gone: whoever reads on from one must not miss another.
CREATE TABLE gatehouse_log (
	number  INTEGER PRIMARY KEY AUTOINCREMENT,
	time    INTEGER NOT NULL, -- microseconds since 1970
	kind    TEXT    NOT NULL,
	person  TEXT, -- NULL: somebody who is not known
	name    TEXT    NOT NULL,
	done_by TEXT    NOT NULL,
	addr    TEXT    NOT NULL,
	agent   TEXT    NOT NULL,
	session TEXT    NOT NULL,
	detail  TEXT    NOT NULL
) STRICT;

CREATE INDEX gatehouse_log_time ON gatehouse_log (time);

CREATE INDEX gatehouse_log_person ON gatehouse_log (person) WHERE person IS NOT NULL;
