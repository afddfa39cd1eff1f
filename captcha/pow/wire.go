package pow

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/seed-64ad3862/gatehouse/captcha"
)

// ALTCHA's names and sizes, as this package chooses them.
const (
	algorithm   = "PBKDF2/SHA-256"
	keyLength   = 32
	nonceLength = 16
	saltLength  = 16
	maxPayload  = 4096 // ours have some 800 characters, with a code 900
)

// challenge is what [Toll.Issue] makes. The visitor gives back what is in its
// last two fields.
type challenge struct {
	CodeChallenge *codeChallenge `json:"codeChallenge,omitempty"`
	Configuration *configuration `json:"configuration,omitempty"`
	Parameters    parameters     `json:"parameters"`
	Signature     string         `json:"signature"`
}

type codeChallenge struct {
	Image  string `json:"image"`
	Audio  string `json:"audio,omitempty"`
	Length int    `json:"length,omitempty"`
}

// configuration is what the widget shall change in its own.
type configuration struct {
	VerifyURL string `json:"verifyUrl"`
}

// parameters are what is signed: their JSON with all names in alphabetical
// order. The order of the fields makes it so.
type parameters struct {
	Algorithm    string `json:"algorithm"`
	Cost         int    `json:"cost"`
	Data         data   `json:"data"`
	ExpiresAt    int64  `json:"expiresAt"`
	KeyLength    int    `json:"keyLength"`
	KeyPrefix    string `json:"keyPrefix"`
	KeySignature string `json:"keySignature"`
	Nonce        string `json:"nonce"`
	Salt         string `json:"salt"`
}

// data is the part of the parameters that ALTCHA leaves to servers.
type data struct {
	Code  string `json:"code,omitempty"` // an id of [Code.Captcha], or codePassed
	Key   string `json:"key"`            // tag of the key that signs
	Scope string `json:"scope"`          // tag of the scope
	Tries int    `json:"tries"`          // for those who show progress
}

// codePassed is in the place of a code that was right.
const codePassed = "passed"

// payload is a solved challenge on its way back.
type payload struct {
	Challenge challenge `json:"challenge"`
	Solution  solution  `json:"solution"`

	nonce []byte // of the challenge, decoded
	found []byte // the derived key, decoded
}

type solution struct {
	Counter    uint32 `json:"counter"`
	DerivedKey string `json:"derivedKey"`
}

// parse decodes a payload of the right form; all that it says is to be doubted.
// Names that are not known, such as ALTCHA's "time", are passed over: what is
// compared with the signature is made anew from what was understood.
func parse(text string) (*payload, error) {
	if len(text) > maxPayload {
		return nil, malformed("too long")
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, malformed("not base64")
	}
	s := new(payload)
	if err := json.Unmarshal(b, s); err != nil {
		return nil, malformed("not the JSON of a solved challenge")
	}
	switch s.Challenge.Parameters.Algorithm {
	case algorithm:
	case "":
		return nil, malformed("no parameters")
	default:
		return nil, ErrAlgorithm
	}
	s.nonce, err = hex.DecodeString(s.Challenge.Parameters.Nonce)
	if err != nil || len(s.nonce) != nonceLength {
		return nil, malformed("no nonce")
	}
	s.found, err = hex.DecodeString(s.Solution.DerivedKey)
	if err != nil || len(s.found) != keyLength {
		return nil, malformed("no derived key")
	}
	return s, nil
}

func malformed(why string) error { return fmt.Errorf("%w: %s", ErrMalformed, why) }

// encode returns v as JSON; there is nothing in our types that has none.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("pow: " + err.Error())
	}
	return b
}

// key holds what is derived from one secret, each for one use alone. All are
// text, hexadecimal, because so are the secrets of ALTCHA's libraries: whoever
// derives them can verify with these, too.
type key struct {
	tag   string // no secret
	sign  string // for challenges: ALTCHA's hmacSignatureSecret
	found string // for solutions: ALTCHA's hmacKeySignatureSecret
	scope string
}

func newKey(secret []byte) (k key, err error) {
	if len(secret) < minKey {
		return k, errors.New("shorter than 32 bytes")
	}
	if [minKey]byte(secret) == [minKey]byte{} {
		return k, errors.New("all zero") // a buffer that nobody filled
	}
	derive := func(use string, n int) string {
		b, e := hkdf.Key(sha256.New, secret, nil, "gatehouse pow v1 "+use, n)
		err = errors.Join(err, e)
		return hex.EncodeToString(b)
	}
	k.tag = derive("tag", 2)
	k.sign = derive("challenge", sha256.Size)
	k.found = derive("solution", sha256.Size)
	k.scope = derive("scope", sha256.Size)
	return k, err
}

// signature returns the signature of parameters.
func (k *key) signature(p *parameters) string { return mac(k.sign, encode(p)) }

// scopeTag is the trace of a scope in a challenge.
func (k *key) scopeTag(s captcha.Scope) string {
	b := binary.AppendUvarint(make([]byte, 0, 64), uint64(len(s.Purpose)))
	b = append(b, s.Purpose...)
	b = append(b, s.Session...)
	return mac(k.scope, b)[:32]
}

// signer returns the key that has signed the challenge.
func (t *Toll) signer(c *challenge) (*key, error) {
	err := ErrKey
	for i := range t.keys {
		k := &t.keys[i]
		if c.Parameters.Data.Key != k.tag {
			continue
		}
		if equal(c.Signature, k.signature(&c.Parameters)) {
			return k, nil
		}
		err = ErrForged
	}
	return nil, err
}

func mac(key string, msg []byte) string {
	h := hmac.New(sha256.New, []byte(key))
	h.Write(msg)
	return hex.EncodeToString(h.Sum(nil))
}

func equal(a, b string) bool { return hmac.Equal([]byte(a), []byte(b)) }
