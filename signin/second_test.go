package signin_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/internal/browser"
	"github.com/seed-64ad3862/gatehouse/signin"
)

func requireSecond(c *signin.Config) { c.RequireSecondFactor = true }

// TestSecondFactor: where everybody needs one, whoever has none gets one and nowhere
// else, and cannot give it up.
func TestSecondFactor(t *testing.T) {
	s := newSite(t, requireSecond)
	alex := s.person(t, account.Person{Name: "alex"})
	v := s.visitor(t)
	signIn(v, "alex", good).Open("/app/x?y=1").Shows("/second", "asks everybody for more than a password", "Set up an authenticator app")
	if next := v.At.Query().Get("next"); next != "/app/x?y=1" {
		t.Errorf("next is %q", next)
	}
	for _, path := range []string{"/manager", "/manager/profile", "/manager/password", "/manager/people"} {
		v.Open(path).Shows("/second")
	}
	for _, path := range []string{"/manager/password", "/manager/end-others", "/manager/codes", "/manager/profile", "/manager/passkeys/change"} {
		post(v, path).Shows("/second")
	}
	v.Do(t.Context(), http.MethodGet, "/app/x", "", "Accept", "application/json", "Sec-Fetch-Mode", "cors")
	if v.Status != http.StatusUnauthorized {
		t.Errorf("an API answers %d", v.Status)
	}
	v.Open("/manager/authenticator").Shows("/manager/authenticator", "Scan this")
	_, key, _ := strings.Cut(v.Body, "secret=")
	v.Send("/manager/authenticator", "code", codeOf(t, key[:32], 0)).Shows("/manager/authenticator", "Recovery codes")
	v.Open("/app/x").Shows("/app/x")
	v.Open("/manager").Send("/manager/authenticator/remove").Shows("/manager", "A password alone is not enough here")
	if p, err := s.people.ByID(t.Context(), alex.ID); err != nil || !p.TwoFactors() {
		t.Errorf("the app is gone: %v", err)
	}
	v.Send("/logout")
	signIn(v, "alex", good).Send("/login/code", "code", codeOf(t, key[:32], 1)).Shows("/index")
	v.Open("/second").Shows("/index")
	v.Open("/app/x").Shows("/app/x")
}

// TestSecondFactorTheft: whoever has the password alone cannot add a factor of their own
// beside the owner's, by whichever way they come in.
func TestSecondFactorTheft(t *testing.T) {
	s := newSite(t, requireSecond)
	alex := s.person(t, account.Person{Name: "alex"})
	if _, err := s.people.Update(t.Context(), alex.ID, func(p *account.Person) error {
		p.Passkeys = []account.Passkey{{ID: []byte("key"), Label: "phone", Credential: []byte(`{"id":"a2V5"}`)}}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"password", "confirmed", "link"} {
		v := s.visitor(t)
		switch how {
		case "link":
			v.Open(s.recovery(t, alex.ID)).Send("", "new", better, "again", better)
		case "confirmed":
			signIn(v, "alex", good).Open("/confirm").Send("/confirm", "password", good)
		default:
			signIn(v, "alex", good)
		}
		v.Open("/second").Shows("/second", "You have set this up", "Confirm with a passkey")
		for _, path := range []string{"/manager", "/manager/authenticator", "/app/x"} {
			v.Open(path).Shows("/second")
		}
		for _, path := range []string{"/manager/authenticator", "/manager/passkeys/options", "/manager/passkeys", "/manager/passkeys/change", "/manager/authenticator/remove"} {
			post(v, path, "id", "a2V5", "remove", "1").Shows("/second")
		}
	}
	if p, err := s.people.ByID(t.Context(), alex.ID); err != nil || len(p.Passkeys) != 1 || p.TwoFactors() {
		t.Errorf("the factors have changed: %+v, %v", p, err)
	}
}

// TestSecondFactorPasskey: a passkey is made where it is asked for, and shown when a
// password has come first.
func TestSecondFactorPasskey(t *testing.T) {
	s := newSite(t, requireSecond)
	s.person(t, account.Person{Name: "alex"})
	b := browser.Start(t)
	tab := b.Tab(t)
	browser.Call(t, tab, webauthn.Enable, webauthn.EnableParams{})
	// One that does not answer by itself while names are filled in.
	device := tab.Authenticator(t, webauthn.AuthenticatorTransportUsb, true)
	signInTab(t, s, tab, "alex", good)
	at(t, tab, "/index")
	tab.Do(t, chromedp.Navigate(s.URL+"/manager"))
	at(t, tab, "/second")
	tab.Wait(t, `document.querySelector("[data-make]:not([hidden]) button")`)
	for _, look := range []struct {
		width int64
		dark  bool
	}{{1280, false}, {360, true}} {
		tab.Screen(t, look.width, 800, look.dark)
		tab.Accessible(t)
		tab.Screenshot(t, map[bool]string{true: "second-dark", false: "second"}[look.dark])
	}
	tab.Do(t, chromedp.Click(css("[data-make] button")))
	says(t, tab, "The passkey is added.")
	at(t, tab, "/manager")
	tab.Do(t, chromedp.Click(css("[name=remove]")))
	says(t, tab, "A password alone is not enough here.")
	tab.Do(t, chromedp.Click(css(".out button")))
	at(t, tab, "/logout")

	signInTab(t, s, tab, "alex", good)
	at(t, tab, "/index")
	tab.Do(t, chromedp.Navigate(s.URL+"/app/x"))
	at(t, tab, "/second")
	tab.Wait(t, `document.querySelector("[data-passkeys]:not([hidden]) button")`)
	tab.Accessible(t)
	tab.Screenshot(t, "second-show")
	tab.Do(t, chromedp.Click(css("[data-passkeys] button")))
	tab.Wait(t, `document.body.innerText === "app of alex"`)
	browser.Call(t, tab, webauthn.RemoveVirtualAuthenticator, webauthn.RemoveVirtualAuthenticatorParams{AuthenticatorID: device})
}
