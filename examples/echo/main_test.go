package main

import (
	"net/http"
	"testing"

	"github.com/labstack/echo/v5"

	"github.com/seed-64ad3862/gatehouse/internal/tryout"
	"github.com/seed-64ad3862/gatehouse/session"
)

func TestApp(t *testing.T) { tryout.Run(t, newApp) }

func TestPanics(t *testing.T) {
	tryout.Panics(t, func(sessions *session.Manager, routes map[string]http.HandlerFunc) http.Handler {
		e := newRouter(sessions)
		for path, h := range routes {
			e.GET(path, echo.WrapHandler(h))
		}
		return e
	})
}
