package account_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/seed-64ad3862/gatehouse/account"
)

// TestCanonicalASCII: of ASCII exactly what the documentation says can be in a name.
func TestCanonicalASCII(t *testing.T) {
	for r := range rune(0x80) {
		want := r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune(".-_@+", r)
		name := "a" + string(r) + "b"
		switch got, err := account.Canonical(name); {
		case want && (err != nil || got != strings.ToLower(name)):
			t.Errorf("%q: %q, %v", name, got, err)
		case !want && !errors.Is(err, account.ErrName):
			t.Errorf("%q is a name: %q, %v", name, got, err)
		}
	}
}

// TestCanonicalForms: however a keyboard composes it, it is the same name.
func TestCanonicalForms(t *testing.T) {
	for _, name := range []string{
		"émile", "nguyễn", "ångström", "čapek", "ελένη", "ραΐσα", "йосип", "김철수", "が行", "हिन्दी", "ไทย", "straße", "jaǰ", "ਪੰਜਾਬੀ",
		strings.Repeat("ế", 64), strings.Repeat("각", 64), "9émile", "3口之家", "007иван", "иван_", "émile.", "אבג1", "ابج", "ʻokina", "בְּרֵאשִׁית",
	} {
		for _, form := range []norm.Form{norm.NFC, norm.NFD} {
			got, err := account.Canonical(form.String(strings.ToUpper(name)))
			if strings.Contains(name, "ς") || strings.Contains(name, "ß") { // ẞ is not what ToUpper has
				got, err = account.Canonical(form.String(name))
			}
			if want := norm.NFC.String(name); got != want || err != nil {
				t.Errorf("%q: %q, %v", form.String(name), got, err)
			}
		}
	}
}

// TestCanonicalRefuses: what is not seen, or seen to be something else.
func TestCanonicalRefuses(t *testing.T) {
	for name, names := range map[string][]string{
		"unseen": {
			"a\u200cb", "a\u200db", "क्\u200dष", "ب\u200cب", "a\u2060b", "a\u034fb", "a\ufe0fb", "a\u180eb", "a\u3164b", "a\u115fb", "a\u17b4b",
			"a\U000e0041b", "a\u061cb", "a\u200eb", "a\u2066b", "a\u2028b", "a\u0085b", "a\u00a0b", "a\u3000b", "a\u2800b", "a\ufffcb",
		},
		"several scripts":  {"ivanи", "аlex", "αlex", "李иван", "иван李", "李aи", "aи李", "カи", "אa", "ab\u0e49", "иван\u0941"},
		"several digits":   {"go০gle", "g٥٥gle", "g۵۵gle", "12৪4", "১1", "٠۰", "u१", "иван१"},
		"directions":       {"1אב", "אבa", "א1b", "אב٠1"},
		"phonetics":        {"gᴏᴏgle", "ᴠiᴄtor", "paypaǀ", "aʔb", "ꜱam", "ꬵoo", "ĸ", "ᴦ", "ᴫ"},
		"accents":          {"\u0301", "\u0301a", "a\u0301\u0301", "á\u0301", "ạ\u0323", "a" + strings.Repeat("\u0300\u0301", 20), "a\u0300\u0301\u0302\u0303\u0304"},
		"not UTF-8":        {"\xff", "a\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80", "a\xc0\xae"},
		"65 characters":    {strings.Repeat("x", 65), strings.Repeat("李", 65), strings.Repeat("ế", 65), norm.NFD.String(strings.Repeat("각", 65)), strings.Repeat("𐐨", 65)},
		"huge":             {strings.Repeat("x", 1<<24), strings.Repeat("\u0301", 1<<20), strings.Repeat("\xff", 1<<20), strings.Repeat("İ", 65)},
		"not assigned":     {"a\u0378", "a\ue000", "a\uffff", "\U0010ffff"},
		"signs and emojis": {"a♥", "€", "☃", "a😀", "½", "²", "ﬁ", "™", "a·b", "・a", "a…"},
	} {
		for _, typed := range names {
			got, err := account.Canonical(typed)
			if !errors.Is(err, account.ErrName) || got != "" {
				t.Errorf("%s: %.40q is a name: %q, %v", name, typed, got, err)
			}
			if err != nil && len(typed) > 2 && strings.Contains(err.Error(), typed) {
				t.Errorf("%s: the error quotes it: %v", name, err)
			}
		}
	}
}

// TestCanonicalConcurrent is for the race detector: the profile is shared.
func TestCanonicalConcurrent(t *testing.T) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				for typed, want := range map[string]string{"ÉLODIE": "élodie", "ＡＢ": "ab", "ΣΟΦΙΑ": "σοφια", "e\u0301": "é"} {
					if got, err := account.Canonical(typed); got != want || err != nil {
						t.Errorf("%q: %q, %v", typed, got, err)
					}
				}
			}
		})
	}
	wg.Wait()
}

// twins look the same in a usual typeface; confusables.txt of Unicode Technical
// Standard 39 has the single letters too.
var twins = [][2]string{
	{"google", "g00gle"},
	{"g8", "gȣ"},
	{"paypal", "paypa1"},
	{"paypal", "раураӏ"},
	{"modern", "modem"},
	{"modern", "rnodern"},
	{"wave", "vvave"},
	{"google", "g〇〇gle"},
	{"google", "gꝏgle"},
	{"ali", "ali\u0307"},
	{"ali", "ALİ"},
	{"ali", "alı"},
	{"jan", "j\u0307an"},
	{"sim", "sɩm"},
	{"sim", "sɪm"},
	{"uwe", "ʋwe"},
	{"a-b", "a_b"},
	{"lodz", "łodz"},
	{"αλεξης", "αλεξησ"},
	{"ΑΛΕΞΗΣ", "αλεξης"},
	{"осо", "осᲂ"}, // the narrow o of printed Church Slavonic
	{"ρο", "po"},
	{"cop", "ⲥⲟⲣ"},
	{"sow", "ꓢꓳꓪ"},
	{"civic", "ꮯꭵꮩꭵꮯ"},
	{"カト", "力卜"},
	{"ロ", "口"},
	{"へいわ", "ヘいわ"},
	{"ニコ", "二コ"},
	{"oʻbrien", "oʼbrien"},
}

// harmless ones are told apart by whoever reads them.
var harmless = [][2]string{
	{"ali", "all"},
	{"emile", "émile"},
	{"ab", "abc"},
	{"mm", "nn"},
	{"a.b", "ab"},
	{"a.b", "a-b"},
	{"a+b", "a@b"},
	{"bob", "6o6"},
	{"sam", "5am"},
	{"uwe", "vwe"},
	{"strasse", "straße"},
	{"иван", "иваи"},
	{"李", "季"},
	{"土", "士"},
	{"ab", "ba"},
	{"rm", "m"},
	{"q", "g"},
	{"1", "2"},
	{"i", "l"},
	{"åse", "ase"},
	{"öl", "ol"},
	{"ñu", "nu"},
	{"김", "감"},
	{"は", "ば"},
	{"1.2", "1.3"},
}

// TestTwins: the second of a pair cannot be there beside the first, neither new nor by
// another name; and nobody is kept from the name that they have.
func TestTwins(t *testing.T) {
	for _, pair := range twins {
		for _, pair := range [][2]string{pair, {pair[1], pair[0]}} {
			d := newDirectory(t)
			p := create(t, d, account.Person{Name: pair[0]})
			refused := func(operation string, err error) {
				t.Helper()
				if !errors.Is(err, account.ErrNameTaken) {
					t.Errorf("%s %q beside %q: %v", operation, pair[1], pair[0], err)
				}
			}
			_, err := d.Create(t.Context(), account.Person{Name: pair[1]})
			refused("Create", err)
			other := create(t, d, account.Person{Name: "other"})
			_, err = d.Update(t.Context(), other.ID, func(p *account.Person) error { p.Name = pair[1]; return nil })
			refused("Update", err)
			if got, err := d.ByID(t.Context(), other.ID); err != nil || got.Name != "other" {
				t.Errorf("after a refusal: %q, %v", got.Name, err)
			}
			// One may have one's own twin.
			if _, err := d.Update(t.Context(), p.ID, func(p *account.Person) error { p.Name = pair[1]; return nil }); err != nil {
				t.Errorf("from %q to %q: %v", pair[0], pair[1], err)
			}
		}
	}
	for _, pair := range harmless {
		d := newDirectory(t)
		create(t, d, account.Person{Name: pair[0]})
		if _, err := d.Create(t.Context(), account.Person{Name: pair[1]}); err != nil {
			t.Errorf("%q beside %q: %v", pair[1], pair[0], err)
		}
	}
}

// TestCase: whatever letter there is, its capital is the same name or looks the same.
func TestCase(t *testing.T) {
	for r := rune(0x80); r < 0x20000; r++ {
		small, err := account.Canonical(string(r))
		if err != nil {
			continue
		}
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			other, err := account.Canonical(string(f))
			if err == nil && account.Skeleton(other) != account.Skeleton(small) {
				t.Errorf("%q and %q are one letter, but two names", r, f)
			}
		}
	}
}

// TestSkeleton: a name and what is made of it fit in a key of a store.
func TestSkeleton(t *testing.T) {
	for r := range rune(0x20000) {
		c, err := account.Canonical(strings.Repeat(string(r), 64))
		if err != nil {
			continue
		}
		if s := account.Skeleton(c); len(c) > account.MaxKey/2 || len(s) > account.MaxKey/2 || s == "" || account.Skeleton(s) != s {
			t.Errorf("%q: %d bytes, skeleton %q", r, len(c), s)
		}
	}
}

func ExampleCanonical() {
	for _, typed := range []string{"Alex", "Ａｌｅｘ", "e\u0301mile", "李雷lei", "аlex", "alex miller"} {
		name, err := account.Canonical(typed)
		fmt.Printf("%+q %v\n", name, err)
	}
	// Output:
	// "alex" <nil>
	// "alex" <nil>
	// "\u00e9mile" <nil>
	// "\u674e\u96f7lei" <nil>
	// "" account: not a name: letters or digits of several scripts
	// "" account: not a name: empty, or with characters that names do not have, such as blanks
}
