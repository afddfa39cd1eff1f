package session

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

// roundTrip checks that a value comes back as it was, and that what is stored
// is JSON that encoding/json reads as the same.
func roundTrip[T any](t *testing.T, v T) {
	t.Helper()
	raw, err := encode(v)
	if err != nil {
		t.Errorf("encode(%#v): %v", v, err)
		return
	}
	var want T
	if err := json.Unmarshal([]byte(raw), &want); err != nil {
		t.Errorf("encode(%#v) = %s, which is no JSON: %v", v, raw, err)
		return
	}
	got, err := decode[T](raw)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("decode(%s) = %#v, %v; encoding/json reads %#v", raw, got, err, want)
	}
	if _, isTime := any(v).(time.Time); !isTime && !reflect.DeepEqual(got, v) {
		t.Errorf("%#v came back as %#v", v, got)
	}
}

func TestValuesRoundTrip(t *testing.T) {
	for _, s := range []string{"", "alex", "汉字", `"`, `\`, "<script>&", "\x00\x1f\x7f", "\u2028", "😀", strings.Repeat("x", 1<<16)} {
		roundTrip(t, s)
	}
	for _, n := range []int{0, 1, -1, math.MaxInt, math.MinInt} {
		roundTrip(t, n)
		roundTrip(t, int64(n))
		roundTrip(t, uint64(n))
	}
	roundTrip(t, int8(-128))
	roundTrip(t, uint32(math.MaxUint32))
	roundTrip(t, 0.1)
	roundTrip(t, math.MaxFloat64)
	roundTrip(t, true)
	roundTrip(t, false)
	roundTrip(t, []byte(nil))
	roundTrip(t, []byte{})
	roundTrip(t, []byte{0, 255, 128})
	roundTrip(t, time.Time{})
	roundTrip(t, time.Date(2026, 11, 23, 1, 2, 3, 456789, time.FixedZone("", 3600)))
	roundTrip(t, map[string][]int{"a": {1}, "<": nil})
	roundTrip(t, struct{ A, B string }{"<", "汉"})
	roundTrip(t, (*int)(nil))
}

func TestNothingIsEscapedForHTML(t *testing.T) {
	if raw, err := encode(struct{ A string }{"<b>&"}); err != nil || raw != `{"A":"<b>&"}` {
		t.Errorf("%s, %v", raw, err)
	}
}

func TestUnencodable(t *testing.T) {
	if raw, err := encode("\xff"); err == nil {
		t.Errorf("invalid UTF-8 became %s", raw)
	}
	if raw, err := encode(math.NaN()); err == nil {
		t.Errorf("NaN became %s", raw)
	}
}

// FuzzDecode: whatever text a store gives, decode agrees with encoding/json on
// what it is, and never panics.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{``, `"`, `""`, `"a\"b"`, `007`, `+1`, `-0`, `-`, `1e3`, `99999999999999999999`, `null`, `tru`, `"AA=="`, `"2026-11-23T00:00:00Z"`, "\"\x00\"", ` 1`, `"` + "\xff" + `"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		same[string](t, raw)
		same[bool](t, raw)
		same[int](t, raw)
		same[int64](t, raw)
		same[uint64](t, raw)
		same[time.Time](t, raw)
		same[[]byte](t, raw)
		same[any](t, raw)
	})
}

func same[T any](t *testing.T, raw string) {
	t.Helper()
	var want T
	wantErr := json.Unmarshal([]byte(raw), &want)
	got, err := decode[T](raw)
	if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(got, want) {
		t.Errorf("decode[%T](%q) = %#v, %v; encoding/json: %#v, %v", want, raw, got, err, want, wantErr)
	}
}

// FuzzCookie: whatever the Cookie fields are, what is read is one well-formed
// value that stands there, and net/http reads no other for a lone field.
func FuzzCookie(f *testing.F) {
	value := strings.Repeat("aB-_9", 9)[:valueLen]
	for _, s := range []string{"", "__Host-session=" + value, "a=b; __Host-session=" + value + " ;", "__Host-session=" + value + "; __Host-session=x", "__Host-session=\"" + value + "\"", "__Host-session=a\x00b", "=;=;;", "__Host-session"} {
		f.Add(s, "")
		f.Add("x=y", s)
	}
	c, err := newCookie(Config{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		h := http.Header{"Cookie": {one, two}}
		got, err := readCookie(h, c.name)
		if err != nil && got != "" {
			t.Fatalf("both a value and %v", err)
		}
		if got == "" {
			return
		}
		if len(strings.TrimPrefix(got, "~")) != valueLen && len(got) != anonymousLen || strings.Trim(got[1:], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			t.Fatalf("%q is no value of ours", got)
		}
		if n := strings.Count(one+";"+two, c.name+"="+got); n == 0 && !strings.Contains(one+two, got) {
			t.Fatalf("%q does not stand in %q and %q", got, one, two)
		}
		r := http.Request{Header: h}
		seen := ""
		for _, std := range r.CookiesNamed(c.name) {
			if !wellFormed(std.Value) {
				continue // another program's
			}
			if seen != "" && seen != std.Value {
				t.Fatalf("net/http reads two values, %q and %q; we took %q", seen, std.Value, got)
			}
			seen = std.Value
		}
		if seen != "" && seen != got {
			t.Fatalf("net/http reads %q, we %q", seen, got)
		}
	})
}

func TestKeyNames(t *testing.T) {
	for _, name := range []string{"", strings.Repeat("x", 256), "a\nb", "\xff"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("NewKey(%q) does not panic", name)
				}
			}()
			NewKey[string](name)
		}()
	}
	if k := NewKey[string]("键"); k.String() != "键" {
		t.Errorf("the key's name is %q", k)
	}
}

func TestHandle(t *testing.T) {
	id := ID{0xab, 1, 2, 3, 4, 5, 6, 0xff, 9}
	h := id.Handle()
	if h.String() != "ab010203040506ff" {
		t.Errorf("handle %v", h)
	}
	b, err := json.Marshal(map[string]Handle{"h": h})
	if err != nil || string(b) != `{"h":"ab010203040506ff"}` {
		t.Errorf("JSON %s, %v", b, err)
	}
	var back struct{ H Handle }
	if err := json.Unmarshal(b, &back); err != nil || back.H != h {
		t.Errorf("back: %v, %v", back.H, err)
	}
	for _, s := range []string{"", "ab", "ab010203040506fg", "ab010203040506ff0"} {
		if _, err := ParseHandle(s); err == nil {
			t.Errorf("ParseHandle(%q) takes it", s)
		}
	}
}

// TestSecrets: different for each purpose and value, never the ID.
func TestSecrets(t *testing.T) {
	a, id := newValue()
	b, _ := newValue()
	seen := map[[32]byte]bool{[32]byte(id): true}
	for _, s := range [][32]byte{secretOf(a, "csrf"), secretOf(a, "csrf2"), secretOf(b, "csrf"), secretOf(a, ""), secretOf(a, strings.Repeat("x", 500))} {
		if seen[s] {
			t.Errorf("a secret occurs twice")
		}
		seen[s] = true
	}
	if idOf(a) != id {
		t.Errorf("idOf(%q) differs", a)
	}
	// Others may look sessions up: the ID is the SHA-256 of the cookie's value as
	// it is sent. This one is from sha256sum.
	const want = "66d34fba71f8f450f7e45598853e53bfc23bbd129027cbb131a2f4ffd7878cd0"
	if got := fmt.Sprintf("%x", idOf(strings.Repeat("a", valueLen))); got != want {
		t.Errorf("idOf: %s, want %s", got, want)
	}
}
