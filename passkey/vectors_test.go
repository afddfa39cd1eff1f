package passkey_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/authenticator"
	"github.com/seed-64ad3862/gatehouse/passkey"
)

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) error {
	*h = make([]byte, len(text)/2)
	_, err := hex.Decode(*h, text)
	return err
}

// A vector is one of WebAuthn's own: https://www.w3.org/TR/webauthn-3/#sctn-test-vectors.
type vector struct {
	Name           string
	ID             hexBytes `json:"credential_id"`
	Registration   struct{ Challenge, ClientDataJSON, AttestationObject hexBytes }
	Authentication struct{ Challenge, ClientDataJSON, AuthenticatorData, Signature hexBytes }
}

func (v vector) response(fields map[string]any) []byte {
	return must(json.Marshal(map[string]any{"id": b64(v.ID), "rawId": b64(v.ID), "type": "public-key", "response": fields}))
}

func (v vector) registration() []byte {
	r := v.Registration
	return v.response(map[string]any{"clientDataJSON": b64(r.ClientDataJSON), "attestationObject": b64(r.AttestationObject)})
}

func (v vector) authentication() []byte {
	a := v.Authentication
	return v.response(map[string]any{"clientDataJSON": b64(a.ClientDataJSON), "authenticatorData": b64(a.AuthenticatorData), "signature": b64(a.Signature)})
}

func readVectors(t testing.TB) (*passkey.Passkeys, []vector) {
	t.Helper()
	p, err := passkey.New(passkey.Config{Origins: []string{"https://example.org"}})
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Vectors []vector }
	must(0, json.Unmarshal(must(os.ReadFile("testdata/webauthn-3.json")), &file))
	return p, file.Vectors
}

// TestVectors: what is right by the standard, and wrong where only by our policy.
func TestVectors(t *testing.T) {
	const (
		right      = ""
		unverified = "person was not"
		framed     = "frame"
	)
	want := map[string][2]string{
		"none-es256":                    {unverified, unverified},
		"packed-self-es256":             {right, unverified},
		"none-es256-crossOrigin":        {framed, framed},
		"none-es256-long-credential-id": {unverified, right},
		"packed-es256":                  {right, right},
		"packed-rs256":                  {right, unverified},
		"packed-eddsa":                  {unverified, unverified},
		"tpm-es256":                     {right, right},
		"apple-es256":                   {unverified, unverified},
	}
	check := func(t *testing.T, err error, want string) {
		t.Helper()
		if want == right && err != nil {
			t.Error(err)
		} else if want != right {
			refused(t, err, passkey.ErrResponse, want)
		}
	}
	p, all := readVectors(t)
	for _, v := range all {
		t.Run(v.Name, func(t *testing.T) {
			u := newUser()
			state := passkey.State{Purpose: "registration", Challenge: v.Registration.Challenge, Handle: u.Handle, Expires: time.Now().Add(passkey.Lifetime)}
			_, err := p.FinishRegistration(u, state, v.registration())
			check(t, err, want[v.Name][0])

			// Nothing of this is signed, so that we can have the passkey anyway.
			hash := sha256.Sum256([]byte("example.org"))
			v.Registration.AttestationObject[bytes.Index(v.Registration.AttestationObject, hash[:])+len(hash)] |= authenticator.Verified
			v.Registration.ClientDataJSON = bytes.Replace(v.Registration.ClientDataJSON, []byte(`"crossOrigin":true`), []byte(`"crossOrigin":false`), 1)
			c, err := p.FinishRegistration(u, state, v.registration())
			if err != nil {
				t.Fatal(err)
			}

			// As confirmations, since they have no handle.
			u.Credentials = []passkey.Credential{c}
			state.Purpose, state.Challenge = "confirmation", v.Authentication.Challenge
			_, err = p.FinishConfirmation(u, state, v.authentication())
			check(t, err, want[v.Name][1])
			v.Authentication.Signature[len(v.Authentication.Signature)-1] ^= 1
			if _, err = p.FinishConfirmation(u, state, v.authentication()); !errors.Is(err, passkey.ErrResponse) {
				t.Errorf("with another signature: %v", err)
			}
		})
	}
}
