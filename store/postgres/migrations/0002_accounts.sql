-- What package account keeps: records of people among others.
CREATE TABLE gatehouse.record (
	id      text COLLATE "C" PRIMARY KEY,
	version bigint NOT NULL,  -- 1, and one more with each change
	data    bytea NOT NULL    -- for people, JSON
) WITH (
	fillfactor = 85,  -- a sign-in may change a person: heap-only, if the page has room
	autovacuum_vacuum_scale_factor = 0.05,
	vacuum_truncate = false
);

-- Under which records are found: their ids and other keys. What is looked for is
-- here, so that somebody's key cannot be another's id.
CREATE TABLE gatehouse.record_key (
	key    text COLLATE "C" PRIMARY KEY,
	record text COLLATE "C" NOT NULL REFERENCES gatehouse.record ON DELETE CASCADE
) WITH (
	autovacuum_vacuum_scale_factor = 0.05,
	vacuum_truncate = false
);

CREATE INDEX record_key_record ON gatehouse.record_key (record);

-- What has happened. What is not known is empty.
CREATE TABLE gatehouse.entry (
	number  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	time    timestamptz NOT NULL,
	kind    text COLLATE "C" NOT NULL,
	person  text COLLATE "C" NOT NULL,  -- the id of whom it concerns
	name    text COLLATE "C" NOT NULL,  -- and the name they had
	by      text COLLATE "C" NOT NULL,  -- the id of who did it, if somebody else
	-- Not inet, which has no zones.
	addr    text COLLATE "C" NOT NULL,
	agent   text COLLATE "C" NOT NULL,
	session text COLLATE "C" NOT NULL,  -- its handle
	detail  text COLLATE "C" NOT NULL
) WITH (vacuum_truncate = false);

CREATE INDEX entry_time ON gatehouse.entry (time);

CREATE INDEX entry_person ON gatehouse.entry (person, number) WHERE person <> '';
