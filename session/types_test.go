package session_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

type (
	plainStruct struct {
		A int
		B []string `json:"b,omitempty"`
		C map[int]*plainStruct
	}
	hidden  struct{ A, b int } //nolint:unused // that is the point
	leftOut struct {
		A, b int `json:"-"` //nolint:unused // that is the point
	}
	hiddenBelow struct{ A []map[string]*hidden }
	locked      struct {
		sync.Mutex
		A int
	}
	embedsPlain   struct{ plainStruct }
	embedsPointer struct{ *plainStruct }
	alsoA         struct{ A string }
	sameName      struct {
		plainStruct
		alsoA
	}
	shadows struct {
		plainStruct
		A int
	}
	embedsTime struct {
		time.Time
		Note string
	}
	embedsTimeAlone struct{ time.Time }
	withError       struct{ Err error }
	withFunc        struct{ F func() }
	onlyOut         struct{ A int }
	ownForm         struct{ a int }
	pointerForm     struct{ a int }
	lenient         struct{ A int }
	node            struct {
		Next *node
		N    int
	}
	EmbedsItself struct {
		*EmbedsItself
		A int
	}
	badMapKey struct{ M map[[2]int]string }
)

func (onlyOut) MarshalJSON() ([]byte, error)        { return []byte("1"), nil }
func (o ownForm) MarshalText() ([]byte, error)      { return fmt.Append(nil, o.a), nil }
func (o *ownForm) UnmarshalText(b []byte) error     { _, err := fmt.Sscan(string(b), &o.a); return err }
func (o *pointerForm) MarshalText() ([]byte, error) { return fmt.Append(nil, o.a), nil }
func (o *pointerForm) UnmarshalText(b []byte) error { _, err := fmt.Sscan(string(b), &o.a); return err }

func (l *lenient) UnmarshalJSON(b []byte) error {
	type same lenient
	return json.Unmarshal(b, (*same)(l))
}

// made reports why NewKey refuses the type, "" if it does not.
func made[T any]() (why string) {
	defer func() {
		if v := recover(); v != nil {
			why = fmt.Sprint(v)
		}
	}()
	session.NewKey[T]("key")
	return ""
}

func TestKeyTypes(t *testing.T) {
	for name, why := range map[string]string{
		"string": made[string](), "struct": made[plainStruct](), "pointer": made[*plainStruct](), "time": made[time.Time](),
		"address": made[netip.Addr](), "raw": made[json.RawMessage](), "big": made[*big.Int](), "recursive": made[node](),
		"own form": made[ownForm](), "map of own form": made[map[ownForm]ownForm](), "left out": made[leftOut](),
		"embedded": made[embedsPlain](), "embedded time alone": made[embedsTimeAlone](), "only in": made[lenient](),
		"any": made[any](), "map of any": made[map[string]any](), "array": made[[3]bool](), "values": made[url.Values](),
		"embeds itself": made[EmbedsItself](), "embedded pointer": made[struct {
			*url.Userinfo `json:"-"`
		}](),
	} {
		if why != "" {
			t.Errorf("%s: %s", name, why)
		}
	}
	for name, c := range map[string]struct{ why, want string }{
		"unexported":         {made[hidden](), "unexported field b"},
		"unexported below":   {made[hiddenBelow](), "unexported field b"},
		"error":              {made[error](), "interface error"},
		"error in a field":   {made[withError](), "field Err"},
		"errors":             {made[[]error](), "interface error"},
		"function":           {made[withFunc](), "func()"},
		"channel":            {made[map[string]chan int](), "chan int"},
		"complex":            {made[complex128](), "complex128"},
		"mutex":              {made[locked](), "unexported"},
		"pointer to private": {made[embedsPointer](), "cannot fill"},
		"same name":          {made[sameName](), `"A"`},
		"shadowed":           {made[shadows](), `"A"`},
		"promoted":           {made[embedsTime](), "without its other fields"},
		"only out":           {made[onlyOut](), "UnmarshalJSON"},
		"pointer's form":     {made[pointerForm](), "*session_test.pointerForm"},
		"value of big":       {made[big.Int](), "*big.Int"},
		"map key":            {made[badMapKey](), "[2]int"},
		"location":           {made[time.Location](), "unexported"},
	} {
		if !strings.Contains(c.why, c.want) || !strings.Contains(c.why, `key "key"`) {
			t.Errorf("%s: %q, want %q in it", name, c.why, c.want)
		}
	}
}

func TestKeyOfAny(t *testing.T) {
	a := newApp(t, session.Config{})
	key := session.NewKey[map[string]any]("any")
	var next, got any
	a.handle("/any", func(s *session.Session, _ http.ResponseWriter, _ *http.Request) {
		key.Set(s, map[string]any{"v": next})
	})
	a.handle("/read", func(s *session.Session, _ http.ResponseWriter, _ *http.Request) {
		m, _ := key.Get(s)
		got = m["v"]
	})
	a.handle("/update", func(s *session.Session, _ http.ResponseWriter, r *http.Request) {
		err := key.Update(r.Context(), s, func(map[string]any) map[string]any { return map[string]any{"v": next} })
		if !errors.Is(err, session.ErrValue) {
			t.Errorf("Update to %#v: %v", next, err)
		}
	})
	for _, c := range []struct{ in, out any }{
		{nil, nil},
		{true, true},
		{"x", "x"},
		{1.5, 1.5},
		{1, 1.0},
		{int64(-1 << 53), float64(-1 << 53)},
		{uint64(1 << 60), float64(1 << 60)},
		{[]any{1, "a", nil}, []any{1.0, "a", nil}},
		{[]string{"a"}, []any{"a"}},
		{map[string]any{"k": []any{}}, map[string]any{"k": []any{}}},
		{map[string]int{"k": 1}, map[string]any{"k": 1.0}},
	} {
		next = c.in
		cookie := cookie(t, a.do("/any"))
		a.do("/read", cookie)
		if !reflect.DeepEqual(got, c.out) {
			t.Errorf("%#v comes back as %#v, want %#v", c.in, got, c.out)
		}
	}
	self := map[string]any{}
	self["self"] = self
	for _, in := range []any{
		int64(1<<53 + 1), uint64(1<<53 + 1), int64(1<<63 - 1), uint64(1<<64 - 1),
		[]any{[]any{-(1<<53 + 1)}},
		map[string]any{"k": int64(1<<53 + 1)},
		plainStruct{},
		&plainStruct{}, time.Now(), time.Second, json.Number("1"), []byte("x"),
		map[int]string{1: "x"},
		[2]int{},
		errors.New("x"),
		netip.Addr{},
		func() {}, self, json.RawMessage("1"),
		[]plainStruct{{}},
	} {
		next = in
		if r := a.do("/any"); r.StatusCode != http.StatusInternalServerError {
			t.Errorf("%T %.40v: status %d", in, fmt.Sprintf("%v", reflect.TypeOf(in)), r.StatusCode)
		}
		a.do("/update")
	}
	// A struct's own field of any is looked into as well, and its others not.
	deep := session.NewKey[struct {
		N    int64
		When time.Time
		Any  any
	}]("deep")
	a.handle("/deep", func(s *session.Session, _ http.ResponseWriter, r *http.Request) {
		v, _ := deep.Get(s)
		v.N, v.When, v.Any = 1<<53+1, time.Unix(1, 0), nil
		if r.FormValue("bad") != "" {
			v.Any = v.N
		}
		deep.Set(s, v)
	})
	if r := a.do("/deep"); r.StatusCode != http.StatusOK {
		t.Errorf("a large integer in a field of its own: status %d", r.StatusCode)
	}
	if r := a.do("/deep?bad=1"); r.StatusCode != http.StatusInternalServerError {
		t.Errorf("a large integer in a field of any: status %d", r.StatusCode)
	}
}
