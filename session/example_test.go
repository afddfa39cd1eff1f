package session_test

import (
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"

	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

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
	mux.Handle("GET /name", sessions.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		n, ok := name.Get(s)
		fmt.Printf("%q %v\n", n, ok)
	}))

	site := httptest.NewServer(sessions.Handler(mux))
	defer site.Close()
	jar, _ := cookiejar.New(nil)
	browser := &http.Client{Jar: jar}
	browser.Get(site.URL + "/name")
	browser.PostForm(site.URL+"/name", url.Values{"name": {"Alex"}})
	browser.Get(site.URL + "/name")
	// Output:
	// "" false
	// "Alex" true
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
	mux.Handle("/who", sessions.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		fmt.Printf("owner %q\n", s.Owner())
	}))

	site := httptest.NewServer(sessions.Handler(mux))
	defer site.Close()
	jar, _ := cookiejar.New(nil)
	browser := &http.Client{Jar: jar}
	for _, path := range []string{"/in", "/who", "/out", "/who"} {
		browser.Get(site.URL + path)
	}
	// Output:
	// owner "account 42"
	// owner ""
}

// A recoverer that is inside of Handler, such as a framework's, answers where what a
// handler had changed must not be stored.
func ExampleManager_DiscardOnPanic() {
	sessions, _ := session.New(session.Config{Store: memory.New(memory.Config{}), Insecure: true})
	recoverer := func(next http.Handler) http.Handler { // of the framework
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				if recover() != nil {
					http.Error(w, "sorry", http.StatusInternalServerError)
				}
			}()
			next.ServeHTTP(w, r)
		})
	}
	discard := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			sessions.DiscardOnPanic(r.Context(), func() { next.ServeHTTP(w, r) })
		})
	}
	in := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s, _ := sessions.Load(r.Context())
		s.SetOwner("account 42")
		panic("halfway")
	})

	site := httptest.NewServer(sessions.Handler(recoverer(discard(in))))
	defer site.Close()
	r, _ := http.Get(site.URL)
	fmt.Println(r.Status, len(r.Cookies()), "cookies")
	// Output:
	// 500 Internal Server Error 0 cookies
}

// Update counts right however many requests run at once.
func ExampleKey_Update() {
	visits := session.NewKey[int]("visits")
	sessions, _ := session.New(session.Config{Store: memory.New(memory.Config{}), Insecure: true})
	site := httptest.NewServer(sessions.Handler(sessions.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		if err := visits.Update(r.Context(), s, func(n int) int { return n + 1 }); err != nil {
			sessions.Error(w, r, err)
			return
		}
		n, _ := visits.Get(s)
		fmt.Println(n)
	})))
	defer site.Close()

	jar, _ := cookiejar.New(nil)
	browser := &http.Client{Jar: jar}
	for range 3 {
		browser.Get(site.URL)
	}
	// Output:
	// 1
	// 2
	// 3
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
		mine := session.Query{Owner: s.Owner()}
		n, err := sessions.EndAll(r.Context(), mine, s.Handle())
		fmt.Println(n, "ended,", err)
		for info, err := range sessions.List(r.Context(), mine) {
			fmt.Println(info.Labels, err)
		}
	}))

	site := httptest.NewServer(sessions.Handler(mux))
	defer site.Close()
	jar, _ := cookiejar.New(nil)
	phone := &http.Client{Jar: jar}
	http.Get(site.URL + "/in?device=tablet") // lost on a train
	phone.Get(site.URL + "/in?device=phone")
	phone.Get(site.URL + "/end-others")
	// Output:
	// 1 ended, <nil>
	// [{device phone}] <nil>
}
