package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/password"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/signin"
	"github.com/seed-64ad3862/gatehouse/throttle"
)

type userCmd struct {
	Add     userAddCmd     `cmd:"" help:"Add somebody, who chooses a password by a link."`
	List    userListCmd    `cmd:"" help:"List people."`
	Show    userShowCmd    `cmd:"" help:"Show one person, with their sessions."`
	Passwd  userPasswdCmd  `cmd:"" help:"Set somebody's password."`
	Recover userRecoverCmd `cmd:"" help:"Make a link by which somebody chooses another password."`
	Disable userDisableCmd `cmd:"" help:"Shut somebody out, and end their sessions."`
	Enable  userEnableCmd  `cmd:"" help:"Let somebody in again."`
	Delete  userDeleteCmd  `cmd:"" help:"Delete somebody, and end their sessions."`
	Import  userImportCmd  `cmd:"" help:"Add people from a file of CSV or JSON lines."`
	Unban   userUnbanCmd   `cmd:"" help:"Forget somebody's failed attempts."`
}

// link is how people get to choose a password.
type link struct {
	PublicURL string `name:"public-url" placeholder:"URL" help:"Where browsers find the site; where the server says it is if empty."`
}

func (l *link) print(ctx context.Context, o *operator, p *account.Person, out io.Writer) error {
	site, err := hear(ctx, o.records)
	if err != nil {
		return err
	}
	token, err := o.people.NewLink(ctx, p.ID, account.Recovery, time.Hour)
	if err != nil {
		return err
	}
	if err := o.note(ctx, signin.RecoveryOpened, p); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s/recover/%s\n", strings.TrimSuffix(cmp.Or(l.PublicURL, site.PublicURL), "/"), token)
	return nil
}

type userAddCmd struct {
	reach
	link
	Name         string   `arg:"" help:"What they type to sign in."`
	Display      string   `placeholder:"TEXT" help:"What others see."`
	Email        string   `placeholder:"ADDRESS" help:"Where links for recovery go."`
	Group        []string `placeholder:"WORD" help:"Groups they are in."`
	Admin        bool     `help:"They may manage others."`
	PasswordFile string   `name:"password-file" placeholder:"FILE" help:"Holds the password, - for standard input; without it there is a link."`
}

func (c *userAddCmd) Run(ctx context.Context, std streams) error {
	var secret string
	if c.PasswordFile != "" {
		var err error
		if secret, err = passwordFrom(ctx, c.PasswordFile); err != nil {
			return err
		}
	}
	return c.with(ctx, func(o *operator) error {
		p := account.Person{Name: c.Name, DisplayName: c.Display, Email: c.Email, Groups: c.Group, Admin: c.Admin}
		if c.PasswordFile != "" {
			var err error
			if p.Password, err = o.hashed(ctx, secret, c.Name, c.Display, c.Email); err != nil {
				return err
			}
			p.PasswordSet = time.Now().UTC().Truncate(time.Second)
		}
		p, err := o.people.Create(ctx, p)
		if err != nil {
			return err
		}
		if err := o.note(ctx, signin.PersonCreated, &p); err != nil {
			return err
		}
		if p.Password != "" {
			fmt.Fprintf(std.err, "%s can sign in.\n", p.Name)
			return nil
		}
		fmt.Fprintf(std.err, "With this link, good for an hour and one use, %s chooses a password:\n", p.Name)
		return c.print(ctx, o, &p, std.out)
	})
}

// hashed returns the hash of a password that the server would let them choose.
func (o *operator) hashed(ctx context.Context, secret string, about ...string) (string, error) {
	site, err := hear(ctx, o.records)
	if err != nil {
		return "", err
	}
	policy := site.policy()
	if err := policy.Check(ctx, secret, about...); errors.Is(err, password.ErrShort) {
		return "", fmt.Errorf("%w: it needs %d characters", err, max(policy.Length, password.MinLength))
	} else if err != nil {
		return "", err
	}
	h, err := password.New(password.Config{})
	if err != nil {
		return "", err
	}
	return h.Hash(ctx, secret)
}

// line is a person as programs read it: without anything secret.
type line struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	DisplayName string    `json:"display_name,omitempty"`
	Email       string    `json:"email,omitempty"`
	Groups      []string  `json:"groups,omitempty"`
	Admin       bool      `json:"admin"`
	Disabled    bool      `json:"disabled"`
	Created     time.Time `json:"created"`
	Password    bool      `json:"password"`
	App         bool      `json:"authenticator"`
	Passkeys    int       `json:"passkeys"`
}

func lineOfPerson(p *account.Person) line {
	return line{p.ID, p.Name, p.DisplayName, p.Email, p.Groups, p.Admin, p.Disabled, p.Created, p.Password != "", p.Authenticator != nil, len(p.Passkeys)}
}

func (l *line) factors() string {
	var all []string
	if l.Password {
		all = append(all, "password")
	}
	if l.App {
		all = append(all, "app")
	}
	if l.Passkeys > 0 {
		all = append(all, "passkeys:"+strconv.Itoa(l.Passkeys))
	}
	if all == nil {
		return "none yet"
	}
	return strings.Join(all, " ")
}

func (l *line) role() string {
	switch {
	case l.Disabled:
		return "disabled"
	case l.Admin:
		return "admin"
	}
	return "-"
}

type userListCmd struct {
	reach
	JSON bool `help:"One object of JSON on each line."`
}

func (c *userListCmd) Run(ctx context.Context, std streams) error {
	return c.with(ctx, func(o *operator) error {
		table := newTable(std.out, c.JSON, "NAME", "ROLE", "FACTORS", "EMAIL", "GROUPS")
		for p, err := range o.people.List(ctx, "") {
			if err != nil {
				return err
			}
			l := lineOfPerson(&p)
			if err := table.add(l, l.Name, l.role(), l.factors(), l.Email, strings.Join(l.Groups, " ")); err != nil {
				return err
			}
		}
		return table.end()
	})
}

type userShowCmd struct {
	reach
	Name string `arg:"" help:"Whom."`
	JSON bool   `help:"As an object of JSON."`
}

func (c *userShowCmd) Run(ctx context.Context, std streams) error {
	return c.with(ctx, func(o *operator) error {
		p, err := o.named(ctx, c.Name)
		if err != nil {
			return err
		}
		l := lineOfPerson(&p)
		if c.JSON {
			return newTable(std.out, true).add(l)
		}
		if err := pairs(std.out, [][2]string{
			{"name", l.Name},
			{"display name", l.DisplayName},
			{"e-mail", l.Email},
			{"groups", strings.Join(l.Groups, " ")},
			{"role", l.role()},
			{"factors", l.factors()},
			{"created", l.Created.Format(time.RFC3339)},
			{"id", l.ID},
		}); err != nil {
			return err
		}
		fmt.Fprintln(std.out)
		return o.listSessions(ctx, session.Query{Owner: p.ID}, false, std.out)
	})
}

type userPasswdCmd struct {
	reach
	Name         string `arg:"" help:"Whose."`
	PasswordFile string `name:"password-file" placeholder:"FILE" help:"Holds the password, - for standard input; without it you are asked."`
}

func (c *userPasswdCmd) Run(ctx context.Context, std streams) error {
	// Nobody has the database while somebody thinks about a password.
	if err := c.with(ctx, func(o *operator) error { _, err := o.named(ctx, c.Name); return err }); err != nil {
		return err
	}
	var secret string
	var err error
	if c.PasswordFile != "" {
		secret, err = passwordFrom(ctx, c.PasswordFile)
	} else {
		secret, err = typed(ctx, std.err)
	}
	if err != nil {
		return err
	}
	return c.with(ctx, func(o *operator) error {
		p, err := o.named(ctx, c.Name)
		if err != nil {
			return err
		}
		encoded, err := o.hashed(ctx, secret, p.Name, p.DisplayName, p.Email)
		if err != nil {
			return err
		}
		if _, err := o.people.Update(ctx, p.ID, func(p *account.Person) error {
			p.Password, p.PasswordSet = encoded, time.Now().UTC().Truncate(time.Second)
			p.EndSessions()
			return nil
		}); err != nil {
			return err
		}
		fmt.Fprintf(std.err, "%s has another password, and is signed out everywhere.\n", p.Name)
		return errors.Join(o.note(ctx, signin.PasswordChanged, &p), o.endAll(ctx, &p))
	})
}

type userRecoverCmd struct {
	reach
	link
	Name string `arg:"" help:"Whom."`
}

func (c *userRecoverCmd) Run(ctx context.Context, std streams) error {
	return c.with(ctx, func(o *operator) error {
		p, err := o.named(ctx, c.Name)
		if err != nil {
			return err
		}
		fmt.Fprintf(std.err, "With this link, good for an hour and one use, %s chooses a password:\n", p.Name)
		return c.print(ctx, o, &p, std.out)
	})
}

type userDisableCmd struct {
	reach
	Name string `arg:"" help:"Whom."`
}

func (c *userDisableCmd) Run(ctx context.Context, std streams) error {
	return c.with(ctx, func(o *operator) error {
		p, err := o.named(ctx, c.Name)
		if err != nil {
			return err
		}
		// First the person, then the sessions, so that none can begin between.
		if _, err := o.people.Update(ctx, p.ID, func(p *account.Person) error {
			p.Disabled, p.Links = true, nil
			p.EndSessions()
			return nil
		}); err != nil {
			return err
		}
		fmt.Fprintf(std.err, "%s cannot sign in, and is signed out everywhere.\n", p.Name)
		return errors.Join(o.note(ctx, signin.PersonDisabled, &p), o.endAll(ctx, &p))
	})
}

type userEnableCmd struct {
	reach
	Name string `arg:"" help:"Whom."`
}

func (c *userEnableCmd) Run(ctx context.Context, std streams) error {
	return c.with(ctx, func(o *operator) error {
		p, err := o.named(ctx, c.Name)
		if err != nil {
			return err
		}
		if _, err := o.people.Update(ctx, p.ID, func(p *account.Person) error { p.Disabled = false; return nil }); err != nil {
			return err
		}
		fmt.Fprintf(std.err, "%s can sign in.\n", p.Name)
		return o.note(ctx, signin.PersonEnabled, &p)
	})
}

type userDeleteCmd struct {
	reach
	Name string `arg:"" help:"Whom."`
	Yes  bool   `help:"You are sure."`
}

func (c *userDeleteCmd) Run(ctx context.Context, std streams) error {
	if !c.Yes {
		return usageError{errors.New("this cannot be undone: add --yes if you are sure")}
	}
	return c.with(ctx, func(o *operator) error {
		p, err := o.named(ctx, c.Name)
		if err != nil {
			return err
		}
		if err := o.people.Delete(ctx, p.ID); err != nil {
			return err
		}
		fmt.Fprintf(std.err, "%s is deleted, and signed out everywhere.\n", p.Name)
		return errors.Join(o.note(ctx, signin.PersonDeleted, &p), o.endAll(ctx, &p))
	})
}

type userUnbanCmd struct {
	reach
	Name string `arg:"" help:"Whose."`
}

func (c *userUnbanCmd) Run(ctx context.Context, std streams) error {
	return c.with(ctx, func(o *operator) error {
		canonical, err := account.Canonical(c.Name)
		if err != nil {
			return err
		}
		key, err := o.people.Secret(ctx, throttleSecret)
		if err != nil {
			return err
		}
		t, err := throttle.New(throttle.Config{Store: o.store, Key: key, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return err
		}
		if err := t.Unban(ctx, canonical); err != nil {
			return err
		}
		fmt.Fprintf(std.err, "Failed attempts for %s are forgotten.\n", canonical)
		p, err := o.people.ByName(ctx, canonical)
		if errors.Is(err, account.ErrNotFound) {
			return nil // attempts are counted for names that nobody has, too
		}
		return errors.Join(err, o.note(ctx, signin.Unbanned, &p))
	})
}
