package postgres_test

import (
	"context"
	"log"
	"net/http"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/postgres"
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
