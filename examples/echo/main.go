// Command echo has an app on Echo whose pages are for people who have signed in, on
// http://localhost:8080. It prints the link that makes the first of them.
package main

import (
	"context"
	"log"
	"net/http"
	"strings"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"

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

// newRouter returns a router that recovers from panics outside of sessions.Handler:
// what a handler that panics has changed is not stored.
func newRouter(sessions *session.Manager) *echo.Echo {
	e := echo.New()
	e.Use(middleware.Recover(), echo.WrapMiddleware(sessions.Handler))
	return e
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
	e := newRouter(sessions)
	e.Any("/auth/*", echo.WrapHandler(pages))
	e.GET("/", func(c *echo.Context) error {
		me, _ := signin.PersonFrom(c.Request().Context())
		return c.String(http.StatusOK, "Hello, "+me.Called()+".")
	}, echo.WrapMiddleware(pages.Require))
	return e, pages, nil
}
