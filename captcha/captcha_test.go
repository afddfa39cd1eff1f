package captcha_test

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/internal/spent"
)

// plain is a form that anyone can read: the answer, then the seed.
type plain struct{}

func (plain) MediaType() string { return "text/x-answer" }

func (plain) Append(dst []byte, answer string, seed [32]byte) ([]byte, error) {
	return append(append(dst, answer...), seed[:]...), nil
}

var (
	keyA  = bytes.Repeat([]byte("a"), 32)
	keyB  = bytes.Repeat([]byte("b"), 32)
	scope = captcha.Scope{Purpose: "sign-in", Session: "alice"}
)

func newCaptcha(t testing.TB, cfg captcha.Config) *captcha.Captcha {
	t.Helper()
	cfg.Forms = map[string]captcha.Renderer{"txt": plain{}}
	c, err := captcha.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// get asks for the challenge in plain, and returns the status and the body.
func get(c *captcha.Captcha, id string) (int, string) {
	w := httptest.NewRecorder()
	c.ServeHTTP(w, httptest.NewRequest("GET", "/captcha/"+id+".txt", nil))
	return w.Code, w.Body.String()
}

// read returns the answer, of five letters.
func read(t testing.TB, c *captcha.Captcha, id string) string {
	t.Helper()
	code, body := get(c, id)
	if code != 200 || len(body) != 5+32 {
		t.Fatalf("GET %s.txt: %d, %d bytes", id, code, len(body))
	}
	return body[:5]
}

func TestVerify(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(id, answer string) (string, string)
		scope  captcha.Scope
		want   error
		spends bool
	}{
		{"right", func(id, a string) (string, string) { return id, a }, scope, nil, true},
		{"in small letters", func(id, a string) (string, string) { return id, strings.ToLower(a) }, scope, nil, true},
		{"wrong", func(id, a string) (string, string) { return id, "?" + a }, scope, captcha.ErrWrong, true},
		{"short", func(id, a string) (string, string) { return id, a[1:] }, scope, captcha.ErrWrong, true},
		{"long", func(id, a string) (string, string) { return id, a + "2" }, scope, captcha.ErrWrong, true},
		{"empty", func(id, a string) (string, string) { return id, "" }, scope, captcha.ErrWrong, true},
		{"not UTF-8", func(id, a string) (string, string) { return id, a + "\xff" }, scope, captcha.ErrWrong, true},
		{"1 MB", func(id, a string) (string, string) { return id, a + strings.Repeat(" ", 1<<20) }, scope, captcha.ErrWrong, true},
		{"empty id", func(id, a string) (string, string) { return "", a }, scope, captcha.ErrUnknown, false},
		{"both empty", func(id, a string) (string, string) { return "", "" }, scope, captcha.ErrUnknown, false},
		{"short id", func(id, a string) (string, string) { return id[:60], a }, scope, captcha.ErrUnknown, false},
		{"1 MB id", func(id, a string) (string, string) { return strings.Repeat(id, 1<<14), a }, scope, captcha.ErrUnknown, false},
		{"id with a line break", func(id, a string) (string, string) { return id[:63] + "\n", a }, scope, captcha.ErrUnknown, false},
		{"no base64", func(id, a string) (string, string) { return strings.Repeat("é", 32), a }, scope, captcha.ErrUnknown, false},
		{"other purpose", nil, captcha.Scope{Purpose: "register", Session: "alice"}, captcha.ErrUnknown, false},
		{"other session", nil, captcha.Scope{Purpose: "sign-in", Session: "bob"}, captcha.ErrUnknown, false},
		{"no session", nil, captcha.Scope{Purpose: "sign-in"}, captcha.ErrUnknown, false},
		{"moved boundary", nil, captcha.Scope{Purpose: "sign-inalice"}, captcha.ErrUnknown, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCaptcha(t, captcha.Config{})
			id := c.Issue(scope)
			answer := read(t, c, id)
			i, a := id, answer
			if tt.change != nil {
				i, a = tt.change(id, answer)
			}
			err := c.Verify(t.Context(), i, tt.scope, a)
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if err != nil && (strings.Contains(err.Error(), answer) || strings.Contains(err.Error(), id)) {
				t.Errorf("the error says too much: %v", err)
			}
			want := error(nil)
			if tt.spends {
				want = captcha.ErrSpent
			}
			if err := c.Verify(t.Context(), id, scope, answer); !errors.Is(err, want) {
				t.Errorf("afterwards the right answer gives %v, want %v", err, want)
			}
		})
	}
}

// Every bit of an id is under the MAC.
func TestForged(t *testing.T) {
	c := newCaptcha(t, captcha.Config{})
	id := c.Issue(scope)
	answer := read(t, c, id)
	raw, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(raw) * 8 {
		raw[bit/8] ^= 1 << (bit % 8)
		forged := base64.RawURLEncoding.EncodeToString(raw)
		raw[bit/8] ^= 1 << (bit % 8)
		if err := c.Verify(t.Context(), forged, scope, answer); !errors.Is(err, captcha.ErrUnknown) {
			t.Errorf("bit %d: %v", bit, err)
		}
		if code, _ := get(c, forged); code != 404 {
			t.Errorf("bit %d: served with %d", bit, code)
		}
	}
}

// describe makes an id for keyA and scope, from the description of ids alone.
func describe(t testing.TB, expires time.Time) string {
	derive := func(use string, n int) []byte {
		b, err := hkdf.Key(sha256.New, keyA, nil, "gatehouse captcha v1 "+use, n)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	mac := func(key []byte, msg string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(msg))
		return h.Sum(nil)
	}
	raw := append([]byte{1}, derive("tag", 2)...)
	raw = binary.BigEndian.AppendUint32(raw, uint32(expires.Unix()))
	raw = append(raw, "sixteen bytes :)"...)
	raw = append(raw, mac(derive("scope", 32), "\x07sign-inalice")[:9]...)
	raw = append(raw, mac(derive("mac", 32), string(raw))[:16]...)
	return base64.RawURLEncoding.EncodeToString(raw)
}

func TestFormat(t *testing.T) {
	c := newCaptcha(t, captcha.Config{Keys: [][]byte{keyA}})
	id := describe(t, time.Now().Add(time.Minute))
	if err := c.Verify(t.Context(), id, scope, read(t, c, id)); err != nil {
		t.Error(err)
	}
	// Ids outlive an upgrade, and so must their answers.
	synctest.Test(t, func(t *testing.T) {
		end := time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
		time.Sleep(time.Until(end) - time.Minute)
		c := newCaptcha(t, captcha.Config{Keys: [][]byte{keyA}})
		if got := read(t, c, describe(t, end)); got != "NY2U5" {
			t.Errorf("the answer has become %s", got)
		}
	})
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCaptcha(t, captcha.Config{Lifetime: time.Minute})
		old, id := c.Issue(scope), c.Issue(scope)
		answer, oldAnswer := read(t, c, id), read(t, c, old)
		time.Sleep(time.Minute - time.Second)
		if err := c.Verify(t.Context(), id, scope, answer); err != nil {
			t.Errorf("a second before: %v", err)
		}
		time.Sleep(time.Second)
		if err := c.Verify(t.Context(), old, scope, oldAnswer); !errors.Is(err, captcha.ErrExpired) {
			t.Errorf("at the time: %v", err)
		}
		if code, _ := get(c, old); code != http.StatusGone {
			t.Errorf("picture of an expired challenge: %d", code)
		}
		// Expired and spent: neither time nor the forgetting that comes with
		// it makes it good again.
		for range 100 {
			time.Sleep(10 * time.Second)
			if err := c.Verify(t.Context(), id, scope, answer); !errors.Is(err, captcha.ErrExpired) {
				t.Fatalf("spent, then expired: %v", err)
			}
		}
	})
}

// What lives longer than anything that was issued just now may have been spent
// and forgotten, by a clock that was ahead.
func TestFuture(t *testing.T) {
	once := spent.New(10)
	long := newCaptcha(t, captcha.Config{Keys: [][]byte{keyA}, Lifetime: time.Hour, Once: once})
	short := newCaptcha(t, captcha.Config{Keys: [][]byte{keyA}, Lifetime: time.Minute, Once: once})
	id := long.Issue(scope)
	right := read(t, long, id)
	if err := short.Verify(t.Context(), id, scope, right); !errors.Is(err, captcha.ErrUnknown) {
		t.Errorf("one hour where a minute is given: %v", err)
	}
	if code, _ := get(short, id); code != http.StatusNotFound {
		t.Errorf("it is drawn: %d", code)
	}
	if err := long.Verify(t.Context(), id, scope, right); err != nil {
		t.Errorf("it is spent: %v", err)
	}
}

func TestRotation(t *testing.T) {
	before := newCaptcha(t, captcha.Config{Keys: [][]byte{keyA}})
	during := newCaptcha(t, captcha.Config{Keys: [][]byte{keyB, keyA}})
	after := newCaptcha(t, captcha.Config{Keys: [][]byte{keyB}})

	id := before.Issue(scope)
	_, one := get(before, id)
	_, other := get(during, id)
	if one != other {
		t.Error("the same id shows differently on another machine")
	}
	if err := during.Verify(t.Context(), id, scope, one[:5]); err != nil {
		t.Errorf("old key while rotating: %v", err)
	}
	if err := after.Verify(t.Context(), id, scope, one[:5]); !errors.Is(err, captcha.ErrUnknown) {
		t.Errorf("old key afterwards: %v", err)
	}
	id = during.Issue(scope)
	if err := after.Verify(t.Context(), id, scope, read(t, during, id)); err != nil {
		t.Errorf("the first key does not sign: %v", err)
	}
}

func TestNew(t *testing.T) {
	for name, cfg := range map[string]captcha.Config{
		"empty key":         {Keys: [][]byte{keyA, nil}},
		"short key":         {Keys: [][]byte{keyA[:31]}},
		"zero key":          {Keys: [][]byte{make([]byte, 32)}},
		"short answer":      {Length: 3},
		"long answer":       {Length: 11},
		"negative length":   {Length: -1},
		"short life":        {Lifetime: time.Millisecond},
		"long life":         {Lifetime: 2 * time.Hour},
		"negative life":     {Lifetime: -time.Minute},
		"negative draws":    {Draws: -1},
		"nil form":          {Forms: map[string]captcha.Renderer{"gif": nil}},
		"form without name": {Forms: map[string]captcha.Renderer{"": plain{}}},
		"form with a dot":   {Forms: map[string]captcha.Renderer{".gif": plain{}}},
		"form with a slash": {Forms: map[string]captcha.Renderer{"a/gif": plain{}}},
	} {
		if c, err := captcha.New(cfg); err == nil || c != nil {
			t.Errorf("%s: no error", name)
		} else if strings.Contains(err.Error(), "aaa") {
			t.Errorf("%s: the error contains a key: %v", name, err)
		}
	}
	// Without keys each has its own.
	a, b := newCaptcha(t, captcha.Config{}), newCaptcha(t, captcha.Config{})
	if code, _ := get(b, a.Issue(scope)); code != 404 {
		t.Errorf("a challenge of another process: %d", code)
	}
}

// Answers are spread evenly over the alphabet, and not repeated.
func TestAnswers(t *testing.T) {
	c := newCaptcha(t, captcha.Config{Length: 10})
	count := make(map[rune]int)
	seen := make(map[string]bool)
	const n = 5000
	for range n {
		id := c.Issue(captcha.Scope{})
		_, body := get(c, id)
		seen[body[:10]] = true
		for _, r := range body[:10] {
			count[r]++
		}
	}
	if len(seen) != n {
		t.Errorf("%d different answers of %d", len(seen), n)
	}
	mean := n * 10 / len(captcha.Alphabet)
	for _, r := range captcha.Alphabet {
		// 46 is the standard deviation: six of them.
		if d := count[r] - mean; d < -276 || d > 276 {
			t.Errorf("%c: %d times, expected about %d", r, count[r], mean)
		}
	}
	if len(count) != len(captcha.Alphabet) {
		t.Errorf("%d different letters", len(count))
	}
}

// Of many right answers to one challenge that arrive together, one is
// accepted.
func TestConcurrent(t *testing.T) {
	c := newCaptcha(t, captcha.Config{})
	for range 20 {
		id := c.Issue(scope)
		answer := read(t, c, id)
		var solved, spent atomic.Int32
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				switch err := c.Verify(context.Background(), id, scope, answer); {
				case err == nil:
					solved.Add(1)
				case errors.Is(err, captcha.ErrSpent):
					spent.Add(1)
				}
			})
		}
		wg.Wait()
		if solved.Load() != 1 || spent.Load() != 63 {
			t.Fatalf("%d solved, %d spent", solved.Load(), spent.Load())
		}
	}
}

var errDown = errors.New("store is down")

// store is a Once that records what it is told, and can fail.
type store struct {
	down  bool
	until []time.Time
}

func (s *store) Spend(_ context.Context, _ [16]byte, until time.Time) (bool, error) {
	s.until = append(s.until, until)
	if s.down {
		return true, errDown
	}
	return true, nil
}

func TestStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{down: true}
		c := newCaptcha(t, captcha.Config{Once: s})
		id := c.Issue(scope)
		answer := read(t, c, id)
		err := c.Verify(t.Context(), id, scope, answer)
		if !errors.Is(err, captcha.ErrStore) || !errors.Is(err, errDown) {
			t.Errorf("store down: %v", err)
		}
		s.down = false
		if err := c.Verify(t.Context(), id, scope, answer); err != nil {
			t.Errorf("store back: %v", err)
		}
		for _, until := range s.until {
			if d := time.Until(until); d < 5*time.Minute || d > 7*time.Minute {
				t.Errorf("spent for %v", d)
			}
		}
		// What is not authentic, or too old, costs the store nothing.
		n := len(s.until)
		c.Verify(t.Context(), id[:63]+"!", scope, answer)
		c.Verify(t.Context(), id, captcha.Scope{}, answer)
		time.Sleep(5 * time.Minute)
		c.Verify(t.Context(), id, scope, answer)
		if len(s.until) != n {
			t.Errorf("%d calls of Spend for nothing", len(s.until)-n)
		}
	})
}

func TestObserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(map[captcha.Event]int)
		s := &store{}
		cfg := captcha.Config{Once: s, Observe: func(e captcha.Event) { got[e]++ }}
		c := newCaptcha(t, cfg)
		cfg.Once = nil
		alone := newCaptcha(t, cfg)

		id, twice := c.Issue(scope), alone.Issue(scope)
		c.Verify(t.Context(), id, scope, read(t, c, id))
		c.Verify(t.Context(), id, scope, "")
		s.down = true
		c.Verify(t.Context(), id, scope, "")
		c.Verify(t.Context(), "", scope, "")
		alone.Verify(t.Context(), twice, scope, "")
		alone.Verify(t.Context(), twice, scope, "")
		time.Sleep(time.Hour)
		c.Verify(t.Context(), id, scope, "")
		want := map[captcha.Event]int{
			captcha.Issued: 2, captcha.Solved: 1, captcha.Wrong: 2, captcha.Failed: 1,
			captcha.Unknown: 1, captcha.Spent: 1, captcha.Expired: 1,
		}
		if !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// An id that is accepted is, byte for byte, one that was issued.
func FuzzID(f *testing.F) {
	c := newCaptcha(f, captcha.Config{Keys: [][]byte{keyA}})
	// The same id in all processes of the fuzzer.
	issued := describe(f, time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC))
	f.Add(issued)
	f.Add(issued[:60] + "\r\n\r\n")
	f.Add(issued + "==")
	f.Add(strings.Repeat("A", 64))
	f.Add("")
	f.Fuzz(func(t *testing.T, id string) {
		err := c.Verify(t.Context(), id, scope, "")
		if id != issued && !errors.Is(err, captcha.ErrUnknown) {
			t.Errorf("%q: %v", id, err)
		}
	})
}

func BenchmarkIssue(b *testing.B) {
	c := newCaptcha(b, captcha.Config{})
	b.ReportAllocs()
	for b.Loop() {
		c.Issue(scope)
	}
}

// BenchmarkVerify includes the issuing, for each challenge is spent once.
func BenchmarkVerify(b *testing.B) {
	c := newCaptcha(b, captcha.Config{Once: &first{}})
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Verify(b.Context(), c.Issue(scope), scope, "K7MP"); !errors.Is(err, captcha.ErrWrong) {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyForged(b *testing.B) {
	c := newCaptcha(b, captcha.Config{})
	id := []byte(c.Issue(scope))
	id[30] ^= 1
	b.ReportAllocs()
	for b.Loop() {
		c.Verify(b.Context(), string(id), scope, "K7MPY")
	}
}

// first is a Once that costs nothing.
type first struct{}

func (*first) Spend(context.Context, [16]byte, time.Time) (bool, error) { return true, nil }

// spoken is a form that wants digits.
type spoken struct {
	plain
	alphabet string
}

func (s spoken) Alphabet() string { return s.alphabet }

// A form with an alphabet of its own has an answer of its own; either is right,
// once, and no mixture of the two is.
func TestAlphabets(t *testing.T) {
	const digits = "23456789"
	c, err := captcha.New(captcha.Config{Forms: map[string]captcha.Renderer{
		"txt": plain{}, "en": spoken{alphabet: digits}, "zh": spoken{alphabet: digits},
	}})
	if err != nil {
		t.Fatal(err)
	}
	answer := func(id, form string) string {
		w := httptest.NewRecorder()
		c.ServeHTTP(w, httptest.NewRequest("GET", "/"+id+"."+form, nil))
		return w.Body.String()[:5]
	}
	seen := map[rune]bool{}
	for i := range 200 {
		id := c.Issue(scope)
		seenIn, heard := answer(id, "txt"), answer(id, "en")
		for _, r := range heard {
			seen[r] = true
		}
		if heard != answer(id, "zh") {
			t.Fatalf("two forms of one alphabet answer %s and %s", heard, answer(id, "zh"))
		}
		typed, want := seenIn, error(nil)
		switch i % 3 {
		case 1:
			typed = heard
		case 2:
			// Half of either, unless both end alike or begin so.
			if typed = seenIn[:3] + heard[3:]; typed != seenIn && typed != heard {
				want = captcha.ErrWrong
			}
		}
		if err := c.Verify(context.Background(), id, scope, typed); !errors.Is(err, want) {
			t.Fatalf("seen %s, heard %s, typed %s: %v", seenIn, heard, typed, err)
		}
		if err := c.Verify(context.Background(), id, scope, heard); !errors.Is(err, captcha.ErrSpent) {
			t.Fatalf("again: %v", err)
		}
	}
	if len(seen) != len(digits) {
		t.Errorf("answers to be heard have only %d characters", len(seen))
	}
	for _, bad := range []string{"", "2345678", "234567892", "23456781", "2345678o"} {
		if _, err := captcha.New(captcha.Config{Forms: map[string]captcha.Renderer{"wav": spoken{alphabet: bad}}}); err == nil {
			t.Errorf("an alphabet of %q", bad)
		}
	}
}
