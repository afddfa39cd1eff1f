package signin

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/internal/clock"
	"github.com/seed-64ad3862/gatehouse/session"
)

// pageSize is how many people, sessions or entries are on a page.
const pageSize = 50

// ---- people

// peopleBody is what the view is given.
type peopleBody struct {
	People []account.Person
	Search string
	More   string // the address of the next page
}

func (v *visit) people() error {
	b := peopleBody{Search: plainText(v.r.FormValue("q"), 256)}
	want := strings.ToLower(strings.TrimSpace(b.Search))
	for who, err := range v.p.cfg.People.List(v.ctx, v.r.FormValue("after")) {
		if err != nil {
			return err
		}
		if !matches(want, who.Name, who.DisplayName, who.Email, strings.Join(who.Groups, " ")) {
			continue
		}
		if len(b.People) == pageSize {
			b.More = v.p.cfg.Prefix + "/manager/people?" + url.Values{"q": {b.Search}, "after": {b.People[pageSize-1].Name}}.Encode()
			break
		}
		b.People = append(b.People, who)
	}
	return v.show(http.StatusOK, "people", "people", b)
}

// matches reports whether a search, in lower case, is in one of the texts.
func matches(want string, in ...string) bool {
	return want == "" || slices.ContainsFunc(in, func(s string) bool { return strings.Contains(strings.ToLower(s), want) })
}

func (v *visit) newPersonPage() error { return v.show(http.StatusOK, "newperson", "people", choice{}) }

// filled is the form of a person, as it was typed.
func (v *visit) filled() choice {
	return choice{
		Name: plainText(v.typed("name"), 512), DisplayName: plainText(v.typed("display"), 512), Email: plainText(v.typed("email"), 512),
		Groups: plainText(v.typed("groups"), 4096), Admin: v.typed("admin") != "", Errors: make(map[string]string),
	}
}

// groups are words between blanks and commas.
func groups(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' || r == '\n' || r == '\r' || r == '\t' })
}

func (v *visit) newPerson() error {
	c := v.filled()
	who, err := v.p.cfg.People.Create(v.ctx, account.Person{
		Name: v.typed("name"), DisplayName: v.typed("display"), Email: v.typed("email"), Groups: groups(v.typed("groups")), Admin: c.Admin,
	})
	switch {
	case v.named(c.Errors, err):
		return v.show(http.StatusUnprocessableEntity, "newperson", "people", c)
	case err != nil:
		return err
	}
	v.note(PersonCreated, &who, "")
	return v.showLink(&who)
}

// linkBody is what the view is given.
type linkBody struct {
	Who  *account.Person
	Link string
}

// showLink makes a link by which the person chooses a password, and shows it, this
// once. Nobody else chooses it for them (ASVS 5.0, 6.4.6).
func (v *visit) showLink(who *account.Person) error {
	link, err := v.p.RecoveryURL(v.ctx, who.ID)
	if err != nil {
		return err
	}
	v.note(RecoveryOpened, who, "")
	return v.show(http.StatusOK, "link", "people", linkBody{who, link})
}

// personBody is what the view is given.
type personBody struct {
	choice
	Who      *account.Person
	Sessions []sessionRow
	Beyond   int // sessions that are not shown
	Entries  []entryRow
	Self     bool
}

// whom returns the person in the address.
func (v *visit) whom() (*account.Person, error) {
	who, err := v.p.cfg.People.ByID(v.ctx, v.r.PathValue("id"))
	if errors.Is(err, account.ErrNotFound) {
		return nil, statusError(http.StatusNotFound)
	}
	return &who, err
}

func (v *visit) personPage() error {
	who, err := v.whom()
	if err != nil {
		return err
	}
	return v.showPerson(http.StatusOK, who, choice{
		Name: who.Name, DisplayName: who.DisplayName, Email: who.Email, Groups: strings.Join(who.Groups, " "), Admin: who.Admin,
	})
}

func (v *visit) showPerson(status int, who *account.Person, c choice) (err error) {
	b := personBody{choice: c, Who: who, Self: who.ID == v.me.ID}
	var n int
	if b.Sessions, n, err = v.sessionsOf(who.ID); err != nil {
		return err
	}
	b.Beyond = n - len(b.Sessions)
	if b.Entries, _, err = v.entries(account.LogQuery{Person: who.ID}, 10); err != nil {
		return err
	}
	return v.show(status, "person", "people", b)
}

func (v *visit) person() error {
	who, err := v.whom()
	if err != nil {
		return err
	}
	c := v.filled()
	changed, err := v.p.cfg.People.Update(v.ctx, who.ID, func(p *account.Person) error {
		p.Name, p.DisplayName, p.Email, p.Groups, p.Admin = v.typed("name"), v.typed("display"), v.typed("email"), groups(v.typed("groups")), c.Admin
		return nil
	})
	switch {
	case errors.Is(err, account.ErrLastAdmin):
		c.Error = v.lang.text("person.last-admin")
		return v.showPerson(http.StatusUnprocessableEntity, who, c)
	case v.named(c.Errors, err):
		return v.showPerson(http.StatusUnprocessableEntity, who, c)
	case err != nil:
		return err
	}
	v.note(PersonChanged, &changed, changes(who, &changed))
	if changed.Email != who.Email {
		// To both addresses, as when people do it themselves.
		for _, p := range []*account.Person{who, &changed} {
			v.mail(p, "mail.changed.subject", "mail.changed.text", v.lang.text("log."+string(ProfileChanged)))
		}
	}
	v.say("flash.saved")
	return v.redirect("/manager/people/" + who.ID)
}

// changes says what an administrator has changed, and what it is now where that gives
// rights.
func changes(was, is *account.Person) string {
	var all []string
	for what, changed := range map[string]bool{
		"name":         was.Name != is.Name,
		"display name": was.DisplayName != is.DisplayName,
		"address":      was.Email != is.Email,
		"groups: " + strings.Join(is.Groups, " "): !slices.Equal(was.Groups, is.Groups),
		"administrator":    !was.Admin && is.Admin,
		"no administrator": was.Admin && !is.Admin,
	} {
		if changed {
			all = append(all, what)
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// personAction does one thing to a person.
func (v *visit) personAction() error {
	who, err := v.whom()
	if err != nil {
		return err
	}
	self := who.ID == v.me.ID
	update := func(f func(p *account.Person)) error {
		p, err := v.p.cfg.People.Update(v.ctx, who.ID, func(p *account.Person) error { f(p); return nil })
		if err == nil && self {
			v.stay(p.Epoch)
		}
		return err
	}
	over := false // their sessions are
	back := "/manager/people/" + who.ID
	kind, flash := account.Kind(""), ""
	switch v.r.PathValue("action") {
	case "link":
		return v.showLink(who)
	case "end":
		kind, flash = SessionsEnded, "flash.all-ended"
		_, err = v.p.cfg.Sessions.EndAll(v.ctx, session.Query{Owner: who.ID}, v.s.Handle())
	case "disable":
		kind, flash = PersonDisabled, "flash.disabled"
		err = update(func(p *account.Person) { p.Disabled, p.Links = true, nil; p.EndSessions() })
		over = true
	case "enable":
		kind, flash = PersonEnabled, "flash.enabled"
		err = update(func(p *account.Person) { p.Disabled = false })
	case "factors":
		kind, flash = FactorsRemoved, "flash.factors"
		err = update(func(p *account.Person) {
			p.Authenticator, p.RecoveryCodes, p.Passkeys = nil, nil, nil
			p.EndSessions()
		})
		over = true
	case "unban":
		kind, flash = Unbanned, "flash.unbanned"
		err = v.p.cfg.Throttle.Unban(v.ctx, who.Name)
	case "delete":
		kind, flash, back = PersonDeleted, "flash.deleted", "/manager/people"
		if v.typed("sure") != who.Name {
			c := choice{Name: who.Name, DisplayName: who.DisplayName, Email: who.Email, Groups: strings.Join(who.Groups, " "), Admin: who.Admin}
			c.Errors = map[string]string{"sure": v.lang.text("person.sure")}
			return v.showPerson(http.StatusUnprocessableEntity, who, c)
		}
		err = v.p.cfg.People.Delete(v.ctx, who.ID)
		over = true
	default:
		return statusError(http.StatusNotFound)
	}
	if errors.Is(err, account.ErrLastAdmin) {
		c := choice{Name: who.Name, DisplayName: who.DisplayName, Email: who.Email, Groups: strings.Join(who.Groups, " "), Admin: who.Admin}
		c.Error = v.lang.text("person.last-admin")
		return v.showPerson(http.StatusUnprocessableEntity, who, c)
	}
	if err != nil {
		return err
	}
	if kind == FactorsRemoved {
		v.changed(kind, who, "")
	} else {
		v.note(kind, who, "")
	}
	if over {
		v.removeSessions(who.ID)
	}
	if self && (kind == PersonDisabled || kind == PersonDeleted) {
		return v.logout()
	}
	v.say(flash)
	return v.redirect(back)
}

// ---- sessions

// sessionsBody is what the view is given.
type sessionsBody struct {
	Sessions []sessionRow
	Search   string
	Signed   int // sessions of people
	Beyond   int // that match and are not shown
	Chart    chart
}

// maxListed is how many sessions the page looks at in full.
const maxListed = 20_000

func (v *visit) sessions() error {
	b := sessionsBody{Search: plainText(v.r.FormValue("q"), 256)}
	want := strings.ToLower(strings.TrimSpace(b.Search))
	called := make(map[string]string) // by ID
	identify := func(r *sessionRow) error {
		name, ok := called[r.Owner]
		if !ok {
			who, err := v.p.cfg.People.ByID(v.ctx, r.Owner)
			if err != nil && !errors.Is(err, account.ErrNotFound) {
				return err
			}
			name = who.Name
			called[r.Owner] = name
		}
		r.Person, r.PersonID, r.Here = name, r.Owner, r.Handle == v.s.Handle()
		return nil
	}
	for i, err := range v.p.cfg.Sessions.List(v.ctx, session.Query{SignedIn: true, Fields: true}) {
		if err != nil {
			return err
		}
		b.Signed++
		if b.Signed > maxListed {
			b.Beyond++
			continue
		}
		r := row(i)
		if want != "" { // else only those that are shown need their names
			if err := identify(&r); err != nil {
				return err
			}
		}
		if matches(want, r.Person, r.Device, r.Addr, r.Handle.String()) {
			b.Sessions = append(b.Sessions, r)
		}
	}
	slices.SortFunc(b.Sessions, func(a, c sessionRow) int {
		return cmp.Or(c.Seen.Compare(a.Seen), c.Created.Compare(a.Created), strings.Compare(a.Handle.String(), c.Handle.String()))
	})
	if more := len(b.Sessions) - 4*pageSize; more > 0 {
		b.Beyond += more
		b.Sessions = b.Sessions[:4*pageSize]
	}
	for i := range b.Sessions {
		if err := identify(&b.Sessions[i]); err != nil {
			return err
		}
	}
	var err error
	if b.Chart, err = v.chart(b.Signed); err != nil {
		return err
	}
	return v.show(http.StatusOK, "sessions", "sessions", b)
}

// endAny ends anybody's session.
func (v *visit) endAny() error {
	h, err := session.ParseHandle(v.typed("handle"))
	if err != nil {
		return statusError(http.StatusBadRequest)
	}
	if h == v.s.Handle() {
		return v.logout()
	}
	info, err := v.p.cfg.Sessions.Find(v.ctx, h)
	if err == nil {
		err = v.p.cfg.Sessions.End(v.ctx, h)
	}
	switch {
	case errors.Is(err, session.ErrNotFound): // it has ended, which was what was wanted
	case err != nil:
		return err
	default:
		who, err := v.p.cfg.People.ByID(v.ctx, info.Owner)
		if err != nil {
			who = account.Person{ID: info.Owner}
		}
		v.note(SessionEnded, &who, h.String())
	}
	v.say("flash.ended")
	if from, ok := v.p.samePage(v.r.Header.Get("Referer")); ok && v.p.hasPage(from) {
		http.Redirect(v.w, v.r, from, http.StatusSeeOther)
		return errAnswered
	}
	return v.redirect("/manager/sessions")
}

// A chart has a bar for each of the last 24 hours.
type chart struct {
	Hours             []hour
	Top               int // of the scale of sign-ins and refusals
	TopLive           int
	SignIns, Refusals int // altogether
}

type hour struct {
	At       time.Time
	SignIns  int
	Refusals int
	Live     int  // the most sessions of people that were seen
	Known    bool // whether Live is
	X        int  // where its bar begins
	// Heights and places of the bars, of 100.
	SignInY, SignInH, RefusalY, RefusalH, LiveY int
}

// sampled is an entry by which the log remembers how many sessions there were.
// Pages do not list it.
const sampled account.Kind = "sample"

// Sample notes how many sessions of people there are, for the chart of
// administrators. A program calls it every ten minutes or so.
func (p *Pages) Sample(ctx context.Context) error {
	if p.cfg.Log == nil {
		return nil
	}
	n := 0
	for _, err := range p.cfg.Sessions.List(ctx, session.Query{SignedIn: true}) {
		if err != nil {
			return err
		}
		n++
	}
	return p.cfg.Log.Append(ctx, account.Entry{Time: time.Now().UTC(), Kind: sampled, Detail: strconv.Itoa(n)})
}

// chartEntries bounds what is read for the chart: who floods the log with refusals
// must not make the page slow.
const chartEntries = 50_000

func (v *visit) chart(live int) (c chart, err error) {
	if v.p.cfg.Log == nil {
		return c, nil
	}
	now := time.Now().UTC()
	end := now.Truncate(time.Hour).Add(time.Hour)
	start := end.Add(-24 * time.Hour)
	c.Hours = make([]hour, 24)
	for i := range c.Hours {
		c.Hours[i].At = start.Add(time.Duration(i) * time.Hour)
	}
	n := 0
	for e, err := range v.p.cfg.Log.Entries(v.ctx, account.LogQuery{Since: start}) {
		if err != nil {
			return c, err
		}
		if n++; n > chartEntries {
			break
		}
		if e.Time.Before(start) || clock.Ahead(e.Time, now) {
			continue // a clock was changed
		}
		i := min(int(e.Time.Sub(start)/time.Hour), len(c.Hours)-1)
		h := &c.Hours[i]
		switch e.Kind {
		case SignedIn:
			h.SignIns++
			c.SignIns++
		case Refused, Throttled:
			h.Refusals++
			c.Refusals++
		case sampled:
			if n, err := strconv.Atoi(e.Detail); err == nil {
				h.Live, h.Known = max(h.Live, n), true
			}
		}
	}
	last := &c.Hours[len(c.Hours)-1]
	last.Live, last.Known = max(last.Live, live), true
	for _, h := range c.Hours {
		c.Top, c.TopLive = max(c.Top, h.SignIns+h.Refusals), max(c.TopLive, h.Live)
	}
	for i := range c.Hours {
		h := &c.Hours[i]
		h.X = 10 * i
		h.SignInH = share(h.SignIns, c.Top)
		h.RefusalH = share(h.Refusals, c.Top)
		h.SignInY = 100 - h.SignInH
		h.RefusalY = h.SignInY - h.RefusalH
		h.LiveY = 100 - share(h.Live, c.TopLive)
	}
	return c, nil
}

// share is n as a part of most, of 100; what there is at all is seen.
func share(n, most int) int {
	if n == 0 || most == 0 {
		return 0
	}
	return max(n*100/most, 2)
}

// ---- the log

// entryRow is an entry as pages show it.
type entryRow struct {
	account.Entry
	What   string
	Device string
	By     string // a name
	More   string
}

// entries are the newest that a query selects, and the number below which there
// are more, or 0.
func (v *visit) entries(q account.LogQuery, most int) (rows []entryRow, more int64, err error) {
	if v.p.cfg.Log == nil {
		return nil, 0, nil
	}
	called := make(map[string]string)
	for e, err := range v.p.cfg.Log.Entries(v.ctx, q) {
		if err != nil {
			return nil, 0, err
		}
		if e.Kind == sampled {
			continue
		}
		if len(rows) == most {
			return rows, rows[most-1].Number, nil
		}
		r := entryRow{Entry: e, What: v.lang.text("log." + string(e.Kind)), Device: describe(e.Agent), More: v.lang.detail(e.Detail)}
		if e.By != "" {
			name, ok := called[e.By]
			if !ok {
				who, err := v.p.cfg.People.ByID(v.ctx, e.By)
				if err != nil && !errors.Is(err, account.ErrNotFound) {
					return nil, 0, err
				}
				name = cmp.Or(who.Name, e.By)
				called[e.By] = name
			}
			r.By = name
		}
		rows = append(rows, r)
	}
	return rows, 0, nil
}

// detail is that of an entry in the language, where it is a word of ours, be it with
// the number of entries that it is for.
func (l *language) detail(s string) string {
	word, times, counted := strings.Cut(s, " ×")
	if text, ok := l.texts["detail."+word]; ok && counted {
		return text + " ×" + times
	} else if ok {
		return text
	}
	return s
}

// logBody is what the view is given.
type logBody struct {
	Entries []entryRow
	Kinds   []account.Kind
	Kind    account.Kind
	Person  string // a name
	Unknown bool   // nobody has it
	More    string // the address of the next page
	None    bool   // nothing is kept
}

func (v *visit) logPage() error {
	b := logBody{Kinds: kinds, Kind: account.Kind(v.r.FormValue("kind")), Person: plainText(v.r.FormValue("person"), 256), None: v.p.cfg.Log == nil}
	if !slices.Contains(kinds, b.Kind) {
		b.Kind = ""
	}
	q := account.LogQuery{Kind: b.Kind}
	if b.Person != "" {
		who, err := v.p.cfg.People.ByName(v.ctx, b.Person)
		switch {
		case errors.Is(err, account.ErrNotFound):
			b.Unknown = true
			return v.show(http.StatusOK, "log", "log", b)
		case err != nil:
			return err
		}
		q.Person = who.ID
	}
	// What is no number begins at the newest.
	q.Before, _ = strconv.ParseInt(v.r.FormValue("before"), 10, 64)
	q.Before = max(q.Before, 0)
	rows, more, err := v.entries(q, pageSize)
	if err != nil {
		return err
	}
	b.Entries = rows
	if more > 0 {
		b.More = v.p.cfg.Prefix + "/manager/log?" + url.Values{
			"kind": {string(b.Kind)}, "person": {b.Person}, "before": {strconv.FormatInt(more, 10)},
		}.Encode()
	}
	return v.show(http.StatusOK, "log", "log", b)
}
