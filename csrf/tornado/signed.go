package tornado

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"maps"
	"strconv"
	"strings"
	"time"
)

// The answers of [Signer.Verify], wrapped with what is wrong where there is more
// to say. Tornado answers None to all of them.
var (
	ErrVersion   = errors.New("tornado: signed value of a version that is not accepted")
	ErrMalformed = errors.New("tornado: malformed signed value")
	ErrSignature = errors.New("tornado: signature does not match")
	ErrName      = errors.New("tornado: value was signed for another name")
	ErrExpired   = errors.New("tornado: signed value has expired")
)

// defaultMaxAge is Tornado's max_age_days, and also how far ahead of the clock a
// value in version 1 may be, whatever the maximal age.
const defaultMaxAge = 31 * 24 * time.Hour

// SignerConfig is Tornado's cookie_secret and what goes with it.
type SignerConfig struct {
	// Keys is cookie_secret as a dictionary from key version to secret. A
	// program with a single secret has it under its key_version, which is 0
	// unless set; Tornado then passes over the key version it reads.
	Keys map[int]string

	// KeyVersion is the key that signs: Tornado's setting key_version. To
	// retire a key, add a new one everywhere, sign with it, and take the old
	// one away when what it signed has expired.
	KeyVersion int

	// MaxAge is how old a value may be, 31 days if zero.
	MaxAge time.Duration

	// V1Secret, unless empty, is the secret for values in version 1, and
	// makes that version readable. Nothing in it keeps name, payload and
	// timestamp apart under the signature: whoever has a value may be able to
	// move bytes from one to the next. Set it for as long as old cookies live.
	V1Secret string

	// WriteV1 writes version 1, for a Tornado from before 3.2.1.
	WriteV1 bool
}

// A Signer signs values, and verifies signed ones, as Tornado's
// create_signed_value and decode_signed_value do.
type Signer struct{ cfg SignerConfig }

// NewSigner returns a Signer, or says what is wrong with the configuration.
func NewSigner(cfg SignerConfig) (*Signer, error) {
	for version, secret := range cfg.Keys {
		if version < 0 {
			return nil, fmt.Errorf("tornado: SignerConfig.Keys: version %d is negative", version)
		}
		if secret == "" {
			return nil, fmt.Errorf("tornado: SignerConfig.Keys: the secret of version %d is empty", version)
		}
	}
	switch _, ok := cfg.Keys[cfg.KeyVersion]; {
	case cfg.WriteV1 && cfg.V1Secret == "":
		return nil, errors.New("tornado: SignerConfig.WriteV1 needs V1Secret")
	case !cfg.WriteV1 && !ok:
		return nil, fmt.Errorf("tornado: SignerConfig.Keys has no key of KeyVersion %d", cfg.KeyVersion)
	case cfg.MaxAge < 0:
		return nil, fmt.Errorf("tornado: SignerConfig.MaxAge is negative: %v", cfg.MaxAge)
	case cfg.MaxAge == 0:
		cfg.MaxAge = defaultMaxAge
	}
	cfg.Keys = maps.Clone(cfg.Keys)
	return &Signer{cfg}, nil
}

// Sign returns the value as Tornado's set_secure_cookie would put it into the
// cookie of that name, with the present time.
func (s *Signer) Sign(name string, value []byte) string {
	payload := base64.StdEncoding.EncodeToString(value)
	issued := strconv.FormatInt(time.Now().Unix(), 10)
	if s.cfg.WriteV1 {
		return payload + "|" + issued + "|" + s.macV1(name, payload, issued)
	}
	message := "2|" + field(strconv.Itoa(s.cfg.KeyVersion)) + field(issued) + field(name) + field(payload)
	return message + mac(sha256.New, s.cfg.Keys[s.cfg.KeyVersion], message)
}

func field(s string) string { return strconv.Itoa(len(s)) + ":" + s + "|" }

// Verify returns the value that was signed for the name. The error is one of
// [ErrVersion], [ErrMalformed], [ErrSignature], [ErrName] and [ErrExpired], and
// never quotes what was sent.
func (s *Signer) Verify(name, signed string) ([]byte, error) {
	switch v := version(signed); {
	case v == 1 && s.cfg.V1Secret != "":
		return s.verifyV1(name, signed)
	case v == 2:
		return s.verifyV2(name, signed)
	default:
		return nil, ErrVersion
	}
}

// version tells the formats apart. Version 1 has no mark of its own: it begins
// with base64, and since that comes in fours, a number of up to three digits
// before a bar is a version and anything else is payload.
func version(s string) int64 {
	head, rest, ok := strings.Cut(s, "|")
	n, isNumber := number(head)
	if !ok || !isNumber || n == 0 || n > 999 || strings.Contains(rest, "\n") {
		return 1
	}
	return n
}

// verifyV2 makes Tornado's checks in Tornado's order: form, signature, name,
// age, base64.
func (s *Signer) verifyV2(name, signed string) ([]byte, error) {
	var f [4]string // key version, timestamp, name, payload
	rest := signed[len("2|"):]
	for i := range f {
		var ok bool
		if f[i], rest, ok = cutField(rest); !ok {
			return nil, ErrMalformed
		}
	}
	keyVersion, ok := number(f[0])
	if !ok {
		return nil, fmt.Errorf("%w: key version", ErrMalformed)
	}
	key, ok := s.cfg.Keys[int(keyVersion)]
	if !ok {
		return nil, fmt.Errorf("%w: no key of version %d", ErrSignature, keyVersion)
	}
	message := signed[:len(signed)-len(rest)]
	if !hmac.Equal([]byte(rest), []byte(mac(sha256.New, key, message))) {
		return nil, ErrSignature
	}
	if f[2] != name {
		return nil, ErrName
	}
	if _, err := s.age(f[1]); err != nil {
		return nil, err
	}
	return decode(f[3])
}

func (s *Signer) verifyV1(name, signed string) ([]byte, error) {
	p := strings.SplitN(signed, "|", 4)
	if len(p) != 3 {
		return nil, ErrMalformed
	}
	if !hmac.Equal([]byte(p[2]), []byte(s.macV1(name, p[0], p[1]))) {
		return nil, ErrSignature
	}
	issued, err := s.age(p[1])
	if err != nil {
		return nil, err
	}
	// The signature also fits when digits at the payload's end are moved to
	// the front of the timestamp. That dates it centuries ahead, unless they
	// are zeros, which age refuses.
	if issued.After(time.Now().Add(defaultMaxAge)) {
		return nil, fmt.Errorf("%w: timestamp is ahead of the clock", ErrMalformed)
	}
	return decode(p[0])
}

// age reads a timestamp and refuses one that is too old. A value that is exactly
// as old as allowed is good.
func (s *Signer) age(timestamp string) (time.Time, error) {
	n, ok := number(timestamp)
	if !ok {
		return time.Time{}, fmt.Errorf("%w: timestamp", ErrMalformed)
	}
	issued := time.Unix(n, 0)
	if issued.Before(time.Now().Add(-s.cfg.MaxAge)) {
		return time.Time{}, ErrExpired
	}
	return issued, nil
}

// cutField takes one "length:content|" off s.
func cutField(s string) (content, rest string, ok bool) {
	length, s, _ := strings.Cut(s, ":")
	n, ok := number(length)
	if !ok || n >= int64(len(s)) || s[n] != '|' {
		return "", "", false
	}
	return s[:n], s[n+1:], true
}

// number reads a decimal number as Tornado writes it: digits only, none of them
// a leading zero, and at most 18 so that it fits wherever it is used.
func number(s string) (int64, bool) {
	if !isDigits(s) || len(s) > 18 || s[0] == '0' && s != "0" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

func (s *Signer) macV1(name, payload, timestamp string) string {
	return mac(sha1.New, s.cfg.V1Secret, name+payload+timestamp)
}

func mac(h func() hash.Hash, key, message string) string {
	m := hmac.New(h, []byte(key))
	m.Write([]byte(message))
	return hex.EncodeToString(m.Sum(nil))
}

// decode is Python's b64decode, which passes over what is not of the alphabet
// and stops at the padding. Only what was signed comes here, so being strict
// would protect nobody and lose values.
func decode(s string) ([]byte, error) {
	digits := make([]byte, 0, len(s))
	padding := 0
scan:
	for _, c := range []byte(s) {
		switch {
		case c == '=':
			if n := len(digits) % 4; n >= 2 {
				padding++
				if n+padding == 4 {
					break scan
				}
			}
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '+', c == '/':
			digits = append(digits, c)
			padding = 0
		}
	}
	if n := len(digits) % 4; n != 0 && n+padding != 4 {
		return nil, fmt.Errorf("%w: payload", ErrMalformed)
	}
	return base64.RawStdEncoding.AppendDecode([]byte{}, digits)
}
