package form_test

import (
	"context"
	"fmt"
	"html/template"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/captcha/form"
	"github.com/seed-64ad3862/gatehouse/internal/browser"
)

const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; connect-src 'self'; worker-src 'self'; form-action 'self'; require-trusted-types-for 'script'"

var page = template.Must(template.New("").Parse(`<!doctype html>
<html lang="{{.Language}}"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>Comment</title><link rel="icon" href="data:,"><link rel="stylesheet" href="/page.css">
<main><h1>Comment</h1><form method="post"><label for="text">Text</label><input id="text" name="text" value="{{.Text}}">
{{.Part}}
<button id="send">Send</button></form></main></html>`))

// site is a form with a part in it. Each request's answer is kept.
type site struct {
	*httptest.Server
	part *form.Form

	mu   sync.Mutex
	errs []error
	paid []string // paths below the prefix that were asked for
}

func newSite(t testing.TB, cfg form.Config) *site {
	t.Helper()
	s := &site{part: newForm(t, cfg)}
	mux := http.NewServeMux()
	mux.HandleFunc("/captcha/", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.paid = append(s.paid, r.Method+" "+r.URL.Path)
		s.mu.Unlock()
		s.part.ServeHTTP(w, r)
	})
	mux.HandleFunc("/favicon.ico", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "image/x-icon") })
	mux.HandleFunc("/page.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css")
		fmt.Fprint(w, `body{font:1rem/1.5 system-ui,sans-serif;margin:1.5rem;background:Canvas;color:CanvasText}form{display:grid;gap:1rem;max-inline-size:24rem}`)
	})
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Cache-Control", "no-store")
		ask := form.Ask{Scope: scope, Language: r.URL.Query().Get("language")}
		fmt.Sscan(r.URL.Query().Get("by"), &ask.By)
		if r.Method == http.MethodPost {
			ask.Err = s.part.Verify(r, ask)
			s.mu.Lock()
			s.errs = append(s.errs, ask.Err)
			s.mu.Unlock()
			if ask.Err == nil {
				fmt.Fprint(w, "through")
				return
			}
		}
		html, err := s.part.HTML(ask)
		if err != nil {
			t.Error(err)
		}
		if ask.Language == "" {
			ask.Language = "en"
		}
		if err := page.Execute(w, map[string]any{"Language": ask.Language, "Text": r.PostFormValue("text"), "Part": html}); err != nil {
			t.Error(err)
		}
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *site) asked(prefix string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.paid {
		if strings.HasPrefix(p, prefix) {
			n++
		}
	}
	return n
}

func value[T any](t testing.TB, tab *browser.Tab, expression string) T {
	t.Helper()
	return browser.Get(t, tab, chromedp.Evaluate[T](expression))
}

// open shows the page until its script has begun.
func open(t testing.TB, tab *browser.Tab, address string) {
	t.Helper()
	tab.Do(t, chromedp.Navigate(address))
	tab.Wait(t, `document.querySelector(".captcha-tools")?.hidden === false`)
}

const (
	shown  = `document.querySelector(".captcha-view img")`
	status = `document.querySelector(".captcha-status").textContent`
	id     = `document.querySelector("[name=captcha_id]").value`
)

func click(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.Click(chromedp.CSS(selector))
}

// TestPictures: the picture, another one, the film and back, in both themes and
// languages, without a violation by axe-core's rules.
func TestPictures(t *testing.T) {
	s := newSite(t, form.Config{Film: true, Keys: keys})
	b := browser.Start(t)
	for _, language := range []string{"en", "zh-Hans"} {
		for _, dark := range []bool{false, true} {
			tab := b.Tab(t)
			tab.Screen(t, 360, 640, dark)
			open(t, tab, s.URL+"?language="+language)
			tab.Wait(t, shown+".naturalWidth === 240")
			if got := value[string](t, tab, shown+".currentSrc"); strings.HasSuffix(got, ".dark.gif") != dark {
				t.Errorf("dark %v: %s", dark, got)
			}
			tab.Accessible(t)
			tab.Screenshot(t, fmt.Sprintf("%s-%v", language, dark))

			was := value[string](t, tab, id)
			tab.Do(t, chromedp.SendKeys(chromedp.CSS(".captcha-answer"), "abc"), click(".captcha-new"))
			tab.Wait(t, id+` !== "`+was+`" && `+status)
			tab.Wait(t, shown+`.currentSrc.includes(`+id+`) && `+shown+`.complete && document.activeElement.value === ""`)

			tab.Do(t, click(".captcha-play"))
			tab.Wait(t, shown+".naturalWidth === 120")
			if got := value[float64](t, tab, shown+".getBoundingClientRect().width"); got != 240 {
				t.Errorf("the film is %v pixels wide", got)
			}
			tab.Accessible(t)
			tab.Screenshot(t, fmt.Sprintf("%s-%v-film", language, dark))
			tab.Do(t, click(".captcha-play"))
			tab.Wait(t, shown+".naturalWidth === 240")

			// A wrong answer is told beside the field, with a new picture.
			tab.Do(t, chromedp.SendKeys(chromedp.CSS("#text"), "kept"), chromedp.SendKeys(chromedp.CSS(".captcha-answer"), "wrong"+kb.Enter))
			tab.Wait(t, `document.querySelector(".captcha-error") && document.querySelector(".captcha-tools")?.hidden === false`)
			if value[string](t, tab, `document.querySelector("#text").value`) != "kept" {
				t.Error("what was typed is lost")
			}
			tab.Wait(t, shown+".naturalWidth === 240")
			tab.Accessible(t)
			tab.Screenshot(t, fmt.Sprintf("%s-%v-wrong", language, dark))

			right := answer(t, value[string](t, tab, id), captcha.Alphabet)
			tab.Do(t, chromedp.SendKeys(chromedp.CSS(".captcha-answer"), right+kb.Enter))
			tab.Shows(t, "through")
		}
	}
}

// TestKeyboard: everything can be reached and done with the keyboard, in the
// order in which it stands there.
func TestKeyboard(t *testing.T) {
	s := newSite(t, form.Config{Film: true})
	tab := browser.Start(t).Tab(t)
	open(t, tab, s.URL)
	tab.Do(t, chromedp.Focus(chromedp.CSS("#text")))
	for _, want := range []string{"captcha-new", "captcha-listen", "captcha-listen", "captcha-play", "captcha-answer", ""} {
		tab.Do(t, chromedp.KeyEvent(kb.Tab))
		if got := value[string](t, tab, "document.activeElement.className"); got != want {
			t.Errorf("%q has the focus, want %q", got, want)
		}
		if ring := value[string](t, tab, "getComputedStyle(document.activeElement).outlineStyle"); ring == "none" {
			t.Errorf("%q does not show its focus", want)
		}
	}
	tab.Do(t, chromedp.Focus(chromedp.CSS(".captcha-new")))
	was := value[string](t, tab, id)
	tab.Do(t, chromedp.KeyEvent(" "))
	tab.Wait(t, id+` !== "`+was+`" && document.activeElement.className === "captcha-answer"`)
}

// TestSound: both paces are decoded and played, stop when told to, and the digits
// that are heard are an answer.
func TestSound(t *testing.T) {
	s := newSite(t, form.Config{})
	b := browser.Start(t)
	for _, language := range []string{"en", "zh"} {
		tab := b.Tab(t)
		open(t, tab, s.URL+"?language="+language)
		// What is played is not in the page; it is watched as it begins.
		tab.Do(t, chromedp.Evaluate[chromedp.Void](`{
			window.played = [];
			const play = HTMLMediaElement.prototype.play;
			HTMLMediaElement.prototype.play = function () { played.push(this); this.playbackRate = 8; this.muted = true; return play.call(this); };
		}`))
		for i, selector := range []string{".captcha-listen", ".captcha-listen + .captcha-listen"} {
			name := value[string](t, tab, `document.querySelector("`+selector+`").textContent`)
			tab.Do(t, click(selector))
			tab.Wait(t, fmt.Sprintf("played[%d]?.duration > 3", i))
			tab.Accessible(t)
			tab.Wait(t, fmt.Sprintf("played[%d].ended", i))
			tab.Wait(t, `document.querySelector("`+selector+`").textContent === "`+name+`" && document.activeElement.className === "captcha-answer"`)
		}
		if value[bool](t, tab, "played[0].duration >= played[1].duration") {
			t.Error("slowly is not slower")
		}
		// Begun and stopped.
		tab.Do(t, click(".captcha-listen"))
		tab.Wait(t, "played[2]?.currentTime > 0")
		tab.Do(t, click(".captcha-listen"))
		tab.Wait(t, "played[2].paused && !"+status)
	}
}

// TestWork: it is done when somebody begins to fill in the form, the form waits
// for it, and the picture is there for those who cannot.
func TestWork(t *testing.T) {
	s := newSite(t, form.Config{})
	b := browser.Start(t)

	tab := b.Tab(t)
	open(t, tab, s.URL+"?by=1")
	if value[bool](t, tab, `document.querySelector(".captcha-code").checkVisibility()`) {
		t.Error("a picture is asked of somebody who works")
	}
	tab.Accessible(t)
	time.Sleep(200 * time.Millisecond)
	if s.asked("GET /captcha/pow/") != 0 {
		t.Error("who only looks has to work")
	}
	tab.Do(t, chromedp.SendKeys(chromedp.CSS("#text"), "x"))
	tab.Wait(t, `document.querySelector("[name=captcha_work]").value`)
	tab.Do(t, click("#send"))
	tab.Shows(t, "through")

	// Sent at once: the form waits.
	tab = b.Tab(t)
	open(t, tab, s.URL+"?by=1")
	tab.Do(t, chromedp.Evaluate[chromedp.Void](`document.querySelector("#send").click()`))
	tab.Shows(t, "through")

	// A browser that cannot do it.
	tab = b.Tab(t)
	open(t, tab, s.URL+"?by=1")
	tab.Do(t, chromedp.Evaluate[chromedp.Void](`Object.defineProperty(crypto, "subtle", {value: undefined})`), chromedp.SendKeys(chromedp.CSS("#text"), "x"))
	tab.Wait(t, `document.querySelector(".captcha-code").checkVisibility() && document.activeElement.className === "captcha-answer"`)
	tab.Wait(t, shown+".naturalWidth === 240")
	tab.Accessible(t)
	tab.Screenshot(t, "instead")

	// Back from where it has been sent: the work that is spent is not sent again.
	tab = b.Tab(t)
	open(t, tab, s.URL+"?by=1")
	tab.Do(t, chromedp.SendKeys(chromedp.CSS("#text"), "x"))
	tab.Wait(t, `document.querySelector("[name=captcha_work]").value`)
	tab.Do(t, chromedp.Evaluate[chromedp.Void](`fetch("", {method: "POST", body: new URLSearchParams(new FormData(document.forms[0]))}).then(() => {
		dispatchEvent(new PageTransitionEvent("pageshow", {persisted: true}));
		window.back = true;
	})`))
	tab.Wait(t, "window.back")
	tab.Do(t, click("#send"))
	tab.Shows(t, "through")
	s.mu.Lock()
	for i, err := range s.errs {
		if err != nil {
			t.Errorf("attempt %d: %v", i, err)
		}
	}
	s.mu.Unlock()

	// Work that was refused is done again, and no picture stands in its way.
	tab = b.Tab(t)
	open(t, tab, s.URL+"?by=1")
	tab.Do(t, chromedp.Evaluate[chromedp.Void](`document.querySelector("[name=captcha_work]").value = "e30="; document.forms[0].submit()`))
	tab.Wait(t, `document.querySelector(".captcha-error") && document.querySelector(".captcha-tools").hidden === false`)
	if value[bool](t, tab, `document.querySelector(".captcha-code").checkVisibility()`) || value[string](t, tab, status) == "" {
		t.Error("a picture is asked of somebody whose work was refused, or nothing is said")
	}
	tab.Accessible(t)
	tab.Do(t, click("#send"))
	tab.Shows(t, "through")

	// Both: what is wrong is the code.
	tab = b.Tab(t)
	open(t, tab, s.URL+"?by=2")
	tab.Do(t, chromedp.SendKeys(chromedp.CSS(".captcha-answer"), "wrong"+kb.Enter))
	tab.Wait(t, `document.querySelector(".captcha-error")`)
	if got := value[string](t, tab, `document.querySelector(".captcha-error").textContent`); !strings.Contains(got, "picture says") {
		t.Errorf("told %q", got)
	}
}

// TestLate: what is over is exchanged when somebody comes back to it, not before,
// and a form is not sent with it.
func TestLate(t *testing.T) {
	s := newSite(t, form.Config{Lifetime: 5 * time.Second})
	tab := browser.Start(t).Tab(t)
	open(t, tab, s.URL+"?by=2")
	was := value[string](t, tab, id)
	tab.Do(t, chromedp.SendKeys(chromedp.CSS("#text"), "x"))
	tab.Wait(t, `document.querySelector("[name=captcha_work]").value`)
	tab.Wait(t, `!document.querySelector("[name=captcha_work]").value && performance.now() > 4000`) // both are over
	if value[string](t, tab, id) != was {
		t.Error("a challenge is exchanged that nobody looks at")
	}
	// Without focus on the part.
	tab.Do(t, chromedp.Evaluate[chromedp.Void](`document.querySelector(".captcha-answer").value = "abcde"; document.forms[0].requestSubmit()`))
	tab.Wait(t, id+` !== "`+was+`"`)
	tab.Wait(t, `document.querySelector(".captcha-answer").value === "" && `+status)
	s.mu.Lock()
	if len(s.errs) != 0 {
		t.Errorf("the form was sent: %v", s.errs)
	}
	s.mu.Unlock()
	tab.Do(t, chromedp.SendKeys(chromedp.CSS(".captcha-answer"), "wrong"+kb.Enter))
	tab.Wait(t, `document.querySelector(".captcha-error")?.textContent.includes("picture says")`)
	if s.asked("POST /captcha/work") == 0 {
		t.Error("the work was not renewed")
	}
}

// TestReducedMotion: no film for those who do not want motion.
func TestReducedMotion(t *testing.T) {
	s := newSite(t, form.Config{Film: true})
	tab := browser.Start(t).Tab(t)
	tab.Do(t, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-reduced-motion", Value: "reduce"}},
		})
		return err
	}))
	open(t, tab, s.URL)
	if value[bool](t, tab, `document.querySelector(".captcha-play").checkVisibility()`) || !value[bool](t, tab, shown+".checkVisibility()") {
		t.Error("a film is offered")
	}
}

// TestNoScript: without JavaScript there are the picture, another one, and the
// sound as links.
func TestNoScript(t *testing.T) {
	s := newSite(t, form.Config{})
	b := browser.Start(t)
	for _, by := range []form.By{form.Code, form.Work, form.CodeAndWork} {
		tab := b.Tab(t)
		tab.Screen(t, 360, 640, false)
		tab.Do(t,
			chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
				_, err := cdp.Call(ctx, target, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
				return err
			}),
			chromedp.Navigate(fmt.Sprintf("%s?by=%d", s.URL, by)),
		)
		tab.Wait(t, shown+".naturalWidth === 240")
		if value[bool](t, tab, `document.querySelector("button.captcha-new").checkVisibility()`) {
			t.Error("there are buttons that do nothing")
		}
		tab.Screenshot(t, fmt.Sprintf("noscript-%d", by))
		was := value[string](t, tab, id)
		tab.Do(t, chromedp.SendKeys(chromedp.CSS("#text"), "kept"), click("[name=captcha_new]"))
		tab.Wait(t, `document.querySelector("[name=captcha_id]") && `+id+` !== "`+was+`" && document.querySelector("#text").value === "kept" && !document.querySelector("[aria-invalid]")`)
		tab.Do(t, chromedp.SendKeys(chromedp.CSS(".captcha-answer"), "wrong"+kb.Enter))
		tab.Wait(t, `document.querySelector("[aria-invalid]")`)
		if got := value[int](t, tab, `document.querySelectorAll(".captcha-tools a[href$='.wav']").length`); got != 2 {
			t.Errorf("%d sounds", got)
		}
	}
}
