package passkey_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-64ad3862/gatehouse/passkey"
)

// TestOffer: a sign-in of which nothing was kept is as good as one whose state was, for
// as long, and with its secret alone.
func TestOffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := must(passkey.New(passkey.Config{Origins: []string{site}, Name: "App"}))
		d := newDevice("ES256")
		u := passkey.User{Handle: passkey.NewHandle(), Name: "zoe"}
		options, state, err := p.BeginRegistration(u)
		if err != nil {
			t.Fatal(err)
		}
		c, err := p.FinishRegistration(u, state, d.Create(options))
		if err != nil {
			t.Fatal(err)
		}
		u.Credentials = []passkey.Credential{c}
		find := func(context.Context, []byte, []byte) (passkey.User, error) { return u, nil }

		secret := [32]byte{1}
		offer := func() (response []byte) {
			options, err := p.OfferSignIn(secret)
			if err != nil {
				t.Fatal(err)
			}
			return d.Get(options)
		}
		one, two := offer(), offer()
		ids := make(map[[16]byte]bool)
		for _, response := range [][]byte{one, two, one} {
			state, err := p.OfferedSignIn(secret, response)
			if err != nil {
				t.Fatal(err)
			}
			if ids[state.ID()] = true; !state.Expires.Equal(time.Now().Add(passkey.Lifetime)) {
				t.Errorf("it is over at %v", state.Expires)
			}
			if who, _, err := p.FinishSignIn(t.Context(), state, response, find); err != nil || who.Name != "zoe" {
				t.Errorf("%v, %v", who, err)
			}
		}
		if len(ids) != 2 {
			t.Errorf("%d identifiers of two ceremonies", len(ids))
		}

		refused := func(what string, secret [32]byte, response []byte) {
			t.Helper()
			if s, err := p.OfferedSignIn(secret, response); !errors.Is(err, passkey.ErrState) {
				t.Errorf("%s: %+v, %v", what, s, err)
			}
		}
		refused("another secret", [32]byte{2}, one)
		refused("no response", secret, nil)
		refused("no object", secret, []byte("[]"))
		request, _, err := p.BeginSignIn()
		if err != nil {
			t.Fatal(err)
		}
		refused("a challenge that was kept", secret, d.Get(request))
		challenge := passkey.ChallengeOf(one)
		for i := range challenge {
			changed := bytes.Clone(challenge)
			changed[i] ^= 1
			refused("a challenge that was changed", secret, responseTo(t, changed))
		}
		refused("a challenge that was cut", secret, responseTo(t, challenge[1:]))

		// What it proves is of this challenge alone.
		s, err := p.OfferedSignIn(secret, one)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.FinishSignIn(t.Context(), s, two, find); !errors.Is(err, passkey.ErrResponse) {
			t.Errorf("the response to another challenge: %v", err)
		}

		time.Sleep(passkey.Lifetime)
		synctest.Wait()
		refused("after its time", secret, one)
	})
}

// responseTo is a response that says it is to a challenge, and nothing else.
func responseTo(t *testing.T, challenge []byte) []byte {
	t.Helper()
	client, err := json.Marshal(map[string]string{"challenge": b64(challenge)})
	if err != nil {
		t.Fatal(err)
	}
	response, err := json.Marshal(map[string]any{"response": map[string]string{"clientDataJSON": b64(client)}})
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// FuzzChallengeOf: whatever is sent, it is a challenge or none.
func FuzzChallengeOf(f *testing.F) {
	f.Add([]byte(`{"response":{"clientDataJSON":"eyJjaGFsbGVuZ2UiOiJBQUFBIn0"}}`))
	f.Add([]byte(`{"response":[]}`))
	f.Add([]byte(`null`))
	p := must(passkey.New(passkey.Config{Origins: []string{site}, Name: "App"}))
	f.Fuzz(func(t *testing.T, response []byte) {
		if s, err := p.OfferedSignIn([32]byte{1}, response); !errors.Is(err, passkey.ErrState) {
			t.Errorf("%q: %+v, %v", response, s, err)
		}
	})
}
