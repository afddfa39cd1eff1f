package signin_test

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/signin"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

// The pages under a prefix, and behind them an application that is for people who have
// signed in. What is kept in memory here is gone with the process: store/sqlite and
// store/postgres keep sessions, people and the log.
func Example() { //nolint:testableexamples // it serves until it is ended
	var pages *signin.Pages
	sessions, err := session.New(session.Config{
		Store: memory.New(memory.Config{}),
		Error: func(w http.ResponseWriter, r *http.Request, err error) { pages.Error(w, r, err) },
	})
	if err != nil {
		log.Fatal(err)
	}
	store := new(account.Memory)
	people, err := account.New(account.Config{Store: store})
	if err != nil {
		log.Fatal(err)
	}
	pages, err = signin.New(context.Background(), signin.Config{
		Sessions: sessions, People: people, Log: store, PublicURL: "http://localhost:8080", Prefix: "/account",
		Home: "/", Site: "Example",
	})
	if err != nil {
		log.Fatal(err)
	}
	link, err := pages.SetupURL(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	log.Println("The first administrator:", link)

	mux := http.NewServeMux()
	mux.Handle("/account/", pages)
	mux.Handle("/", pages.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		me, _ := signin.PersonFrom(r.Context())
		fmt.Fprintf(w, "Hello, %s.\n", me.Name)
	})))
	log.Fatal(http.ListenAndServe("localhost:8080", sessions.Handler(mux)))
}
