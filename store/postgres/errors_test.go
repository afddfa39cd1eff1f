package postgres_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/postgres"
)

// TestText: what PostgreSQL cannot store is the fault of whoever wants to store
// it, in every place and mode, and harms nobody else.
func TestText(t *testing.T) {
	pg := service.Postgres(t)
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeSimpleProtocol} {
		pool := newPool(t, pg.URL(), func(c *pgxpool.Config) { c.ConnConfig.DefaultQueryExecMode = mode })
		store := open(t, postgres.Config{Pool: pool})
		id := made(t, store, born())
		for _, bad := range []string{"a\x00b", "a\xffb"} {
			for name, d := range map[string]*session.Delta{
				"key":             {Set: []session.Field{{Key: bad, Value: "1"}}},
				"value":           {Set: []session.Field{{Key: "k", Value: bad}}},
				"deleted key":     {Delete: []string{bad}},
				"condition":       {If: []session.Field{{Key: bad}}},
				"its value":       {If: []session.Field{{Key: "k", Value: bad}}},
				"owner":           {Owner: &bad},
				"name of a label": {Labels: []session.Label{{Name: bad, Value: "v"}}},
				"label":           {Labels: []session.Label{{Name: "n", Value: bad}}},
			} {
				if err := store.Commit(t.Context(), id, d); !errors.Is(err, session.ErrValue) {
					t.Errorf("%v, %s %q: %v", mode, name, bad, err)
				}
			}
			for _, q := range []session.Query{{Owner: bad}, {Label: session.Label{Name: bad, Value: "v"}}, {Label: session.Label{Name: "n", Value: bad}}, {SignedIn: true, Owner: bad}, {SignedIn: true, Label: session.Label{Name: bad, Value: "v"}}} {
				if err := last(store.List(t.Context(), q)); !errors.Is(err, session.ErrValue) {
					t.Errorf("%v, list %+v: %v", mode, q, err)
				}
			}
		}
		// Every other character is one.
		var all strings.Builder
		for r := rune(1); r < 0x300; r++ {
			all.WriteRune(r)
		}
		all.WriteString("\u2028\ufeff\ufffd\U0001f600'; DROP TABLE gatehouse.session; --")
		text := all.String()
		d := &session.Delta{Set: []session.Field{{Key: text, Value: text}}, Labels: []session.Label{{Name: text, Value: text}}, Owner: &text}
		if err := store.Commit(t.Context(), id, d); err != nil {
			t.Fatal(err)
		}
		r, err := store.Load(t.Context(), id)
		if err != nil || value(r, text) != text || r.Owner != text || len(r.Labels) != 1 || r.Labels[0] != d.Labels[0] {
			t.Errorf("%v: %+v, %v", mode, r, err)
		}
		for _, q := range []session.Query{{Owner: text}, {Label: d.Labels[0]}, {Owner: text, Label: d.Labels[0]}, {SignedIn: true, Label: d.Labels[0]}} {
			n := 0
			for r, err := range store.List(t.Context(), q) {
				if err != nil || r.ID != id {
					t.Errorf("%v: %v, %v", mode, r.ID, err)
				}
				n++
			}
			if n != 1 {
				t.Errorf("%v: the list has %d sessions", mode, n)
			}
		}
		if err := store.Commit(t.Context(), id, &session.Delta{If: d.Set, Delete: []string{text}}); err != nil {
			t.Errorf("%v: %v", mode, err)
		}
		if err := store.Delete(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
}

// TestServerErrors: what the server refuses is said clearly, in the terms of the
// contract where it has one, and without what was to be stored.
func TestServerErrors(t *testing.T) {
	pg := service.Postgres(t)
	pool := newPool(t, pg.URL())
	store := open(t, postgres.Config{Pool: pool})
	const secret = "a-value-that-nobody-may-see"
	refuse := func(code string) {
		must(t, pool,
			`CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
				BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '`+code+`', DETAIL = NEW::text, HINT = NEW::text; END $$`,
			`CREATE OR REPLACE TRIGGER refuse BEFORE INSERT OR UPDATE ON gatehouse.session FOR EACH ROW EXECUTE FUNCTION refuse()`)
	}
	id := made(t, store, born())
	for _, test := range []struct {
		code string
		is   error // or nil
	}{
		{"53100", session.ErrFull}, // disk_full
		{"53200", nil},             // out_of_memory
		{"42501", nil},             // insufficient_privilege
	} {
		refuse(test.code)
		for name, err := range map[string]error{
			"create": store.Commit(t.Context(), newID(), born(session.Field{Key: "k", Value: secret})),
			"change": store.Commit(t.Context(), id, &session.Delta{Set: []session.Field{{Key: "k", Value: secret}}}),
		} {
			pgErr, ok := errors.AsType[*pgconn.PgError](err)
			if !ok || pgErr.Code != test.code || !strings.HasPrefix(err.Error(), "postgres: commit: ") {
				t.Errorf("%s: %v, want SQLSTATE %s", name, err, test.code)
			}
			if strings.Contains(fmt.Sprintf("%+v %#v", err, pgErr), secret) {
				t.Errorf("%s: the error tells a value: %#v", name, pgErr)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%s: %v is not %v", name, err, test.is)
			}
		}
	}
	must(t, pool, "DROP TRIGGER refuse ON gatehouse.session")
	if r, err := store.Load(t.Context(), id); err != nil || len(r.Fields) != 0 {
		t.Errorf("a record whose change was refused: %+v, %v", r, err)
	}

	t.Run("a column that is none of ours", func(t *testing.T) {
		must(t, pool, `UPDATE gatehouse.session SET data = '["`+secret+`"]'`)
		_, err := store.Load(t.Context(), id)
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("Load: %v", err)
		}
		// What a person has put there is JSON all the same.
		must(t, pool, `UPDATE gatehouse.session SET data = '{"a": 1, "b": {"c": [null]}, "d": "\"e\""}'`)
		r, err := store.Load(t.Context(), id)
		if err != nil || value(r, "a") != `1` || value(r, "b") != `{"c": [null]}` || value(r, "d") != `"e"` {
			t.Errorf("Load: %+v, %v", r, err)
		}
		if err := store.Commit(t.Context(), id, &session.Delta{If: r.Fields, Delete: []string{"b"}}); err != nil {
			t.Error(err)
		}
	})

	t.Run("a server that can only be read", func(t *testing.T) {
		admin := newPool(t, pg.URL(), func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["default_transaction_read_only"] = "off" })
		must(t, admin, "ALTER DATABASE gatehouse SET default_transaction_read_only = on")
		pool.Reset() // for connections that were made before
		id := newID()
		err := store.Commit(t.Context(), id, born())
		if code, ok := errors.AsType[*pgconn.PgError](err); !ok || code.Code != "25006" {
			t.Fatalf("Commit to what can only be read: %v", err)
		}
		must(t, admin, "ALTER DATABASE gatehouse RESET default_transaction_read_only")
		for range pool.Config().MaxConns { // each may still be to it, once
			if err = store.Commit(t.Context(), id, born()); err == nil {
				break
			}
		}
		if err != nil {
			t.Errorf("Commit: %v", err)
		}
	})

	t.Run("no connection", func(t *testing.T) {
		const password = "a-password-that-nobody-may-see"
		away := newPool(t, strings.Replace(pg.URL(), "gatehouse@", "gatehouse:"+password+"@", 1), func(c *pgxpool.Config) { c.MaxConns = 2 })
		store := open(t, postgres.Config{Pool: away})
		must(t, pool, "CREATE ROLE nobody LOGIN CONNECTION LIMIT 0")
		full := newPool(t, strings.Replace(pg.URL(), "gatehouse@", "nobody:"+password+"@", 1))
		_, fullErr := postgres.Open(t.Context(), postgres.Config{Pool: full})
		if code, ok := errors.AsType[*pgconn.PgError](fullErr); !ok || code.Code != "53300" {
			t.Errorf("no connection is left: %v", fullErr)
		}
		pg.Stop()
		_, openErr := postgres.Open(t.Context(), postgres.Config{Pool: away})
		_, loadErr := store.Load(t.Context(), id)
		spent, spendErr := store.Spend(t.Context(), [16]byte{}, time.Now().Add(time.Hour))
		for _, err := range []error{fullErr, openErr, loadErr, spendErr} {
			if err == nil || spent || !strings.HasPrefix(err.Error(), "postgres: ") || strings.Contains(fmt.Sprintf("%+v", err), password) {
				t.Errorf("a server that is away: %v", err)
			}
		}
	})
}

// TestLostStatements: what a pooler does is told once, and nobody else notices.
func TestLostStatements(t *testing.T) {
	pool := newPool(t, service.Postgres(t).URL())
	var log strings.Builder
	store := open(t, postgres.Config{Pool: pool, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	id := made(t, store, born())
	for range 3 {
		// Package pgx believes that the connection still has its statements.
		must(t, pool, "DEALLOCATE ALL")
		if err := store.Commit(t.Context(), id, &session.Delta{Seen: time.Now()}); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Load(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(log.String(), "prepared statements get lost"); n != 1 {
		t.Errorf("it is told %d times: %s", n, log.String())
	}
}
