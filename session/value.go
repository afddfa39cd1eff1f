package session

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// errUTF8: such text is refused rather than repaired: encoding/json would put U+FFFD where
// the bytes were, and nobody would know.
var errUTF8 = errors.New("the string is not valid UTF-8; use a []byte key for bytes")

// errZone: RFC 3339 has minutes only, so that another instant would come back.
var errZone = errors.New("the time's zone is off by seconds, which JSON does not hold; use UTC")

// encode returns v as JSON text. The common types take a path without
// reflection; what they write is what encoding/json would read.
func encode[T any](v T) (string, error) {
	switch v := any(v).(type) {
	case string:
		if plain(v) {
			return `"` + v + `"`, nil
		}
		if !utf8.ValidString(v) {
			return "", errUTF8
		}
	case bool:
		return strconv.FormatBool(v), nil
	case int:
		return strconv.Itoa(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case uint64:
		return strconv.FormatUint(v, 10), nil
	case time.Time:
		if _, offset := v.Zone(); offset%60 != 0 {
			return "", errZone
		}
		b, err := v.MarshalJSON()
		return string(b), err
	case []byte:
		if v != nil {
			b := make([]byte, 0, base64.StdEncoding.EncodedLen(len(v))+2)
			b = append(b, '"')
			b = base64.StdEncoding.AppendEncode(b, v)
			return string(append(b, '"')), nil
		}
	}
	// Without the escapes for HTML, so that a person who reads the store
	// sees what was stored.
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	raw := strings.TrimSuffix(buf.String(), "\n")
	if repaired(raw) {
		return "", errUTF8
	}
	return raw, nil
}

// repaired reports whether JSON holds U+FFFD as an escape, which is how
// encoding/json writes what was not UTF-8; a character U+FFFD it writes as it
// is. Only a json.RawMessage or a MarshalJSON could have meant it.
func repaired(raw string) bool {
	for i := strings.IndexByte(raw, '\\'); i >= 0 && i+1 < len(raw); {
		if strings.HasPrefix(raw[i:], `\ufffd`) {
			return true
		}
		next := strings.IndexByte(raw[i+2:], '\\')
		if next < 0 {
			return false
		}
		i += 2 + next
	}
	return false
}

// decode reads what encode wrote, or any JSON that encoding/json takes for a T.
func decode[T any](raw string) (T, error) {
	var v T
	switch p := any(&v).(type) {
	case *string:
		if n := len(raw) - 2; n >= 0 && raw[0] == '"' && raw[n+1] == '"' && plain(raw[1:n+1]) {
			*p = raw[1 : n+1]
			return v, nil
		}
	case *bool:
		if raw == "true" || raw == "false" {
			*p = raw == "true"
			return v, nil
		}
	case *int:
		if n, ok := decodeInt(raw, strconv.IntSize); ok {
			*p = int(n)
			return v, nil
		}
	case *int64:
		if n, ok := decodeInt(raw, 64); ok {
			*p = n
			return v, nil
		}
	case *uint64:
		if n, err := strconv.ParseUint(raw, 10, 64); err == nil && strconv.FormatUint(n, 10) == raw {
			*p = n
			return v, nil
		}
	case *time.Time:
		if err := p.UnmarshalJSON([]byte(raw)); err == nil && raw != "null" {
			return v, nil
		}
	case *[]byte:
		if n := len(raw) - 2; n >= 0 && raw[0] == '"' && raw[n+1] == '"' && plain(raw[1:n+1]) {
			if b, err := base64.StdEncoding.DecodeString(raw[1 : n+1]); err == nil {
				*p = b
				return v, nil
			}
		}
	}
	return decodeAny[T](raw)
}

// decodeAny stands apart so that the value of the fast paths stays off the
// heap.
func decodeAny[T any](raw string) (T, error) {
	var v T
	if err := json.Unmarshal([]byte(raw), &v); err != nil {
		var zero T // not the half that was decoded before the error
		return zero, err
	}
	return v, nil
}

// decodeInt takes the numbers that FormatInt writes; ParseInt alone would also
// take +1 and 007, which are not JSON.
func decodeInt(raw string, bits int) (int64, bool) {
	n, err := strconv.ParseInt(raw, 10, bits)
	if err != nil || raw[0] == '+' || raw[0] == '0' && len(raw) > 1 || len(raw) > 2 && raw[:2] == "-0" {
		return 0, false
	}
	return n, true
}

// plain reports whether s stands in JSON as it is.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
