// Package postgres keeps sessions in PostgreSQL 12 or later, for programs that
// run on several machines, and remembers for them which challenges are spent. It
// keeps people, too, and the log of what happened ([Store.Accounts]), and counts
// how often somebody tries ([Store.Throttle]).
//
// A session is a row of the table session in a schema of its own, by default
// gatehouse, in any database that is encoded in UTF-8. People may look at it:
//
//	SELECT encode(substr(id, 1, 8), 'hex') AS handle, owner, seen, expires,
//	       labels, (data->>'cart')::jsonb AS cart
//	FROM gatehouse.session WHERE owner = '42' AND owner <> '';
//
// A row says no cookie: the id is the hash of one.
//
// Records of people are in the tables record, as JSON, and record_key, the log in
// the table entry:
//
//	SELECT time, kind, name, addr, detail FROM gatehouse.entry
//	WHERE person = (SELECT split_part(record, '/', 2) FROM gatehouse.record_key WHERE key = 'name/alex')
//	AND person <> '' ORDER BY number DESC;
//
// # What holds
//
// Each method is one statement, and a transaction by itself, which loads and
// commits may share with others of their kind. A commit changes the keys that it
// names and nothing else, in the row as it is at that moment, however many commits
// meet there. Whether a session is over is decided by the server's clock, which all
// machines share; that of the machines, which says when a session was seen, should
// be right to the second.
//
// A change that was acknowledged is on the server's disk, unless somebody turned
// that off. To do so with
//
//	ALTER ROLE app SET synchronous_commit = off
//
// makes commits cheaper, and gives up to 0.6 seconds of them away when the
// server's machine dies: a session that was ended, or a challenge that was spent,
// may then be good again. It is no choice for sign-out. Where a standby takes over,
// the same is lost that it had not received, unless synchronous_standby_names is
// set. Sessions must not be read from a standby, which lags behind: connect with
// target_session_attrs=read-write.
//
// If the connection breaks while a change is under way, nobody can know whether
// it was made. The store says so and does not try again, since the answer would be
// another one the second time. What only reads, or was not yet sent, is tried once
// more; what the server has undone for the sake of another transaction, until the
// context ends. Dead connections, as after a restart, are noticed before anything
// is sent.
//
// A change of a person locks what it needs in one order, so that no two wait for
// each other, even if they exchange names. Numbers in the log can come to be seen
// in another order than their own, where entries are appended at the same moment.
//
// Buckets are in an unlogged table, since each attempt writes to some: nothing
// waits for the disk. They outlive a restart of the server. When it crashes, or a
// standby takes over, or a backup is restored, all attempts are forgotten, and who
// guesses has one burst more. An attempt that is denied writes nothing.
//
// # Many calls at once
//
// While no more than 16 loads and commits are under way, or as many as the pool may
// have connections if that is less, each is a statement of its own. Those beyond
// wait for one of two statements of their kind, of which each takes up to 64 of
// them: what a statement costs depends little on how many rows it is about. Commits
// that do more than set and delete values and move clocks, or that name more than
// 64 KiB of keys and values, are always statements of their own.
//
// Each call keeps its own outcome. A row that another transaction has locked is
// left out, and then waited for by those alone whose session it is. A statement
// that the server refuses is made again for one call at a time. If the connection
// breaks, it is not known of any of its commits whether it was made. A context that
// ends lets its own caller go; the statement ends with the last. When no statement
// ends for 20 ms, calls no longer wait for those that are under way.
//
// Such a statement has no caller's context: a tracer of the pool finds no values in
// it.
//
// # The pool
//
// A call takes one connection for one round trip. The default of pgxpool, as many
// connections as processors and at least four, is small where the server is some
// milliseconds away. With these, a network that swallows packets is felt for
// seconds instead of minutes, and the primary is found after a failover:
//
//	postgres://app@db.example/app?sslmode=verify-full&target_session_attrs=read-write&connect_timeout=5&pool_ping_timeout=2s
//
// A call that is given up, as when a visitor goes away, costs its connection,
// which pgx closes and opens anew. A pool whose connections have a
// [pgconn.CancelRequestContextWatcherHandler] keeps it.
//
// Behind a pooler such as PgBouncer nothing has to be configured. One in
// transaction mode that does not know prepared statements is recognised by its
// errors; they are without effect, and no such statements are used from then on.
// PgBouncer waits server_login_retry, 15 seconds, before it calls a server again
// that was away.
//
// # Rights
//
// [Open] makes the schema and its tables. To keep that right from the program,
// open the store once as somebody else, who then says
//
//	GRANT USAGE ON SCHEMA gatehouse TO app;
//	GRANT SELECT ON gatehouse.migration TO app;
//	GRANT SELECT, INSERT, UPDATE, DELETE ON gatehouse.session, gatehouse.spent TO app;
//	GRANT SELECT, INSERT, UPDATE, DELETE ON gatehouse.record, gatehouse.record_key,
//	    gatehouse.entry, gatehouse.bucket TO app;
//
// and, where the right to execute functions is not everybody's, as it is by default,
//
//	GRANT EXECUTE ON FUNCTION gatehouse.bucket_take, gatehouse.bucket_give TO app;
//
// [Store.Sweep] needs those of session, spent and bucket, whatever else is used.
//
// Whoever may write to the tables can sign in as anybody, and who may read them sees
// what is in the sessions, and of people their hashes of passwords and secrets of
// authenticators. The server's log is part of that: it shows parameters
// of slow and of failing statements unless log_parameter_max_length is 0, and
// log_parameter_max_length_on_error as it is by default. So is a tracer of the
// pool. Errors of this package hold no values.
//
// # Room
//
// A session takes about 150 bytes and its values, and some 100 in the indexes, 150
// if it has an owner.
// [Store.Sweep], which a session.Manager calls every minute, removes what is over,
// and buckets that are full, of which each takes some 200. An entry of the log takes
// some 300, and stays until [Accounts.Trim]. A disk that is full is
// [session.ErrFull], for people [account.ErrFull].
package postgres
