package session

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/clock"
)

// An anonymous session that holds no value needs no record: a MAC in its cookie
// proves that the identifier is one of ours. The cookie's value is
//
//	~ base64url(nonce ‖ time ‖ MAC)
//
// with a nonce of 128 random bits, the time of issue in seconds since 1970 and
// HMAC-SHA256 of what precedes it, cut to 128 bits. The tilde, which base64url
// does not have, tells it from the identifiers that only the store can confirm.
const (
	anonymousPrefix = '~'
	nonceLen        = 16
	issuedLen       = 4
	macLen          = 16
	anonymousRaw    = nonceLen + issuedLen + macLen
	anonymousLen    = 1 + (anonymousRaw*8+5)/6

	// saltLen is what remains of a derived secret of 32 bytes next to its time
	// and its MAC.
	saltLen = 32 - issuedLen - macLen

	minKeyLen = 32
)

// anonymousKeys issue and verify such identifiers. The first key issues.
type anonymousKeys struct {
	keys     [][]byte
	name     string // of the cookie
	lifetime time.Duration
}

func newAnonymousKeys(cfg Config, name string) (*anonymousKeys, error) {
	if len(cfg.Keys) == 0 {
		return nil, nil
	}
	for i, k := range cfg.Keys {
		if len(k) < minKeyLen {
			return nil, fmt.Errorf("session: Config.Keys[%d] has %d bytes, %d random ones are needed", i, len(k), minKeyLen)
		}
	}
	return &anonymousKeys{keys: cfg.Keys, name: name, lifetime: cfg.Absolute}, nil
}

func (a *anonymousKeys) mac(key []byte, purpose string, b ...[]byte) [macLen]byte {
	h := hmac.New(sha256.New, key)
	// The lengths of all parts but the purpose are fixed.
	h.Write([]byte("gatehouse " + purpose + "\x00" + a.name + "\x00"))
	for _, part := range b {
		h.Write(part)
	}
	var sum [sha256.Size]byte
	return [macLen]byte(h.Sum(sum[:0]))
}

const purposeIdentifier = "anonymous session"

// issue returns a cookie's value that needs no record, and its ID.
func (a *anonymousKeys) issue(now time.Time) (string, ID) {
	var raw [anonymousRaw]byte
	rand.Read(raw[:nonceLen]) // cannot fail since Go 1.24
	binary.BigEndian.PutUint32(raw[nonceLen:], uint32(now.Unix()))
	mac := a.mac(a.keys[0], purposeIdentifier, raw[:nonceLen+issuedLen])
	copy(raw[nonceLen+issuedLen:], mac[:])
	var text [anonymousLen]byte
	text[0] = anonymousPrefix
	base64.RawURLEncoding.Encode(text[1:], raw[:])
	return string(text[:]), sha256.Sum256(text[:])
}

// A proof is what the MAC of a cookie's value proves.
type proof struct {
	key    []byte // that it was made with
	issued [issuedLen]byte
}

// verify returns the proof that a cookie's value is one of those that issue
// returned, however long ago, and whether it is.
func (a *anonymousKeys) verify(value string) (proof, bool) {
	if a == nil || len(value) != anonymousLen || value[0] != anonymousPrefix {
		return proof{}, false
	}
	var raw [anonymousRaw]byte
	if _, err := base64.RawURLEncoding.Strict().Decode(raw[:], []byte(value[1:])); err != nil {
		return proof{}, false
	}
	for _, key := range a.keys {
		if mac := a.mac(key, purposeIdentifier, raw[:nonceLen+issuedLen]); hmac.Equal(mac[:], raw[nonceLen+issuedLen:]) {
			return proof{key, [issuedLen]byte(raw[nonceLen:])}, true
		}
	}
	return proof{}, false
}

// expires is when a session without a record ends.
func (a *anonymousKeys) expires(issued [issuedLen]byte) time.Time {
	return time.Unix(int64(binary.BigEndian.Uint32(issued[:])), 0).Add(a.lifetime)
}

// current reports whether what was issued then is good now.
func (a *anonymousKeys) current(issued [issuedLen]byte, now time.Time) bool {
	return clock.Good(a.expires(issued), now, a.lifetime)
}

// secret derives a secret from the identifier as secretOf does, but one that
// says itself when, for what and that it was issued: see
// [Manager.IssuedAnonymously].
func (a *anonymousKeys) secret(value, purpose string, p proof) (secret [32]byte) {
	derived := secretOf(value, purpose)
	copy(secret[:], p.issued[:])
	copy(secret[issuedLen:], derived[:saltLen])
	mac := a.secretMAC(p.key, purpose, secret)
	copy(secret[issuedLen+saltLen:], mac[:])
	return secret
}

func (a *anonymousKeys) secretMAC(key []byte, purpose string, secret [32]byte) [macLen]byte {
	return a.mac(key, "anonymous secret", secret[:issuedLen+saltLen], []byte(purpose))
}

// IssuedAnonymously reports whether the secret is what [Session.Secret] returned
// for the purpose in some anonymous session, not longer ago than
// [Config.Absolute]: perhaps in another one than the request's. Two pages that a
// browser loads at once, before it has a cookie, begin two such sessions, of
// which it keeps one; by this the other page is told from a forgery. An attacker
// can get such secrets too, by asking for a page: it is no proof of more.
//
// Without [Config.Keys] it is always false.
func (m *Manager) IssuedAnonymously(purpose string, secret [32]byte) bool {
	a := m.anonymous
	if a == nil || !a.current([issuedLen]byte(secret[:]), time.Now()) {
		return false
	}
	for _, key := range a.keys {
		mac := a.secretMAC(key, purpose, secret)
		if subtle.ConstantTimeCompare(mac[:], secret[issuedLen+saltLen:]) == 1 {
			return true
		}
	}
	return false
}
