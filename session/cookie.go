package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
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
}

func newCookie(cfg Config) (cookie, error) {
	c := cookie{name: cfg.Name, attributes: "; Path=/", persistent: cfg.Persistent}
	if c.name == "" {
		c.name = "session"
	}
	for _, r := range c.name {
		// RFC 9110 section 5.6.2, token.
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r) {
			return c, fmt.Errorf("session: Config.Name %q: %q cannot stand in a cookie's name", cfg.Name, r)
		}
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
	default:
		return c, fmt.Errorf("session: Config.SameSite %d is not Lax, Strict or None", cfg.SameSite)
	}
	return c, nil
}

// read returns the value that the request's Cookie header fields hold, without
// allocating, or "" and why there is none that can be used.
//
// It does not go through [http.Request.Cookie], which hides that there are two,
// and that one of them does not parse.
func (c *cookie) read(h http.Header) (string, error) {
	value, found := "", false
	for _, line := range h["Cookie"] {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			name, v, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
			if strings.TrimRight(name, " \t") != c.name {
				continue
			}
			if found {
				return "", errDuplicate
			}
			value, found = v, true
		}
	}
	if !found {
		return "", nil
	}
	if len(value) != valueLen {
		return "", errMalformed
	}
	for i := range valueLen {
		if !inBase64URL(value[i]) {
			return "", errMalformed
		}
	}
	return value, nil
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
	lines := h["Set-Cookie"]
	for i, l := range lines {
		if name, _, _ := strings.Cut(l, "="); name == c.name {
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

func idOf(value string) ID {
	var text [valueLen]byte
	copy(text[:], value)
	return sha256.Sum256(text[:])
}

// secretOf derives a secret from the cookie's value. A hash of one block over
// the purpose and 256 random bits of fixed length is a sound key derivation:
// the values cannot be told from random ones by whoever lacks the cookie, and
// say nothing of each other or of the ID.
func secretOf(value, purpose string) [32]byte {
	var stack [128]byte
	b := append(stack[:0], "gatehouse session secret\x00"...)
	b = append(b, value...)
	b = append(b, purpose...)
	return sha256.Sum256(b)
}
