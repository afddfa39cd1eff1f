package throttle_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"

	"github.com/seed-64ad3862/gatehouse/throttle"
)

func Example() {
	t, err := throttle.New(throttle.Config{})
	if err != nil {
		log.Fatal(err)
	}
	right := func(context.Context, string) bool { return false } // hashing takes place here

	signIn := func(w http.ResponseWriter, r *http.Request) {
		from, _ := netip.ParseAddrPort(r.RemoteAddr)
		a := throttle.Attempt{Account: "zoe", Addr: from.Addr()}
		var denied *throttle.Denied
		switch err := t.Try(r.Context(), a); {
		case errors.As(err, &denied):
			denied.Header(w.Header())
			http.Error(w, "Too many attempts. Please wait a little.", http.StatusTooManyRequests)
			return
		case err != nil:
			http.Error(w, "Please try again later.", http.StatusServiceUnavailable)
			return
		}
		if !right(r.Context(), r.PostFormValue("password")) {
			http.Error(w, "Name or password is wrong.", http.StatusForbidden)
			return
		}
		if err := t.Succeeded(r.Context(), a); err != nil {
			log.Print(err) // it is only that the attempt stays counted
		}
	}

	for range 6 {
		w := httptest.NewRecorder()
		signIn(w, httptest.NewRequest("POST", "/login", nil))
		fmt.Printf("%d %q\n", w.Code, w.Header().Get("Retry-After"))
	}
	// Output:
	// 403 ""
	// 403 ""
	// 403 ""
	// 403 ""
	// 403 ""
	// 429 "120"
}
