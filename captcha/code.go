package captcha

import (
	"crypto/rand"
	"crypto/subtle"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Alphabet is what codes are made of: digits and capitals of which no two are
// easily taken for each other. Of the groups 0ODQ, 1IL, 2Z, 5S, 6G, 8B, EF, PR
// and UV one member is there, or none; X, which readers of bent letters take for
// K and Y, and J, taken for T, U and Y, are not there.
const Alphabet = "23456789ACEHKLMNPTUWY"

// NewCode returns n random characters of [Alphabet], each worth 4.4 bits. It
// is empty if n is not positive.
func NewCode(n int) string { return code(rand.Reader, n, Alphabet) }

// validAlphabet reports whether codes can be made of a: eight characters or more
// of [Alphabet], none of them twice.
func validAlphabet(a string) bool {
	for i := range len(a) {
		if strings.IndexByte(Alphabet, a[i]) < 0 || strings.IndexByte(a[:i], a[i]) >= 0 {
			return false
		}
	}
	return len(a) >= 8
}

// code reads letters from a stream of random bytes that does not fail.
func code(random io.Reader, n int, alphabet string) string {
	// The greatest multiple of the alphabet's length that a byte can hold:
	// bytes from there on would favour the first letters.
	limit := 256 / len(alphabet) * len(alphabet)
	out := make([]byte, 0, max(n, 0))
	var buf [16]byte
	for len(out) < n {
		if _, err := io.ReadFull(random, buf[:]); err != nil {
			panic("captcha: random source failed: " + err.Error())
		}
		for _, b := range buf {
			if int(b) < limit && len(out) < n {
				out = append(out, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return string(out)
}

// maxTyped bounds, in bytes, what is looked at as an answer: room for the
// longest code with each letter in four bytes, marks and blanks between.
const maxTyped = 256

// Match reports whether typed is code, as people type:
//
//   - in capitals or not, with blanks, dashes or invisible marks anywhere;
//   - in full-width, circled and other compatibility forms (Unicode's NFKD),
//     such as a Chinese or Japanese keyboard gives;
//   - with accents, which are dropped;
//   - with letters that look like one of [Alphabet] without being in it: B
//     for 8, F for E, G for 6, 1 or I for L, R for P, S for 5, V for U, Z for 2,
//     and the Cyrillic and Greek capitals that have a Latin twin.
//
// Two letters of Alphabet are never taken for one another. An empty code
// matches nothing, and neither does an answer that is not UTF-8 or is longer
// than 256 bytes. The comparison takes the same time for all codes of the
// same length.
func Match(code, typed string) bool {
	var a, b [maxTyped]byte
	want, ok := fold(a[:0], code)
	if !ok || len(want) == 0 {
		return false
	}
	got, ok := fold(b[:0], typed)
	return ok && subtle.ConstantTimeCompare(want, got) == 1
}

// fold appends s with all that Match ignores taken out of it. It reports false
// if s is too long, is not UTF-8, or has characters that no code has.
func fold(dst []byte, s string) ([]byte, bool) {
	if len(s) > maxTyped || !utf8.ValidString(s) {
		return dst, false
	}
	// NFKD, not NFKC: with marks apart from their letters they can be
	// dropped. ASCII comes back as it is, without an allocation.
	for _, r := range norm.NFKD.String(s) {
		switch r = twin(unicode.ToUpper(r)); {
		case r >= '0' && r <= '9', r >= 'A' && r <= 'Z':
			dst = append(dst, byte(r))
		case unicode.IsSpace(r), unicode.In(r, unicode.Pd, unicode.Mn, unicode.Cf), r == '\u2212':
			// U+2212, the minus sign, is a dash to those who type it.
		default:
			return dst, false
		}
	}
	return dst, true
}

// twin returns the letter of the alphabet that the capital r looks like.
func twin(r rune) rune {
	const (
		looks = "1I|BFGRSVZ" + "АЕКМНРСТУХ" + "ΑΕΗΚΜΝΡΤΥΧ" // Latin, Cyrillic, Greek
		likes = "LLL8E6P5U2" + "AEKMHPCTYX" + "AEHKMNPTYX"
	)
	if i := strings.IndexRune(looks, r); i >= 0 {
		return rune(likes[utf8.RuneCountInString(looks[:i])])
	}
	return r
}
