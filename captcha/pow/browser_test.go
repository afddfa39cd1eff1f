package pow_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/captcha/pow"
	"github.com/seed-64ad3862/gatehouse/captcha/still"
	"github.com/seed-64ad3862/gatehouse/internal/browser"
	"github.com/seed-64ad3862/gatehouse/internal/npm"
)

// spy shows what a form would, and keeps the answer.
type spy struct {
	captcha.Renderer
	mu     sync.Mutex
	answer string
}

func (s *spy) Append(dst []byte, answer string, seed [32]byte) ([]byte, error) {
	s.mu.Lock()
	s.answer = answer
	s.mu.Unlock()
	return s.Renderer.Append(dst, answer, seed)
}

func (s *spy) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answer
}

// beep is a second of sound, as a WAV of 8 kHz and 8 bits.
type beep struct{}

func (beep) MediaType() string { return "audio/wav" }

func (beep) Append(dst []byte, _ string, _ [32]byte) ([]byte, error) {
	const rate = 8000
	le := binary.LittleEndian
	dst = le.AppendUint32(append(dst, "RIFF"...), 36+rate)
	dst = le.AppendUint32(append(dst, "WAVEfmt "...), 16)
	dst = le.AppendUint16(le.AppendUint16(dst, 1), 1)
	dst = le.AppendUint32(le.AppendUint32(dst, rate), rate)
	dst = le.AppendUint16(le.AppendUint16(dst, 1), 8)
	dst = le.AppendUint32(append(dst, "data"...), rate)
	for i := range rate {
		dst = append(dst, uint8(128+20*math.Sin(float64(i)/3)))
	}
	return dst, nil
}

// site is a form behind work. Its pages have a policy, which the browser reports
// violations of, and that fails the test.
type site struct {
	*httptest.Server
	toll           *pow.Toll
	picture, sound *spy
}

const ours = "default-src 'none'; img-src data:; script-src 'self'; worker-src 'self'; connect-src 'self'; form-action 'self'"

func newSite(t testing.TB, policy, head, form string) *site {
	t.Helper()
	gif, err := still.New(still.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{picture: &spy{Renderer: gif}, sound: &spy{Renderer: beep{}}}
	c, err := captcha.New(captcha.Config{Forms: map[string]captcha.Renderer{"gif": s.picture, "wav": s.sound}})
	if err != nil {
		t.Fatal(err)
	}
	s.toll = newToll(t, pow.Config{
		Tries: 1000,
		Code:  pow.Code{Captcha: c, Image: "/captcha/{id}.gif", Audio: "/captcha/{id}.wav", Length: 5},
	})
	scripts, solver, err := pow.Script("/scripts/")
	if err != nil {
		t.Fatal(err)
	}
	demand := func(r *http.Request) pow.Demand {
		return pow.Demand{Scope: scope, Code: r.FormValue("code") == "yes"}
	}
	mux := http.NewServeMux()
	mux.Handle("/pow", s.toll.Handler(demand))
	mux.Handle("/captcha/", c)
	mux.Handle("/scripts/", scripts)
	serve := func(path, media, body string) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", media)
			w.Header().Set("Content-Security-Policy", policy)
			io.WriteString(w, body)
		})
	}
	serve("/{$}", "text/html; charset=utf-8", `<!doctype html><html lang=en><title>x</title><link rel=icon href=data:,>`+head+
		`<form method=post action=/submit>`+form+`<button id=send>Send</button></form>`)
	serve("/favicon.ico", "image/x-icon", "") // of the page after the form
	serve("/page.js", "text/javascript", `import { solve } from "`+solver+`"; window.solve = solve;`)
	serve("/endless", "application/json", `{"parameters":{"algorithm":"PBKDF2/SHA-256","cost":50,"keyLength":32,"data":{"tries":1000},`+
		`"keyPrefix":"00000000000000000000000000000000","nonce":"00000000000000000000000000000000","salt":"00000000000000000000000000000000"}}`)
	mux.HandleFunc("POST /submit", func(w http.ResponseWriter, r *http.Request) {
		err := s.toll.Verify(r.Context(), demand(r), r.PostFormValue("altcha"), "")
		fmt.Fprint(w, "verified: ", err)
	})
	if strings.Contains(head, "/altcha.js") {
		serve("/altcha.js", "text/javascript", string(npm.ALTCHA.File(t, "dist/main/altcha.min.js")))
	}
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// openSolver opens a page that has the solver as window.solve.
func openSolver(t testing.TB, tab *browser.Tab, policy string) {
	t.Helper()
	s := newSite(t, policy, `<script type=module src=/page.js></script>`, `<input type=hidden name=altcha>`)
	tab.Do(t, chromedp.Navigate(s.URL))
	tab.Wait(t, `typeof solve === "function"`)
}

// async runs the body of an asynchronous function.
func async[T any](t testing.TB, tab *browser.Tab, body string) T {
	t.Helper()
	return browser.Get(t, tab, chromedp.Evaluate[T]("(async () => {"+body+"})()", chromedp.EvalAwaitPromise))
}

func TestSolver(t *testing.T) {
	b := browser.Start(t)

	// What becomes of a challenge that has no solution, seen from the page.
	type seen struct {
		Reports  []int  // of progress
		Most     int    // as progress is told
		Ended    string // the error that solve throws
		Workers  int    // that were started
		Finished int    // that were ended
		Ticks    int    // of a clock in the page
	}
	const watch = `
		const seen = {reports: [], most: 0, workers: 0, finished: 0, ticks: 0};
		if (typeof Worker === "function") {
			const {postMessage, terminate} = Worker.prototype;
			Worker.prototype.postMessage = function(...a) { seen.workers++; return postMessage.apply(this, a); };
			Worker.prototype.terminate = function() { seen.finished++; return terminate.apply(this); };
		}
		const clock = setInterval(() => seen.ticks++, 1);
		const controller = new AbortController();
		try {
			await solve("/endless", {
				signal: controller.signal,
				progress(tried, most) {
					seen.most = most;
					if (seen.reports.push(tried) === 4) controller.abort();
				},
				...OPTIONS
			});
		} catch (error) {
			seen.ended = error.name;
		}
		clearInterval(clock);
		const n = seen.reports.length;
		await new Promise((resolve) => setTimeout(resolve, 300));
		if (seen.reports.length !== n) seen.ended = "reports after the end";
		return seen;`
	const inPage = -1
	for _, tt := range []struct {
		name, before, options string
		policy                string
		workers               int // 0: at least one
	}{
		{"workers", "", "{}", ours, 0},
		{"one worker", "", "{workers: 1}", ours, 1},
		{"too many workers", `Object.defineProperty(navigator, "hardwareConcurrency", {value: 64})`, "{workers: 64}", ours, 8},
		{"two cores", `Object.defineProperty(navigator, "hardwareConcurrency", {value: 2})`, "{}", ours, 2},
		{"unknown cores", `Object.defineProperty(navigator, "hardwareConcurrency", {value: undefined})`, "{}", ours, 1},
		{"by wish in the page", "", "{workers: 0}", ours, inPage},
		{"no workers known", "delete window.Worker", "{}", ours, inPage},
		{"workers refused", `window.Worker = class { constructor() { throw new DOMException("no", "SecurityError"); } }`, "{}", ours, inPage},
		{"workers fail", `window.Worker = class {
			postMessage() { setTimeout(() => this.onerror(new Event("error", {cancelable: true}))); }
			terminate() {}
		}`, "{}", ours, inPage},
		{"policy without workers", "", "{}", strings.Replace(ours, "worker-src 'self'", "worker-src 'none'", 1), inPage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var tb testing.TB = t
			if tt.policy != ours {
				tb = &deaf{TB: t, to: "worker-src"}
			}
			tab := b.Tab(tb)
			openSolver(tb, tab, tt.policy)
			got := async[seen](tb, tab, tt.before+";"+strings.Replace(watch, "OPTIONS", tt.options, 1))
			if got.Ended != "AbortError" || got.Most != 1000 || len(got.Reports) < 4 {
				t.Errorf("got %+v", got)
			}
			for i := range got.Reports[1:] {
				if got.Reports[i] > got.Reports[i+1] {
					t.Errorf("progress %v", got.Reports)
				}
			}
			// The policy lets a worker be made, and only then fails it.
			if tt.workers == inPage && tt.policy == ours && got.Workers != 0 && tt.name != "workers fail" {
				t.Errorf("%d workers", got.Workers)
			}
			if tt.workers > 0 && got.Workers != tt.workers || tt.workers == 0 && got.Workers == 0 {
				t.Errorf("%d workers, want %d", got.Workers, tt.workers)
			}
			if got.Finished != got.Workers {
				t.Errorf("%d of %d workers ended", got.Finished, got.Workers)
			}
			if got.Ticks == 0 {
				t.Error("the page stood still")
			}

			// And now one that has a solution.
			async[bool](tb, tab, `
				document.forms[0].elements.altcha.value = await solve("/pow", `+tt.options+`);
				return true;`)
			tab.Do(tb, chromedp.Click(chromedp.CSS("#send")))
			tab.Shows(tb, "verified: <nil>")
		})
	}
}

// deaf is a test that one kind of the browser's complaints does not fail.
type deaf struct {
	testing.TB
	to string
}

func (d *deaf) Errorf(format string, args ...any) {
	d.Helper()
	if text := fmt.Sprintf(format, args...); !strings.Contains(text, d.to) {
		d.Error(text)
	}
}

func TestSolverErrors(t *testing.T) {
	tab := browser.Start(t).Tab(t)
	openSolver(t, tab, ours)
	for _, tt := range []struct{ body, want string }{
		{`solve({parameters: {algorithm: "ARGON2ID"}})`, "Error: pow: cannot do ARGON2ID"},
		{`solve("/pow", {signal: AbortSignal.abort("too late")})`, "too late"},
		{`solve("/page.js")`, "SyntaxError: "},
		// What no worker can do is tried in the page, and said there.
		{`solve({parameters: {...(await (await fetch("/pow")).json()).parameters, cost: 0}})`, "OperationError: "},
		{`(Object.defineProperty(crypto, "subtle", {value: undefined}), solve("/pow"))`, "Error: pow: WebCrypto is for pages that come by HTTPS"},
	} {
		got := async[string](t, tab, "try { await "+tt.body+"; return 'solved' } catch (error) { return String(error) }")
		if !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.body, got, tt.want)
		}
	}
}

// In the page, work gives way to everything else, even where WebCrypto answers
// before anything else could come between.
func TestSolverSteps(t *testing.T) {
	tab := browser.Start(t).Tab(t)
	openSolver(t, tab, ours)
	got := async[string](t, tab, `
		crypto.subtle.importKey = async () => null;
		crypto.subtle.deriveBits = async () => new Uint8Array(32).fill(1).buffer;
		const controller = new AbortController();
		document.querySelector("#send").addEventListener("click", (event) => {
			event.preventDefault();
			controller.abort("clicked");
		});
		setTimeout(() => document.querySelector("#send").click(), 50);
		return solve("/endless", {workers: 0, signal: controller.signal}).catch(String);`)
	if got != "clicked" {
		t.Errorf("got %q", got)
	}
}

// What the widget needs; the parts in quotes are for its own styles and workers.
const theirs = "default-src 'none'; img-src 'self' data:; media-src 'self'; script-src 'self'; style-src 'unsafe-inline'; worker-src blob:; connect-src 'self'; form-action 'self'"

// Of itself the widget shows pictures fifty pixels high.
const theWidget = `<script type=module src=/altcha.js></script><style>.altcha .altcha-code-challenge-image { height: auto }</style>`

// state is true when the widget is in one.
func state(name string) string {
	return `document.querySelector(".altcha")?.dataset.state === "` + name + `"`
}

const tick = chromedp.CSS("altcha-widget input[type=checkbox]")

func TestWidget(t *testing.T) {
	s := newSite(t, theirs, theWidget, `<altcha-widget challenge="/pow"></altcha-widget>`)
	tab := browser.Start(t).Tab(t)
	tab.Do(t, chromedp.Navigate(s.URL), chromedp.Click(tick))
	tab.Wait(t, state("verified"))
	tab.Do(t, chromedp.Click(chromedp.CSS("#send")))
	tab.Shows(t, "verified: <nil>")
}

func TestWidgetCode(t *testing.T) {
	s := newSite(t, theirs, theWidget, `<altcha-widget challenge="/pow?code=yes"></altcha-widget><input type=hidden name=code value=yes>`)
	tab := browser.Start(t).Tab(t)
	tab.Screen(t, 480, 480, false)
	const (
		input   = chromedp.CSS(".altcha-code-challenge input")
		buttons = ".altcha-code-challenge-row button"
		picture = `document.querySelector(".altcha-code-challenge-image")`
	)
	open := func() {
		tab.Do(t, chromedp.Navigate(s.URL), chromedp.Click(tick))
		tab.Wait(t, state("code"))
	}

	open()
	tab.Do(t, chromedp.SendKeys(input, "22222"+kb.Enter))
	tab.Wait(t, state("error"))

	// Our picture, and another one.
	open()
	tab.Wait(t, picture+`.naturalWidth === 240`)
	first := s.picture.last()
	address := browser.Get(t, tab, chromedp.Evaluate[string](picture+`.src`))
	tab.Do(t, chromedp.Click(chromedp.CSS(buttons+":last-of-type")))
	tab.Wait(t, picture+`?.naturalHeight === 80 && `+picture+`.src !== "`+address+`"`)
	if s.picture.last() == first {
		t.Errorf("the code is %s again", first)
	}
	if high := browser.Get(t, tab, chromedp.Evaluate[int](picture+`.clientHeight`)); high < 80 {
		t.Errorf("the picture is shown %d pixels high", high)
	}
	tab.Screenshot(t, "widget-code")

	// Our sound, played to its end.
	tab.Do(t, chromedp.Click(chromedp.CSS(buttons+":first-of-type")))
	const audio = `document.querySelector("altcha-widget audio")`
	tab.Wait(t, audio+`?.ended`)
	if d := browser.Get(t, tab, chromedp.Evaluate[float64](audio+`.duration`)); d != 1 || s.sound.last() != s.picture.last() {
		t.Errorf("played %v s of the code %q, the picture has %q", d, s.sound.last(), s.picture.last())
	}

	tab.Do(t, chromedp.SendKeys(input, strings.ToLower(s.picture.last())+kb.Enter))
	tab.Wait(t, state("verified"))
	tab.Do(t, chromedp.Click(chromedp.CSS("#send")))
	tab.Shows(t, "verified: <nil>")
}
