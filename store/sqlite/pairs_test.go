package sqlite

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/seed-64ad3862/gatehouse/session"
)

func TestParsePairs(t *testing.T) {
	type fields = []session.Field
	f := func(key, value string) session.Field { return session.Field{Key: key, Value: value} }
	for _, test := range []struct {
		text string
		want fields
		bad  bool
	}{
		{text: `{}`},
		{text: " { }\n"},
		{text: `{"a":"1"}`, want: fields{f("a", "1")}},
		{text: "\t{ \"a\" : \"1\" ,\r\n\"\" : \"\" } ", want: fields{f("a", "1"), f("", "")}},
		{text: `{"a":"\"\\\/\b\f\n\r\t"}`, want: fields{f("a", "\"\\/\b\f\n\r\t")}},
		{text: `{"\u00e9\u7528":"\ud83d\ude00 \u0000x"}`, want: fields{f("é用", "😀 \x00x")}},
		{text: `{"a":"\ud83d","b":"\ude00\ud83d\u0041","c":"\ud83dx"}`, want: fields{f("a", "\ufffd"), f("b", "\ufffd\ufffdA"), f("c", "\ufffdx")}},
		{text: "{\"a\":\"\xff\"}", want: fields{f("a", "\xff")}},
		{text: `{"a":"1","a":"2"}`, want: fields{f("a", "1"), f("a", "2")}},
		{text: ``, bad: true},
		{text: `null`, bad: true},
		{text: `[]`, bad: true},
		{text: `{`, bad: true},
		{text: `{}x`, bad: true},
		{text: `{"a"}`, bad: true},
		{text: `{"a":1}`, bad: true},
		{text: `{"a":"1",}`, bad: true},
		{text: `{,}`, bad: true},
		{text: `{"a":"1" "b":"2"}`, bad: true},
		{text: `{"a":"1"`, bad: true},
		{text: `{"a":"1`, bad: true},
		{text: `{"a":"\`, bad: true},
		{text: `{"a":"\x"}`, bad: true},
		{text: `{"a":"\u12"}`, bad: true},
		{text: `{"a":"\u+123"}`, bad: true},
		{text: "{\"a\":\"\n\"}", bad: true},
		{text: "{\"a\":\"\\n\n\"}", bad: true},
	} {
		got, err := parseData(test.text)
		if !slices.Equal(got, test.want) && !test.bad || (err != nil) != test.bad {
			t.Errorf("%s: %q, %v; want %q, bad: %v", test.text, got, err, test.want, test.bad)
		}
	}
}

// FuzzPairs: what is written is read back to the byte, and is what encoding/json
// reads.
func FuzzPairs(f *testing.F) {
	f.Add("name", `"Alex"`, "", "\x00\x1f\x7f\xff\\")
	f.Add("键", "\u2028</script>", "a", "\ud7ff😀")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		fields := []session.Field{{Key: k1, Value: v1}, {Key: k2, Value: v2}}
		text := appendData(nil, fields)
		got, err := parseData(string(text))
		if err != nil || !slices.Equal(got, fields) {
			t.Errorf("%q becomes %q, %v", fields, got, err)
		}
		if !utf8.Valid(text) || k1 == k2 {
			return
		}
		var m map[string]string
		if err := json.Unmarshal(text, &m); err != nil || len(m) != 2 || m[k1] != v1 || m[k2] != v2 {
			t.Errorf("%s is %q to encoding/json, %v", text, m, err)
		}
	})
}

// FuzzParsePairs: it accepts what encoding/json takes for an object of strings,
// and nothing else, and reads the same.
func FuzzParsePairs(f *testing.F) {
	for _, text := range []string{`{"a":"1"}`, `{"a":"\ud83d\ude00","b":"\u0041\n"}`, `{ }`, `{"a":null}`, `{"a":"1",}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		fields, err := parseData(text)
		if !utf8.ValidString(text) {
			return
		}
		var m map[string]*string
		jsonErr := json.Unmarshal([]byte(text), &m)
		for _, v := range m {
			if v == nil {
				return // null, which encoding/json lets pass
			}
		}
		if m == nil && jsonErr == nil {
			return // likewise
		}
		if (err == nil) != (jsonErr == nil) {
			t.Fatalf("%q: %v, and encoding/json: %v", text, err, jsonErr)
		}
		last := map[string]string{}
		for _, f := range fields {
			last[f.Key] = f.Value
		}
		for k, v := range last {
			if err == nil && (m[k] == nil || *m[k] != v || len(m) != len(last)) {
				t.Fatalf("%q: %q, and encoding/json: %v", text, fields, m)
			}
		}
	})
}

// FuzzDelta: whatever arrives at the socket is refused, or is a delta that a
// caller may give, and goes through a second time as it is.
func FuzzDelta(f *testing.F) {
	f.Add([]byte(`{"create":true,"seen":"2026-01-01T00:00:00.5Z","idle":"30m","expires":"2027-01-01T00:00:00+01:00","owner":""}`))
	f.Add([]byte(`{"rename":"` + strings.Repeat("ab", 32) + `","if":{"a":"1"},"set":{"b":"\"x\""},"delete":["c"],"labels":{"device":""}}`))
	f.Add([]byte(`{"restart":true}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := decodeDelta(b)
		if err != nil {
			return
		}
		if d.Create && (d.Seen.IsZero() || d.Idle <= 0 || d.Expires.IsZero()) {
			t.Fatalf("a creation without clocks: %+v", d)
		}
		keys := map[string]bool{}
		for _, f := range d.Set {
			if keys[f.Key] || f.Value == "" || slices.Contains(d.Delete, f.Key) {
				t.Fatalf("a key that is changed twice, or set to nothing: %+v", d)
			}
			keys[f.Key] = true
		}
		first, err := encodeDelta(d)
		if err != nil {
			t.Fatalf("%+v: %v", d, err)
		}
		again, err := decodeDelta(first)
		if err != nil {
			t.Fatalf("%s: %v", first, err)
		}
		second, err := encodeDelta(again)
		if err != nil || string(first) != string(second) {
			t.Fatalf("%s\nbecomes %s, %v", first, second, err)
		}
	})
}
