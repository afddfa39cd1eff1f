package main

import (
	"net/http"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/seed-64ad3862/gatehouse/internal/tryout"
	"github.com/seed-64ad3862/gatehouse/session"
)

func TestApp(t *testing.T) { tryout.Run(t, newApp) }

func TestPanics(t *testing.T) {
	gin.SetMode(gin.TestMode)
	tryout.Panics(t, func(sessions *session.Manager, routes map[string]http.HandlerFunc) http.Handler {
		r := newRouter(sessions)
		for path, h := range routes {
			r.GET(path, gin.WrapF(h))
		}
		return sessions.Handler(r)
	})
}
