package main

import (
	"context"
	"fmt"
	"net"

	"github.com/gofiber/fiber/v3"
	fibersession "github.com/gofiber/fiber/v3/middleware/session"
	"github.com/valyala/fasthttp"
)

// fiberSite is a site on fiber, which runs on fasthttp and not on net/http: its
// requests are another kind of thing, made by another server, and only what the
// session adds to bare fiber is comparable.
//
// Requests are given to the handler that fiber gives to fasthttp's server, not
// through App.Test, which writes and parses a connection.
type fiberSite struct {
	app     *fiber.App
	handler fasthttp.RequestHandler
	store   *fibersession.Store // nil without sessions
}

// bareFiber has no sessions.
func bareFiber() *fiberSite {
	app := fiber.New()
	app.Get(pathNothing, func(fiber.Ctx) error { return nil })
	app.Get(pathRead, func(c fiber.Ctx) error { return c.SendString(payload) })
	app.Get(pathWrite, func(c fiber.Ctx) error { return c.SendString(payload) })
	return &fiberSite{app: app, handler: app.Handler()}
}

// newFiber has fiber's session middleware with the settings it has by itself,
// its storage in memory among them.
func newFiber(hold func()) *fiberSite {
	app := fiber.New()
	middleware, store := fibersession.NewWithStore(fibersession.Config{})
	app.Use(middleware)
	get := func(c fiber.Ctx, key string) string {
		v, _ := fibersession.FromContext(c).Get(key).(string)
		return v
	}
	app.Get(pathNothing, func(fiber.Ctx) error { return nil })
	app.Get(pathRead, func(c fiber.Ctx) error { return c.SendString(get(c, key)) })
	app.Get(pathWrite, func(c fiber.Ctx) error {
		v := get(c, key)
		fibersession.FromContext(c).Set("n", next())
		return c.SendString(v)
	})
	app.Get(pathNumber, func(c fiber.Ctx) error {
		return c.SendString(fmt.Sprint(fibersession.FromContext(c).Get("n")))
	})
	app.Get(pathBegin, func(c fiber.Ctx) error {
		fibersession.FromContext(c).Set(key, payload)
		return nil
	})
	app.Get(pathKeep, func(c fiber.Ctx) error {
		hold()
		fibersession.FromContext(c).Set(string([]byte(c.Query("key"))), "kept") // Query's string is valid during the request only
		return nil
	})
	app.Get(pathGet, func(c fiber.Ctx) error { return c.SendString(get(c, c.Query("key"))) })
	app.Get(pathEnd, func(c fiber.Ctx) error { return fibersession.FromContext(c).Destroy() })
	return &fiberSite{app: app, handler: app.Handler(), store: store}
}

func (s *fiberSite) answer(path, cookie string) answer {
	var c fasthttp.RequestCtx
	s.request(&c, path, cookie)
	s.handler(&c)
	a := answer{code: c.Response.StatusCode(), body: string(c.Response.Body())}
	for name, line := range c.Response.Header.Cookies() {
		var parsed fasthttp.Cookie
		if err := parsed.ParseBytes(line); err != nil {
			return answer{body: err.Error()}
		}
		if parsed.MaxAge() < 0 || len(parsed.Value()) == 0 {
			a.gone = true
		} else {
			a.cookie = fmt.Sprintf("%s=%s", name, parsed.Value())
		}
	}
	return a
}

func (s *fiberSite) request(c *fasthttp.RequestCtx, path, cookie string) {
	c.Request.Header.SetMethod(fasthttp.MethodGet)
	c.Request.SetRequestURI(path)
	if cookie != "" {
		c.Request.Header.Set(fasthttp.HeaderCookie, cookie)
	}
}

// repeat sets the Cookie header anew each time: fasthttp parses it but once per
// request, and that is part of the work.
func (s *fiberSite) repeat(path, cookie, want string, n int) {
	var c fasthttp.RequestCtx
	for range n {
		c.Request.Reset()
		c.Response.Reset()
		c.ResetUserValues()
		s.request(&c, path, cookie)
		s.handler(&c)
		if len(c.Response.Body()) != len(want) || c.Response.StatusCode() >= 400 {
			panic(fmt.Sprintf("fiber %s: %d %q", path, c.Response.StatusCode(), c.Response.Body()))
		}
	}
}

// forget empties the storage: fiber stores a session for every anonymous
// request, and the heap would grow from round to round for everybody.
func (s *fiberSite) forget() {
	if s.store == nil {
		return
	}
	if err := s.store.Reset(context.Background()); err != nil {
		panic(err) // a map in memory does not fail
	}
}

func (s *fiberSite) serve(l net.Listener) error {
	return s.app.Listener(l, fiber.ListenConfig{DisableStartupMessage: true})
}
