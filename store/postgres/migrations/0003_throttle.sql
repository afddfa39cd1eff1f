-- The buckets of package throttle that are not full. They are not written to the
-- log: each attempt to sign in changes some, and what a crash loses is a burst.
CREATE UNLOGGED TABLE gatehouse.bucket (
	name   bytea PRIMARY KEY,  -- 16 bytes of the account and 16 of the network, each zero if it is not of one
	filled timestamptz NOT NULL  -- when it will be full
) WITH (
	autovacuum_vacuum_scale_factor = 0.05,
	vacuum_truncate = false
);

CREATE INDEX bucket_filled ON gatehouse.bucket (filled);

-- bucket_take takes a token out of each bucket, or returns for how many
-- microseconds one that is not soft has none, the longest of them. One that is soft
-- and has none is left out. everies are the microseconds in which one token comes
-- back. The names are in order: rows are locked in it.
--
-- A bucket that is full has no row which could be locked, hence the other locks.
-- To deny writes nothing.
CREATE FUNCTION gatehouse.bucket_take(names bytea[], everies bigint[], bursts bigint[], softs boolean[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
	lock_key bigint;
	moment timestamptz;
	lacks bigint;
	wait bigint := 0;
BEGIN
	FOR lock_key IN
		SELECT DISTINCT hashtextextended('gatehouse bucket ' || encode(n, 'hex'), 0) FROM unnest(names) AS n ORDER BY 1
	LOOP
		PERFORM pg_advisory_xact_lock(lock_key);
	END LOOP;
	moment := clock_timestamp();
	FOR i IN 1 .. cardinality(names) LOOP
		SELECT (extract(epoch FROM b.filled - moment) * 1000000)::bigint - (bursts[i] - 1) * everies[i]
			INTO lacks FROM gatehouse.bucket AS b WHERE b.name = names[i];
		IF lacks > wait AND NOT softs[i] THEN
			wait := lacks;
		END IF;
	END LOOP;
	IF wait > 0 THEN
		RETURN wait;
	END IF;
	FOR i IN 1 .. cardinality(names) LOOP
		-- Of the row as it is now: somebody may have given a token back.
		INSERT INTO gatehouse.bucket AS b (name, filled) VALUES (names[i], moment + everies[i] * interval '1 microsecond')
		ON CONFLICT (name) DO UPDATE SET filled = greatest(b.filled, moment) + everies[i] * interval '1 microsecond'
		WHERE b.filled <= moment + (bursts[i] - 1) * everies[i] * interval '1 microsecond';
	END LOOP;
	RETURN 0;
END $$;

-- bucket_give puts a token back into each bucket, or fills it where everies is 0.
-- The names are in order.
CREATE FUNCTION gatehouse.bucket_give(names bytea[], everies bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. cardinality(names) LOOP
		IF everies[i] = 0 THEN
			DELETE FROM gatehouse.bucket AS b WHERE b.name = names[i];
		ELSE
			UPDATE gatehouse.bucket AS b SET filled = b.filled - everies[i] * interval '1 microsecond' WHERE b.name = names[i];
		END IF;
	END LOOP;
END $$;
