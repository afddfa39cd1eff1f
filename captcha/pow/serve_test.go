package pow_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/captcha/pow"
)

func demanding(d pow.Demand) func(*http.Request) pow.Demand {
	return func(*http.Request) pow.Demand { return d }
}

func serve(h http.Handler, method, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, "/pow?form=1", strings.NewReader(body)))
	return w
}

func TestHandler(t *testing.T) {
	toll := newToll(t, pow.Config{Tries: 100})
	h := toll.Handler(demanding(pow.Demand{Scope: scope}))
	for _, tt := range []struct {
		method, body string
		status       int
		media        string
	}{
		{"GET", "", 200, "application/json"},
		{"HEAD", "", 200, "application/json"},
		{"POST", `{"payload":""}`, 200, "application/json"},
		{"POST", "", 400, "text/plain; charset=utf-8"},
		{"POST", "altcha=x", 400, "text/plain; charset=utf-8"},
		{"POST", `{"payload":7}`, 400, "text/plain; charset=utf-8"},
		{"POST", `{"payload":"` + strings.Repeat("A", 100_000) + `"}`, 400, "text/plain; charset=utf-8"},
		{"PUT", "", 405, "text/plain; charset=utf-8"},
		{"OPTIONS", "", 405, "text/plain; charset=utf-8"},
	} {
		w := serve(h, tt.method, tt.body)
		head := w.Header()
		if w.Code != tt.status || head.Get("Content-Type") != tt.media {
			t.Errorf("%s %.20q: %d %s", tt.method, tt.body, w.Code, head.Get("Content-Type"))
		}
		if head.Get("Cache-Control") != "no-store" || head.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %.20q: header %v", tt.method, tt.body, head)
		}
		for name := range head {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s: %s", tt.method, name)
			}
		}
		if allow := head.Get("Allow"); (allow == "GET, HEAD, POST") != (tt.status == 405) {
			t.Errorf("%s: Allow %q", tt.method, allow)
		}
	}
}

// HEAD over a real connection has the length and no body.
func TestHead(t *testing.T) {
	srv := httptest.NewServer(newToll(t, pow.Config{}).Handler(demanding(pow.Demand{})))
	defer srv.Close()
	resp, err := http.Head(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || len(body) != 0 || resp.ContentLength < 400 {
		t.Errorf("%d bytes, length %d, %v", len(body), resp.ContentLength, err)
	}
}

// The names and kinds that ALTCHA's documentation has for a challenge.
func TestWire(t *testing.T) {
	code, _ := newCode(t, captcha.Config{})
	code.Audio = "/captcha/{id}.wav"
	toll := newToll(t, pow.Config{Keys: [][]byte{keyA}, Code: code})
	for _, d := range []pow.Demand{{Scope: scope}, {Scope: scope, Code: true, Cost: 1000}} {
		w := serve(toll.Handler(demanding(d)), "GET", "")
		var got map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		p := got["parameters"].(map[string]any)
		data := p["data"].(map[string]any)
		for _, name := range []string{"keyPrefix", "nonce", "salt"} {
			if s := p[name].(string); len(s) != 32 || strings.Trim(s, "0123456789abcdef") != "" {
				t.Errorf("%s is %q", name, s)
			}
			delete(p, name)
		}
		if s := p["keySignature"].(string) + got["signature"].(string); len(s) != 128 || strings.Trim(s, "0123456789abcdef") != "" {
			t.Errorf("signatures %q", s)
		}
		if at := time.Unix(int64(p["expiresAt"].(float64)), 0); time.Until(at) > 5*time.Minute+time.Second || time.Until(at) < 4*time.Minute {
			t.Errorf("expires %v", at)
		}
		id, _ := data["code"].(string)
		delete(data, "code")
		delete(p, "keySignature")
		delete(p, "expiresAt")
		delete(got, "signature")
		want := `{"parameters":{"algorithm":"PBKDF2/SHA-256","cost":50,"data":{"key":"0db2","scope":"b7354d135d5e68579aba0c6b4e1e937d","tries":10000},"keyLength":32}}`
		if d.Code {
			want = `{"codeChallenge":{"audio":"/captcha/` + id + `.wav","image":"/captcha/` + id + `.txt","length":5},"configuration":{"verifyUrl":"?"},` +
				strings.Replace(want, "50", "1000", 1)[1:]
		}
		if b, _ := json.Marshal(got); string(b) != want || (id != "") != d.Code {
			t.Errorf("got\n%s, want\n%s", b, want)
		}
	}
}

type tooMany time.Duration

func (tooMany) Error() string               { return "too many" }
func (e tooMany) RetryAfter() time.Duration { return time.Duration(e) }

func TestAllow(t *testing.T) {
	for _, tt := range []struct {
		err   error
		after string
	}{
		{tooMany(90 * time.Second), "90"},
		{fmt.Errorf("network: %w", tooMany(1500*time.Millisecond)), "2"},
		{tooMany(-time.Second), "1"},
		{errors.New("no"), ""},
	} {
		toll := newToll(t, pow.Config{
			Allow:   func(*http.Request) error { return tt.err },
			Observe: func(e captcha.Event) { t.Errorf("%v: event %s", tt.err, e) },
		})
		w := serve(toll.Handler(func(*http.Request) pow.Demand {
			t.Errorf("%v: a demand was made", tt.err)
			return pow.Demand{}
		}), "GET", "")
		if w.Code != 429 || w.Header().Get("Retry-After") != tt.after {
			t.Errorf("%v: %d, Retry-After %q", tt.err, w.Code, w.Header().Get("Retry-After"))
		}
	}
}

// A demand that cannot be met is told to the operator, not to the visitor.
func TestNoCode(t *testing.T) {
	var events []captcha.Event
	toll := newToll(t, pow.Config{Observe: func(e captcha.Event) { events = append(events, e) }})
	w := serve(toll.Handler(demanding(pow.Demand{Code: true})), "GET", "")
	if w.Code != 500 || w.Body.String() != "Internal Server Error\n" || !slices.Equal(events, []captcha.Event{captcha.Failed}) {
		t.Errorf("%d %q, %v", w.Code, w.Body, events)
	}
}

type result struct {
	Verified bool
	Payload  string
	Reason   string
}

// post exchanges a payload as the widget does.
func post(t *testing.T, h http.Handler, payload, code string) (got result) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"payload": payload, "code": code, "timeZone": "Asia/Shanghai"})
	if err != nil {
		t.Fatal(err)
	}
	w := serve(h, "POST", string(body))
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
		t.Fatalf("%d %q: %v", w.Code, w.Body, err)
	}
	return got
}

func TestPass(t *testing.T) {
	code, read := newCode(t, captcha.Config{})
	cfg := pow.Config{Keys: [][]byte{keyA}, Tries: 100, Code: code}
	toll := newToll(t, cfg)
	cfg.Keys = [][]byte{keyB, keyA}
	rotated := newToll(t, cfg)
	cfg.Once = down{}
	failing := newToll(t, cfg)
	plain, coded := pow.Demand{Scope: scope}, pow.Demand{Scope: scope, Code: true}
	h := toll.Handler(demanding(coded))
	open := func(d pow.Demand) (payload, code string) {
		c, err := toll.Issue(d)
		if err != nil {
			t.Fatal(err)
		}
		payload, err = pow.Solve(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if d.Code {
			code = read(c)
		}
		return payload, code
	}

	t.Run("right", func(t *testing.T) {
		payload, typed := open(coded)
		got := post(t, h, payload, typed)
		if !got.Verified || got.Reason != "" {
			t.Fatalf("got %+v", got)
		}
		if err := toll.Verify(t.Context(), coded, payload, typed); !errors.Is(err, captcha.ErrSpent) {
			t.Errorf("the first payload: %v", err)
		}
		if err := toll.Verify(t.Context(), coded, got.Payload, ""); err != nil {
			t.Errorf("the pass: %v", err)
		}
		if err := toll.Verify(t.Context(), coded, got.Payload, ""); !errors.Is(err, captcha.ErrSpent) {
			t.Errorf("the pass again: %v", err)
		}
	})
	t.Run("bound as before", func(t *testing.T) {
		payload, typed := open(coded)
		pass := post(t, h, payload, typed).Payload
		if err := toll.Verify(t.Context(), pow.Demand{Scope: captcha.Scope{Purpose: "x"}}, pass, ""); !errors.Is(err, pow.ErrScope) {
			t.Errorf("other scope: %v", err)
		}
		if err := toll.Verify(t.Context(), pow.Demand{Scope: scope, Cost: 51}, pass, ""); !errors.Is(err, pow.ErrWeak) {
			t.Errorf("higher cost: %v", err)
		}
		for _, path := range []string{"expiresAt", "nonce", "keySignature", "data.scope"} {
			path = "challenge.parameters." + path
			if a, b := value(t, payload, path), value(t, pass, path); (a == b) != (path != "challenge.parameters.nonce") {
				t.Errorf("%s: %v, %v", path, a, b)
			}
		}
		// Over and over, one pass for one, and no longer than the first lives.
		again := post(t, h, pass, "")
		if !again.Verified || post(t, h, pass, "").Reason != "spent" {
			t.Errorf("a pass for a pass: %+v", again)
		}
	})
	t.Run("key of before", func(t *testing.T) {
		payload, typed := open(coded)
		got := post(t, rotated.Handler(demanding(coded)), payload, typed)
		if err := rotated.Verify(t.Context(), coded, got.Payload, ""); err != nil {
			t.Error(err)
		}
	})
	t.Run("work alone", func(t *testing.T) {
		payload, _ := open(plain)
		got := post(t, toll.Handler(demanding(plain)), payload, "")
		// That no code was asked for must not pass for one that was right.
		if err := toll.Verify(t.Context(), coded, got.Payload, ""); !errors.Is(err, pow.ErrWeak) {
			t.Errorf("where a code is due: %v", err)
		}
		if err := toll.Verify(t.Context(), plain, got.Payload, ""); err != nil {
			t.Error(err)
		}
	})
	t.Run("refused", func(t *testing.T) {
		payload, typed := open(coded)
		workOnly, _ := open(plain)
		for _, tt := range []struct {
			h             http.Handler
			payload, code string
			want          string
		}{
			{failing.Handler(demanding(coded)), payload, typed, "failed"},
			{h, payload[1:], typed, "unknown"},
			{h, set(t, "challenge.parameters.cost", 1)(payload), typed, "unknown"},
			{toll.Handler(demanding(pow.Demand{})), payload, typed, "unknown"},
			{h, workOnly, "", "weak"},
			{h, payload, typed + "2", "wrong"},
			{h, payload, typed, "spent"},
		} {
			if got := post(t, tt.h, tt.payload, tt.code); got != (result{Reason: tt.want}) {
				t.Errorf("got %+v, want %s", got, tt.want)
			}
		}
	})
}

func TestPassObserved(t *testing.T) {
	var events []captcha.Event
	toll := newToll(t, pow.Config{Tries: 100, Observe: func(e captcha.Event) { events = append(events, e) }})
	d := pow.Demand{Scope: scope}
	pass := post(t, toll.Handler(demanding(d)), solved(t, toll, d), "").Payload
	toll.Verify(t.Context(), d, pass, "")
	if want := []captcha.Event{captcha.Issued, pow.Passed, captcha.Solved}; !slices.Equal(events, want) {
		t.Errorf("got %v, want %v", events, want)
	}
}
