package account

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/secure/bidirule"
	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/bidi"
	"golang.org/x/text/unicode/norm"
)

// MaxName is how many characters a name can have.
const MaxName = 64

// ErrName means that a text cannot be a name. What is wrong with it is in the
// text of the error, which does not quote it.
var ErrName = errors.New("account: not a name")

func badName(why string) error { return fmt.Errorf("%w: %s", ErrName, why) }

// usernames is the profile UsernameCaseMapped of RFC 8265, section 3.3, but for the
// Bidi Rule: that of package precis refuses every name that is not ASCII and begins
// with a digit or ends with a dash, even where nothing runs from right to left.
var usernames = precis.NewIdentifier(precis.FoldWidth, precis.LowerCase(), precis.Norm(norm.NFC))

// maxTyped is how many bytes a name can have before it is composed: the widest are
// syllables of Hangul, three letters of three bytes each.
const maxTyped = MaxName * 9

// Canonical returns the form in which a name is kept and compared: lower case, in
// usual width, composed (the profile UsernameCaseMapped of RFC 8265, section 3.3).
//
// The error is [ErrName] for what cannot be a name: one with blanks, controls or
// other characters that nobody sees, or of ASCII others than letters, digits and
// . - _ @ +; one longer than [MaxName]; one that begins with a dot, a dash or an
// underscore; one with phonetic letters, or with accents that nobody can count; and
// one whose letters or digits are of several scripts, but Chinese, Japanese and
// Korean ones may be together, and with Latin ones.
func Canonical(name string) (string, error) {
	if len(name) > maxTyped {
		return "", badName("longer than 64 characters")
	}
	c, err := usernames.String(name)
	switch {
	case err != nil || c == "" || strings.ContainsAny(c, "\u200c\u200d"): // joiners, which the profile has
		return "", badName("empty, or with characters that names do not have, such as blanks")
	case utf8.RuneCountInString(c) > MaxName:
		return "", badName("longer than 64 characters")
	case strings.IndexByte(".-_", c[0]) >= 0:
		return "", badName("begins with a dot, a dash or an underscore")
	case strings.ContainsFunc(c, oddASCII):
		return "", badName("only letters, digits and . - _ @ + can be in it")
	case bidirule.DirectionString(c) != bidi.LeftToRight && !bidirule.ValidString(c):
		return "", badName("from left to right and from right to left at once")
	case !oneScript(c):
		return "", badName("letters or digits of several scripts")
	case !plain(c):
		return "", badName("phonetic letters, or accents without a letter or too many of them")
	}
	return c, nil
}

func oddASCII(r rune) bool {
	return r < utf8.RuneSelf && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(".-_@+", r)
}

// together are the scripts that people mix. All others stand alone.
var together = []*unicode.RangeTable{unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Bopomofo, unicode.Latin}

// oneScript goes by digits and marks too: a zero of another script is as round as an
// o.
func oneScript(s string) bool {
	var only *unicode.RangeTable
	east := true           // all are of those that people mix
	var ascii, others bool // digits
	for _, r := range s {
		if unicode.IsDigit(r) {
			ascii = ascii || r < utf8.RuneSelf
			others = others || r >= utf8.RuneSelf
		}
		if unicode.Is(unicode.Common, r) || unicode.Is(unicode.Inherited, r) {
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
	return !ascii || !others
}

func scriptOf(r rune) *unicode.RangeTable {
	for _, table := range unicode.Scripts {
		if unicode.Is(table, r) {
			return table
		}
	}
	return unicode.Common
}

// maxMarks is how many marks a letter can have (Unicode Technical Standard 39,
// section 5.4).
const maxMarks = 4

// plain reports whether each mark has a letter, each letter at most maxMarks, none of
// them twice, and whether the letters are those of languages: where a script has
// cases, those of phonetics, many of them small capitals, are without.
func plain(c string) bool {
	var last rune
	marks := maxMarks
	for _, r := range norm.NFD.String(c) {
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me):
			if marks++; marks > maxMarks || r == last {
				return false
			}
		case unicode.In(r, unicode.Latin, unicode.Greek, unicode.Cyrillic) && unicode.ToUpper(r) == r && r != 'ß':
			return false
		default:
			marks = 0
		}
		last = r
	}
	return true
}

// twins are the lower-case letters that look like a Latin one, and the digits that
// do. Accents do not come into it: é is seen to be another letter.
var twins = strings.NewReplacer(
	"0", "o", "1", "l", "rn", "m", "vv", "w",
	// Latin. A dot is not seen where there is one already.
	"i\u0307", "i", "j\u0307", "j", "ł", "l", "ɑ", "a", "ɡ", "g", "ƅ", "b", "ꞙ", "f", "ɩ", "i", "ɪ", "i", "ꝏ", "oo",
	"ƽ", "s", "ꞟ", "u", "ʋ", "u", "ɯ", "w", "ɣ", "y", "ỿ", "y", "ȣ", "8",
	// Cyrillic
	"а", "a", "ԁ", "d", "е", "e", "ҽ", "e", "һ", "h", "і", "i", "ꙇ", "i", "ј", "j", "к", "k", "ӏ", "l", "м", "m", "о", "o", "ꚙ", "oo",
	"р", "p", "ԛ", "q", "г", "r", "с", "c", "ѕ", "s", "т", "t", "ѵ", "v", "ѡ", "w", "ԝ", "w", "х", "x", "у", "y", "ү", "y",
	// Greek
	"α", "a", "γ", "y", "ι", "i", "ϳ", "j", "κ", "k", "ν", "v", "ο", "o", "ρ", "p", "σ", "o", "τ", "t", "υ", "u", "χ", "x", "ω", "w",
	// Armenian
	"հ", "h", "ո", "n", "ռ", "n", "օ", "o", "ս", "u", "ց", "g", "զ", "q", "գ", "q", "ք", "f", "ա", "w",
	// Cherokee
	"ꮯ", "c", "ꭵ", "i", "ꮁ", "r", "ꮪ", "s", "ꮩ", "v", "ꮃ", "w", "ꮓ", "z",
	// Coptic
	"ⲥ", "c", "ⲓ", "i", "ⲕ", "k", "ⲟ", "o", "ⲣ", "p", "ⲅ", "r", "ⲭ", "x",
	// Deseret and Osage
	"𐐽", "c", "𐐬", "o", "𐑈", "s", "𐓪", "o", "𐓶", "u",
	// Lisu: capitals, some of which look like their small letter
	"ꓚ", "c", "ꓲ", "l", "ꓗ", "k", "ꓳ", "o", "ꓑ", "p", "ꓢ", "s", "ꓴ", "u", "ꓦ", "v", "ꓪ", "w", "ꓫ", "x", "ꓜ", "z",
	// Chinese and Japanese
	"〇", "o", "へ", "ヘ", "カ", "力", "ロ", "口", "囗", "口", "ハ", "八", "タ", "夕", "イ", "亻", "ニ", "二", "ノ", "丿", "ト", "卜", "エ", "工", "ー", "一",
	// Apostrophes that are letters
	"ʻ", "ʼ", "ʽ", "ʼ", "ʾ", "ʼ",
	// ASCII that is hardly seen to differ
	"-", "_",
)

// Skeleton returns what is left of a canonical name for the eye: two names with
// one skeleton are taken for each other. It is no name to be shown. The idea is
// that of Unicode Technical Standard 39, section 4; the table is smaller, since
// names are lower-case and of one script.
func Skeleton(canonical string) string {
	// There and back, some letters that differ in lower case only, such as the two
	// small sigmas, are one.
	s := strings.ToLower(strings.ToUpper(canonical))
	// Twice, since "r" and "n" may be what is left of something.
	return twins.Replace(twins.Replace(s))
}
