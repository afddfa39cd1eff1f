package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/alexedwards/scs/pgxstore"
	"github.com/alexedwards/scs/redisstore"
	"github.com/alexedwards/scs/sqlite3store"
	"github.com/alexedwards/scs/v2"
	"github.com/gomodule/redigo/redis"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/mattn/go-sqlite3" // what scs's store is made for
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	_ "modernc.org/sqlite"

	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/postgres"
	redisstores "github.com/seed-64ad3862/gatehouse/store/redis"
	"github.com/seed-64ad3862/gatehouse/store/sqlite"
)

// workers is how many requests are under way at once, and sessionsEach how many
// sessions each of them goes around. No session is in two hands: who writes a
// whole record at a time would wait, or lose, where we do not.
const (
	workers      = 64
	sessionsEach = 160
	// hotEach is how many of them are read from a cache that keeps nothing for
	// longer than a second: between two slices it forgets them.
	hotEach = 16
)

// host is what package service needs of a test, for this program.
type host struct {
	ctx     context.Context
	cleanup []func()
}

// failure is what ends a section from inside of package service.
type failure struct{ error }

func (*host) Helper()                        {}
func (h *host) Context() context.Context     { return h.ctx }
func (h *host) Cleanup(f func())             { h.cleanup = append(h.cleanup, f) }
func (*host) Errorf(format string, a ...any) { fmt.Fprintf(os.Stderr, format+"\n", a...) }
func (*host) Fatal(a ...any)                 { panic(failure{errors.New(fmt.Sprint(a...))}) }
func (*host) Fatalf(format string, a ...any) { panic(failure{fmt.Errorf(format, a...)}) }
func (*host) Skip(a ...any)                  { panic(failure{fmt.Errorf("%w: %v", errSkip, fmt.Sprint(a...))}) }

// hosted runs f with a host, and ends what f has started.
func hosted(ctx context.Context, f func(h *host) error) (err error) {
	h := &host{ctx: ctx}
	defer func() {
		for i := len(h.cleanup) - 1; i >= 0; i-- {
			h.cleanup[i]()
		}
		if p := recover(); p != nil {
			failed, ok := p.(failure)
			if !ok {
				panic(p)
			}
			err = failed.error
		}
	}()
	return f(h)
}

// tempDir is on a disk: where the system keeps temporary files in memory, a
// durable write would cost nothing.
func (h *host) tempDir() string {
	dir, err := os.MkdirTemp(".", ".bench-")
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// must is for what does not fail unless the machine is wrong.
func must[T any](v T, err error) T {
	if err != nil {
		panic(failure{err})
	}
	return v
}

// parallel shares n operations out among the workers.
func parallel(name string, do func(worker, n int)) contender {
	return contender{name: name, run: func(n int) {
		var wg sync.WaitGroup
		for i := range workers {
			wg.Go(func() { do(i, (n+i)/workers) })
		}
		wg.Wait()
	}}
}

// visits serves requests for the path, with so many sessions of the site's for
// each worker.
func visits(name string, s httpSite, path string, each int) contender {
	requests := make([][]*http.Request, workers)
	for i := range requests {
		for range each {
			requests[i] = append(requests[i], request(http.MethodGet, path, must(begin(s))))
		}
	}
	return parallel(name, func(worker, n int) { repeat(s[path], requests[worker], len(payload), n) })
}

// loads reads sessions from a store, with no request around it.
func loads(ctx context.Context, name string, store session.Store, each int) contender {
	ids := make([]session.ID, workers*each)
	now := time.Now()
	for i := range ids {
		rand.Read(ids[i][:])
		check(store.Commit(ctx, ids[i], &session.Delta{
			Create: true, Seen: now, Idle: time.Hour, Expires: now.Add(time.Hour),
			Set: []session.Field{{Key: key, Value: `"` + payload + `"`}},
		}))
	}
	return parallel(name, func(worker, n int) {
		for i := range n {
			must(store.Load(ctx, ids[worker*each+i%each]))
		}
	})
}

// ours is a site on a store of ours.
func ours(store session.Store) httpSite {
	return ourPages(must(session.New(session.Config{Store: store, Logger: slog.New(slog.DiscardHandler)})), nil)
}

// scsOn is a site of scs on a store of its own.
func scsOn(store scs.Store) httpSite {
	m := scs.New()
	m.Store = store
	return scsPages(m, nil)
}

// rateTable shows how much each contender does in a second, and as a multiple of
// the first.
func (r *report) rateTable(cs []contender, results map[string]result) {
	var rows [][]string
	for _, c := range cs {
		res := results[c.name]
		m := res.median()
		rows = append(rows, []string{c.name, thousands(1e9 / m.wall), times(res.speed(results[cs[0].name])), duration(m.cpu), count(m.allocs)})
	}
	r.table([]string{"", "per second", "× the first", "CPU of this process", "allocations"}, rows)
}

func benchStores(ctx context.Context, cfg config, r *report) error {
	r.title("Stores that outlive the process")
	r.text("%d goroutines, each with %d sessions of its own, of 100 bytes; servers on the same machine, over loopback, with their own settings but for what is said. What is raw does nothing but read or write 100 bytes under a random key, with no request around it.", workers, sessionsEach)
	for _, f := range []func(context.Context, config, *report) error{benchRedis, benchSQLite, benchPostgres} {
		if err := f(ctx, cfg, r); err != nil {
			if !errors.Is(err, errSkip) {
				return err
			}
			r.text("Skipped: %v.", err)
		}
	}
	return nil
}

const (
	rawRueidis = "raw rueidis"
	rawCached  = "raw rueidis, DoCache"
	rawGoRedis = "raw go-redis"
	rawBatches = "raw modernc, commits in batches"
	rawPgx     = "raw pgx"
	rawUnnest  = "raw pgx, in batches by unnest"

	oursCached = nameOurs + ", cached reads"
)

// rawKeys are the keys of what is raw: random, like those of sessions, since
// neighbours in a table on disk cost less.
var rawKeys = func() (keys [workers * sessionsEach]string) {
	for i := range keys {
		keys[i] = rand.Text()
	}
	return keys
}()

func keyOf(worker, i int) string { return rawKeys[worker*sessionsEach+i%sessionsEach] }

func benchRedis(ctx context.Context, cfg config, r *report) error {
	return hosted(ctx, func(h *host) error {
		server := service.Redis(h)
		option := rueidis.ClientOption{InitAddress: []string{server.Addr}}
		raw := must(rueidis.NewClient(option))
		h.Cleanup(raw.Close)
		gored := goredis.NewClient(&goredis.Options{Addr: server.Addr, PoolSize: workers})
		h.Cleanup(func() { _ = gored.Close() })
		pool := &redis.Pool{MaxIdle: workers, MaxActive: workers, Wait: true, Dial: func() (redis.Conn, error) { return redis.Dial("tcp", server.Addr) }}
		h.Cleanup(func() { _ = pool.Close() })
		open := func(c redisstores.Config) session.Store {
			c.Client = option
			s := must(redisstores.Open(ctx, c))
			h.Cleanup(s.Close)
			return s
		}
		plainStore, cachedStore := open(redisstores.Config{NoCache: true}), open(redisstores.Config{})
		plain, cached := ours(plainStore), ours(cachedStore)
		others := scsOn(redisstore.New(pool))

		set := func(worker, n int) {
			for i := range n {
				check(raw.Do(ctx, raw.B().Set().Key(keyOf(worker, i)).Value(payload).Build()).Error())
			}
		}
		for i := range workers {
			set(i, sessionsEach)
			for n := range sessionsEach { // as ours are
				check(raw.Do(ctx, raw.B().Hset().Key("hash:"+keyOf(i, n)).FieldValue().FieldValue("head", payload).FieldValue("v:name", payload).Build()).Error())
			}
		}
		reads := []contender{
			parallel(rawRueidis, func(worker, n int) {
				for i := range n {
					must(raw.Do(ctx, raw.B().Get().Key(keyOf(worker, i)).Build()).AsBytes())
				}
			}),
			visits(nameOurs, plain, pathRead, sessionsEach),
			loads(ctx, nameOurs+", the store alone", plainStore, sessionsEach),
			parallel(rawRueidis+", HGETALL of two fields", func(worker, n int) {
				for i := range n {
					check(raw.Do(ctx, raw.B().Hgetall().Key("hash:"+keyOf(worker, i)).Build()).Error())
				}
			}),
			parallel(rawGoRedis, func(worker, n int) {
				for i := range n {
					must(gored.Get(ctx, keyOf(worker, i)).Bytes())
				}
			}),
			visits(nameScs+", redisstore", others, pathRead, sessionsEach),
		}
		results := measure(reads, cfg)
		r.printf("### Redis: read one key of a session\n\n")
		r.rateTable(reads, results)
		r.atLeast("Redis, read, as a multiple of raw rueidis GET", results[nameOurs].speed(results[rawRueidis]), 0.85, times,
			"scs "+times(results[nameScs+", redisstore"].speed(results[rawRueidis])))

		hot := []contender{
			parallel(rawCached, func(worker, n int) {
				for i := range n {
					must(raw.DoCache(ctx, raw.B().Get().Key(keyOf(worker, i%hotEach)).Cache(), time.Minute).AsBytes())
				}
			}),
			visits(oursCached, cached, pathRead, hotEach),
			loads(ctx, oursCached+", the store alone", cachedStore, hotEach),
		}
		results = measure(hot, cfg)
		r.printf("### Redis: the same of %d sessions each, from memory that the server keeps true\n\n", hotEach)
		r.rateTable(hot, results)
		r.atLeast("Redis, cached read, as a multiple of raw DoCache", results[oursCached].speed(results[rawCached]), 0.5, times, "")

		writes := []contender{
			parallel(rawRueidis, set),
			visits(nameOurs, plain, pathWrite, sessionsEach),
			visits(oursCached, cached, pathWrite, sessionsEach),
			parallel(rawRueidis+", HGETALL of two fields, then HSET", func(worker, n int) {
				for i := range n {
					key := "hash:" + keyOf(worker, i)
					check(raw.Do(ctx, raw.B().Hgetall().Key(key).Build()).Error())
					check(raw.Do(ctx, raw.B().Hset().Key(key).FieldValue().FieldValue("v:name", payload).Build()).Error())
				}
			}),
			parallel(rawGoRedis, func(worker, n int) {
				for i := range n {
					check(gored.Set(ctx, keyOf(worker, i), payload, 0).Err())
				}
			}),
			visits(nameScs+", redisstore", others, pathWrite, sessionsEach),
		}
		results = measure(writes, cfg)
		r.printf("### Redis: read one key and write another\n\n")
		r.rateTable(writes, results)
		r.atLeast("Redis, read and write, as a multiple of raw rueidis SET", results[nameOurs].speed(results[rawRueidis]), 0.3, times,
			"scs "+times(results[nameScs+", redisstore"].speed(results[rawRueidis])))
		return nil
	})
}

func check(err error) {
	if err != nil {
		panic(failure{err})
	}
}

// batches is the least that commits what waits together: no reading, no
// conditions, no expiry.
type batches chan batched

type batched struct {
	id   string
	done chan<- error
}

// newBatches has commit write each batch, one after the other.
func newBatches(h *host, commit func(batch []batched) error) batches {
	jobs := make(batches, workers)
	var wg sync.WaitGroup
	wg.Go(func() {
		for job := range jobs {
			batch := []batched{job}
			for len(jobs) > 0 && len(batch) < workers {
				batch = append(batch, <-jobs)
			}
			err := commit(batch)
			for _, job := range batch {
				job.done <- err
			}
		}
	})
	h.Cleanup(func() {
		close(jobs)
		wg.Wait()
	})
	return jobs
}

func (b batches) write(worker, n int) {
	done := make(chan error, 1)
	for i := range n {
		b <- batched{keyOf(worker, i), done}
		check(<-done)
	}
}

func sqliteBatches(h *host, path string) batches {
	db := must(sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(wal)&_pragma=synchronous(full)"))
	conn := must(db.Conn(h.ctx))
	must(conn.ExecContext(h.ctx, "CREATE TABLE raw (id TEXT PRIMARY KEY, data BLOB, expires INTEGER)"))
	put := must(conn.PrepareContext(h.ctx, "INSERT INTO raw VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET data = excluded.data, expires = excluded.expires"))
	h.Cleanup(func() { _ = errors.Join(put.Close(), conn.Close(), db.Close()) })
	// In the order in which sessions are begun, so that those written together
	// are not neighbours by chance.
	must(conn.ExecContext(h.ctx, "BEGIN"))
	for i := range rawKeys {
		must(put.ExecContext(h.ctx, rawKeys[i], payload, 0))
	}
	must(conn.ExecContext(h.ctx, "COMMIT"))
	return newBatches(h, func(batch []batched) error {
		_, err := conn.ExecContext(context.Background(), "BEGIN IMMEDIATE")
		for _, job := range batch {
			if err == nil {
				// Never what is there already, which SQLite does not write.
				_, err = put.ExecContext(context.Background(), job.id, payload, time.Now().UnixNano())
			}
		}
		if err == nil {
			_, err = conn.ExecContext(context.Background(), "COMMIT")
		}
		return err
	})
}

func benchSQLite(ctx context.Context, cfg config, r *report) error {
	return hosted(ctx, func(h *host) error {
		dir := h.tempDir()
		store := must(sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(dir, "ours.db")}))
		h.Cleanup(func() { _ = store.Close() })
		ourSite := ours(store)

		db := must(sql.Open("sqlite3", "file:"+filepath.Join(dir, "scs.db")+"?_journal_mode=WAL&_synchronous=FULL&_busy_timeout=60000"))
		h.Cleanup(func() { _ = db.Close() })
		must(db.ExecContext(ctx, "CREATE TABLE sessions (token TEXT PRIMARY KEY, data BLOB NOT NULL, expiry REAL NOT NULL)"))
		others := scsOn(sqlite3store.NewWithCleanupInterval(db, 0))

		writes := []contender{
			parallel(rawBatches, sqliteBatches(h, filepath.Join(dir, "raw.db")).write),
			visits(nameOurs, ourSite, pathWrite, sessionsEach),
			visits(nameScs+", sqlite3store (mattn, WAL, FULL)", others, pathWrite, sessionsEach),
		}
		results := measure(writes, cfg)
		r.printf("### SQLite: read one key and write another, on disk when it is acknowledged\n\n")
		r.rateTable(writes, results)
		r.atLeast("SQLite, 64 writers, durable, as a multiple of raw commits in batches", results[nameOurs].speed(results[rawBatches]), 0.85, times,
			"scs "+times(results[writes[2].name].speed(results[rawBatches])))

		reads := []contender{visits(nameOurs, ourSite, pathRead, sessionsEach), visits(writes[2].name, others, pathRead, sessionsEach)}
		r.printf("### SQLite: read one key of a session\n\n")
		r.rateTable(reads, measure(reads, cfg))
		return nil
	})
}

func benchPostgres(ctx context.Context, cfg config, r *report) error {
	return hosted(ctx, func(h *host) error {
		server := service.Postgres(h, "fsync=on")
		config := must(pgxpool.ParseConfig(server.URL()))
		config.MaxConns = 16
		pool := must(pgxpool.NewWithConfig(ctx, config))
		h.Cleanup(pool.Close)
		store := must(postgres.Open(ctx, postgres.Config{Pool: pool}))
		ourSite := ours(store)
		must(pool.Exec(ctx, "CREATE TABLE sessions (token TEXT PRIMARY KEY, data BYTEA NOT NULL, expiry TIMESTAMPTZ NOT NULL)"))
		others := scsOn(pgxstore.NewWithCleanupInterval(pool, 0))
		must(pool.Exec(ctx, "CREATE TABLE raw (id TEXT PRIMARY KEY, data BYTEA NOT NULL)"))
		for worker := range workers {
			for i := range sessionsEach {
				must(pool.Exec(ctx, "INSERT INTO raw VALUES ($1, $2)", keyOf(worker, i), []byte(payload)))
			}
		}
		reads := []contender{
			parallel(rawPgx, func(worker, n int) {
				for i := range n {
					var data []byte
					check(pool.QueryRow(ctx, "SELECT data FROM raw WHERE id = $1", keyOf(worker, i)).Scan(&data))
				}
			}),
			visits(nameOurs, ourSite, pathRead, sessionsEach),
			loads(ctx, nameOurs+", the store alone", store, sessionsEach),
			visits(nameScs+", pgxstore", others, pathRead, sessionsEach),
		}
		r.printf("### PostgreSQL: read one key of a session (a pool of %d)\n\n", config.MaxConns)
		r.rateTable(reads, measure(reads, cfg))
		writes := []contender{
			parallel(rawPgx, func(worker, n int) {
				for i := range n {
					must(pool.Exec(ctx, "UPDATE raw SET data = $2 WHERE id = $1", keyOf(worker, i), []byte(payload)))
				}
			}),
			parallel(rawUnnest, newBatches(h, func(batch []batched) error {
				ids, data := make([]string, len(batch)), make([][]byte, len(batch))
				for i, job := range batch {
					ids[i], data[i] = job.id, []byte(payload)
				}
				_, err := pool.Exec(ctx, "UPDATE raw SET data = b.data FROM unnest($1::text[], $2::bytea[]) AS b (id, data) WHERE raw.id = b.id", ids, data)
				return err
			}).write),
			visits(nameOurs, ourSite, pathWrite, sessionsEach),
			visits(nameScs+", pgxstore", others, pathWrite, sessionsEach),
		}
		results := measure(writes, cfg)
		r.printf("### PostgreSQL: read one key and write another, on disk when it is acknowledged\n\n")
		r.rateTable(writes, results)
		visit, scs := results[nameOurs], results[nameScs+", pgxstore"]
		r.atLeast("PostgreSQL, 64 visits that read and write, durable, as a multiple of raw pgx, one UPDATE each", visit.speed(results[rawPgx]), 1, times,
			"scs "+times(scs.speed(results[rawPgx]))+", "+rawUnnest+" "+times(results[rawUnnest].speed(results[rawPgx])))
		r.atLeast("the same, as a multiple of scs", visit.speed(scs), 2, times, "")
		return nil
	})
}
