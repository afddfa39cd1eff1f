package passkey_test

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

// cbor encodes what authenticators send (RFC 8949). Maps are lists of pairs, in order.
func cbor(v any) []byte {
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
	case pairs:
		out := head(5, uint64(len(v)))
		for _, p := range v {
			out = slices.Concat(out, cbor(p[0]), cbor(p[1]))
		}
		return out
	}
	panic("cbor: another type")
}

type pairs [][2]any

// Flags of authenticator data (WebAuthn, section 6.1).
const (
	present   = 1 << 0
	verified  = 1 << 2
	eligible  = 1 << 3
	backedUp  = 1 << 4
	hasKey    = 1 << 6
	hasExtras = 1 << 7
)

// A device is a browser and an authenticator in it, with one passkey. Its fields can be
// changed to what none would send.
type device struct {
	origin, rpID string
	id           []byte
	handle       []byte
	key          crypto.Signer
	cose         pairs
	rawKey       []byte // in the place of cose
	flags        byte
	counter      uint32
	client       map[string]any // put over the client data
	format       string
	statement    pairs
	transports   []string
	extensions   map[string]any
	extras       []byte // after all others in the data of the authenticator
}

const (
	site = "https://app.example"
	rpID = "app.example"
)

// newDevice returns one that does all as it should.
func newDevice(algorithm string) *device {
	d := &device{
		origin: site, rpID: rpID, id: make([]byte, 16), flags: present | verified, format: "none", statement: pairs{},
		transports: []string{"internal", "hybrid"},
	}
	rand.Read(d.id)
	switch algorithm {
	case "ES256", "ES384":
		curve, alg, crv := elliptic.P256(), -7, 1
		if algorithm == "ES384" {
			curve, alg, crv = elliptic.P384(), -35, 2
		}
		key := must(ecdsa.GenerateKey(curve, rand.Reader))
		point := must(key.PublicKey.Bytes())[1:]
		d.key, d.cose = key, pairs{{1, 2}, {3, alg}, {-1, crv}, {-2, point[:len(point)/2]}, {-3, point[len(point)/2:]}}
	case "EdDSA":
		public, key, err := ed25519.GenerateKey(rand.Reader)
		must(key, err)
		d.key, d.cose = key, pairs{{1, 1}, {3, -8}, {-1, 6}, {-2, []byte(public)}}
	case "RS256":
		d.setRSA(must(rsa.GenerateKey(rand.Reader, 2048)))
	}
	return d
}

func (d *device) setRSA(key *rsa.PrivateKey) {
	d.key, d.cose = key, pairs{{1, 3}, {3, -257}, {-1, key.N.Bytes()}, {-2, []byte{1, 0, 1}}}
}

func (d *device) data(flags byte, more ...[]byte) []byte {
	hash := sha256.Sum256([]byte(d.rpID))
	data := binary.BigEndian.AppendUint32(append(hash[:], flags), d.counter)
	return append(slices.Concat(data, slices.Concat(more...)), d.extras...)
}

func (d *device) clientData(ceremony, challenge string) []byte {
	c := map[string]any{"type": ceremony, "challenge": challenge, "origin": d.origin, "crossOrigin": false}
	maps.Copy(c, d.client)
	return must(json.Marshal(c))
}

func (d *device) response(fields map[string]any) []byte {
	if d.extensions == nil {
		d.extensions = map[string]any{}
	}
	return must(json.Marshal(map[string]any{
		"id": b64(d.id), "rawId": b64(d.id), "type": "public-key", "authenticatorAttachment": "platform",
		"clientExtensionResults": d.extensions, "response": fields,
	}))
}

// create answers options of a registration.
func (d *device) create(options []byte) []byte {
	var o struct {
		Challenge string
		User      struct{ ID string }
	}
	must(0, json.Unmarshal(options, &o))
	d.handle = unb64(o.User.ID)
	client := d.clientData("webauthn.create", o.Challenge)
	key := cbor(d.cose)
	if d.rawKey != nil {
		key = d.rawKey
	}
	data := d.data(d.flags|hasKey, make([]byte, 16), []byte{byte(len(d.id) >> 8), byte(len(d.id))}, d.id, key)
	return d.response(map[string]any{
		"clientDataJSON":    b64(client),
		"attestationObject": b64(cbor(pairs{{"fmt", d.format}, {"attStmt", d.statement}, {"authData", data}})),
		"transports":        d.transports,
	})
}

// get answers options of a sign-in or a confirmation.
func (d *device) get(options []byte) []byte {
	var o struct{ Challenge string }
	must(0, json.Unmarshal(options, &o))
	d.counter++
	client, data := d.clientData("webauthn.get", o.Challenge), d.data(d.flags)
	hash := sha256.Sum256(client)
	message, opts := slices.Concat(data, hash[:]), crypto.SignerOpts(crypto.Hash(0))
	if _, ok := d.key.(ed25519.PrivateKey); !ok {
		sum := sha256.Sum256(message)
		message, opts = sum[:], crypto.SHA256
	}
	fields := map[string]any{
		"clientDataJSON":    b64(client),
		"authenticatorData": b64(data),
		"signature":         b64(must(d.key.Sign(rand.Reader, message, opts))),
	}
	if d.handle != nil {
		fields["userHandle"] = b64(d.handle)
	}
	return d.response(fields)
}
