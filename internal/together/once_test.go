package together

import (
	"errors"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/rueidis"

	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/captcha/pow"
	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/store/memory"
	"github.com/seed-64ad3862/gatehouse/store/postgres"
	"github.com/seed-64ad3862/gatehouse/store/redis"
	"github.com/seed-64ad3862/gatehouse/store/sqlite"
)

// rounds is how often two equal answers race.
const rounds = 1000

// said is a form that says the answer as it is.
type said struct{}

func (said) MediaType() string { return "text/plain" }
func (said) Append(dst []byte, answer string, _ [32]byte) ([]byte, error) {
	return append(dst, answer...), nil
}

// TestTwoAnswers: of two right answers at once, on two machines where the store is
// for several, exactly one is accepted.
func TestTwoAnswers(t *testing.T) {
	for _, s := range []struct {
		name string
		open func(t *testing.T) [2]captcha.Once
	}{
		{"memory", func(*testing.T) [2]captcha.Once {
			s := memory.New(memory.Config{})
			return [2]captcha.Once{s, s}
		}},
		{"sqlite", func(t *testing.T) [2]captcha.Once {
			s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "sessions.db")})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			return [2]captcha.Once{s, s}
		}},
		{"redis", func(t *testing.T) (two [2]captcha.Once) {
			server := service.Redis(t)
			for i := range two {
				s, err := redis.Open(t.Context(), redis.Config{Client: rueidis.ClientOption{InitAddress: []string{server.Addr}}})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(s.Close)
				two[i] = s
			}
			return two
		}},
		{"postgres", func(t *testing.T) (two [2]captcha.Once) {
			server := service.Postgres(t)
			for i := range two {
				pool, err := pgxpool.New(t.Context(), server.URL())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(pool.Close)
				if two[i], err = postgres.Open(t.Context(), postgres.Config{Pool: pool}); err != nil {
					t.Fatal(err)
				}
			}
			return two
		}},
	} {
		t.Run(s.name, func(t *testing.T) {
			once := s.open(t)
			t.Run("captcha", func(t *testing.T) { raceCodes(t, once) })
			t.Run("pow", func(t *testing.T) { raceWork(t, once) })
		})
	}
}

var (
	keys  = [][]byte{[]byte("0123456789abcdef0123456789abcdef")}
	scope = captcha.Scope{Purpose: "sign-in", Session: "alice"}
)

func raceCodes(t *testing.T, once [2]captcha.Once) {
	var machines [2]*captcha.Captcha
	for i := range machines {
		var err error
		machines[i], err = captcha.New(captcha.Config{Keys: keys, Once: once[i], Forms: map[string]captcha.Renderer{"txt": said{}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for range rounds {
		id := machines[0].Issue(scope)
		w := httptest.NewRecorder()
		machines[1].ServeHTTP(w, httptest.NewRequest("GET", "/"+id+".txt", nil))
		oneWins(t, func(machine int) error { return machines[machine].Verify(t.Context(), id, scope, w.Body.String()) })
	}
}

func raceWork(t *testing.T, once [2]captcha.Once) {
	var machines [2]*pow.Toll
	for i := range machines {
		var err error
		if machines[i], err = pow.New(pow.Config{Keys: keys, Once: once[i], Tries: 100}); err != nil {
			t.Fatal(err)
		}
	}
	demand := pow.Demand{Scope: scope, Cost: 1}
	for range rounds {
		challenge, err := machines[0].Issue(demand)
		if err != nil {
			t.Fatal(err)
		}
		payload, err := pow.Solve(t.Context(), challenge)
		if err != nil {
			t.Fatal(err)
		}
		oneWins(t, func(machine int) error { return machines[machine].Verify(t.Context(), demand, payload, "") })
	}
}

// oneWins has both machines verify at once.
func oneWins(t *testing.T, verify func(machine int) error) {
	t.Helper()
	var errs [2]error
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range errs {
		wg.Go(func() {
			<-start
			errs[i] = verify(i)
		})
	}
	close(start)
	wg.Wait()
	if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs[:]...), captcha.ErrSpent) {
		t.Fatalf("two answers: %v and %v", errs[0], errs[1])
	}
}
