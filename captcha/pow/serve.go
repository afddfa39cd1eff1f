package pow

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/internal/retry"
)

// Handler serves challenges at one address, which the page gives to the ALTCHA
// widget or to the solver of [Script]. What the visitor has to do is asked of
// demand, at every request.
//
// GET answers with a challenge, unless [Config.Allow] refuses it: then it is a
// 429.
//
// POST is how the widget has a code verified before it lets the form go. It
// sends {"payload":"…","code":"…"}, and is answered {"verified":true} with
// another payload, to be sent with the form in the place of the first: it needs
// no code any more, and is good once, for as long as the first was. If anything
// is wrong, the answer is {"verified":false} with a reason, which is one of the
// events Wrong, Expired, Spent, Unknown, Weak and Failed.
//
// No answer may be cached, and none is for scripts of other origins.
func (t *Toll) Handler(demand func(*http.Request) Demand) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			t.serveChallenge(w, r, demand)
		case http.MethodPost:
			t.servePass(w, r, demand)
		default:
			h.Set("Allow", "GET, HEAD, POST")
			refuse(w, http.StatusMethodNotAllowed)
		}
	})
}

func (t *Toll) serveChallenge(w http.ResponseWriter, r *http.Request, demand func(*http.Request) Demand) {
	if t.cfg.Allow != nil {
		if err := t.cfg.Allow(r); err != nil {
			if after := retry.After(err); after != "" {
				w.Header().Set("Retry-After", after)
			}
			refuse(w, http.StatusTooManyRequests)
			return
		}
	}
	c, err := t.Issue(demand(r))
	if err != nil {
		t.observe(captcha.Failed)
		refuse(w, http.StatusInternalServerError)
		return
	}
	answer(w, c)
}

// maxBody bounds what the widget sends; it may be told to add text of the form.
const maxBody = 64 << 10

func (t *Toll) servePass(w http.ResponseWriter, r *http.Request, demand func(*http.Request) Demand) {
	var in struct {
		Payload string `json:"payload"`
		Code    string `json:"code"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&in); err != nil {
		refuse(w, http.StatusBadRequest)
		return
	}
	type result struct {
		Verified bool          `json:"verified"`
		Payload  string        `json:"payload,omitempty"`
		Reason   captcha.Event `json:"reason,omitempty"`
	}
	// Always with status 200, even when a store has failed: of any other, the
	// widget 3.2.2 tells the visitor nothing and looks busy for ever.
	pass, err := t.exchange(r.Context(), demand(r), in.Payload, in.Code)
	if err != nil {
		answer(w, encode(result{Reason: event(err)}))
		return
	}
	answer(w, encode(result{Verified: true, Payload: pass}))
}

func answer(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body) // net/http drops it when the method is HEAD
}

func refuse(w http.ResponseWriter, status int) {
	http.Error(w, http.StatusText(status), status)
}
