package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"
)

var errPrecision = errors.New("in an interface an integer comes back as a float64, which this one does not fit: give it a type")

// comesBack decodes what v has become, and returns an error unless that is v. It
// stands apart so that values of types that need no look stay off the heap.
func comesBack[T any](v T, raw string) error {
	back, err := decode[T](raw)
	if err != nil {
		return fmt.Errorf("it does not decode: %w", err)
	}
	var c comparison
	return c.same(reflect.ValueOf(&v).Elem(), reflect.ValueOf(&back).Elem())
}

// A comparison compares what was set with what comes back, like
// [reflect.DeepEqual] but for what JSON is known to change:
//   - types with a method Equal, such as [time.Time], are compared by it;
//   - a slice or map without elements is one that is nil, as it may be by omitempty;
//   - a json.RawMessage is compared without the space between its parts;
//   - inside of an interface numbers, slices and maps come back as float64, []any and
//     map[string]any.
type comparison struct {
	seen map[pair]bool // pointers that are being compared
}

type pair struct {
	t       reflect.Type
	v, back uintptr
}

// same returns an error, without the values, unless back is v.
func (c *comparison) same(v, back reflect.Value) error {
	t := v.Type()
	if ok, equal := byEqual(v, back); ok {
		if !equal {
			return fmt.Errorf("a %v would not come back as it is", t)
		}
		return nil
	}
	equal := true
	switch v.Kind() {
	case reflect.Bool:
		equal = v.Bool() == back.Bool()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		equal = v.Int() == back.Int()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		equal = v.Uint() == back.Uint()
	case reflect.Float32, reflect.Float64:
		equal = v.Float() == back.Float()
	case reflect.Complex64, reflect.Complex128:
		equal = v.Complex() == back.Complex()
	case reflect.String:
		equal = v.String() == back.String()
	case reflect.Interface:
		return c.sameDynamic(v, back)
	case reflect.Pointer:
		if equal = v.IsNil() == back.IsNil(); equal && !v.IsNil() {
			at := pair{t, v.Pointer(), back.Pointer()}
			if c.seen[at] {
				return nil // of a type with a format of its own: it has a cycle
			}
			if c.seen == nil {
				c.seen = make(map[pair]bool)
			}
			c.seen[at] = true
			return c.same(v.Elem(), back.Elem())
		}
	case reflect.Slice, reflect.Array:
		if t == rawMessage {
			equal = sameJSON(v.Bytes(), back.Bytes())
			break
		}
		if equal = v.Len() == back.Len(); equal {
			for i := range v.Len() {
				if err := c.same(v.Index(i), back.Index(i)); err != nil {
					return err
				}
			}
		}
	case reflect.Map:
		if equal = v.Len() == back.Len(); equal {
			for it := v.MapRange(); it.Next(); {
				other := back.MapIndex(it.Key())
				if !other.IsValid() {
					return fmt.Errorf("a key of %v would not come back as it is", t)
				}
				if err := c.same(it.Value(), other); err != nil {
					return err
				}
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := t.Field(i); f.Tag.Get("json") == "-" || f.Name == "_" {
				continue // left out on purpose
			}
			if err := c.same(v.Field(i), back.Field(i)); err != nil {
				return err
			}
		}
	default: // of a type with a format of its own
		equal = v.IsZero() && back.IsZero()
	}
	if !equal {
		return fmt.Errorf("a %v would not come back as it is", t)
	}
	return nil
}

// byEqual compares the two by a method Equal, if there is one and it can be called.
func byEqual(v, back reflect.Value) (ok, equal bool) {
	t := v.Type()
	switch {
	case !v.CanInterface() || t.Kind() == reflect.Interface || t.NumMethod() == 0,
		t.Kind() == reflect.Pointer && (v.IsNil() || back.IsNil()):
		return false, false
	case t == timeType: // which most are
		return true, v.Interface().(time.Time).Equal(back.Interface().(time.Time)) //nolint:forcetypeassert // of that type
	}
	m, ok := t.MethodByName("Equal")
	if !ok || m.Type.NumIn() != 2 || m.Type.In(1) != t || m.Type.NumOut() != 1 || m.Type.Out(0).Kind() != reflect.Bool || m.Type.IsVariadic() {
		return false, false
	}
	return true, m.Func.Call([]reflect.Value{v, back})[0].Bool()
}

func sameJSON(a, b []byte) bool {
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes())
}

// sameDynamic is same for what is inside of an interface. There, JSON knows only
// nil, bool, float64, string, []any and map[string]any. Slices and maps of such
// become those, and so do integers that a float64 can hold. What has a name of its
// own loses it, and what is nil its type.
func (c *comparison) sameDynamic(v, back reflect.Value) error {
	if v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if back.Kind() == reflect.Interface {
		back = back.Elem()
	}
	switch {
	case !v.IsValid() && !back.IsValid():
		return nil
	case !v.IsValid():
		return errors.New("nil in an interface comes back as something else")
	case !back.IsValid():
		return changed(v)
	case v.Type() == back.Type():
		return c.same(v, back)
	case v.Type().PkgPath() != "":
		return changed(v)
	}
	switch v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if back.Kind() != reflect.Float64 {
			return changed(v)
		}
		if n := back.Float(); n >= 1<<63 || int64(n) != v.Int() {
			return errPrecision
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		if back.Kind() != reflect.Float64 {
			return changed(v)
		}
		if n := back.Float(); n >= 1<<64 || uint64(n) != v.Uint() {
			return errPrecision
		}
	case reflect.Slice:
		if back.Kind() != reflect.Slice || v.Len() != back.Len() {
			return changed(v)
		}
		for i := range v.Len() {
			if err := c.sameDynamic(v.Index(i), back.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		if back.Kind() != reflect.Map || v.Type().Key() != reflect.TypeFor[string]() || v.Len() != back.Len() {
			return changed(v)
		}
		for it := v.MapRange(); it.Next(); {
			value := back.MapIndex(it.Key())
			if !value.IsValid() {
				return changed(v)
			}
			if err := c.sameDynamic(it.Value(), value); err != nil {
				return err
			}
		}
	default:
		return changed(v)
	}
	return nil
}

func changed(v reflect.Value) error {
	return fmt.Errorf("in an interface a %v comes back as something else: give it a type", v.Type())
}
