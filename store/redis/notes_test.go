package redis_test

import (
	"maps"
	"testing"

	"github.com/redis/rueidis"

	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/store/redis"
)

// TestNotes: what one machine leaves, all others with the same prefix see.
func TestNotes(t *testing.T) {
	server := service.Redis(t)
	open := func(prefix string) redis.Notes {
		t.Helper()
		s, err := redis.Open(t.Context(), redis.Config{Client: rueidis.ClientOption{InitAddress: []string{server.Addr}}, Prefix: prefix})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s.Notes()
	}
	one, two, other := open(""), open(""), open("other:")
	want := make(map[string]string)
	check := func() {
		t.Helper()
		for _, n := range []redis.Notes{one, two} {
			if got, err := n.All(t.Context()); err != nil || !maps.Equal(got, want) {
				t.Errorf("%v, %v; want %v", got, err, want)
			}
		}
		if got, err := other.All(t.Context()); err != nil || len(got) != 0 {
			t.Errorf("with another prefix: %v, %v", got, err)
		}
	}
	check()
	for _, text := range []string{"a", "", "{\"名\": \"\\u0000\"}\x00\xff"} {
		for i, n := range []redis.Notes{one, two} {
			name := string(rune('a' + i))
			if err := n.Put(t.Context(), name, text); err != nil {
				t.Fatal(err)
			}
			want[name] = text
			check()
		}
	}
	for range 2 { // the second time there is nothing to remove
		if err := two.Remove(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		delete(want, "a")
		check()
	}
}
