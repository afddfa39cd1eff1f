package pow_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/captcha/pow"
)

var (
	keyA  = bytes.Repeat([]byte("a"), 32)
	keyB  = bytes.Repeat([]byte("b"), 32)
	scope = captcha.Scope{Purpose: "sign-in", Session: "alice"}
)

func newToll(t testing.TB, cfg pow.Config) *pow.Toll {
	t.Helper()
	toll, err := pow.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return toll
}

// solved returns the payload of a new challenge.
func solved(t testing.TB, toll *pow.Toll, d pow.Demand) string {
	t.Helper()
	c, err := toll.Issue(d)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := pow.Solve(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

// edit changes one value of a payload, given by its path; nil takes it away.
func edit(t testing.TB, payload, path string, value any) string {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(payload)
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	names := strings.Split(path, ".")
	in := all
	for _, name := range names[:len(names)-1] {
		in = in[name].(map[string]any)
	}
	if last := names[len(names)-1]; value == nil {
		delete(in, last)
	} else {
		in[last] = value
	}
	b, err = json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// plain is a form that anyone can read.
type plain struct{}

func (plain) MediaType() string { return "text/plain" }

func (plain) Append(dst []byte, answer string, _ [32]byte) ([]byte, error) {
	return append(dst, answer...), nil
}

// newCode returns a source of codes, and a function that reads the code of a
// challenge.
func newCode(t testing.TB, cfg captcha.Config) (pow.Code, func(challenge []byte) string) {
	t.Helper()
	cfg.Forms = map[string]captcha.Renderer{"txt": plain{}}
	c, err := captcha.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return pow.Code{Captcha: c, Image: "/captcha/{id}.txt", Length: 5}, func(challenge []byte) string {
		t.Helper()
		var in struct {
			CodeChallenge struct{ Image string }
		}
		if err := json.Unmarshal(challenge, &in); err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		c.ServeHTTP(w, httptest.NewRequest("GET", in.CodeChallenge.Image, nil))
		if w.Code != 200 {
			t.Fatalf("%s: %d", in.CodeChallenge.Image, w.Code)
		}
		return w.Body.String()
	}
}

func TestVerify(t *testing.T) {
	toll := newToll(t, pow.Config{Keys: [][]byte{keyA}, Tries: 100})
	demand := pow.Demand{Scope: scope}
	other := solved(t, toll, demand)
	field := func(path string) any { return value(t, other, path) }
	const params = "challenge.parameters."
	for _, tt := range []struct {
		name   string
		change func(payload string) string
		want   error
		text   string // a part of the error's
		spends bool
	}{
		{"right", func(p string) string { return p }, nil, "", true},
		{"wrong", set(t, "solution.derivedKey", strings.Repeat("0", 64)), captcha.ErrWrong, "", true},
		{"another's solution", set(t, "solution.derivedKey", field("solution.derivedKey")), captcha.ErrWrong, "", true},
		{"other counter", set(t, "solution.counter", 7), nil, "", true}, // the key is the proof
		{"with time", set(t, "solution.time", 12.3), nil, "", true},
		{"key in capitals", func(p string) string {
			return edit(t, p, "solution.derivedKey", strings.ToUpper(value(t, p, "solution.derivedKey").(string)))
		}, nil, "", true},

		{"empty", func(string) string { return "" }, pow.ErrMalformed, "not the JSON", false},
		{"huge", func(p string) string { return p + strings.Repeat("A", 100_000) }, pow.ErrMalformed, "too long", false},
		{"not base64", func(p string) string { return "%" + p }, pow.ErrMalformed, "not base64", false},
		{"base64 for addresses", func(string) string { return "__--" }, pow.ErrMalformed, "not base64", false},
		{"cut", func(p string) string { return p[:len(p)-5] }, pow.ErrMalformed, "not base64", false},
		{"cut at four", func(p string) string { return p[:400] }, pow.ErrMalformed, "not the JSON", false},
		{"twice", func(p string) string { return strings.TrimRight(p, "=") + p }, pow.ErrMalformed, "", false},
		{"not JSON", raw("hello"), pow.ErrMalformed, "not the JSON", false},
		{"not UTF-8", raw("{\"\xff"), pow.ErrMalformed, "not the JSON", false},
		{"null", raw("null"), pow.ErrMalformed, "no parameters", false},
		{"number", raw("7"), pow.ErrMalformed, "not the JSON", false},
		{"array", raw("[]"), pow.ErrMalformed, "not the JSON", false},
		{"deep", raw(strings.Repeat(`{"challenge":`, 200)), pow.ErrMalformed, "not the JSON", false},
		{"empty object", raw("{}"), pow.ErrMalformed, "no parameters", false},
		{"test mode of the widget", raw(`{"challenge":null,"solution":null,"test":true}`), pow.ErrMalformed, "no parameters", false},
		{"version 1", raw(`{"algorithm":"SHA-256","challenge":"00","number":1,"salt":"x","signature":"x"}`), pow.ErrMalformed, "not the JSON", false},
		{"ALTCHA's signature", raw(`{"algorithm":"SHA-256","signature":"00","verificationData":"verified=true","verified":true}`), pow.ErrMalformed, "no parameters", false},
		{"no nonce", set(t, params+"nonce", nil), pow.ErrMalformed, "no nonce", false},
		{"long nonce", set(t, params+"nonce", strings.Repeat("00", 17)), pow.ErrMalformed, "no nonce", false},
		{"nonce of another kind", set(t, params+"nonce", 5), pow.ErrMalformed, "not the JSON", false},
		{"no key", set(t, "solution.derivedKey", nil), pow.ErrMalformed, "no derived key", false},
		{"prefix for a key", set(t, "solution.derivedKey", strings.Repeat("00", 16)), pow.ErrMalformed, "no derived key", false},
		{"long key", set(t, "solution.derivedKey", strings.Repeat("00", 33)), pow.ErrMalformed, "no derived key", false},
		{"no hexadecimal key", set(t, "solution.derivedKey", strings.Repeat("é", 32)), pow.ErrMalformed, "no derived key", false},
		{"negative counter", set(t, "solution.counter", -1), pow.ErrMalformed, "not the JSON", false},
		{"great counter", set(t, "solution.counter", 1<<32), pow.ErrMalformed, "not the JSON", false},
		{"broken counter", set(t, "solution.counter", 1.5), pow.ErrMalformed, "not the JSON", false},
		{"great expiry", set(t, params+"expiresAt", 1e300), pow.ErrMalformed, "not the JSON", false},

		{"Argon2", set(t, params+"algorithm", "ARGON2ID"), pow.ErrAlgorithm, "", false},
		{"SHA-512", set(t, params+"algorithm", "PBKDF2/SHA-512"), pow.ErrAlgorithm, "", false},
		{"in small letters", set(t, params+"algorithm", "pbkdf2/sha-256"), pow.ErrAlgorithm, "", false},

		{"no data", set(t, params+"data", nil), pow.ErrKey, "", false},
		{"unknown key", set(t, params+"data.key", "ffff"), pow.ErrKey, "", false},
		{"no key named", set(t, params+"data.key", nil), pow.ErrKey, "", false},

		{"lower cost", set(t, params+"cost", 1), pow.ErrForged, "", false},
		{"higher cost", set(t, params+"cost", 1000), pow.ErrForged, "", false},
		{"no cost", set(t, params+"cost", nil), pow.ErrForged, "", false},
		{"fewer tries", set(t, params+"data.tries", 1), pow.ErrForged, "", false},
		{"longer life", func(p string) string {
			return edit(t, p, params+"expiresAt", value(t, p, params+"expiresAt").(float64)+1)
		}, pow.ErrForged, "", false},
		{"no end", set(t, params+"expiresAt", nil), pow.ErrForged, "", false},
		{"shorter prefix", set(t, params+"keyPrefix", "00"), pow.ErrForged, "", false},
		{"no prefix", set(t, params+"keyPrefix", ""), pow.ErrForged, "", false},
		{"shorter key", set(t, params+"keyLength", 16), pow.ErrForged, "", false},
		{"another's nonce", set(t, params+"nonce", field(params+"nonce")), pow.ErrForged, "", false},
		{"nonce in capitals", func(p string) string {
			return edit(t, p, params+"nonce", strings.ToUpper(value(t, p, params+"nonce").(string)))
		}, pow.ErrForged, "", false}, // or it would be a nonce not spent yet
		{"another's salt", set(t, params+"salt", field(params+"salt")), pow.ErrForged, "", false},
		{"another's key", set(t, params+"keySignature", field(params+"keySignature")), pow.ErrForged, "", false},
		{"no key signature", set(t, params+"keySignature", nil), pow.ErrForged, "", false},
		{"another scope", set(t, params+"data.scope", strings.Repeat("0", 32)), pow.ErrForged, "", false},
		{"code passed", set(t, params+"data.code", "passed"), pow.ErrForged, "", false},
		{"another's signature", set(t, "challenge.signature", field("challenge.signature")), pow.ErrForged, "", false},
		{"empty signature", set(t, "challenge.signature", ""), pow.ErrForged, "", false},
		{"no signature", set(t, "challenge.signature", nil), pow.ErrForged, "", false},
		{"quotes in a value", set(t, params+"salt", `","x":"`), pow.ErrForged, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			right := solved(t, toll, demand)
			err := toll.Verify(t.Context(), demand, tt.change(right), "")
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if tt.text != "" && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%q does not say %q", err, tt.text)
			}
			if unknown := tt.want != nil && !errors.Is(tt.want, captcha.ErrWrong); errors.Is(err, captcha.ErrUnknown) != unknown {
				t.Errorf("%v: unknown is %v", err, !unknown)
			}
			var then error
			if tt.spends {
				then = captcha.ErrSpent
			}
			if err := toll.Verify(t.Context(), demand, right, ""); !errors.Is(err, then) {
				t.Errorf("afterwards the right one: %v, want %v", err, then)
			}
		})
	}
}

// set returns a change of one value; see edit.
func set(t testing.TB, path string, value any) func(string) string {
	return func(payload string) string { return edit(t, payload, path, value) }
}

// raw returns a change to something else altogether.
func raw(text string) func(string) string {
	return func(string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
}

// value returns a value of a payload, or all of it if path is empty.
func value(t testing.TB, payload, path string) any {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(payload)
	if err != nil {
		t.Fatal(err)
	}
	var at any
	if err := json.Unmarshal(b, &at); err != nil {
		t.Fatal(err)
	}
	for name := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '.' }) {
		at = at.(map[string]any)[name]
	}
	return at
}

// The same members in another order, with blanks, and one more that nobody knows
// are the same payload: not every client is JavaScript.
func TestOtherEncoders(t *testing.T) {
	toll := newToll(t, pow.Config{Tries: 100})
	demand := pow.Demand{Scope: scope}
	right := solved(t, toll, demand)
	in := func(path string) string {
		b, err := json.Marshal(value(t, right, path))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	text := `{ "solution" : {"took":1,"derivedKey":` + in("solution.derivedKey") + `},
		"challenge" : {"signature":` + in("challenge.signature") + `, "parameters" : {"memoryCost":1`
	for _, name := range []string{"salt", "nonce", "keySignature", "keyPrefix", "keyLength", "expiresAt", "data", "cost", "algorithm"} {
		text += ", \"" + name + "\" :\t" + in("challenge.parameters."+name)
	}
	if err := toll.Verify(t.Context(), demand, raw(text+"}}}")(""), ""); err != nil {
		t.Error(err)
	}
}

func TestScope(t *testing.T) {
	toll := newToll(t, pow.Config{Tries: 100})
	payload := solved(t, toll, pow.Demand{Scope: scope})
	for name, s := range map[string]captcha.Scope{
		"other purpose":  {Purpose: "register", Session: "alice"},
		"other session":  {Purpose: "sign-in", Session: "bob"},
		"no session":     {Purpose: "sign-in"},
		"moved boundary": {Purpose: "sign-inalice"},
	} {
		if err := toll.Verify(t.Context(), pow.Demand{Scope: s}, payload, ""); !errors.Is(err, pow.ErrScope) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := toll.Verify(t.Context(), pow.Demand{Scope: scope}, payload, ""); err != nil {
		t.Errorf("then in its own: %v", err)
	}
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		demand := pow.Demand{Scope: scope}
		toll := newToll(t, pow.Config{Keys: [][]byte{keyA}, Tries: 100})
		for _, tt := range []struct {
			age  time.Duration
			want error
		}{
			{0, nil},
			{5*time.Minute - time.Second, nil},
			{5 * time.Minute, captcha.ErrExpired},
			{time.Hour, captcha.ErrExpired},
		} {
			payload := solved(t, toll, demand)
			time.Sleep(tt.age)
			if err := toll.Verify(t.Context(), demand, payload, ""); !errors.Is(err, tt.want) {
				t.Errorf("after %v: %v, want %v", tt.age, err, tt.want)
			}
		}
		// One machine gives out longer lives than another would.
		for lifetime, want := range map[time.Duration]error{
			6 * time.Minute:               nil, // so far may clocks be apart
			6*time.Minute + 2*time.Second: pow.ErrFuture,
			time.Hour:                     pow.ErrFuture,
		} {
			ahead := newToll(t, pow.Config{Keys: [][]byte{keyA}, Tries: 100, Lifetime: lifetime})
			payload := solved(t, ahead, demand)
			if err := toll.Verify(t.Context(), demand, payload, ""); !errors.Is(err, want) {
				t.Errorf("lifetime %v: %v, want %v", lifetime, err, want)
			}
		}
	})
}

func TestRotation(t *testing.T) {
	demand := pow.Demand{Scope: scope}
	toll := func(keys ...[]byte) *pow.Toll { return newToll(t, pow.Config{Keys: keys, Tries: 100}) }
	ofA, ofB := solved(t, toll(keyA), demand), solved(t, toll(keyB, keyA), demand)
	for _, tt := range []struct {
		name    string
		toll    *pow.Toll
		payload string
		want    error
	}{
		{"same key", toll(keyA), ofA, nil},
		{"first of two", toll(keyA, keyB), ofA, nil},
		{"second of two", toll(keyB, keyA), ofA, nil},
		{"dropped", toll(keyB), ofA, pow.ErrKey},
		{"not yet known", toll(keyA), ofB, pow.ErrKey},
		{"known before it is used", toll(keyA, keyB), ofB, nil},
		{"any process's own", toll(), ofA, pow.ErrKey},
		{"renamed", toll(keyB, keyA), edit(t, ofA, "challenge.parameters.data.key", value(t, ofB, "challenge.parameters.data.key")), pow.ErrForged},
	} {
		if err := tt.toll.Verify(t.Context(), demand, tt.payload, ""); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// What is asked for may rise between the challenge and its solution.
func TestWeak(t *testing.T) {
	code, _ := newCode(t, captcha.Config{})
	toll := newToll(t, pow.Config{Tries: 100, Code: code})
	with := func(cost int, code bool) pow.Demand { return pow.Demand{Scope: scope, Cost: cost, Code: code} }
	for _, tt := range []struct {
		issued, asked pow.Demand
		want          error
	}{
		{with(0, false), with(0, false), nil},
		{with(-1, false), with(pow.DefaultCost, false), nil},
		{with(100, false), with(0, false), nil},
		{with(100, false), with(100, false), nil},
		{with(100, false), with(101, false), pow.ErrWeak},
		{with(1, false), with(0, false), pow.ErrWeak},
		{with(1, false), with(1, false), nil},
		{with(100, false), with(100, true), pow.ErrWeak},
		{with(100, false), with(1<<62, false), pow.ErrWeak},
	} {
		payload := solved(t, toll, tt.issued)
		if err := toll.Verify(t.Context(), tt.asked, payload, ""); !errors.Is(err, tt.want) {
			t.Errorf("issued %+v, asked %+v: %v, want %v", tt.issued, tt.asked, err, tt.want)
		}
		if tt.want == nil {
			continue
		}
		if err := toll.Verify(t.Context(), tt.issued, payload, ""); err != nil {
			t.Errorf("the weak one was spent: %v", err)
		}
	}
	c, err := toll.Issue(with(1<<62, false))
	if err != nil || !strings.Contains(string(c), `"cost":20000,`) {
		t.Errorf("greatest cost: %s, %v", c, err)
	}
}

func TestCode(t *testing.T) {
	code, read := newCode(t, captcha.Config{})
	toll := newToll(t, pow.Config{Tries: 100, Code: code})
	demand := pow.Demand{Scope: scope, Code: true}
	for _, tt := range []struct {
		name  string
		typed func(code string) string
		want  error
	}{
		{"right", func(c string) string { return c }, nil},
		{"as people type", func(c string) string { return " " + strings.ToLower(c[:2]) + "-" + c[2:] }, nil},
		{"full width", func(c string) string { return string(rune(c[0])+0xfee0) + c[1:] }, nil},
		{"wrong", func(c string) string { return c[1:] + c[:1] + "2" }, captcha.ErrWrong},
		{"empty", func(string) string { return "" }, captcha.ErrWrong},
		{"huge", func(c string) string { return c + strings.Repeat(" ", 1<<20) }, captcha.ErrWrong},
		{"not UTF-8", func(c string) string { return c + "\xff" }, captcha.ErrWrong},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := toll.Issue(demand)
			if err != nil {
				t.Fatal(err)
			}
			payload, err := pow.Solve(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			typed := read(c)
			if err := toll.Verify(t.Context(), demand, payload, tt.typed(typed)); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if err := toll.Verify(t.Context(), demand, payload, typed); !errors.Is(err, captcha.ErrSpent) {
				t.Errorf("a second try: %v", err)
			}
		})
	}

	t.Run("asked for without need", func(t *testing.T) {
		c, err := toll.Issue(demand)
		if err != nil {
			t.Fatal(err)
		}
		payload, err := pow.Solve(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		// The challenge has a code, so it counts, whatever is due now.
		if err := toll.Verify(t.Context(), pow.Demand{Scope: scope}, payload, ""); !errors.Is(err, captcha.ErrWrong) {
			t.Errorf("without code: %v", err)
		}
	})
	t.Run("without its work", func(t *testing.T) {
		c, err := toll.Issue(demand)
		if err != nil {
			t.Fatal(err)
		}
		var in struct {
			Parameters struct{ Data struct{ Code string } }
		}
		if err := json.Unmarshal(c, &in); err != nil {
			t.Fatal(err)
		}
		id := in.Parameters.Data.Code
		if err := code.Captcha.Verify(t.Context(), id, scope, read(c)); !errors.Is(err, captcha.ErrUnknown) {
			t.Errorf("the code alone: %v", err)
		}
	})
	t.Run("of another machine", func(t *testing.T) {
		for name, cfg := range map[string]pow.Config{
			"without codes":     {Keys: [][]byte{keyA}, Tries: 100},
			"under other keys":  {Keys: [][]byte{keyA}, Tries: 100, Code: code},
			"whose store fails": {Keys: [][]byte{keyA}, Tries: 100},
		} {
			foreign, read := newCode(t, captcha.Config{Keys: [][]byte{keyA}})
			want := captcha.ErrUnknown
			if name == "whose store fails" {
				cfg.Code, _ = newCode(t, captcha.Config{Keys: [][]byte{keyA}, Once: down{}})
				want = captcha.ErrStore
			}
			issuer := newToll(t, pow.Config{Keys: [][]byte{keyA}, Tries: 100, Code: foreign})
			c, err := issuer.Issue(demand)
			if err != nil {
				t.Fatal(err)
			}
			payload, err := pow.Solve(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if err := newToll(t, cfg).Verify(t.Context(), demand, payload, read(c)); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		}
	})
	t.Run("of nowhere", func(t *testing.T) {
		if c, err := newToll(t, pow.Config{}).Issue(demand); err == nil || c != nil {
			t.Errorf("got %q", c)
		}
	})
}

var errDown = errors.New("connection refused")

// down is a Once that fails.
type down struct{}

func (down) Spend(context.Context, [16]byte, time.Time) (bool, error) { return true, errDown }

func TestStoreFails(t *testing.T) {
	toll := newToll(t, pow.Config{Tries: 100, Once: down{}})
	demand := pow.Demand{Scope: scope}
	payload := solved(t, toll, demand)
	if err := toll.Verify(t.Context(), demand, payload, ""); !errors.Is(err, captcha.ErrStore) || !errors.Is(err, errDown) {
		t.Errorf("right solution: %v", err)
	}
	// Who sends rubbish does not get as far as the store.
	if err := toll.Verify(t.Context(), demand, payload[:100], ""); !errors.Is(err, pow.ErrMalformed) {
		t.Errorf("rubbish: %v", err)
	}
}

// notes is a Once that writes down what it is told.
type notes map[[16]byte]time.Time

func (n notes) Spend(_ context.Context, id [16]byte, until time.Time) (bool, error) {
	_, again := n[id]
	n[id] = until
	return !again, nil
}

// A challenge is remembered for longer than it lives, under its own nonce.
func TestRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		once := notes{}
		toll := newToll(t, pow.Config{Tries: 100, Once: once})
		demand := pow.Demand{Scope: scope}
		for range 3 {
			payload := solved(t, toll, demand)
			if err := toll.Verify(t.Context(), demand, payload, ""); err != nil {
				t.Fatal(err)
			}
			var id [16]byte
			hex.Decode(id[:], []byte(value(t, payload, "challenge.parameters.nonce").(string)))
			if got, want := once[id], time.Now().Add(6*time.Minute); !got.Equal(want) {
				t.Errorf("until %v, want %v", got, want)
			}
		}
		if len(once) != 3 {
			t.Errorf("%d records", len(once))
		}
	})
}

// Of equal right answers at the same time, exactly one wins.
func TestRace(t *testing.T) {
	toll := newToll(t, pow.Config{Tries: 100})
	demand := pow.Demand{Scope: scope, Cost: 1}
	for range 1000 {
		payload := solved(t, toll, demand)
		var won, spent atomic.Int32
		var wg sync.WaitGroup
		start := make(chan struct{})
		for range 4 {
			wg.Go(func() {
				<-start
				switch err := toll.Verify(t.Context(), demand, payload, ""); {
				case err == nil:
					won.Add(1)
				case errors.Is(err, captcha.ErrSpent):
					spent.Add(1)
				}
			})
		}
		close(start)
		wg.Wait()
		if won.Load() != 1 || spent.Load() != 3 {
			t.Fatalf("%d won, %d were told that it is spent", won.Load(), spent.Load())
		}
	}
}

func TestObserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []captcha.Event
		code, _ := newCode(t, captcha.Config{})
		cfg := pow.Config{Tries: 100, Code: code, Observe: func(e captcha.Event) { got = append(got, e) }}
		toll := newToll(t, cfg)
		cfg.Once = down{}
		failing := newToll(t, cfg)
		demand := pow.Demand{Scope: scope}
		for _, tt := range []struct {
			want captcha.Event
			do   func(payload string)
		}{
			{captcha.Solved, func(p string) { toll.Verify(t.Context(), demand, p, "") }},
			{captcha.Wrong, func(p string) {
				toll.Verify(t.Context(), demand, set(t, "solution.derivedKey", strings.Repeat("0", 64))(p), "")
			}},
			{captcha.Unknown, func(p string) { toll.Verify(t.Context(), demand, p[1:], "") }},
			{captcha.Unknown, func(p string) { toll.Verify(t.Context(), pow.Demand{}, p, "") }},
			{captcha.Unknown, func(p string) { failing.Verify(t.Context(), demand, p, "") }},
			{pow.Weak, func(p string) { toll.Verify(t.Context(), pow.Demand{Scope: scope, Code: true}, p, "") }},
			{captcha.Expired, func(p string) { time.Sleep(time.Hour); toll.Verify(t.Context(), demand, p, "") }},
		} {
			payload := solved(t, toll, demand)
			got = nil
			tt.do(payload)
			if !slices.Equal(got, []captcha.Event{tt.want}) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		}
		got = nil
		payload := solved(t, toll, demand)
		toll.Verify(t.Context(), demand, payload, "")
		toll.Verify(t.Context(), demand, payload, "")
		failing.Verify(t.Context(), demand, solved(t, failing, demand), "")
		if want := []captcha.Event{captcha.Issued, captcha.Solved, captcha.Spent, captcha.Issued, captcha.Failed}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// No two challenges share a nonce, a salt or a key, and all counters below Tries
// come up.
func TestIssue(t *testing.T) {
	toll := newToll(t, pow.Config{Tries: 100})
	seen := make(map[any]bool)
	counters := make(map[any]bool)
	const n = 2500 // with which one of 100 is missing once in 10⁹ runs
	for range n {
		in := value(t, solved(t, toll, pow.Demand{Scope: scope, Cost: 1}), "").(map[string]any)
		p := in["challenge"].(map[string]any)["parameters"].(map[string]any)
		for _, name := range []string{"nonce", "salt", "keyPrefix", "keySignature"} {
			seen[p[name]] = true
		}
		counter := in["solution"].(map[string]any)["counter"]
		if counter.(float64) >= 100 {
			t.Fatalf("counter %v", counter)
		}
		counters[counter] = true
	}
	if len(seen) != 4*n || len(counters) != 100 {
		t.Errorf("%d different values, %d counters", len(seen), len(counters))
	}
}

func TestNew(t *testing.T) {
	code, _ := newCode(t, captcha.Config{})
	with := func(change func(*pow.Code)) pow.Config {
		c := code
		change(&c)
		return pow.Config{Code: c}
	}
	for name, cfg := range map[string]pow.Config{
		"empty key":       {Keys: [][]byte{{}}},
		"nil key":         {Keys: [][]byte{nil}},
		"short key":       {Keys: [][]byte{keyA, keyB[:31]}},
		"zero key":        {Keys: [][]byte{make([]byte, 32)}},
		"few tries":       {Tries: 99},
		"negative tries":  {Tries: -1},
		"many tries":      {Tries: 1<<20 + 1},
		"short life":      {Lifetime: time.Millisecond},
		"long life":       {Lifetime: time.Hour + 1},
		"no captcha":      with(func(c *pow.Code) { c.Captcha = nil }),
		"no image":        with(func(c *pow.Code) { c.Image = "" }),
		"image without":   with(func(c *pow.Code) { c.Image = "/captcha/id.gif" }),
		"audio without":   with(func(c *pow.Code) { c.Audio = "/captcha/.wav" }),
		"negative length": with(func(c *pow.Code) { c.Length = -1 }),
	} {
		if toll, err := pow.New(cfg); err == nil || toll != nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestReissue: a challenge has a successor for the same scope, at the same cost,
// even when its time is over or its key is the last one, and nothing else has.
func TestReissue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := newToll(t, pow.Config{Keys: [][]byte{keyA}, Tries: 100})
		toll := newToll(t, pow.Config{Keys: [][]byte{keyB, keyA}, Tries: 100})
		d := pow.Demand{Scope: scope, Cost: 60}
		old, err := before.Issue(d)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		fresh, err := toll.Reissue(old)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			d    pow.Demand
			want error
		}{
			{pow.Demand{Scope: captcha.Scope{Purpose: "other"}}, pow.ErrScope},
			{pow.Demand{Scope: scope, Cost: 61}, pow.ErrWeak},
			{d, nil},
			{d, captcha.ErrSpent},
		} {
			payload, err := pow.Solve(t.Context(), fresh)
			if err != nil {
				t.Fatal(err)
			}
			if err := toll.Verify(t.Context(), c.d, payload, ""); !errors.Is(err, c.want) {
				t.Errorf("%+v: %v, want %v", c.d, err, c.want)
			}
		}
		for text, want := range map[string]error{
			"":                          pow.ErrMalformed,
			"null":                      pow.ErrAlgorithm,
			"{}":                        pow.ErrAlgorithm,
			string(old) + " " + "x":     pow.ErrMalformed,
			strings.Repeat(" ", 1<<20):  pow.ErrMalformed,
			`{"parameters":{"cost":7}}`: pow.ErrAlgorithm,
			strings.Replace(string(old), `"cost":60`, `"cost":1`, 1):            pow.ErrForged,
			strings.Replace(string(old), `"key":"`, `"key":"00`, 1):             pow.ErrKey,
			strings.Replace(string(old), `"data":{`, `"data":{"code":"x",`, 1):  pow.ErrMalformed,
			strings.Replace(string(old), `PBKDF2/SHA-256`, `PBKDF2/SHA-512`, 1): pow.ErrAlgorithm,
		} {
			if _, err := toll.Reissue([]byte(text)); !errors.Is(err, want) {
				t.Errorf("%.60q: %v, want %v", text, err, want)
			}
		}
	})
}
