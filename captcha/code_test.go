package captcha

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		code, typed string
		want        bool
	}{
		{"K7MPX", "K7MPX", true},
		{"K7MPX", "k7mpx", true},
		{"K7MPX", " k7 m-p\tx\r\n", true},
		{"K7MPX", "k7‐m–p—x", true},                   // hyphen and dashes
		{"K7MPX", "k7\u2212mpx", true},                // minus sign
		{"K7MPX", "k7\u200bm\ufeffp\u00adx", true},    // zero width, soft hyphen
		{"K7MPX", "Ｋ７ＭＰＸ", true},                      // full width
		{"K7MPX", "ｋ７　ｍｐｘ", true},                     // with an ideographic space
		{"K7MPX", "𝐊𝟕𝕄𝔓𝒳", true},                      // mathematical
		{"K7MPX", "ⓚ⁷Ⓜₚˣ", true},                      // circled, super- and subscript
		{"K7MPX", "ḱ7m̂ṕẍ", true},                     // accents, composed or not
		{"K7MPX", "\u212a7MPX", true},                 // Kelvin sign
		{"K7MPX", "к7мрх", true},                      // Cyrillic
		{"K7MPX", "Κ7ΜΡΧ", true},                      // Greek
		{"22586EP", "Z2SBGFR", true},                  // look-alikes
		{"LLLLL", "1iIl|", true},                      //
		{"LLLLL", "ıİľĺļ", true},                      // dotless and dotted i
		{"UUUUU", "vVuUV", true},                      //
		{"K7MPX", "K7MP", false},                      //
		{"K7MPX", "K7MPXX", false},                    //
		{"K7MPX", "K7MPY", false},                     //
		{"K7MPX", "", false},                          //
		{"K7MPX", "K7MPX\xff", false},                 // not UTF-8
		{"K7MPX", "K7MPX\xc0\x80", false},             //
		{"K7MPX", "K7MPX.", false},                    //
		{"K7MPX", "K7MPX我", false},                    //
		{"K7MPX", "K7MPX\x00", false},                 //
		{"", "", false},                               // no code
		{"---", "", false},                            //
		{"我", "我", false},                             // not a code
		{"k7-mpx", "K7MPX", true},                     // the code may be written in any way
		{"K7MPX", "K7MPX" + blanks(maxTyped-5), true}, // at the bound
		{"K7MPX", "K7MPX" + blanks(maxTyped-4), false},
	} {
		if got := Match(tt.code, tt.typed); got != tt.want {
			t.Errorf("Match(%q, %q) = %v", tt.code, tt.typed, got)
		}
	}
}

func blanks(n int) string { return strings.Repeat(" ", n) }

// Letters of the alphabet are kept apart, and each is its own spelling.
func TestAlphabet(t *testing.T) {
	for _, a := range Alphabet {
		for _, b := range Alphabet {
			if got := Match(string(a), string(b)); got != (a == b) {
				t.Errorf("Match(%c, %c) = %v", a, b, got)
			}
		}
	}
	// Of all that Unicode has, nothing becomes a letter that is a look-alike
	// of one in the alphabet: twin would have to be asked again.
	for r := rune(0); r <= utf8.MaxRune; r++ {
		got, _ := fold(nil, string(r))
		for _, b := range got {
			if twin(rune(b)) != rune(b) {
				t.Errorf("%U folds to %q", r, got)
			}
		}
	}
}

func TestNewCode(t *testing.T) {
	for n := -1; n < 100; n++ {
		code := NewCode(n)
		if len(code) != max(n, 0) || strings.Trim(code, Alphabet) != "" {
			t.Errorf("NewCode(%d) = %q", n, code)
		}
	}
	if one, two := NewCode(20), NewCode(20); one == two {
		t.Error("the same code twice")
	}
}

// A huge answer is refused for its length, not read.
func TestMatchHuge(t *testing.T) {
	huge := strings.Repeat("Ａ", 1<<20)
	if n := testing.AllocsPerRun(100, func() { Match("K7MPX", huge) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What folds to a code matches that code, and a folded text folds to itself.
func FuzzMatch(f *testing.F) {
	for _, s := range []string{"K7MPX", "ｋ７　ｍｐｘ", "к7мрх", "ıİſß", "ⅷ", "K7MP\xff", "ﷺ", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		got, ok := fold(nil, typed)
		if !ok {
			if Match("K7MPX", typed) {
				t.Errorf("%q matches and has no meaning", typed)
			}
			return
		}
		if Match(string(got), typed) != (len(got) > 0 && len(got) <= maxTyped) {
			t.Errorf("%q folds to %q, and does not match it", typed, got)
		}
		if again, ok := fold(nil, string(got)); len(got) <= maxTyped && (!ok || string(again) != string(got)) {
			t.Errorf("%q folds to %q, and that to %q", typed, got, again)
		}
	})
}
