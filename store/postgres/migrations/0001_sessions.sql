-- One row is one session. People may read it: times are times, and a value is
-- (data->>'name')::jsonb. It is kept as the text that came, since jsonb itself
-- would refuse \u0000, respell numbers and sort keys.
CREATE TABLE gatehouse.session (
	id      bytea PRIMARY KEY,  -- SHA-256 of the cookie; its first 8 bytes are the handle
	created timestamptz NOT NULL,
	seen    timestamptz NOT NULL,
	idle    interval    NOT NULL,  -- of hours and less: it ends at seen + idle
	expires timestamptz NOT NULL,  -- and at the latest then
	-- When the sweep has to look at the row: never later than its end, often
	-- sooner. That the column stays as it is when the session is used, and with
	-- it every index, makes the update heap-only: half the log, no index entries.
	due     timestamptz NOT NULL,
	-- In the collation C an index outlives another version of the C library.
	owner   text COLLATE "C" NOT NULL,
	labels  jsonb NOT NULL,  -- {name: value}
	data    jsonb NOT NULL   -- {key: JSON text}
) WITH (
	-- Room in each page for the next version of a row, which a heap-only update
	-- needs.
	fillfactor = 85,
	-- Sessions come and go all day. A fifth of dead rows, the default, would be
	-- walked over by every sweep and list.
	autovacuum_vacuum_scale_factor = 0.05,
	toast.autovacuum_vacuum_scale_factor = 0.05,
	-- To give the end of the file back locks everybody out for a moment, and the
	-- sessions of tomorrow need it again.
	vacuum_truncate = false,
	toast.vacuum_truncate = false
);

CREATE INDEX session_due ON gatehouse.session (due);

CREATE INDEX session_owner ON gatehouse.session (owner) WHERE owner <> '';

-- Without the list of pending entries, which one unlucky writer has to tidy up.
CREATE INDEX session_labels ON gatehouse.session USING gin (labels jsonb_path_ops)
	WITH (fastupdate = off) WHERE labels <> '{}';

-- What may be used once, and was.
CREATE TABLE gatehouse.spent (
	id      bytea PRIMARY KEY,
	expires timestamptz NOT NULL  -- not needed from then on
) WITH (
	autovacuum_vacuum_scale_factor = 0.05,
	vacuum_truncate = false
);

CREATE INDEX spent_expires ON gatehouse.spent (expires);
