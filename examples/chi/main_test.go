package main

import (
	"net/http"
	"testing"

	"github.com/seed-64ad3862/gatehouse/internal/tryout"
	"github.com/seed-64ad3862/gatehouse/session"
)

func TestApp(t *testing.T) { tryout.Run(t, newApp) }

func TestPanics(t *testing.T) {
	tryout.Panics(t, func(sessions *session.Manager, routes map[string]http.HandlerFunc) http.Handler {
		r := newRouter(sessions)
		for path, h := range routes {
			r.Get(path, h)
		}
		return r
	})
}
