package password

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/seed-64ad3862/gatehouse/password/internal/common"
)

// The reasons of [Policy.Check]. A page says them to the person who chooses.
var (
	// ErrShort means that the password has too few characters.
	ErrShort = errors.New("password: too short")
	// ErrCommon means that it is among the passwords that are tried first: one
	// that many have, or hardly more than that, a row of keys or numbers, or a
	// few characters again and again.
	ErrCommon = errors.New("password: too easily guessed")
	// ErrName means that it is made of a name that everybody knows.
	ErrName = errors.New("password: made of a name")
	// ErrBreached means that it is known to have been stolen somewhere.
	ErrBreached = errors.New("password: stolen before")
)

// MinLength is how many characters a [Policy] asks for at least.
const MinLength = 8

// A Policy says which passwords can be chosen. It asks for length, and for not
// being what is tried first; it has no rules about which characters there have to
// be, and nobody has to change a password because time has passed (NIST SP
// 800-63B-4, section 3.1.1.2; OWASP ASVS 5.0, V6.2). The zero value is right. It
// can be used by several goroutines at once.
type Policy struct {
	// Length is how many characters there have to be at least: [MinLength] if
	// less. NIST asks for 15 where a password is all that is needed to sign in.
	Length int

	// Names are words that everybody knows, such as the name of the site and of
	// its host, of which a password must not be made.
	Names []string

	// Breached, if not nil, is asked last whether a password is known to have
	// been stolen. Its error is returned by Check, and whether to go on without
	// an answer is then for the caller to decide.
	Breached func(ctx context.Context, password string) (bool, error)
}

// Check returns nil if a person can choose the password. About are the names of
// the person: of the account, and of the address for mail.
//
// The errors are [ErrInvalid], [ErrShort], [ErrCommon], [ErrName] and
// [ErrBreached], and that of Policy.Breached, wrapped.
func (p Policy) Check(ctx context.Context, password string, about ...string) error {
	password, ok := normal(password)
	if !ok {
		return ErrInvalid
	}
	length := max(p.Length, MinLength)
	if utf8.RuneCountInString(password) < length {
		return ErrShort
	}
	plain := folded(password)
	if isCommon(plain) || isCommon(unmasked.Replace(plain)) {
		return ErrCommon
	}
	for _, names := range [...][]string{p.Names, about} {
		if madeOf(plain, names) || madeOf(unmasked.Replace(plain), names) {
			return ErrName
		}
	}
	if p.Breached == nil {
		return nil
	}
	switch breached, err := p.Breached(ctx, password); {
	case err != nil:
		return fmt.Errorf("password: breached: %w", err)
	case breached:
		return ErrBreached
	}
	return nil
}

// folded is a text in the form in which texts are compared here: without case,
// accents or marks, and without width.
func folded(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return unicode.ToLower(r)
	}, norm.NFKD.String(s))
}

// unmasked undoes what people write for letters.
var unmasked = strings.NewReplacer("4", "a", "@", "a", "3", "e", "€", "e", "1", "i", "!", "i", "|", "l",
	"0", "o", "$", "s", "5", "s", "7", "t", "+", "t", "8", "b", "6", "g", "9", "g", "2", "z")

// around is how many characters before and after a common word do not make it an
// uncommon one.
const around = 4

// isCommon reports whether a folded password is one of the first that are tried.
func isCommon(plain string) bool {
	runes := []rune(plain)
	if len(runes) == 0 || common.Has(plain) || isRow(runes) {
		return true
	}
	// Again and again the same, with a part of it at the end maybe.
	for n := 1; n <= len(runes)/2 && n < MinLength; n++ {
		same := true
		for i := n; i < len(runes) && same; i++ {
			same = runes[i] == runes[i-n]
		}
		if same {
			return true
		}
	}
	core := strings.TrimFunc(plain, func(r rune) bool { return !unicode.IsLetter(r) })
	return core != plain && len(runes)-utf8.RuneCountInString(core) <= around && common.Has(core)
}

// isRow reports whether each character is the one after, or before, the last:
// in its code or on a keyboard.
func isRow(runes []rune) bool {
	for _, step := range [...]rune{1, -1} {
		same := true
		for i := 1; i < len(runes) && same; i++ {
			same = runes[i]-runes[i-1] == step
		}
		if same {
			return true
		}
	}
	const keys = "1234567890-= qwertyuiop[] asdfghjkl;' zxcvbnm,./ azertyuiop qsdfghjklm wxcvbn qwertzuiop yxcvbnm"
	return strings.Contains(keys, string(runes)) || strings.Contains(reversed(keys), string(runes))
}

// madeOf reports whether there is too little in a folded password beside names,
// in either direction.
func madeOf(plain string, names []string) bool {
	rest := plain
	for _, name := range names {
		// Of an address for mail and of a name of several words, each word.
		for word := range strings.FieldsFuncSeq(folded(name), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
			if utf8.RuneCountInString(word) < 3 {
				continue
			}
			rest = strings.ReplaceAll(rest, word, "")
			rest = strings.ReplaceAll(rest, reversed(word), "")
		}
	}
	return rest != plain && utf8.RuneCountInString(rest) < MinLength
}

func reversed(s string) string {
	runes := []rune(s)
	slices.Reverse(runes)
	return string(runes)
}
