package csrf

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode"

	"github.com/seed-64ad3862/gatehouse/internal/logtext"
)

// isUpgrade reports whether a request that is safe otherwise asks for another
// protocol on its connection, as a WebSocket does (RFC 9110 section 7.8), or a
// CONNECT for one on its stream (RFC 8441, RFC 9220). Which protocol that is does
// not matter.
func isUpgrade(r *http.Request) bool {
	if r.Method == http.MethodConnect {
		// Package net/http has the protocol in the header, servers of HTTP/3 have
		// it where the version is otherwise.
		return len(r.Header[":protocol"]) > 0 || r.Proto != "" && !strings.HasPrefix(r.Proto, "HTTP/")
	}
	return isSafe(r.Method) && len(r.Header["Upgrade"]) > 0
}

// A sender is whose page made a request, as the browser says.
type sender int

const (
	unknown sender = iota // the browser says nothing, or there is none
	trusted               // one of Config.TrustedOrigins
	ours
)

// SameOrigin reports whether the browser says that a page of this site made the
// request: by Sec-Fetch-Site, or by an origin that is one of [Config.Origins].
func (p *Protection) SameOrigin(r *http.Request) bool {
	from, err := p.checkOrigin(r.Header, isUpgrade(r))
	return err == nil && from == ours
}

// checkOrigin is steps 2 and 3 of the decision: what the browser says about
// where the request comes from. Another site is an error.
func (p *Protection) checkOrigin(h http.Header, upgrade bool) (sender, error) {
	site, err := only(h, "Sec-Fetch-Site")
	if err != nil {
		return unknown, err
	}
	if site == "same-origin" {
		return ours, nil
	}
	origin, err := only(h, "Origin")
	if err != nil {
		return unknown, err
	}
	if site != "" && site != "none" {
		// Our own origin does not do here: the browser says it is not the
		// one that the request goes to.
		if p.lookup(origin) != trusted {
			return unknown, fmt.Errorf("%w: Sec-Fetch-Site is %q, and Origin %q is not trusted", ErrCrossOrigin, logtext.Cut(site, maxOrigin), logtext.Cut(origin, maxOrigin))
		}
		return trusted, nil
	}
	// An Origin that is there and empty counts as absent where a token is asked
	// for instead.
	if origin != "" || upgrade && len(h["Origin"]) > 0 {
		from := p.lookup(origin)
		if from == unknown {
			return unknown, fmt.Errorf("%w: Origin %q is none of Config.Origins", ErrCrossOrigin, logtext.Cut(origin, maxOrigin))
		}
		return from, nil
	}
	if upgrade { // browsers send an Origin, and no Referer
		return unknown, nil
	}
	referer, err := only(h, "Referer")
	if err != nil || referer == "" {
		return unknown, err
	}
	// Only its origin goes into the log: the rest belongs to another site.
	origin = originOf(referer)
	from := p.lookup(origin)
	if from == unknown {
		return unknown, fmt.Errorf("%w: no Origin, and Referer's %q is none of Config.Origins", ErrCrossOrigin, logtext.Cut(origin, maxOrigin))
	}
	return from, nil
}

// only returns the value of a header that browsers send at most once. Of two,
// one was added on the way, and nothing tells which.
func only(h http.Header, name string) (string, error) {
	switch v := h[name]; len(v) {
	case 0:
		return "", nil
	case 1:
		return v[0], nil
	default:
		return "", fmt.Errorf("%w: %d headers %s", ErrCrossOrigin, len(v), name)
	}
}

// lookup returns whose origin it is.
func (p *Protection) lookup(origin string) sender {
	if from := p.origins[origin]; from != unknown {
		return from
	}
	// Browsers write origins in one way. This is for everything else, which
	// may write upper case or the default port.
	o, err := parseOrigin(origin)
	if err != nil {
		return unknown
	}
	return p.origins[o]
}

// originOf returns the origin of a URL, or "" if it has none.
func originOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// parseOrigin returns the origin in the form that browsers send (RFC 6454
// section 6.2): lower case, without the default port. Anything more than scheme,
// host and port is an error, so that what looks like one origin and is another
// ("https://app.example@attacker.example") never compares as equal.
func parseOrigin(s string) (string, error) {
	// Before ToLower, which makes ASCII of the Kelvin sign.
	if strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII }) {
		return "", errors.New("not ASCII; browsers send a host's name in Punycode, xn--…")
	}
	s = strings.ToLower(s)
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || s != u.Scheme+"://"+u.Host {
		return "", errors.New("not an origin of the form https://host or https://host:port")
	}
	name, port := u.Hostname(), u.Port()
	allowed := "abcdefghijklmnopqrstuvwxyz0123456789-._"
	if u.Host[0] == '[' {
		allowed = "0123456789abcdef:."
	}
	if strings.Trim(name, allowed) != "" {
		return "", errors.New("not a host's name; there are no wildcards")
	}
	if port == "" && !strings.HasSuffix(u.Host, ":") {
		return s, nil
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port[0] == '0' {
		return "", errors.New("not a port")
	}
	if u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		s = strings.TrimSuffix(s, ":"+port)
	}
	return s, nil
}
