package passkey

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
)

// OfferSignIn begins a sign-in as BeginSignIn does, but leaves no state to keep: the
// challenge proves when it was made, and for which secret. So visitors who only look at
// a page that offers passkeys need nothing stored. The secret belongs to the visitor's
// session and stays on the server: who knows it can make challenges ahead of time.
func (p *Passkeys) OfferSignIn(secret [32]byte) (options json.RawMessage, err error) {
	options, _, err = p.begin(signIn, nil, func() (*protocol.CredentialAssertion, *webauthn.SessionData, error) {
		return p.lib.BeginDiscoverableLogin(webauthn.WithChallenge(newOffer(secret, time.Now())))
	})
	return options, err
}

// OfferedSignIn returns the state for [Passkeys.FinishSignIn] of a sign-in that was
// offered with the same secret, from the response to it. The error is [ErrState] if it was
// not, or is over. The caller sees to it that one response signs in once: by remembering
// [State.ID] until [State.Expires].
func (p *Passkeys) OfferedSignIn(secret [32]byte, response []byte) (State, error) {
	challenge := ChallengeOf(response)
	at, ok := offeredAt(secret, challenge)
	s := State{signIn, challenge, nil, at.Add(Lifetime)}
	if !ok {
		return State{}, fmt.Errorf("%w: %s: the challenge was not made for this session", ErrState, signIn)
	}
	_, err := p.session(s, signIn, nil)
	return s, err
}

// An offer is a challenge that proves itself: the time in milliseconds since 1970, random
// bytes, and a MAC of both.
const (
	offerTime   = 8
	offerRandom = 24
)

func newOffer(secret [32]byte, now time.Time) []byte {
	b := make([]byte, offerTime+offerRandom, offerTime+offerRandom+sha256.Size)
	binary.BigEndian.PutUint64(b, uint64(now.UnixMilli()))
	rand.Read(b[offerTime:]) // cannot fail since Go 1.24
	return append(b, offerMAC(secret, b)...)
}

func offerMAC(secret [32]byte, b []byte) []byte {
	mac := hmac.New(sha256.New, secret[:])
	mac.Write(b)
	return mac.Sum(nil)
}

// offeredAt returns when an offer was made, and whether it was, with this secret.
func offeredAt(secret [32]byte, challenge []byte) (time.Time, bool) {
	if len(challenge) != offerTime+offerRandom+sha256.Size {
		return time.Time{}, false
	}
	b, mac := challenge[:offerTime+offerRandom], challenge[offerTime+offerRandom:]
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b))), hmac.Equal(mac, offerMAC(secret, b))
}

// ChallengeOf returns the challenge that a response says it is to (WebAuthn, section
// 5.8.1), or nil if it says none. Whether it says so truly, the Finish methods look at.
func ChallengeOf(response []byte) []byte {
	var r struct {
		Response struct {
			ClientData string `json:"clientDataJSON"`
		} `json:"response"`
	}
	var data struct {
		Challenge string `json:"challenge"`
	}
	if len(response) > maxResponse || json.Unmarshal(response, &r) != nil {
		return nil
	}
	b, err := base64.RawURLEncoding.DecodeString(r.Response.ClientData)
	if err != nil || json.Unmarshal(b, &data) != nil {
		return nil
	}
	challenge, err := base64.RawURLEncoding.DecodeString(data.Challenge)
	if err != nil {
		return nil
	}
	return challenge
}
