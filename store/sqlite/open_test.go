package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/seed-64ad3862/gatehouse/session"
)

func TestConfig(t *testing.T) {
	db := pool(t, filepath.Join(t.TempDir(), "app.db"))
	narrow := pool(t, filepath.Join(t.TempDir(), "narrow.db"))
	narrow.SetMaxOpenConns(readers + 2)
	memory := pool(t, ":memory:")
	dir := t.TempDir()
	dangling := filepath.Join(dir, "dangling.db")
	if err := os.Symlink(filepath.Join(dir, "nothing"), dangling); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		cfg  Config
		want string
	}{
		"nothing":          {Config{}, "one of Config.Path and Config.DB is needed"},
		"both":             {Config{Path: "x.db", DB: db}, "one of Config.Path and Config.DB is needed"},
		"negative cache":   {Config{Path: "x.db", CacheBytes: -1}, "Config.CacheBytes is negative"},
		"negative bound":   {Config{Path: "x.db", MaxBytes: -1}, "Config.MaxBytes is negative"},
		"no folder":        {Config{Path: filepath.Join(dir, "none", "x.db")}, "no such file or directory"},
		"a folder":         {Config{Path: dir}, "it is not a file"},
		"dangling link":    {Config{Path: dangling}, "symbolic link to nothing"},
		"in memory":        {Config{DB: memory}, "in memory"},
		"too small a pool": {Config{DB: narrow}, "limited to 6 connections"},
	} {
		s, err := Open(t.Context(), test.cfg)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.HasPrefix(err.Error(), "sqlite: ") || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, Config{Path: filepath.Join(dir, "x.db")}); !errors.Is(err, context.Canceled) {
		t.Errorf("Open with a context that has ended: %v", err)
	}
}

// TestReopen: what was there is there, whatever the path is spelt like.
func TestReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a folder #1, 100%?x=y&z 用户")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "se?ss %41#.db")
	owner := "alex"
	id, spent := newID(), [16]byte{1, 2, 3}
	for round := range 3 {
		s, err := Open(t.Context(), Config{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			d := creation(usual(0)...)
			d.Owner, d.Labels = &owner, []session.Label{{Name: "device", Value: "phone"}}
			commit(t, s, id, d)
			if first, err := s.Spend(t.Context(), spent, d.Expires); !first || err != nil {
				t.Errorf("Spend: %v, %v", first, err)
			}
		}
		commit(t, s, id, set("round", fmt.Sprint(round)))
		r, err := s.Find(t.Context(), id.Handle())
		if err != nil || r.ID != id || r.Owner != owner || len(r.Labels) != 1 || len(r.Fields) != len(usual(0))+1 {
			t.Errorf("round %d: %+v, %v", round, r, err)
		}
		if first, err := s.Spend(t.Context(), spent, r.Expires); first || err != nil {
			t.Errorf("round %d: Spend: %v, %v", round, first, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		// All of it is in the one file now.
		want := []string{filepath.Base(path), filepath.Base(path) + ".lock"}
		if got := names(t, dir); !slices.Equal(got, want) {
			t.Errorf("after Close there are %q, want %q", got, want)
		}
	}
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestInUse: a file has one store, whatever it is called.
func TestInUse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sessions.db")
	link, through := filepath.Join(t.TempDir(), "link.db"), filepath.Join(t.TempDir(), "through")
	if err := errors.Join(os.Symlink(path, link), os.Symlink(dir, through)); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	db := pool(t, path) // another application's
	s := open(t, Config{DB: db})
	for name, cfg := range map[string]Config{
		"the same":      {Path: path},
		"relative":      {Path: "sessions.db"},
		"dots":          {Path: dir + "/x/.././sessions.db"},
		"a link":        {Path: link},
		"a folder link": {Path: filepath.Join(through, "sessions.db")},
		"a pool":        {DB: pool(t, link)},
	} {
		_, err := Open(t.Context(), cfg)
		want := fmt.Sprintf("in use by this process (%d)", os.Getpid())
		if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "sessions.db") {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, Config{Path: link})
}

// made returns the bytes of a database made by the statements.
func made(t *testing.T, statements ...string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "made.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range statements {
		if _, err := db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRefused: a file that is not ours is left as it is.
func TestRefused(t *testing.T) {
	var damaged []byte
	{
		path := filepath.Join(t.TempDir(), "sessions.db")
		s := open(t, Config{Path: path})
		commit(t, s, newID(), creation())
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		var err error
		if damaged, err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
		damaged = damaged[:len(damaged)/2]
	}
	for name, test := range map[string]struct {
		file []byte
		want string
	}{
		"text":             {[]byte(strings.Repeat("this is a letter to my mother\n", 100)), "no SQLite database"},
		"short text":       {[]byte("hello"), "no SQLite database"},
		"zeros":            {make([]byte, 8192), "no SQLite database"},
		"tables of others": {made(t, "CREATE TABLE session (id)"), "another application's"},
		"of others in WAL": {made(t, "PRAGMA journal_mode = WAL", "CREATE TABLE session (id)"), "another application's"},
		"an id of others":  {made(t, "PRAGMA application_id = 252006673", "CREATE TABLE x (a)", "DROP TABLE x"), "another application's"},
		"a newer version":  {made(t, "CREATE TABLE gatehouse_schema (version)", "INSERT INTO gatehouse_schema VALUES (1000)"), "a newer version of Gatehouse: it has schema 1000"},
		"half of it":       {damaged, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "x.db")
			if err := os.WriteFile(path, test.file, 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				s, err := Open(t.Context(), Config{Path: path})
				if err == nil {
					s.Close()
				}
				if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
					t.Errorf("Open: %v, want %q", err, test.want)
				}
			}
			if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, test.file) {
				t.Errorf("the file has changed: %d bytes, %v", len(b), err)
			}
			if got := names(t, dir); !slices.Equal(got, []string{"x.db", "x.db.lock"}) {
				t.Errorf("there are %q", got)
			}
		})
	}
}

// TestBesideOthers: in an application's own database, its tables stay as they
// are, and so do its numbers; it may use the pool meanwhile and afterwards.
func TestBesideOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	db := pool(t, path)
	if _, err := db.Exec("INSERT INTO session VALUES ('mine')"); err != nil {
		t.Fatal(err)
	}
	id := newID()
	for round := range 2 {
		s, err := Open(t.Context(), Config{DB: db})
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			commit(t, s, id, creation())
		} else if _, err := s.Load(t.Context(), id); err != nil {
			t.Errorf("Load: %v", err)
		}
		if _, err := db.Exec("INSERT INTO session VALUES ('meanwhile')"); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for range 20 { // none of the connections is set up for us
			var appID, version, rows, queryOnly, autocheckpoint int
			c, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			err = errors.Join(
				c.QueryRowContext(t.Context(), "PRAGMA application_id").Scan(&appID),
				c.QueryRowContext(t.Context(), "PRAGMA user_version").Scan(&version),
				c.QueryRowContext(t.Context(), "PRAGMA query_only").Scan(&queryOnly),
				c.QueryRowContext(t.Context(), "PRAGMA wal_autocheckpoint").Scan(&autocheckpoint),
				c.QueryRowContext(t.Context(), "SELECT count(*) FROM session").Scan(&rows),
			)
			if err != nil || appID != 1234 || version != 99 || queryOnly != 0 || autocheckpoint != 1000 || rows != round+2 {
				t.Fatalf("application_id %d, user_version %d, query_only %d, wal_autocheckpoint %d, %d rows, %v", appID, version, queryOnly, autocheckpoint, rows, err)
			}
		}
	}
	// The commands open it by its path.
	if s := open(t, Config{Path: path}); value(t, s, id, "") != "" {
		t.Error("the session has a value without a name")
	}
}

// TestMigrations: numbered without a gap; one that fails leaves nothing behind.
func TestMigrations(t *testing.T) {
	files, err := migrations.ReadDir("migrations")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for i, f := range files {
		if ok, _ := regexp.MatchString(fmt.Sprintf(`^%04d_[a-z_]+\.sql$`, i+1), f.Name()); !ok {
			t.Errorf("migration %d is called %s", i+1, f.Name())
		}
	}

	db := pool(t, filepath.Join(t.TempDir(), "app.db"))
	if _, err := db.Exec("CREATE TABLE gatehouse_spent (x)"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{DB: db}); err == nil || !strings.Contains(err.Error(), "migration "+files[0].Name()) {
		t.Errorf("Open: %v", err)
	}
	var n int
	if err := db.QueryRow("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'gatehouse%'").Scan(&n); err != nil || n != 1 {
		t.Errorf("%d tables are left behind, %v", n-1, err)
	}
	if _, err := db.Exec("DROP TABLE gatehouse_spent"); err != nil {
		t.Fatal(err)
	}
	open(t, Config{DB: db})
}

// TestPlans: every statement finds its rows by an index.
func TestPlans(t *testing.T) {
	s := open(t, Config{NoSocket: true})
	w := &s.writer.st
	r := newReadStatements(s.writer.conn)
	statements := slices.Concat([]*stmt{
		w.row, w.head, w.insert, w.rewrite, w.change, w.touch, w.postpone, w.remove, w.label, w.unlabel, w.spend, w.forget,
		w.record, w.holder, w.insertRecord, w.updateRecord, w.removeRecord, w.addKey, w.dropKey, w.append, w.trim,
		r.row, r.spent, r.record, r.found, r.oldest, r.newest, r.entries, r.entriesOf, r.later,
	}, r.due[:], r.all[:], r.owned[:], r.labeled[:], r.both[:], r.signedIn[:], r.signedInLabeled[:])
	for _, st := range statements {
		if plan := s.writer.conn.plan(t, st.query); strings.Contains(plan, "SCAN") || strings.Contains(plan, "B-TREE") {
			t.Errorf("%s\n%s", st.query, plan)
		}
	}
}

// TestReadable: the values are there for people and for other programs.
func TestReadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	s := open(t, Config{Path: path})
	id, owner := newID(), "alex"
	d := creation(session.Field{Key: "name", Value: `"Alex 用户"`}, session.Field{Key: "cart", Value: `{"items": [1, 2]}`})
	d.Owner, d.Labels = &owner, []session.Label{{Name: "device", Value: "Alex's phone"}}
	commit(t, s, id, d)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var handle, name, item, device, since string
	err := pool(t, path).QueryRow(`
		SELECT printf('%016x', handle), json_extract(json_extract(data, '$.name'), '$'), json_extract(json_extract(data, '$.cart'), '$.items[1]'),
			json_extract(labels, '$.device'), datetime(created / 1000, 'unixepoch')
		FROM gatehouse_session WHERE owner = 'alex'`).Scan(&handle, &name, &item, &device, &since)
	if err != nil || handle != id.Handle().String() || name != "Alex 用户" || item != "2" || device != "Alex's phone" || since != d.Seen.UTC().Format("2006-01-02 15:04:05") {
		t.Errorf("%s %s %s %s %s, %v", handle, name, item, device, since, err)
	}
}

// TestDamagedRow: a row that somebody has edited badly is named, can be ended,
// and is in nobody else's way.
func TestDamagedRow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	s := open(t, Config{Path: path})
	bad, good := newID(), newID()
	commit(t, s, bad, creation())
	commit(t, s, good, creation())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := pool(t, path).Exec("UPDATE gatehouse_session SET data = '{\"a\":1}' WHERE id = ?", bad[:]); err != nil {
		t.Fatal(err)
	}
	s = open(t, Config{Path: path})
	release := hold(t, s)
	errs := make(chan error, 2)
	go func() { errs <- s.Commit(context.Background(), bad, set("a", `1`)) }()
	waitFor(t, "the job to be queued", func() bool { return len(s.writer.jobs) == 1 })
	go func() { errs <- s.Commit(context.Background(), good, set("a", `1`)) }()
	waitFor(t, "the job to be queued", func() bool { return len(s.writer.jobs) == 2 })
	release()
	_, loadErr := s.Load(t.Context(), bad)
	for _, err := range []error{<-errs, <-errs, loadErr} {
		if err != nil && (!errors.Is(err, errDamaged) || !strings.Contains(err.Error(), bad.Handle().String())) {
			t.Errorf("%v, want nil or the name of the row that is damaged", err)
		}
	}
	if loadErr == nil || value(t, s, good, "a") != `1` {
		t.Errorf("Load: %v; the other has %q", loadErr, value(t, s, good, "a"))
	}
	if err := s.Delete(t.Context(), bad); err != nil {
		t.Errorf("Delete: %v", err)
	}
}
