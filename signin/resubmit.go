package signin

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/internal/spent"
)

// A form that signs in is often sent twice: by a double click, or by Enter pressed
// twice. The browser gives the first request up and shows the answer to the second,
// which finds the captcha spent, the code used, and the session renewed. So a form
// that is the same to the letter is handled once: the request that claims it goes on
// although its client has gone, and gives the session an identifier that follows from
// the form; the others wait until it is done and then resume that session. A form
// holds a token of its own from the page that showed it, so that only the client that sent
// it has the same; and it has one password, so that a challenge lets no second one in.

// A submission is a form that is handled once.
type submission struct {
	key     [32]byte // the session's identifier follows from it
	claim   [16]byte // spent by the request that handles it
	done    [16]byte // spent when that has been answered
	used    [16]byte // spent when a session has the identifier
	landing string   // where its success leads
	claimed bool     // by this request
}

const (
	// resubmitLife is how long after a form the same one counts as sent twice.
	resubmitLife = 2 * time.Minute
	// usedLife is how long a form can have been open that is sent: longer than a
	// session in which it was shown.
	usedLife = 24 * time.Hour
	// handleTime is how long the handling of a form may take, whether or not a client waits for it.
	handleTime = 30 * time.Second
	// claimTime is how long it may take from the spending of a challenge to the
	// claim of its form.
	claimTime = time.Second
)

// A submissions table tells which forms are being handled, or have been.
type submissions interface {
	captcha.Once
	Spent(ctx context.Context, id [16]byte) (bool, error)
}

// newSubmissions returns once if it can be asked too, or else a table of this process.
func newSubmissions(once captcha.Once) submissions {
	if s, ok := once.(submissions); ok {
		return s
	}
	return spent.New(spent.DefaultMax)
}

// findLandings returns the pages whose forms are handled once, and where success leads.
func (p *Pages) findLandings() map[string]func(*visit) string {
	next := (*visit).next
	manager := func(*visit) string { return p.cfg.Prefix + "/manager" }
	return map[string]func(*visit) string{
		"/login": next, "/login/code": next, "/confirm": next,
		"/setup/{token}": manager, "/recover/{token}": manager, "/manager/password": manager,
	}
}

// once has the form of this request, which has been parsed, handled once if it is one
// of those, whose pages have the pattern.
func (v *visit) once(pattern string) {
	method, path, _ := strings.Cut(pattern, " ")
	landing := v.p.landings[strings.TrimPrefix(path, v.p.cfg.Prefix)]
	if landing == nil || method != http.MethodPost {
		return
	}
	mac := hmac.New(sha256.New, v.p.formKey)
	_, _ = io.WriteString(mac, v.r.URL.Path+"\x00"+v.r.PostForm.Encode())
	sum := mac.Sum(nil)
	derive := func(purpose string) [32]byte {
		mac := hmac.New(sha256.New, v.p.formKey)
		_, _ = io.WriteString(mac, purpose+"\x00")
		mac.Write(sum)
		return [32]byte(mac.Sum(nil))
	}
	claim, done, used := derive("claim"), derive("done"), derive("used")
	v.submission = &submission{
		key: derive("session"), claim: [16]byte(claim[:]), done: [16]byte(done[:]), used: [16]byte(used[:]), landing: landing(v),
	}
}

// detach lets the handling of the form go on when its client has gone.
func (v *visit) detach() (cancel context.CancelFunc) {
	v.client = v.ctx
	v.ctx, cancel = context.WithTimeout(context.WithoutCancel(v.ctx), handleTime)
	v.r = v.r.WithContext(v.ctx)
	return cancel
}

// resume answers a form that is being handled by another request, or has just been,
// as that did: its error is errAnswered then. If that signed no user in, this request
// finds out by itself what is wrong.
func (v *visit) resume() error {
	if v.submission == nil {
		return nil
	}
	claimed, err := v.p.submissions.Spent(v.ctx, v.submission.claim)
	if err != nil || !claimed {
		return err
	}
	return v.await()
}

// claim makes this request the one that handles the form. If there is one already, it
// does what resume does.
func (v *visit) claim() error {
	f := v.submission
	if f == nil || f.claimed {
		return nil
	}
	first, err := v.p.submissions.Spend(v.ctx, f.claim, time.Now().Add(resubmitLife))
	if err != nil {
		return err
	}
	if first {
		// Where the same form has been handled before, longer ago, its identifier
		// has been used.
		used, err := v.p.submissions.Spent(v.ctx, f.used)
		if err != nil {
			return err
		}
		if f.claimed = true; !used {
			v.s.Derive(f.key)
		}
		return nil
	}
	return v.await()
}

// release says that the form has been answered. What its identifier was used for
// must not come back, however late the form comes again.
func (v *visit) release() {
	f := v.submission
	if f == nil || !f.claimed {
		return
	}
	_, err := v.p.submissions.Spend(v.ctx, f.done, time.Now().Add(resubmitLife))
	if err == nil && v.s.Owner() != "" {
		_, err = v.p.submissions.Spend(v.ctx, f.used, time.Now().Add(usedLife))
	}
	if err != nil {
		v.p.log.WarnContext(v.ctx, "signin: a form that is sent twice has to wait", "error", err)
	}
}

// await waits until the request that has claimed the form is done, and answers as that
// did if it signed a user in.
func (v *visit) await() error {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		// In this order: what is done has made its session before.
		done, err := v.p.submissions.Spent(v.ctx, v.submission.done)
		if err != nil {
			return err
		}
		ok, err := v.s.Resume(v.ctx, v.submission.key)
		if err != nil {
			return err
		}
		if ok {
			v.cancel()
			http.Redirect(v.w, v.r, v.submission.landing, http.StatusSeeOther)
			return errAnswered
		}
		if done {
			return nil
		}
		if err := v.pause(pause); err != nil {
			return err
		}
	}
}

// pause waits, unless the client goes or the time of the request is over.
func (v *visit) pause(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	client := v.client
	if client == nil {
		client = v.ctx
	}
	select {
	case <-t.C:
		return nil
	case <-client.Done():
		return client.Err()
	case <-v.ctx.Done():
		return v.ctx.Err()
	}
}

// solvedBefore reports whether the challenge, which is spent, was spent by the same
// form, which was wrong: it may be told so again. If that form signed a user in, this
// is answered likewise, while that session lasts.
func (v *visit) solvedBefore() (bool, error) {
	const pause = 20 * time.Millisecond
	for waited := time.Duration(0); v.submission != nil && waited < claimTime; waited += pause {
		claimed, err := v.p.submissions.Spent(v.ctx, v.submission.claim)
		if err != nil {
			return false, err
		}
		if claimed {
			if err := v.await(); err != nil {
				return false, err
			}
			used, err := v.p.submissions.Spent(v.ctx, v.submission.used)
			return !used, err
		}
		if err := v.pause(pause); err != nil {
			return false, err
		}
	}
	return false, nil
}
