package session_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"

	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

// A browser keeps cookies as real ones do.
func browser() (*http.Client, func(h http.Handler) string) {
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar}
	return client, func(h http.Handler) string { return httptest.NewServer(h).URL }
}

func page(c *http.Client, url string) string {
	r, err := c.Get(url)
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	b, _ := io.ReadAll(r.Body)
	return string(b)
}

func Example() {
	// Keys are package variables in a program.
	name := session.NewKey[string]("name")

	sessions, err := session.New(session.Config{
		Store:    memory.New(memory.Config{}),
		Insecure: true, // plain HTTP, for this example
	})
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /name", sessions.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		name.Set(s, r.FormValue("name"))
	}))
	mux.Handle("GET /{$}", sessions.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		if n, ok := name.Get(s); ok {
			fmt.Fprintf(w, "Hello, %s.", n)
			return
		}
		fmt.Fprint(w, "Who are you?")
	}))

	client, start := browser()
	site := start(sessions.Handler(mux))
	fmt.Println(page(client, site))
	client.PostForm(site+"/name", url.Values{"name": {"Alex"}})
	fmt.Println(page(client, site))
	// Output:
	// Who are you?
	// Hello, Alex.
}

// Signing in renews the identifier by itself; signing out ends the session for
// every request, also for those under way.
func ExampleSession_SetOwner() {
	sessions, _ := session.New(session.Config{Store: memory.New(memory.Config{}), Insecure: true})
	mux := http.NewServeMux()
	mux.Handle("/in", sessions.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		s.SetOwner("account 42")
	}))
	mux.Handle("/out", sessions.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		s.Destroy()
	}))
	mux.Handle("/", sessions.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		fmt.Fprintf(w, "owner %q", s.Owner())
	}))

	client, start := browser()
	site := start(sessions.Handler(mux))
	page(client, site+"/in")
	fmt.Println(page(client, site))
	page(client, site+"/out")
	fmt.Println(page(client, site))
	// Output:
	// owner "account 42"
	// owner ""
}

// Update counts right however many requests run at once.
func ExampleKey_Update() {
	visits := session.NewKey[int]("visits")
	sessions, _ := session.New(session.Config{Store: memory.New(memory.Config{}), Insecure: true})
	count := sessions.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		if err := visits.Update(r.Context(), s, func(n int) int { return n + 1 }); err != nil {
			sessions.Error(w, r, err)
			return
		}
		n, _ := visits.Get(s)
		fmt.Fprint(w, n)
	})

	client, start := browser()
	site := start(sessions.Handler(count))
	page(client, site)
	page(client, site)
	fmt.Println(page(client, site))
	// Output: 3
}

// The sessions of a person can be seen and ended, all but the one in use.
func ExampleManager_EndAll() {
	sessions, _ := session.New(session.Config{Store: memory.New(memory.Config{}), Insecure: true})
	mux := http.NewServeMux()
	mux.Handle("/in", sessions.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		s.SetOwner("account 42")
		s.SetLabel("device", r.FormValue("device"))
	}))
	mux.Handle("/end-others", sessions.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		n, err := sessions.EndAll(r.Context(), session.Query{Owner: s.Owner()}, s.Handle())
		fmt.Fprintln(w, n, "ended,", err)
	}))
	h := sessions.Handler(mux)

	phone, start := browser()
	site := start(h)
	page(phone, site+"/in?device=phone")
	lost, _ := browser()
	page(lost, site+"/in?device=tablet")

	fmt.Print(page(phone, site+"/end-others"))
	for s, err := range sessions.List(context.Background(), session.Query{Owner: "account 42"}) {
		fmt.Println(s.Labels[0].Value, err)
	}
	// Output:
	// 1 ended, <nil>
	// phone <nil>
}
