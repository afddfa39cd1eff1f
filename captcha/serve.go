package captcha

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/retry"
)

// drawWait is how long a request waits for its turn to be drawn. A picture
// takes a fraction of a millisecond: who still waits after this is one of
// hundreds.
const drawWait = 100 * time.Millisecond

// ServeHTTP shows challenges. It looks at the last element of the path only,
// so that it can be mounted below any prefix:
//
//	mux.Handle("/captcha/", c)
//
// GET or HEAD {id}.{ending} answers with the challenge in the form that
// [Config.Forms] has for the ending. What is not there is a 404, a challenge
// that is expired or known to be spent a 410, one that [Config.Allow] refuses
// a 429. When the Once fails, or too much is being drawn, it is a 503.
//
// POST {id} is for a visitor who cannot read the picture: it answers with the
// id of a new challenge for the same scope, and its life in seconds, as JSON
// like {"id":"…","expires_in":300}. The old challenge may be expired, for that
// is when a new one is wanted, and is left as it is: nothing is gained by
// holding many. Scripts of other origins can cause this request, but neither
// read its answer nor change anything by it.
//
// No answer may be cached.
func (c *Captcha) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")

	name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	id, ending, ok := strings.Cut(name, ".")
	if !ok {
		c.serveNew(w, r, id)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		refuse(w, http.StatusMethodNotAllowed, "Allow", "GET, HEAD")
		return
	}
	form := c.cfg.Forms[ending]
	t, k, ok := c.open(id)
	if form == nil || !ok || t.future(time.Now(), c.cfg.Lifetime) {
		refuse(w, http.StatusNotFound)
		return
	}
	if t.expired(time.Now()) {
		refuse(w, http.StatusGone)
		return
	}
	if c.cfg.Allow != nil {
		if err := c.cfg.Allow(r); err != nil {
			refuse(w, http.StatusTooManyRequests, "Retry-After", retry.After(err))
			return
		}
	}
	if c.spent != nil {
		switch spent, err := c.spent.Spent(r.Context(), t.nonce()); {
		case err != nil:
			// The picture could be drawn, but nobody could answer it.
			c.observe(Failed)
			refuse(w, http.StatusServiceUnavailable, "Retry-After", "1")
			return
		case spent:
			refuse(w, http.StatusGone)
			return
		}
	}
	answer, seed := k.answer(t, c.cfg.Length, alphabetOf(form)), k.seed(t)
	if !c.enter(r) {
		refuse(w, http.StatusServiceUnavailable, "Retry-After", "1")
		return
	}
	buf := c.buffers.Get().(*[]byte)
	defer c.buffers.Put(buf)
	body, err := c.draw(form, (*buf)[:0], answer, seed)
	if err != nil {
		// Not to be shown: it may quote the answer.
		c.observe(Failed)
		refuse(w, http.StatusInternalServerError)
		return
	}
	*buf = body
	h.Set("Content-Type", form.MediaType())
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body) // net/http drops it when the method is HEAD
}

// serveNew answers with a new challenge in the place of id.
func (c *Captcha) serveNew(w http.ResponseWriter, r *http.Request, id string) {
	if r.Method != http.MethodPost {
		refuse(w, http.StatusMethodNotAllowed, "Allow", "POST")
		return
	}
	t, k, ok := c.open(id)
	if !ok {
		refuse(w, http.StatusNotFound)
		return
	}
	// Under the old key, because only there does the scope's tag mean
	// anything; see open.
	body, _ := json.Marshal(struct {
		ID        string `json:"id"`
		ExpiresIn int    `json:"expires_in"`
	}{c.issue(k, [scopeLen]byte(t.scope())), int(c.cfg.Lifetime / time.Second)})
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}

// enter waits for a turn to draw, and reports whether it came.
func (c *Captcha) enter(r *http.Request) bool {
	select {
	case c.draws <- struct{}{}:
		return true
	default:
	}
	timer := time.NewTimer(drawWait)
	defer timer.Stop()
	select {
	case c.draws <- struct{}{}:
		return true
	case <-timer.C:
	case <-r.Context().Done():
	}
	return false
}

// draw ends the turn before the body is sent: a slow client holds up nobody.
func (c *Captcha) draw(form Renderer, dst []byte, answer string, seed [32]byte) ([]byte, error) {
	defer func() { <-c.draws }()
	return form.Append(dst, answer, seed)
}

// refuse answers with a status and, in pairs, headers.
func refuse(w http.ResponseWriter, status int, headers ...string) {
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] != "" {
			w.Header().Set(headers[i], headers[i+1])
		}
	}
	http.Error(w, http.StatusText(status), status)
}
