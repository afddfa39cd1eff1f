package postgres_test

import (
	"context"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/postgres"
	"github.com/seed-64ad3862/gatehouse/throttle"
)

//nolint:testableexamples // It needs a server.
func ExampleOpen() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	store, err := postgres.Open(ctx, postgres.Config{Pool: pool})
	if err != nil {
		log.Fatal(err)
	}
	sessions, err := session.New(session.Config{Store: store})
	if err != nil {
		log.Fatal(err)
	}
	app := http.NotFoundHandler()
	log.Print(http.ListenAndServe("localhost:8080", sessions.Handler(app)))
}

// People and attempts in the database of the sessions.
//
//nolint:testableexamples // It needs a server.
func ExampleStore_Accounts() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	store, err := postgres.Open(ctx, postgres.Config{Pool: pool})
	if err != nil {
		log.Fatal(err)
	}
	people, err := account.New(account.Config{Store: store.Accounts()})
	if err != nil {
		log.Fatal(err)
	}
	key, err := people.Secret(ctx, "throttle") // the same on all machines
	if err != nil {
		log.Fatal(err)
	}
	attempts, err := throttle.New(throttle.Config{Store: store.Throttle(), Key: key})
	if err != nil {
		log.Fatal(err)
	}
	if err := attempts.Try(ctx, throttle.Attempt{Account: "alex"}); err != nil {
		log.Print(err)
	}
	// Keep a year of the log.
	if _, err := store.Accounts().Trim(ctx, time.Now().AddDate(-1, 0, 0)); err != nil {
		log.Print(err)
	}
}
