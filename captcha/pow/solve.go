package pow

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
)

// Solve does the work that a challenge asks for, on one processor, and returns
// the payload to send in the form's field "altcha". It is for programs that are
// clients of a [Toll] or of another server that speaks ALTCHA, version 2, with
// PBKDF2 and SHA-256. A code that the challenge asks for is not its affair.
//
// It tries counters until one fits or ctx is done, whose error it then returns.
// Other errors are [ErrAlgorithm] and those of challenges that no honest server
// makes.
func Solve(ctx context.Context, challenge []byte) (payload string, err error) {
	var c struct {
		Parameters json.RawMessage `json:"parameters"` // to be sent back as they are
		Signature  string          `json:"signature,omitempty"`
	}
	if err := json.Unmarshal(challenge, &c); err != nil {
		return "", fmt.Errorf("pow: challenge: %w", err)
	}
	var p struct { // not parameters: data is another with each server
		Algorithm string `json:"algorithm"`
		Cost      int    `json:"cost"`
		KeyLength int    `json:"keyLength"`
		KeyPrefix string `json:"keyPrefix"`
		Nonce     string `json:"nonce"`
		Salt      string `json:"salt"`
	}
	if err := json.Unmarshal(c.Parameters, &p); err != nil {
		return "", fmt.Errorf("pow: challenge: %w", err)
	}
	nonce, nonceErr := hex.DecodeString(p.Nonce)
	salt, saltErr := hex.DecodeString(p.Salt)
	prefix := strings.ToLower(p.KeyPrefix)
	switch {
	case p.Algorithm != algorithm:
		return "", ErrAlgorithm
	case nonceErr != nil, saltErr != nil:
		return "", errors.New("pow: challenge: nonce or salt is not hexadecimal")
	case p.KeyLength < 1 || p.KeyLength > 64:
		return "", fmt.Errorf("pow: challenge: key length %d is not from 1 to 64", p.KeyLength)
	case prefix == "" || len(prefix) > 2*p.KeyLength || strings.Trim(prefix, "0123456789abcdef") != "":
		return "", errors.New("pow: challenge: no key can begin so")
	case p.Cost < 1 || p.Cost > maxSolved:
		return "", fmt.Errorf("pow: challenge: cost %d is not from 1 to %d", p.Cost, maxSolved)
	}
	for counter := range uint32(math.MaxUint32) {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		found, err := derive(nonce, counter, salt, p.Cost, p.KeyLength)
		if err != nil {
			return "", fmt.Errorf("pow: %w", err)
		}
		if s := hex.EncodeToString(found); strings.HasPrefix(s, prefix) {
			return base64.StdEncoding.EncodeToString(encode(map[string]any{
				"challenge": c,
				"solution":  solution{counter, s},
			})), nil
		}
	}
	return "", errors.New("pow: challenge has no solution")
}

// maxSolved bounds the cost of one try, within which ctx is not asked: that is
// a second or less.
const maxSolved = 2_000_000
