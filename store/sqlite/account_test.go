package sqlite

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/account/accounttest"
	"github.com/seed-64ad3862/gatehouse/session"
)

// TestAccounts: the contract of accounts and of the log, wherever they are.
func TestAccounts(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) []Accounts{
		"alone": func(t *testing.T) []Accounts { return []Accounts{open(t, Config{NoSocket: true}).Accounts()} },
		"beside others": func(t *testing.T) []Accounts {
			return []Accounts{open(t, Config{DB: pool(t, filepath.Join(t.TempDir(), "app.db")), NoSocket: true}).Accounts()}
		},
		// Where the bytes of texts are others, those of keys are not.
		"beside others in UTF-16": func(t *testing.T) []Accounts {
			path := filepath.Join(t.TempDir(), "app.db")
			if err := os.WriteFile(path, made(t, "PRAGMA encoding = 'UTF-16le'", "CREATE TABLE session (mine TEXT)"), 0o600); err != nil {
				t.Fatal(err)
			}
			db := pool(t, path)
			var encoding string
			if err := db.QueryRow("PRAGMA encoding").Scan(&encoding); err != nil || encoding != "UTF-16le" {
				t.Fatal(encoding, err)
			}
			return []Accounts{open(t, Config{DB: db, NoSocket: true}).Accounts()}
		},
		"by a client": func(t *testing.T) []Accounts {
			path := filepath.Join(t.TempDir(), "sessions.db")
			open(t, Config{Path: path})
			return []Accounts{dialed(t, path).Accounts()}
		},
		"a store and clients": func(t *testing.T) []Accounts {
			path := filepath.Join(t.TempDir(), "sessions.db")
			return []Accounts{open(t, Config{Path: path}).Accounts(), dialed(t, path).Accounts(), dialed(t, path).Accounts()}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			accounttest.Run(t, func(t *testing.T) (views []account.Store) {
				for _, a := range open(t) {
					views = append(views, a)
				}
				return views
			})
			accounttest.RunLog(t, func(t *testing.T) (views []account.Log) {
				for _, a := range open(t) {
					views = append(views, a)
				}
				return views
			})
		})
	}
}

// both returns the accounts of a store as it has them, and as a client has.
func both(t *testing.T) map[string]Accounts {
	path := filepath.Join(t.TempDir(), "sessions.db")
	s := open(t, Config{Path: path})
	return map[string]Accounts{"store": s.Accounts(), "client": dialed(t, path).Accounts()}
}

func put(t testing.TB, a Accounts, r account.Record) {
	t.Helper()
	if err := a.Put(context.Background(), r); err != nil {
		t.Fatalf("Put: %v", err)
	}
}

// TestAccountRefused: what no store has to keep is refused, and is not there.
func TestAccountRefused(t *testing.T) {
	many := make([]string, account.MaxKeys)
	for i := range many {
		many[i] = fmt.Sprint("k", i)
	}
	for view, a := range both(t) {
		for name, r := range map[string]account.Record{
			"no ID":        {Keys: []string{"k"}},
			"an empty key": {ID: "a", Keys: []string{""}},
			"a long key":   {ID: "a", Keys: []string{strings.Repeat("k", account.MaxKey+1)}},
			"NUL":          {ID: "a", Keys: []string{"k\x00"}},
			"no UTF-8":     {ID: "a", Keys: []string{"k\xff"}},
			"many keys":    {ID: "a", Keys: many},
			"much data":    {ID: "a", Data: make([]byte, account.MaxData+1)},
		} {
			if err := a.Put(t.Context(), r); !errors.Is(err, errRequest) || !strings.HasPrefix(err.Error(), "sqlite: put: ") {
				t.Errorf("%s: %s: %v", view, name, err)
			}
			if _, err := a.Get(t.Context(), "a"); !errors.Is(err, account.ErrNotFound) {
				t.Errorf("%s: %s: it is there: %v", view, name, err)
			}
		}
	}
}

// TestAccountKeysTwice: a key that is given twice, or is the ID, is one key, and the
// record stays under its ID when the other keys go.
func TestAccountKeysTwice(t *testing.T) {
	for view, a := range both(t) {
		id := "id/" + view
		put(t, a, account.Record{ID: id, Keys: []string{view, view, id}})
		put(t, a, account.Record{ID: id, Version: 1})
		r, err := a.Get(t.Context(), id)
		if err != nil || r.Version != 2 || len(r.Keys) != 0 {
			t.Errorf("%s: %+v, %v", view, r, err)
		}
		if _, err := a.Get(t.Context(), view); !errors.Is(err, account.ErrNotFound) {
			t.Errorf("%s: a key that has gone: %v", view, err)
		}
	}
}

// TestPutCopies: the writer has nothing that is the caller's, who may have gone and
// change it.
func TestPutCopies(t *testing.T) {
	given := account.Record{ID: "a", Keys: []string{"k"}, Data: []byte("data")}
	own, err := checked(given)
	if err != nil {
		t.Fatal(err)
	}
	given.Keys[0], given.Data[0] = "X", 'X'
	if own.Keys[0] != "k" || string(own.Data) != "data" {
		t.Errorf("the caller has changed %+v", own)
	}
}

// TestListChanges: a listing neither loses nor repeats what stays while its loop
// removes and adds, on any page.
func TestListChanges(t *testing.T) {
	for view, a := range both(t) {
		const n = 5 * accountStep
		for i := range n {
			put(t, a, account.Record{ID: fmt.Sprintf("%s/%04d", view, i)})
		}
		var got []string
		for f, err := range a.List(t.Context(), view+"/", "") {
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(f.Key, "new") {
				got = append(got, f.Key)
			}
			if len(got)%2 == 0 {
				if err := a.Delete(t.Context(), f.ID, 1); err != nil && !errors.Is(err, account.ErrNotFound) {
					t.Errorf("%s: Delete: %v", view, err)
				}
				put(t, a, account.Record{ID: f.ID[:len(view)+1] + "before/" + f.ID[len(view)+1:]})
			}
		}
		if !slices.IsSorted(got) || len(slices.Compact(got)) != len(got) {
			t.Errorf("%s: out of order: %q", view, got)
		}
		for i := range n {
			if key := fmt.Sprintf("%s/%04d", view, i); !slices.Contains(got, key) {
				t.Errorf("%s: %q is missing", view, key)
			}
		}
	}
}

// TestLogFarApart: those of a rare kind are found beyond any window, and so are those
// of a later time that have smaller numbers, since a clock was set.
func TestLogFarApart(t *testing.T) {
	s := open(t, Config{NoSocket: true})
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	err := s.writer.do(t.Context(), func(tx *tx) error {
		for i := range 3*logWindow + 10 {
			kind, person, at := "usual", any(nil), start.Add(time.Duration(i)*time.Second)
			switch i {
			case 3:
				kind, person = "rare", "alex"
			case 5:
				kind, at = "ahead", start.AddDate(1, 0, 0)
			}
			if _, err := tx.exec(s.writer.st.append, at.UnixMicro(), kind, person, "", "", "", "", "", ""); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	count := func(q account.LogQuery) (numbers []int64) {
		for e, err := range s.Accounts().Entries(t.Context(), q) {
			if err != nil {
				t.Fatal(err)
			}
			numbers = append(numbers, e.Number)
		}
		return numbers
	}
	for _, test := range []struct {
		q    account.LogQuery
		want []int64
	}{
		{account.LogQuery{Kind: "rare"}, []int64{4}},
		{account.LogQuery{Person: "alex"}, []int64{4}},
		{account.LogQuery{Kind: "none"}, nil},
		{account.LogQuery{Since: start.AddDate(0, 6, 0)}, []int64{6}},
		{account.LogQuery{Since: start.AddDate(2, 0, 0)}, nil},
		{account.LogQuery{Before: 3}, []int64{2, 1}},
		{account.LogQuery{Before: -1}, nil},
	} {
		if got := count(test.q); !slices.Equal(got, test.want) {
			t.Errorf("%+v: %v, want %v", test.q, got, test.want)
		}
	}
	if got := count(account.LogQuery{}); len(got) != 3*logWindow+10 || got[len(got)-1] != 1 {
		t.Errorf("%d entries", len(got))
	}
	// When the beginning has gone, nobody looks for it.
	if n, err := s.Accounts().Trim(t.Context(), start.Add((2*logWindow)*time.Second)); n != 2*logWindow-1 || err != nil {
		t.Errorf("Trim: %d, %v", n, err)
	}
	if got := count(account.LogQuery{}); len(got) != logWindow+11 || got[len(got)-1] != 6 {
		t.Errorf("after Trim: %d entries", len(got))
	}
}

// TestTrimInSteps: a Trim whose caller goes has removed some, and the next goes on.
func TestTrimInSteps(t *testing.T) {
	s := open(t, Config{NoSocket: true})
	a := s.Accounts()
	const n = 3*sweepStep + 1
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if err := a.Append(context.Background(), account.Entry{Time: time.Unix(1, 0), Kind: "k"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	release := hold(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	trimmed := make(chan error)
	go func() { _, err := a.Trim(ctx, time.Now()); trimmed <- err }()
	waitFor(t, "the first step to be queued", func() bool { return len(s.writer.jobs) == 1 })
	cancel()
	if err := <-trimmed; !errors.Is(err, context.Canceled) {
		t.Errorf("Trim: %v", err)
	}
	release()
	if n, err := a.Trim(t.Context(), time.Now()); n != 3*sweepStep+1 || err != nil {
		t.Errorf("the next Trim: %d, %v", n, err)
	}
}

// TestAccountErrors: an error means the same on both sides of the socket, and says
// what was done.
func TestAccountErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	s := open(t, Config{Path: path, MaxBytes: 1 << 20})
	for view, a := range map[string]Accounts{"store": s.Accounts(), "client": dialed(t, path).Accounts()} {
		id, key := "id of "+view, "key of "+view
		put(t, a, account.Record{ID: id, Keys: []string{key}, Data: []byte("here")})
		if _, err := a.Get(t.Context(), "nobody"); !errors.Is(err, account.ErrNotFound) {
			t.Errorf("%s: Get: %v", view, err)
		}
		if err := a.Put(t.Context(), account.Record{ID: "nobody", Version: 1}); !errors.Is(err, account.ErrNotFound) {
			t.Errorf("%s: Put: %v", view, err)
		}
		if err := a.Put(t.Context(), account.Record{ID: id, Version: 7}); !errors.Is(err, account.ErrConflict) {
			t.Errorf("%s: Put: %v", view, err)
		}
		if err := a.Delete(t.Context(), id, 7); !errors.Is(err, account.ErrConflict) {
			t.Errorf("%s: Delete: %v", view, err)
		}
		err := a.Put(t.Context(), account.Record{ID: "another", Keys: []string{"free", key}})
		if taken, ok := errors.AsType[*account.TakenError](err); !ok || taken.Key != key {
			t.Errorf("%s: Put: %v", view, err)
		}
		full := a.Put(t.Context(), account.Record{ID: id, Version: 1, Keys: []string{"more"}, Data: make([]byte, account.MaxData)})
		if !errors.Is(full, account.ErrFull) || !strings.HasPrefix(full.Error(), "sqlite: put: account: store is full") {
			t.Errorf("%s: when it is full: %v", view, full)
		}
		if r, err := a.Get(t.Context(), key); err != nil || r.Version != 1 || string(r.Data) != "here" || !slices.Equal(r.Keys, []string{key}) {
			t.Errorf("%s: after it was full: %+v, %v", view, r, err)
		}
		if _, err := a.Get(t.Context(), "more"); !errors.Is(err, account.ErrNotFound) {
			t.Errorf("%s: a key of what was refused: %v", view, err)
		}
		full = a.Append(t.Context(), account.Entry{Time: time.Now(), Detail: strings.Repeat("d", 1<<20)})
		if !errors.Is(full, account.ErrFull) || !strings.HasPrefix(full.Error(), "sqlite: append: account: store is full") {
			t.Errorf("%s: when it is full: %v", view, full)
		}
		put(t, a, account.Record{ID: id, Version: 1}) // others have room
	}
}

// TestAccountsBetweenSessions: one batch of jobs has all that there is, and one that
// is refused in it is in nobody else's way.
func TestAccountsBetweenSessions(t *testing.T) {
	s := open(t, Config{NoSocket: true, MaxBytes: 2 << 20})
	a := s.Accounts()
	release := hold(t, s)
	var wg sync.WaitGroup
	ids := make([]session.ID, 30)
	for i := range ids {
		ids[i] = newID()
		wg.Go(func() {
			var err error
			switch i % 3 {
			case 0:
				err = s.Commit(context.Background(), ids[i], creation())
			case 1:
				err = a.Put(context.Background(), account.Record{ID: fmt.Sprint(i), Data: []byte("x")})
			default:
				err = a.Append(context.Background(), account.Entry{Time: time.Now(), Kind: "k"})
			}
			if err != nil {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	var large [3]error
	for i := range large {
		wg.Go(func() {
			large[i] = a.Put(context.Background(), account.Record{ID: fmt.Sprint("large", i), Data: make([]byte, account.MaxData)})
		})
	}
	waitFor(t, "the jobs to be queued", func() bool { return len(s.writer.jobs) == len(ids)+len(large) })
	release()
	wg.Wait()
	refused := 0
	for i, err := range large {
		_, getErr := a.Get(t.Context(), fmt.Sprint("large", i))
		switch {
		case errors.Is(err, account.ErrFull) && errors.Is(getErr, account.ErrNotFound):
			refused++
		case err != nil || getErr != nil:
			t.Errorf("one that is large: %v, then Get: %v", err, getErr)
		}
	}
	if refused != 2 {
		t.Errorf("of %d that are large %d are refused", len(large), refused)
	}
}

// TestDamagedAccount: a record that somebody has edited badly says so, and is in
// nobody else's way.
func TestDamagedAccount(t *testing.T) {
	s := open(t, Config{NoSocket: true})
	a := s.Accounts()
	put(t, a, account.Record{ID: "bad"})
	put(t, a, account.Record{ID: "good"})
	if err := s.writer.conn.exec("UPDATE gatehouse_account SET keys = 'x' WHERE id = 'bad'"); err != nil {
		t.Fatal(err)
	}
	release := hold(t, s)
	errs := make(chan error, 2)
	for i, id := range []string{"bad", "good"} {
		go func() { errs <- a.Put(context.Background(), account.Record{ID: id, Version: 1}) }()
		waitFor(t, "the job to be queued", func() bool { return len(s.writer.jobs) == i+1 })
	}
	release()
	_, getErr := a.Get(t.Context(), "bad")
	for _, err := range []error{<-errs, <-errs, getErr} {
		if err != nil && !errors.Is(err, errDamaged) {
			t.Errorf("%v, want nil or %v", err, errDamaged)
		}
	}
	if r, err := a.Get(t.Context(), "good"); getErr == nil || err != nil || r.Version != 2 {
		t.Errorf("the bad one: %v; the good one: %+v, %v", getErr, r, err)
	}
}

// TestMigration: a file of the schema before keeps its sessions and gets accounts.
func TestMigration(t *testing.T) {
	files, err := migrations.ReadDir("migrations")
	if err != nil {
		t.Fatal(err)
	}
	script, err := migrations.ReadFile("migrations/" + files[0].Name())
	if err != nil {
		t.Fatal(err)
	}
	id, now := newID(), time.Now()
	old := made(t,
		"CREATE TABLE "+schemaTable+" (version INTEGER NOT NULL) STRICT; INSERT INTO "+schemaTable+" VALUES (1)",
		fmt.Sprintf("PRAGMA application_id = %d; PRAGMA journal_mode = WAL", applicationID),
		string(script),
		fmt.Sprintf("INSERT INTO gatehouse_session (handle, id, created, seen, idle, expires, due, owner, labels, data)"+
			` VALUES (%d, x'%x', %d, %[3]d, 3600000, %d, %[4]d, 'alex', '{}', '{"a":"1"}')`,
			keyOf(id.Handle()), id[:], now.UnixMilli(), now.Add(time.Hour).UnixMilli()),
	)
	path := filepath.Join(t.TempDir(), "sessions.db")
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		s, err := Open(t.Context(), Config{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		a := s.Accounts()
		if round == 0 {
			put(t, a, account.Record{ID: "a", Keys: []string{"k"}, Data: []byte("data")})
			if err := a.Append(t.Context(), account.Entry{Time: now, Kind: "k"}); err != nil {
				t.Error(err)
			}
		}
		if got := value(t, s, id, "a"); got != "1" {
			t.Errorf("round %d: the session has %q", round, got)
		}
		if r, err := a.Get(t.Context(), "k"); err != nil || string(r.Data) != "data" {
			t.Errorf("round %d: %+v, %v", round, r, err)
		}
		n := 0
		for _, err := range a.Entries(t.Context(), account.LogQuery{}) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != 1 {
			t.Errorf("round %d: %d entries", round, n)
		}
		var version int
		if err := s.writer.conn.scan("SELECT version FROM "+schemaTable, &version); err != nil || version != len(files) {
			t.Errorf("round %d: schema %d, %v", round, version, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAccountsReadable: people are there for people and for other programs.
func TestAccountsReadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	s := open(t, Config{Path: path})
	people, err := account.New(account.Config{Store: s.Accounts()})
	if err != nil {
		t.Fatal(err)
	}
	p, err := people.Create(t.Context(), account.Person{Name: "alex", DisplayName: "Alex 用户"})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	err = s.Accounts().Append(t.Context(), account.Entry{Time: at, Kind: "sign-in", Person: p.ID, Name: p.Name, Addr: netip.MustParseAddr("192.0.2.1")})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var name, when, addr string
	err = pool(t, path).QueryRow(`
		SELECT json_extract(CAST(data AS TEXT), '$.display_name'), datetime(time / 1000000, 'unixepoch'), addr
		FROM gatehouse_account_key JOIN gatehouse_account a ON a.number = account JOIN gatehouse_log ON id = 'person/' || person
		WHERE key = CAST('name/alex' AS BLOB) AND kind = 'sign-in'`).Scan(&name, &when, &addr)
	if err != nil || name != "Alex 用户" || when != "2026-01-02 03:04:05" || addr != "192.0.2.1" {
		t.Errorf("%s %s %s, %v", name, when, addr, err)
	}
}

// TestConnectAccounts: with a server and without, a command reaches the people.
func TestConnectAccounts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	server := open(t, Config{Path: path})
	manage := func(name string) {
		t.Helper()
		c, err := Connect(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		people, err := account.New(account.Config{Store: c.Accounts()})
		if err != nil {
			t.Fatal(err)
		}
		p, err := people.Create(t.Context(), account.Person{Name: name, Admin: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Accounts().Append(t.Context(), account.Entry{Time: time.Now(), Kind: "made", Person: p.ID}); err != nil {
			t.Error(err)
		}
		if _, err := people.Create(t.Context(), account.Person{Name: name}); !errors.Is(err, account.ErrNameTaken) {
			t.Errorf("Create again: %v", err)
		}
		for e, err := range c.Accounts().Entries(t.Context(), account.LogQuery{}) {
			if err != nil || e.Person != p.ID {
				t.Errorf("the newest entry: %+v, %v", e, err)
			}
			break
		}
	}
	manage("alex")
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	manage("robin")
	people, err := account.New(account.Config{Store: open(t, Config{Path: path}).Accounts()})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for p, err := range people.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, p.Name)
	}
	if !slices.Equal(names, []string{"alex", "robin"}) {
		t.Errorf("there are %q", names)
	}
}

// TestCurlAccounts: what the package's documentation says of the socket.
func TestCurlAccounts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	open(t, Config{Path: path})
	const record = `"id":"person/1","keys":["name/a \u003c","look/a"],"version":1,"data":"eyJ9"}` + "\n"
	const entry = `{"number":1,"time":"2026-01-02T03:04:05Z","kind":"sign-in","person":"1","addr":"192.0.2.1"}` + "\n"
	largest := fmt.Sprintf(`{"id":"large","data":%q}`, strings.Repeat("AAAA", account.MaxData/3))
	for _, test := range []struct {
		request, body string
		status        int
		answer        string // beginning, unless it ends with a line
	}{
		{"GET /v1/accounts", "", 200, "\n"},
		{"GET /v1/log", "", 200, "\n"},
		{"POST /v1/account", `{"id":"person/1","keys":["name/a <","look/a"],"data":"eyJ9"}`, 200, "{}\n"},
		{"POST /v1/account", `{"id":"person/1"}`, 409, `{"error":"account_taken","text":"account: key \"person/1\" is taken","taken":"person/1"}` + "\n"},
		{"POST /v1/account", `{"id":"person/2","keys":["look/a"]}`, 409, `{"error":"account_taken","text":"account: key \"look/a\" is taken","taken":"look/a"}` + "\n"},
		{"POST /v1/account", `{"id":"person/1","version":2}`, 412, `{"error":"account_conflict",`},
		{"POST /v1/account", `{"id":"person/2","version":2}`, 404, `{"error":"account_not_found",`},
		{"POST /v1/account", `{"id":"a","key":["b"]}`, 400, `{"error":"request",`},
		{"POST /v1/account", `{"id":"a","data":"*"}`, 400, `{"error":"request",`},
		{"POST /v1/account", `{"id":""}`, 400, `{"error":"request",`},
		{"POST /v1/account", `{"id":"a"}{"id":"b"}`, 400, `{"error":"request",`},
		{"POST /v1/account", ``, 400, `{"error":"request",`},
		{"POST /v1/account", largest, 200, "{}\n"},
		{"POST /v1/account", strings.Replace(largest, `"AAAA`, `"AAAAAAAA`, 1), 400, `{"error":"request",`},
		{"POST /v1/account", `{"id":"a","data":"` + strings.Repeat("A", maxBody) + `"}`, 400, `{"error":"request",`},
		{"GET /v1/account?key=name/a%20%3C", "", 200, "{" + record},
		{"GET /v1/account?key=name/a", "", 404, `{"error":"account_not_found",`},
		{"GET /v1/account", "", 404, `{"error":"account_not_found",`},
		{"GET /v1/accounts?prefix=name/", "", 200, `{"key":"name/a \u003c",` + record},
		{"GET /v1/accounts?prefix=l&after=large", "", 200, `{"key":"look/a",` + record},
		{"DELETE /v1/account?id=person/1", "", 400, `{"error":"request",`},
		{"DELETE /v1/account?id=person/1&version=2", "", 412, `{"error":"account_conflict",`},
		{"DELETE /v1/account?id=look/a&version=1", "", 404, `{"error":"account_not_found",`},
		{"DELETE /v1/account?id=person/1&version=1", "", 200, "{}\n"},
		{"POST /v1/log", `{"time":"2026-01-02T03:04:05Z","kind":"sign-in","person":"1","addr":"192.0.2.1"}`, 200, "{}\n"},
		{"POST /v1/log", `{"time":"2026-01-02T03:04:06Z","kind":"sign-out","number":77}`, 200, "{}\n"},
		{"POST /v1/log", `{"time":"yesterday"}`, 400, `{"error":"request",`},
		{"POST /v1/log", `{"who":"me"}`, 400, `{"error":"request",`},
		{"GET /v1/log?person=1&kind=sign-in&since=2026-01-02T03:04:05Z&before=2", "", 200, entry},
		{"GET /v1/log?kind=sign-out", "", 200, `{"number":2,"time":"2026-01-02T03:04:06Z","kind":"sign-out"}` + "\n"},
		{"GET /v1/log?since=today", "", 400, `{"error":"request",`},
		{"GET /v1/log?before=x", "", 400, `{"error":"request",`},
		{"DELETE /v1/log", "", 400, `{"error":"request",`},
		{"DELETE /v1/log?before=2026-01-02T03:04:06Z", "", 200, `{"removed":1}` + "\n"},
		{"PUT /v1/account", "", 405, ""},
	} {
		method, target, _ := strings.Cut(test.request, " ")
		status, answer := curl(t, path, method, target, test.body)
		whole := strings.HasSuffix(test.answer, "\n")
		if status != test.status || !strings.HasPrefix(answer, test.answer) && test.answer != "\n" || whole && strings.TrimSpace(answer) != strings.TrimSpace(test.answer) {
			t.Errorf("%s %.60s\nanswers %d %.200s\nwant    %d %s", test.request, test.body, status, answer, test.status, test.answer)
		}
	}
}

// TestAccountListIsWhole: a listing that fails in the middle ends with the error.
func TestAccountListIsWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	s := open(t, Config{Path: path})
	c := dialed(t, path).Accounts()
	for i := range accountStep + 2 {
		put(t, c, account.Record{ID: fmt.Sprintf("%03d", i)})
		// JSON has years of four digits.
		at := time.Date(9999+i%2, 1, 1, 0, 0, 0, 0, time.UTC)
		if err := s.Accounts().Append(t.Context(), account.Entry{Time: at, Kind: "k"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.writer.conn.exec(fmt.Sprintf("UPDATE gatehouse_account SET keys = 'x' WHERE id = '%03d'", accountStep+1)); err != nil {
		t.Fatal(err)
	}
	n, last := 0, error(nil)
	for _, err := range c.List(t.Context(), "", "") {
		n++
		last = err
	}
	if n != accountStep+1 || last == nil || !strings.HasPrefix(last.Error(), "sqlite: list: ") {
		t.Errorf("List: %d steps, the last with %v", n, last)
	}
	last = nil
	for _, err := range c.Entries(t.Context(), account.LogQuery{}) {
		last = err
	}
	if last == nil {
		t.Error("Entries ends early and says nothing")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, err := range c.List(t.Context(), "name/alex", "") {
		if err == nil || strings.Contains(err.Error(), "alex") {
			t.Errorf("List of a server that has gone: %v", err)
		}
	}
}

// FuzzAccount: whatever arrives at the socket as a record is refused, or is within
// the bounds, and is stored as it is.
func FuzzAccount(f *testing.F) {
	f.Add([]byte(`{"id":"person/1","keys":["name/a","look/\u00e9"],"version":3,"data":"eyJ9"}`))
	f.Add([]byte(`{"id":"a","keys":["a","b","b"]}`))
	f.Add([]byte(`{"id":"\ud83d","keys":[""],"data":null}`))
	f.Add([]byte("{\"id\":\"\xff\\u0000\"}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeAccount(b)
		if err != nil {
			if !errors.Is(err, errRequest) {
				t.Fatal(err)
			}
			return
		}
		if r, err = checked(r); err != nil {
			if _, status := errorToWire(err); status != http.StatusBadRequest {
				t.Fatalf("%v answers %d", err, status)
			}
			return
		}
		if len(r.Keys) >= account.MaxKeys || len(r.Data) > account.MaxData {
			t.Fatalf("%d keys, %d bytes", len(r.Keys), len(r.Data))
		}
		seen := map[string]bool{}
		for _, key := range append([]string{r.ID}, r.Keys...) {
			if seen[key] || key == "" || len(key) > account.MaxKey || !utf8.ValidString(key) || strings.ContainsRune(key, 0) {
				t.Fatalf("the key %q in %+v", key, r)
			}
			seen[key] = true
		}
		again, err := checked(r)
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%+v becomes %+v, %v", r, again, err)
		}
	})
}

// FuzzEntry: whatever arrives at the socket as an entry is refused, or comes back
// out of the database as it is.
func FuzzEntry(f *testing.F) {
	f.Add([]byte(`{"time":"2026-01-02T03:04:05.000006+01:00","kind":"sign-in","person":"p","name":"名","by":"b","addr":"fe80::1%eth0","agent":"a","session":"s","detail":"d"}`))
	f.Add([]byte(`{"time":"0001-01-01T00:00:00Z","kind":"\ud83d","addr":"::ffff:192.0.2.1"}`))
	f.Add([]byte(`{"number":5,"addr":"","name":"\u0000"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEntry(b)
		if err != nil {
			if !errors.Is(err, errRequest) {
				t.Fatal(err)
			}
			return
		}
		a := open(t, Config{NoSocket: true}).Accounts()
		if err := a.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		for got, err := range a.Entries(t.Context(), account.LogQuery{Person: e.Person, Kind: e.Kind, Since: e.Time}) {
			if err != nil {
				t.Fatal(err)
			}
			e.Number, e.Time = 1, e.Time.UTC().Truncate(time.Microsecond)
			if !got.Time.Equal(e.Time) {
				t.Fatalf("%v becomes %v", e.Time, got.Time)
			}
			if got.Time = e.Time; got != e {
				t.Fatalf("%+v becomes %+v", e, got)
			}
			return
		}
		t.Fatalf("%+v is not found", e)
	})
}

// FuzzLogQuery: whatever arrives as a query is refused, or goes through a second time
// as it is.
func FuzzLogQuery(f *testing.F) {
	f.Add("p", "sign-in", "2026-01-02T03:04:05.6+01:00", "7")
	f.Add("", "", "", "")
	f.Add("\xff", "&", "0001-01-01T00:00:00Z", "-9223372036854775808")
	f.Fuzz(func(t *testing.T, person, kind, since, before string) {
		q, err := parseLogQuery(map[string][]string{"person": {person}, "kind": {kind}, "since": {since}, "before": {before}})
		if err != nil {
			if !errors.Is(err, errRequest) {
				t.Fatal(err)
			}
			return
		}
		again, err := parseLogQuery(encodeLogQuery(&q))
		if err != nil || !again.Since.Equal(q.Since) {
			t.Fatalf("%+v becomes %+v, %v", q, again, err)
		}
		if again.Since = q.Since; again != q {
			t.Fatalf("%+v becomes %+v", q, again)
		}
	})
}
