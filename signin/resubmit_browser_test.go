package signin_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdpnetwork "github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/internal/browser"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/signin"
)

// The ways in which people send a form twice.
const (
	doubleClick = "double click"
	enterTwice  = "Enter twice"
	both        = "Enter and a click"
)

const signInButton = "main form button.wide:not(.quiet)"

// sentTwiceIn asserts that a visitor who sends the form of the sign-in page twice ends signed
// in, with one session, whatever send is.
func sentTwiceIn(t *testing.T, send func(t *testing.T, s *site, name, how string)) {
	s := newSite(t, withKeys(t), func(c *signin.Config) { c.Captcha = signin.Always })
	for i := range 3 {
		for _, how := range []string{doubleClick, enterTwice, both} {
			name := fmt.Sprintf("%s%d", strings.ToLower(strings.ReplaceAll(how, " ", "")), i)
			who := s.person(t, account.Person{Name: name})
			send(t, s, name, how)
			n := 0
			for _, err := range s.sessions.List(t.Context(), session.Query{Owner: who.ID}) {
				if err != nil {
					t.Fatal(err)
				}
				n++
			}
			if n != 1 {
				t.Errorf("%s: %d sessions are left", how, n)
			}
			if t.Failed() {
				t.Fatalf("%s, the %d. time: the log says %s", how, i+1, s.errors)
			}
		}
	}
}

func TestSentTwiceInChromium(t *testing.T) {
	for what, scripts := range map[string]bool{"with scripts": true, "without": false} {
		t.Run(what, func(t *testing.T) {
			tab := browser.Start(t).Tab(t)
			tab.Do(t, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
				_, err := cdp.Call(ctx, target, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !scripts})
				return err
			}))
			sentTwiceIn(t, func(t *testing.T, s *site, name, how string) {
				tab.Do(t, chromedp.Navigate(s.URL+"/login"))
				at(t, tab, "/login")
				id := browser.Get(t, tab, chromedp.Evaluate[string](`document.querySelector("[name=captcha_id]").value`))
				tab.Do(t, chromedp.SendKeys(css("[name=name]"), name), chromedp.SendKeys(css("[name=password]"), good),
					chromedp.SendKeys(css("[name=captcha_answer]"), s.solve(t, id)))
				middle := browser.Get(t, tab, chromedp.Evaluate[[]float64](`(() => {
					const r = document.querySelector("`+signInButton+`").getBoundingClientRect();
					return [r.x + r.width / 2, r.y + r.height / 2];
				})()`))
				click := chromedp.MouseClickXY(middle[0], middle[1])
				switch how {
				case doubleClick:
					tab.Do(t, click, click)
				case enterTwice:
					tab.Do(t, chromedp.SendKeys(css("[name=captcha_answer]"), kb.Enter+kb.Enter))
				default:
					tab.Do(t, chromedp.SendKeys(css("[name=captcha_answer]"), kb.Enter), click)
				}
				at(t, tab, "/index")
				tab.Do(t, chromedp.Navigate(s.URL+"/app/"))
				tab.Shows(t, "app of "+name)
				browser.Call(t, tab, cdpnetwork.ClearBrowserCookies, cdp.Empty{})
			})
		})
	}
}

func TestSentTwiceInFirefox(t *testing.T) {
	for what, scripts := range map[string]bool{"with scripts": true, "without": false} {
		t.Run(what, func(t *testing.T) {
			f := browser.StartFirefox(t, scripts)
			sentTwiceIn(t, func(t *testing.T, s *site, name, how string) {
				f.Open(t, s.URL+"/login?next=/app/")
				f.Type(t, "[name=name]", name)
				f.Type(t, "[name=password]", good)
				answer := s.solve(t, f.Attribute(t, "[name=captcha_id]", "value"))
				switch how {
				case doubleClick:
					f.Type(t, "[name=captcha_answer]", answer)
					f.Click(t, signInButton, 2)
				case enterTwice:
					f.Type(t, "[name=captcha_answer]", answer+browser.Enter+browser.Enter)
				default:
					f.Type(t, "[name=captcha_answer]", answer)
					f.EnterAndClick(t, "[name=captcha_answer]", signInButton)
				}
				f.Wait(t, s.URL+"/app/")
				f.ForgetCookies(t)
			})
		})
	}
}
