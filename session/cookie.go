package session

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// valueLen is the length of a cookie's value: 256 random bits in base64url
	// without padding.
	valueLen = 43
	// hostPrefix makes browsers refuse the cookie unless it comes over https,
	// from this very host, for all its paths (RFC 6265bis section 4.1.3.2).
	hostPrefix = "__Host-"
)

var (
	errDuplicate = errors.New("session: the request carries the cookie more than once")
	errMalformed = errors.New("session: the cookie's value is none of ours")
)

// cookie knows how the cookie is read and written.
type cookie struct {
	name       string
	attributes string // from "; Path" on
	persistent bool
	embedded   bool     // in other sites: SameSite=None
	former     []string // names that are read if there is no cookie of name
}

func newCookie(cfg Config) (cookie, error) {
	c := cookie{name: cfg.Name, attributes: "; Path=/", persistent: cfg.Persistent}
	if c.name == "" {
		c.name = "session"
	}
	if err := checkCookieName(c.name); err != nil {
		return c, fmt.Errorf("session: Config.Name %q: %w", cfg.Name, err)
	}
	for _, p := range []string{hostPrefix, "__Secure-", "__Http-", "__Host-Http-"} {
		if len(c.name) >= len(p) && strings.EqualFold(c.name[:len(p)], p) {
			return c, fmt.Errorf("session: Config.Name %q: the prefix is added unless Config.Insecure is set", cfg.Name)
		}
	}
	if !cfg.Insecure {
		c.name = hostPrefix + c.name
		c.attributes += "; Secure"
	}
	c.attributes += "; HttpOnly"
	switch cfg.SameSite {
	case 0, http.SameSiteLaxMode:
		c.attributes += "; SameSite=Lax"
	case http.SameSiteStrictMode:
		c.attributes += "; SameSite=Strict"
	case http.SameSiteNoneMode:
		if cfg.Insecure {
			return c, errors.New("session: Config.SameSite None needs https: browsers drop such a cookie without Secure")
		}
		c.attributes += "; SameSite=None"
		c.embedded = true
	default:
		return c, fmt.Errorf("session: Config.SameSite %d is not Lax, Strict or None", cfg.SameSite)
	}
	if cfg.Partitioned {
		if cfg.Insecure {
			return c, errors.New("session: Config.Partitioned needs https: browsers drop such a cookie without Secure")
		}
		c.attributes += "; Partitioned"
	}
	for _, name := range cfg.FormerNames {
		if err := checkCookieName(name); err != nil || name == "" {
			return c, fmt.Errorf("session: Config.FormerNames: %q: %w", name, cmp.Or(err, errors.New("a cookie has a name")))
		}
		if name == c.name {
			return c, fmt.Errorf("session: Config.FormerNames: %q is the cookie's present name", name)
		}
	}
	c.former = cfg.FormerNames
	return c, nil
}

// checkCookieName asks for a token of RFC 9110 section 5.6.2.
func checkCookieName(name string) error {
	for _, r := range name {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r) {
			return fmt.Errorf("%q cannot stand in a cookie's name", r)
		}
	}
	return nil
}

// readCookie returns the value of the cookie of this name, without allocating, or
// "" and why there is none that can be used. Values that are not of our form are
// another program's, of this host or of a path: they do not count if one of ours is
// there too. Of two of ours nothing tells which of them an attacker has planted.
//
// It does not go through [http.Request.Cookie], which hides that there are two,
// and that one of them does not parse.
func readCookie(h http.Header, cookieName string) (value string, err error) {
	for _, line := range h["Cookie"] {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			name, v, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
			switch {
			case strings.TrimRight(name, " \t") != cookieName:
			case !wellFormed(v):
				err = errMalformed
			case value != "":
				return "", errDuplicate
			default:
				value = v
			}
		}
	}
	if value != "" {
		return value, nil
	}
	return "", err
}

// wellFormed reports whether a cookie's value is of the form that newValue or
// anonymousKeys.issue give it.
func wellFormed(value string) bool {
	switch {
	case len(value) == anonymousLen && value[0] == anonymousPrefix:
		value = value[1:]
	case len(value) != valueLen:
		return false
	}
	for i := range len(value) {
		if !inBase64URL(value[i]) {
			return false
		}
	}
	return true
}

func inBase64URL(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// set puts the cookie into the header, in place of one that was put there
// before: an answer never carries two. With an empty value it tells the browser
// to forget the cookie.
func (c *cookie) set(h http.Header, value string, expires, now time.Time) {
	line := c.name + "=" + value + c.attributes
	switch {
	case value == "":
		line += "; Max-Age=0"
	case c.persistent:
		line += "; Max-Age=" + strconv.FormatInt(max(1, int64(expires.Sub(now)/time.Second)), 10)
	}
	setLine(h, c.name, line)
}

// forget tells the browser to forget the cookie of a former name. Browsers take
// a change of a __Host- or __Secure- cookie only with Secure, and keep a cookie
// that was Partitioned apart from one that was not: which of them a former one of
// such a name was is not known, and where the site is embedded in others browsers
// take a change of either only with SameSite=None.
func (c *cookie) forget(h http.Header, name string) {
	lines := slices.DeleteFunc(h["Set-Cookie"], func(line string) bool {
		n, _, _ := strings.Cut(line, "=")
		return n == name
	})
	line := name + "=; Path=/; HttpOnly; Max-Age=0"
	if strings.HasPrefix(name, "__") {
		line += "; Secure"
		lines = append(lines, line+"; SameSite=None; Partitioned")
		if c.embedded {
			line += "; SameSite=None"
		}
	}
	h["Set-Cookie"] = append(lines, line)
}

func setLine(h http.Header, cookieName, line string) {
	lines := h["Set-Cookie"]
	for i, l := range lines {
		if name, _, _ := strings.Cut(l, "="); name == cookieName {
			lines[i] = line
			return
		}
	}
	h["Set-Cookie"] = append(lines, line)
}

// newValue returns 256 random bits in the form the cookie has, and their ID.
// Since Go 1.24 crypto/rand.Read cannot fail.
func newValue() (string, ID) {
	var raw [32]byte
	var text [valueLen]byte
	rand.Read(raw[:])
	base64.RawURLEncoding.Encode(text[:], raw[:])
	return string(text[:]), ID(sha256.Sum256(text[:]))
}

// derivedValue returns the value that follows from a key, and its ID.
func derivedValue(key [32]byte) (string, ID) {
	raw := sha256.Sum256(append([]byte("gatehouse session identifier\x00"), key[:]...))
	var text [valueLen]byte
	base64.RawURLEncoding.Encode(text[:], raw[:])
	return string(text[:]), sha256.Sum256(text[:])
}

func idOf(value string) ID {
	var text [anonymousLen]byte
	return sha256.Sum256(text[:copy(text[:], value)])
}

// secretOf derives a secret from the cookie's value. A hash over 128 random bits
// or more and the purpose is a sound key derivation: without the cookie, the
// results cannot be told from random ones, and say nothing of each other or of
// the ID. Where the value ends its first byte tells.
func secretOf(value, purpose string) [32]byte {
	var stack [128]byte
	b := append(stack[:0], "gatehouse session secret\x00"...)
	b = append(b, value...)
	b = append(b, purpose...)
	return sha256.Sum256(b)
}
