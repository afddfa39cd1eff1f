package redis_test

import (
	"testing"

	"github.com/seed-64ad3862/gatehouse/internal/proxied"
	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/store/redis"
)

// TestProxied: behind a reverse proxy, every answer is the app's or the error page.
func TestProxied(t *testing.T) {
	server := service.Redis(t, "--appendonly", "yes", "--appendfsync", "always")
	proxied.Run(t, open(t, redis.Config{}, server.Addr), server)
}
