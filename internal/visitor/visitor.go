// Package visitor lets tests use a site as a browser without scripts does: it opens
// pages, fills in their forms, and keeps cookies.
package visitor

import (
	"context"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// A Visitor is a browser without scripts.
type Visitor struct {
	T      testing.TB
	Client *http.Client
	Agent  string
	Solve  func(id string) string // answers captchas; nil where there are none

	// What is shown.
	At     *url.URL
	Body   string
	Status int
	Header http.Header

	began bool
}

// New returns a visitor of the site at an address, who has no cookies.
func New(t testing.TB, site string) *Visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(site)
	if err != nil {
		t.Fatal(err)
	}
	return &Visitor{
		T: t, Client: &http.Client{Jar: trusting{jar}}, At: at,
		Agent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
	}
}

// trusting keeps cookies that are for https from localhost too, as browsers do.
type trusting struct{ *cookiejar.Jar }

func (j trusting) SetCookies(u *url.URL, cookies []*http.Cookie) {
	j.Jar.SetCookies(secure(u), cookies)
}
func (j trusting) Cookies(u *url.URL) []*http.Cookie { return j.Jar.Cookies(secure(u)) }

func secure(u *url.URL) *url.URL {
	s := *u
	if s.Hostname() == "localhost" {
		s.Scheme = "https"
	}
	return &s
}

// Do sends a request, with these headers instead of a browser's own, and shows the
// answer. An empty header is left out.
func (v *Visitor) Do(ctx context.Context, method, address, body string, header ...string) {
	v.T.Helper()
	to, err := v.At.Parse(address)
	if err != nil {
		v.T.Fatal(err)
	}
	r, err := http.NewRequestWithContext(ctx, method, to.String(), strings.NewReader(body))
	if err != nil {
		v.T.Fatal(err)
	}
	r.Header.Set("Accept", "text/html,application/xhtml+xml")
	r.Header.Set("User-Agent", v.Agent)
	if v.began {
		r.Header.Set("Referer", v.At.String())
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", v.At.Scheme+"://"+v.At.Host)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i+1] == "" {
			r.Header.Del(header[i])
		} else {
			r.Header.Set(header[i], header[i+1])
		}
	}
	res, err := v.Client.Do(r)
	if err != nil {
		v.T.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		v.T.Fatal(err)
	}
	v.began = true
	v.At, v.Body, v.Status, v.Header = res.Request.URL, string(b), res.StatusCode, res.Header
}

// Open shows the page of an address.
func (v *Visitor) Open(address string) *Visitor {
	v.T.Helper()
	v.Do(v.T.Context(), http.MethodGet, address, "")
	return v
}

var (
	formTag   = regexp.MustCompile(`(?s)<form\b[^>]*>.*?</form>`)
	inputTag  = regexp.MustCompile(`<(?:input|button|select)\b[^>]*>`)
	attribute = regexp.MustCompile(`\b(name|value|type|action|method)="([^"]*)"`)
	blank     = regexp.MustCompile(`\s+`)
	anyTag    = regexp.MustCompile(`<[^>]*>`)
)

func attributes(tag string) map[string]string {
	m := make(map[string]string)
	for _, a := range attribute.FindAllStringSubmatch(tag, -1) {
		m[a[1]] = html.UnescapeString(a[2])
	}
	return m
}

// Filled returns the form of the page that goes to an address which ends so, and
// its fields as they would be sent.
func (v *Visitor) Filled(action string) (string, url.Values) {
	v.T.Helper()
	for _, f := range formTag.FindAllString(v.Body, -1) {
		head := attributes(f[:strings.Index(f, ">")+1])
		if head["method"] != "post" || !strings.HasSuffix(head["action"], action) {
			continue
		}
		values := make(url.Values)
		for _, tag := range inputTag.FindAllString(f, -1) {
			a := attributes(tag)
			if a["name"] != "" && a["type"] != "checkbox" && a["name"] != "captcha_new" {
				values.Set(a["name"], a["value"])
			}
		}
		return head["action"], values
	}
	v.T.Fatalf("%s has no form to %q:\n%s", v.At, action, v.Text())
	return "", nil
}

// Send fills in the form of the page that goes to such an address, and sends it.
func (v *Visitor) Send(action string, pairs ...string) *Visitor {
	v.T.Helper()
	address, values := v.Filled(action)
	for i := 0; i < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	if id := values.Get("captcha_id"); id != "" && v.Solve != nil && !strings.Contains(strings.Join(pairs, " "), "captcha_answer") {
		values.Set("captcha_answer", v.Solve(id))
	}
	v.Do(v.T.Context(), http.MethodPost, address, values.Encode())
	return v
}

// Text is what the page says.
func (v *Visitor) Text() string {
	_, body, _ := strings.Cut(v.Body, "<body")
	return strings.TrimSpace(blank.ReplaceAllString(html.UnescapeString(anyTag.ReplaceAllString("<body"+body, " ")), " "))
}

// Shows fails the test if the page does not say all of this, under this path.
func (v *Visitor) Shows(path string, texts ...string) *Visitor {
	v.T.Helper()
	if v.At.Path != path {
		v.T.Errorf("at %s (%d), want %s: %s", v.At.Path, v.Status, path, v.Text())
	}
	for _, want := range texts {
		if !strings.Contains(v.Text(), want) {
			v.T.Errorf("%s (%d) does not say %q: %s", v.At.Path, v.Status, want, v.Text())
		}
	}
	return v
}

var csrfMeta = regexp.MustCompile(`name="csrf-token" content="([^"]*)"`)

// Ceremony does what the script of a page does with a passkey: it asks for options at an
// address below the path, and posts what answer makes of them. It goes on to where the
// site then leads, unless the site has refused it.
func (v *Visitor) Ceremony(path string, answer func(options []byte) []byte) *Visitor {
	v.T.Helper()
	token := csrfMeta.FindStringSubmatch(v.Body)
	if token == nil {
		v.T.Fatalf("%s has no token for scripts: %s", v.At, v.Text())
	}
	page := v.At
	post := func(path string, body any) []byte {
		v.T.Helper()
		b, err := json.Marshal(body)
		if err != nil {
			v.T.Fatal(err)
		}
		v.At = page
		v.Do(v.T.Context(), http.MethodPost, path, string(b), "Content-Type", "application/json", "X-Csrf-Token", token[1])
		return []byte(v.Body)
	}
	options := post(path+"/options", struct{}{})
	if v.Status != http.StatusOK {
		return v
	}
	answered := post(path, map[string]any{"response": json.RawMessage(answer(options))})
	var to struct{ Location string }
	if v.Status == http.StatusOK && json.Unmarshal(answered, &to) == nil && to.Location != "" {
		v.Open(to.Location)
	}
	return v
}
