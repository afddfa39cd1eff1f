package signin_test

import (
	"context"
	"encoding/base32"
	"fmt"
	"iter"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/internal/visitor"
	"github.com/seed-64ad3862/gatehouse/password"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/signin"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

var appSecret = []byte("12345678901234567890")

func appCode(t testing.TB) string {
	t.Helper()
	return codeOf(t, base32.StdEncoding.EncodeToString(appSecret), 0)
}

// TestInFlight: a sign-in whose password was right is none if the password changes, the
// account is recovered or a second factor comes before it is through.
func TestInFlight(t *testing.T) {
	for name, meanwhile := range map[string]func(s *site, owner *visitor.Visitor, alex account.Person){
		"recovered": func(s *site, _ *visitor.Visitor, alex account.Person) {
			v := s.visitor(t)
			v.Open(s.recovery(t, alex.ID)).Send("", "new", better, "again", better).Shows("/manager")
		},
		"changed": func(_ *site, owner *visitor.Visitor, _ account.Person) {
			owner.Open("/manager/password").Send("/manager/password", "password", good, "new", better, "again", better, "end", "1").Shows("/manager")
		},
		"changed, others stay": func(_ *site, owner *visitor.Visitor, _ account.Person) {
			owner.Open("/manager/password").Send("/manager/password", "password", good, "new", better, "again", better).Shows("/manager")
		},
		"second factor": func(s *site, _ *visitor.Visitor, alex account.Person) {
			if _, err := s.people.Update(t.Context(), alex.ID, func(p *account.Person) error {
				p.Authenticator = &account.Authenticator{Secret: appSecret}
				return nil
			}); err != nil {
				t.Error(err)
			}
		},
		"disabled": func(s *site, _ *visitor.Visitor, alex account.Person) {
			if _, err := s.people.Update(t.Context(), alex.ID, func(p *account.Person) error { p.Disabled = true; return nil }); err != nil {
				t.Error(err)
			}
		},
		"deleted": func(s *site, _ *visitor.Visitor, alex account.Person) {
			if err := s.people.Delete(t.Context(), alex.ID); err != nil {
				t.Error(err)
			}
		},
	} {
		// The address is asked for once the password has been looked at, to keep it
		// with the session.
		var asked atomic.Int32
		var hook atomic.Pointer[func()]
		const thief = "203.0.113.66"
		s := newSite(t, fromHeader, func(c *signin.Config) {
			was := c.Addr
			c.Addr = func(r *http.Request) netip.Addr {
				addr := was(r)
				if f := hook.Load(); f != nil && addr.String() == thief && asked.Add(1) == 2 {
					(*f)()
				}
				return addr
			}
		})
		alex := s.person(t, account.Person{Name: "alex"})
		owner, v := s.visitor(t), s.visitor(t)
		signIn(owner, "alex", good).Shows("/index")
		from(v, thief)
		v.Open("/login")
		f := func() { meanwhile(s, owner, alex) }
		hook.Store(&f)
		v.Send("/login", "name", "alex", "password", good)
		hook.Store(nil)
		if asked.Load() < 2 {
			t.Fatalf("%s: nothing happened meanwhile", name)
		}
		v.Open("/manager")
		if v.At.Path != "/login" {
			t.Errorf("%s: at %s: %s", name, v.At.Path, v.Text())
		}
		if n := strings.Count(strings.Join(s.kinds(t), " "), "sign-in"); n > 2 { // the owner's, and by the link
			t.Errorf("%s: %v", name, s.kinds(t))
		}
		if name != "disabled" && name != "deleted" && !strings.HasPrefix(name, "recovered") {
			owner.Open("/manager").Shows("/manager")
		}
	}
}

// lame is a store of sessions that may fail to list and to end them.
type lame struct {
	*memory.Store
	fails atomic.Bool
}

func (l *lame) List(ctx context.Context, q session.Query) iter.Seq2[session.Record, error] {
	if l.fails.Load() {
		return func(yield func(session.Record, error) bool) { yield(session.Record{}, errAway) }
	}
	return l.Store.List(ctx, q)
}

func (l *lame) Delete(ctx context.Context, id session.ID) error {
	if l.fails.Load() {
		return errAway
	}
	return l.Store.Delete(ctx, id)
}

// TestHalfDone: sessions that could not be removed are over all the same, the log and
// the owner are told what has happened, and what was begun is done.
func TestHalfDone(t *testing.T) {
	store := &lame{Store: memory.New(memory.Config{})}
	var box mailbox
	s := newSite(t, box.use, func(c *signin.Config) {
		var err error
		if c.Sessions, err = session.New(session.Config{Store: store, Insecure: true}); err != nil {
			t.Fatal(err)
		}
	})
	alex := s.person(t, account.Person{Name: "alex", Email: "alex@example.com"})
	eric := s.person(t, account.Person{Name: "eric"})
	zoe := s.person(t, account.Person{Name: "zoe"})
	s.person(t, account.Person{Name: "root", Admin: true})
	thief, two, three, admin := s.visitor(t), s.visitor(t), s.visitor(t), s.visitor(t)
	signIn(thief, "alex", good).Shows("/index")
	signIn(two, "eric", good).Shows("/index")
	signIn(three, "zoe", good).Shows("/index")
	signIn(admin, "root", good).Shows("/index")
	admin.Open("/manager")
	v := s.visitor(t)
	v.Open(s.recovery(t, alex.ID))
	store.fails.Store(true)
	v.Send("", "new", better, "again", better)
	post(admin, "/manager/people/"+eric.ID+"/delete", "sure", "eric")
	admin.Open("/manager/people/new")
	post(admin, "/manager/people/"+zoe.ID+"/disable")
	store.fails.Store(false)
	for _, v := range []*visitor.Visitor{thief, two, three} {
		v.Open("/manager").Shows("/login")
		v.Open("/app/x").Shows("/login")
	}
	v.Open("/manager").Shows("/manager", "alex", "The password is changed")
	kinds := s.kinds(t)
	for _, want := range []string{"recovered", "person-deleted", "person-disabled"} {
		if !slices.Contains(kinds, want) {
			t.Errorf("no %s in %v", want, kinds)
		}
	}
	if sent := box.all(s); len(sent) != 1 || sent[0].To != "alex@example.com" {
		t.Errorf("mail: %+v", sent)
	}
	if !strings.Contains(s.errors.String(), "still in their store") {
		t.Errorf("the program's log: %s", s.errors.String())
	}
}

// TestOnce: of several who come with the same code or link at once, one gets in.
func TestOnce(t *testing.T) {
	const together = 6
	// race has all of them send the form they are at, and counts who gets to the page.
	race := func(what string, vs []*visitor.Visitor, page string, send func(i int, v *visitor.Visitor)) {
		t.Helper()
		var in atomic.Int32
		var wg sync.WaitGroup
		for i, v := range vs {
			wg.Go(func() {
				send(i, v)
				switch {
				case v.At.Path == page && v.Status == http.StatusOK:
					in.Add(1)
				case v.Status >= 500:
					t.Errorf("%s: %d, %s", what, v.Status, v.Text())
				}
			})
		}
		wg.Wait()
		if in.Load() != 1 {
			t.Errorf("%s: %d in", what, in.Load())
		}
	}
	s := newSite(t, fromHeader)
	codes, hashes := account.NewRecoveryCodes()
	alex := s.person(t, account.Person{Name: "alex", Authenticator: &account.Authenticator{Secret: appSecret}, RecoveryCodes: hashes})
	waiting := func(round int) (vs []*visitor.Visitor) {
		t.Helper()
		for i := range together {
			v := s.visitor(t)
			from(v, network(round*together+i))
			vs = append(vs, signIn(v, "alex", good).Shows("/login/code"))
		}
		return vs
	}
	code := appCode(t)
	race("app", waiting(0), "/index", func(_ int, v *visitor.Visitor) { v.Send("/login/code", "code", code) })
	race("recovery", waiting(1), "/index", func(_ int, v *visitor.Visitor) { v.Send("/login/code", "code", codes[0]) })
	if _, err := s.people.Update(t.Context(), alex.ID, func(p *account.Person) error { p.Authenticator = nil; return nil }); err != nil {
		t.Fatal(err)
	}
	at := func(address string) (vs []*visitor.Visitor) {
		for range together {
			vs = append(vs, s.visitor(t).Open(address))
		}
		return vs
	}
	race("link", at(s.recovery(t, alex.ID)), "/manager", func(_ int, v *visitor.Visitor) { v.Send("", "new", better, "again", better) })

	s = newSite(t)
	setup, err := s.pages.SetupURL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	race("set-up", at(setup), "/manager", func(i int, v *visitor.Visitor) {
		v.Send("", "name", "admin"+string(rune('a'+i)), "new", better, "again", better)
	})

	// One app: whoever was slower is not told that theirs is in use.
	lei := s.person(t, account.Person{Name: "lei"})
	for range 5 {
		if _, err := s.people.Update(t.Context(), lei.ID, func(p *account.Person) error { p.Authenticator = nil; return nil }); err != nil {
			t.Fatal(err)
		}
		var vs []*visitor.Visitor
		var codes []string
		for range 2 {
			v := s.visitor(t)
			signIn(v, "lei", good).Shows("/index")
			v.Open("/manager/authenticator")
			_, key, _ := strings.Cut(v.Body, "secret=")
			code, err := totp.GenerateCode(key[:32], time.Now())
			if err != nil {
				t.Fatal(err)
			}
			vs, codes = append(vs, v), append(codes, code)
		}
		race("app", vs, "/manager/authenticator", func(i int, v *visitor.Visitor) { v.Send("/manager/authenticator", "code", codes[i]) })
	}
}

// TestCodes: codes of an app are bounded by account, wherever guesses come from, and by
// sign-in; whoever guesses them knows the password, of which the owner is told once; a
// recovery code always gets in, and so does the owner on a device that is known.
func TestCodes(t *testing.T) {
	var box mailbox
	s := newSite(t, fromHeader, box.use)
	codes, hashes := account.NewRecoveryCodes()
	alex := s.person(t, account.Person{
		Name: "alex", Email: "alex@example.com", Authenticator: &account.Authenticator{Secret: appSecret}, RecoveryCodes: hashes,
	})
	owner := s.visitor(t)
	from(owner, "198.51.100.7")
	signIn(owner, "alex", good).Send("/login/code", "code", codes[0]).Shows("/index")
	owner.Open("/manager").Send("/logout")

	wrong, last := 0, 0
	for i := range 20 {
		v := s.visitor(t)
		from(v, network(i))
		signIn(v, "alex", good).Shows("/login/code")
		for n := 1; v.At.Path == "/login/code" && last != http.StatusTooManyRequests; n++ {
			from(v, network(100+i*10+n))
			v.Send("/login/code", "code", "000000")
			if last = v.Status; last == http.StatusUnprocessableEntity {
				wrong++
			}
			if n == 5 && wrong <= 20 {
				v.Shows("/login/code", "Too many wrong codes")
				v.Open("/login/code").Shows("/login")
			}
		}
		if last == http.StatusTooManyRequests {
			// Neither a right one.
			v.Send("/login/code", "code", appCode(t)).Shows("/login/code", "Too many attempts")
			v.Send("/login/code", "code", codes[1]).Shows("/index", "Hello, alex")
			break
		}
	}
	if wrong != 20 || last != http.StatusTooManyRequests {
		t.Errorf("%d wrong codes, then %d", wrong, last)
	}
	signIn(owner, "alex", good).Send("/login/code", "code", appCode(t)).Shows("/index", "Hello, alex")
	guessed := 0
	for _, m := range box.all(s) {
		if m.To == alex.Email && strings.Contains(m.Subject, "know your password") && strings.Contains(m.Text, "wrong codes") {
			guessed++
		}
	}
	if guessed != 1 {
		t.Errorf("%d warnings", guessed)
	}

	// The same bound holds where somebody confirms, and with a link.
	thief := s.visitor(t)
	from(thief, network(900))
	signIn(thief, "alex", good).Send("/login/code", "code", codes[2]).Shows("/index")
	thief.Open("/confirm").Send("/confirm", "password", good, "code", "000000")
	link := s.recovery(t, alex.ID)
	w := s.visitor(t)
	for range 25 {
		w.Open(link).Send("", "new", better, "again", better, "code", "000000")
	}
	if w.Status != http.StatusTooManyRequests {
		t.Errorf("by a link: %d, %s", w.Status, w.Text())
	}
	w.Open(link).Send("", "new", better, "again", better, "code", codes[3]).Shows("/manager")
	if n := strings.Count(strings.Join(s.kinds(t), " "), "code-used"); n != 4 {
		t.Errorf("%d uses of recovery codes are in the log", n)
	}
}

// TestNotLookedAt: an attempt that found no room to be looked at is not counted.
func TestNotLookedAt(t *testing.T) {
	h, err := password.New(password.Config{Memory: 7168, Passes: 64, AtOnce: 1, Waiting: 1})
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, fromHeader, func(c *signin.Config) { c.Hasher = h })
	s.person(t, account.Person{Name: "alex"})
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				_, _ = h.Hash(t.Context(), "x") // nor had they room
			}
		})
	}
	v := s.visitor(t)
	from(v, network(1))
	v.Open("/login")
	action, values := v.Filled("/login")
	values.Set("name", "alex")
	values.Set("password", "wrong")
	busy := 0
	for range 300 {
		v.Do(t.Context(), http.MethodPost, action, values.Encode())
		if v.Status == http.StatusServiceUnavailable {
			busy++
		}
		if busy == 20 || v.Status == http.StatusTooManyRequests {
			break
		}
	}
	stop.Store(true)
	wg.Wait()
	if busy < 6 {
		t.Errorf("after %d that nobody looked at: %d", busy, v.Status)
	}
}

// TestNeighbours: who is known here is not kept out by who guesses next to them.
func TestNeighbours(t *testing.T) {
	s := newSite(t, fromHeader)
	s.person(t, account.Person{Name: "alex"})
	v, x := s.visitor(t), s.visitor(t)
	from(v, network(1))
	from(x, network(1))
	signIn(v, "alex", good).Shows("/index")
	v.Open("/manager").Send("/logout")
	for range 6 {
		signIn(x, "alex", "wrong")
	}
	if x.Status != http.StatusTooManyRequests {
		t.Errorf("who guesses: %d", x.Status)
	}
	signIn(v, "alex", good).Shows("/index")
}

// TestOldMailbox: a link in a mailbox that is not theirs any more is closed with it,
// and a stranger's request does not close an administrator's.
func TestOldMailbox(t *testing.T) {
	var box mailbox
	s := newSite(t, box.use)
	alex := s.person(t, account.Person{Name: "alex", Email: "old@example.com"})
	made := s.recovery(t, alex.ID)
	for range 3 {
		s.visitor(t).Open("/recover").Send("/recover", "email", "old@example.com").Shows("/recover", "on its way")
	}
	sent := box.all(s)
	if len(sent) != 1 {
		t.Fatalf("%d messages", len(sent))
	}
	_, rest, _ := strings.Cut(sent[0].Text, s.URL)
	mailed := strings.Fields(rest)[0]
	for _, link := range []string{made, mailed} {
		s.visitor(t).Open(link).Shows(link, "For the account alex")
	}
	if kinds := s.kinds(t); !slices.Contains(kinds, "recovery-opened") {
		t.Errorf("the log has %v", kinds)
	}
	v := s.visitor(t)
	signIn(v, "alex", good)
	v.Open("/manager/profile").Send("/manager/profile", "email", "new@example.com").Shows("/manager")
	for _, link := range []string{made, mailed} {
		s.visitor(t).Open(link).Shows(link, "not good any more")
	}
}

// TestProfileMail: nobody has a message of their own making sent to whom they like.
func TestProfileMail(t *testing.T) {
	var box mailbox
	s := newSite(t, box.use)
	s.person(t, account.Person{Name: "mallory", Email: "m@example.com"})
	v := s.visitor(t)
	signIn(v, "mallory", good)
	for i := range 20 {
		v.Open("/manager/profile").Send("/manager/profile", "display", "your account is locked", "email", fmt.Sprintf("victim%d@example.com", i))
	}
	if v.Status != http.StatusTooManyRequests || !strings.Contains(v.Text(), "Too many attempts") {
		t.Errorf("%d: %s", v.Status, v.Text())
	}
	sent := box.all(s)
	if len(sent) > 10 {
		t.Errorf("%d messages", len(sent))
	}
	for _, m := range sent {
		if strings.Contains(m.Text, "locked") {
			t.Errorf("the text is theirs: %s", m.Text)
		}
	}
}

// TestOwn: what ends one's own session says goodbye instead of failing, and a link for
// somebody who is signed in here works.
func TestOwn(t *testing.T) {
	s := newSite(t)
	alex := s.person(t, account.Person{Name: "alex"})
	v := s.visitor(t)
	signIn(v, "alex", good)
	link := s.recovery(t, alex.ID)
	post(v.Open(link), link, "new", better, "again", better).Shows("/manager", "The password is changed")
	for i, err := range s.sessions.List(t.Context(), session.Query{Owner: alex.ID}) {
		if err != nil {
			t.Fatal(err)
		}
		post(v, "/manager/end", "handle", i.Handle.String()).Shows("/manager/end", "You are signed out")
	}
	if strings.Contains(v.Body, "?lang=") {
		t.Error("the page offers itself in another language, and cannot be asked for")
	}
	for _, action := range []string{"disable", "delete"} {
		s := newSite(t)
		root := s.person(t, account.Person{Name: "root", Admin: true})
		s.person(t, account.Person{Name: "other", Admin: true})
		signIn(v, "x", "x") // forget
		v = s.visitor(t)
		signIn(v, "root", good)
		v.Open("/manager")
		path := "/manager/people/" + root.ID + "/" + action
		post(v, path, "sure", "root").Shows(path, "You are signed out")
		v.Open("/manager").Shows("/login")
	}
	// Those that go on.
	s = newSite(t)
	root := s.person(t, account.Person{Name: "root", Admin: true})
	v, other := s.visitor(t), s.visitor(t)
	signIn(other, "root", good)
	signIn(v, "root", good)
	v.Open("/manager")
	post(v, "/manager/people/"+root.ID+"/factors").Shows("/manager/people/" + root.ID)
	v.Open("/manager").Shows("/manager")
	other.Open("/manager").Shows("/login")
}

// TestChanges: what an administrator changes is in the log, with what gives rights, and
// another address is told to both.
func TestChanges(t *testing.T) {
	var box mailbox
	s := newSite(t, box.use)
	alex := s.person(t, account.Person{Name: "alex", Email: "old@example.com"})
	s.person(t, account.Person{Name: "root", Admin: true})
	v := s.visitor(t)
	signIn(v, "root", good)
	at := "/manager/people/" + alex.ID
	v.Open(at).Send(at, "email", "new@example.com", "admin", "1", "groups", "staff").Shows(at)
	post(v, at+"/unban").Shows(at)
	var entries []string
	for e, err := range s.log.Entries(t.Context(), account.LogQuery{Person: alex.ID}) {
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, string(e.Kind)+": "+e.Detail)
	}
	if got := strings.Join(entries, "; "); got != "unbanned: ; person-changed: address, administrator, groups: staff" {
		t.Errorf("the log has %s", got)
	}
	var to []string
	for _, m := range box.all(s) {
		to = append(to, m.To)
	}
	if slices.Sort(to); strings.Join(to, " ") != "new@example.com old@example.com" {
		t.Errorf("mail to %v", to)
	}
}

// TestPurposes: a captcha that was solved for one page is good for no other.
func TestPurposes(t *testing.T) {
	var box mailbox
	s := newSite(t, box.use, func(c *signin.Config) { c.Captcha = signin.Always })
	s.person(t, account.Person{Name: "alex"})
	v := s.visitor(t)
	v.Open("/recover")
	_, values := v.Filled("/recover")
	id := values.Get("captcha_id")
	v.Open("/login").Send("/login", "name", "alex", "password", good, "captcha_id", id, "captcha_answer", s.solve(t, id))
	if v.At.Path != "/login" || v.Status != http.StatusUnprocessableEntity {
		t.Errorf("at %s, %d", v.At.Path, v.Status)
	}
}

// TestLabels: what nobody sees is not in a label, and makes no page fail.
func TestLabels(t *testing.T) {
	s := newSite(t)
	alex := s.person(t, account.Person{Name: "alex"})
	if _, err := s.people.Update(t.Context(), alex.ID, func(p *account.Person) error {
		p.Passkeys = []account.Passkey{{ID: []byte("key"), Label: "old", Credential: []byte("{}")}}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	v := s.visitor(t)
	signIn(v, "alex", good).Open("/manager")
	post(v, "/manager/passkeys/change", "id", "a2V5", "label", "a\u2028b\u202ec\x00").Shows("/manager", "abc")
}
