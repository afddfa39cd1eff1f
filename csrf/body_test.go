package csrf_test

import (
	"bytes"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/seed-64ad3862/gatehouse/csrf"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

const urlencoded = "application/x-www-form-urlencoded"

// form writes a multipart form of pairs of name and value. A name in angle
// brackets is a file.
func form(t testing.TB, pairs ...string) (body, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(pairs); i += 2 {
		create := w.CreateFormField
		if strings.HasPrefix(pairs[i], "<") {
			create = func(name string) (io.Writer, error) { return w.CreateFormFile(strings.Trim(name, "<>"), "f") }
		}
		part, err := create(pairs[i])
		if err == nil {
			_, err = io.WriteString(part, pairs[i+1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String(), w.FormDataContentType()
}

func TestBody(t *testing.T) {
	const limit = 1000
	v := newTokenSite(t, csrf.Config{BodyLimit: limit, HeaderOnly: []string{"/upload"}}).visitor()
	good, bad := v.token(), strings.Repeat("A", 86)
	exactly := "csrf_token=" + good + "&x="
	exactly += strings.Repeat("x", limit-len(exactly))
	type test struct {
		name, target, contentType, body string
		want                            error
	}
	tests := []test{
		{"field", "/", urlencoded, "a=1&csrf_token=" + good, nil},
		{"with a charset", "/", urlencoded + "; charset=UTF-8", "csrf_token=" + good, nil},
		{"content type in capitals", "/", strings.ToUpper(urlencoded), "csrf_token=" + good, nil},
		{"name escaped", "/", urlencoded, "csrf%5Ftoken=" + good, nil},
		{"value escaped", "/", urlencoded, "csrf_token=%" + "4" + "1" + bad[1:], csrf.ErrBadToken},
		{"beside what does not decode", "/", urlencoded, "%zz=1&a=%zz&;&csrf_token=" + good, nil},
		{"wrong", "/", urlencoded, "csrf_token=" + bad, csrf.ErrBadToken},
		{"between blanks", "/", urlencoded, "csrf_token=+" + good, csrf.ErrBadToken},
		{"right, then wrong", "/", urlencoded, "csrf_token=" + good + "&csrf_token=" + bad, nil},
		{"wrong, then right", "/", urlencoded, "csrf_token=" + bad + "&csrf_token=" + good, csrf.ErrBadToken},
		{"does not decode", "/", urlencoded, "csrf_token=%zz", csrf.ErrMalformed},
		{"empty field", "/", urlencoded, "csrf_token=", csrf.ErrNoToken},
		{"name alone", "/", urlencoded, "csrf_token", csrf.ErrNoToken},
		{"other fields", "/", urlencoded, "token=" + good + "&Csrf_Token=" + good, csrf.ErrNoToken},
		{"empty body", "/", urlencoded, "", csrf.ErrNoToken},
		{"in the query", "/?csrf_token=" + good, urlencoded, "a=1", csrf.ErrNoToken},
		{"in the query, no body", "/?csrf_token=" + good, "", "", csrf.ErrNoToken},
		{"in the query, wrong in the body", "/?csrf_token=" + good, urlencoded, "csrf_token=" + bad, csrf.ErrBadToken},
		{"wrong in the query", "/?csrf_token=" + bad, urlencoded, "csrf_token=" + good, nil},
		{"as large as may be", "/", urlencoded, exactly, nil},
		{"one byte more", "/", urlencoded, exactly + "x", csrf.ErrTooLarge},
		{"header only", "/upload", urlencoded, "csrf_token=" + good, csrf.ErrNoToken},

		{"JSON", "/", "application/json", `{"csrf_token":"` + good + `"}`, csrf.ErrNoToken},
		{"text", "/", "text/plain", "csrf_token=" + good, csrf.ErrNoToken},
		{"no content type", "/", "", "csrf_token=" + good, csrf.ErrNoToken},
		{"bad content type", "/", urlencoded + "; charset", "csrf_token=" + good, csrf.ErrMalformed},

		{"multipart without a boundary", "/", "multipart/form-data", "x", csrf.ErrMalformed},
		{"multipart, boundary not there", "/", "multipart/form-data; boundary=x", "csrf_token=" + good, csrf.ErrMalformed},
		{"multipart, empty", "/", "multipart/form-data; boundary=x", "", csrf.ErrMalformed},
		{"multipart, empty but closed", "/", "multipart/form-data; boundary=x", "--x--\r\n", csrf.ErrNoToken},
		{"multipart, bad header", "/", "multipart/form-data; boundary=x", "--x\r\n\x00:\r\n\r\n", csrf.ErrMalformed},
		{"multipart, only a boundary", "/", "multipart/form-data; boundary=x", "--x\r\n", csrf.ErrNoToken},
		{"multipart, endless header", "/", "multipart/form-data; boundary=x", "--x\r\nA: " + strings.Repeat("a", 2*limit), csrf.ErrTooLarge},
		{"multipart/mixed", "/", "multipart/mixed; boundary=x", "--x--\r\n", csrf.ErrNoToken},
	}
	multi := func(name string, want error, pairs ...string) {
		body, contentType := form(t, pairs...)
		tests = append(tests, test{"multipart, " + name, "/", contentType, body, want})
	}
	multi("field", nil, "a", "1", "csrf_token", good)
	multi("before a large file", nil, "csrf_token", good, "<file>", strings.Repeat("x", 100*limit))
	multi("after a small file", nil, "<file>", "x", "csrf_token", good)
	multi("after a large file", csrf.ErrTooLarge, "<file>", strings.Repeat("x", 2*limit), "csrf_token", good)
	multi("wrong", csrf.ErrBadToken, "csrf_token", bad)
	multi("huge", csrf.ErrBadToken, "csrf_token", good+strings.Repeat("A", limit/2))
	multi("right, then wrong", nil, "csrf_token", good, "csrf_token", bad)
	multi("wrong, then right", csrf.ErrBadToken, "csrf_token", bad, "csrf_token", good)
	multi("empty field", csrf.ErrNoToken, "csrf_token", "")
	multi("as a file", csrf.ErrNoToken, "<csrf_token>", good)
	multi("none", csrf.ErrNoToken, "a", "1")
	whole, contentType := form(t, "a", "1")
	tests = append(tests, test{"multipart, broken off", "/", contentType, whole[:len(whole)-10], csrf.ErrMalformed})

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := request("POST", tt.target, strings.NewReader(tt.body), nil)
			if tt.contentType != "" {
				r.Header.Set("Content-Type", tt.contentType)
			}
			w := v.do(r)
			if !errors.Is(v.denied, tt.want) {
				t.Errorf("%v, want %v", v.denied, tt.want)
			}
			if tt.want == nil && w.Body.String() != tt.body {
				t.Errorf("the handler read %d bytes %.200q, want %d", w.Body.Len(), w.Body, len(tt.body))
			}
			if v.denied != nil && (w.Code < 400 || w.Code >= 500) {
				t.Errorf("status %d", w.Code)
			}
			if v.denied != nil && strings.Contains(v.denied.Error(), good) {
				t.Errorf("the error tells the token: %v", v.denied)
			}

			// Whatever became of the search, the body is as it was.
			m := newSessions(t, memory.New(memory.Config{}))
			m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_ = newProtection(t, csrf.Config{Sessions: m, BodyLimit: limit}).Check(r)
				if got, err := io.ReadAll(r.Body); err != nil || string(got) != tt.body {
					t.Errorf("after Check the body has %d bytes, %v, want %d", len(got), err, len(tt.body))
				}
			})).ServeHTTP(httptest.NewRecorder(), func() *http.Request {
				r := request("POST", tt.target, strings.NewReader(tt.body), nil)
				r.Header.Set("Content-Type", tt.contentType)
				return r
			}())
		})
	}
}

// The handler's own ways to read a form work after the check, also where a
// middleware has parsed it before.
func TestFormAfterCheck(t *testing.T) {
	m := newSessions(t, memory.New(memory.Config{}))
	p := newProtection(t, csrf.Config{Sessions: m})
	nothing := func(*http.Request) {}
	parseForm := func(r *http.Request) { _ = r.ParseForm() }
	parseMultipart := func(r *http.Request) { _ = r.ParseMultipartForm(1 << 20) }
	byReader := func(r *http.Request) string {
		form, err := r.MultipartReader()
		if err != nil {
			return err.Error()
		}
		for {
			part, err := form.NextPart()
			if err != nil {
				return err.Error()
			}
			if part.FormName() == "name" {
				b, _ := io.ReadAll(part)
				return string(b)
			}
		}
	}
	postForm := func(r *http.Request) string { return r.PostForm.Get("name") }
	tests := []struct {
		name      string
		multipart bool
		before    func(*http.Request)
		after     func(*http.Request) string
	}{
		{"FormValue", false, nothing, func(r *http.Request) string { return r.FormValue("name") }},
		{"FormValue", true, nothing, func(r *http.Request) string { return r.FormValue("name") }},
		{"PostFormValue", false, nothing, func(r *http.Request) string { return r.PostFormValue("name") }},
		{"PostFormValue", true, nothing, func(r *http.Request) string { return r.PostFormValue("name") }},
		{"MultipartReader", true, nothing, byReader},
		{"ParseForm before", false, parseForm, postForm},
		{"ParseForm before, MultipartReader after", true, parseForm, byReader},
		{"ParseForm before, ParseMultipartForm after", true, parseForm, func(r *http.Request) string { parseMultipart(r); return postForm(r) }},
		{"ParseMultipartForm before", false, parseMultipart, postForm},
		{"ParseMultipartForm before", true, parseMultipart, postForm},
	}
	m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		token, err := p.Token(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range tests {
			body, contentType := url.Values{"csrf_token": {token}, "name": {"alex"}}.Encode(), urlencoded
			if tt.multipart {
				body, contentType = form(t, "csrf_token", token, "name", "alex")
			}
			post := request("POST", "/", strings.NewReader(body), http.Header{"Content-Type": {contentType}}).WithContext(r.Context())
			tt.before(post)
			if err := p.Check(post); err != nil {
				t.Errorf("%s, multipart %v: %v", tt.name, tt.multipart, err)
			}
			if got := tt.after(post); got != "alex" {
				t.Errorf("%s, multipart %v: the handler found %q", tt.name, tt.multipart, got)
			}
		}
	})).ServeHTTP(httptest.NewRecorder(), request("GET", "/", nil, nil))
}

// untouchable is a body that must not be read.
type untouchable struct{ t *testing.T }

func (b untouchable) Read([]byte) (int, error) {
	b.t.Error("the body was read")
	return 0, io.EOF
}
func (b untouchable) Close() error { return nil }

func TestBodyUntouched(t *testing.T) {
	m := newSessions(t, memory.New(memory.Config{}))
	p := newProtection(t, csrf.Config{
		Sessions: m, Origins: []string{"https://app.example"}, HeaderOnly: []string{"POST /upload/{name}"}, Exempt: []string{"/hook"},
	})
	_, contentType := form(t)
	m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		token, err := p.Token(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			name, target string
			header       http.Header
			want         error
		}{
			{"token in the header", "/", http.Header{"X-Csrf-Token": {token}}, nil},
			{"wrong token in the header", "/", http.Header{"X-Csrf-Token": {"x"}}, csrf.ErrBadToken},
			{"same origin", "/", http.Header{"Sec-Fetch-Site": {"same-origin"}}, nil},
			{"own origin", "/", http.Header{"Origin": {"https://app.example"}}, nil},
			{"cross site", "/", http.Header{"Sec-Fetch-Site": {"cross-site"}}, csrf.ErrCrossOrigin},
			{"header only", "/upload/a", http.Header{}, csrf.ErrNoToken},
			{"header only, with it", "/upload/a", http.Header{"X-Csrf-Token": {token}}, nil},
			{"exempt", "/hook", http.Header{}, nil},
		} {
			tt.header.Set("Content-Type", contentType)
			post := request("POST", tt.target, nil, tt.header).WithContext(r.Context())
			body := untouchable{t}
			post.Body = body
			if err := p.Check(post); !errors.Is(err, tt.want) {
				t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
			}
			if post.Body != body {
				t.Errorf("%s: the body was replaced by %T", tt.name, post.Body)
			}
		}
	})).ServeHTTP(httptest.NewRecorder(), request("GET", "/", nil, nil))
}

// An upload of any size streams when the token comes first.
func TestUploadStreams(t *testing.T) {
	const size = 64 << 20
	m := newSessions(t, memory.New(memory.Config{}))
	p := newProtection(t, csrf.Config{Sessions: m, BodyLimit: 10_000})
	m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		token, err := p.Token(r)
		if err != nil {
			t.Fatal(err)
		}
		whole, contentType := form(t, "csrf_token", token, "<file>", "HERE")
		start, end, _ := strings.Cut(whole, "HERE")
		var read int64
		post := request("POST", "/", nil, http.Header{"Content-Type": {contentType}}).WithContext(r.Context())
		post.Body = io.NopCloser(&counter{io.MultiReader(strings.NewReader(start), io.LimitReader(zeros{}, size), strings.NewReader(end)), &read})
		if err := p.Check(post); err != nil {
			t.Errorf("Check = %v", err)
		}
		if read > 10_000 {
			t.Errorf("%d bytes were read for a token that comes first", read)
		}
		if n, err := io.Copy(io.Discard, post.Body); err != nil || n != int64(len(start)+size+len(end)) {
			t.Errorf("then the body has %d bytes, %v", n, err)
		}
	})).ServeHTTP(httptest.NewRecorder(), request("GET", "/", nil, nil))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type counter struct {
	io.Reader
	n *int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	*c.n += int64(n)
	return n, err
}

func TestBodyBreaksOff(t *testing.T) {
	v := newTokenSite(t, csrf.Config{}).visitor()
	token := v.token()
	multi, contentType := form(t, "a", "1", "csrf_token", token)
	for contentType, body := range map[string]string{urlencoded: "csrf_token=" + token, contentType: multi[:50]} {
		r := request("POST", "/", nil, http.Header{"Content-Type": {contentType}})
		r.Body = io.NopCloser(io.MultiReader(strings.NewReader(body), iotest.ErrReader(io.ErrUnexpectedEOF)))
		if v.do(r); !errors.Is(v.denied, csrf.ErrMalformed) {
			t.Errorf("%.20s: %v, want ErrMalformed", contentType, v.denied)
		}

		// A bound that a middleware before has set.
		r = request("POST", "/", nil, http.Header{"Content-Type": {contentType}})
		r.Body = http.MaxBytesReader(nil, io.NopCloser(strings.NewReader(body)), 10)
		if v.do(r); !errors.Is(v.denied, csrf.ErrTooLarge) {
			t.Errorf("%.20s: %v, want ErrTooLarge", contentType, v.denied)
		}
	}
	r := request("POST", "/", nil, http.Header{"Content-Type": {urlencoded}})
	r.Body = nil
	if v.do(r); !errors.Is(v.denied, csrf.ErrNoToken) {
		t.Errorf("no body: %v, want ErrNoToken", v.denied)
	}
}

// TestLimitInAPartsHeader: wherever the limit cuts, the body is too large and
// not malformed.
func TestLimitInAPartsHeader(t *testing.T) {
	sessions := newSessions(t, memory.New(memory.Config{}))
	body, contentType := form(t, strings.Split(strings.Repeat("field,value,", 50)+"last,value", ",")...)
	for limit := 1; limit < len(body); limit += 7 {
		p, err := csrf.New(csrf.Config{Sessions: sessions, BodyLimit: int64(limit)})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		if err := p.Check(r); !errors.Is(err, csrf.ErrTooLarge) {
			t.Fatalf("limit %d of %d: %v, want ErrTooLarge", limit, len(body), err)
		}
	}
}
