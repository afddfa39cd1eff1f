package postgres

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/seed-64ad3862/gatehouse/session"
)

// appendObject appends the fields as a JSON object of strings.
func appendObject(b []byte, fields []session.Field) []byte {
	b = append(b, '{')
	for i, f := range fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, f.Key)
		b = append(b, ':')
		b = appendString(b, f.Value)
	}
	return append(b, '}')
}

// appendString appends s, which is UTF-8, as a JSON string.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' {
			b = append(b, s[from:i]...)
			if from = i + 1; c < ' ' {
				b = fmt.Appendf(b, `\u%04x`, c)
			} else {
				b = append(b, '\\', c)
			}
		}
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

// readObject reads what PostgreSQL makes of such an object. A value that is no
// string is taken as JSON, and null as nothing, as the operator ->> takes them:
// somebody else has put them there. The order is PostgreSQL's.
func readObject(object []byte) ([]session.Field, error) {
	if string(object) == "{}" {
		return nil, nil
	}
	// All keys and values are parts of one string: they are no longer than their
	// JSON, so that it never has to move.
	r := objectReader{rest: object}
	r.text.Grow(len(object))
	fields := make([]session.Field, 0, bytes.Count(object, []byte(`": "`)))
	for before := "{"; r.skip(before); before = ", " {
		key, ok := r.string()
		if !ok || !r.skip(": ") {
			return readAnyObject(object)
		}
		value, ok := r.string()
		if !ok {
			return readAnyObject(object)
		}
		fields = append(fields, session.Field{Key: key, Value: value})
	}
	if len(fields) == 0 || string(r.rest) != "}" {
		return readAnyObject(object)
	}
	return fields, nil
}

type objectReader struct {
	rest []byte
	text strings.Builder
}

func (r *objectReader) skip(s string) bool {
	if len(r.rest) < len(s) || string(r.rest[:len(s)]) != s {
		return false
	}
	r.rest = r.rest[len(s):]
	return true
}

// string reads a string with the usual escapes.
func (r *objectReader) string() (string, bool) {
	if !r.skip(`"`) {
		return "", false
	}
	start := r.text.Len()
	for i := 0; i < len(r.rest); i++ {
		switch c := r.rest[i]; {
		case c == '"':
			r.text.Write(r.rest[:i])
			r.rest = r.rest[i+1:]
			return r.text.String()[start:], true
		case c == '\\' && i+1 < len(r.rest):
			at := strings.IndexByte(escaped, r.rest[i+1])
			if at < 0 {
				return "", false
			}
			r.text.Write(r.rest[:i])
			r.text.WriteByte(meant[at])
			r.rest, i = r.rest[i+2:], -1
		}
	}
	return "", false
}

const escaped, meant = `"\/bfnrt`, "\"\\/\b\f\n\r\t"

// errObject does not say what it is about: a decoder's error would.
var errObject = errors.New("a column is not a JSON object")

// readAnyObject reads any object.
func readAnyObject(object []byte) ([]session.Field, error) {
	var members map[string]json.RawMessage
	if json.Unmarshal(object, &members) != nil {
		return nil, errObject
	}
	fields := make([]session.Field, 0, len(members))
	for key, raw := range members {
		value := string(raw)
		if value == "null" {
			continue
		}
		if raw[0] == '"' && json.Unmarshal(raw, &value) != nil {
			return nil, errObject
		}
		fields = append(fields, session.Field{Key: key, Value: value})
	}
	return fields, nil
}
