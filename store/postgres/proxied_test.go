package postgres_test

import (
	"testing"

	"github.com/seed-64ad3862/gatehouse/internal/proxied"
	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/store/postgres"
)

// TestProxied: behind a reverse proxy, every answer is the app's or the error page.
func TestProxied(t *testing.T) {
	server := service.Postgres(t)
	proxied.Run(t, open(t, postgres.Config{Pool: newPool(t, server.URL())}), server)
}
