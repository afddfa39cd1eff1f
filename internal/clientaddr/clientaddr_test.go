package clientaddr

import (
	"net/http"
	"testing"
)

func TestOf(t *testing.T) {
	trusted, err := Parse([]string{"10.0.0.0/8", "127.0.0.1", "2001:db8::/32"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		remote    string
		forwarded []string
		want      string
	}{
		{"192.0.2.1:1234", nil, "192.0.2.1"},
		{"192.0.2.1:1234", []string{"198.51.100.1"}, "192.0.2.1"}, // anybody can say so
		{"10.0.0.1:1234", nil, "10.0.0.1"},
		{"10.0.0.1:1234", []string{"198.51.100.1"}, "198.51.100.1"},
		{"10.0.0.1:1234", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1"},
		{"10.0.0.1:1234", []string{"203.0.113.9, 198.51.100.1, 10.1.1.1"}, "198.51.100.1"},
		{"10.0.0.1:1234", []string{"203.0.113.9", "198.51.100.1", "10.1.1.1"}, "198.51.100.1"},
		{"10.0.0.1:1234", []string{"10.2.2.2, 10.1.1.1"}, "10.2.2.2"},
		{"10.0.0.1:1234", []string{"203.0.113.9, nonsense"}, "10.0.0.1"},
		{"10.0.0.1:1234", []string{"203.0.113.9, "}, "10.0.0.1"},
		{"10.0.0.1:1234", []string{"198.51.100.1:443"}, "198.51.100.1"},
		{"10.0.0.1:1234", []string{"[2001:db9::1]:443"}, "2001:db9::1"},
		{"10.0.0.1:1234", []string{"[2001:db9::1]"}, "2001:db9::1"},
		{"[::ffff:127.0.0.1]:1", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"[2001:db8::1]:1", []string{"fe80::1%eth0"}, "fe80::1"},
		{"nonsense", []string{"198.51.100.1"}, "invalid IP"},
	} {
		r := &http.Request{RemoteAddr: tt.remote, Header: http.Header{"X-Forwarded-For": tt.forwarded}}
		if got := trusted.Of(r).String(); got != tt.want {
			t.Errorf("%s, %q: %s, want %s", tt.remote, tt.forwarded, got, tt.want)
		}
	}
	for _, bad := range []string{"", "x", "10.0.0.0/33", "0.0.0.0/0", "::/0", "10.0.0.0/8 "} {
		if _, err := Parse([]string{bad}); err == nil {
			t.Errorf("%q is a network", bad)
		}
	}
}

// FuzzOf: who is not trusted is what the connection says, whatever the headers.
func FuzzOf(f *testing.F) {
	f.Add("192.0.2.1:1", "198.51.100.1", "10.0.0.1")
	f.Add("10.0.0.1:1", "[::1%x]:99999", ",")
	trusted, err := Parse([]string{"10.0.0.0/8"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, remote, one, two string) {
		bare := trusted.Of(&http.Request{RemoteAddr: remote})
		got := trusted.Of(&http.Request{RemoteAddr: remote, Header: http.Header{"X-Forwarded-For": {one, two}}})
		if !trusted.has(bare) && got != bare {
			t.Errorf("%s: %s by its own word", remote, got)
		}
		if got.Is4In6() || got.Zone() != "" {
			t.Errorf("%s is not plain", got)
		}
	})
}
