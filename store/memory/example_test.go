package memory_test

import (
	"fmt"
	"net/http"

	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

func ExampleNew() {
	store := memory.New(memory.Config{MaxBytes: 64 << 20})
	sessions, err := session.New(session.Config{Store: store})
	if err != nil {
		panic(err)
	}
	app := http.NotFoundHandler()
	_ = sessions.Handler(app) // what the server serves

	fmt.Println(store.Stats().Sessions, "sessions")
	// Output: 0 sessions
}
