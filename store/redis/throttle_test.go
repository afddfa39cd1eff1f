package redis_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/store/redis"
	"github.com/seed-64ad3862/gatehouse/throttle"
	"github.com/seed-64ad3862/gatehouse/throttle/throttletest"
)

func TestThrottle(t *testing.T) {
	for name, addr := range map[string]string{
		"Single":  service.Redis(t).Addr,
		"Cluster": service.RedisCluster(t).Addrs()[0],
	} {
		t.Run(name, func(t *testing.T) {
			throttletest.Run(t, func(t *testing.T) throttle.Store {
				return open(t, redis.Config{Prefix: "throttle:" + name + ":"}, addr).Throttle()
			})
		})
	}
}

// What has filled up is not kept: neither hashes nor fields.
func TestThrottleForgets(t *testing.T) {
	server := service.Redis(t)
	s := open(t, redis.Config{Prefix: "forgets:"}, server.Addr).Throttle()
	limit := throttle.Limit{Burst: 1, Every: time.Millisecond}
	for i := range 2000 {
		b := throttle.Bucket{Name: throttle.Name{Account: [16]byte{1}, Network: [16]byte{1, byte(i), byte(i >> 8)}}, Limit: limit}
		if _, err := s.Take(t.Context(), []throttle.Bucket{b}); err != nil {
			t.Fatal(err)
		}
	}
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	key := "forgets:t:{throttle}:a:01000000000000000000000000000000"
	n, err := c.Do(context.Background(), c.B().Hlen().Key(key).Build()).ToInt64()
	if err != nil || n > 512 {
		t.Errorf("%d fields, %v", n, err)
	}
	time.Sleep(20 * time.Millisecond)
	if n, err := c.Do(context.Background(), c.B().Exists().Key(key).Build()).ToInt64(); err != nil || n != 0 {
		t.Errorf("still there: %v", err)
	}
}
