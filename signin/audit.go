package signin

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/internal/logtext"
)

// Kinds of what the log is told. Their texts for people are in the catalogues,
// under "log." and the kind.
const (
	SetUp            account.Kind = "set-up"             // the first administrator was made
	SignedIn         account.Kind = "sign-in"            // Detail is the factor
	Refused          account.Kind = "refused"            // a wrong name, password or code; Detail says which step
	Throttled        account.Kind = "throttled"          // too many attempts; Detail ends in ×7 where one entry is for seven
	SignedOut        account.Kind = "sign-out"           //
	SessionEnded     account.Kind = "session-ended"      // Detail is its handle
	SessionsEnded    account.Kind = "sessions-ended"     // all others, or all
	PasswordChanged  account.Kind = "password-changed"   //
	ProfileChanged   account.Kind = "profile-changed"    //
	AppAdded         account.Kind = "app-added"          // an authenticator
	AppRemoved       account.Kind = "app-removed"        //
	CodesMade        account.Kind = "codes-made"         // of recovery
	CodeUsed         account.Kind = "code-used"          // of recovery; Detail is how many are left
	PasskeyAdded     account.Kind = "passkey-added"      // Detail is its label
	PasskeyRemoved   account.Kind = "passkey-removed"    //
	RecoveryOpened   account.Kind = "recovery-opened"    // a link was made; Detail is "mail" if it went there
	Recovered        account.Kind = "recovered"          // and used
	PersonCreated    account.Kind = "person-created"     //
	PersonChanged    account.Kind = "person-changed"     // by an administrator; Detail says what
	PersonDisabled   account.Kind = "person-disabled"    //
	PersonEnabled    account.Kind = "person-enabled"     //
	PersonDeleted    account.Kind = "person-deleted"     //
	FactorsRemoved   account.Kind = "factors-removed"    // by an administrator, for somebody who has lost them
	Unbanned         account.Kind = "unbanned"           // failed attempts were forgotten, by an administrator
	ConfirmedAgain   account.Kind = "confirmed"          // before something that matters
	ConfirmedInError account.Kind = "confirmed-in-error" // a wrong password or code there
)

// kinds are all of them, for pages and tests.
var kinds = []account.Kind{
	SetUp, SignedIn, Refused, Throttled, SignedOut, SessionEnded, SessionsEnded, PasswordChanged, ProfileChanged,
	AppAdded, AppRemoved, CodesMade, CodeUsed, PasskeyAdded, PasskeyRemoved, RecoveryOpened, Recovered,
	PersonCreated, PersonChanged, PersonDisabled, PersonEnabled, PersonDeleted, FactorsRemoved, Unbanned, ConfirmedAgain, ConfirmedInError,
}

// Kinds returns all kinds of entries that this package makes.
func Kinds() []account.Kind { return slices.Clone(kinds) }

// note tells the log. What has happened has happened: an error here stops nobody,
// and is in the program's own log.
func (v *visit) note(kind account.Kind, who *account.Person, detail string) {
	v.p.append(v.ctx, v.entry(kind, who, detail))
}

// entry is what the log is told.
func (v *visit) entry(kind account.Kind, who *account.Person, detail string) account.Entry {
	e := account.Entry{
		Time: time.Now().UTC(), Kind: kind, Addr: v.p.cfg.Addr(v.r), Agent: plainText(v.r.UserAgent(), 256), Detail: plainText(detail, 256),
	}
	if who != nil {
		e.Person, e.Name = who.ID, who.Name
	}
	if v.me != nil && (who == nil || who.ID != v.me.ID) {
		e.By = v.me.ID
	}
	if v.s.Exists() {
		e.Session = v.s.Handle().String()
	}
	return e
}

// append appends an entry. Those of the kind [Throttled] are counted: a denied attempt
// costs its client nothing, and thousands a second would fill the store. For each
// address, user and step one is appended a minute. The count of the others is appended
// with the next entry after that minute, of whatever kind, or when the program ends.
func (p *Pages) append(ctx context.Context, e account.Entry) {
	if p.cfg.Observe != nil {
		p.cfg.Observe(e.Kind)
	}
	if e.Kind != Throttled {
		p.appendCounts(ctx, p.throttled.Due())
		p.store(ctx, e)
		return
	}
	counts, write := p.throttled.Add(e.Addr.String()+" "+e.Person+" "+e.Detail, e)
	p.appendCounts(ctx, counts)
	if write {
		p.store(ctx, e)
	}
}

// appendCounts appends an entry like the last one of those that were counted.
func (p *Pages) appendCounts(ctx context.Context, counts []logtext.Repeated[account.Entry]) {
	for _, c := range counts {
		e := c.Last
		e.Time = time.Now().UTC() // entries are in the order of their times
		e.Detail = strings.TrimSpace(e.Detail + " ×" + strconv.Itoa(c.Times))
		p.store(ctx, e)
	}
}

func (p *Pages) store(ctx context.Context, e account.Entry) {
	if p.cfg.Log == nil {
		return
	}
	// The answer may be given up; what has happened is noted all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	began := time.Now()
	err := p.cfg.Log.Append(ctx, e)
	// Entries that cannot be kept are lost: how many, the end of the outage tells.
	p.logOutage.Note(began, err).Log(ctx, p.log, "signin: the log that entries are appended to", err)
}

// plainText returns a text without what could deceive whoever reads it in a
// terminal, and not longer than so many bytes.
func plainText(s string, most int) string {
	s = strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp) {
			return -1
		}
		return r
	}, s), "")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}
