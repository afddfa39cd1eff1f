// Command minimal remembers a visitor's name on http://localhost:8080.
package main

import (
	"fmt"
	"log"
	"net/http"

	"github.com/seed-64ad3862/gatehouse/csrf"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

var Name = session.NewKey[string]("name") // typed, made once

func main() {
	sessions, err := session.New(session.Config{
		Store:    memory.New(memory.Config{}),
		Insecure: true, // over plain HTTP, as here; leave it out behind https
	})
	if err != nil {
		log.Fatal(err)
	}
	guard, err := csrf.New(csrf.Config{Sessions: sessions, Origins: []string{"http://localhost:8080"}})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /name", sessions.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		name, _ := Name.Get(s)
		fmt.Fprintf(w, "Hello, %q.\n", name)
	}))
	mux.Handle("POST /name", sessions.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		Name.Set(s, r.FormValue("name")) // the first Set makes the session
	}))
	log.Fatal(http.ListenAndServe("localhost:8080", sessions.Handler(guard.Handler(mux))))
}
