package main

import (
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/seed-64ad3862/gatehouse/internal/browser"
	"github.com/seed-64ad3862/gatehouse/internal/tryout"
)

// TestApp: the page leads to the sign-in and back, keeps notes, and leads there again
// when the session has ended.
func TestApp(t *testing.T) {
	url, link := tryout.Serve(t, newApp)
	tab := browser.Start(t).Tab(t)
	tab.Allow("status of 401")
	keys := func(name, text string) { tab.Do(t, chromedp.SendKeys(chromedp.CSS("main [name="+name+"]"), text)) }
	tab.Do(t, chromedp.Navigate(link))
	keys("name", "alex")
	keys("new", "quiet lantern meadow")
	keys("again", "quiet lantern meadow"+kb.Enter)
	tab.Wait(t, `location.pathname === "/auth/manager" && document.readyState === "complete"`)
	tab.Do(t, chromedp.Click(chromedp.CSS(".out button")))
	tab.Wait(t, `location.pathname === "/auth/logout" && document.readyState === "complete"`)

	tab.Do(t, chromedp.Navigate(url))
	tab.Wait(t, `location.pathname === "/auth/login" && document.readyState === "complete"`)
	keys("name", "alex")
	keys("password", "quiet lantern meadow"+kb.Enter)
	tab.Wait(t, `document.querySelector("#hello")?.textContent === "Hello, alex."`)
	keys("note", "milk"+kb.Enter)
	tab.Wait(t, `document.querySelector("#notes").innerText === "milk"`)
	keys("note", "bread"+kb.Enter)
	tab.Wait(t, `document.querySelector("#notes").innerText === "milk\nbread"`)
	tab.Accessible(t)
}
