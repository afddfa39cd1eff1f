package tornado

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// CookieName is what Tornado calls the cookie that holds a token, and the form
// field too.
const CookieName = "_xsrf"

// The answers of [XSRF.Check], in the words that Tornado logs, so that what
// watches its log goes on working. The client sees "403: Forbidden" and no more.
var (
	ErrMissing  = errors.New("'_xsrf' argument missing from POST")
	ErrFormat   = errors.New("'_xsrf' argument has invalid format")
	ErrMismatch = errors.New("XSRF cookie does not match POST argument")
)

// A Token is the random value that an _xsrf cookie holds and that forms repeat,
// each under a mask of its own.
type Token []byte

// NewToken returns 16 random bytes, as many as Tornado uses.
func NewToken() Token {
	t := make(Token, 16)
	rand.Read(t) // cannot fail since Go 1.24
	return t
}

// V2 returns the token in version 2, under a fresh mask: an answer that is
// compressed and repeats it does not give it away (BREACH). Tornado reads the
// time and does not check it.
func (t Token) V2(issued time.Time) string {
	var mask [4]byte
	rand.Read(mask[:])
	return "2|" + hex.EncodeToString(mask[:]) + "|" + hex.EncodeToString(t.xor(mask)) + "|" +
		strconv.FormatInt(issued.Unix(), 10)
}

// V1 returns the token in version 1, without a mask: for a Tornado program that
// sets xsrf_cookie_version to 1.
func (t Token) V1() string { return hex.EncodeToString(t) }

func (t Token) xor(mask [4]byte) Token {
	out := make(Token, len(t))
	for i := range t {
		out[i] = t[i] ^ mask[i%4]
	}
	return out
}

// Input returns the hidden field that Tornado's xsrf_form_html renders. The
// token is one that [Token.V2] or [Token.V1] returned.
func Input(token string) template.HTML {
	return template.HTML(`<input type="hidden" name="` + CookieName + `" value="` + template.HTMLEscapeString(token) + `"/>`)
}

// XSRF checks tokens. The zero value reads version 2 only.
type XSRF struct {
	// AcceptV1 also reads tokens in version 1, which programs from before
	// Tornado 3.2.2 have put into their visitors' cookies.
	AcceptV1 bool
}

// Check reports whether the token that came with a request is the one in its
// cookie. The token is the field, or if that is empty the header X-Xsrftoken,
// or if that is empty too X-Csrftoken; a field that is wrong is not rescued by
// a header that is right. Blanks around the field do not count, nor would they
// for Tornado. Cookie and field are "" if the request has none.
//
// The error is [ErrMissing], [ErrFormat] or [ErrMismatch]; the last one also
// where the cookie is missing or cannot be read.
//
// Take the field from the body only: Tornado also reads the query, from where
// tokens leak into logs and Referer headers.
func (x XSRF) Check(cookie, field string, header http.Header) error {
	sent := strings.TrimSpace(field)
	if sent == "" {
		sent = headerValue(header, "X-Xsrftoken")
	}
	if sent == "" {
		sent = headerValue(header, "X-Csrftoken")
	}
	if sent == "" {
		return ErrMissing
	}
	got, err := x.Parse(sent)
	if err != nil {
		return err
	}
	// Without a usable cookie Tornado makes up a token and compares with that.
	want, err := x.Parse(cookie)
	if err != nil || subtle.ConstantTimeCompare(got, want) == 0 {
		return ErrMismatch
	}
	return nil
}

// headerValue joins repeated header fields as Tornado does, so that a second one
// makes the first one invalid instead of being overlooked.
func headerValue(h http.Header, name string) string {
	return strings.Join(h.Values(name), ",")
}

// Parse reads a token in version 2, or in version 1 if that is accepted. The
// error is [ErrFormat].
func (x XSRF) Parse(s string) (Token, error) {
	if t, ok := parseV2(s); ok {
		return t, nil
	}
	if x.AcceptV1 {
		if t, err := hex.DecodeString(s); err == nil && len(t) > 0 {
			return t, nil
		}
	}
	return nil, ErrFormat
}

func parseV2(s string) (Token, bool) {
	parts := strings.SplitN(s, "|", 5)
	if len(parts) != 4 || parts[0] != "2" || !isDigits(parts[3]) {
		return nil, false
	}
	mask, err := hex.DecodeString(parts[1])
	if err != nil || len(mask) != 4 {
		return nil, false
	}
	masked, err := hex.DecodeString(parts[2])
	if err != nil || len(masked) == 0 {
		return nil, false
	}
	return Token(masked).xor([4]byte(mask)), true
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
