package tryout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"syscall"
	"testing"

	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

// Panics tries the middleware of an example: of a handler that panics nothing is
// stored, whatever it panics with and wherever that is recovered.
func Panics(t testing.TB, app func(sessions *session.Manager, routes map[string]http.HandlerFunc) http.Handler) {
	t.Helper()
	problems := map[string]any{
		"text": "oh", "error": errors.New("oh"), "nil": nil, "abort": http.ErrAbortHandler, "aborted": fmt.Errorf("proxy: %w", http.ErrAbortHandler),
		"pipe":  &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", syscall.EPIPE)},
		"reset": &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)},
	}
	changes := map[string]func(s *session.Session){
		"signin": func(s *session.Session) { s.SetOwner("alex") }, "set": func(s *session.Session) { note.Set(s, "of the handler") },
		"destroy": func(s *session.Session) { s.Destroy() },
	}
	sessions, err := session.New(session.Config{
		Store: memory.New(memory.Config{}), Insecure: true, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	load := func(r *http.Request) *session.Session {
		s, err := sessions.Load(r.Context())
		if err != nil {
			t.Error(err)
		}
		return s
	}
	site := httptest.NewUnstartedServer(app(sessions, map[string]http.HandlerFunc{
		"/begin": func(_ http.ResponseWriter, r *http.Request) { note.Set(load(r), "before") },
		"/fail": func(_ http.ResponseWriter, r *http.Request) {
			s := load(r)
			changes[r.FormValue("change")](s)
			panic(problems[r.FormValue("problem")])
		},
		"/read": func(w http.ResponseWriter, r *http.Request) {
			v, _ := note.Get(load(r))
			fmt.Fprintf(w, "%s, signed in %q", v, load(r).Owner())
		},
	}))
	site.Config.ErrorLog = log.New(io.Discard, "", 0)
	site.Start()
	t.Cleanup(site.Close)
	get := func(path, cookie string) (cookies []*http.Cookie, body string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, site.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Cookie", cookie)
		answer, err := site.Client().Transport.RoundTrip(r)
		if err != nil {
			return nil, "" // aborted
		}
		defer answer.Body.Close()
		b, _ := io.ReadAll(answer.Body)
		return answer.Cookies(), string(b)
	}
	for problem := range problems {
		for change := range changes {
			begun, _ := get("/begin", "")
			if len(begun) != 1 {
				t.Fatalf("no session begins: %v", begun)
			}
			cookie := begun[0].Name + "=" + begun[0].Value
			if cookies, _ := get("/fail?change="+change+"&problem="+problem, cookie); len(cookies) != 0 {
				t.Errorf("%s, then a panic of %s: the answer sets %v", change, problem, cookies)
			}
			if _, body := get("/read", cookie); body != `before, signed in ""` {
				t.Errorf("%s, then a panic of %s: the session has %s", change, problem, body)
			}
		}
	}
	for s, err := range sessions.List(context.Background(), session.Query{SignedIn: true}) {
		t.Errorf("a signed-in session %v is left, %v", s, err)
	}
}

var note = session.NewKey[string]("note")
