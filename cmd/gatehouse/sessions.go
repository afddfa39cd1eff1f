package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/signin"
)

type sessionCmd struct {
	List sessionListCmd `cmd:"" help:"List sessions of people."`
	Show sessionShowCmd `cmd:"" help:"Show one session, without what it keeps."`
	End  sessionEndCmd  `cmd:"" help:"End sessions."`
}

type sessionListCmd struct {
	reach
	User string `placeholder:"NAME" help:"Those of one person."`
	JSON bool   `help:"One object of JSON on each line."`
}

func (c *sessionListCmd) Run(ctx context.Context, std streams) error {
	return c.with(ctx, func(o *operator) error {
		q := session.Query{SignedIn: true}
		if c.User != "" {
			p, err := o.named(ctx, c.User)
			if err != nil {
				return err
			}
			q = session.Query{Owner: p.ID}
		}
		return o.listSessions(ctx, q, c.JSON, std.out)
	})
}

// sessionLine is a session as programs read it.
type sessionLine struct {
	Handle  session.Handle `json:"handle"`
	Person  string         `json:"person"`
	Name    string         `json:"name,omitempty"`
	Created time.Time      `json:"created"`
	Seen    time.Time      `json:"seen"`
	Ends    time.Time      `json:"ends"`
	Device  string         `json:"device,omitempty"`
	Addr    string         `json:"addr,omitempty"`
	Factor  string         `json:"factor,omitempty"`
}

func lineOfSession(i session.Info, name string) sessionLine {
	d := signin.DeviceOf(i)
	return sessionLine{i.Handle, i.Owner, name, i.Created.UTC(), i.Seen.UTC(), i.Deadline.UTC(), d.Name, d.Addr, d.Factor}
}

// nameOf returns that of a person; empty if they are gone.
func (o *operator) nameOf(ctx context.Context, id string) (string, error) {
	p, err := o.people.ByID(ctx, id)
	if errors.Is(err, account.ErrNotFound) {
		return "", nil
	}
	return p.Name, err
}

func (o *operator) listSessions(ctx context.Context, q session.Query, asJSON bool, out io.Writer) error {
	q.Fields = true
	t := newTable(out, asJSON, "HANDLE", "NAME", "SEEN", "SIGNED IN", "ADDRESS", "DEVICE")
	called := make(map[string]string)
	var all []sessionLine
	for i, err := range o.sessions.List(ctx, q) {
		if err != nil {
			return err
		}
		name, ok := called[i.Owner]
		if !ok {
			if name, err = o.nameOf(ctx, i.Owner); err != nil {
				return err
			}
			called[i.Owner] = name
		}
		all = append(all, lineOfSession(i, name))
	}
	slices.SortFunc(all, func(a, b sessionLine) int { return b.Seen.Compare(a.Seen) })
	for _, l := range all {
		if err := t.add(l, l.Handle.String(), l.Name, l.Seen.Format("2006-01-02 15:04"), l.Created.Format("2006-01-02 15:04"), l.Addr, l.Device); err != nil {
			return err
		}
	}
	return t.end()
}

type sessionShowCmd struct {
	reach
	Handle string `arg:"" help:"Which one, as session list shows it."`
	JSON   bool   `help:"As an object of JSON."`
}

// sessionDetail is a session with all that is known of it but the values, which are
// the application's and may be secrets.
type sessionDetail struct {
	sessionLine
	Labels map[string]string `json:"labels,omitempty"`
	Values map[string]int    `json:"values,omitempty"` // how many bytes of JSON
}

func (c *sessionShowCmd) Run(ctx context.Context, std streams) error {
	return c.with(ctx, func(o *operator) error {
		i, err := o.find(ctx, c.Handle)
		if err != nil {
			return err
		}
		name, err := o.nameOf(ctx, i.Owner)
		if err != nil {
			return err
		}
		d := sessionDetail{lineOfSession(i, name), make(map[string]string), make(map[string]int)}
		for _, l := range i.Labels {
			d.Labels[l.Name] = l.Value
		}
		for _, f := range i.Fields {
			d.Values[f.Key] = len(f.Value)
		}
		if c.JSON {
			return newTable(std.out, true).add(d)
		}
		rows := [][2]string{
			{"handle", d.Handle.String()},
			{"name", d.Name},
			{"person", d.Person},
			{"signed in with", d.Factor},
			{"device", d.Device},
			{"address", d.Addr},
			{"since", d.Created.Format(time.RFC3339)},
			{"seen", d.Seen.Format(time.RFC3339)},
			{"ends", d.Ends.Format(time.RFC3339)},
		}
		for _, l := range slices.Sorted(maps.Keys(d.Labels)) {
			rows = append(rows, [2]string{"label " + l, d.Labels[l]})
		}
		for _, k := range slices.Sorted(maps.Keys(d.Values)) {
			rows = append(rows, [2]string{"keeps " + k, fmt.Sprintf("%d bytes", d.Values[k])})
		}
		return pairs(std.out, rows)
	})
}

// find returns a session of a handle that somebody has typed.
func (o *operator) find(ctx context.Context, handle string) (session.Info, error) {
	h, err := session.ParseHandle(handle)
	if err != nil {
		return session.Info{}, usageError{err}
	}
	i, err := o.sessions.Find(ctx, h)
	if errors.Is(err, session.ErrNotFound) {
		err = fmt.Errorf("%w; `gatehouse session list` shows which there are", err)
	}
	return i, err
}

type sessionEndCmd struct {
	reach
	Handle string `arg:"" optional:"" help:"Which one, as session list shows it."`
	User   string `placeholder:"NAME" help:"All of one person."`
	All    bool   `help:"All there are: everybody has to sign in again."`
}

func (c *sessionEndCmd) Run(ctx context.Context, std streams) error {
	given := 0
	for _, yes := range []bool{c.Handle != "", c.User != "", c.All} {
		if yes {
			given++
		}
	}
	if given != 1 {
		return usageError{errors.New("give a handle, --user NAME, or --all")}
	}
	return c.with(ctx, func(o *operator) error {
		switch {
		case c.Handle != "":
			return o.end(ctx, c.Handle)
		case c.User != "":
			p, err := o.named(ctx, c.User)
			if err != nil {
				return err
			}
			return o.endAll(ctx, &p)
		}
		n, err := o.sessions.EndAll(ctx, session.Query{All: true})
		fmt.Fprintf(std.err, "%d sessions have ended.\n", n)
		return errors.Join(err, o.note(ctx, signin.SessionsEnded, new(account.Person)))
	})
}

func (o *operator) end(ctx context.Context, handle string) error {
	info, err := o.find(ctx, handle)
	if err == nil {
		err = o.sessions.End(ctx, info.Handle)
	}
	if err != nil {
		return err
	}
	p, err := o.people.ByID(ctx, info.Owner)
	if err != nil {
		p = account.Person{ID: info.Owner}
	}
	return o.note(ctx, signin.SessionEnded, &p)
}

type auditCmd struct {
	reach
	User  string        `placeholder:"NAME" help:"What concerns one person."`
	Kind  string        `placeholder:"KIND" help:"One kind, such as sign-in or refused."`
	Since time.Duration `placeholder:"TIME" help:"Of so long ago, such as 24h."`
	Limit int           `default:"100" placeholder:"N" help:"At most so many, 0 for all (${default})."`
	JSON  bool          `help:"One object of JSON on each line."`
}

func (c *auditCmd) Run(ctx context.Context, std streams) error {
	if c.Since < 0 {
		return usageError{fmt.Errorf("--since %v: say how long ago, such as 24h", c.Since)}
	}
	if c.Limit < 0 {
		return usageError{fmt.Errorf("--limit %d: give a number, 0 for all", c.Limit)}
	}
	return c.with(ctx, func(o *operator) error {
		q := account.LogQuery{Kind: account.Kind(c.Kind)}
		if c.Since > 0 {
			q.Since = time.Now().Add(-c.Since)
		}
		if c.User != "" {
			p, err := o.named(ctx, c.User)
			if err != nil {
				return err
			}
			q.Person = p.ID
		}
		t := newTable(std.out, c.JSON, "TIME", "WHAT", "NAME", "DETAIL", "ADDRESS", "SESSION")
		n := 0
		for e, err := range o.log.Entries(ctx, q) {
			if err != nil {
				return err
			}
			if n++; c.Limit > 0 && n > c.Limit {
				break
			}
			addr := ""
			if e.Addr.IsValid() {
				addr = e.Addr.String()
			}
			if err := t.add(e, e.Time.UTC().Format("2006-01-02 15:04:05"), string(e.Kind), e.Name, e.Detail, addr, e.Session); err != nil {
				return err
			}
		}
		// Applications may have kinds of their own in the log, so that others than
		// ours are no mistake before there is nothing of them.
		if n == 0 && c.Kind != "" && !slices.Contains(signin.Kinds(), q.Kind) {
			fmt.Fprintf(std.err, "Nothing in the log is of the kind %q; did you mean %q?\n", c.Kind, nearest(c.Kind, kindNames()))
		}
		return t.end()
	})
}

func kindNames() (all []string) {
	for _, k := range signin.Kinds() {
		all = append(all, string(k))
	}
	return all
}
