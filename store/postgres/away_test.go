package postgres_test

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/store/postgres"
)

// opened is what comes of opening a store at an address.
func opened(t *testing.T, address string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // a pooler would wait for longer
	defer cancel()
	pool, err := pgxpool.New(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	_, err = postgres.Open(ctx, postgres.Config{Pool: pool})
	return err
}

// TestAway: what passes by itself is told from what only another setting mends, with and
// without a pooler in front, and where a name has several addresses.
func TestAway(t *testing.T) {
	pg := service.Postgres(t, "max_connections=20", "superuser_reserved_connections=0")
	bouncer := service.PgBouncer(t, pg, "transaction")
	with := func(base string, change func(u *url.URL)) string {
		u, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		change(u)
		return u.String()
	}
	param := func(key, value string) func(u *url.URL) {
		return func(u *url.URL) {
			q := u.Query()
			q.Set(key, value)
			u.RawQuery = q.Encode()
		}
	}
	check := func(name, address string, want bool, says ...string) {
		t.Helper()
		err := opened(t, address)
		if err == nil {
			t.Errorf("%s: there is no error", name)
			return
		}
		if got := postgres.Away(err); got != want {
			t.Errorf("%s: away %v: %v", name, got, err)
		}
		for _, text := range says {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: no %q in %v", name, text, err)
			}
		}
	}
	if err := opened(t, pg.URL()); err != nil || postgres.Away(nil) {
		t.Fatal(err)
	}
	localhost := func(u *url.URL) { u.Host = "localhost:" + u.Port() } // ::1 too, where nothing listens
	for front, base := range map[string]string{"": pg.URL(), "localhost": with(pg.URL(), localhost), "pooler": bouncer.URL()} {
		check(front+" database", with(base, func(u *url.URL) { u.Path = "/missing" }), false, "missing")
		check(front+" TLS", with(base, param("sslmode", "require")), false, "TLS")
	}
	check("role", with(pg.URL(), func(u *url.URL) { u.User = url.User("missing") }), false, "missing")
	check("name", with(pg.URL(), func(u *url.URL) { u.Host = "host.invalid:" + u.Port() }), true)
	check("standby", with(pg.URL(), param("target_session_attrs", "standby")), true)

	pool := newPool(t, pg.URL())
	must(t, pool, "INSERT INTO gatehouse.migration (version) VALUES (99)")
	check("newer", pg.URL(), false, "newer")
	must(t, pool, "DELETE FROM gatehouse.migration WHERE version = 99")

	// No room for another connection.
	full := newPool(t, pg.URL(), func(c *pgxpool.Config) { c.MaxConns = 30 })
	var held []*pgxpool.Conn
	for {
		c, err := full.Acquire(t.Context())
		if err != nil {
			if !postgres.Away(err) {
				t.Errorf("full: %v", err)
			}
			break
		}
		held = append(held, c)
	}
	check("full", pg.URL(), true)
	for _, c := range held {
		c.Release()
	}
	full.Close()
	pool.Close()

	pg.Stop()
	check("down", pg.URL(), true)
	check("down, localhost", with(pg.URL(), localhost), true)
	check("down behind a pooler", bouncer.URL(), true)
	pg.Start()
	if err := opened(t, pg.URL()); err != nil {
		t.Error(err)
	}
	bouncer.Stop()
	check("pooler down", bouncer.URL(), true)
}
