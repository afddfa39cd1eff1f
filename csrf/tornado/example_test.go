package tornado_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/seed-64ad3862/gatehouse/csrf/tornado"
)

// A page that Tornado rendered posts to Go on the same host.
func ExampleXSRF_Check() {
	token := tornado.NewToken()
	form := url.Values{tornado.CookieName: {token.V2(time.Now())}}
	r := httptest.NewRequest("POST", "/", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.AddCookie(&http.Cookie{Name: tornado.CookieName, Value: token.V2(time.Now())})

	check := func(r *http.Request) error {
		var cookie, field string
		if c, err := r.Cookie(tornado.CookieName); err == nil {
			cookie = c.Value
		}
		if err := r.ParseForm(); err != nil {
			return err
		}
		if fields := r.PostForm[tornado.CookieName]; len(fields) > 0 {
			field = fields[len(fields)-1] // as get_argument does
		}
		return tornado.XSRF{}.Check(cookie, field, r.Header)
	}

	fmt.Println(check(r))
	r.PostForm.Set(tornado.CookieName, tornado.NewToken().V2(time.Now()))
	fmt.Println(check(r))
	// Output:
	// <nil>
	// XSRF cookie does not match POST argument
}

// A cookie from set_secure_cookie is read, and written for Tornado to read.
func ExampleSigner() {
	signer, err := tornado.NewSigner(tornado.SignerConfig{
		Keys: map[int]string{1: "retired last week", 2: "in use"},
		// What Tornado calls key_version.
		KeyVersion: 2,
	})
	if err != nil {
		panic(err)
	}
	signed := signer.Sign("user", []byte("alex"))
	value, err := signer.Verify("user", signed)
	fmt.Printf("%s %v\n", value, err)

	_, err = signer.Verify("admin", signed)
	fmt.Println(err)
	// Output:
	// alex <nil>
	// tornado: value was signed for another name
}

func ExampleStaticURL() {
	version := tornado.StaticVersion([]byte("body{}\n"))
	fmt.Println(tornado.StaticURL("/Statics/", "a.css", version)[:32])
	// Output: /Statics/a.css?v=4ae334473cd098b
}
