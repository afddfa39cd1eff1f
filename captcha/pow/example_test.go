package pow_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"

	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/captcha/pow"
)

// A form whose price rises with every failure.
func Example() {
	toll, err := pow.New(pow.Config{Tries: 500}) // few: it is only an example
	if err != nil {
		log.Fatal(err)
	}
	failures := 2 // of this account, this hour; kept by the application
	demand := func(r *http.Request) pow.Demand {
		return pow.Demand{
			Scope: captcha.Scope{Purpose: "sign-in", Session: "the visitor's session"},
			Cost:  pow.DefaultCost << min(failures, 8),
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/pow", toll.Handler(demand))
	mux.HandleFunc("POST /sign-in", func(w http.ResponseWriter, r *http.Request) {
		if err := toll.Verify(r.Context(), demand(r), r.PostFormValue("altcha"), ""); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		fmt.Fprintln(w, "welcome")
	})

	// The visitor, who in a browser is the widget or the solver of Script.
	server := httptest.NewServer(mux)
	defer server.Close()
	resp, err := http.Get(server.URL + "/pow")
	if err != nil {
		log.Fatal(err)
	}
	challenge, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		log.Fatal(err)
	}
	payload, err := pow.Solve(context.Background(), challenge)
	if err != nil {
		log.Fatal(err)
	}
	for range 2 {
		resp, err := http.PostForm(server.URL+"/sign-in", url.Values{"altcha": {payload}})
		if err != nil {
			log.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		fmt.Print(resp.StatusCode, " ", string(text))
	}
	// Output:
	// 200 welcome
	// 403 captcha: challenge already spent
}
