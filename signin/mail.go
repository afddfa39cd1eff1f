package signin

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
)

// mailTime is how long sending a message may take.
const mailTime = time.Minute

// mailPause is how long after one link for recovery no other is sent.
const mailPause = 5 * time.Minute

// background does something beside the answer. The time of an answer then does not
// tell whether there was anything to do.
func (p *Pages) background(ctx context.Context, f func(ctx context.Context)) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), mailTime)
	p.running.Go(func() {
		defer cancel()
		f(ctx)
	})
}

// Wait waits for messages that are being sent, and writes the counts of what has
// repeated to the log, for a program that ends.
func (p *Pages) Wait() {
	p.running.Wait()
	ctx := context.Background()
	p.appendCounts(ctx, p.throttled.All())
	p.refusals.Close(ctx, p.log)
	p.guard.FlushLog(ctx)
	p.cfg.Sessions.FlushLog(ctx)
}

// mail tells a person of something, if they have an address and there is a way.
func (v *visit) mail(who *account.Person, subject, text string, args ...any) {
	if v.p.cfg.Mail == nil || who.Email == "" {
		return
	}
	m := Mail{To: who.Email, Subject: v.lang.text(subject, v.p.cfg.Site)}
	// By name: what people call themselves is not for a text that goes to an address
	// which they have only typed.
	m.Text = v.lang.text(text, append([]any{who.Name, v.p.cfg.Site, v.p.absolute("/manager")}, args...)...)
	v.p.background(v.ctx, func(ctx context.Context) { v.p.send(ctx, m) })
}

func (p *Pages) send(ctx context.Context, m Mail) {
	began := time.Now()
	err := p.cfg.Mail(ctx, m)
	p.mailOutage.Note(began, err).Log(ctx, p.log, "signin: mail", err)
}

// sendRecovery sends a link to whom the address belongs, if to anybody.
func (p *Pages) sendRecovery(ctx context.Context, lang *language, email string, e account.Entry) {
	who, err := p.cfg.People.ByEmail(ctx, email)
	if errors.Is(err, account.ErrNotFound) || err == nil && who.Disabled {
		return
	}
	var token string
	if err == nil {
		// Whoever asks again and again fills nobody's mailbox, and closes no link.
		token, err = p.cfg.People.NextLink(ctx, who.ID, account.Mailed, linkLife, mailPause)
	}
	if errors.Is(err, account.ErrTooSoon) {
		return
	}
	if err != nil {
		p.report(ctx, slog.LevelError, "no link for recovery", err)
		return
	}
	e.Person, e.Name = who.ID, who.Name
	p.append(ctx, e)
	p.send(ctx, Mail{
		To: who.Email, Subject: lang.text("mail.recover.subject", p.cfg.Site),
		Text: lang.text("mail.recover.text", who.Name, p.cfg.Site, p.absolute("/recover/"+token)),
	})
}
