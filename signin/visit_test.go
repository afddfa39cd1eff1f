package signin_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/signin"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

// sessionsOf returns how many sessions a user has.
func (s *site) sessionsOf(t *testing.T, id string) (n int) {
	t.Helper()
	for _, err := range s.sessions.List(t.Context(), session.Query{Owner: id}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// TestOtherDatabase: a session of a user that this database does not know is refused on
// every page, whatever is sent, and is as good as before where they are known.
func TestOtherDatabase(t *testing.T) {
	store := memory.New(memory.Config{})
	shared := func(c *signin.Config) {
		var err error
		if c.Sessions, err = session.New(session.Config{Store: store, Insecure: true}); err != nil {
			t.Fatal(err)
		}
	}
	here, other := newSite(t, shared), newSite(t, shared)
	alex := here.person(t, account.Person{Name: "alex", Admin: true})
	other.person(t, account.Person{Name: "alex", Admin: true}) // of the same name, and another
	v := here.visitor(t)
	signIn(v, "alex", good).Shows("/index", "Hello, alex")

	w := other.visitor(t)
	w.Client = v.Client // with the same cookie
	for _, path := range []string{"/manager", "/manager/people", "/manager/profile", "/confirm", "/second", "/app/x", "/login", "/index", "/login/code", "/nothing"} {
		w.Open(path)
		if path == "/index" || path == "/login/code" || path == "/nothing" {
			continue
		}
		w.Shows("/login", "Sign in")
	}
	w.Open("/login")
	for _, path := range []string{"/manager/end-others", "/manager/password", "/manager/passkeys/options", "/confirm"} {
		if post(w, path, "password", good, "new", better, "again", better); w.At.Path != "/login" {
			t.Errorf("POST %s: at %s, %d", path, w.At.Path, w.Status)
		}
		w.Open("/login")
	}
	if w.Send("/login", "name", "alex", "password", "wrong"); w.Status != http.StatusUnprocessableEntity {
		t.Errorf("a wrong password: %d", w.Status)
	}
	v.Open("/manager").Shows("/manager", "alex", "This device")
	if n := here.sessionsOf(t, alex.ID); n != 1 {
		t.Errorf("%d sessions are left", n)
	}
}

// TestDeletedSessions: sessions of a deleted user end with that, in their store.
func TestDeletedSessions(t *testing.T) {
	s := newSite(t)
	s.person(t, account.Person{Name: "root", Admin: true})
	alex := s.person(t, account.Person{Name: "alex"})
	v, second, root := s.visitor(t), s.visitor(t), s.visitor(t)
	signIn(v, "alex", good).Shows("/index")
	signIn(second, "alex", good).Shows("/index")
	signIn(root, "root", good).Shows("/index")
	root.Open("/manager/people/"+alex.ID).Send("/delete", "sure", "alex").Shows("/manager/people", "root")
	if n := s.sessionsOf(t, alex.ID); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
	if _, err := s.people.ByID(t.Context(), alex.ID); !errors.Is(err, account.ErrNotFound) {
		t.Error(err)
	}
	v.Open("/manager").Shows("/login")
	second.Open("/app/x").Shows("/login")
}
