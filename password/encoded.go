package password

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"math/bits"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/scrypt"
)

// What a hash may ask for, beside MaxMemory. Each is some seconds of work.
const (
	maxPasses = 64
	maxLanes  = 64
	maxRounds = 10_000_000 // of PBKDF2
	maxBcrypt = 15         // logarithm of the rounds

	maxEncoded = 1024
	minKey     = 16
	maxKey     = 64
)

// An encodedHash is a hash that was read.
type encodedHash struct {
	memory  uint32 // KiB, while it is computed
	matches func(password []byte) bool

	// Of argon2id alone: what it was made with.
	own        bool
	passes     uint32
	lanes      uint8
	salt, size int
}

func (e *encodedHash) outdated(h *Hasher) bool {
	return !e.own || e.memory != h.memory || e.passes != h.passes || e.lanes != h.lanes || e.salt != saltSize || e.size != keySize
}

var b64 = base64.RawStdEncoding.Strict()

func phc(passes, memory uint32, lanes uint8, salt, key []byte) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, memory, passes, lanes, b64.EncodeToString(salt), b64.EncodeToString(key))
}

// parse reads a hash of any kind that Verify knows.
func parse(encoded string) (*encodedHash, error) {
	if len(encoded) > maxEncoded {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrFormat, maxEncoded)
	}
	scheme, rest, found := strings.Cut(encoded, "$")
	if !found || strings.ContainsAny(encoded, "\r\n") { // which base64 would pass over
		return nil, ErrFormat
	}
	var e *encodedHash
	switch {
	case scheme == "":
		e = parsePHC(encoded)
	case scheme == "argon2": // Django puts its name before the PHC string
		e = parseArgon2("$" + rest)
	case scheme == "bcrypt":
		e = parseBcrypt(rest)
	case scheme == "bcrypt_sha256":
		if e = parseBcrypt(rest); e != nil {
			plain := e.matches
			e.matches = func(password []byte) bool {
				sum := sha256.Sum256(password)
				return plain([]byte(hex.EncodeToString(sum[:])))
			}
		}
	case scheme == "scrypt":
		e = parseDjangoScrypt(rest)
	case strings.HasPrefix(scheme, "pbkdf2_"):
		e = parsePBKDF2(strings.TrimPrefix(scheme, "pbkdf2_"), rest)
	case strings.HasPrefix(scheme, "pbkdf2:"), strings.HasPrefix(scheme, "scrypt:"):
		e = parseWerkzeug(strings.Split(scheme, ":"), rest)
	}
	if e == nil {
		return nil, ErrFormat
	}
	return e, nil
}

// parsePHC reads what begins with a dollar sign.
func parsePHC(encoded string) *encodedHash {
	switch {
	case strings.HasPrefix(encoded, "$argon2"):
		return parseArgon2(encoded)
	case strings.HasPrefix(encoded, "$scrypt$"):
		return parseScrypt(encoded)
	case strings.HasPrefix(encoded, "$2"):
		return parseBcrypt(encoded)
	}
	return nil
}

func parseArgon2(encoded string) *encodedHash {
	f := strings.Split(encoded, "$")
	if len(f) != 6 || f[2] != "v="+strconv.Itoa(argon2.Version) {
		return nil
	}
	p, ok := parameters(f[3], "m", "t", "p")
	if !ok || p[0] < 8*p[2] || p[0] > MaxMemory || p[1] > maxPasses || p[2] > maxLanes {
		return nil
	}
	salt, key := decode(b64, f[4], 8), decode(b64, f[5], minKey)
	if salt == nil || key == nil || len(key) > maxKey {
		return nil
	}
	e := &encodedHash{memory: p[0], passes: p[1], lanes: uint8(p[2]), salt: len(salt), size: len(key)}
	derive := argon2.IDKey
	switch f[1] {
	case "argon2id":
		e.own = true
	case "argon2i":
		derive = argon2.Key
	default:
		return nil
	}
	e.matches = func(password []byte) bool {
		return equal(derive(password, salt, e.passes, e.memory, e.lanes, uint32(len(key))), key)
	}
	return e
}

func parseScrypt(encoded string) *encodedHash {
	f := strings.Split(encoded, "$")
	if len(f) != 5 {
		return nil
	}
	p, ok := parameters(f[2], "ln", "r", "p")
	if !ok || p[0] > 30 {
		return nil
	}
	return newScrypt(1<<p[0], p[1], p[2], decode(b64, f[3], 1), decode(b64, f[4], minKey))
}

// parseDjangoScrypt reads what stands after "scrypt$".
func parseDjangoScrypt(rest string) *encodedHash {
	f := strings.Split(rest, "$")
	if len(f) != 5 {
		return nil
	}
	n, okN := number(f[0])
	r, okR := number(f[2])
	p, okP := number(f[3])
	if !okN || !okR || !okP {
		return nil
	}
	return newScrypt(n, r, p, []byte(f[1]), decode(base64.StdEncoding.Strict(), f[4], minKey))
}

// parseWerkzeug reads pbkdf2:NAME:ROUNDS or scrypt:N:R:P, and what follows.
func parseWerkzeug(method []string, rest string) *encodedHash {
	salt, text, found := strings.Cut(rest, "$")
	key, err := hex.DecodeString(text)
	if !found || err != nil || len(key) < minKey {
		return nil
	}
	var n []uint32
	for _, field := range method[1:] {
		v, ok := number(field)
		if !ok && len(n) > 0 {
			return nil
		}
		n = append(n, v)
	}
	switch {
	case method[0] == "scrypt" && len(n) == 3 && n[0] != 0:
		return newScrypt(n[0], n[1], n[2], []byte(salt), key)
	case method[0] == "pbkdf2" && len(n) == 2:
		return newPBKDF2(method[1], n[1], []byte(salt), key)
	}
	return nil
}

// parsePBKDF2 reads ROUNDS$SALT$KEY of Django.
func parsePBKDF2(name, rest string) *encodedHash {
	f := strings.Split(rest, "$")
	if len(f) != 3 {
		return nil
	}
	rounds, ok := number(f[0])
	if !ok {
		return nil
	}
	return newPBKDF2(name, rounds, []byte(f[1]), decode(base64.StdEncoding.Strict(), f[2], minKey))
}

func parseBcrypt(encoded string) *encodedHash {
	cost, err := bcrypt.Cost([]byte(encoded))
	if err != nil || len(encoded) != 60 || cost > maxBcrypt || !strings.Contains("aby", encoded[2:3]) {
		return nil
	}
	return &encodedHash{memory: 4, matches: func(password []byte) bool {
		// Of longer passwords bcrypt has only ever seen the beginning.
		return bcrypt.CompareHashAndPassword([]byte(encoded), password[:min(len(password), 72)]) == nil
	}}
}

func newScrypt(n, r, p uint32, salt, key []byte) *encodedHash {
	if n < 2 || bits.OnesCount32(n) != 1 || r < 1 || p < 1 || p > 16 || r > 64 || len(key) < minKey || len(key) > maxKey || len(salt) == 0 {
		return nil
	}
	memory := uint64(n) * uint64(r) / 8
	if memory > MaxMemory {
		return nil
	}
	return &encodedHash{memory: uint32(memory), matches: func(password []byte) bool {
		got, err := scrypt.Key(password, salt, int(n), int(r), int(p), len(key))
		return err == nil && equal(got, key)
	}}
}

func newPBKDF2(name string, rounds uint32, salt, key []byte) *encodedHash {
	digest := map[string]func() hash.Hash{"sha1": sha1.New, "sha256": sha256.New, "sha512": sha512.New}[name]
	if digest == nil || rounds < 1 || rounds > maxRounds || len(key) < minKey || len(key) > maxKey || len(salt) == 0 {
		return nil
	}
	return &encodedHash{matches: func(password []byte) bool {
		got, err := pbkdf2.Key(digest, string(password), salt, int(rounds), len(key))
		return err == nil && equal(got, key)
	}}
}

// parameters reads "a=1,b=2,c=3", with just these names in this order.
func parameters(text string, names ...string) ([3]uint32, bool) {
	var values [3]uint32
	fields := strings.Split(text, ",")
	if len(fields) != len(names) {
		return values, false
	}
	for i, field := range fields {
		name, value, _ := strings.Cut(field, "=")
		v, ok := number(value)
		if name != names[i] || !ok {
			return values, false
		}
		values[i] = v
	}
	return values, true
}

// number reads a decimal from 1, without zeros before it.
func number(text string) (uint32, bool) {
	v, err := strconv.ParseUint(text, 10, 31)
	return uint32(v), err == nil && v > 0 && text == strconv.FormatUint(v, 10)
}

// decode returns nil for what is no base64, or is too short.
func decode(encoding *base64.Encoding, text string, least int) []byte {
	b, err := encoding.DecodeString(text)
	if err != nil || len(b) < least {
		return nil
	}
	return b
}
