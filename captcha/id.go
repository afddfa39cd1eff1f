package captcha

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	mrand "math/rand/v2"
	"slices"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/clock"
)

// An id is the unpadded base64url form (RFC 4648 §5) of 48 bytes:
//
//	 0  version, 1
//	 1  tag of the key, 2 bytes
//	 3  expiry, Unix seconds, 4 bytes (until the year 2106)
//	 7  random, 16 bytes
//	23  tag of the scope, 9 bytes
//	32  MAC of all before, 16 bytes
//
// Everything is big-endian. The 72 bits for the scope are not what keeps
// forgers out, the MAC is: they only have to make it hopeless to find, among
// real sessions, two with the same tag.
const (
	version   = 1
	expiryAt  = 3
	nonceAt   = 7
	scopeAt   = 23
	macAt     = 32
	tokenLen  = 48
	scopeLen  = macAt - scopeAt
	keyTagLen = expiryAt - 1
)

// idLen is the length of an id; tokenLen is a multiple of three, so that there
// are no unused bits which a second spelling of the same id could differ in.
const idLen = tokenLen / 3 * 4

// token is a decoded id.
type token [tokenLen]byte

func (t *token) nonce() (n [16]byte) { return [16]byte(t[nonceAt:]) }
func (t *token) scope() []byte       { return t[scopeAt:macAt] }
func (t *token) signed() []byte      { return t[:macAt] }
func (t *token) expires() time.Time {
	return time.Unix(int64(binary.BigEndian.Uint32(t[expiryAt:])), 0)
}
func (t *token) String() string             { return base64.RawURLEncoding.EncodeToString(t[:]) }
func (t *token) expired(now time.Time) bool { return !now.Before(t.expires()) }

// future reports whether the token lives longer than one can that was sealed
// just now: a clock has been set back, and Once may have forgotten it.
func (t *token) future(now time.Time, lifetime time.Duration) bool {
	return clock.Ahead(t.expires().Add(-lifetime), now)
}

// key holds what is derived from one secret, each for one use alone: a leak
// through one, by way of a badly drawn picture say, tells nothing of another.
type key struct {
	tag                  [keyTagLen]byte
	mac, scope, ans, ink []byte
}

func newKey(secret []byte) (k key, err error) {
	if len(secret) < minKey {
		return k, errors.New("shorter than 32 bytes")
	}
	if [minKey]byte(secret) == [minKey]byte{} {
		return k, errors.New("all zero") // a buffer that nobody filled
	}
	derive := func(use string, n int) []byte {
		b, e := hkdf.Key(sha256.New, secret, nil, "gatehouse captcha v1 "+use, n)
		err = errors.Join(err, e)
		return b
	}
	k.mac = derive("mac", sha256.Size)
	k.scope = derive("scope", sha256.Size)
	k.ans = derive("answer", sha256.Size)
	k.ink = derive("picture", sha256.Size)
	copy(k.tag[:], derive("tag", keyTagLen))
	return k, err
}

// seal makes a new token for the scope. Its expiry is rounded up to a second.
func (k *key) seal(expires time.Time, scope [scopeLen]byte) *token {
	t := new(token)
	t[0] = version
	copy(t[1:], k.tag[:])
	binary.BigEndian.PutUint32(t[expiryAt:], uint32(expires.Add(time.Second-1).Unix()))
	rand.Read(t[nonceAt:scopeAt])
	copy(t[scopeAt:], scope[:])
	sum := sum(k.mac, t.signed())
	copy(t[macAt:], sum[:])
	return t
}

// open decodes an id that one of the keys has sealed.
func (c *Captcha) open(id string) (*token, *key, bool) {
	t := new(token)
	if len(id) != idLen {
		return nil, nil, false
	}
	// The decoder skips line breaks: then there are fewer bytes than wanted.
	if n, err := base64.RawURLEncoding.Decode(t[:], []byte(id)); err != nil || n != tokenLen || t[0] != version {
		return nil, nil, false
	}
	for i := range c.keys {
		k := &c.keys[i]
		if [keyTagLen]byte(t[1:]) != k.tag {
			continue // the tag spares a MAC per key; it is no secret
		}
		if sum := sum(k.mac, t.signed()); hmac.Equal(sum[:tokenLen-macAt], t[macAt:]) {
			return t, k, true
		}
	}
	return nil, nil, false
}

// scopeTag is the trace of a scope in an id.
func (k *key) scopeTag(s Scope) [scopeLen]byte {
	b := binary.AppendUvarint(make([]byte, 0, 64), uint64(len(s.Purpose)))
	b = append(b, s.Purpose...)
	b = append(b, s.Session...)
	sum := sum(k.scope, b)
	return [scopeLen]byte(sum[:])
}

// answer derives the answer of n characters of an alphabet. Rejection, not a
// remainder, picks them, so that each is equally likely.
func (k *key) answer(t *token, n int, alphabet string) string {
	msg := t.signed()
	if alphabet != Alphabet {
		msg = append(slices.Clip(msg), alphabet...)
	}
	return code(mrand.NewChaCha8(sum(k.ans, msg)), n, alphabet)
}

// seed derives what a picture's randomness starts from.
func (k *key) seed(t *token) [32]byte { return sum(k.ink, t.signed()) }

func sum(key, msg []byte) (out [sha256.Size]byte) {
	h := hmac.New(sha256.New, key)
	h.Write(msg)
	h.Sum(out[:0])
	return out
}
