package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Types of all the kinds that encoding/json may change.
type (
	outDay  int    // a map's key that is only encoded
	inDay   int    // one that is only decoded
	bothDay int    // both
	prefix  string // a string key, which is written raw and read by UnmarshalText
	lower   string // another, which changes what it reads
	tags    []string
	attrs   map[string]int
	onlyIn  struct{ A int }
	onlyTxt struct{ A int }
	takesNo struct{ A int } // decodes to nothing
	drops   struct{ A, b int }
	asNull  struct{ A int }
	keeps   struct { // a format of its own, with a time
		At   time.Time
		note string
	}
	loose struct{ a, cached int } // equal by its own word
	ring  struct {
		next *ring
		N    int
	}
	deep     []deep
	list     struct{ Next *list }
	never    struct{ A int }
	withZero struct {
		A never `json:",omitzero"`
	}
	Inner    struct{ B int }
	InnerOut struct {
		B int `json:",omitempty"`
	}
	embedsPtr    struct{ *Inner }
	embedsPtrOut struct{ *InnerOut }
	basic        struct {
		A int
		B string
		C []float64
		D map[string]bool
		E *uint8
		F struct{ G [2]int32 }
	}
	withTime struct {
		A int
		T time.Time
	}
	both interface {
		json.Marshaler
		json.Unmarshaler
	}
	oneInterface struct {
		both `json:"-"`
	}
	onePointer  struct{ *time.Time }
	inInterface struct {
		A                int
		json.Unmarshaler `json:"-"`
	}
	badTag struct {
		A int `json:"x\"y"` //nolint:staticcheck // that is the point
		B int `json:"A"`
	}
)

func (d outDay) MarshalText() ([]byte, error)  { return []byte("d" + strconv.Itoa(int(d))), nil }
func (d bothDay) MarshalText() ([]byte, error) { return []byte("d" + strconv.Itoa(int(d))), nil }
func (d *bothDay) UnmarshalText(b []byte) error {
	_, err := fmt.Sscanf(string(b), "d%d", d)
	return err
}
func (d *inDay) UnmarshalText(b []byte) error { *d = inDay(len(b)); return nil }
func (p prefix) MarshalText() ([]byte, error) { return []byte("p:" + p), nil }
func (p *prefix) UnmarshalText(b []byte) error {
	s, ok := strings.CutPrefix(string(b), "p:")
	if *p = prefix(s); !ok {
		return errors.New("no prefix")
	}
	return nil
}
func (l lower) MarshalText() ([]byte, error)  { return []byte(l), nil }
func (l *lower) UnmarshalText(b []byte) error { *l = lower(strings.ToLower(string(b))); return nil }
func (t tags) MarshalJSON() ([]byte, error)   { return json.Marshal(strings.Join(t, ",")) }
func (t *tags) UnmarshalJSON(b []byte) error  { return json.Unmarshal(b, (*[]string)(t)) }
func (o *onlyIn) UnmarshalJSON([]byte) error  { return errors.New("never") }
func (o *onlyTxt) UnmarshalText([]byte) error { return nil }
func (takesNo) MarshalJSON() ([]byte, error)  { return []byte("1"), nil }
func (*takesNo) UnmarshalJSON([]byte) error   { return nil }
func (d drops) MarshalJSON() ([]byte, error)  { return json.Marshal(d.A) }
func (d *drops) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &d.A) }
func (asNull) MarshalJSON() ([]byte, error)   { return []byte("null"), nil }
func (a *asNull) UnmarshalJSON([]byte) error  { return nil }
func (k keeps) MarshalJSON() ([]byte, error)  { return json.Marshal([]any{k.At, k.note}) }
func (k *keeps) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &[]any{&k.At, &k.note}) }
func (l loose) MarshalText() ([]byte, error)  { return []byte(strconv.Itoa(l.a)), nil }
func (l *loose) UnmarshalText(b []byte) error { l.a, _ = strconv.Atoi(string(b)); return nil }
func (l loose) Equal(other loose) bool        { return l.a == other.a }
func (r ring) MarshalJSON() ([]byte, error)   { return json.Marshal(r.N) }
func (r *ring) UnmarshalJSON(b []byte) error  { r.next = r; return json.Unmarshal(b, &r.N) }
func (never) IsZero() bool                    { return true }
func newRing(n int) *ring                     { r := &ring{N: n}; r.next = r; return r }
func nested(depth int) (d deep) {
	for range depth {
		d = deep{d}
	}
	return d
}

func chain(length int) (l *list) {
	for range length {
		l = &list{l}
	}
	return l
}

func nestedAny(depth int) (v any) {
	for range depth {
		v = []any{v}
	}
	return v
}

// kept reports what becomes of a value: it is refused by NewKey or when it is set,
// or comes back, and then as it was.
func kept[T any](v T) (what string, back T) {
	defer func() {
		if problem := recover(); problem != nil {
			what = fmt.Sprint("NewKey: ", problem)
		}
	}()
	k := NewKey[T]("key")
	raw, err := k.encode(v)
	if err != nil {
		if !errors.Is(err, ErrValue) {
			return "another error: " + err.Error(), back
		}
		return "Set: " + err.Error(), back
	}
	back, err = decode[T](raw)
	if err != nil {
		return "lost: " + err.Error(), back
	}
	return "kept", back
}

func whether[T any](v T) string { what, _ := kept(v); return what }

func asItIs[T any](v T) string {
	what, back := kept(v)
	if what == "kept" && !reflect.DeepEqual(v, back) {
		return fmt.Sprintf("comes back as %#v", back)
	}
	return what
}

// TestNothingChanges: values come back as they were, or are refused.
func TestNothingChanges(t *testing.T) {
	east := time.FixedZone("", 3600)
	for name, what := range map[string]string{
		"plain": asItIs(basic{1, "x", []float64{0.1}, map[string]bool{"a": true}, new(uint8(1)), struct{ G [2]int32 }{[2]int32{1, 2}}}),
		"zero":  asItIs(basic{}),
		"empty": asItIs(basic{C: []float64{}, D: map[string]bool{}}),
		"key":   asItIs(map[bothDay]int{3: 1, 4: 2}), "string key that is lower": asItIs(map[lower]int{"a": 1}),
		"address key": asItIs(map[netip.Addr]int{netip.MustParseAddr("::1"): 1}), "address": asItIs(netip.MustParsePrefix("10.0.0.0/8")),
		"network address": asItIs(net.ParseIP("192.0.2.1")), "big": asItIs(big.NewInt(1 << 62)), "no big": asItIs((*big.Int)(nil)), "zero big": asItIs(big.NewInt(0)),
		"values": asItIs(url.Values{"a": {"b"}}), "header": asItIs(http.Header{"A": {"b"}}),
		"number": asItIs(json.Number("12345678901234567890.10")), "raw": asItIs(json.RawMessage(`{"a":1}`)), "raw null": asItIs(json.RawMessage("null")),
		"pointers": asItIs([]*int{nil, new(1)}), "pointer to a pointer": asItIs(new(new(1))), "nil pointer to a pointer": asItIs((**int)(nil)),
		"pointer to a slice": asItIs(&[]int{1}), "pointer to an empty slice": asItIs(&[]int{}),
		"any":    asItIs(map[string]any{"a": nil, "b": true, "c": 1.5, "d": "x", "e": []any{1e300, map[string]any{}}, "f": []any{}}),
		"in any": asItIs(struct{ A any }{[]any{"x"}}), "pointer to any": asItIs(new(any("x"))), "nil any": asItIs(any(nil)),
		"deep": asItIs(nested(9_000)), "chain": asItIs(chain(3_000)), "deep any": asItIs(nestedAny(9_000)),
		"embedded pointer": asItIs(embedsPtr{&Inner{1}}), "embedded nil": asItIs(embedsPtr{}), "embedded pointer to something": asItIs(embedsPtrOut{&InnerOut{1}}),
		"zero that says so": asItIs(withZero{}), "tag that is none": whether(badTag{}), "null": asItIs(asNull{}), "ring": asItIs(newRing(5)),
		"UTC": asItIs(time.Unix(1, 0).UTC()), "two fields": asItIs(drops{A: 1}), "own zero": asItIs(takesNo{}),
		// As they were by their own word, or by what JSON does not tell.
		"time with a clock": whether(withTime{1, time.Now()}), "zone": whether(withTime{T: time.Unix(0, 1).In(east)}), "time alone": whether(time.Now()),
		"time in a format of its own": whether(keeps{At: time.Now(), note: "x"}), "times": whether([]time.Time{time.Now()}), "loose": whether(loose{1, 2}),
		"short address": whether(net.ParseIP("192.0.2.1").To4()), "space": whether(json.RawMessage(`{ "a" : 1 }`)), "cookie": whether(http.Cookie{Expires: time.Now()}),
		"integers": whether([]any{1, int8(-1), uint64(1 << 60), -1 << 63}), "slices": whether(any([]string{"x"})), "maps": whether(any(map[string][]int{"a": {1}})),
		"left out": whether(struct {
			A int `json:"-"`
			B any
		}{A: 1}),
		"omitted": whether(struct {
			A []int `json:",omitempty"`
			B any
		}{A: []int{}}),
	} {
		if what != "kept" && name != "tag that is none" {
			t.Errorf("%s: %.200s", name, what)
		}
	}
	for name, c := range map[string]struct{ what, want string }{
		"key that is only encoded": {whether(map[outDay]int{1: 2}), "NewKey: "}, "key that is only decoded": {whether(map[inDay]int{1: 2}), "NewKey: "},
		"string key": {whether(map[prefix]int{"a": 1}), "Set: "}, "string key in a struct": {whether(struct{ M map[prefix]int }{map[prefix]int{"a": 1}}), "Set: "},
		"string key that changes": {whether(map[lower]int{"A": 1}), "Set: "}, "string keys that become one": {whether(map[lower]int{"A": 1, "a": 1}), "Set: "},
		"JSON only in": {whether(onlyIn{1}), "Set: "}, "text only in": {whether(onlyTxt{1}), "Set: "}, "only in, below": {whether([]map[string]*onlyTxt{{"a": {1}}}), "Set: "},
		"decodes to nothing": {whether(takesNo{1}), "Set: "}, "drops": {whether(drops{1, 2}), "Set: "}, "pointer to null": {whether(&asNull{}), "Set: "},
		"float32": {whether(any(float32(0.1))), "Set: "}, "float32s": {whether(map[string]any{"a": []float32{0.5}}), "Set: "},
		"tags": {whether(any(tags{"a"})), "Set: "}, "named map": {whether(any(attrs{"a": 1})), "Set: "}, "header": {whether(map[string]any{"a": http.Header{}}), "Set: "},
		"nil map": {whether(any(map[string]any(nil))), "Set: "}, "nil slice": {whether(map[string]any{"a": []string(nil)}), "Set: "}, "nil pointer": {whether(any((*int)(nil))), "Set: "},
		"nil any below": {whether([]any{[]any(nil)}), "Set: "}, "precision": {whether(any(uint64(1<<53 + 1))), "fit"}, "most": {whether(any(uint64(1<<64 - 1))), "fit"}, "most signed": {whether(any(int64(1<<63 - 1))), "fit"},
		"bytes": {whether(any([]byte("x"))), "Set: "}, "array": {whether(any([1]int{1})), "Set: "}, "struct": {whether(any(basic{})), "Set: "}, "time in any": {whether(any(time.Now())), "Set: "},
		"number in any": {whether(any(json.Number("1"))), "Set: "}, "raw in any": {whether(any(json.RawMessage("1"))), "Set: "}, "key in any": {whether(any(map[int]int{1: 1})), "Set: "},
		"no number": {whether(json.Number("")), "Set: "}, "no number below": {whether(struct{ N json.Number }{}), "Set: "}, "no raw": {whether(json.RawMessage(nil)), "Set: "}, "no raw below": {whether([]json.RawMessage{nil}), "Set: "},
		"too deep": {whether(nested(10_050)), "Set: "}, "too long": {whether(chain(10_050)), "Set: "}, "too deep in any": {whether(nestedAny(10_050)), "Set: "},
		"pointer to nil": {whether(new((*int)(nil))), "Set: "}, "pointer to a nil slice": {whether(new([]int(nil))), "Set: "}, "pointer to a nil map": {whether([]*map[string]int{new(map[string]int)}), "Set: "}, "pointer to no any": {whether(new(any(nil))), "Set: "},
		"embedded pointer to nothing": {whether(embedsPtrOut{&InnerOut{}}), "Set: "}, "zero that is none": {whether(withZero{never{1}}), "Set: "}, "nil with a format": {whether(tags(nil)), "Set: "},
		"seconds": {whether(time.Date(1890, 1, 1, 0, 0, 0, 0, time.FixedZone("LMT", 19*60+32))), "Set: "}, "seconds below": {whether(withTime{T: time.Date(1890, 1, 1, 0, 0, 0, 0, time.FixedZone("LMT", -1))}), "Set: "},
		"interface embedded": {whether(inInterface{}), "NewKey: "}, "interface alone": {whether(oneInterface{}), "NewKey: "}, "pointer alone": {whether(onePointer{}), "NewKey: "},
		"tag that is none": {whether(badTag{1, 2}), "NewKey: "},
	} {
		if !strings.Contains(c.what, c.want) || c.what == "kept" {
			t.Errorf("%s: %.200s, want %s", name, c.what, c.want)
		}
	}
}

// TestPlainIsNotCompared: what cannot change is not looked at, and so costs no more
// than to encode it.
func TestPlainIsNotCompared(t *testing.T) {
	for name, byValue := range map[string]bool{
		"text": NewKey[string]("k").byValue, "time": NewKey[time.Time]("k").byValue, "bytes": NewKey[[]byte]("k").byValue, "struct": NewKey[basic]("k").byValue,
		"pointer": NewKey[*basic]("k").byValue, "slice": NewKey[[]basic]("k").byValue, "map": NewKey[map[int]basic]("k").byValue, "named": NewKey[time.Duration]("k").byValue,
		"values": NewKey[url.Values]("k").byValue, "twice": NewKey[struct{ A, B basic }]("k").byValue, "embedded": NewKey[struct{ Inner }]("k").byValue,
	} {
		if byValue {
			t.Errorf("%s is compared", name)
		}
	}
	k, v := NewKey[basic]("k"), basic{A: 1, B: "x"}
	alone := testing.AllocsPerRun(100, func() { _, _ = encode(v) })
	if n := testing.AllocsPerRun(100, func() { _, _ = k.encode(v) }); n > alone {
		t.Errorf("%v allocations for a struct, %v to encode it", n, alone)
	}
	text, at := NewKey[int]("k"), NewKey[time.Time]("k")
	now := time.Now()
	if n := testing.AllocsPerRun(100, func() { _, _ = text.encode(7) }); n > 0 {
		t.Errorf("%v allocations for a number", n)
	}
	alone = testing.AllocsPerRun(100, func() { _, _ = encode(now) })
	if n := testing.AllocsPerRun(100, func() { _, _ = at.encode(now) }); n > alone {
		t.Errorf("%v allocations for a time, %v to encode it", n, alone)
	}
}

func BenchmarkSet(b *testing.B) {
	plain, timed, open := NewKey[basic]("k"), NewKey[withTime]("k"), NewKey[map[string]any]("k")
	values := map[string]any{"a": 1.5, "b": "text", "c": []any{"x", true}}
	for name, f := range map[string]func() (string, error){
		"struct":        func() (string, error) { return plain.encode(basic{A: 1, B: "x"}) },
		"with a time":   func() (string, error) { return timed.encode(withTime{T: time.Unix(1, 0)}) },
		"any":           func() (string, error) { return open.encode(values) },
		"any, unlooked": func() (string, error) { return encode(values) },
		"time unlooked": func() (string, error) { return encode(withTime{T: time.Unix(1, 0)}) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
