package postgres

// live is what a record needs to exist for anybody. The clock is that of the
// server, which the machines share, and of the moment in which the row is looked
// at: a statement that had to wait for another one may find it over. PostgreSQL
// looks again at a row that changed meanwhile, and applies the change to what is
// there then (chapter 13.2.1 of its manual): this is why a commit is one UPDATE.
const live = `expires > clock_timestamp() AND seen + idle > clock_timestamp()`

// columns are those that scan reads.
const columns = `id, created, seen, idle, expires, owner, labels`

const loadSQL = `SELECT ` + columns + `, data FROM gatehouse.session WHERE id = $1 AND ` + live

const loadManySQL = `SELECT ` + columns + `, data FROM gatehouse.session WHERE id = ANY ($1) AND ` + live

const existsSQL = `SELECT EXISTS (SELECT FROM gatehouse.session WHERE id = $1 AND ` + live + `)`

// createSQL takes the place of a record that is over, and that no sweep has
// removed.
const createSQL = `
INSERT INTO gatehouse.session AS s (id, created, seen, idle, expires, due, owner, labels, data)
VALUES ($1, $2, $2, $3, $4, least($4::timestamptz, $2::timestamptz + $3::interval), $5, $6, $7)
ON CONFLICT (id) DO UPDATE SET
	created = excluded.created, seen = excluded.seen, idle = excluded.idle, expires = excluded.expires, due = excluded.due,
	owner = excluded.owner, labels = excluded.labels, data = excluded.data
WHERE s.expires <= clock_timestamp() OR s.seen + s.idle <= clock_timestamp()`

// conditions holds where each key $1 has the value $2, or is absent if that is
// empty; the numbers are those of whoever uses it.
const conditions = `NOT EXISTS (
	SELECT FROM unnest($1::text[], $2::text[]) AS c (key, value) WHERE coalesce(data->>c.key, '') <> c.value)`

// changeSQL leaves alone what its parameter is null for. A row's data, which may
// lie outside of it, is then not even read.
const changeSQL = `
UPDATE gatehouse.session SET
	created = CASE WHEN $6 THEN greatest(seen, $3) ELSE created END,
	seen = greatest(seen, $3),
	idle = coalesce($4, idle),
	expires = coalesce($5, expires),
	due = least(due, coalesce($5, expires), greatest(seen, $3) + coalesce($4, idle)),
	owner = coalesce($7, owner),
	labels = CASE WHEN $9::jsonb IS NULL THEN labels ELSE (labels - $8::text[]) || $9::jsonb END,
	data = CASE WHEN $11::jsonb IS NULL THEN data ELSE (data - $10::text[]) || $11::jsonb END,
	id = coalesce($12, id)
WHERE id = $13 AND ` + live + ` AND ($1::text[] IS NULL OR ` + conditions + `)`

// changeManySQL does to many records what changeSQL does to one, but sets no owner
// and no labels and has no conditions. The keys to remove, in $8, are those of all of
// them. It passes over rows that another transaction has locked: it never waits
// for one, and so two such statements never wait for each other.
const changeManySQL = `
WITH free AS (
	SELECT c.* FROM gatehouse.session AS s JOIN unnest(
		$1::bytea[], $2::timestamptz[], $3::interval[], $4::timestamptz[], $5::text[], $6::integer[], $7::integer[]
	) AS c (key, new_seen, new_idle, new_expires, put, remove_from, remove_to) ON s.id = c.key
	FOR NO KEY UPDATE OF s SKIP LOCKED
)
UPDATE gatehouse.session SET
	seen = greatest(seen, new_seen),
	idle = coalesce(new_idle, idle),
	expires = coalesce(new_expires, expires),
	due = least(due, coalesce(new_expires, expires), greatest(seen, new_seen) + coalesce(new_idle, idle)),
	data = CASE WHEN put IS NULL THEN data ELSE (data - ($8::text[])[remove_from:remove_to]) || put::jsonb END
FROM free WHERE id = key AND ` + live + ` RETURNING id`

// whySQL says why a change with conditions changed nothing: no row if the record
// does not exist, else whether the new name is taken, and whether the conditions
// hold.
const whySQL = `
SELECT EXISTS (SELECT FROM gatehouse.session WHERE id = $3 AND ` + live + `), ` + conditions + `
FROM gatehouse.session WHERE id = $4 AND ` + live

const deleteSQL = `DELETE FROM gatehouse.session WHERE id = $1 AND ` + live

// makeWaySQL removes the record if it is over.
const makeWaySQL = `DELETE FROM gatehouse.session WHERE id = $1 AND NOT (` + live + `)`

const findSQL = `SELECT ` + columns + `, data FROM gatehouse.session WHERE id BETWEEN $1 AND $2 AND ` + live + ` LIMIT 1`

// The lists repeat the conditions of their indexes, which the planner cannot
// conclude from a parameter. Fields are read where $1 asks for them.
const (
	listSQL      = `SELECT ` + columns + `, CASE WHEN $1 THEN data ELSE '{}' END FROM gatehouse.session WHERE ` + live
	listOwnerSQL = listSQL + ` AND owner = $2 AND owner <> ''`
	listLabelSQL = listSQL + ` AND labels @> $2 AND labels <> '{}'`
	listBothSQL  = listOwnerSQL + ` AND labels @> $3`
	listAllSQL   = listSQL + ` AND id > $2 ORDER BY id LIMIT $3`

	// Labels are looked at in each row: their index leads to those of anonymous
	// sessions too.
	listSignedInSQL = listSQL + ` AND owner <> '' AND labels @> $4 AND id > $2 ORDER BY id LIMIT $3`
)

// sweepSQL takes up to $1 rows that are due and that nobody else is at, another
// sweep or a request. Those whose end has moved away since become due then; the
// others go. It answers with a row for each of these, or one of nulls, and each
// says how many rows it took.
const sweepSQL = `
WITH due AS MATERIALIZED (
	SELECT id FROM gatehouse.session WHERE due <= statement_timestamp()
	ORDER BY due LIMIT $1 FOR UPDATE SKIP LOCKED
), kept AS (
	UPDATE gatehouse.session SET due = least(expires, seen + idle)
	WHERE id = ANY (ARRAY(SELECT id FROM due)) AND least(expires, seen + idle) > statement_timestamp()
), gone AS (
	DELETE FROM gatehouse.session
	WHERE id = ANY (ARRAY(SELECT id FROM due)) AND least(expires, seen + idle) <= statement_timestamp()
	RETURNING ` + columns + `
)
SELECT (SELECT count(*) FROM due), gone.* FROM (VALUES (1)) AS one LEFT JOIN gone ON true`

const (
	spendSQL = `
INSERT INTO gatehouse.spent (id, expires) VALUES ($1, statement_timestamp() + $2::bigint * interval '1 microsecond')
ON CONFLICT (id) DO NOTHING`
	spentSQL = `SELECT EXISTS (SELECT FROM gatehouse.spent WHERE id = $1)`

	sweepSpentSQL = `
DELETE FROM gatehouse.spent WHERE id = ANY (ARRAY(
	SELECT id FROM gatehouse.spent WHERE expires <= statement_timestamp()
	ORDER BY expires LIMIT $1 FOR UPDATE SKIP LOCKED))`
)

const foundColumns = `r.id, r.version, r.data,
	ARRAY(SELECT o.key FROM gatehouse.record_key AS o WHERE o.record = r.id AND o.key <> r.id ORDER BY o.key)`

const getRecordSQL = `
SELECT k.key, ` + foundColumns + `
FROM gatehouse.record_key AS k JOIN gatehouse.record AS r ON r.id = k.record WHERE k.key = $1`

const listRecordsSQL = `
SELECT k.key, ` + foundColumns + `
FROM gatehouse.record_key AS k JOIN gatehouse.record AS r ON r.id = k.record
WHERE k.key >= $1 AND k.key < $2 AND k.key > $3 ORDER BY k.key LIMIT $4`

// What stores a record takes its locks in one order: the record's row, the keys
// that are new in theirs, and last the keys that it had and gives up, which nobody
// else can have locked. So no two wait for each other, not even if they want to
// exchange their keys. The order is that in which the parts need each other.
//
// A key that is another's fails in the index, which sees what others have done
// since the statement began, and waits for those that are about to.
const (
	createRecordSQL = `
WITH made AS (
	INSERT INTO gatehouse.record (id, version, data) VALUES ($1, 1, $2) RETURNING id
)
INSERT INTO gatehouse.record_key (key, record)
SELECT k.key, made.id FROM made, unnest($3::text[]) AS k (key) ORDER BY k.key COLLATE "C"`

	// The keys that the record has are those of its version, which is still there
	// when its row is locked.
	changeRecordSQL = `
WITH changed AS (
	UPDATE gatehouse.record SET version = version + 1, data = $2 WHERE id = $1 AND version = $4 RETURNING id
), added AS (
	INSERT INTO gatehouse.record_key (key, record)
	SELECT k.key, changed.id FROM changed, unnest($3::text[]) AS k (key)
	WHERE NOT EXISTS (SELECT FROM gatehouse.record_key AS o WHERE o.key = k.key AND o.record = $1)
	ORDER BY k.key COLLATE "C" RETURNING key
), removed AS (
	DELETE FROM gatehouse.record_key
	WHERE record = $1 AND key <> ALL ($3::text[]) AND EXISTS (SELECT FROM changed) AND (SELECT count(*) FROM added) >= 0
)
SELECT FROM changed`

	// whyRecordSQL reads the version that is there, and the first of the keys that
	// is another's, or anybody's if $3.
	whyRecordSQL = `
SELECT r.version, (
	SELECT k.key FROM unnest($2::text[]) WITH ORDINALITY AS k (key, n) JOIN gatehouse.record_key AS o ON o.key = k.key
	WHERE $3 OR o.record <> $1 ORDER BY k.n LIMIT 1)
FROM (VALUES (1)) AS one LEFT JOIN gatehouse.record AS r ON r.id = $1`

	deleteRecordSQL = `DELETE FROM gatehouse.record WHERE id = $1 AND version = $2`
)

const (
	appendEntrySQL = `
INSERT INTO gatehouse.entry (time, kind, person, name, by, addr, agent, session, detail)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`

	selectEntriesSQL = `
SELECT number, time, kind, person, name, by, addr, agent, session, detail
FROM gatehouse.entry WHERE number < $1 AND ($2 = '' OR kind = $2) AND time >= $3`
	listEntriesSQL   = selectEntriesSQL + ` ORDER BY number DESC LIMIT $4`
	listEntriesOfSQL = selectEntriesSQL + ` AND person = $5 AND person <> '' ORDER BY number DESC LIMIT $4`

	trimEntriesSQL = `
DELETE FROM gatehouse.entry WHERE number = ANY (ARRAY(
	SELECT number FROM gatehouse.entry WHERE time < $1
	ORDER BY time LIMIT $2 FOR UPDATE SKIP LOCKED))`
)

const (
	takeTokensSQL = `SELECT gatehouse.bucket_take($1::bytea[], $2::bigint[], $3::bigint[], $4::boolean[])`
	giveTokensSQL = `SELECT gatehouse.bucket_give($1::bytea[], $2::bigint[])`

	// The clock is that of the moment in which the row is looked at, which is after
	// that of whoever has changed it.
	usedTokensSQL = `
SELECT coalesce((
	SELECT greatest(0, ((extract(epoch FROM b.filled - clock_timestamp()) * 1000000)::bigint + t.every - 1) / t.every)
	FROM gatehouse.bucket AS b WHERE b.name = t.name), 0)
FROM unnest($1::bytea[], $2::bigint[]) WITH ORDINALITY AS t (name, every, n) ORDER BY t.n`

	forgetBucketsSQL = `
DELETE FROM gatehouse.bucket WHERE name = ANY (ARRAY(
	SELECT name FROM gatehouse.bucket WHERE name BETWEEN $1 AND $2 ORDER BY name FOR UPDATE))`

	sweepBucketsSQL = `
DELETE FROM gatehouse.bucket WHERE name = ANY (ARRAY(
	SELECT name FROM gatehouse.bucket WHERE filled <= statement_timestamp()
	ORDER BY filled LIMIT $1 FOR UPDATE SKIP LOCKED))`
)

// statements are the above for one schema.
type statements struct {
	load, exists, create, change, why, delete, makeWay string
	loadMany, changeMany                               string
	find, listOwner, listLabel, listBoth               string
	listAll, listSignedIn                              string
	sweep, spend, spent, sweepSpent                    string

	getRecord, listRecords, createRecord, changeRecord, whyRecord, deleteRecord string
	appendEntry, listEntries, listEntriesOf, trimEntries                        string
	takeTokens, giveTokens, usedTokens, forgetBuckets, sweepBuckets             string
}

func newStatements(schema string) statements {
	in := func(sql string) string { return qualify(schema, sql) }
	return statements{
		load: in(loadSQL), exists: in(existsSQL), create: in(createSQL), change: in(changeSQL),
		loadMany: in(loadManySQL), changeMany: in(changeManySQL),
		why: in(whySQL), delete: in(deleteSQL), makeWay: in(makeWaySQL),
		find: in(findSQL), listOwner: in(listOwnerSQL), listLabel: in(listLabelSQL), listBoth: in(listBothSQL),
		listAll: in(listAllSQL), listSignedIn: in(listSignedInSQL),
		sweep: in(sweepSQL), spend: in(spendSQL), spent: in(spentSQL), sweepSpent: in(sweepSpentSQL),
		getRecord: in(getRecordSQL), listRecords: in(listRecordsSQL), createRecord: in(createRecordSQL),
		changeRecord: in(changeRecordSQL), whyRecord: in(whyRecordSQL), deleteRecord: in(deleteRecordSQL),
		appendEntry: in(appendEntrySQL), listEntries: in(listEntriesSQL), listEntriesOf: in(listEntriesOfSQL), trimEntries: in(trimEntriesSQL),
		takeTokens: in(takeTokensSQL), giveTokens: in(giveTokensSQL), usedTokens: in(usedTokensSQL),
		forgetBuckets: in(forgetBucketsSQL), sweepBuckets: in(sweepBucketsSQL),
	}
}
