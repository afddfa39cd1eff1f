package signin_test

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/seed-64ad3862/gatehouse/account"
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
		s := newSite(t, change...)
		s.person(t, account.Person{Name: "alex"})
		v := signIn(s.visitor(t), "alex", good).Open("/index")
		action, values := v.Filled("/logout")
		second := s.request(t.Context(), t, v, action, values)
		v.Send("/logout").Shows("/logout")
		answer, err := http.DefaultTransport.RoundTrip(second)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Errorf("the second sign-out: status %d", answer.StatusCode)
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
	}
	for i, err := range s.sessions.List(t.Context(), session.Query{All: true, Fields: true}) {
		t.Errorf("stored: %+v, %v", i, err)
	}
}
