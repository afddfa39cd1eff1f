// Package clientaddr tells where a request comes from, behind proxies or not.
package clientaddr

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Trusted are the networks of one's own proxies. What others say about where they
// come from is not believed: anybody can send any header (CVE-2026-40575 of
// oauth2-proxy is what happens otherwise).
type Trusted []netip.Prefix

// Parse reads networks such as 10.0.0.0/8, and single addresses.
func Parse(texts []string) (t Trusted, err error) {
	for _, s := range texts {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			var a netip.Addr
			if a, err = netip.ParseAddr(s); err == nil {
				a = a.Unmap()
				p = netip.PrefixFrom(a, a.BitLen())
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%q is no network like 10.0.0.0/8, and no address", s)
		}
		if p.Bits() == 0 {
			return nil, fmt.Errorf("%q is everybody: then anybody could claim any address", s)
		}
		t = append(t, p.Masked())
	}
	return t, nil
}

func (t Trusted) has(a netip.Addr) bool {
	for _, p := range t {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// Of returns the address of the client: that of the connection, or, if that is a
// proxy of ours, the last one in X-Forwarded-For that is not. What stands before
// that, the client may have written itself. A field that cannot be read ends the
// search: the answer is then the proxy that passed it on.
func (t Trusted) Of(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	a := plain(ap.Addr())
	if !t.has(a) {
		return a
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		hop, err := parse(strings.TrimSpace(hop))
		if err != nil {
			return a
		}
		a = hop
		if !t.has(a) {
			return a
		}
	}
	return a
}

func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// parse reads an address, which some proxies send with a port.
func parse(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		ap, portErr := netip.ParseAddrPort(s)
		if portErr != nil {
			return netip.Addr{}, err
		}
		a = ap.Addr()
	}
	return plain(a), nil
}
