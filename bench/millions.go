package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/rueidis"

	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/memory"
	"github.com/seed-64ad3862/gatehouse/store/postgres"
	redisstores "github.com/seed-64ad3862/gatehouse/store/redis"
	"github.com/seed-64ad3862/gatehouse/store/sqlite"
)

// crowd is a store for very many sessions.
type crowd struct {
	name  string
	store session.Store
	// size is how many bytes the sessions take, where they are kept.
	size func() int64
	// removed is how many sessions a store has removed that does so by itself;
	// nil where Manager.Sweep does.
	removed func() int64
	note    string
	// rate is how many it makes in a second, on a machine that is slow.
	rate int
}

const (
	// perPerson is how many sessions have the same owner.
	perPerson = 5
	// pageInterval leaves time for the slowest of the stores: where readers ask
	// for more than there is to be had, what is measured is their queue.
	pageInterval = 20 * time.Millisecond
)

func crowds(h *host) []func() crowd {
	return []func() crowd{
		func() crowd {
			var before runtime.MemStats
			settle(&before)
			return crowd{
				name: "memory", store: memory.New(memory.Config{MaxBytes: plenty}), note: "heap", rate: 100_000,
				size: func() int64 {
					var m runtime.MemStats
					settle(&m)
					return int64(m.HeapAlloc - before.HeapAlloc)
				},
			}
		},
		func() crowd {
			dir := h.tempDir()
			s := must(sqlite.Open(h.ctx, sqlite.Config{Path: filepath.Join(dir, "sessions.db"), NoSocket: true}))
			h.Cleanup(func() { _ = s.Close() })
			return crowd{name: "sqlite", store: s, size: func() int64 { return files(dir) }, note: "files, the log included", rate: 12_000}
		},
		func() crowd {
			server := service.Redis(h)
			option := rueidis.ClientOption{InitAddress: []string{server.Addr}}
			s := must(redisstores.Open(h.ctx, redisstores.Config{Client: option}))
			h.Cleanup(s.Close)
			raw := must(rueidis.NewClient(option))
			h.Cleanup(raw.Close)
			info := func(section, field string) (n int64) {
				text := must(raw.Do(h.ctx, raw.B().Info().Section(section).Build()).ToString())
				_, value, _ := strings.Cut(text, field+":")
				must(fmt.Sscan(value, &n))
				return n
			}
			used := func() int64 { return info("memory", "used_memory") }
			before := used()
			return crowd{
				name: "redis", store: s, size: func() int64 { return used() - before },
				removed: func() int64 { return info("stats", "expired_keys") },
				note:    "used_memory, with the index of owners", rate: 10_000,
			}
		},
		func() crowd {
			server := service.Postgres(h, "fsync=on", "max_wal_size=4GB")
			config := must(pgxpool.ParseConfig(server.URL()))
			config.MaxConns = 32
			pool := must(pgxpool.NewWithConfig(h.ctx, config))
			h.Cleanup(pool.Close)
			return crowd{
				name: "postgres", store: must(postgres.Open(h.ctx, postgres.Config{Pool: pool})),
				size: func() (n int64) {
					check(pool.QueryRow(h.ctx, "SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'gatehouse' AND relkind = 'r'").Scan(&n))
					return n
				},
				note: "tables and indexes", rate: 4000,
			}
		},
	}
}

// files is the size of all files in a folder.
func files(dir string) (n int64) {
	check(filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	}))
	return n
}

// fillStore makes sessions of 100 bytes that end at that moment, by so many
// hands that a store which gathers what waits gathers much.
func fillStore(ctx context.Context, store session.Store, n int, end time.Time) {
	const hands = 512
	var wg sync.WaitGroup
	for hand := range hands {
		wg.Go(func() {
			for i := hand; i < n; i += hands {
				owner := fmt.Sprint("person ", i/perPerson)
				now := time.Now()
				var id session.ID
				rand.Read(id[:])
				check(store.Commit(ctx, id, &session.Delta{
					Create: true, Seen: now, Idle: 24 * time.Hour, Expires: end, Owner: &owner,
					Set: []session.Field{{Key: key, Value: `"` + payload + `"`}},
				}))
			}
		})
	}
	wg.Wait()
}

func benchMillions(ctx context.Context, cfg config, r *report) error {
	n := cfg.sessions
	r.title(thousands(float64(n)) + " sessions in each store")
	r.text("Of 100 bytes and with an owner, %d for each person, made by 512 goroutines through `Store.Commit`, each acknowledged by itself. One person's are listed by `Manager.List`, a hundred persons one after the other. Then all end at the same moment while %d readers read %s others every %v: the longest read from that moment until the last of the ended is removed, and the longest of %v before.",
		perPerson, readers, thousands(liveSessions), pageInterval, calmTime)
	var rows [][]string
	for i := range crowds(nil) {
		err := hosted(ctx, func(h *host) error {
			row, err := crowded(h, crowds(h)[i](), n)
			rows = append(rows, row)
			fmt.Fprintln(os.Stderr, row)
			return err
		})
		if err != nil {
			return err
		}
	}
	r.table([]string{"", "bytes each", "made per second", "list one person: median", "longest", "longest read before", "while they end", "99.9 %", "all removed after"}, rows)
	return nil
}

func crowded(h *host, c crowd, n int) ([]string, error) {
	var expired atomic.Int64 // by our Sweep, and by those that the Manager makes beside requests
	m := must(session.New(session.Config{
		Store: c.store, Logger: slog.New(slog.DiscardHandler),
		Observe: func(_ context.Context, e session.Event) {
			if e.Kind == session.Ended && e.Reason == session.Expired {
				expired.Add(1)
			}
		},
	}))
	pages := ourPages(m, nil)
	cookies := make([]string, liveSessions)
	for i := range cookies {
		cookies[i] = must(begin(pages))
	}
	start := time.Now()
	end := start.Add(time.Duration(n/c.rate)*time.Second + 20*time.Second)
	fillStore(h.ctx, c.store, n, end)
	filled := time.Since(start)
	bytes := c.size()

	var lists []float64
	for i := range 100 {
		start, found := time.Now(), 0
		for _, err := range m.List(h.ctx, session.Query{Owner: fmt.Sprint("person ", i*(n/perPerson/100))}) {
			check(err)
			found++
		}
		if found != perPerson {
			return nil, fmt.Errorf("%s: %d sessions are listed of a person who has %d", c.name, found, perPerson)
		}
		lists = append(lists, float64(time.Since(start)))
	}
	calm := readFor(pages, cookies, pageInterval, calmTime)
	if !time.Now().Before(end) {
		return nil, fmt.Errorf("%s: sessions ended before all were made: %d a second", c.name, int(float64(n)/filled.Seconds()))
	}
	time.Sleep(time.Until(end) - time.Second)

	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	var removed time.Duration
	var failed error
	var sweeping sync.WaitGroup
	sweeping.Go(func() {
		defer cancel()
		time.Sleep(time.Until(end) + 10*time.Millisecond)
		start := time.Now()
		if c.removed != nil {
			for c.removed() < int64(n) {
				if time.Since(start) > 10*time.Minute {
					failed = fmt.Errorf("%s: %d of %d were removed", c.name, c.removed(), n)
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
			removed = time.Since(start)
			return
		}
		_, failed = m.Sweep(h.ctx)
		for failed == nil && expired.Load() < int64(n) && time.Since(start) < 10*time.Minute {
			time.Sleep(10 * time.Millisecond)
		}
		removed = time.Since(start)
		if got := expired.Load(); failed == nil && got != int64(n) {
			failed = fmt.Errorf("%s: %d of %d were removed", c.name, got, n)
		}
	})
	ending := readUntil(ctx, pages, cookies, pageInterval, time.Minute)
	sweeping.Wait()
	return []string{
		c.name + " (" + c.note + ")", size(float64(bytes) / float64(n)), thousands(float64(n) / filled.Seconds()),
		duration(median(lists)), duration(slices.Max(lists)),
		duration(float64(calm.Max)), duration(float64(ending.Max)), duration(float64(ending.P999)), fmt.Sprintf("%.1f s", removed.Seconds()),
	}, failed
}
