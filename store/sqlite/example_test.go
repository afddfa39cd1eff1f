package sqlite_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/sqlite"
)

var name = session.NewKey[string]("name")

// Example is a server that remembers a visitor's name, also when it begins anew.
func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	serve := func(r *http.Request) *http.Response {
		store, err := sqlite.Open(r.Context(), sqlite.Config{Path: filepath.Join(dir, "sessions.db")})
		if err != nil {
			log.Fatal(err)
		}
		defer store.Close()
		sessions, err := session.New(session.Config{Store: store})
		if err != nil {
			log.Fatal(err)
		}
		app := sessions.Handler(sessions.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			if n, ok := name.Get(s); ok {
				fmt.Fprintf(w, "Hello, %s.", n)
				return
			}
			name.Set(s, r.FormValue("name"))
		}))
		w := httptest.NewRecorder()
		app.ServeHTTP(w, r)
		return w.Result()
	}

	first := serve(httptest.NewRequest("GET", "/?name=Alex", nil))
	r := httptest.NewRequest("GET", "/", nil)
	r.AddCookie(first.Cookies()[0])
	second := serve(r)
	body, err := io.ReadAll(second.Body)
	fmt.Printf("%s %v\n", body, err)
	// Output: Hello, Alex. <nil>
}

// ExampleConnect ends all sessions of a person, from a command beside the server.
func ExampleConnect() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx, path := context.Background(), filepath.Join(dir, "sessions.db")

	// The server, which is another process in earnest.
	store, err := sqlite.Open(ctx, sqlite.Config{Path: path})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	sessions, err := session.New(session.Config{Store: store})
	if err != nil {
		log.Fatal(err)
	}
	signIn := sessions.Handler(sessions.With(func(_ http.ResponseWriter, _ *http.Request, s *session.Session) { s.SetOwner("alex") }))
	for range 3 {
		signIn.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/login", nil))
	}

	// The command.
	c, err := sqlite.Connect(ctx, path)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	m, err := session.New(session.Config{Store: c})
	if err != nil {
		log.Fatal(err)
	}
	n, err := m.EndAll(ctx, session.Query{Owner: "alex"})
	fmt.Println(n, "ended,", err)
	// Output: 3 ended, <nil>
}
