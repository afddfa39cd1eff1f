package signin_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/internal/spent"
	"github.com/seed-64ad3862/gatehouse/internal/visitor"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/signin"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

// withKeys keeps sessions of those who only look out of the store, as gatehouse serve
// does.
func withKeys(t testing.TB) func(c *signin.Config) {
	return func(c *signin.Config) {
		var err error
		c.Sessions, err = session.New(session.Config{
			Store: memory.New(memory.Config{}), Insecure: true, Keys: [][]byte{make([]byte, 32)}, Logger: c.Logger,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A request as the browser sends it: with the cookies that it has now.
func (s *site) request(ctx context.Context, t testing.TB, v *visitor.Visitor, action string, values url.Values) *http.Request {
	t.Helper()
	to, err := v.At.Parse(action)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), strings.NewReader(values.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", s.URL)
	r.Header.Set("Referer", v.At.String())
	for _, c := range v.Client.Jar.Cookies(v.At) {
		r.AddCookie(c)
	}
	return r
}

// A form that is sent twice: the ways to get to it.
var sentTwice = map[string]func(t *testing.T, s *site, v *visitor.Visitor, alex *account.Person) (action string, values url.Values){
	"login": func(_ *testing.T, _ *site, v *visitor.Visitor, _ *account.Person) (string, url.Values) {
		action, values := v.Open("/login").Filled("/login")
		values.Set("name", "alex")
		values.Set("password", good)
		return action, values
	},
	"code": func(t *testing.T, s *site, v *visitor.Visitor, alex *account.Person) (string, url.Values) {
		s.withApp(t, alex)
		signIn(v, "alex", good).Shows("/login/code")
		action, values := v.Filled("/login/code")
		values.Set("code", appCode(t))
		return action, values
	},
	"recovery": func(t *testing.T, s *site, v *visitor.Visitor, alex *account.Person) (string, url.Values) {
		action, values := v.Open(s.recovery(t, alex.ID)).Filled("")
		values.Set("new", better)
		values.Set("again", better)
		return action, values
	},
	"confirmation": func(t *testing.T, s *site, v *visitor.Visitor, alex *account.Person) (string, url.Values) {
		signIn(v, "alex", good)
		action, values := v.Open("/confirm?next=/manager/profile").Filled("/confirm")
		values.Set("password", good)
		return action, values
	},
	"confirmation by code": func(t *testing.T, s *site, v *visitor.Visitor, alex *account.Person) (string, url.Values) {
		signIn(v, "alex", good)
		s.withApp(t, alex)
		action, values := v.Open("/confirm").Filled("/confirm")
		values.Set("password", good)
		values.Set("code", appCode(t))
		return action, values
	},
	"new password": func(_ *testing.T, _ *site, v *visitor.Visitor, _ *account.Person) (string, url.Values) {
		signIn(v, "alex", good)
		action, values := v.Open("/manager/password").Filled("/manager/password")
		for name, value := range map[string]string{"password": good, "new": better, "again": better, "end": "1"} {
			values.Set(name, value)
		}
		return action, values
	},
}

func (s *site) withApp(t testing.TB, who *account.Person) {
	t.Helper()
	if _, err := s.people.Update(t.Context(), who.ID, func(p *account.Person) error {
		p.Authenticator = &account.Authenticator{Secret: appSecret}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// TestSentTwice: who sends a form twice ends signed in, with the answer to the second
// request, and with one session.
func TestSentTwice(t *testing.T) {
	for name, prepare := range sentTwice {
		for how, send := range map[string]func(first, second func() *http.Response) (answers []*http.Response){
			"at once": func(first, second func() *http.Response) []*http.Response {
				answers := make([]*http.Response, 2)
				var wg sync.WaitGroup
				wg.Go(func() { answers[0] = first() })
				wg.Go(func() { answers[1] = second() })
				wg.Wait()
				return answers
			},
			"one after the other": func(first, second func() *http.Response) []*http.Response {
				return []*http.Response{first(), second()}
			},
			"the first given up": func(first, second func() *http.Response) []*http.Response {
				var wg sync.WaitGroup
				wg.Go(func() { first() }) // by its context, as soon as the second is sent
				answer := second()
				wg.Wait()
				return []*http.Response{answer}
			},
		} {
			for what, change := range map[string][]func(*signin.Config){
				"serve": {withKeys(t), func(c *signin.Config) { c.Captcha = signin.Always }}, "without captcha": {withKeys(t)}, "all sessions stored": {func(c *signin.Config) { c.Captcha = signin.Always }},
			} {
				t.Run(name+"/"+how+"/"+what, func(t *testing.T) {
					t.Parallel()
					s := newSite(t, change...)
					alex := s.person(t, account.Person{Name: "alex"})
					v := s.visitor(t)
					action, values := prepare(t, s, v, &alex)
					if id := values.Get("captcha_id"); id != "" {
						values.Set("captcha_answer", s.solve(t, id))
					}
					client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
					ctx, giveUp := context.WithCancel(t.Context())
					defer giveUp()
					do := func(r *http.Request) *http.Response {
						answer, err := client.Do(r)
						if err != nil {
							if r.Context().Err() == nil {
								t.Error(err)
							}
							return nil
						}
						_, _ = io.Copy(io.Discard, answer.Body)
						answer.Body.Close()
						return answer
					}
					one, two := s.request(ctx, t, v, action, values), s.request(t.Context(), t, v, action, values)
					answers := send(func() *http.Response { return do(one) }, func() *http.Response {
						if strings.Contains(how, "given up") {
							giveUp()
						}
						return do(two)
					})
					for _, answer := range answers {
						if answer == nil || answer.StatusCode != http.StatusSeeOther {
							t.Fatalf("not signed in: %v\n%s", answer, s.errors)
						}
						// The cookies that the browser has then, and where it is led.
						jar, _ := cookiejar.New(nil)
						jar.SetCookies(v.At, answer.Cookies())
						b := visitor.New(t, s.URL)
						b.Client.Jar = jar
						b.Open(answer.Header.Get("Location"))
						if b.Status != http.StatusOK || strings.HasPrefix(b.At.Path, "/login") {
							t.Errorf("led to %s: %d %s", b.At, b.Status, b.Text())
						}
						if b.Open("/app/"); b.Body != "app of alex" {
							t.Errorf("the app says %.100q at %s", b.Body, b.At)
						}
					}
					n := 0
					for _, err := range s.sessions.List(t.Context(), session.Query{Owner: alex.ID}) {
						if err != nil {
							t.Fatal(err)
						}
						n++
					}
					if n != 1 {
						t.Errorf("%d sessions are left", n)
					}
				})
			}
		}
	}
}

// send sends a request, follows no redirect, and returns the text of the answer too.
func send(t testing.TB, r *http.Request) (*http.Response, string) {
	t.Helper()
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(text)
}

// signsIn reports whether the cookies of an answer are signed in as that user.
func (s *site) signsIn(t testing.TB, answer *http.Response, name string) bool {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/app/", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range answer.Cookies() {
		r.AddCookie(c)
	}
	_, text := send(t, r)
	return text == "app of "+name
}

// TestSentBySomeoneElse: a form that another client sends again signs that one in only
// with the token of the page that the form was on, and only if its browser says that
// it comes from there.
func TestSentBySomeoneElse(t *testing.T) {
	// The token in the header: then the form is one that others can send.
	for _, name := range []string{"code", "confirmation", "confirmation by code", "new password"} {
		prepare := sentTwice[name]
		s := newSite(t, withKeys(t))
		alex := s.person(t, account.Person{Name: "alex"})
		v := s.visitor(t)
		action, values := prepare(t, s, v, &alex)
		token := values.Get("csrf_token")
		for _, left := range []string{"", "x"} {
			if values.Del("csrf_token"); left != "" {
				values.Set("csrf_token", left)
			}
			r := s.request(t.Context(), t, v, action, values)
			r.Header.Set("X-Csrf-Token", token)
			if left == "" {
				send(t, r)
			}
			other := s.visitor(t).Open("/login")
			_, form := other.Filled("/login")
			r = s.request(t.Context(), t, other, action, values)
			r.Header.Set("X-Csrf-Token", form.Get("csrf_token"))
			if answer, _ := send(t, r); s.signsIn(t, answer, "alex") {
				t.Errorf("%s: a stranger with the token in the header is signed in: %d", name, answer.StatusCode)
			}
		}
	}

	// A whole form, sent by the browser of a user who is to be signed in as another.
	s := newSite(t, withKeys(t))
	s.person(t, account.Person{Name: "alex"})
	mallory := s.person(t, account.Person{Name: "mallory"})
	m := s.visitor(t)
	action, values := sentTwice["login"](t, s, m, &mallory)
	values.Set("name", "mallory")
	if answer, _ := send(t, s.request(t.Context(), t, m, action, values)); !s.signsIn(t, answer, "mallory") {
		t.Fatalf("mallory is not signed in: %d", answer.StatusCode)
	}
	for _, signedIn := range []bool{false, true} {
		for what, change := range map[string]func(http.Header){
			"nothing":     func(h http.Header) { h.Del("Origin"); h.Del("Referer") },
			"no page":     func(h http.Header) { h.Del("Origin"); h.Del("Referer"); h.Set("Sec-Fetch-Site", "none") },
			"another one": func(h http.Header) { h.Set("Origin", "https://attacker.example") },
			"a sibling":   func(h http.Header) { h.Set("Sec-Fetch-Site", "same-site") },
		} {
			v := s.visitor(t).Open("/login")
			if signedIn {
				signIn(v, "alex", good)
			}
			r := s.request(t.Context(), t, v, action, values)
			change(r.Header)
			if answer, _ := send(t, r); answer.StatusCode != http.StatusForbidden || s.signsIn(t, answer, "mallory") {
				t.Errorf("signed in %v, the browser says %s: %d", signedIn, what, answer.StatusCode)
			}
		}
	}
}

// TestSentAgainAfterFailure: a form whose session could not be stored signs in when it
// is sent again.
func TestSentAgainAfterFailure(t *testing.T) {
	store := &refusing{Store: memory.New(memory.Config{})}
	s := newSite(t, func(c *signin.Config) {
		c.Captcha = signin.Always
		var err error
		if c.Sessions, err = session.New(session.Config{Store: store, Insecure: true, Keys: [][]byte{make([]byte, 32)}, Logger: c.Logger}); err != nil {
			t.Fatal(err)
		}
	})
	alex := s.person(t, account.Person{Name: "alex"})
	v := s.visitor(t)
	action, values := sentTwice["login"](t, s, v, &alex)
	values.Set("captcha_answer", s.solve(t, values.Get("captcha_id")))
	store.refuses.Store(true)
	if answer, _ := send(t, s.request(t.Context(), t, v, action, values)); answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("with a store that fails: %d", answer.StatusCode)
	}
	store.refuses.Store(false)
	for range 2 {
		if answer, text := send(t, s.request(t.Context(), t, v, action, values)); !s.signsIn(t, answer, "alex") {
			t.Errorf("sent again: %d %s", answer.StatusCode, text)
		}
	}
}

// refusing is a store that stores nothing while it refuses.
type refusing struct {
	session.Store
	refuses atomic.Bool
}

func (r *refusing) Commit(ctx context.Context, id session.ID, d *session.Delta) error {
	if r.refuses.Load() {
		return errors.New("away")
	}
	return r.Store.Commit(ctx, id, d)
}

// TestRecoveryAskedTwice: who asks for a link twice is told that it is on its way, and
// gets one.
func TestRecoveryAskedTwice(t *testing.T) {
	var mails atomic.Int32
	s := newSite(t, withKeys(t), func(c *signin.Config) {
		c.Captcha = signin.Always
		c.Mail = func(context.Context, signin.Mail) error { mails.Add(1); return nil }
	})
	s.person(t, account.Person{Name: "alex", Email: "alex@example.com"})
	v := s.visitor(t)
	action, values := v.Open("/recover").Filled("/recover")
	values.Set("email", "alex@example.com")
	values.Set("captcha_answer", s.solve(t, values.Get("captcha_id")))
	var wg sync.WaitGroup
	for range 3 {
		r := s.request(t.Context(), t, v, action, values)
		wg.Go(func() {
			if answer, text := send(t, r); answer.StatusCode != http.StatusOK || !strings.Contains(text, "on its way") {
				t.Errorf("%d %s", answer.StatusCode, text)
			}
		})
	}
	wg.Wait()
	values.Set("email", "blake@example.com")
	if answer, _ := send(t, s.request(t.Context(), t, v, action, values)); answer.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("another address for the same challenge: %d", answer.StatusCode)
	}
	s.pages.Wait()
	if n := mails.Load(); n != 1 {
		t.Errorf("%d mails", n)
	}
}

// TestSpentChallenge: what a challenge that is spent costs the table of what is spent.
func TestSpentChallenge(t *testing.T) {
	table := &counting{Table: spent.New(1000)}
	s := newSite(t, withKeys(t), func(c *signin.Config) { c.Captcha, c.Once = signin.Always, table })
	s.person(t, account.Person{Name: "alex"})
	v := s.visitor(t)
	action, values := v.Open("/login").Filled("/login")
	values.Set("name", "alex")
	values.Set("captcha_answer", s.solve(t, values.Get("captcha_id")))
	for i, password := range []string{"wrong", "wrong too", "wrong as well"} {
		values.Set("password", password)
		table.asked.Store(0)
		table.spent.Store(0)
		if answer, _ := send(t, s.request(t.Context(), t, v, action, values)); answer.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d", password, answer.StatusCode)
		}
		if asked, spent := table.asked.Load(), table.spent.Load(); i > 0 && (asked > 4 || spent > 0) {
			t.Errorf("%s: asked %d times, told %d times", password, asked, spent)
		}
	}
}

// counting counts what a table of spent challenges is asked for.
type counting struct {
	*spent.Table
	asked, spent atomic.Int32
}

func (c *counting) Spend(ctx context.Context, id [16]byte, until time.Time) (bool, error) {
	c.spent.Add(1)
	return c.Table.Spend(ctx, id, until)
}

func (c *counting) Spent(ctx context.Context, id [16]byte) (bool, error) {
	c.asked.Add(1)
	return c.Table.Spent(ctx, id)
}

// TestSentTwiceWrong: of a form that signs no user in, both requests say so; and a
// challenge does not let a second password in.
func TestSentTwiceWrong(t *testing.T) {
	s := newSite(t, withKeys(t), func(c *signin.Config) { c.Captcha = signin.Always })
	s.person(t, account.Person{Name: "alex"})
	v := s.visitor(t)
	action, values := v.Open("/login").Filled("/login")
	values.Set("name", "alex")
	values.Set("password", "wrong")
	values.Set("captcha_answer", s.solve(t, values.Get("captcha_id")))
	send := func(password string) *visitor.Visitor {
		values.Set("password", password)
		v.Do(t.Context(), http.MethodPost, action, values.Encode())
		return v
	}
	for range 2 {
		if send("wrong"); v.Status != http.StatusUnprocessableEntity || !strings.Contains(v.Text(), "Name or password is wrong.") {
			t.Errorf("a wrong password: %d %s", v.Status, v.Text())
		}
	}
	if send(good); v.Status != http.StatusUnprocessableEntity {
		t.Errorf("another password for the same challenge: %d at %s", v.Status, v.At)
	}
	// With another answer, or another name, it is another form.
	values.Set("name", "Alex")
	if send("wrong"); v.Status != http.StatusUnprocessableEntity {
		t.Errorf("another name for the same challenge: %d", v.Status)
	}
	v.Open("/app/").Shows("/login")
}

// TestSentTwiceLater: after a sign-out the form signs no user in.
func TestSentTwiceLater(t *testing.T) {
	for _, change := range [][]func(*signin.Config){{withKeys(t), func(c *signin.Config) { c.Captcha = signin.Always }}, {func(c *signin.Config) { c.Captcha = signin.Always }}} {
		s := newSite(t, change...)
		alex := s.person(t, account.Person{Name: "alex"})
		v := s.visitor(t)
		action, values := sentTwice["login"](t, s, v, &alex)
		values.Set("captcha_answer", s.solve(t, values.Get("captcha_id")))
		old := s.request(t.Context(), t, v, action, values)
		v.Do(t.Context(), http.MethodPost, action, values.Encode())
		v.Shows("/index").Send("/logout").Shows("/logout")
		answer, err := http.DefaultTransport.RoundTrip(old)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode == http.StatusSeeOther {
			t.Errorf("the form signs in again after a sign-out: %v", answer.Header)
		}
		for range s.sessions.List(t.Context(), session.Query{Owner: alex.ID}) {
			t.Errorf("a session is back")
		}
	}
}

// TestSignOutTwice: who signs out twice is told that they are signed out.
func TestSignOutTwice(t *testing.T) {
	for _, change := range [][]func(*signin.Config){{withKeys(t)}, nil} {
		for _, atOnce := range []bool{false, true} {
			s := newSite(t, change...)
			s.person(t, account.Person{Name: "alex"})
			v := signIn(s.visitor(t), "alex", good).Open("/index")
			action, values := v.Filled("/logout")
			var wg sync.WaitGroup
			for range 5 {
				r := s.request(t.Context(), t, v, action, values)
				wg.Go(func() {
					if answer, text := send(t, r); answer.StatusCode != http.StatusOK || !strings.Contains(text, "You are signed out") {
						t.Errorf("at once %v: status %d, %s", atOnce, answer.StatusCode, text)
					}
				})
				if !atOnce {
					wg.Wait()
				}
			}
			wg.Wait()
			v.Open("/app/").Shows("/login")
			n := 0
			for _, err := range s.log.Entries(t.Context(), account.LogQuery{Kind: signin.SignedOut}) {
				if err != nil {
					t.Fatal(err)
				}
				n++
			}
			if n != 1 {
				t.Errorf("at once %v: %d sign-outs in the log", atOnce, n)
			}
		}
	}
}

// TestTwoTabsSignIn: of two tabs that were opened without a cookie, the form of each
// signs in, with its captcha.
func TestTwoTabsSignIn(t *testing.T) {
	for tab := range 2 {
		s := newSite(t, withKeys(t), func(c *signin.Config) { c.Captcha = signin.Always })
		s.person(t, account.Person{Name: "alex"})
		tabs := []*visitor.Visitor{s.visitor(t).Open("/login"), s.visitor(t).Open("/login")}
		// The browser keeps the second cookie.
		v := tabs[tab]
		v.Client.Jar = tabs[1].Client.Jar
		v.Send("/login", "name", "alex", "password", good)
		if v.Open("/app/"); v.Body != "app of alex" {
			t.Errorf("tab %d: %d at %s: %s", tab, v.Status, v.At, v.Text())
		}
	}
}

// TestLookersStoreNothing: the pages that a visitor can see store nothing.
func TestLookersStoreNothing(t *testing.T) {
	s := newSite(t, withKeys(t), func(c *signin.Config) {
		c.Captcha = signin.Always
		c.Mail = func(context.Context, signin.Mail) error { return nil }
	})
	s.person(t, account.Person{Name: "alex"})
	for range 3 {
		v := s.visitor(t)
		for _, path := range []string{"/", "/login", "/login?next=/manager", "/login/code", "/recover", "/recover/x", "/setup/x", "/index", "/manager", "/nothing", "/login?lang=zh-Hans", "/confirm"} {
			v.Open(path)
			v.Open(path)
		}
		v.Open("/login").Ceremony("/login/passkey", func(options []byte) []byte { return []byte(`{}`) }) // as a script does
	}
	for i, err := range s.sessions.List(t.Context(), session.Query{All: true, Fields: true}) {
		t.Errorf("stored: %+v, %v", i, err)
	}
}
