package signin_test

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/internal/authenticator"
	"github.com/seed-64ad3862/gatehouse/internal/visitor"
	"github.com/seed-64ad3862/gatehouse/signin"
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

// TestPasskeyOnce: what an authenticator has answered signs in once, and only in the
// session that asked.
func TestPasskeyOnce(t *testing.T) {
	for _, change := range [][]func(*signin.Config){{withKeys(t)}, nil} {
		s := newSite(t, change...)
		s.person(t, account.Person{Name: "alex"})
		device := authenticator.New(s.URL, "localhost", "ES256")
		signIn(s.visitor(t), "alex", good).Open("/manager").Ceremony("/manager/passkeys", device.Create).Shows("/manager", "The passkey is added")

		post := func(v *visitor.Visitor, path, body string) *http.Request {
			t.Helper()
			_, form := v.Filled("/login")
			r := s.request(t.Context(), t, v, path, nil)
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("X-Csrf-Token", form.Get("csrf_token"))
			return r
		}
		v, w := s.visitor(t).Open("/login"), s.visitor(t).Open("/login")
		_, options := send(t, post(v, "/login/passkey/options", "{}"))
		body := `{"response":` + string(device.Get([]byte(options))) + `}`
		if answer, text := send(t, post(w, "/login/passkey", body)); answer.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("in another session: %d %s", answer.StatusCode, text)
		}
		var requests []*http.Request
		for range 4 { // with the cookies of before the sign-in
			requests = append(requests, post(v, "/login/passkey", body))
		}
		signedIn := 0
		for _, r := range requests {
			if answer, _ := send(t, r); s.signsIn(t, answer, "alex") {
				signedIn++
			}
		}
		if signedIn != 1 {
			t.Errorf("one answer signs in %d times", signedIn)
		}
	}
}
