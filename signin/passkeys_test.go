package signin_test

import (
	"errors"
	"net/http"
	"slices"
	"testing"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/internal/authenticator"
)

// TestPasskeyTaken: a passkey that another person has is refused in words, is no factor
// of the client that sent it, and goes on signing its owner in.
func TestPasskeyTaken(t *testing.T) {
	s := newSite(t)
	alex := s.person(t, account.Person{Name: "alex"})
	mallory := s.person(t, account.Person{Name: "mallory"})
	theirs := authenticator.New(s.URL, "localhost", "ES256")
	v := s.visitor(t)
	signIn(v, "alex", good)
	v.Open("/manager").Ceremony("/manager/passkeys", theirs.Create).Shows("/manager", "The passkey is added")

	copied := authenticator.New(s.URL, "localhost", "ES256") // a key of her own
	copied.ID = theirs.ID
	w := s.visitor(t)
	signIn(w, "mallory", good)
	w.Open("/manager").Ceremony("/manager/passkeys", copied.Create)
	if w.Status != http.StatusConflict || w.Body != `{"error":"This passkey belongs to another account. Make a new one."}`+"\n" {
		t.Errorf("%d: %s", w.Status, w.Body)
	}
	if who, err := s.people.ByID(t.Context(), mallory.ID); err != nil || len(who.Passkeys) != 0 {
		t.Errorf("%+v, %v", who.Passkeys, err)
	}
	if kinds := s.kinds(t); !slices.Contains(kinds, "refused") {
		t.Errorf("the log has %v", kinds)
	}
	in := s.visitor(t)
	in.Open("/login").Ceremony("/login/passkey", theirs.Get).Shows("/index", "Hello, alex")
	in = s.visitor(t)
	if in.Open("/login").Ceremony("/login/passkey", copied.Get); in.Status == http.StatusOK {
		t.Errorf("the copy signs in: %s", in.Body)
	}

	// Removed, it can be another's.
	if _, err := s.people.Update(t.Context(), alex.ID, func(p *account.Person) error { p.Passkeys = nil; return nil }); err != nil {
		t.Fatal(err)
	}
	w.Open("/manager").Ceremony("/manager/passkeys", copied.Create).Shows("/manager", "The passkey is added")
	if _, err := s.people.Update(t.Context(), alex.ID, func(p *account.Person) error {
		p.Passkeys = []account.Passkey{{ID: theirs.ID}}
		return nil
	}); !errors.Is(err, account.ErrPasskeyTaken) {
		t.Errorf("taken back: %v", err)
	}
}
