// Command spa has an app that is one page and an API, on http://localhost:8080. The
// API answers 401 to who has not signed in, and the page leads them to do so. It
// prints the link that makes the first person.
package main

import (
	"context"
	"embed"
	"encoding/json"
	"io/fs"
	"log"
	"net/http"
	"strings"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/csrf"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/signin"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

//go:embed static
var files embed.FS

// Notes are kept in the session: they go with it.
var Notes = session.NewKey[[]string]("notes")

func main() {
	app, pages, err := newApp(context.Background(), "http://localhost:8080", signin.Always)
	if err != nil {
		log.Fatal(err)
	}
	link, err := pages.SetupURL(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	log.Print("open ", link)
	log.Fatal(http.ListenAndServe("localhost:8080", app))
}

func newApp(ctx context.Context, url string, captcha signin.Captcha) (http.Handler, *signin.Pages, error) {
	sessions, err := session.New(session.Config{
		Store:    memory.New(memory.Config{}),
		Insecure: strings.HasPrefix(url, "http://"), // Safari keeps no Secure cookie from http://localhost
	})
	if err != nil {
		return nil, nil, err
	}
	people, err := account.New(account.Config{Store: new(account.Memory)})
	if err != nil {
		return nil, nil, err
	}
	pages, err := signin.New(ctx, signin.Config{
		Sessions: sessions, People: people, PublicURL: url, Prefix: "/auth", Home: "/", Captcha: captcha,
	})
	if err != nil {
		return nil, nil, err
	}
	// The pages guard themselves; this is for the API.
	guard, err := csrf.New(csrf.Config{Sessions: sessions, Origins: []string{url}, RequireToken: true})
	if err != nil {
		return nil, nil, err
	}
	static, err := fs.Sub(files, "static")
	if err != nil {
		return nil, nil, err
	}

	api := http.NewServeMux()
	api.HandleFunc("GET /api/token", guard.ServeToken)
	api.Handle("GET /api/notes", sessions.With(answer))
	api.Handle("POST /api/notes", sessions.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		var sent struct{ Note string }
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 10_000)).Decode(&sent); err != nil {
			http.Error(w, "Not a note.", http.StatusBadRequest)
			return
		}
		// Two tabs that keep a note at the same moment keep both.
		if err := Notes.Update(r.Context(), s, func(all []string) []string { return append(all, sent.Note) }); err != nil {
			sessions.Error(w, r, err)
			return
		}
		answer(w, r, s)
	}))
	mux := http.NewServeMux()
	mux.Handle("/auth/", pages)
	mux.Handle("/api/", pages.Require(guard.Handler(api)))
	mux.Handle("/", http.FileServerFS(static))
	return sessions.Handler(mux), pages, nil
}

func answer(w http.ResponseWriter, r *http.Request, s *session.Session) {
	me, _ := signin.PersonFrom(r.Context())
	notes, ok := Notes.Get(s)
	if !ok {
		notes = []string{}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"name": me.Called(), "notes": notes}) // or the visitor has gone
}
