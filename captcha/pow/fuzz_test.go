package pow_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/captcha/pow"
)

// Whatever is sent, nothing panics, and nothing is let in but what means the same
// as one of the payloads that are right. These are ALTCHA's, because a fuzzer
// runs in many processes, and they are the same in all.
func FuzzVerify(f *testing.F) {
	toll := newToll(f, pow.Config{Keys: [][]byte{keyA}, Once: always{}})
	right := readVectors(f).Payloads
	for _, payload := range right {
		clear, err := base64.StdEncoding.DecodeString(payload)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
		f.Add(string(clear))
	}
	f.Add("")
	f.Add(right[0][1:])
	f.Add(`{"challenge":{"parameters":{"algorithm":"PBKDF2/SHA-256","nonce":"00"}}}`)
	f.Add(`{"algorithm":"SHA-256","challenge":"00","number":1,"salt":"x","signature":"x"}`)
	f.Fuzz(func(t *testing.T, text string) {
		synctest.Test(t, func(t *testing.T) { // where it is 2000-01-01
			for _, payload := range []string{text, base64.StdEncoding.EncodeToString([]byte(text))} {
				err := toll.Verify(t.Context(), pow.Demand{Scope: scope}, payload, "")
				switch {
				case err == nil:
					if !slices.ContainsFunc(right, func(r string) bool { return same(payload, r) }) {
						t.Errorf("%s was let in", payload)
					}
				case errors.Is(err, captcha.ErrUnknown), errors.Is(err, captcha.ErrWrong):
				default:
					t.Errorf("%s: %v", payload, err)
				}
			}
		})
	})
}

// same reports whether two payloads mean the same.
func same(a, b string) bool {
	var got [2]struct {
		Challenge struct {
			Parameters struct {
				Algorithm, KeyPrefix, KeySignature, Nonce, Salt string
				Cost, ExpiresAt, KeyLength                      float64
				Data                                            struct {
					Code, Key, Scope string
					Tries            float64
				}
			}
			Signature string
		}
		Solution struct{ DerivedKey string }
	}
	for i, payload := range []string{a, b} {
		text, err := base64.StdEncoding.DecodeString(payload)
		if err != nil || json.Unmarshal(text, &got[i]) != nil {
			return false
		}
		key := &got[i].Solution.DerivedKey
		*key = strings.ToLower(*key)
	}
	return got[0] == got[1]
}
