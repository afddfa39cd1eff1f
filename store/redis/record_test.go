package redis

import (
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// TestKeys: no two names make one key, and what a key names is read back.
func TestKeys(t *testing.T) {
	for _, prefix := range []string{"gatehouse:", "", "s:", "a*[b]?\\"} {
		k := keys{prefix}
		h := session.Handle{0xab, 7: 1}
		key := k.session(h)
		if want := prefix + "s:ab00000000000001"; key != want {
			t.Errorf("%q, want %q", key, want)
		}
		if got, ok := k.handle(key); !ok || got != h {
			t.Errorf("%q is read as %v, %v", key, got, ok)
		}
		for _, other := range []string{"", "s:", prefix + "o:ab00000000000001", key + "0", prefix + "s:AB00000000000001", "x" + key, k.owner("s:ab00000000000001")} {
			if _, ok := k.handle(other); ok {
				t.Errorf("%q is taken for a session's key", other)
			}
		}
		seen := map[string]session.Label{}
		for _, l := range []session.Label{{Name: "a", Value: "b=c"}, {Name: "a=b", Value: "c"}, {Name: "a%3Db", Value: "c"}, {Name: "a b", Value: "c"}, {Name: "a+b", Value: "c"}, {Name: "", Value: "a=b"}} {
			key := k.label(l)
			if was, ok := seen[key]; ok {
				t.Errorf("%q and %q have one key", was, l)
			}
			seen[key] = l
		}
	}
}

// FuzzDecode: whatever is in a hash, it is read as the session that says so in
// its head or not at all, and nothing is made up.
func FuzzDecode(f *testing.F) {
	id := hexID(session.ID{1, 2, 31: 3})
	f.Add(id+" 1764000000000 1764000000001 1800000 1764086400000 0", "v:name", `"x"`)
	f.Add(id+" 1 2 3 4 5", "owner", "alice")
	f.Add(id+" -1 -2 0 -4 0", "l:device", "phone")
	f.Add(id+" 1 2 9223372036854 4 5", "l:", "")
	f.Add("", "pending", id)
	f.Fuzz(func(t *testing.T, head, field, value string) {
		hash := map[string]string{field: value}
		if field != headField {
			hash[headField] = head
		}
		r, ok := decode(hash)
		if !ok {
			r, ok = decodePending(hash, time.Now())
		}
		if !ok {
			return
		}
		if r.Idle < 0 || len(r.Fields)+len(r.Labels) > 1 {
			t.Errorf("%q is read as %+v", hash, r)
		}
		for _, f := range r.Fields {
			if valuePrefix+f.Key != field || f.Value != value {
				t.Errorf("%q is read as %+v", hash, r)
			}
		}
		for _, l := range r.Labels {
			if labelPrefix+l.Name != field || l.Value != value {
				t.Errorf("%q is read as %+v", hash, r)
			}
		}
		if again, ok := parseID(hexID(r.ID)); !ok || again != r.ID {
			t.Errorf("%x is not read back", r.ID)
		}
	})
}
