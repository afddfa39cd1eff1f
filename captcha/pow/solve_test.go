package pow_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/captcha/pow"
)

// vectors are what ALTCHA's own library made: see testdata/altcha-lib.mjs.
type vectors struct {
	Challenges []struct {
		Challenge  json.RawMessage
		Counter    uint32
		DerivedKey string
	}
	Payloads []string
}

func readVectors(t testing.TB) (v vectors) {
	t.Helper()
	b, err := os.ReadFile("testdata/altcha-lib.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Challenges) != 6 || len(v.Payloads) != 3 {
		t.Fatalf("%d challenges and %d payloads", len(v.Challenges), len(v.Payloads))
	}
	return v
}

// Solve finds what ALTCHA's library finds, and sends back what it was sent.
func TestSolveVectors(t *testing.T) {
	for i, v := range readVectors(t).Challenges {
		payload, err := pow.Solve(t.Context(), v.Challenge)
		if err != nil {
			t.Errorf("%d: %v", i, err)
			continue
		}
		b, err := base64.StdEncoding.DecodeString(payload)
		if err != nil {
			t.Fatal(err)
		}
		var got, want struct {
			Challenge any
			Solution  struct {
				Counter    uint32
				DerivedKey string
			}
		}
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		json.Unmarshal(v.Challenge, &want.Challenge)
		want.Solution.Counter, want.Solution.DerivedKey = v.Counter, v.DerivedKey
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%d: got %v, want %v", i, got, want)
		}
	}
}

// Verify takes payloads that ALTCHA's library has signed and solved.
func TestVerifyVectors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where it is 2000-01-01
		toll := newToll(t, pow.Config{Keys: [][]byte{keyA}})
		for i, payload := range readVectors(t).Payloads {
			if err := toll.Verify(t.Context(), pow.Demand{Scope: scope}, payload, ""); err != nil {
				t.Errorf("%d: %v", i, err)
			}
			if err := toll.Verify(t.Context(), pow.Demand{Scope: scope}, payload, ""); !errors.Is(err, captcha.ErrSpent) {
				t.Errorf("%d again: %v", i, err)
			}
		}
	})
}

func TestSolveCancel(t *testing.T) {
	// No key of sixteen bytes begins so, before the sun is cold.
	challenge := `{"parameters":{"algorithm":"PBKDF2/SHA-256","cost":50,"keyLength":16,"keyPrefix":"` +
		strings.Repeat("00", 16) + `","nonce":"00","salt":"00"}}`
	why := errors.New("the visitor left")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error)
	go func() {
		_, err := pow.Solve(ctx, []byte(challenge))
		done <- err
	}()
	time.Sleep(10 * time.Millisecond)
	cancel(why)
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestSolveMalformed(t *testing.T) {
	const good = `{"parameters":{"algorithm":"PBKDF2/SHA-256","cost":1,"keyLength":16,"keyPrefix":"0","nonce":"00","salt":"00"}}`
	if _, err := pow.Solve(t.Context(), []byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{good, ""},
		{good, "null"},
		{good, "{}"},
		{good, "[]"},
		{`{"algorithm"`, `[{"algorithm"`},
		{"PBKDF2/SHA-256", "SHA-256"},
		{`"cost":1`, `"cost":0`},
		{`"cost":1`, `"cost":-1`},
		{`"cost":1`, `"cost":4294967295`},
		{`"cost":1`, `"cost":"1"`},
		{`"keyLength":16`, `"keyLength":0`},
		{`"keyLength":16`, `"keyLength":1000000000`},
		{`"keyPrefix":"0"`, `"keyPrefix":""`},
		{`"keyPrefix":"0"`, `"keyPrefix":"` + strings.Repeat("0", 33) + `"`},
		{`"keyPrefix":"0"`, `"keyPrefix":"0g"`},
		{`"nonce":"00"`, `"nonce":"0"`},
		{`"salt":"00"`, `"salt":"xy"`},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if payload, err := pow.Solve(ctx, []byte(bad)); payload != "" || err == nil || ctx.Err() != nil {
			t.Errorf("%s: %q, %v", bad, payload, err)
		}
		cancel()
	}
}
