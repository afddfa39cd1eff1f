package account

import (
	"bytes"
	"crypto/rand"
	"encoding/base32"
	"slices"
	"strings"
)

// RecoveryCodes is how many codes a person gets.
const RecoveryCodes = 10

// letters of codes: those that are taken for digits are not there.
var letters = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding)

// codeBytes is the randomness of a code: more than the 112 bits from which on a
// plain hash will do (ASVS 5.0, 6.5.2), and no rest in groups of four letters.
const codeBytes = 15

// NewRecoveryCodes returns codes for a person to keep, like
// "kdwa-…" in six groups of four letters, and their hashes for
// [Person.RecoveryCodes]. Each signs in once instead of the authenticator.
func NewRecoveryCodes() (codes []string, hashes [][]byte) {
	for range RecoveryCodes {
		random := make([]byte, codeBytes)
		rand.Read(random)
		text := letters.EncodeToString(random)
		hashes = append(hashes, hash(text))
		var groups []string
		for chunk := range slices.Chunk([]byte(text), 4) {
			groups = append(groups, string(chunk))
		}
		codes = append(codes, strings.Join(groups, "-"))
	}
	return codes, hashes
}

// UseRecoveryCode removes the code from those that are good, and reports whether
// it was one. It belongs into the function of [Directory.Update]. Case, blanks and
// dashes do not matter.
func (p *Person) UseRecoveryCode(typed string) bool {
	if len(typed) > 256 {
		return false
	}
	typed = strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' || r == '\t' {
			return -1
		}
		return r
	}, strings.ToLower(typed))
	// What is compared are hashes of random texts: the time tells nothing.
	h := hash(typed)
	for i, good := range p.RecoveryCodes {
		if bytes.Equal(good, h) {
			p.RecoveryCodes = slices.Delete(p.RecoveryCodes, i, i+1)
			return true
		}
	}
	return false
}
