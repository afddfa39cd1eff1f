package account

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
)

// MaxName is how many characters a name can have.
const MaxName = 64

// ErrName means that a text cannot be a name. What is wrong with it is in the
// text of the error, which does not quote it.
var ErrName = errors.New("account: not a name")

func badName(why string) error { return fmt.Errorf("%w: %s", ErrName, why) }

// Canonical returns the form in which a name is kept and compared: lower case, in
// usual width, composed (the profile UsernameCaseMapped of RFC 8265, section 3.3).
//
// The error is [ErrName] for what cannot be a name: one with blanks, controls or
// other characters that nobody sees, one longer than [MaxName], one of only dots
// or that begins with a dot, a dash or an underscore, and one whose letters are of
// several scripts; but Chinese, Japanese and Korean ones may be together, and with
// Latin ones.
func Canonical(name string) (string, error) {
	if len(name) > MaxName*utf8.UTFMax {
		return "", badName("longer than 64 characters")
	}
	c, err := precis.UsernameCaseMapped.String(name)
	switch {
	case err != nil || c == "":
		return "", badName("empty, or with characters that names do not have, such as blanks")
	case utf8.RuneCountInString(c) > MaxName:
		return "", badName("longer than 64 characters")
	case strings.IndexByte(".-_", c[0]) >= 0:
		return "", badName("begins with a dot, a dash or an underscore")
	case strings.ContainsAny(c, `/\:;,<>"'&%#?|*()[]{}=`+"`"):
		return "", badName("only letters, digits and . - _ @ + can be in it")
	case !oneScript(c):
		return "", badName("letters of several scripts")
	}
	return c, nil
}

// scripts are those that people mix. All others stand alone.
var together = []*unicode.RangeTable{unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Bopomofo, unicode.Latin}

func oneScript(s string) bool {
	var only *unicode.RangeTable
	east := true // all letters are of those that people mix
	for _, r := range s {
		if !unicode.IsLetter(r) || unicode.Is(unicode.Common, r) || unicode.Is(unicode.Inherited, r) {
			continue
		}
		if !unicode.In(r, together...) {
			east = false
		}
		if only == nil {
			only = scriptOf(r)
		} else if !unicode.Is(only, r) && !east {
			return false
		}
	}
	return true
}

func scriptOf(r rune) *unicode.RangeTable {
	for _, table := range unicode.Scripts {
		if unicode.Is(table, r) {
			return table
		}
	}
	return unicode.Common
}

// twins are the lower-case letters that look like a Latin one, and the digits that
// do. Accents do not come into it: é is seen to be another letter.
var twins = strings.NewReplacer(
	"0", "o", "1", "l", "rn", "m", "vv", "w", "ı", "i", "ł", "l", "ɑ", "a", "ɡ", "g", "ƅ", "b",
	// Cyrillic
	"а", "a", "ԁ", "d", "е", "e", "һ", "h", "і", "i", "ј", "j", "к", "k", "ӏ", "l", "м", "m", "о", "o",
	"р", "p", "ԛ", "q", "с", "c", "ѕ", "s", "т", "t", "ѵ", "v", "ѡ", "w", "ԝ", "w", "х", "x", "у", "y", "ү", "y",
	// Greek
	"α", "a", "γ", "y", "ι", "i", "κ", "k", "ν", "v", "ο", "o", "ρ", "p", "σ", "o", "τ", "t", "υ", "u", "χ", "x", "ω", "w",
	// Armenian
	"հ", "h", "ո", "n", "օ", "o", "ս", "u", "ց", "g", "զ", "q", "ⅼ", "l",
	// ASCII that is hardly seen to differ
	"-", "_",
)

// Skeleton returns what is left of a canonical name for the eye: two names with
// one skeleton are taken for each other. It is no name to be shown. The idea is
// that of Unicode Technical Standard 39, section 4; the table is smaller, since
// names are lower-case and of one script.
func Skeleton(canonical string) string {
	// Twice, since "r" and "n" may be what is left of something.
	return twins.Replace(twins.Replace(canonical))
}
