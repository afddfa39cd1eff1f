package csrf

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
)

const (
	formURLEncoded = "application/x-www-form-urlencoded"
	formMultipart  = "multipart/form-data"
)

// fieldToken returns the token that a form in the body holds, or "". Afterwards
// r.Body gives the whole body again, whatever became of the search.
func (p *Protection) fieldToken(r *http.Request) (string, error) {
	// Somebody may have parsed the form already, and then it is there.
	if values := r.PostForm[p.cfg.Field]; len(values) > 0 {
		return values[0], nil
	}
	contentType := r.Header.Get("Content-Type")
	if contentType == "" || r.Body == nil {
		return "", nil
	}
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return "", fmt.Errorf("%w: Content-Type", ErrMalformed)
	}
	switch {
	case mediaType == formURLEncoded && r.PostForm == nil:
	case mediaType == formMultipart && r.MultipartForm == nil:
		if params["boundary"] == "" {
			return "", fmt.Errorf("%w: multipart without a boundary", ErrMalformed)
		}
	default:
		return "", nil
	}

	var seen strings.Builder
	body := r.Body
	limited := http.MaxBytesReader(nil, io.NopCloser(io.TeeReader(body, &seen)), p.cfg.BodyLimit)
	var token string
	if mediaType == formMultipart {
		token, err = p.findMultipart(multipart.NewReader(limited, params["boundary"]))
	} else if _, err = io.Copy(io.Discard, limited); err == nil {
		token, err = p.findURLEncoded(seen.String())
	}
	if err != nil {
		// Package multipart takes a header that the limit cut off for one
		// that is malformed. The reader knows.
		_, cut := io.Copy(io.Discard, limited)
		err = errors.Join(err, cut)
	}
	r.Body = replay{io.MultiReader(strings.NewReader(seen.String()), body), body}

	// The error's text is left out: multipart's quotes the body.
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return token, nil
	case errors.As(err, &tooLarge): // ours, or one of a middleware before
		return "", fmt.Errorf("%w: the limit is %d bytes", ErrTooLarge, tooLarge.Limit)
	default:
		return "", fmt.Errorf("%w: %s", ErrMalformed, mediaType)
	}
}

// replay is a body of which the first part was read and is given again.
type replay struct {
	io.Reader
	io.Closer
}

// findURLEncoded passes over pairs that do not decode: they are the handler's to
// complain about.
func (p *Protection) findURLEncoded(form string) (string, error) {
	for pair := range strings.SplitSeq(form, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if key, err := url.QueryUnescape(key); err == nil && key == p.cfg.Field {
			return url.QueryUnescape(value)
		}
	}
	return "", nil
}

// findMultipart reads up to the end of the token, and no further than the buffer
// of the multipart reader.
func (p *Protection) findMultipart(form *multipart.Reader) (string, error) {
	for {
		part, err := form.NextPart()
		if err == io.EOF { //nolint:errorlint // a wrapped EOF is a body that broke off
			return "", nil
		}
		if err != nil {
			return "", err
		}
		if part.FormName() == p.cfg.Field && part.FileName() == "" {
			token, err := io.ReadAll(io.LimitReader(part, tokenLen+1))
			return string(token), err
		}
	}
}
