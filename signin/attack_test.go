package signin_test

import (
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"runtime"
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
	"github.com/seed-64ad3862/gatehouse/throttle"
)

// fromHeader takes the client's address from a header, as a test's proxy sends it.
func fromHeader(c *signin.Config) {
	c.Addr = func(r *http.Request) netip.Addr {
		a, err := netip.ParseAddr(r.Header.Get("X-Test-Addr"))
		if err != nil {
			return netip.MustParseAddr("192.0.2.1")
		}
		return a
	}
}

// network is the i-th of an attacker who has many.
func network(i int) string {
	return netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)}).String()
}

// from has a visitor come from an address.
func from(v *visitor.Visitor, addr string) {
	v.Client.Transport = headerTransport{"X-Test-Addr", addr}
}

type headerTransport struct{ name, value string }

func (h headerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(h.name, h.value)
	return http.DefaultTransport.RoundTrip(r)
}

// TestInventedNames: a flood of names that nobody has grows nothing without end, and
// keeps nobody out. The names go to the budgets as the pages take them there; a
// hundredth of them by way of the pages.
func TestInventedNames(t *testing.T) {
	const names = 1_000_000
	budgets, err := throttle.New(throttle.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, fromHeader, func(c *signin.Config) { c.Throttle = budgets })
	s.person(t, account.Person{Name: "alex"})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range names {
		err := budgets.Try(t.Context(), throttle.Attempt{Account: fmt.Sprint("name", i), Addr: netip.MustParseAddr(network(i))})
		if denied, ok := errors.AsType[*throttle.Denied](err); err != nil && !ok {
			t.Fatal(err, denied)
		}
	}
	v := s.visitor(t)
	v.Open("/login")
	action, values := v.Filled("/login")
	for i := range 300 {
		values.Set("name", fmt.Sprint("other", i))
		values.Set("password", "wrong")
		from(v, network(i))
		v.Do(t.Context(), http.MethodPost, action, values.Encode())
		if v.Status != http.StatusUnprocessableEntity {
			t.Fatalf("status %d: %s", v.Status, v.Text())
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	signIn(s.visitor(t), "alex", good).Shows("/index", "Hello, alex")
}

// TestGuessing: whoever guesses from one network is stopped, from many networks asked
// for more, and the owner gets in all the time, on a device that is known and on one
// that is not.
func TestGuessing(t *testing.T) {
	s := newSite(t, fromHeader, func(c *signin.Config) { c.Captcha = signin.Adaptive })
	s.person(t, account.Person{Name: "alex"})
	owner := s.visitor(t)
	from(owner, "198.51.100.1")
	signIn(owner, "alex", good).Shows("/index")

	guess := func(addr string) *visitor.Visitor {
		v := s.visitor(t)
		from(v, addr)
		return signIn(v, "ALEX", "wrong")
	}
	for range 5 {
		guess("203.0.113.1").Shows("/login", "Name or password is wrong.")
	}
	v := guess("203.0.113.1").Shows("/login", "Too many attempts. Try again in")
	if v.Status != http.StatusTooManyRequests || v.Header.Get("Retry-After") == "" {
		t.Errorf("status %d, Retry-After %q", v.Status, v.Header.Get("Retry-After"))
	}
	// Even with the right password: it would tell that it is.
	signIn(v, "alex", good).Shows("/login", "Too many attempts")
	for i := range 150 {
		guess(network(i))
	}
	owner.Open("/manager").Send("/logout")
	signIn(owner, "alex", good).Shows("/index", "Hello, alex")
	fresh := s.visitor(t)
	from(fresh, "198.51.100.77")
	signIn(fresh, "alex", good).Shows("/index", "Hello, alex")
	if _, values := func() (string, url.Values) { w := s.visitor(t).Open("/login"); return w.Filled("/login") }(); values.Get("captcha_id") == "" {
		t.Error("no captcha")
	}
}

// TestFlood: two hundred at once are signed in, wait, or are told to come again; no
// more hashes are computed at a time than the limit.
func TestFlood(t *testing.T) {
	h, err := password.New(password.Config{Memory: 7168, Passes: 5, AtOnce: 2, Waiting: 20})
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, fromHeader, func(c *signin.Config) { c.Hasher = h })
	for i := range 4 {
		s.person(t, account.Person{Name: fmt.Sprint("person", i)})
	}
	var in, busy, other atomic.Int32
	var most uint64
	stop := make(chan struct{})
	var watching sync.WaitGroup
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	start := m.HeapAlloc
	watching.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
		}
	})
	var wg sync.WaitGroup
	for i := range 200 {
		v := s.visitor(t)
		from(v, network(i))
		v.Open("/login")
		action, values := v.Filled("/login")
		values.Set("name", fmt.Sprint("person", i%4))
		values.Set("password", good)
		wg.Go(func() {
			v.Do(context.Background(), http.MethodPost, action, values.Encode())
			switch {
			case v.Status == http.StatusOK && v.At.Path == "/index":
				in.Add(1)
			case v.Status == http.StatusServiceUnavailable && v.Header.Get("Retry-After") != "":
				busy.Add(1)
			default:
				other.Add(1)
				t.Errorf("status %d at %s: %s", v.Status, v.At, v.Text())
			}
		})
	}
	wg.Wait()
	close(stop)
	watching.Wait()
	if in.Load() < 20 || in.Load()+busy.Load() != 200 {
		t.Errorf("%d are in, %d come again, %d neither", in.Load(), busy.Load(), other.Load())
	}
	// Two hashes of 7 MiB, what the collector has not yet seen of those before, and
	// what two hundred connections take.
	if grown := int64(most) - int64(start); grown > 96<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	t.Logf("%d in, %d come again, heap +%d MiB", in.Load(), busy.Load(), (int64(most)-int64(start))>>20)
}

// TestFixation: the identifier from before a sign-in is of no use after it, and one
// that somebody has planted is never taken up.
func TestFixation(t *testing.T) {
	s := newSite(t)
	s.person(t, account.Person{Name: "alex"})
	at, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	v := s.visitor(t)
	v.Open("/login")
	before := v.Client.Jar.Cookies(at)
	v.Send("/login", "name", "alex", "password", good).Shows("/index", "Hello, alex")

	attacker := s.visitor(t)
	attacker.Client.Jar.SetCookies(at, before)
	attacker.Open("/index").Shows("/index", "Sign in to go on")

	victim := s.visitor(t)
	planted := strings.Repeat("A", 43)
	victim.Client.Jar.SetCookies(at, []*http.Cookie{{Name: "session", Value: planted, Path: "/"}})
	signIn(victim, "alex", good).Shows("/index", "Hello, alex")
	for _, c := range victim.Client.Jar.Cookies(at) {
		if c.Name == "session" && c.Value == planted {
			t.Error("a planted identifier is in use")
		}
	}
	// A code that is asked for belongs to nobody's session.
	if n := count(t, s, session.Query{Owner: ""}); n != 0 {
		t.Errorf("%d sessions of nobody are listed by owner", n)
	}
}

func count(t testing.TB, s *site, q session.Query) (n int) {
	t.Helper()
	for _, err := range s.sessions.List(t.Context(), q) {
		if err != nil {
			return 0
		}
		n++
	}
	return n
}

// posts are all routes that change something.
var posts = []string{
	"/login", "/login/code", "/login/passkey", "/login/passkey/options", "/logout", "/setup/x", "/recover", "/recover/x",
	"/confirm", "/confirm/passkey", "/confirm/passkey/options", "/manager/end", "/manager/end-others", "/manager/profile", "/manager/password",
	"/manager/authenticator", "/manager/authenticator/remove", "/manager/codes", "/manager/passkeys", "/manager/passkeys/options", "/manager/passkeys/change",
	"/manager/people/new", "/manager/people/x", "/manager/people/x/end", "/manager/people/x/link", "/manager/people/x/disable", "/manager/people/x/enable",
	"/manager/people/x/factors", "/manager/people/x/unban", "/manager/people/x/delete", "/manager/sessions/end",
}

// TestForgery: no other site sends a form in somebody's name, signing in included.
func TestForgery(t *testing.T) {
	s := newSite(t)
	s.person(t, account.Person{Name: "alex", Admin: true})
	s.person(t, account.Person{Name: "mallory"})
	v, mallory := s.visitor(t), s.visitor(t)
	signIn(v, "alex", good)
	mallory.Open("/login")
	_, theirs := mallory.Filled("/login")
	mine := func() string {
		v.Open("/manager")
		_, values := v.Filled("/logout")
		return values.Get("csrf_token")
	}()
	for _, path := range posts {
		for name, c := range map[string]struct {
			token  string
			header []string
		}{
			"no token":                  {"", nil},
			"the attacker's own token":  {theirs.Get("csrf_token"), nil},
			"another site":              {mine, []string{"Origin", "https://evil.example", "Referer", ""}},
			"another site, by metadata": {mine, []string{"Sec-Fetch-Site", "cross-site"}},
			"a sibling":                 {mine, []string{"Sec-Fetch-Site", "same-site"}},
			"origin null":               {mine, []string{"Origin", "null"}},
		} {
			v.Do(t.Context(), http.MethodPost, path, url.Values{"csrf_token": {c.token}, "name": {"mallory"}, "password": {good}}.Encode(), c.header...)
			if v.Status != http.StatusForbidden || !strings.Contains(v.Text(), "out of date") {
				t.Errorf("POST %s with %s: %d: %.200s", path, name, v.Status, v.Text())
			}
		}
		v.Do(t.Context(), http.MethodDelete, path, "", "Origin", s.URL, "X-Csrf-Token", mine)
		if v.Status != http.StatusNotFound && v.Status != http.StatusMethodNotAllowed {
			t.Errorf("DELETE %s: %d", path, v.Status)
		}
	}
	v.Open("/index").Shows("/index", "Hello, alex")

	// A page that lay open for longer than its session is shown again, and works.
	late := s.visitor(t)
	late.Open("/login")
	if _, err := s.sessions.EndAll(t.Context(), session.Query{All: true}); err != nil {
		t.Fatal(err)
	}
	late.Send("/login", "name", "alex", "password", good).Shows("/login", "This page was out of date. Try again.")
	late.Send("/login", "name", "alex", "password", good).Shows("/index", "Hello, alex")
}

// TestCaptcha: an answer is good once, in its session, and a wrong one tells nothing.
func TestCaptcha(t *testing.T) {
	s := newSite(t, fromHeader, func(c *signin.Config) { c.Captcha = signin.Always })
	s.person(t, account.Person{Name: "alex"})
	v := s.visitor(t)
	v.Open("/login")
	action, values := v.Filled("/login")
	id := values.Get("captcha_id")
	values.Set("name", "alex")
	values.Set("password", "wrong")
	values.Set("captcha_answer", s.solve(t, id))
	v.Do(t.Context(), http.MethodPost, action, values.Encode())
	v.Shows("/login", "Name or password is wrong.")
	values.Set("password", good)
	v.Do(t.Context(), http.MethodPost, action, values.Encode())
	v.Shows("/login", "had been used before")

	// A right and a wrong password get one answer.
	var texts []string
	for _, secret := range []string{"wrong", good} {
		w := s.visitor(t)
		w.Open("/login").Send("/login", "name", "alex", "password", secret, "captcha_answer", "wrong")
		texts = append(texts, w.Text())
		if w.Status != http.StatusUnprocessableEntity {
			t.Errorf("status %d", w.Status)
		}
	}
	if texts[0] != texts[1] {
		t.Errorf("it is told:\n%s\n%s", texts[0], texts[1])
	}

	// Solved in one session, by somebody hired, and used in another.
	hired, other := s.visitor(t), s.visitor(t)
	hired.Open("/login")
	_, solved := hired.Filled("/login")
	other.Open("/login").Send("/login", "name", "alex", "password", good,
		"captcha_id", solved.Get("captcha_id"), "captcha_answer", s.solve(t, solved.Get("captcha_id")))
	other.Shows("/login")

	// Two accounts at once, for one answer.
	s.person(t, account.Person{Name: "sam"})
	for range 20 {
		w := s.visitor(t)
		w.Open("/login")
		action, values := w.Filled("/login")
		values.Set("password", good)
		values.Set("captcha_answer", s.solve(t, values.Get("captcha_id")))
		var in atomic.Int32
		var wg sync.WaitGroup
		for _, name := range []string{"alex", "sam"} {
			values.Set("name", name)
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+action, strings.NewReader(values.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Origin", s.URL)
			at, err := url.Parse(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range w.Client.Jar.Cookies(at) {
				r.AddCookie(c)
			}
			wg.Go(func() {
				out := httptest.NewRecorder()
				s.Config.Handler.ServeHTTP(out, r)
				if out.Code == http.StatusSeeOther {
					in.Add(1)
				}
			})
		}
		wg.Wait()
		if in.Load() != 1 {
			t.Fatalf("%d accounts are in with one answer", in.Load())
		}
	}
}

// TestOthers: nobody ends another's session or sees an administrator's page, and
// whoever is shut out is out at the next request.
func TestOthers(t *testing.T) {
	s := newSite(t)
	alex := s.person(t, account.Person{Name: "alex"})
	root := s.person(t, account.Person{Name: "root", Admin: true})
	v, admin := s.visitor(t), s.visitor(t)
	signIn(v, "alex", good)
	signIn(admin, "root", good)
	var theirs string
	for i, err := range s.sessions.List(t.Context(), session.Query{Owner: root.ID}) {
		if err != nil {
			t.Fatal(err)
		}
		theirs = i.Handle.String()
	}
	v.Open("/manager")
	_, values := v.Filled("/logout")
	for _, handle := range []string{theirs, "", "x", strings.Repeat("0", 16), strings.Repeat("f", 1000)} {
		values.Set("handle", handle)
		v.Do(t.Context(), http.MethodPost, "/manager/end", values.Encode())
	}
	admin.Open("/manager").Shows("/manager", "root")
	for _, path := range []string{"/manager/people", "/manager/people/new", "/manager/people/" + root.ID, "/manager/sessions", "/manager/log"} {
		if v.Open(path); v.Status != http.StatusNotFound {
			t.Errorf("%s: %d", path, v.Status)
		}
	}
	for _, path := range posts {
		if !strings.HasPrefix(path, "/manager/people") && path != "/manager/sessions/end" {
			continue
		}
		values.Set("handle", theirs)
		v.Do(t.Context(), http.MethodPost, strings.Replace(path, "/x", "/"+root.ID, 1), values.Encode())
		if v.Status != http.StatusNotFound {
			t.Errorf("POST %s: %d", path, v.Status)
		}
	}
	admin.Open("/manager/people/"+root.ID).Send("/disable").Shows("/manager/people/"+root.ID+"/disable", "the last administrator")
	admin.Open("/manager/people/"+alex.ID).Send("/disable").Shows("/manager/people/"+alex.ID, "Disabled")
	v.Open("/manager").Shows("/login")
	signIn(v, "alex", good).Shows("/login", "Name or password is wrong.")
	admin.Send("/enable")
	signIn(v, "alex", good).Shows("/index", "Hello, alex")
	admin.Open("/manager/people/"+alex.ID).Send("/delete", "sure", "no").Shows("/manager/people/"+alex.ID+"/delete", "Type the name")
	admin.Send("/delete", "sure", "alex").Shows("/manager/people", "Deleted.")
	v.Open("/manager").Shows("/login")
	if count(t, s, session.Query{Owner: alex.ID}) != 0 {
		t.Error("sessions of a deleted person are left")
	}
}

// TestManySessions: a page stays small however many sessions there are, and all of
// them are ended.
func TestManySessions(t *testing.T) {
	s := newSite(t)
	alex := s.person(t, account.Person{Name: "alex"})
	for range 60 {
		signIn(s.visitor(t), "alex", good)
	}
	v := s.visitor(t)
	signIn(v, "alex", good)
	v.Open("/manager").Shows("/manager", "This device", "11 more are not shown")
	if n := strings.Count(v.Body, `name="handle"`); n != 50 {
		t.Errorf("%d are shown", n)
	}
	v.Send("/end-others").Shows("/manager", "You are signed in nowhere else")
	if n := count(t, s, session.Query{Owner: alex.ID}); n != 1 {
		t.Errorf("%d are left", n)
	}
}

// TestRecovery: by a link of an administrator, once, and not past a second factor; all
// sessions end.
func TestRecovery(t *testing.T) {
	s := newSite(t)
	alex := s.person(t, account.Person{Name: "alex"})
	s.person(t, account.Person{Name: "root", Admin: true})
	v, admin := s.visitor(t), s.visitor(t)
	signIn(v, "alex", good)
	signIn(admin, "root", good)
	link := func() string {
		t.Helper()
		admin.Open("/manager/people/" + alex.ID).Send("/link")
		_, after, _ := strings.Cut(admin.Body, s.URL+"/recover/")
		token, _, _ := strings.Cut(after, "<")
		return "/recover/" + token
	}
	old := link()
	one := link()
	s.visitor(t).Open(old).Shows(old, "not good any more")
	w := s.visitor(t)
	w.Open(one).Shows(one, "For the account alex").Send("", "new", "alex gatehouse", "again", "alex gatehouse").Shows(one, "made of your name")
	w.Send("", "new", better, "again", better).Shows("/manager", "The password is changed")
	v.Open("/manager").Shows("/login")
	s.visitor(t).Open(one).Shows(one, "not good any more")
	signIn(v, "alex", good).Shows("/login", "wrong")

	codes, hashes := account.NewRecoveryCodes()
	if _, err := s.people.Update(t.Context(), alex.ID, func(p *account.Person) error {
		p.Authenticator, p.RecoveryCodes = &account.Authenticator{Secret: []byte("12345678901234567890")}, hashes
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	two := link()
	w = s.visitor(t)
	w.Open(two).Send("", "new", good, "again", good, "code", "000000").Shows(two, "This code is wrong")
	w.Send("", "new", good, "again", good, "code", codes[0]).Shows("/manager", "9 are left")
	if token := strings.TrimPrefix(two, "/recover/"); strings.Contains(s.errors.String(), token) {
		t.Error("a token is logged")
	}
}

// TestClock: when the clock is set back, what was recent has not happened yet, and so
// proves nothing; and a clock that goes ahead ends what is waited for. By as much as the
// clocks of two machines may differ, nothing changes.
func TestClock(t *testing.T) {
	secret := []byte("12345678901234567890")
	for _, back := range []time.Duration{time.Millisecond, 20 * time.Millisecond, time.Second, 45 * time.Second, -time.Second, -45 * time.Second} {
		s := newSite(t)
		s.person(t, account.Person{Name: "eric", Authenticator: &account.Authenticator{Secret: secret}})
		turn := func(v *visitor.Visitor) { v.Do(t.Context(), http.MethodPost, "/clock?back="+back.String(), "") }
		v := s.visitor(t)
		signIn(v, "eric", good).Shows("/login/code")
		turn(v)
		v.Open("/login/code").Shows("/login/code", "One more step")
		v.Send("/login/code", "code", codeOf(t, base32.StdEncoding.EncodeToString(secret), 0)).Shows("/index", "Hello, eric")
		turn(v)
		v.Open("/manager/profile").Shows("/manager/profile")
		if t.Failed() {
			t.Fatalf("the clock was set back by %v", back)
		}
	}
	for _, back := range []time.Duration{2 * time.Minute, time.Hour, -24 * time.Hour} {
		s := newSite(t)
		s.person(t, account.Person{Name: "alex"})
		s.person(t, account.Person{Name: "eric", Authenticator: &account.Authenticator{Secret: secret}})
		turn := func(v *visitor.Visitor) { v.Do(t.Context(), http.MethodPost, "/clock?back="+back.String(), "") }
		v := s.visitor(t)
		signIn(v, "alex", good)
		v.Open("/manager/profile").Shows("/manager/profile")
		turn(v)
		v.Open("/manager/profile").Shows("/confirm", "Is it you?")
		v.Send("/confirm", "password", good).Shows("/manager/profile")

		w := s.visitor(t)
		signIn(w, "eric", good).Shows("/login/code")
		_, values := w.Filled("/login/code")
		values.Set("code", codeOf(t, base32.StdEncoding.EncodeToString(secret), 0))
		turn(w)
		w.Do(t.Context(), http.MethodPost, "/login/code", values.Encode())
		w.Shows("/login/code", "took too long")
	}
}

// TestSteps: codes of an authenticator are good for as long as clocks may differ, and no
// longer; none is before the last one that was used.
func TestSteps(t *testing.T) {
	secret := []byte("12345678901234567890")
	key := base32.StdEncoding.EncodeToString(secret)
	now := time.Date(2026, 11, 23, 12, 0, 29, 0, time.UTC)
	present := now.Unix() / 30
	for steps := int64(-4); steps <= 4; steps++ {
		code, err := totp.GenerateCode(key, now.Add(time.Duration(steps)*30*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		want := -2 <= steps && steps <= 2
		if step, ok := signin.StepOf(secret, 0, code, now); ok != want || ok && step != present+steps {
			t.Errorf("%d steps ahead: %d, %v", steps, step-present, ok)
		}
		if _, ok := signin.StepOf(secret, present+steps, code, now); ok {
			t.Errorf("%d steps ahead: used twice", steps)
		}
	}
}

// TestBadInput: what nobody types is answered like what somebody does, or refused in
// words, and never fails.
func TestBadInput(t *testing.T) {
	s := newSite(t)
	s.person(t, account.Person{Name: "alex", Password: hashOf(t, "pässwörd-ünicode")})
	v := s.visitor(t)
	signIn(v, "alex", strings.Repeat("x", 1<<20)).Shows("/login", "Too much at once")
	if v.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("1 MB: %d", v.Status)
	}
	for _, secret := range []string{"\x00", "a\x00b", "\xff\xfe", "\xed\xa0\xbd", strings.Repeat("é", 5000), " ", "\u202e", strings.Repeat("\u0301", 1000)} {
		signIn(v, "alex", secret).Shows("/login", "Name or password is wrong.")
		if err := s.throttle.Unban(t.Context(), "alex"); err != nil {
			t.Fatal(err)
		}
	}
	// Composed or not, it is one password.
	signIn(v, "alex", "pa\u0308sswo\u0308rd-u\u0308nicode").Shows("/index", "Hello, alex")
	v.Open("/manager")
	_, values := v.Filled("/logout")
	for path, c := range map[string]struct {
		body, media string
		want        int
	}{
		"/manager/profile":          {"%zz=%", "application/x-www-form-urlencoded", http.StatusBadRequest},
		"/manager/passkeys":         {"{", "application/json", http.StatusBadRequest},
		"/manager/passkeys/options": {"", "application/json", http.StatusOK},
		"/login/passkey":            {`{"response":{}}`, "application/json", http.StatusUnprocessableEntity},
		"/confirm/passkey":          {`x=1`, "application/x-www-form-urlencoded", http.StatusUnsupportedMediaType},
		"/manager/passkeys/change":  {"id=!", "application/x-www-form-urlencoded", http.StatusBadRequest},
		"/manager/end":              {"handle=zz", "application/x-www-form-urlencoded", http.StatusBadRequest},
		"/login/code":               {"code=" + strings.Repeat("1", 60_000), "application/x-www-form-urlencoded", http.StatusUnprocessableEntity},
	} {
		v.Do(t.Context(), http.MethodPost, path, c.body, "Content-Type", c.media, "X-Csrf-Token", values.Get("csrf_token"))
		if v.Status != c.want {
			t.Errorf("%s: %d, want %d: %.200s", path, v.Status, c.want, v.Body)
		}
	}
	for _, path := range []string{
		"/nothing", "/manager/nothing", "/login/code", "/setup/", "/setup/" + strings.Repeat("x", 5000), "/recover/%00", "/recover/%ff", "/index?lang=xx", "/index?lang=../../etc",
		"/login?next=%ff", "/manager?%zz", "/Statics/../login", "/Statics/nothing.css", "/check_code/x.gif", "/index/../login",
	} {
		v.Open(path)
		if v.Status >= 500 {
			t.Errorf("%s: %d", path, v.Status)
		}
	}
}

// TestHeaders: no answer, whatever its status, lacks what guards it or may be kept.
func TestHeaders(t *testing.T) {
	s := newSite(t, func(c *signin.Config) { c.Captcha = signin.Always })
	s.person(t, account.Person{Name: "alex", Admin: true})
	v := s.visitor(t)
	check := func(what string) {
		t.Helper()
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
			"Cache-Control": "no-store", "Cross-Origin-Opener-Policy": "same-origin",
		} {
			if got := v.Header.Get(name); !strings.HasPrefix(got, want) {
				t.Errorf("%s (%d): %s is %q", what, v.Status, name, got)
			}
		}
	}
	for _, path := range []string{"/index", "/login", "/recover", "/nothing", "/setup/x", "/recover/x", "/manager", "/check_code/x.gif"} {
		v.Open(path)
		check(path)
	}
	v.Do(t.Context(), http.MethodPost, "/login", "")
	check("forged")
	signIn(v, "alex", strings.Repeat("x", 1<<20))
	check("large")
	signIn(v, "alex", good).Shows("/index")
	for _, path := range []string{"/manager", "/manager/people", "/manager/sessions", "/manager/log", "/manager/people/x", "/confirm"} {
		v.Open(path)
		check(path)
	}
}

// away is a store of accounts that can fail.
type away struct {
	account.Memory
	down atomic.Bool
}

var errAway = errors.New("away")

func (a *away) Get(ctx context.Context, key string) (account.Record, error) {
	if a.down.Load() {
		return account.Record{}, errAway
	}
	return a.Memory.Get(ctx, key)
}

// deaf is a log that takes nothing.
type deaf struct{ account.Memory }

func (*deaf) Append(context.Context, account.Entry) error { return errAway }

// TestAway: a store that is away is told so, and a log or mail that is stops nobody.
func TestAway(t *testing.T) {
	store := new(away)
	people, err := account.New(account.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, func(c *signin.Config) {
		c.People, c.Log = people, new(deaf)
		c.Mail = func(context.Context, signin.Mail) error { return errAway }
	})
	s.people = people
	s.person(t, account.Person{Name: "alex", Email: "alex@example.com"})
	v := s.visitor(t)
	signIn(v, "alex", good).Shows("/index", "Hello, alex")
	v.Open("/manager/password").Send("/manager/password", "password", good, "new", better, "again", better).Shows("/manager", "The password is changed")
	store.down.Store(true)
	for _, path := range []string{"/manager", "/index"} {
		v.Open(path)
		if v.Status != http.StatusServiceUnavailable || v.Header.Get("Retry-After") == "" || !strings.Contains(v.Text(), "Not now") {
			t.Errorf("%s: %d: %s", path, v.Status, v.Text())
		}
	}
	w := s.visitor(t)
	signIn(w, "alex", better)
	if w.Status != http.StatusServiceUnavailable {
		t.Errorf("sign-in: %d", w.Status)
	}
	store.down.Store(false)
	v.Open("/manager").Shows("/manager", "alex")
	if strings.Contains(s.errors.String(), good) || strings.Contains(s.errors.String(), better) {
		t.Error("a password is logged")
	}
}

// TestError: a session that could not be loaded or stored is a page of ours, in the
// visitor's language, and says nothing of the reason.
func TestError(t *testing.T) {
	s := newSite(t)
	for _, tt := range []struct {
		err    error
		status int
		says   string
	}{
		{errAway, http.StatusServiceUnavailable, "暂时不可用"},
		{session.ErrFull, http.StatusServiceUnavailable, "暂时不可用"},
		{fmt.Errorf("of %w", session.ErrEnded), http.StatusConflict, "有人先改了"},
		{fmt.Errorf("of %w", session.ErrTooLarge), http.StatusInternalServerError, "Internal Server Error"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/app/", http.NoBody)
		r.Header.Set("Accept-Language", "zh-CN,zh;q=0.9")
		w := httptest.NewRecorder()
		s.pages.Error(w, r, tt.err)
		if body := w.Body.String(); w.Code != tt.status || !strings.Contains(body, tt.says) || strings.Contains(body, "away") {
			t.Errorf("%v: %d, %s", tt.err, w.Code, body)
		}
		if w.Header().Get("Cache-Control") != "no-store" || (w.Header().Get("Retry-After") != "") != (tt.status == http.StatusServiceUnavailable) {
			t.Errorf("%v: %v", tt.err, w.Header())
		}
	}
}

// TestMail: a link comes by mail to whom the address belongs, and nobody learns to
// whom it does; changes are told.
func TestMail(t *testing.T) {
	var mu sync.Mutex
	var sent []signin.Mail
	s := newSite(t, func(c *signin.Config) {
		c.Mail = func(_ context.Context, m signin.Mail) error {
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, m)
			return nil
		}
	})
	s.person(t, account.Person{Name: "alex", Email: "alex@example.com"})
	var texts []string
	for _, email := range []string{"alex@example.com", "nobody@example.com"} {
		v := s.visitor(t)
		v.Open("/recover").Send("/recover", "email", email)
		texts = append(texts, v.Text())
	}
	if texts[0] != texts[1] {
		t.Errorf("it is told:\n%s\n%s", texts[0], texts[1])
	}
	s.pages.Wait()
	// Asked for again, it is one link all the same.
	s.visitor(t).Open("/recover").Send("/recover", "email", "Alex@example.com")
	s.pages.Wait()
	mu.Lock()
	defer mu.Unlock()
	if len(sent) != 1 || sent[0].To != "alex@example.com" || !strings.Contains(sent[0].Text, s.URL+"/recover/") {
		t.Fatalf("sent %+v", sent)
	}
}
