package form_test

import (
	"context"
	"errors"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/captcha/form"
	"github.com/seed-64ad3862/gatehouse/captcha/pow"
	"github.com/seed-64ad3862/gatehouse/captcha/speech"
)

var scope = captcha.Scope{Purpose: "comment", Session: "alice"}

func newForm(t testing.TB, cfg form.Config) *form.Form {
	t.Helper()
	f, err := form.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func render(t testing.TB, f *form.Form, ask form.Ask) string {
	t.Helper()
	s, err := f.HTML(ask)
	if err != nil {
		t.Fatal(err)
	}
	return string(s)
}

var (
	idField  = regexp.MustCompile(`name="captcha_id" value="([^"]+)"`)
	settings = regexp.MustCompile(`data-captcha="([^"]+)"`)
	work     = regexp.MustCompile(`"challenge":(\{.*?"signature":"[0-9a-f]+"\})`)
)

func group(t testing.TB, re *regexp.Regexp, s string) string {
	t.Helper()
	m := re.FindStringSubmatch(s)
	if m == nil {
		t.Fatalf("no %v in %s", re, s)
	}
	return html.UnescapeString(m[1])
}

// challengeOf returns the work that the part asks for.
func challengeOf(t testing.TB, part string) []byte {
	t.Helper()
	return []byte(group(t, work, group(t, settings, part)))
}

func posted(values url.Values) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/comment", strings.NewReader(values.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

func get(h http.Handler, method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w
}

// counter is a Once that counts.
type counter struct{ spends int }

func (c *counter) Spend(context.Context, [16]byte, time.Time) (bool, error) {
	c.spends++
	return true, nil
}

// keys are for forms whose answers a test wants to know.
var keys = [][]byte{[]byte("0123456789abcdef0123456789abcdef")}

// said is a form that says the answer as it is, of letters or of digits.
type said string

func (said) MediaType() string  { return "text/plain" }
func (s said) Alphabet() string { return string(s) }
func (said) Append(dst []byte, answer string, _ [32]byte) ([]byte, error) {
	return append(dst, answer...), nil
}

// answer returns the right answer of a challenge that was made with keys.
func answer(t testing.TB, id, alphabet string) string {
	t.Helper()
	c, err := captcha.New(captcha.Config{Keys: keys, Forms: map[string]captcha.Renderer{"txt": said(alphabet)}})
	if err != nil {
		t.Fatal(err)
	}
	return get(c, "GET", "/"+id+".txt", "").Body.String()
}

// TestVerify: what is asked for, and nothing less, gets through.
func TestVerify(t *testing.T) {
	f := newForm(t, form.Config{Keys: keys})
	const wrong = ""
	for _, c := range []struct {
		name     string
		by       form.By
		work     bool
		alphabet string // of the right answer
		want     error
	}{
		{"a wrong code", form.Code, false, wrong, captcha.ErrWrong},
		{"a code that was seen", form.Code, false, captcha.Alphabet, nil},
		{"a code that was heard", form.Code, false, speech.Digits, nil},
		{"work where a code is wanted", form.Code, true, wrong, captcha.ErrWrong},
		{"work", form.Work, true, wrong, nil},
		{"a code in the place of work", form.Work, false, captcha.Alphabet, nil},
		{"a wrong code in the place of work", form.Work, false, wrong, captcha.ErrWrong},
		{"a code without work", form.CodeAndWork, false, captcha.Alphabet, form.ErrWork},
		{"work and a wrong code", form.CodeAndWork, true, wrong, captcha.ErrWrong},
		{"work and a code", form.CodeAndWork, true, captcha.Alphabet, nil},
	} {
		ask := form.Ask{Scope: scope, By: c.by}
		wanted := ask
		if c.work {
			wanted.By = form.CodeAndWork
		}
		part := render(t, f, wanted)
		values := url.Values{form.FieldID: {group(t, idField, part)}, form.FieldAnswer: {"wrong"}}
		if c.alphabet != wrong {
			values.Set(form.FieldAnswer, strings.ToLower(answer(t, values.Get(form.FieldID), c.alphabet)))
		}
		if c.work {
			solved, err := pow.Solve(t.Context(), challengeOf(t, part))
			if err != nil {
				t.Fatal(err)
			}
			values.Set(form.FieldWork, solved)
		}
		if err := f.Verify(posted(values), ask); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		again := captcha.ErrSpent
		if c.want == form.ErrWork { //nolint:errorlint // one of the table
			again = form.ErrWork // nothing was looked at
		}
		if err := f.Verify(posted(values), ask); !errors.Is(err, again) {
			t.Errorf("%s, again: %v, want %v", c.name, err, again)
		}
	}
}

// TestVerifyNew: another picture spends nothing.
func TestVerifyNew(t *testing.T) {
	o := new(counter)
	f := newForm(t, form.Config{Once: o})
	ask := form.Ask{Scope: scope}
	values := url.Values{form.FieldID: {group(t, idField, render(t, f, ask))}, form.FieldNew: {"1"}}
	if err := f.Verify(posted(values), ask); !errors.Is(err, form.ErrNew) || o.spends != 0 {
		t.Errorf("%v, %d spent", err, o.spends)
	}
}

// TestVerifyOdd: nothing that is no answer is one, or panics.
func TestVerifyOdd(t *testing.T) {
	f := newForm(t, form.Config{})
	for _, by := range []form.By{form.Code, form.Work, form.CodeAndWork} {
		for _, s := range []string{"", "x", strings.Repeat("A", 1<<20), "\x00", "\xff\xfe", "{}", "e30="} {
			values := url.Values{form.FieldID: {s}, form.FieldAnswer: {s}, form.FieldWork: {s}}
			if err := f.Verify(posted(values), form.Ask{Scope: scope, By: by}); err == nil {
				t.Errorf("%.20q gets through by %d", s, by)
			}
		}
		if err := f.Verify(httptest.NewRequest(http.MethodPost, "/", nil), form.Ask{Scope: scope, By: by}); err == nil {
			t.Errorf("nothing gets through by %d", by)
		}
	}
}

// TestServe: all that a part refers to is there, and the work goes on.
func TestServe(t *testing.T) {
	f := newForm(t, form.Config{Prefix: "/a/b/", Film: true})
	part := render(t, f, form.Ask{Scope: scope, By: form.CodeAndWork})
	id := group(t, idField, part)
	for _, m := range regexp.MustCompile(`(?:src|srcset|href)="([^"]+)"`).FindAllStringSubmatch(part, -1) {
		if w := get(f, "GET", html.UnescapeString(m[1]), ""); w.Code != http.StatusOK {
			t.Errorf("%s: %d", m[1], w.Code)
		}
	}
	for ending, media := range map[string]string{
		"gif": "image/gif", "dark.gif": "image/gif", "film.gif": "image/gif", "film.dark.gif": "image/gif",
		"en.wav": "audio/wav", "en.slow.wav": "audio/wav", "zh.wav": "audio/wav", "zh.slow.wav": "audio/wav",
	} {
		if w := get(f, "GET", "/a/b/"+id+"."+ending, ""); w.Code != http.StatusOK || w.Header().Get("Content-Type") != media {
			t.Errorf("%s: %d %s", ending, w.Code, w.Header().Get("Content-Type"))
		}
	}
	solver := group(t, regexp.MustCompile(`"solver":"([^"]+)"`), group(t, settings, part))
	if w := get(f, "GET", solver, ""); w.Code != http.StatusOK {
		t.Errorf("solver: %d", w.Code)
	}

	fresh := get(f, "POST", "/a/b/work", string(challengeOf(t, part)))
	if fresh.Code != http.StatusOK || fresh.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("more work: %d %v", fresh.Code, fresh.Header())
	}
	solved, err := pow.Solve(t.Context(), fresh.Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for _, ask := range []form.Ask{{Scope: captcha.Scope{Purpose: "other"}, By: form.Work}, {Scope: scope, By: form.Work, Cost: 1000}, {Scope: scope, By: form.Work}} {
		err := f.Verify(posted(url.Values{form.FieldWork: {solved}}), ask)
		if right := ask.Scope == scope && ask.Cost == 0; (err == nil) != right {
			t.Errorf("%+v: %v", ask, err)
		}
	}
	for _, body := range []string{"", "{}", "null", `{"parameters":{}}`, strings.Replace(string(challengeOf(t, part)), `"cost":50`, `"cost":1`, 1), strings.Repeat("x", 1<<16)} {
		if w := get(f, "POST", "/a/b/work", body); w.Code/100 != 4 {
			t.Errorf("%.40q: %d", body, w.Code)
		}
	}
}

type tooMany struct{}

func (tooMany) Error() string             { return "too many" }
func (tooMany) RetryAfter() time.Duration { return 1500 * time.Millisecond }

// TestAllow: a budget is for pictures and for work.
func TestAllow(t *testing.T) {
	f := newForm(t, form.Config{Allow: func(*http.Request) error { return tooMany{} }})
	part := render(t, f, form.Ask{Scope: scope, By: form.Work})
	for _, w := range []*httptest.ResponseRecorder{
		get(f, "GET", "/captcha/"+group(t, idField, part)+".gif", ""),
		get(f, "POST", "/captcha/work", string(challengeOf(t, part))),
	} {
		if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "2" {
			t.Errorf("%d %v", w.Code, w.Header())
		}
	}
}

// TestHTML: each language says everything, and what went wrong is said.
func TestHTML(t *testing.T) {
	f := newForm(t, form.Config{Film: true})
	for tag, want := range map[string]string{"": "en", "en-GB": "en", "de": "en", "zh": "zh-Hans", "zh-CN": "zh-Hans", "ZH_hant": "zh-Hans", `"><script>`: "en"} {
		if part := render(t, f, form.Ask{Language: tag}); !strings.Contains(part, `lang="`+want+`"`) || strings.Contains(part, "<script>") {
			t.Errorf("%q: %.400s", tag, part)
		}
	}
	for _, language := range []string{"en", "zh"} {
		said := map[string]bool{}
		for _, err := range []error{
			captcha.ErrWrong, captcha.ErrExpired, captcha.ErrSpent, captcha.ErrStore, form.ErrWork,
			errors.Join(form.ErrWork, captcha.ErrWrong),
		} {
			part := render(t, f, form.Ask{Language: language, Err: err})
			text := group(t, regexp.MustCompile(`class="captcha-error"[^>]*>([^<]+)<`), part)
			if said[text] || !strings.Contains(part, `aria-invalid="true"`) {
				t.Errorf("%s: %v: %q", language, err, text)
			}
			said[text] = true
		}
		for _, err := range []error{nil, form.ErrNew} {
			if part := render(t, f, form.Ask{Language: language, Err: err}); strings.Contains(part, "captcha-error") {
				t.Errorf("%v is told as an error", err)
			}
		}
		for _, err := range []error{io.ErrUnexpectedEOF, captcha.ErrUnknown} {
			if part := render(t, f, form.Ask{Language: language, Err: err}); strings.Contains(part, err.Error()) {
				t.Errorf("%v is told word by word", err)
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, cfg := range []form.Config{
		{Prefix: "captcha"},
		{Prefix: "/captcha"},
		{Prefix: "/a//b/"},
		{Prefix: "/{a}/"},
		{Prefix: "/"},
		{Keys: [][]byte{make([]byte, 32)}},
		{Length: 3},
		{Lifetime: time.Hour + 1},
	} {
		if _, err := form.New(cfg); err == nil || !strings.HasPrefix(err.Error(), "form: ") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}
