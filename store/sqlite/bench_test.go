package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/session"
)

const (
	population = 10_000
	together   = 64
)

func newID() (id session.ID) {
	rand.Read(id[:])
	return id
}

// usual is what a session may hold: some hundred bytes.
func usual(n int) []session.Field {
	return []session.Field{
		{Key: "name", Value: `"Alex"`},
		{Key: "visits", Value: fmt.Sprint(n)},
		{Key: "theme", Value: `{"dark":true,"size":14}`},
		{Key: "from", Value: `"https://www.example.org/a/page"`},
	}
}

// populate makes n sessions.
func populate(b *testing.B, s *Store, n int) []session.ID {
	b.Helper()
	ids := make([]session.ID, n)
	var wg sync.WaitGroup
	for part := range 256 {
		wg.Go(func() {
			for i := part; i < n; i += 256 {
				ids[i] = newID()
				if err := s.Commit(context.Background(), ids[i], creation(usual(i)...)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return ids
}

func BenchmarkLoad(b *testing.B) {
	s := open(b, Config{})
	ids := populate(b, s, population)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, err := s.Load(context.Background(), ids[i%population]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkLoadCold reads what is not in memory.
func BenchmarkLoadCold(b *testing.B) {
	s := open(b, Config{CacheBytes: 1})
	ids := populate(b, s, population)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, err := s.Load(context.Background(), ids[i%population]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkLoadUnknown is what somebody costs who makes cookies up.
func BenchmarkLoadUnknown(b *testing.B) {
	s := open(b, Config{})
	populate(b, s, population)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Load(context.Background(), newID()); err == nil {
				b.Fatal("it is known")
			}
		}
	})
}

// BenchmarkCommit is durable: 64 writers at once, each changes a session and
// waits until that is on disk. Compare writes/s with those of
// BenchmarkGroupCommitRaw.
func BenchmarkCommit(b *testing.B) {
	s := open(b, Config{})
	ids := populate(b, s, population)
	b.ReportAllocs()
	b.ResetTimer()
	var next, slowest atomic.Int64
	var wg sync.WaitGroup
	for range together {
		wg.Go(func() {
			for {
				i := int(next.Add(1))
				if i > b.N {
					return
				}
				start := time.Now()
				d := &session.Delta{Seen: start, Set: []session.Field{{Key: "visits", Value: fmt.Sprint(i)}}}
				if err := s.Commit(context.Background(), ids[i*7919%population], d); err != nil {
					b.Error(err)
					return
				}
				for took := int64(time.Since(start)); ; {
					if old := slowest.Load(); took <= old || slowest.CompareAndSwap(old, took) {
						break
					}
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
	b.ReportMetric(float64(slowest.Load())/1e6, "slowest-ms")
}

// BenchmarkCreate is durable too: the file grows all the time.
func BenchmarkCreate(b *testing.B) {
	s := open(b, Config{})
	populate(b, s, 1000)
	b.ReportAllocs()
	b.ResetTimer()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range together {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= b.N; i = int(next.Add(1)) {
				if err := s.Commit(context.Background(), newID(), creation(usual(i)...)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}

// BenchmarkGroupCommitRaw is what there is to be had: one goroutine that writes
// 64 rows of that size in one transaction, with the same driver and the same
// durability, and nothing else.
func BenchmarkGroupCommitRaw(b *testing.B) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(b.TempDir(), "raw.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("CREATE TABLE session (id BLOB PRIMARY KEY, data TEXT NOT NULL, expires INTEGER NOT NULL)"); err != nil {
		b.Fatal(err)
	}
	upsert, err := db.Prepare("INSERT INTO session VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET data = excluded.data, expires = excluded.expires")
	if err != nil {
		b.Fatal(err)
	}
	ids := make([]session.ID, population)
	write := func(n int, which func(i int) int) {
		for from := 0; from < n; from += together {
			tx, err := db.Begin()
			if err != nil {
				b.Fatal(err)
			}
			s := tx.Stmt(upsert)
			for i := from; i < from+together; i++ {
				data := fmt.Sprintf(`{"name":"\"Alex\"","visits":"%d","theme":"{\"dark\":true,\"size\":14}","from":"\"https://www.example.org/a/page\""}`, i)
				if _, err := s.Exec(ids[which(i)][:], data, time.Now().UnixMilli()); err != nil {
					b.Fatal(err)
				}
			}
			if err := tx.Commit(); err != nil {
				b.Fatal(err)
			}
		}
	}
	for i := range ids {
		ids[i] = newID()
	}
	write(population, func(i int) int { return i % population })
	b.ReportAllocs()
	b.ResetTimer()
	write(b.N, func(i int) int { return i * 7919 % population })
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}

// people fills the store with records of half a kilobyte, as of a person with a
// password and a passkey.
func people(b *testing.B, n int) (*Store, []account.Record) {
	s := open(b, Config{})
	records := make([]account.Record, n)
	var wg sync.WaitGroup
	for part := range 256 {
		wg.Go(func() {
			for i := part; i < n; i += 256 {
				records[i] = account.Record{
					ID:   fmt.Sprintf("person/%026d", i),
					Keys: []string{fmt.Sprint("name/name", i), fmt.Sprint("look/name", i), fmt.Sprintf("email/name%d@example.org", i)},
					Data: make([]byte, 512),
				}
				if err := s.Accounts().Put(context.Background(), records[i]); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.ReportAllocs()
	b.ResetTimer()
	return s, records
}

func BenchmarkAccountGet(b *testing.B) {
	s, records := people(b, population)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, err := s.Accounts().Get(context.Background(), records[i*7919%population].Keys[0]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkAccountGetByClient is what a command waits for.
func BenchmarkAccountGetByClient(b *testing.B) {
	s, records := people(b, population)
	a := dialed(b, s.path).Accounts()
	for i := 0; b.Loop(); i++ {
		if _, err := a.Get(context.Background(), records[i*7919%population].Keys[0]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAccountPut is durable: 1, or 64 at once, each changes people of its own.
func BenchmarkAccountPut(b *testing.B) {
	for _, at := range []int{1, together} {
		b.Run(fmt.Sprint(at), func(b *testing.B) {
			s, records := people(b, population)
			for i := range records {
				records[i].Version = 1
			}
			share(b, at, func(i int) error {
				r := &records[i%population]
				err := s.Accounts().Put(context.Background(), *r)
				r.Version++
				return err
			})
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, at := range []int{1, together} {
		b.Run(fmt.Sprint(at), func(b *testing.B) {
			s, records := people(b, population)
			share(b, at, func(i int) error {
				return s.Accounts().Append(context.Background(), account.Entry{
					Time: time.Now(), Kind: "sign-in", Person: records[i%population].ID, Name: "name", Agent: "Mozilla/5.0", Detail: "password",
				})
			})
		})
	}
}

// share has at goroutines do the b.N things, each those that are its own.
func share(b *testing.B, at int, do func(i int) error) {
	var wg sync.WaitGroup
	for part := range at {
		wg.Go(func() {
			for i := part; i < b.N; i += at {
				// Those of one goroutine stay its own, however often it comes round.
				if err := do(i/at*at%(population/at*at) + part); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}

// BenchmarkAccountList goes through everybody.
func BenchmarkAccountList(b *testing.B) {
	s, _ := people(b, population)
	for b.Loop() {
		n := 0
		for _, err := range s.Accounts().List(context.Background(), "name/", "") {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != population {
			b.Fatal(n)
		}
	}
}
