package session

import (
	"context"
	"fmt"
	"reflect"
	"unicode"
	"unicode/utf8"
)

// maxName bounds the names of keys and labels, label values and owners, in
// bytes. It leaves a store room to index them.
const maxName = 255

// maxLabels bounds the labels of one session.
const maxLabels = 32

const zeroKey = "session: the zero Key is not usable: make one with NewKey"

// A Key is the typed name of a value in a session. Make it once, as a package
// variable. It may be used concurrently. Methods of the zero Key panic.
//
// Values are stored as JSON (RFC 8259), each key by itself, so that other
// programs can read them and a change of one type spoils one key. Get decodes
// afresh each time: what it returns is the caller's own.
//
// Only types that come back as they went in can be a T, and only such values can be
// set. Where T has an interface of type any in it, those are the values that JSON
// has itself: nil, bool, float64, string, []any and map[string]any. Integers that a
// float64 can hold, and slices and maps of such values, come back as those; all else
// is refused when it is set: float32, types with a name, what is nil and has a type.
//
// Where T has methods of encoding in it, or any, or may hold itself, each value is
// decoded and compared before it is stored, which costs two to four times what it
// costs to encode it; [time.Time], and what else has a method Equal, is compared by that.
// Tags are obeyed: a field of the tag json:"-" comes back as zero, and an empty slice
// or map that omitempty leaves out as nil.
type Key[T any] struct {
	name    string
	byValue bool // whether values come back as they are depends on them
}

// NewKey returns the key of this name. Two keys of one name are one value.
//
// NewKey panics unless the name is 1 to 255 bytes of valid UTF-8 without
// control characters, and for a T that encoding/json would not bring back whole:
// one with unexported fields, interfaces with methods, functions or channels in
// it, or with MarshalJSON or MarshalText and nothing to decode what they write.
func NewKey[T any](name string) Key[T] {
	if err := checkName(name); err != nil || name == "" {
		panic(fmt.Sprintf("session: key %q: 1 to %d bytes of UTF-8 without control characters", name, maxName))
	}
	byValue, err := checkType(reflect.TypeFor[T]())
	if err != nil {
		panic(fmt.Sprintf("session: key %q: values of %v would not come back as they went in: %v", name, reflect.TypeFor[T](), err))
	}
	return Key[T]{name, byValue}
}

// encode returns the value as JSON text, or [ErrValue].
func (k Key[T]) encode(v T) (raw string, err error) {
	raw, err = encode(v)
	if err == nil && k.byValue {
		err = comesBack(v, raw)
	}
	if err != nil {
		return "", fmt.Errorf("%w: key %q: %w", ErrValue, k.name, err)
	}
	return raw, nil
}

func checkName(s string) error {
	if len(s) > maxName || !utf8.ValidString(s) {
		return fmt.Errorf("%w: %.40q is not up to %d bytes of UTF-8", ErrValue, s, maxName)
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return fmt.Errorf("%w: %.40q holds a control character", ErrValue, s)
		}
	}
	return nil
}

// String returns the name.
func (k Key[T]) String() string { return k.name }

// Get returns the value, as this request has set it or as it was when the
// session was loaded, and whether there is one. A value that does not decode
// as a T, because the program that stored it meant another type, is absent; it
// is reported once to [Config.Observe] and stays in the store until set again.
func (k Key[T]) Get(s *Session) (T, bool) {
	raw := s.get(k.name)
	if raw == "" {
		var zero T
		return zero, false
	}
	v, err := decode[T](raw)
	if err != nil {
		s.unreadable(k.name, reflect.TypeFor[T]().String())
		return v, false
	}
	return v, true
}

// From returns the value in a listed session, and whether there is one. The
// listing must have asked for [Query.Fields].
func (k Key[T]) From(i Info) (T, bool) {
	for _, f := range i.Fields {
		if f.Key == k.name {
			v, err := decode[T](f.Value)
			return v, err == nil
		}
	}
	var zero T
	return zero, false
}

// Set stores the value when the session is next committed. If there is no
// session, one begins. A value that cannot be encoded makes that commit fail.
func (k Key[T]) Set(s *Session, v T) {
	raw, err := k.encode(v)
	s.set(k.name, raw, err)
}

// Delete removes the value when the session is next committed. It never begins
// a session.
func (k Key[T]) Delete(s *Session) { s.set(k.name, "", nil) }

// Take is Get and Delete: for a message that is to be shown once. Two requests
// at the same moment may both see it; where that matters use [Key.Consume].
func (k Key[T]) Take(s *Session) (T, bool) {
	v, ok := k.Get(s)
	if ok {
		k.Delete(s)
	}
	return v, ok
}

// Update replaces the value by f of it, in one atomic step across requests and
// machines, and commits it now, together with what this request has changed so
// far. f gets the zero value where there is none (or none that decodes), may be
// called several times, and must not have effects of its own. If there is no
// session, one begins.
//
// The errors are those of [Session.Commit], and ctx's own if it ends while other
// requests are always faster. After an error nothing of f is stored, now or
// later, unless the store's connection broke and nobody can know.
func (k Key[T]) Update(ctx context.Context, s *Session, f func(T) T) error {
	return s.swap(ctx, k.name, func(raw string) (string, error) {
		var v T
		if raw != "" {
			var err error
			if v, err = decode[T](raw); err != nil {
				s.unreadable(k.name, reflect.TypeFor[T]().String())
			}
		}
		return k.encode(f(v))
	})
}

// Consume takes the value out for good, in one atomic step across requests and
// machines, and commits that now, together with what this request has changed
// so far: of any number of requests exactly one gets it. It reports whether
// this one did. A value that does not decode is removed and absent.
//
// The errors are those of [Session.Commit]; with an error the value may or may
// not be gone, and must not be relied on.
func (k Key[T]) Consume(ctx context.Context, s *Session) (T, bool, error) {
	var taken string
	err := s.swap(ctx, k.name, func(raw string) (string, error) {
		taken = raw
		return "", nil
	})
	var zero T
	if err != nil || taken == "" {
		return zero, false, err
	}
	v, err := decode[T](taken)
	if err != nil {
		s.unreadable(k.name, reflect.TypeFor[T]().String())
		return zero, false, nil
	}
	return v, true, nil
}
