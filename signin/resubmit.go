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
// the form; the others wait until it is done and then resume that session. Only forms that
// hold the token that was checked are handled so: no other page has the same token, so that
// only the client that sent the form has the same one; and it has one password, so that a
// challenge lets no second one in.

// A submission is a form that is handled once.
type submission struct {
	key     [32]byte // the session's identifier follows from it
	claim   [16]byte // spent by the request that handles it
	done    [16]byte // spent when that has been answered
	used    [16]byte // spent when a session has the identifier
	landing string   // where its success leads
	claimed bool     // by this request
	worked  bool     // this request has done what the form asks for, or shown what is wrong
}

const (
	// resubmitLife is how long after a form the same one counts as sent twice.
	resubmitLife = 2 * time.Minute
	// usedLife is how long a form can have been open that is sent: longer than a
	// session in which it was shown.
	usedLife = 24 * time.Hour
	// handleTime is how long the handling of a form may take, whether or not a client waits for it.
	handleTime = 30 * time.Second
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

// A claimFirst spends challenges, and claims the form with the answer before: a form that
// finds its challenge spent then knows whether that was the same form.
type claimFirst struct{ submissions }

// newClaimFirst returns one for the challenges that once remembers.
func newClaimFirst(once captcha.Once) claimFirst {
	switch once := once.(type) {
	case nil:
		return claimFirst{spent.New(spent.DefaultMax)}
	case submissions:
		return claimFirst{once}
	default:
		return claimFirst{unasked{once}}
	}
}

// An unasked Once cannot tell what is spent.
type unasked struct{ captcha.Once }

// Spent implements submissions.
func (unasked) Spent(context.Context, [16]byte) (bool, error) { return false, nil }

// visitKey is where the context of a request has its visit.
type visitKey struct{}

// Spend implements [captcha.Once].
func (c claimFirst) Spend(ctx context.Context, id [16]byte, until time.Time) (first bool, err error) {
	if v, ok := ctx.Value(visitKey{}).(*visit); ok {
		// Or one challenge, solved once, would have any number of forms claimed.
		if spent, err := c.Spent(ctx, id); err != nil || spent {
			return false, err
		}
		if err := v.tryClaim(); err != nil {
			return false, err
		}
	}
	return c.submissions.Spend(ctx, id, until)
}

// findLandings returns the pages whose forms are handled once, and where success leads.
func (p *Pages) findLandings() map[string]func(*visit) string {
	next := (*visit).next
	manager := func(*visit) string { return p.cfg.Prefix + "/manager" }
	login := func(*visit) string { return p.cfg.Prefix + "/login" }
	return map[string]func(*visit) string{
		"/login": next, "/login/code": next, "/confirm": next, "/logout": login, "/recover": login,
		"/setup/{token}": manager, "/recover/{token}": manager, "/manager/password": manager,
	}
}

// once has the form of this request, which has been parsed, handled once if it is one
// of those, whose pages have the pattern.
func (v *visit) once(pattern string) {
	method, path, _ := strings.Cut(pattern, " ")
	landing := v.p.landings[strings.TrimPrefix(path, v.p.cfg.Prefix)]
	if landing == nil || method != http.MethodPost || v.p.guard.FormToken(v.r) == "" {
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
	v.ctx = context.WithValue(v.ctx, visitKey{}, v)
	v.r = v.r.WithContext(v.ctx)
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
	if f == nil {
		return nil
	}
	if err := v.tryClaim(); err != nil || f.claimed {
		return err
	}
	return v.await()
}

// tryClaim makes this request the one that handles the form, unless there is one already.
func (v *visit) tryClaim() error {
	f := v.submission
	if f.claimed {
		return nil
	}
	first, err := v.p.submissions.Spend(v.ctx, f.claim, time.Now().Add(resubmitLife))
	if err != nil || !first {
		return err
	}
	f.claimed = true
	// Where the same form has been handled before, longer ago, its identifier
	// has been used.
	used, err := v.p.submissions.Spent(v.ctx, f.used)
	if err == nil && !used {
		v.s.Derive(f.key)
	}
	return err
}

// release says that the form has been answered. What its identifier was used for
// must not come back, however late the form comes again.
func (v *visit) release() {
	f := v.submission
	if f == nil || !f.claimed {
		return
	}
	// In this order: who sees that it is done asks whether it was used.
	var err error
	if f.worked && (v.s.Owner() != "" || v.out) {
		_, err = v.p.submissions.Spend(v.ctx, f.used, time.Now().Add(usedLife))
	}
	if err == nil {
		_, err = v.p.submissions.Spend(v.ctx, f.done, time.Now().Add(resubmitLife))
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
	f := v.submission
	if f == nil || f.claimed { // and so another form has spent it
		return false, nil
	}
	claimed, err := v.p.submissions.Spent(v.ctx, f.claim)
	if err != nil || !claimed {
		return false, err
	}
	if err := v.await(); err != nil {
		return false, err
	}
	used, err := v.p.submissions.Spent(v.ctx, f.used)
	return !used, err
}

// outBefore reports whether the same form, sent before, has ended the session.
func (v *visit) outBefore() bool {
	if v.submission == nil || v.submission.claimed {
		return false
	}
	used, err := v.p.submissions.Spent(v.ctx, v.submission.used)
	return err == nil && used
}
