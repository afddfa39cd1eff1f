// Package authenticator is a browser with an authenticator in it, for tests of passkeys
// without one: it answers the options of a ceremony as WebAuthn says, or in any way that
// none should.
package authenticator

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"log"
	"maps"
	"slices"
)

// must is for what cannot fail in a test.
func must[T any](v T, err error) T {
	if err != nil {
		log.Panic(err)
	}
	return v
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func unb64(s string) []byte { return must(base64.RawURLEncoding.DecodeString(s)) }

// CBOR encodes what authenticators send (RFC 8949). Maps are lists of Pairs, in order.
func CBOR(v any) []byte {
	head := func(major byte, n uint64) []byte {
		switch {
		case n < 24:
			return []byte{major<<5 | byte(n)}
		case n < 1<<8:
			return []byte{major<<5 | 24, byte(n)}
		case n < 1<<16:
			return binary.BigEndian.AppendUint16([]byte{major<<5 | 25}, uint16(n))
		}
		return binary.BigEndian.AppendUint32([]byte{major<<5 | 26}, uint32(n))
	}
	switch v := v.(type) {
	case int:
		if v < 0 {
			return head(1, uint64(-v-1))
		}
		return head(0, uint64(v))
	case []byte:
		return append(head(2, uint64(len(v))), v...)
	case string:
		return append(head(3, uint64(len(v))), v...)
	case Pairs:
		out := head(5, uint64(len(v)))
		for _, p := range v {
			out = slices.Concat(out, CBOR(p[0]), CBOR(p[1]))
		}
		return out
	}
	panic("cbor: another type")
}

// Pairs are a map of CBOR, in order.
type Pairs [][2]any

// Flags of authenticator data (WebAuthn, section 6.1).
const (
	Present   = 1 << 0
	Verified  = 1 << 2
	Eligible  = 1 << 3
	BackedUp  = 1 << 4
	HasKey    = 1 << 6
	HasExtras = 1 << 7
)

// A Device is a browser and an authenticator in it, with one passkey. Its fields can be
// changed to what none would send.
type Device struct {
	Origin, RPID string
	ID           []byte
	Handle       []byte
	Key          crypto.Signer
	COSE         Pairs
	RawKey       []byte // in the place of COSE
	Flags        byte
	Counter      uint32
	Client       map[string]any // put over the client data
	Format       string
	Statement    Pairs
	Transports   []string
	Extensions   map[string]any
	Extras       []byte // after all others in the data of the authenticator
}

// New returns a Device that does all as it should, on pages of that origin. The algorithm
// is ES256, ES384, EdDSA or RS256.
func New(origin, rpID, algorithm string) *Device {
	d := &Device{
		Origin: origin, RPID: rpID, ID: make([]byte, 16), Flags: Present | Verified, Format: "none", Statement: Pairs{},
		Transports: []string{"internal", "hybrid"},
	}
	rand.Read(d.ID)
	switch algorithm {
	case "ES256", "ES384":
		curve, alg, crv := elliptic.P256(), -7, 1
		if algorithm == "ES384" {
			curve, alg, crv = elliptic.P384(), -35, 2
		}
		key := must(ecdsa.GenerateKey(curve, rand.Reader))
		point := must(key.PublicKey.Bytes())[1:]
		d.Key, d.COSE = key, Pairs{{1, 2}, {3, alg}, {-1, crv}, {-2, point[:len(point)/2]}, {-3, point[len(point)/2:]}}
	case "EdDSA":
		public, key, err := ed25519.GenerateKey(rand.Reader)
		must(key, err)
		d.Key, d.COSE = key, Pairs{{1, 1}, {3, -8}, {-1, 6}, {-2, []byte(public)}}
	case "RS256":
		d.SetRSA(must(rsa.GenerateKey(rand.Reader, 2048)))
	}
	return d
}

// SetRSA gives the passkey another key.
func (d *Device) SetRSA(key *rsa.PrivateKey) {
	d.Key, d.COSE = key, Pairs{{1, 3}, {3, -257}, {-1, key.N.Bytes()}, {-2, []byte{1, 0, 1}}}
}

func (d *Device) data(flags byte, more ...[]byte) []byte {
	hash := sha256.Sum256([]byte(d.RPID))
	data := binary.BigEndian.AppendUint32(append(hash[:], flags), d.Counter)
	return append(slices.Concat(data, slices.Concat(more...)), d.Extras...)
}

func (d *Device) clientData(ceremony, challenge string) []byte {
	c := map[string]any{"type": ceremony, "challenge": challenge, "origin": d.Origin, "crossOrigin": false}
	maps.Copy(c, d.Client)
	return must(json.Marshal(c))
}

func (d *Device) response(fields map[string]any) []byte {
	if d.Extensions == nil {
		d.Extensions = map[string]any{}
	}
	return must(json.Marshal(map[string]any{
		"id": b64(d.ID), "rawId": b64(d.ID), "type": "public-key", "authenticatorAttachment": "platform",
		"clientExtensionResults": d.Extensions, "response": fields,
	}))
}

// Create answers options of a registration.
func (d *Device) Create(options []byte) []byte {
	var o struct {
		Challenge string
		User      struct{ ID string }
	}
	must(0, json.Unmarshal(options, &o))
	d.Handle = unb64(o.User.ID)
	client := d.clientData("webauthn.create", o.Challenge)
	key := CBOR(d.COSE)
	if d.RawKey != nil {
		key = d.RawKey
	}
	data := d.data(d.Flags|HasKey, make([]byte, 16), []byte{byte(len(d.ID) >> 8), byte(len(d.ID))}, d.ID, key)
	return d.response(map[string]any{
		"clientDataJSON":    b64(client),
		"attestationObject": b64(CBOR(Pairs{{"fmt", d.Format}, {"attStmt", d.Statement}, {"authData", data}})),
		"transports":        d.Transports,
	})
}

// Get answers options of a sign-in or a confirmation.
func (d *Device) Get(options []byte) []byte {
	var o struct{ Challenge string }
	must(0, json.Unmarshal(options, &o))
	d.Counter++
	client, data := d.clientData("webauthn.get", o.Challenge), d.data(d.Flags)
	hash := sha256.Sum256(client)
	message, opts := slices.Concat(data, hash[:]), crypto.SignerOpts(crypto.Hash(0))
	if _, ok := d.Key.(ed25519.PrivateKey); !ok {
		sum := sha256.Sum256(message)
		message, opts = sum[:], crypto.SHA256
	}
	fields := map[string]any{
		"clientDataJSON":    b64(client),
		"authenticatorData": b64(data),
		"signature":         b64(must(d.Key.Sign(rand.Reader, message, opts))),
	}
	if d.Handle != nil {
		fields["userHandle"] = b64(d.Handle)
	}
	return d.response(fields)
}
