package csrf_test

import (
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/seed-64ad3862/gatehouse/csrf"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

// A form that carries a token, and two programs that send it.
func Example() {
	sessions, err := session.New(session.Config{Store: memory.New(memory.Config{}), Insecure: true})
	if err != nil {
		panic(err)
	}
	protection, err := csrf.New(csrf.Config{
		Origins:  []string{"https://app.example"},
		Sessions: sessions,
		Logger:   slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err)
	}
	page := template.Must(template.New("").Parse(`<form method="post">{{.}}<button>Send</button></form>`))

	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		input, err := protection.Input(r)
		if err != nil {
			http.Error(w, "try again later", csrf.Status(err))
			return
		}
		_ = page.Execute(w, input)
	})
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "done") })
	server := httptest.NewServer(sessions.Handler(protection.Handler(mux)))
	defer server.Close()

	read := func(resp *http.Response, err error) string {
		if err != nil {
			panic(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}

	// One has opened the form. (Browsers need no token: their headers do.)
	jar, _ := cookiejar.New(nil)
	visitor := http.Client{Jar: jar}
	form := read(visitor.Get(server.URL))
	_, token, _ := strings.Cut(form, `value="`)
	token, _, _ = strings.Cut(token, `"`)
	fmt.Print(read(visitor.PostForm(server.URL, url.Values{"csrf_token": {token}})))

	// The other repeats what the first one sent.
	fmt.Print(read(http.PostForm(server.URL, url.Values{"csrf_token": {token}})))
	// Output:
	// done
	// 403 Forbidden
}

// The decision alone, for a handler that gives an answer of its own.
func ExampleProtection_Check() {
	protection, err := csrf.New(csrf.Config{Origins: []string{"https://app.example"}})
	if err != nil {
		panic(err)
	}
	r := httptest.NewRequest("POST", "/transfer", nil)

	r.Header.Set("Sec-Fetch-Site", "same-origin")
	fmt.Println(protection.Check(r))

	r.Header.Set("Sec-Fetch-Site", "cross-site")
	r.Header.Set("Origin", "https://attacker.example")
	err = protection.Check(r)
	fmt.Println(errors.Is(err, csrf.ErrCrossOrigin), csrf.Status(err))
	fmt.Println(err)
	// Output:
	// <nil>
	// true 403
	// csrf: cross-origin request: Sec-Fetch-Site is "cross-site", and Origin "https://attacker.example" is not trusted
}

// A page of its own for a form that has become too old.
func ExampleConfig_deny() {
	protection, err := csrf.New(csrf.Config{
		Logger: slog.New(slog.DiscardHandler),
		Deny: func(w http.ResponseWriter, r *http.Request, err error) {
			w.WriteHeader(csrf.Status(err))
			if errors.Is(err, csrf.ErrNoToken) || errors.Is(err, csrf.ErrBadToken) {
				fmt.Fprint(w, "Load the page again and send it once more.")
			}
		},
	})
	if err != nil {
		panic(err)
	}
	w := httptest.NewRecorder()
	protection.Handler(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("POST", "/", nil))
	fmt.Println(w.Code, w.Body)
	// Output: 403 Load the page again and send it once more.
}
