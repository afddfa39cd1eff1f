package captcha_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/captcha/still"
)

func Example() {
	gif, err := still.New(still.Config{})
	if err != nil {
		log.Fatal(err)
	}
	c, err := captcha.New(captcha.Config{Forms: map[string]captcha.Renderer{"gif": gif}})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/captcha/", c)

	// The page has the id in a hidden field, and shows the picture.
	scope := captcha.Scope{Purpose: "sign-in", Session: "the visitor's session"}
	id := c.Issue(scope)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/captcha/"+id+".gif", nil))
	fmt.Println(w.Code, w.Header().Get("Content-Type"))

	// The form comes back. There is one try.
	fmt.Println(c.Verify(context.Background(), id, scope, "a guess"))
	fmt.Println(c.Verify(context.Background(), id, scope, "another"))
	// Output:
	// 200 image/gif
	// captcha: wrong answer
	// captcha: challenge already spent
}

func ExampleMatch() {
	fmt.Println(captcha.Match("K7MPX", "k7-mpx"))
	fmt.Println(captcha.Match("K7MPX", "Ｋ７ ＭＰＸ"))
	fmt.Println(captcha.Match("K7MPX", "K7MPY"))
	// Output:
	// true
	// true
	// false
}

// An application that keeps the code itself draws it from a random seed.
func ExampleNewCode() {
	code := captcha.NewCode(4)
	fmt.Println(len(code), captcha.Match(code, " "+code))
	// Output:
	// 4 true
}
