package account_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
)

func newDirectory(t testing.TB) *account.Directory {
	t.Helper()
	d, err := account.New(account.Config{Store: new(account.Memory)})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func create(t testing.TB, d *account.Directory, p account.Person) account.Person {
	t.Helper()
	p, err := d.Create(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestCanonical: what is one name for people is one here, and what cannot be seen is
// none.
func TestCanonical(t *testing.T) {
	for typed, want := range map[string]string{
		"alex": "alex", "ALEX": "alex", "Ａｌｅｘ": "alex", "e\u0301mile": "émile", "ÉMILE": "émile", "Straße": "straße",
		"alex.b-c_d@x+1": "alex.b-c_d@x+1", "李雷": "李雷", "李雷lei": "李雷lei", "ひらカナ漢字": "ひらカナ漢字", "김철수": "김철수",
		"иван": "иван", "ИВАН2": "иван2", "αλέξης": "αλέξης", "9lives": "9lives", strings.Repeat("x", 64): strings.Repeat("x", 64),
		strings.Repeat("李", 64): strings.Repeat("李", 64),
	} {
		if got, err := account.Canonical(typed); got != want || err != nil {
			t.Errorf("%q: %q, %v; want %q", typed, got, err, want)
		}
	}
	for _, typed := range []string{
		"", " ", "a b", " alex", "alex ", "a\tb", "a\x00b", "a\nb", "\xff", "a\u200bb", "a\u200db", "\ufeffalex", "a\u202eb", "a\u00adb",
		"аlex", "alеx", "αlex", "ivanи", ".alex", "-alex", "_alex", "a/b", `a\b`, "a,b", "a<b", "a'b", `a"b`, "a&b", "a%b", "a#b", "a?b", "a:b", "a|b", "a*b", "a{b}", "a`b",
		strings.Repeat("x", 65), strings.Repeat("x", 1<<20), "...", "\u0301", "♥", "😀", "½", "a=b",
	} {
		if got, err := account.Canonical(typed); err == nil || !errors.Is(err, account.ErrName) {
			t.Errorf("%.40q is a name: %q, %v", typed, got, err)
		}
	}
}

// TestLooks: two names that are hardly told apart cannot both be there.
func TestLooks(t *testing.T) {
	d := newDirectory(t)
	create(t, d, account.Person{Name: "alex"})
	create(t, d, account.Person{Name: "paypal"})
	create(t, d, account.Person{Name: "modern"})
	for _, name := range []string{"Alex", "ＡＬＥＸ", "a1ex", "раураӏ", "paypa1", "rnodern", "modem"} {
		if p, err := d.Create(t.Context(), account.Person{Name: name}); !errors.Is(err, account.ErrNameTaken) {
			t.Errorf("%q: %+v, %v", name, p.Name, err)
		}
	}
	for _, name := range []string{"alexa", "ali", "all", "äbc", "abc"} {
		create(t, d, account.Person{Name: name})
	}
	if _, err := d.ByName(t.Context(), "a1ex"); !errors.Is(err, account.ErrNotFound) {
		t.Errorf("a name that looks the same signs in: %v", err)
	}
	abc, err := d.ByName(t.Context(), "ABC")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Update(t.Context(), abc.ID, func(p *account.Person) error { p.Name = "AL3X"; return nil }); err != nil {
		t.Errorf("renamed: %v", err)
	}
	if _, err := d.Update(t.Context(), abc.ID, func(p *account.Person) error { p.Name = "a1ex"; return nil }); !errors.Is(err, account.ErrNameTaken) {
		t.Errorf("renamed to what looks like another: %v", err)
	}
	if _, err := d.ByName(t.Context(), "abc"); !errors.Is(err, account.ErrNotFound) {
		t.Errorf("the former name: %v", err)
	}
}

// TestPerson: what cannot be shown in a line, or sent mail, is refused.
func TestPerson(t *testing.T) {
	d := newDirectory(t)
	create(t, d, account.Person{Name: "one", Email: " Alex@Example.COM "})
	p, err := d.ByEmail(t.Context(), "ALEX@example.com")
	if err != nil || p.Email != "alex@example.com" || p.Called() != "one" {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := d.Create(t.Context(), account.Person{Name: "two", Email: "alex@EXAMPLE.com"}); !errors.Is(err, account.ErrEmailTaken) {
		t.Errorf("the same address: %v", err)
	}
	for _, email := range []string{
		"alex", "@x", "a@", "Alex <alex@example.com>", "a@example.com, b@example.com", "a@example.com\r\nBcc: c@example.com",
		"a b@example.com", strings.Repeat("a", 250) + "@example.com", "a@example.com\x00", "\xff@example.com",
	} {
		if _, err := d.Create(t.Context(), account.Person{Name: "three", Email: email}); !errors.Is(err, account.ErrPerson) {
			t.Errorf("%.40q is an address: %v", email, err)
		}
		if _, err := d.ByEmail(t.Context(), email); !errors.Is(err, account.ErrNotFound) {
			t.Errorf("%.40q: %v", email, err)
		}
	}
	for _, bad := range []account.Person{
		{DisplayName: strings.Repeat("x", 129)},
		{DisplayName: "a\nb"},
		{DisplayName: "a\u202eb"},
		{DisplayName: "\xff"},
		{Groups: []string{""}},
		{Groups: []string{"a b"}},
		{Groups: []string{"a,b"}},
		{Groups: []string{strings.Repeat("x", 65)}},
		{Groups: strings.Fields(strings.Repeat("x ", 3) + numbers(65))},
		{Passkeys: make([]account.Passkey, 17)},
		{Passkeys: []account.Passkey{{Label: "a\x00"}}},
	} {
		bad.Name = "three"
		if _, err := d.Create(t.Context(), bad); !errors.Is(err, account.ErrPerson) {
			t.Errorf("%+.80v is stored: %v", bad, err)
		}
	}
	p = create(t, d, account.Person{Name: "four", DisplayName: " Four ", Groups: []string{"b", "a", "b"}, First: true})
	if p.DisplayName != "Four" || !slices.Equal(p.Groups, []string{"a", "b"}) || p.First || len(p.ID) != 26 || p.Created.IsZero() {
		t.Errorf("%+v", p)
	}
}

func numbers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprint(&b, i, " ")
	}
	return b.String()
}

// TestUpdate: no change is lost, and what cannot be changed is not.
func TestUpdate(t *testing.T) {
	d := newDirectory(t)
	p := create(t, d, account.Person{Name: "alex"})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, err := d.Update(t.Context(), p.ID, func(p *account.Person) error {
				p.ID, p.Created = "x", time.Time{}
				p.Groups = append(p.Groups, fmt.Sprint("g", i))
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	after, err := d.ByID(t.Context(), p.ID)
	if err != nil || len(after.Groups) != 8 || after.ID != p.ID || !after.Created.Equal(p.Created) {
		t.Errorf("%+v, %v", after, err)
	}
	mine := errors.New("mine")
	if _, err := d.Update(t.Context(), p.ID, func(*account.Person) error { return mine }); err != mine { //nolint:errorlint // as it is
		t.Errorf("%v", err)
	}
	if _, err := d.Update(t.Context(), "nobody", func(*account.Person) error { return nil }); !errors.Is(err, account.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// TestLastAdmin: somebody is left to manage people, whichever way they go.
func TestLastAdmin(t *testing.T) {
	d := newDirectory(t)
	one := create(t, d, account.Person{Name: "one", Admin: true, Password: "hash"})
	two := create(t, d, account.Person{Name: "two", Admin: true, Password: "hash", Disabled: true})
	create(t, d, account.Person{Name: "invited", Admin: true}) // who has not come yet
	set := func(id string, f func(p *account.Person)) error {
		_, err := d.Update(t.Context(), id, func(p *account.Person) error { f(p); return nil })
		return err
	}
	demote := func(p *account.Person) { p.Admin = false }
	disable := func(p *account.Person) { p.Disabled = true }
	enable := func(p *account.Person) { p.Disabled = false }
	strip := func(p *account.Person) { p.Password = "" }
	for name, err := range map[string]error{"demote": set(one.ID, demote), "strip": set(one.ID, strip), "disable": set(one.ID, disable), "delete": d.Delete(t.Context(), one.ID)} {
		if !errors.Is(err, account.ErrLastAdmin) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{"enable": set(two.ID, enable), "then": set(one.ID, demote)} {
		if err != nil && name == "enable" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := set(one.ID, demote); err != nil {
		t.Error(err)
	}
	if err := d.Delete(t.Context(), two.ID); !errors.Is(err, account.ErrLastAdmin) {
		t.Errorf("the last one: %v", err)
	}
	if err := d.Delete(t.Context(), one.ID); err != nil {
		t.Error(err)
	}
	if err := d.Delete(t.Context(), one.ID); !errors.Is(err, account.ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
}

// TestList: in the order of names, from anywhere on.
func TestList(t *testing.T) {
	d := newDirectory(t)
	for _, name := range []string{"eric", "alex", "李雷", "bob", "émile"} {
		create(t, d, account.Person{Name: name})
	}
	list := func(after string) (all []string) {
		for p, err := range d.List(t.Context(), after) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, p.Name)
		}
		return all
	}
	if got := fmt.Sprint(list("")); got != "[alex bob eric émile 李雷]" {
		t.Error(got)
	}
	if got := fmt.Sprint(list("bob")); got != "[eric émile 李雷]" {
		t.Error(got)
	}
	if got := fmt.Sprint(list("\xff\x00zzz")); got != "[émile 李雷]" {
		t.Error(got)
	}
}

// TestLinks: one use, one purpose, one at a time, and an end.
func TestLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory(t)
		p := create(t, d, account.Person{Name: "alex"})
		link := func() string {
			t.Helper()
			token, err := d.NewLink(t.Context(), p.ID, account.Recovery, time.Hour)
			if err != nil || len(token) != 22 {
				t.Fatalf("%q, %v", token, err)
			}
			return token
		}
		good := func(token string, want bool) {
			t.Helper()
			who, err := d.ByLink(t.Context(), token, account.Recovery)
			if (err == nil) != want || err == nil && who.ID != p.ID || err != nil && !errors.Is(err, account.ErrLink) {
				t.Errorf("%v, %v; want %v", who.ID, err, want)
			}
		}
		use := func(token string) error {
			_, err := d.Update(t.Context(), p.ID, func(p *account.Person) error { return p.UseLink(token, account.Recovery) })
			return err
		}
		one := link()
		good(one, true)
		two := link()
		good(one, false)
		good(two, true)
		if _, err := d.ByLink(t.Context(), two, "another"); !errors.Is(err, account.ErrLink) {
			t.Errorf("for another purpose: %v", err)
		}
		if err := use(one); !errors.Is(err, account.ErrLink) {
			t.Errorf("one that was replaced: %v", err)
		}
		if err := use(two); err != nil {
			t.Error(err)
		}
		good(two, false)
		if err := use(two); !errors.Is(err, account.ErrLink) {
			t.Errorf("used twice: %v", err)
		}
		three := link()
		time.Sleep(time.Hour - time.Nanosecond)
		good(three, true)
		time.Sleep(time.Nanosecond)
		good(three, false)
		for _, token := range []string{"", "x", strings.Repeat("x", 1<<20), "\x00", "\xff"} {
			good(token, false)
		}
	})
}

// TestLinkClocks: a link that was made on a machine whose clock is ahead is good, and is
// counted as made just now; one from further ahead than clocks may differ is good for
// nothing.
func TestLinkClocks(t *testing.T) {
	const life, pause = time.Hour, 5 * time.Minute
	for back, want := range map[time.Duration]bool{20 * time.Millisecond: true, time.Second: true, 45 * time.Second: true, 2 * time.Minute: false, 24 * time.Hour: false} {
		synctest.Test(t, func(t *testing.T) {
			d := newDirectory(t)
			p := create(t, d, account.Person{Name: "alex"})
			token, err := d.NewLink(t.Context(), p.ID, account.Recovery, life)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.Update(t.Context(), p.ID, func(p *account.Person) error {
				p.Links[0].Made, p.Links[0].Expires = p.Links[0].Made.Add(back), p.Links[0].Expires.Add(back)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if _, err := d.ByLink(t.Context(), token, account.Recovery); (err == nil) != want {
				t.Errorf("%v ahead: %v", back, err)
			}
			if _, err := d.NextLink(t.Context(), p.ID, account.Recovery, life, pause); errors.Is(err, account.ErrTooSoon) != want {
				t.Errorf("%v ahead: another one: %v", back, err)
			}
		})
	}
}

// TestSetUp: one administrator, by one of the links, within its time.
func TestSetUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory(t)
		token := func() string {
			t.Helper()
			token, err := d.NewSetup(t.Context(), time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			return token
		}
		old := token()
		time.Sleep(time.Hour)
		if _, err := d.SetUp(t.Context(), old, account.Person{Name: "alex", Password: "hash"}); !errors.Is(err, account.ErrLink) {
			t.Errorf("an old link: %v", err)
		}
		one, two := token(), token()
		if _, err := d.SetUp(t.Context(), one, account.Person{Name: "a b", Password: "hash"}); !errors.Is(err, account.ErrName) {
			t.Errorf("no name: %v", err)
		}
		if _, err := d.SetUp(t.Context(), one, account.Person{Name: "alex"}); !errors.Is(err, account.ErrPerson) {
			t.Errorf("nothing to sign in with: %v", err)
		}
		if err := d.CheckSetup(t.Context(), one); err != nil {
			t.Errorf("after a name that was refused: %v", err)
		}
		p, err := d.SetUp(t.Context(), two, account.Person{Name: "alex", Password: "hash", Disabled: true})
		if err != nil || !p.Admin || p.Disabled || !p.First {
			t.Errorf("%+v, %v", p, err)
		}
		for _, token := range []string{one, two, old, ""} {
			if err := d.CheckSetup(t.Context(), token); !errors.Is(err, account.ErrLink) {
				t.Errorf("afterwards: %v", err)
			}
		}
		if _, err := d.NewSetup(t.Context(), time.Hour); !errors.Is(err, account.ErrSetUp) {
			t.Errorf("another link: %v", err)
		}

		// A link is of no use once somebody is an administrator in another way.
		d = newDirectory(t)
		one = token()
		if _, err := d.Create(t.Context(), account.Person{Name: "eric", Admin: true, Password: "hash"}); err != nil {
			t.Fatal(err)
		}
		if err := d.CheckSetup(t.Context(), one); !errors.Is(err, account.ErrSetUp) {
			t.Errorf("with an administrator: %v", err)
		}
		if _, err := d.SetUp(t.Context(), one, account.Person{Name: "alex", Password: "hash"}); !errors.Is(err, account.ErrSetUp) {
			t.Errorf("with an administrator: %v", err)
		}
		if err := d.CheckSetup(t.Context(), old); !errors.Is(err, account.ErrLink) {
			t.Errorf("with an administrator, an old link: %v", err)
		}
	})
}

// TestLinksClose: another password or address closes what was open, but not what is
// opened at the same time; nothing else does.
func TestLinksClose(t *testing.T) {
	for name, change := range map[string]func(p *account.Person){
		"password": func(p *account.Person) { p.Password = "another" },
		"address":  func(p *account.Person) { p.Email = "new@example.com" },
		"name":     func(p *account.Person) { p.Name = "alexandra" },
		"epoch":    (*account.Person).EndSessions,
	} {
		d := newDirectory(t)
		p := create(t, d, account.Person{Name: "alex", Password: "hash", Email: "old@example.com"})
		var tokens [2]string
		for i, purpose := range []account.Purpose{account.Recovery, account.Mailed} {
			var err error
			if tokens[i], err = d.NewLink(t.Context(), p.ID, purpose, time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		fresh := account.Link{Hash: []byte("fresh"), Purpose: account.Mailed, Expires: time.Now().Add(time.Hour)}
		p, err := d.Update(t.Context(), p.ID, func(p *account.Person) error {
			change(p)
			p.Links = append(p.Links, fresh)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		closes := name == "password" || name == "address"
		for i, purpose := range []account.Purpose{account.Recovery, account.Mailed} {
			if _, err := d.ByLink(t.Context(), tokens[i], purpose); errors.Is(err, account.ErrLink) != closes {
				t.Errorf("%s: the %s link: %v", name, purpose, err)
			}
		}
		if want := map[bool]int{true: 1, false: 3}[closes]; len(p.Links) != want {
			t.Errorf("%s: %d links, want %d", name, len(p.Links), want)
		}
	}
}

// TestNextLink: one within the pause, also of many at once, and another one after it.
func TestNextLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory(t)
		p := create(t, d, account.Person{Name: "alex"})
		next := func() (string, error) {
			return d.NextLink(t.Context(), p.ID, account.Mailed, time.Hour, 5*time.Minute)
		}
		var made atomic.Int32
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				switch _, err := next(); {
				case err == nil:
					made.Add(1)
				case !errors.Is(err, account.ErrTooSoon):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if made.Load() != 1 {
			t.Errorf("%d links", made.Load())
		}
		if _, err := d.NewLink(t.Context(), p.ID, account.Recovery, time.Hour); err != nil {
			t.Errorf("of another purpose: %v", err)
		}
		time.Sleep(5 * time.Minute)
		token, err := next()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.ByLink(t.Context(), token, account.Mailed); err != nil {
			t.Error(err)
		}
	})
}

// TestRecoveryCodes: each once, however it is typed.
func TestRecoveryCodes(t *testing.T) {
	codes, hashes := account.NewRecoveryCodes()
	if len(codes) != account.RecoveryCodes || len(hashes) != len(codes) {
		t.Fatalf("%d codes, %d hashes", len(codes), len(hashes))
	}
	p := account.Person{RecoveryCodes: hashes}
	for i, typed := range []string{codes[0], strings.ToUpper(codes[1]), " " + strings.ReplaceAll(codes[2], "-", " ") + " ", strings.ReplaceAll(codes[3], "-", "")} {
		if len(codes[i]) != 29 || strings.ContainsAny(codes[i], "l1o0") && strings.ContainsAny(codes[i], "l10") {
			t.Errorf("code %q", codes[i])
		}
		if !p.UseRecoveryCode(typed) {
			t.Errorf("%q is not good", typed)
		}
		if p.UseRecoveryCode(typed) {
			t.Errorf("%q is good twice", typed)
		}
	}
	if len(p.RecoveryCodes) != 6 {
		t.Errorf("%d are left", len(p.RecoveryCodes))
	}
	for _, typed := range []string{"", "-", codes[4][:28], codes[4] + "a", strings.Repeat("a", 1<<20), string(hashes[4])} {
		if p.UseRecoveryCode(typed) {
			t.Errorf("%.40q is good", typed)
		}
	}
	if len(p.RecoveryCodes) != 6 {
		t.Errorf("%d are left", len(p.RecoveryCodes))
	}
}

// failing is a store that is away.
type failing struct{ account.Memory }

var errAway = errors.New("away")

func (*failing) Get(context.Context, string) (account.Record, error) {
	return account.Record{}, errAway
}

// TestAway: a store's error comes through, and is not taken for nobody.
func TestAway(t *testing.T) {
	d, err := account.New(account.Config{Store: new(failing)})
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"ByID":    func() error { _, err := d.ByID(t.Context(), "x"); return err },
		"ByName":  func() error { _, err := d.ByName(t.Context(), "x"); return err },
		"ByEmail": func() error { _, err := d.ByEmail(t.Context(), "x@example.com"); return err },
		"ByLink":  func() error { _, err := d.ByLink(t.Context(), "x", account.Recovery); return err },
		"Update": func() error {
			_, err := d.Update(t.Context(), "x", func(*account.Person) error { return nil })
			return err
		},
		"Delete": func() error { return d.Delete(t.Context(), "x") },
		"Secret": func() error { _, err := d.Secret(t.Context(), "x"); return err },
		"Setup":  func() error { return d.CheckSetup(t.Context(), "x") },
	} {
		if err := call(); !errors.Is(err, errAway) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := account.New(account.Config{}); err == nil {
		t.Error("a Directory without a store")
	}
}

// TestDamaged: a record that is no person is an error, and ends nothing else.
func TestDamaged(t *testing.T) {
	store := new(account.Memory)
	d, err := account.New(account.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), account.Record{ID: "person/x", Keys: []string{"name/x"}, Data: []byte("{")}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.ByName(t.Context(), "x"); err == nil || errors.Is(err, account.ErrNotFound) {
		t.Errorf("%v", err)
	}
	for _, err := range d.List(t.Context(), "") {
		if err == nil {
			t.Error("a damaged person is listed")
		}
	}
}

// FuzzCanonical: a canonical name is its own, and so is a skeleton.
func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"Alex", "e\u0301", "李雷", "ﬁ", "İ", "ß", "rrn", "vvv", "\u1e9e", "\u0345"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := account.Canonical(s)
		if err != nil {
			return
		}
		again, err := account.Canonical(c)
		if err != nil || again != c {
			t.Errorf("%q: %q, then %q, %v", s, c, again, err)
		}
		if k := account.Skeleton(c); account.Skeleton(k) != k {
			t.Errorf("%q: skeleton %q, then %q", c, k, account.Skeleton(k))
		}
	})
}

// FuzzCanonicalEmail: what is an address is one line and its own form.
func FuzzCanonicalEmail(f *testing.F) {
	for _, s := range []string{"a@b.c", "A@B", "\"a b\"@c", "a@[127.0.0.1]", "ü@é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := account.CanonicalEmail(s)
		if err != nil {
			return
		}
		if strings.ContainsAny(c, "\r\n\x00") {
			t.Errorf("%q", c)
		}
		if again, err := account.CanonicalEmail(c); err != nil || again != c {
			t.Errorf("%q: %q, then %q, %v", s, c, again, err)
		}
	})
}

// TestPasskeysOfBefore: a person whose passkeys were stored before their IDs were keys
// can be changed, also if another one has the same; a change makes them keys where it can.
func TestPasskeysOfBefore(t *testing.T) {
	s := new(account.Memory)
	d, err := account.New(account.Config{Store: s})
	if err != nil {
		t.Fatal(err)
	}
	passkeys := func(ids ...string) (all []account.Passkey) {
		for _, id := range ids {
			all = append(all, account.Passkey{ID: []byte(id), Label: "phone"})
		}
		return all
	}
	alex, err := d.Create(t.Context(), account.Person{Name: "alex", Passkeys: passkeys("one", "two")})
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Get(t.Context(), "person/"+alex.ID)
	if err != nil {
		t.Fatal(err)
	}
	r.Keys = slices.DeleteFunc(r.Keys, func(key string) bool { return strings.HasPrefix(key, "passkey/") })
	if err := s.Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	mallory, err := d.Create(t.Context(), account.Person{Name: "mallory", Passkeys: passkeys("one")})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		p, err := d.Update(t.Context(), alex.ID, func(p *account.Person) error { p.DisplayName += "x"; return nil })
		if err != nil || len(p.Passkeys) != 2 {
			t.Errorf("another change: %+v, %v", p.Passkeys, err)
		}
	}
	if _, err := d.Update(t.Context(), mallory.ID, func(p *account.Person) error { p.Passkeys = passkeys("one", "two"); return nil }); !errors.Is(err, account.ErrPasskeyTaken) {
		t.Errorf("the other passkey is not the first one's: %v", err)
	}
	if _, err := d.Update(t.Context(), alex.ID, func(p *account.Person) error { p.Passkeys = passkeys("two"); return nil }); err != nil {
		t.Errorf("without the one that both have: %v", err)
	}
	if _, err := d.Update(t.Context(), alex.ID, func(p *account.Person) error { p.Passkeys = passkeys("one", "two"); return nil }); !errors.Is(err, account.ErrPasskeyTaken) {
		t.Errorf("and with it again: %v", err)
	}
}
