package tutorial

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/seed-64ad3862/gatehouse/internal/browser"
)

const img = chromedp.CSS("#another img")

// The picture as it is seen: to ask the server for it would give another.
const pixels = `(() => {
	const img = document.querySelector("#another img");
	const canvas = document.createElement("canvas");
	canvas.width = img.naturalWidth;
	canvas.height = img.naturalHeight;
	canvas.getContext("2d").drawImage(img, 0, 0);
	return canvas.toDataURL();
})()`

// loaded waits for a picture, and for another address than was.
func loaded(t *testing.T, tab *browser.Tab, was string) (address string) {
	t.Helper()
	address = browser.Get(t, tab, chromedp.Poll[string](
		`(i => i && i.complete && i.naturalWidth > 0 && i.currentSrc !== "`+was+`" && i.currentSrc)(document.querySelector("#another img"))`))
	if width := browser.Get(t, tab, chromedp.Evaluate[int](`document.querySelector("#another img").naturalWidth`)); width != 480 {
		t.Errorf("the picture is %d wide", width)
	}
	return address
}

// printed has the site print its container, and returns the only code in it.
func printed(t *testing.T, tab *browser.Tab, address string, out *lines) string {
	t.Helper()
	tab.Do(t, chromedp.Navigate(address+"/manager"))
	for _, values := range out.last(t) {
		if code, ok := values["CheckCode"].(string); ok {
			return code
		}
	}
	return ""
}

func TestBrowser(t *testing.T) {
	b := browser.Start(t)
	for _, dark := range []bool{false, true} {
		name := "light"
		if dark {
			name = "dark"
		}
		t.Run(name, func(t *testing.T) { testBrowser(t, b, name, dark) })
	}
}

func testBrowser(t *testing.T, b *browser.Browser, name string, dark bool) {
	server := httptest.NewUnstartedServer(nil)
	address := "http://" + server.Listener.Addr().String()
	var out *lines
	server.Config.Handler, out = newSite(t, func(cfg *Config) { cfg.Origins = []string{address} })
	server.Start()
	defer server.Close()
	one, two, console := b.Tab(t), b.Tab(t), b.Tab(t)
	for _, tab := range []*browser.Tab{one, two} {
		tab.Screen(t, 1280, 860, dark)
	}

	// The page, with its picture.
	one.Do(t, chromedp.Navigate(address+"/login"))
	first := loaded(t, one, "")
	if strings.Contains(first, "dark") != dark {
		t.Errorf("the picture is %s", first)
	}
	before, code := browser.Get(t, one, chromedp.Evaluate[string](pixels)), printed(t, console, address, out)
	one.Screenshot(t, name+"-login")

	// A click gives another, on the same page; so do the keys.
	one.Do(t, chromedp.SetValue(chromedp.CSS("#user"), "alex"), chromedp.Click(img))
	second := loaded(t, one, first)
	if after := browser.Get(t, one, chromedp.Evaluate[string](pixels)); after == before {
		t.Error("the picture is the same after a click")
	}
	if printed(t, console, address, out) == code {
		t.Error("the code is the same after a click")
	}
	if user := browser.Get(t, one, chromedp.Value(chromedp.CSS("#user"))); user != "alex" {
		t.Errorf("the click loaded the page again: the name is %q", user)
	}
	one.Do(t, chromedp.Focus(chromedp.CSS("#another")), chromedp.KeyEvent(" "))
	third := loaded(t, one, second)
	one.Do(t, chromedp.Focus(chromedp.CSS("#another")), chromedp.KeyEvent(kb.Enter))
	loaded(t, one, third)
	if focus := browser.Get(t, one, chromedp.Evaluate[string]("document.activeElement.id")); focus != "code" {
		t.Errorf("the focus is on %q", focus)
	}

	// A wrong code: the page again, which says so and has another picture.
	one.Do(t, chromedp.SendKeys(chromedp.CSS("#code"), "wrong"), chromedp.Click(chromedp.CSS("button")),
		chromedp.WaitVisible(chromedp.CSS("#status")))
	if got := browser.Get(t, one, chromedp.Text(chromedp.CSS("#status"))); got != "验证码错误" {
		t.Errorf("status %q", got)
	}
	loaded(t, one, third)
	for what, want := range map[string]string{
		`document.activeElement.id`:                   "code",
		`document.getElementById("user").value`:       "alex",
		`document.getElementById("code").value`:       "",
		`document.getElementById("code").ariaInvalid`: "true",
	} {
		if got := browser.Get(t, one, chromedp.Evaluate[string](what)); got != want {
			t.Errorf("%s is %q, want %q", what, got, want)
		}
	}
	one.Screenshot(t, name+"-wrong")
	one.Screen(t, 360, 740, dark)
	one.Screenshot(t, name+"-wrong-360")
	if wide := browser.Get(t, one, chromedp.Evaluate[int]("document.documentElement.scrollWidth")); wide > 360 {
		t.Errorf("the page is %d wide on a screen of 360", wide)
	}

	// The right one.
	code = printed(t, console, address, out)
	one.Do(t, chromedp.SendKeys(chromedp.CSS("#code"), strings.ToLower(code)+kb.Enter))
	one.Shows(t, "验证码正确")

	// Two tabs of one form.
	one.Do(t, chromedp.Navigate(address+"/csrf"))
	two.Do(t, chromedp.Navigate(address+"/csrf"))
	two.Screenshot(t, name+"-csrf")
	for _, tab := range []*browser.Tab{one, two} {
		tab.Do(t, chromedp.Click(chromedp.CSS("button")))
		tab.Shows(t, "csrf.post")
	}
	// And back, to send it once more.
	two.Do(t, chromedp.NavigateBack(), chromedp.Click(chromedp.CSS("button")))
	two.Shows(t, "csrf.post")

	// Sign in.
	two.Do(t, chromedp.Navigate(address+"/index?u=alex"))
	two.Shows(t, "cookie设置成功了")
	two.Do(t, chromedp.Navigate(address+"/manager"))
	two.Shows(t, "alex登录成功")
	if cookies := browser.Get(t, two, chromedp.Evaluate[string]("document.cookie")); cookies != "" {
		t.Errorf("scripts see the cookie: %q", cookies)
	}
}

// Without scripts the picture's link loads the page again, and all else is the
// same.
func TestBrowserWithoutScript(t *testing.T) {
	site, out := newSite(t, func(cfg *Config) { cfg.Origins = nil })
	server := httptest.NewServer(site)
	defer server.Close()
	b := browser.Start(t)
	tab, console := b.Tab(t), b.Tab(t)
	tab.Do(t,
		chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			_, err := cdp.Call(ctx, target, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
			return err
		}),
		chromedp.Navigate(server.URL+"/login"),
		chromedp.SetValue(chromedp.CSS("#user"), "gone with the page"),
	)
	code := printed(t, console, server.URL, out)
	browser.Get(t, tab, chromedp.WaitEvent(page.LoadEventFired, func(page.EventLoadEventFired) bool { return true }, chromedp.Click(img)))
	if user := browser.Get(t, tab, chromedp.Value(chromedp.CSS("#user"))); user != "" {
		t.Errorf("the page was not loaded again: the name is %q", user)
	}
	again := printed(t, console, server.URL, out)
	if again == "" || again == code {
		t.Errorf("codes %q and %q", code, again)
	}
	tab.Do(t, chromedp.SendKeys(chromedp.CSS("#code"), again+kb.Enter))
	tab.Shows(t, "验证码正确")
}
