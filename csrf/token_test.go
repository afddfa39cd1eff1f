package csrf_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-64ad3862/gatehouse/csrf"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

func newTokenSite(t *testing.T, cfg csrf.Config) *site {
	return newSite(t, newSessions(t, memory.New(memory.Config{})), cfg)
}

func TestTwoTabs(t *testing.T) {
	v := newTokenSite(t, csrf.Config{}).visitor()
	first := v.token()
	cookies := len(v.cookies)
	second := v.token()
	if first == second {
		t.Errorf("the same mask twice: %s", first)
	}
	if cookies != 1 || len(v.cookies) != 1 {
		t.Errorf("%d cookies after the first tab, %d after the second, want 1", cookies, len(v.cookies))
	}
	for _, token := range []string{first, second, first, v.token()} {
		if err := v.post("/", token); err != nil {
			t.Errorf("token of an open tab: %v", err)
		}
	}
}

// TestTabs: of two tabs that were opened without a cookie, the browser keeps the
// cookie of one. The form of the other counts where the browser says that it is of
// this origin, while no user is signed in, and has the secret with which it was shown.
func TestTabs(t *testing.T) {
	keys := func(b byte) session.Config {
		return session.Config{Store: memory.New(memory.Config{}), Keys: [][]byte{bytes.Repeat([]byte{b}, 32)}, Logger: slog.New(slog.DiscardHandler)}
	}
	sites := make(map[byte]*site)
	for _, b := range []byte{1, 2} {
		m, err := session.New(keys(b))
		if err != nil {
			t.Fatal(err)
		}
		sites[b] = newSite(t, m, csrf.Config{
			Origins: []string{"https://app.example"}, TrustedOrigins: []string{"https://partner.example"}, RequireToken: true,
		})
	}
	tab := func(b byte) (v *visitor, token, secret string) {
		v = sites[b].visitor()
		return v, v.token(), v.do(request("GET", "/secret", nil, nil)).Body.String()
	}
	kept, own, ownSecret := tab(1)
	_, other, otherSecret := tab(1)
	_, foreign, _ := tab(2)
	_, signedIn, _ := tab(1)
	for _, test := range []struct {
		token, site, origin, referer string
		want                         error
		secret                       string
	}{
		{own, "same-origin", "", "", nil, ownSecret},
		{own, "", "", "", nil, ownSecret},
		{own, "cross-site", "https://partner.example", "", nil, ownSecret},
		{other, "same-origin", "", "", nil, otherSecret},
		{other, "", "https://app.example", "", nil, otherSecret},
		{other, "none", "https://app.example", "", nil, otherSecret},
		{other, "", "", "https://app.example/form", nil, otherSecret},
		{other, "", "", "", csrf.ErrBadToken, ""},
		{other, "none", "", "", csrf.ErrBadToken, ""},
		{other, "same-site", "", "", csrf.ErrCrossOrigin, ""},
		{other, "same-site", "https://app.example", "", csrf.ErrCrossOrigin, ""},
		{other, "cross-site", "https://partner.example", "", csrf.ErrBadToken, ""},
		{other, "", "https://partner.example", "", csrf.ErrBadToken, ""},
		{other, "", "", "https://partner.example/x", csrf.ErrBadToken, ""},
		{foreign, "same-origin", "", "", csrf.ErrBadToken, ""},
	} {
		header := http.Header{"X-Csrf-Token": {test.token}}
		for name, value := range map[string]string{"Sec-Fetch-Site": test.site, "Origin": test.origin, "Referer": test.referer} {
			if value != "" {
				header.Set(name, value)
			}
		}
		w := kept.do(request("POST", "/secret", nil, header))
		if got := w.Body.String(); !errors.Is(kept.denied, test.want) || got != test.secret {
			t.Errorf("%+v: %v, secret %q", test, kept.denied, got)
		}
	}
	if ownSecret == otherSecret {
		t.Error("both tabs have the same secret")
	}

	header := http.Header{"X-Csrf-Token": {own}, "Sec-Fetch-Site": {"same-origin"}}
	if w := kept.do(request("POST", "/sign-in", nil, header)); w.Code != http.StatusOK {
		t.Fatalf("sign-in: %d, %v", w.Code, kept.denied)
	}
	header.Set("X-Csrf-Token", signedIn)
	if kept.do(request("POST", "/secret", nil, header)); !errors.Is(kept.denied, csrf.ErrBadToken) {
		t.Errorf("the form of another tab, when a user is signed in: %v", kept.denied)
	}
}

// TestFormToken: what a form holds counts where it is what was checked.
func TestFormToken(t *testing.T) {
	p := newProtection(t, csrf.Config{HeaderOnly: []string{"/header"}})
	for _, test := range []struct {
		target, form string
		header       http.Header
		want         string
	}{
		{"/", "csrf_token=x", nil, "x"},
		{"/", "csrf_token=x&csrf_token=y", nil, "x"},
		{"/?csrf_token=y", "a=b", nil, ""},
		{"/header", "csrf_token=x", nil, ""},
		{"/", "csrf_token=x", http.Header{"X-Csrf-Token": {"y"}}, ""},
		{"/", "csrf_token=x", http.Header{"X-Xsrftoken": {"y"}}, ""},
		{"/", "csrf_token=x", http.Header{"X-Csrftoken": {"y", "y"}}, ""},
		{"/", "csrf_token=x", http.Header{"X-Csrf-Token": {""}}, "x"},
	} {
		r := request("POST", test.target, strings.NewReader(test.form), test.header)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if err := r.ParseForm(); err != nil {
			t.Fatal(err)
		}
		if got := p.FormToken(r); got != test.want {
			t.Errorf("%+v: %q", test, got)
		}
	}
}

func TestTokenChangesWithTheSession(t *testing.T) {
	v := newTokenSite(t, csrf.Config{}).visitor()
	before := v.token()
	if err := v.post("/sign-in", before); err != nil {
		t.Fatal(err)
	}
	if err := v.post("/", before); !errors.Is(err, csrf.ErrBadToken) {
		t.Errorf("token from before the sign-in: %v, want ErrBadToken", err)
	}
	signedIn := v.token()
	if err := v.post("/", signedIn); err != nil {
		t.Errorf("token from after the sign-in: %v", err)
	}
	if err := v.post("/sign-out", signedIn); err != nil {
		t.Fatal(err)
	}
	old := v.cookies
	for _, token := range []string{before, signedIn} {
		if err := v.post("/", token); !errors.Is(err, csrf.ErrBadToken) {
			t.Errorf("token after the sign-out: %v, want ErrBadToken", err)
		}
	}
	v.cookies = old
	if err := v.post("/", v.token()); err != nil {
		t.Errorf("token after the sign-out: %v", err)
	}
}

func TestTokenEndsWithTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTokenSite(t, csrf.Config{}).visitor()
		token := v.token()
		time.Sleep(31 * time.Minute)
		if err := v.post("/", token); !errors.Is(err, csrf.ErrBadToken) {
			t.Errorf("token of an expired session: %v, want ErrBadToken", err)
		}
	})
}

// The peers compare a cookie of their own with the token, so that an attacker
// who plants a cookie beside the victim's session chooses both.
func TestForeignPairs(t *testing.T) {
	s := newTokenSite(t, csrf.Config{})
	victim, attacker := s.visitor(), s.visitor()
	own, stolen := victim.token(), attacker.token()

	if err := victim.post("/", stolen); !errors.Is(err, csrf.ErrBadToken) {
		t.Errorf("attacker's token: %v, want ErrBadToken", err)
	}

	// Cookies of the names that peers use.
	mine := victim.cookies
	for _, name := range []string{"csrf_token", "_gorilla_csrf", "_xsrf", "csrftoken", "__Host-csrf"} {
		victim.cookies = append(victim.cookies, &http.Cookie{Name: name, Value: stolen})
	}
	if err := victim.post("/", stolen); !errors.Is(err, csrf.ErrBadToken) {
		t.Errorf("attacker's token and cookie: %v, want ErrBadToken", err)
	}
	if err := victim.post("/", own); err != nil {
		t.Errorf("own token beside the attacker's cookie: %v", err)
	}

	// The attacker's session cookie beside the victim's: nothing tells whose
	// it is that counts, so neither does.
	for _, cookies := range [][]*http.Cookie{append(mine, attacker.cookies...), append(attacker.cookies, mine...)} {
		victim.cookies = cookies
		for _, token := range []string{own, stolen} {
			if err := victim.post("/", token); !errors.Is(err, csrf.ErrBadToken) {
				t.Errorf("two session cookies: %v, want ErrBadToken", err)
			}
		}
	}

	// A pair that fits but that no session here belongs to.
	elsewhere := newTokenSite(t, csrf.Config{}).visitor()
	foreign := elsewhere.token()
	victim.cookies = elsewhere.cookies
	if err := victim.post("/", foreign); !errors.Is(err, csrf.ErrBadToken) {
		t.Errorf("pair from another server: %v, want ErrBadToken", err)
	}
	if len(victim.cookies) != 1 || victim.cookies[0] != elsewhere.cookies[0] {
		t.Errorf("a refused request was given a session: %v", victim.cookies)
	}

	// None at all: nosurf and CrossOriginProtection differ here.
	victim.cookies = nil
	if err := victim.post("/", ""); !errors.Is(err, csrf.ErrNoToken) {
		t.Errorf("neither: %v, want ErrNoToken", err)
	}
	if err := victim.post("/", own); !errors.Is(err, csrf.ErrBadToken) {
		t.Errorf("token without a cookie: %v, want ErrBadToken", err)
	}
}

func TestMalformedTokens(t *testing.T) {
	v := newTokenSite(t, csrf.Config{}).visitor()
	good := v.token()
	raw, err := base64.RawURLEncoding.DecodeString(good)
	if err != nil || len(raw) != 64 {
		t.Fatalf("%q is not 64 bytes: %v", good, err)
	}
	flipped := base64.RawURLEncoding.EncodeToString(append([]byte{raw[0] ^ 1}, raw[1:]...))
	for name, token := range map[string]string{
		"one bit of the mask":       flipped,
		"zeros":                     strings.Repeat("A", 86),
		"the mask without a secret": good[:43],
		"too short":                 good[:85],
		"too long":                  good + "A",
		"padded":                    good + "==",
		"a line break inside":       good[:40] + "\n" + good[41:],
		"a line break more":         good + "\n",
		"a blank":                   " " + good[1:],
		"standard alphabet":         strings.Repeat("+", 86),
		"not ASCII":                 strings.Repeat("é", 43),
		"NUL":                       strings.Repeat("\x00", 86),
		"100 kB":                    strings.Repeat("A", 100_000),
		"a Tornado token":           "2|deadbeef|cebcacfccab8a8f8c6b4a4f4c2b0a0f0|1795392000",
	} {
		err := v.post("/", token)
		if !errors.Is(err, csrf.ErrBadToken) {
			t.Errorf("%s: %v, want ErrBadToken", name, err)
		} else if strings.Contains(err.Error(), token) {
			t.Errorf("%s: the error quotes it: %v", name, err)
		}
	}
	if err := v.post("/", good); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func TestTokenHeaders(t *testing.T) {
	v := newTokenSite(t, csrf.Config{}).visitor()
	good, bad := v.token(), strings.Repeat("A", 86)
	for _, tt := range []struct {
		name   string
		header http.Header
		want   error
	}{
		{"first name", http.Header{"X-Csrf-Token": {good}}, nil},
		{"second name", http.Header{"X-Xsrftoken": {good}}, nil},
		{"third name", http.Header{"X-Csrftoken": {good}}, nil},
		{"as Django spells it", http.Header{"X-CSRFToken": {good}}, nil},
		{"empty, then right", http.Header{"X-Csrf-Token": {""}, "X-Csrftoken": {good}}, nil},
		{"wrong, then right", http.Header{"X-Csrf-Token": {bad}, "X-Csrftoken": {good}}, csrf.ErrBadToken},
		{"right, then wrong", http.Header{"X-Csrf-Token": {good}, "X-Csrftoken": {bad}}, nil},
		{"right twice", http.Header{"X-Csrf-Token": {good, good}}, csrf.ErrBadToken},
		{"right and wrong", http.Header{"X-Csrf-Token": {good, bad}}, csrf.ErrBadToken},
		{"empty and right", http.Header{"X-Csrf-Token": {"", good}}, csrf.ErrBadToken},
		{"another name", http.Header{"X-Token": {good}}, csrf.ErrNoToken},
		{"none", nil, csrf.ErrNoToken},

		// The token is the last resort, not a way round what the browser says.
		{"cross site", http.Header{"X-Csrf-Token": {good}, "Sec-Fetch-Site": {"cross-site"}}, csrf.ErrCrossOrigin},
		{"foreign origin", http.Header{"X-Csrf-Token": {good}, "Origin": {"https://attacker.example"}}, csrf.ErrCrossOrigin},
		{"none", http.Header{"X-Csrf-Token": {good}, "Sec-Fetch-Site": {"none"}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v.do(request("POST", "/", nil, tt.header))
			if !errors.Is(v.denied, tt.want) {
				t.Errorf("%v, want %v", v.denied, tt.want)
			}
		})
	}
}

func TestRequireToken(t *testing.T) {
	v := newTokenSite(t, csrf.Config{
		RequireToken: true, Origins: []string{"https://app.example"}, TrustedOrigins: []string{"https://partner.example"},
		Exempt: []string{"/hook"},
	}).visitor()
	for _, header := range []http.Header{
		{"Sec-Fetch-Site": {"same-origin"}},
		{"Origin": {"https://app.example"}},
		{"Referer": {"https://app.example/"}},
		{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://partner.example"}},
		{},
	} {
		if v.do(request("POST", "/", nil, header.Clone())); !errors.Is(v.denied, csrf.ErrNoToken) {
			t.Errorf("%v without a token: %v, want ErrNoToken", header, v.denied)
		}
		header.Set("X-Csrf-Token", v.token())
		if v.do(request("POST", "/", nil, header)); v.denied != nil {
			t.Errorf("%v with a token: %v", header, v.denied)
		}
	}
	header := http.Header{"X-Csrf-Token": {v.token()}, "Sec-Fetch-Site": {"cross-site"}}
	if v.do(request("POST", "/", nil, header)); !errors.Is(v.denied, csrf.ErrCrossOrigin) {
		t.Errorf("cross-site with a token: %v, want ErrCrossOrigin", v.denied)
	}
	if v.do(request("POST", "/hook", nil, nil)); v.denied != nil {
		t.Errorf("exempt: %v", v.denied)
	}
}

func TestServeToken(t *testing.T) {
	v := newTokenSite(t, csrf.Config{}).visitor()
	w := v.do(request("GET", "/token", nil, nil))
	var got struct{ Token, Header, Field string }
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Header != "X-Csrf-Token" || got.Field != "csrf_token" {
		t.Errorf("answer %q: %v", w.Body, err)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Vary": "Cookie",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if err := v.post("/", got.Token); err != nil {
		t.Error(err)
	}
}

func TestPages(t *testing.T) {
	v := newTokenSite(t, csrf.Config{Field: `a"b`}).visitor()
	w := v.do(request("GET", "/form", nil, nil))
	body := w.Body.String()
	if !strings.HasPrefix(body, `<input type="hidden" name="a&#34;b" value="`) {
		t.Errorf("field %q", body)
	}
	_, rest, _ := strings.Cut(body, `<meta name="csrf-token" content="`)
	token, _, _ := strings.Cut(rest, `"`)
	if err := v.post("/", token); err != nil {
		t.Errorf("token of the meta element %q: %v", token, err)
	}
	if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Vary") != "Cookie" {
		t.Errorf("the page may be cached: %v", w.Header())
	}
}

func TestPanics(t *testing.T) {
	mustPanic := func(name string, f func()) {
		defer func() {
			if recover() == nil {
				t.Errorf("%s: no panic", name)
			}
		}()
		f()
	}
	without := newProtection(t, csrf.Config{})
	mustPanic("no Config.Sessions", func() { _, _ = without.Token(request("GET", "/", nil, nil)) })

	p := newProtection(t, csrf.Config{Sessions: newSessions(t, memory.New(memory.Config{}))})
	mustPanic("outside of the session's handler", func() {
		_ = p.Check(request("POST", "/", nil, http.Header{"X-Csrf-Token": {strings.Repeat("A", 86)}}))
	})
}

func TestConcurrent(t *testing.T) {
	m := newSessions(t, memory.New(memory.Config{}))
	p := newProtection(t, csrf.Config{Sessions: m, Exempt: []string{"/hook"}})
	v := (&site{t: t, handler: m.Handler(m.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 50 {
					token, err := p.Token(r)
					if err != nil {
						t.Error(err)
						return
					}
					post := r.Clone(r.Context())
					post.Method, post.Header = "POST", http.Header{"X-Csrf-Token": {token}}
					if err := p.Check(post); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}))}).visitor()
	v.do(request("GET", "/", nil, nil))
	v.do(request("GET", "/", nil, nil))
}
