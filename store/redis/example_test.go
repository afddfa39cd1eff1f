package redis_test

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/rueidis"

	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/redis"
)

func ExampleOpen() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	opt, err := rueidis.ParseURL("redis://127.0.0.1:1") // nobody listens there
	if err != nil {
		panic(err)
	}
	store, err := redis.Open(ctx, redis.Config{Client: opt})
	if err != nil {
		fmt.Println("no sessions: the server is not there")
		return
	}
	defer store.Close()
	sessions, err := session.New(session.Config{Store: store})
	if err != nil {
		panic(err)
	}
	_ = sessions // wraps the application's handler
	// Output: no sessions: the server is not there
}
