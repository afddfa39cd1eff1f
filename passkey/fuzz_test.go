package passkey_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/authenticator"
	"github.com/seed-64ad3862/gatehouse/passkey"
)

// Whatever is sent, nothing panics, no error is of another kind, and nothing is let in:
// the seeds are right but for the challenge, which a fuzzer cannot know.
func FuzzFinishRegistration(f *testing.F) {
	p, all := readVectors(f)
	for _, v := range all {
		f.Add(v.registration())
	}
	d := newDevice("RS256")
	d.Origin, d.RPID, d.Flags, d.Extras = "https://example.org", "example.org", d.Flags|authenticator.HasExtras, authenticator.CBOR(authenticator.Pairs{{"credProtect", 3}})
	f.Add(d.Create([]byte(`{"user":{"id":"AAAA"}}`)))
	f.Fuzz(func(t *testing.T, response []byte) {
		u, state := secretState("registration")
		if _, err := p.FinishRegistration(u, state, response); !errors.Is(err, passkey.ErrResponse) {
			t.Errorf("%s: %v", response, err)
		}
	})
}

func FuzzFinishSignIn(f *testing.F) {
	p, all := readVectors(f)
	for _, v := range all {
		f.Add(v.authentication())
	}
	d := newDevice("EdDSA")
	d.Origin, d.RPID, d.Handle = "https://example.org", "example.org", passkey.NewHandle()
	f.Add(d.Get([]byte(`{}`)))
	f.Fuzz(func(t *testing.T, response []byte) {
		_, state := secretState("sign-in")
		state.Handle = nil
		_, _, err := p.FinishSignIn(t.Context(), state, response, func(context.Context, []byte, []byte) (passkey.User, error) {
			t.Errorf("%s: it came so far as to ask whose it is", response)
			return passkey.User{}, passkey.ErrUnknown
		})
		if !errors.Is(err, passkey.ErrResponse) {
			t.Errorf("%s: %v", response, err)
		}
	})
}

// What is right in all but that the key is another's, and then anything but that.
func FuzzSigned(f *testing.F) {
	p, err := passkey.New(passkey.Config{Origins: []string{site}})
	if err != nil {
		f.Fatal(err)
	}
	d, u := newDevice("ES256"), newUser()
	register(f, p, &u, d)
	d.Key = newDevice("ES256").Key
	f.Add([]byte{}, []byte{}, byte(authenticator.Present|authenticator.Verified), []byte{})
	f.Add([]byte(`"x":1`), []byte{0}, byte(authenticator.Present|authenticator.Verified|authenticator.HasKey|authenticator.HasExtras), authenticator.CBOR(authenticator.Pairs{{"x", 1}}))
	f.Fuzz(func(t *testing.T, client, signature []byte, flags byte, extras []byte) {
		options, state, err := p.BeginConfirmation(u)
		if err != nil {
			t.Fatal(err)
		}
		d := *d
		d.Flags, d.Extras = flags, extras
		var r map[string]any
		must(0, json.Unmarshal(d.Get(options), &r))
		fields := r["response"].(map[string]any)
		if len(signature) > 0 {
			fields["signature"] = b64(signature)
		}
		if len(client) > 0 {
			text := unb64(fields["clientDataJSON"].(string))
			fields["clientDataJSON"] = b64(append(append(text[:len(text)-1], ','), append(client, '}')...))
		}
		if _, err := p.FinishConfirmation(u, state, must(json.Marshal(r))); !errors.Is(err, passkey.ErrResponse) {
			t.Errorf("%v", err)
		}
	})
}

// A key that can be registered can be used, and lets nobody in who has another.
func FuzzKey(f *testing.F) {
	p, err := passkey.New(passkey.Config{Origins: []string{site}})
	if err != nil {
		f.Fatal(err)
	}
	for _, algorithm := range []string{"ES256", "ES384", "EdDSA", "RS256"} {
		f.Add(authenticator.CBOR(newDevice(algorithm).COSE))
	}
	other := newDevice("ES256")
	f.Fuzz(func(t *testing.T, key []byte) {
		d, u := *other, newUser()
		d.RawKey = append([]byte{}, key...)
		options, state, err := p.BeginRegistration(u)
		if err != nil {
			t.Fatal(err)
		}
		c, err := p.FinishRegistration(u, state, d.Create(options))
		if err != nil {
			if !errors.Is(err, passkey.ErrResponse) {
				t.Error(err)
			}
			return
		}
		if len(c.PublicKey) > 1<<10 {
			t.Errorf("a key of %d bytes", len(c.PublicKey))
		}
		u.Credentials = append(u.Credentials, c)
		if _, err := confirm(t, p, u, &d); !errors.Is(err, passkey.ErrResponse) {
			t.Error(err)
		}
	})
}

// secretState is one whose challenge nobody has seen.
func secretState(purpose string) (passkey.User, passkey.State) {
	u := newUser()
	return u, passkey.State{Purpose: purpose, Challenge: passkey.NewHandle(), Handle: u.Handle, Expires: time.Now().Add(passkey.Lifetime)}
}
