package csrf

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
)

const (
	// secretLen is the length of the secret, and of the mask: both are
	// random, so that a masked secret says nothing of it.
	secretLen = 32
	// tokenLen is the length of mask and masked secret in base64url without
	// padding.
	tokenLen = (2*secretLen*8 + 5) / 6
	// purpose tells the secret from others of the same session.
	purpose = "csrf"
	// headerName is the first header that is looked at, and what clients are
	// told to use.
	headerName = "X-Csrf-Token"
)

// Token returns a token for the session of the request, under a mask of its own
// each time. It begins a session if there is none: call it before the answer's
// header goes.
//
// The error is [ErrUnavailable] if the session cannot be loaded. Token panics
// without [Config.Sessions], and outside of [session.Manager.Handler].
func (p *Protection) Token(r *http.Request) (string, error) {
	secret, err := p.secret(r)
	if err != nil {
		return "", err
	}
	return mask(secret), nil
}

// secret is what tokens are made of.
func (p *Protection) secret(r *http.Request) (secret [secretLen]byte, err error) {
	if p.cfg.Sessions == nil {
		panic("csrf: tokens need Config.Sessions")
	}
	s, err := p.cfg.Sessions.Load(r.Context())
	if err != nil {
		return secret, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return s.Secret(purpose), nil
}

// Input returns a hidden field with a token, for a form. It is [Protection.Token]
// otherwise.
func (p *Protection) Input(r *http.Request) (template.HTML, error) {
	token, err := p.Token(r)
	if err != nil {
		return "", err
	}
	return template.HTML(`<input type="hidden" name="` + template.HTMLEscapeString(p.cfg.Field) + `" value="` + token + `">`), nil
}

// Meta returns an element for a page's head from which its script takes the
// token for the header X-Csrf-Token. It is [Protection.Token] otherwise.
func (p *Protection) Meta(r *http.Request) (template.HTML, error) {
	token, err := p.Token(r)
	if err != nil {
		return "", err
	}
	return template.HTML(`<meta name="csrf-token" content="` + token + `">`), nil
}

// ServeToken answers with a token, for pages that no server renders:
//
//	{"token":"…","header":"X-Csrf-Token","field":"csrf_token"}
//
// Pages of other origins cannot read it unless CORS headers let them. It panics
// as [Protection.Token] does.
func (p *Protection) ServeToken(w http.ResponseWriter, r *http.Request) {
	token, err := p.Token(r)
	if err != nil {
		p.cfg.Sessions.Error(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_ = json.NewEncoder(w).Encode(struct { // fails only if the client has gone
		Token  string `json:"token"`
		Header string `json:"header"`
		Field  string `json:"field"`
	}{token, headerName, p.cfg.Field})
}

// checkToken is step 4 of the decision. If the token was made in another tab, it
// returns what it is made of.
func (p *Protection) checkToken(r *http.Request, from sender) (otherTab *[secretLen]byte, err error) {
	if p.cfg.Sessions == nil {
		return nil, fmt.Errorf("%w: neither Sec-Fetch-Site nor Origin nor Referer, and no Config.Sessions", ErrNoToken)
	}
	token, err := p.requestToken(r)
	if err != nil {
		return nil, err
	}
	secret, ok := unmask(token)
	if !ok {
		return nil, fmt.Errorf("%w: malformed", ErrBadToken)
	}
	s, err := p.cfg.Sessions.Load(r.Context())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	// Asking for its secret would begin a session, and never match.
	if !s.Exists() {
		return nil, fmt.Errorf("%w: the request has no session: its cookie is missing, unknown, expired or there twice", ErrBadToken)
	}
	want := s.Secret(purpose)
	if subtle.ConstantTimeCompare(secret[:], want[:]) == 1 {
		return nil, nil
	}
	// Of two tabs that were opened without a cookie, the browser keeps the cookie
	// of one, and the form in the other has a token of a session that is gone. It
	// counts where a browser says that the request is of this site, and no user is
	// signed in: an attacker could have got such a token, but not a browser that
	// says so.
	if from == ours && s.Owner() == "" && p.cfg.Sessions.IssuedAnonymously(purpose, secret) {
		return &secret, nil
	}
	return nil, fmt.Errorf("%w: not of this session", ErrBadToken)
}

type formSecretKey struct{ p *Protection }

// FormSecret returns a secret, for the purpose, that belongs to a form: it is the
// same when the form is shown and when it is sent, inside of
// [Protection.Handler]. It differs from the session's own secret where the form
// was shown in another tab, see "Tokens" above. Like [Protection.Token] it begins
// a session if there is none.
func (p *Protection) FormSecret(r *http.Request, purpose string) ([32]byte, error) {
	secret, ok := r.Context().Value(formSecretKey{p}).(*[secretLen]byte)
	if !ok {
		own, err := p.secret(r)
		if err != nil {
			return own, err
		}
		secret = &own
	}
	mac := hmac.New(sha256.New, secret[:])
	mac.Write([]byte(purpose))
	return [32]byte(mac.Sum(nil)), nil
}

// FormToken returns the token that [Protection.Check] takes from a form, or "" if
// it takes none from there: a header has one, or the form has none. The form must
// have been parsed. Tokens are never the same twice, so that a form which holds
// one is a form of its own. The token may not be valid.
func (p *Protection) FormToken(r *http.Request) string {
	if token, err := headerToken(r.Header); token != "" || err != nil || p.headerOnly.match(r) {
		return ""
	}
	return r.PostForm.Get(p.cfg.Field)
}

// headerToken returns the token in a header, or "".
func headerToken(h http.Header) (string, error) {
	for _, name := range [...]string{headerName, "X-Xsrftoken", "X-Csrftoken"} {
		switch v := h[name]; {
		case len(v) > 1:
			return "", fmt.Errorf("%w: %d headers %s", ErrBadToken, len(v), name)
		case len(v) == 1 && v[0] != "":
			return v[0], nil
		}
	}
	return "", nil
}

// requestToken finds the token in a header, or else in the body.
func (p *Protection) requestToken(r *http.Request) (string, error) {
	if token, err := headerToken(r.Header); token != "" || err != nil {
		return token, err
	}
	if p.headerOnly.match(r) {
		return "", fmt.Errorf("%w: no header, and Config.HeaderOnly lists the route", ErrNoToken)
	}
	token, err := p.fieldToken(r)
	if err != nil || token != "" {
		return token, err
	}
	if r.URL.Query().Has(p.cfg.Field) {
		return "", fmt.Errorf("%w: it is in the query, where it does not count", ErrNoToken)
	}
	return "", fmt.Errorf("%w: neither in a header nor in a form", ErrNoToken)
}

// mask returns the secret under a fresh mask, both as text.
func mask(secret [secretLen]byte) string {
	var raw [2 * secretLen]byte
	rand.Read(raw[:secretLen]) // cannot fail since Go 1.24
	subtle.XORBytes(raw[secretLen:], raw[:secretLen], secret[:])
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// unmask returns the secret that a token holds, which anybody may have made up.
func unmask(token string) (secret [secretLen]byte, ok bool) {
	if len(token) != tokenLen {
		return secret, false
	}
	var text [tokenLen]byte
	var raw [2 * secretLen]byte
	copy(text[:], token)
	// Decode passes over line breaks, and then finds too little.
	if n, err := base64.RawURLEncoding.Decode(raw[:], text[:]); err != nil || n != len(raw) {
		return secret, false
	}
	subtle.XORBytes(secret[:], raw[:secretLen], raw[secretLen:])
	return secret, true
}
