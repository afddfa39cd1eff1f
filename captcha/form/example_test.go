package form_test

import (
	"fmt"
	"html/template"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/captcha/form"
)

// Any form becomes one that programs pay for.
func Example() {
	part, err := form.New(form.Config{})
	if err != nil {
		log.Fatal(err)
	}
	page := template.Must(template.New("").Parse(`<form method="post">{{.}}<button>Send</button></form>`))
	mux := http.NewServeMux()
	mux.Handle("/captcha/", part)
	mux.HandleFunc("/comment", func(w http.ResponseWriter, r *http.Request) {
		ask := form.Ask{Scope: captcha.Scope{Purpose: "comment"}, Language: "en"}
		if r.Method == http.MethodPost {
			if ask.Err = part.Verify(r, ask); ask.Err == nil {
				w.Write([]byte("Thank you."))
				return
			}
		}
		html, err := part.HTML(ask)
		if err != nil {
			http.Error(w, "no challenge", http.StatusInternalServerError)
			return
		}
		page.Execute(w, html)
	})

	// Nobody gets through without an answer.
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/comment", nil))
	fmt.Println(w.Code, strings.Contains(w.Body.String(), "Thank you."))
	// Output: 200 false
}
