package signin_test

import (
	"context"
	"encoding/base32"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/pquerna/otp/totp"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/internal/browser"
	"github.com/seed-64ad3862/gatehouse/signin"
	"github.com/seed-64ad3862/gatehouse/throttle"
)

func css(selector string) chromedp.CSS { return chromedp.CSS(selector) }

// fill types into the fields of these names, and presses Enter in the last.
func fill(t testing.TB, tab *browser.Tab, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		text := pairs[i+1]
		if i == len(pairs)-2 {
			text += kb.Enter
		}
		tab.Do(t, chromedp.Evaluate[chromedp.Void](`document.querySelector("main [name=`+pairs[i]+`]").value = ""`), chromedp.SendKeys(css("main [name="+pairs[i]+"]"), text))
	}
}

// at waits until the tab shows the page of this path.
func at(t testing.TB, tab *browser.Tab, path string) {
	t.Helper()
	tab.Wait(t, `document.readyState === "complete" && location.pathname === "`+path+`"`)
}

// says waits until the page says so.
func says(t testing.TB, tab *browser.Tab, text string) {
	t.Helper()
	tab.Wait(t, fmt.Sprintf("document.readyState === 'complete' && document.body.innerText.includes(%q)", text))
}

func signInTab(t testing.TB, s *site, tab *browser.Tab, name, secret string) {
	t.Helper()
	tab.Do(t, chromedp.Navigate(s.URL+"/login"))
	at(t, tab, "/login")
	fill(t, tab, "name", name, "password", secret)
}

// furnished is a site with people in it, and an administrator.
func furnished(t testing.TB, change ...func(*signin.Config)) (*site, account.Person) {
	t.Helper()
	s := newSite(t, change...)
	admin := s.person(t, account.Person{Name: "alex", DisplayName: "Alex Example", Email: "alex@example.com", Admin: true})
	for i := range 6 {
		p := account.Person{Name: fmt.Sprintf("person%d", i), DisplayName: fmt.Sprintf("Person Number %d", i), Groups: []string{"staff", "night"}}
		if i%2 == 0 {
			p.Email = fmt.Sprintf("person%d@example.com", i)
		}
		p = s.person(t, p)
		v := s.visitor(t)
		v.Agent = []string{
			"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1",
			"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36 Edg/150.0.0.0",
		}[i%2]
		signIn(v, p.Name, "wrong")
		signIn(v, p.Name, good)
	}
	if err := s.pages.Sample(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, admin
}

// TestPages: every page, in both languages and themes, is without a violation of
// axe-core's rules or of the content security policy, and fits a telephone.
func TestPages(t *testing.T) {
	s, admin := furnished(t, func(c *signin.Config) {
		c.Captcha = signin.Always
		c.Mail = func(context.Context, signin.Mail) error { return nil }
	})
	other, err := s.people.ByName(t.Context(), "person1")
	if err != nil {
		t.Fatal(err)
	}
	link, err := s.people.NewLink(t.Context(), other.ID, account.Recovery, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	empty := newSite(t)
	setup, err := empty.pages.SetupURL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := browser.Start(t)
	outside := map[string]string{
		"index-out": s.URL + "/index", "login": s.URL + "/login", "forgot": s.URL + "/recover", "recover": s.URL + "/recover/" + link,
		"recover-gone": s.URL + "/recover/none", "setup": setup,
	}
	inside := map[string]string{
		"index": "/index", "manager": "/manager", "profile": "/manager/profile", "password": "/manager/password", "authenticator": "/manager/authenticator",
		"confirm": "/confirm", "people": "/manager/people", "people-none": "/manager/people?q=nobody", "newperson": "/manager/people/new",
		"person": "/manager/people/" + other.ID, "sessions": "/manager/sessions", "log": "/manager/log",
	}
	for _, look := range []struct {
		lang  string
		dark  bool
		width int64
	}{{"en", false, 1280}, {"zh-Hans", true, 360}, {"en", true, 360}, {"zh-Hans", false, 1280}} {
		name := fmt.Sprintf("%s-%v-%d", look.lang, map[bool]string{true: "dark", false: "light"}[look.dark], look.width)
		t.Run(name, func(t *testing.T) {
			tab := b.Tab(t)
			tab.Allow("/recover/none")
			tab.Screen(t, look.width, 800, look.dark)
			see := func(page, address string) {
				t.Helper()
				tab.Do(t, chromedp.Navigate(address))
				tab.Wait(t, `document.readyState === "complete"`)
				tab.Wait(t, `[...document.images].every((i) => i.complete)`)
				if lang := browser.Get(t, tab, chromedp.Evaluate[string]("document.documentElement.lang")); lang != look.lang {
					t.Errorf("%s is in %q", page, lang)
				}
				if wide := browser.Get(t, tab, chromedp.Evaluate[int64]("document.documentElement.scrollWidth")); wide > look.width {
					t.Errorf("%s is %d wide on a screen of %d", page, wide, look.width)
				}
				tab.Accessible(t)
				tab.Screenshot(t, page)
			}
			choose := func(url string) {
				t.Helper()
				tab.Do(t, chromedp.Navigate(url+"/index?lang="+look.lang))
			}
			choose(empty.URL)
			choose(s.URL)
			if browser.Get(t, tab, chromedp.Evaluate[bool](`location.search === "?lang=" || location.search.includes("lang")`)) {
				t.Error("the choice of a language stays in the address")
			}
			for page, address := range outside {
				see(page, address)
			}
			tab.Do(t, chromedp.Navigate(s.URL+"/login"))
			id := browser.Get(t, tab, chromedp.Evaluate[string](`document.querySelector("[name=captcha_id]").value`))
			fill(t, tab, "name", "alex", "password", "wrong", "captcha_answer", s.solve(t, id))
			tab.Wait(t, `document.readyState === "complete" && document.querySelector(".error.box")`)
			tab.Accessible(t)
			tab.Screenshot(t, "login-wrong")
			id = browser.Get(t, tab, chromedp.Evaluate[string](`document.querySelector("[name=captcha_id]").value`))
			fill(t, tab, "name", "alex", "password", good, "captcha_answer", s.solve(t, id))
			at(t, tab, "/index")
			for page, path := range inside {
				see(page, s.URL+path)
			}
			tab.Do(t, chromedp.Navigate(s.URL+"/manager/people/"+other.ID), chromedp.Click(css(`form[action$="/link"] button`)))
			tab.Wait(t, `document.readyState === "complete" && document.querySelector("[data-copyable] + button")`)
			tab.Accessible(t)
			tab.Screenshot(t, "link")
			if link, err = s.people.NewLink(t.Context(), other.ID, account.Recovery, time.Hour); err != nil {
				t.Fatal(err)
			}
			outside["recover"] = s.URL + "/recover/" + link

			// An authenticator, and what is shown once.
			tab.Do(t, chromedp.Navigate(s.URL+"/manager/authenticator"))
			fill(t, tab, "code", codeOf(t, browser.Get(t, tab, chromedp.Evaluate[string](`document.querySelector(".key").textContent`)), 0))
			tab.Wait(t, `document.querySelectorAll(".codes li").length === 10`)
			tab.Accessible(t)
			tab.Screenshot(t, "codes")
			see("manager-two", s.URL+"/manager")
			see("confirm-two", s.URL+"/confirm")
			tab.Do(t, chromedp.Navigate(s.URL+"/manager"), chromedp.Click(css(".out button")))
			at(t, tab, "/logout")
			tab.Accessible(t)
			tab.Screenshot(t, "logout")
			tab.Do(t, chromedp.Navigate(s.URL+"/login"))
			id = browser.Get(t, tab, chromedp.Evaluate[string](`document.querySelector("[name=captcha_id]").value`))
			fill(t, tab, "name", "alex", "password", good, "captcha_answer", s.solve(t, id))
			at(t, tab, "/login/code")
			tab.Accessible(t)
			tab.Screenshot(t, "code")
			if _, err := s.people.Update(t.Context(), admin.ID, func(p *account.Person) error {
				p.Authenticator, p.RecoveryCodes = nil, nil
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// codeOf is the code of an authenticator with this key, so many steps from now.
func codeOf(t testing.TB, key string, steps int) string {
	t.Helper()
	code, err := totp.GenerateCode(strings.ReplaceAll(key, " ", ""), time.Now().Add(time.Duration(steps)*30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// TestPasskey: one is made, signs in without a name, confirms, and is removed.
func TestPasskey(t *testing.T) {
	s := newSite(t)
	alex := s.person(t, account.Person{Name: "alex"})
	b := browser.Start(t)
	tab := b.Tab(t)
	browser.Call(t, tab, webauthn.Enable, webauthn.EnableParams{})
	device := tab.Authenticator(t, webauthn.AuthenticatorTransportInternal, true)
	signInTab(t, s, tab, "alex", good)
	at(t, tab, "/index")
	tab.Do(t, chromedp.Navigate(s.URL+"/manager"))
	tab.Wait(t, `document.querySelector("[data-make]:not([hidden]) button")`)
	tab.Do(t, chromedp.Click(css("[data-make] button")))
	says(t, tab, "The passkey is added.")
	tab.Accessible(t)
	tab.Screenshot(t, "added")
	tab.Do(t, chromedp.Click(css(".out button")))
	at(t, tab, "/logout")

	// Without a name, to where it was wanted.
	tab.Do(t, chromedp.Navigate(s.URL+"/app/x"))
	at(t, tab, "/login")
	// Autofill may have done it by then, since somebody is there all the time.
	tab.Do(t, chromedp.Evaluate[chromedp.Void](`document.querySelector("[data-passkeys]:not([hidden]) button")?.click()`))
	tab.Wait(t, `document.body.innerText === "app of alex"`)
	p, err := s.people.ByID(t.Context(), alex.ID)
	if err != nil || len(p.Passkeys) != 1 || p.Passkeys[0].Used.IsZero() || p.Passkeys[0].Label != "Chrome, Linux" {
		t.Errorf("passkeys %+v, %v", p.Passkeys, err)
	}

	// While it is disabled it is refused, and the browser keeps it: it is good again
	// afterwards.
	disable := func(yes bool) {
		t.Helper()
		if _, err := s.people.Update(t.Context(), alex.ID, func(p *account.Person) error { p.Disabled = yes; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	disable(true)
	tab.Do(t, chromedp.Navigate(s.URL+"/login"))
	tab.Wait(t, `document.querySelector("[data-passkeys]:not([hidden]) button")`)
	tab.Do(t, chromedp.Evaluate[chromedp.Void](`document.querySelector("[data-passkeys]:not([hidden]) button").click()`))
	tab.Wait(t, `document.querySelector("[data-passkeys] [role=status]").textContent === "The passkey could not be verified."`)
	tab.Accessible(t)
	disable(false)
	tab.Do(t, chromedp.Navigate(s.URL+"/login"))
	tab.Do(t, chromedp.Evaluate[chromedp.Void](`document.querySelector("[data-passkeys]:not([hidden]) button")?.click()`))
	at(t, tab, "/index")

	// It confirms, and to do so again and again gives back no more than it takes.
	network := throttle.Attempt{Addr: netip.MustParseAddr("127.0.0.1")}
	for range 20 {
		if err := s.throttle.Try(t.Context(), network); err != nil {
			t.Fatal(err)
		}
	}
	tab.Do(t, chromedp.Navigate(s.URL+"/confirm?next=/manager/profile"))
	tab.Wait(t, `document.querySelector("[data-passkeys]:not([hidden]) button")`)
	tab.Do(t, chromedp.Click(css("[data-passkeys] button")))
	at(t, tab, "/manager/profile")

	left := 0
	for s.throttle.Try(t.Context(), network) == nil {
		left++
	}
	if left > 30+3 { // and some seconds have passed
		t.Errorf("%d of 50 attempts are left after 20", left)
	}

	// Removed here, it is refused, and the browser is told to forget it.
	tab.Do(t, chromedp.Navigate(s.URL+"/manager"))
	tab.Do(t, chromedp.Click(css("[name=remove]")))
	says(t, tab, "The passkey is removed.")
	// Autofill may have been refused too, beside the button.
	if got := strings.Join(slices.Compact(s.kinds(t)), " "); got != "passkey-removed confirmed sign-in refused sign-in sign-out passkey-added sign-in" {
		t.Errorf("the log has %s", got)
	}
	browser.Call(t, tab, webauthn.RemoveVirtualAuthenticator, webauthn.RemoveVirtualAuthenticatorParams{AuthenticatorID: device})
}

// TestEnds: a session that is ended elsewhere has ended, for its owner and by an
// administrator, and the back button shows nothing.
func TestEnds(t *testing.T) {
	s := newSite(t)
	alex := s.person(t, account.Person{Name: "alex"})
	s.person(t, account.Person{Name: "root", Admin: true})
	one, two := browser.Start(t).Tab(t), browser.Start(t).Tab(t)
	for _, tab := range []*browser.Tab{one, two} {
		signInTab(t, s, tab, "alex", good)
		at(t, tab, "/index")
		tab.Do(t, chromedp.Navigate(s.URL+"/manager"))
	}
	// "two" ends "one".
	tab := two
	tab.Do(t, chromedp.Navigate(s.URL+"/manager"))
	tab.Do(t, chromedp.Evaluate[chromedp.Void](`[...document.querySelectorAll('form[action$="/manager/end"] button')].find((b) => !b.hidden).click()`))
	says(t, tab, "The session has ended.")
	one.Do(t, chromedp.Navigate(s.URL+"/manager"))
	at(t, one, "/login")

	// An administrator ends all of a person's.
	signInTab(t, s, one, "root", good)
	at(t, one, "/index")
	one.Do(t, chromedp.Navigate(s.URL+"/manager/people/"+alex.ID), chromedp.Click(css(`form[action$="/end"][action*="people"] button`)))
	says(t, one, "All their sessions have ended.")
	two.Do(t, chromedp.Navigate(s.URL+"/manager"))
	at(t, two, "/login")

	// Out, and back.
	one.Do(t, chromedp.Navigate(s.URL+"/manager/people"), chromedp.Click(css(".out button")))
	at(t, one, "/logout")
	one.Do(t, chromedp.NavigateBack())
	at(t, one, "/login")
}

// TestNoScript: signing in goes without JavaScript, with the captcha.
func TestNoScript(t *testing.T) {
	s, _ := furnished(t, func(c *signin.Config) { c.Captcha = signin.Always })
	tab := browser.Start(t).Tab(t)
	tab.Do(t, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return err
	}), chromedp.Navigate(s.URL+"/login"))
	tab.Screenshot(t, "no-script")
	id := browser.Get(t, tab, chromedp.Evaluate[string](`document.querySelector("[name=captcha_id]").value`))
	fill(t, tab, "name", "alex", "password", good, "captcha_answer", s.solve(t, id))
	says(t, tab, "Hello, Alex Example")
}

// TestStepUp: what matters asks again after ten minutes.
func TestStepUp(t *testing.T) {
	s := newSite(t, func(c *signin.Config) { c.StepUp = time.Nanosecond })
	alex := s.person(t, account.Person{Name: "alex", Admin: true})
	v := s.visitor(t)
	signIn(v, "alex", good)
	for _, path := range []string{"/manager/profile", "/manager/authenticator", "/manager/people/new"} {
		v.Open(path).Shows("/confirm", "Is it you?")
	}
	v.Open("/manager")
	_, values := v.Filled("/logout")
	for _, path := range []string{
		"/manager/profile", "/manager/authenticator", "/manager/authenticator/remove", "/manager/codes", "/manager/passkeys", "/manager/passkeys/options",
		"/manager/passkeys/change", "/manager/people/new", "/manager/people/" + alex.ID, "/manager/people/" + alex.ID + "/delete", "/manager/sessions/end",
	} {
		v.Do(t.Context(), http.MethodPost, path, values.Encode())
		v.Shows("/confirm", "Is it you?")
	}
	v.Open("/manager/profile").Shows("/confirm", "Is it you?")
	if next := v.At.Query().Get("next"); next != "/manager/profile" {
		t.Errorf("next is %q", next)
	}
	v.Send("/confirm", "password", "wrong").Shows("/confirm", "This password is wrong.")
	if v.Status != http.StatusUnprocessableEntity {
		t.Errorf("status %d", v.Status)
	}
}

// TestTwoFactors: the authenticator's code, each once, and a recovery code.
func TestTwoFactors(t *testing.T) {
	s := newSite(t)
	alex := s.person(t, account.Person{Name: "alex"})
	secret := []byte("12345678901234567890")
	codes, hashes := account.NewRecoveryCodes()
	if _, err := s.people.Update(t.Context(), alex.ID, func(p *account.Person) error {
		p.Authenticator, p.RecoveryCodes = &account.Authenticator{Secret: secret, Created: time.Now()}, hashes
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	key := base32.StdEncoding.EncodeToString(secret)
	v := s.visitor(t)
	signIn(v, "alex", good).Shows("/login/code", "One more step")
	v.Open("/manager").Shows("/login")
	v.Open("/login/code").Send("/login/code", "code", "000000").Shows("/login/code", "This code is wrong")
	code := codeOf(t, key, 0)
	v.Send("/login/code", "code", code[:3]+" "+code[3:]).Shows("/index", "Hello, alex")

	again := s.visitor(t)
	signIn(again, "alex", good).Send("/login/code", "code", code).Shows("/login/code", "has been used")
	again.Send("/login/code", "code", strings.ToUpper(codes[3])).Shows("/index", "You have used a recovery code")
	again.Open("/manager").Shows("/manager", "9 are left")
	third := s.visitor(t)
	signIn(third, "alex", good).Send("/login/code", "code", codes[3]).Shows("/login/code", "has been used")

	// Another password meanwhile ends what has begun.
	if _, err := s.people.Update(t.Context(), alex.ID, func(p *account.Person) error { p.Password = hashOf(t, better); return nil }); err != nil {
		t.Fatal(err)
	}
	third.Send("/login/code", "code", codes[4]).Shows("/login/code", "That took too long")
}

// TestKeyboard: whoever has no pointer signs in, goes to each page and out, in the
// order in which things stand, and sees where they are.
func TestKeyboard(t *testing.T) {
	s, _ := furnished(t)
	tab := browser.Start(t).Tab(t)
	tab.Do(t, chromedp.Navigate(s.URL+"/login"))
	at(t, tab, "/login")
	tab.Wait(t, `document.activeElement?.name === "name"`) // where one begins
	focus := func() string {
		t.Helper()
		return browser.Get(t, tab, chromedp.Evaluate[string](`(e => e.name || e.textContent.trim() || e.tagName)(document.activeElement)`))
	}
	press := func(want ...string) {
		t.Helper()
		for _, name := range want {
			tab.Do(t, chromedp.KeyEvent(kb.Tab))
			if got := focus(); got != name {
				t.Errorf("%q has the focus, want %q", got, name)
			}
			if ring := browser.Get(t, tab, chromedp.Evaluate[string](`getComputedStyle(document.activeElement).outlineStyle`)); ring == "none" {
				t.Errorf("%q does not show its focus", name)
			}
		}
	}
	tab.Do(t, chromedp.KeyEvent("alex"))
	press("password")
	tab.Do(t, chromedp.KeyEvent(good))
	press("Show", "Sign in")
	tab.Do(t, chromedp.KeyEvent(kb.Enter))
	at(t, tab, "/index")

	tab.Do(t, chromedp.Navigate(s.URL+"/manager"))
	press("Skip to content", "Gatehouse", "My account", "People", "Sessions", "Log", "Sign out", "Edit", "Change password")
	tab.Do(t, chromedp.Navigate(s.URL+"/manager/people"))
	press("Skip to content")
	tab.Do(t, chromedp.KeyEvent(kb.Enter))
	press("Add somebody", "q")
	tab.Do(t, chromedp.KeyEvent("person3"+kb.Enter))
	tab.Wait(t, `document.readyState === "complete" && location.search.includes("person3")`)
	if n := browser.Get(t, tab, chromedp.Evaluate[int](`document.querySelectorAll(".rows .row").length`)); n != 1 {
		t.Errorf("%d are found", n)
	}
	tab.Do(t, chromedp.Focus(css(".out button")), chromedp.KeyEvent(" "))
	at(t, tab, "/logout")
}

// TestCaptchaInPage: another picture, and work in the place of one, get through.
func TestCaptchaInPage(t *testing.T) {
	b := browser.Start(t)
	s := newSite(t, func(c *signin.Config) { c.Captcha = signin.Always })
	s.person(t, account.Person{Name: "alex"})
	tab := b.Tab(t)
	const field = `document.querySelector("[name=captcha_id]").value`
	tab.Do(t, chromedp.Navigate(s.URL+"/login"))
	tab.Wait(t, `document.querySelector(".captcha-tools")?.hidden === false`)
	was := browser.Get(t, tab, chromedp.Evaluate[string](field))
	tab.Do(t, chromedp.Click(css(".captcha-new")))
	tab.Wait(t, field+` !== "`+was+`" && document.querySelector(".captcha-view img").complete`)
	fill(t, tab, "name", "alex", "password", good, "captcha_answer", s.solve(t, browser.Get(t, tab, chromedp.Evaluate[string](field))))
	at(t, tab, "/index")

	s = newSite(t, func(c *signin.Config) { c.Captcha = signin.Adaptive })
	s.person(t, account.Person{Name: "alex"})
	tab = b.Tab(t)
	tab.Do(t, chromedp.Navigate(s.URL+"/login"))
	tab.Wait(t, `document.querySelector(".captcha-tools")?.hidden === false`)
	if browser.Get(t, tab, chromedp.Evaluate[bool](`document.querySelector(".captcha-code").checkVisibility()`)) {
		t.Error("a picture is asked of somebody of whom nothing is known")
	}
	tab.Accessible(t)
	tab.Screenshot(t, "adaptive")
	fill(t, tab, "name", "alex", "password", good)
	at(t, tab, "/index")

	// After failures there is a picture.
	for range 4 {
		signIn(s.visitor(t), "alex", "wrong")
	}
	tab.Do(t, chromedp.Navigate(s.URL+"/manager"), chromedp.Click(css(".out button")))
	at(t, tab, "/logout")
	tab.Do(t, chromedp.Navigate(s.URL+"/login"))
	tab.Wait(t, `document.querySelector(".captcha-tools")?.hidden === false`)
	fill(t, tab, "name", "alex", "password", good)
	tab.Wait(t, `document.readyState === "complete" && document.querySelector(".captcha-code")?.checkVisibility()`)
	fill(t, tab, "password", good, "captcha_answer", s.solve(t, browser.Get(t, tab, chromedp.Evaluate[string](field))))
	at(t, tab, "/index")
}
