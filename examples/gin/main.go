// Command gin has an app on Gin whose pages are for people who have signed in, on
// http://localhost:8080. It prints the link that makes the first of them.
package main

import (
	"context"
	"log"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/signin"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

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

// newRouter returns a router for inside of sessions.Handler. Gin recovers from
// panics there, and answers; what a handler that panics has changed is not stored.
// This has its place inside of Gin's Recovery rather than in its function, which is
// not called for panics of broken connections and http.ErrAbortHandler.
func newRouter(sessions *session.Manager) *gin.Engine {
	r := gin.New()
	r.Use(gin.Recovery(), func(c *gin.Context) {
		sessions.DiscardOnPanic(c.Request.Context(), c.Next)
	})
	return r
}

// newApp returns the app. Sessions and people are gone when it ends: store/sqlite
// keeps both in a file.
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
	r := newRouter(sessions)
	r.Any("/auth/*page", gin.WrapH(pages))
	r.GET("/", func(c *gin.Context) {
		me, _ := signin.PersonFrom(c.Request.Context())
		c.String(http.StatusOK, "Hello, %s.", me.Called())
	})
	// Around Gin rather than inside it, because Gin's middleware cannot replace the
	// writer of the answer.
	mux := http.NewServeMux()
	mux.Handle("/auth/", r)
	mux.Handle("/", pages.Require(r))
	return sessions.Handler(mux), pages, nil
}
