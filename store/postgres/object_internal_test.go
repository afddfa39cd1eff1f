package postgres

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/seed-64ad3862/gatehouse/session"
)

func TestReadObject(t *testing.T) {
	for _, test := range []struct {
		object string
		want   []session.Field // nil and an error, unless the object is {}
	}{
		{`{}`, nil},
		{`{"a": "b"}`, []session.Field{{Key: "a", Value: "b"}}},
		{`{"": ""}`, []session.Field{{}}},
		{`{"a": "\"b\\\"\n", "c\t": "用户"}`, []session.Field{{Key: "a", Value: "\"b\\\"\n"}, {Key: "c\t", Value: "用户"}}},
		{`{"a": "\u0001\/\b\f\r"}`, []session.Field{{Key: "a", Value: "\x01/\b\f\r"}}},
		{`{"a":"b","c":"d"}`, []session.Field{{Key: "a", Value: "b"}, {Key: "c", Value: "d"}}},
		{`{"a": 1.50, "b": [1, "x"], "c": null, "d": {}}`, []session.Field{
			{Key: "a", Value: "1.50"}, {Key: "b", Value: `[1, "x"]`}, {Key: "d", Value: "{}"},
		}},
		{``, nil},
		{`null x`, nil},
		{`{`, nil},
		{`}`, nil},
		{`{"a`, nil},
		{`{"a\`, nil},
		{`{"a": "b"`, nil},
		{`{"a": "b", `, nil},
		{`{"a": "b", }`, nil},
		{`{"a": "b"} `, []session.Field{{Key: "a", Value: "b"}}},
		{`{"a": "b"}}`, nil},
		{`["a"]`, nil},
	} {
		got, err := readObject([]byte(test.object))
		byKey(got)
		refused := test.want == nil && test.object != "{}"
		if !slices.Equal(got, test.want) || refused != (err != nil) || err != nil && !errors.Is(err, errObject) {
			t.Errorf("%s: %q, %v; want %q", test.object, got, err, test.want)
		}
	}
}

func byKey(fields []session.Field) {
	slices.SortFunc(fields, func(a, b session.Field) int { return cmp.Compare(a.Key, b.Key) })
}

// FuzzObject: fields come back as they went, as ours and as encoding/json's
// reading, and what is not ours is read as encoding/json reads it or refused.
func FuzzObject(f *testing.F) {
	f.Add("name", `"alex"`, "", "\x00\x1f\"\\/", `{"a": "\u00e9\ud83d\ude00", "b": 1}`)
	f.Add("a", "b", "a", "c", `{"a": "b", "a": "c"}`)
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2, object string) {
		fields := []session.Field{{Key: k1, Value: v1}}
		if k2 != k1 {
			fields = append(fields, session.Field{Key: k2, Value: v2})
		}
		if !slices.ContainsFunc(fields, func(f session.Field) bool { return !utf8.ValidString(f.Key) || !utf8.ValidString(f.Value) }) {
			ours := appendObject(nil, fields)
			compare(t, ours, fields)
			// PostgreSQL puts spaces between, and few escapes within.
			var spaced bytes.Buffer
			enc := json.NewEncoder(&spaced)
			enc.SetEscapeHTML(false)
			spaced.WriteByte('{')
			for i, f := range fields {
				if i > 0 {
					spaced.WriteString(", ")
				}
				_ = enc.Encode(f.Key)
				spaced.Truncate(spaced.Len() - 1)
				spaced.WriteString(": ")
				_ = enc.Encode(f.Value)
				spaced.Truncate(spaced.Len() - 1)
			}
			spaced.WriteByte('}')
			compare(t, spaced.Bytes(), fields)
		}

		got, err := readObject([]byte(object))
		var want map[string]json.RawMessage
		if wantErr := json.Unmarshal([]byte(object), &want); wantErr != nil && err == nil {
			// Raw control characters and bytes that are not UTF-8 never come
			// from PostgreSQL; we take them as they are.
			if !strings.ContainsFunc(object, func(r rune) bool { return r < ' ' }) {
				t.Fatalf("%q is read as %q; encoding/json says %v", object, got, wantErr)
			}
		}
	})
}

func compare(t *testing.T, object []byte, want []session.Field) {
	t.Helper()
	var theirs map[string]string
	if err := json.Unmarshal(object, &theirs); err != nil || len(theirs) != len(want) {
		t.Fatalf("encoding/json reads %q as %q, %v", object, theirs, err)
	}
	got, err := readObject(object)
	if err != nil || len(got) != len(want) {
		t.Fatalf("%q is read as %q, %v", object, got, err)
	}
	for _, f := range want {
		if theirs[f.Key] != f.Value || !slices.Contains(got, f) {
			t.Fatalf("%q is read as %q, by encoding/json as %q; want %q", object, got, theirs, want)
		}
	}
}
