package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

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
	return c.with(ctx, func(o *operator) error {
		p := account.Person{Name: c.Name, DisplayName: c.Display, Email: c.Email, Groups: c.Group, Admin: c.Admin}
		if c.PasswordFile != "" {
			secret, err := passwordFrom(c.PasswordFile)
			if err != nil {
				return err
			}
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

// passwordFrom reads a password from a file, or from standard input.
func passwordFrom(path string) (string, error) {
	if path != "-" {
		return secretIn(path)
	}
	return readSecret(os.Stdin)
}

// typed asks for a password twice, without showing it.
func typed(prompt io.Writer) (string, error) {
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		return "", usageError{errors.New("there is nobody to ask: give --password-file, - for standard input")}
	}
	var all [2]string
	for i, ask := range []string{"New password: ", "Again: "} {
		fmt.Fprint(prompt, ask)
		b, err := term.ReadPassword(fd)
		fmt.Fprintln(prompt)
		if err != nil {
			return "", err
		}
		all[i] = string(b)
	}
	if all[0] != all[1] {
		return "", errors.New("the two are not the same: try again")
	}
	return all[0], nil
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
	return c.with(ctx, func(o *operator) error {
		p, err := o.named(ctx, c.Name)
		if err != nil {
			return err
		}
		var secret string
		if c.PasswordFile != "" {
			secret, err = passwordFrom(c.PasswordFile)
		} else {
			secret, err = typed(std.err)
		}
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
		t, err := throttle.New(throttle.Config{Store: o.store, Key: key})
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

// ---- import

type userImportCmd struct {
	reach
	File   string `arg:"" help:"CSV whose first line names the columns, or JSON, an object on each line; - for standard input."`
	DryRun bool   `name:"dry-run" help:"Look at the lines, and change nothing."`
}

// Help is what `gatehouse user import --help` says besides.
func (userImportCmd) Help() string {
	return "The columns are name, display_name, email, groups (words with blanks between them), admin " +
		"(true or false) and password_hash, of which only the first is needed. Hashes can be argon2id, bcrypt " +
		"and scrypt, and those of Django and Werkzeug. Every good line is taken; each bad one is told with its " +
		"number, and the exit status is then 1."
}

// imported is a line of an import.
type imported struct {
	Name         string `json:"name"`
	DisplayName  string `json:"display_name"`
	Email        string `json:"email"`
	Groups       words  `json:"groups"`
	Admin        bool   `json:"admin"`
	PasswordHash string `json:"password_hash"`
}

// words are a list of JSON, or a text with blanks between.
type words []string

// UnmarshalJSON implements [json.Unmarshaler].
func (w *words) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*w = strings.Fields(s)
		return nil
	}
	return json.Unmarshal(b, (*[]string)(w))
}

func (c *userImportCmd) Run(ctx context.Context, std streams) error {
	in := io.Reader(os.Stdin)
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	return c.with(ctx, func(o *operator) error {
		var dry *account.Directory // what a dry run works on
		if c.DryRun {
			var err error
			if dry, err = o.copied(ctx); err != nil {
				return err
			}
		}
		good, bad := 0, 0
		for n, one := range people(in) {
			err := one.err
			if err == nil {
				err = c.one(ctx, o, dry, one.imported)
			}
			if err != nil && !badLine(err) {
				return fmt.Errorf("line %d, after %d that were taken: %w", n, good, err)
			}
			if err != nil {
				bad++
				fmt.Fprintf(std.err, "line %d: %v\n", n, err)
				continue
			}
			if good++; good%1000 == 0 {
				fmt.Fprintf(std.err, "%d lines are taken\n", good)
			}
		}
		what := "taken"
		if c.DryRun {
			what = "good"
		}
		fmt.Fprintf(std.err, "%d lines are %s, %d are not.\n", good, what, bad)
		if bad > 0 {
			return errors.New("some lines are bad: see above")
		}
		return nil
	})
}

// errLine says that a line cannot be read.
var errLine = errors.New("not a line that can be read")

// badLine reports whether an error is that of a line, and the next one may be good.
func badLine(err error) bool {
	for _, e := range []error{errLine, account.ErrName, account.ErrPerson, account.ErrNameTaken, account.ErrEmailTaken, password.ErrFormat} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// copied returns a directory in memory with the names and addresses of all, so that
// whatever cannot be taken is told without anything being changed.
func (o *operator) copied(ctx context.Context) (*account.Directory, error) {
	dry, err := account.New(account.Config{Store: new(account.Memory)})
	if err != nil {
		return nil, err
	}
	for p, err := range o.people.List(ctx, "") {
		if err == nil {
			_, err = dry.Create(ctx, account.Person{Name: p.Name, Email: p.Email})
		}
		if err != nil {
			return nil, err
		}
	}
	return dry, nil
}

// one adds a person, to dry if it is there.
func (c *userImportCmd) one(ctx context.Context, o *operator, dry *account.Directory, in imported) error {
	p := account.Person{Name: in.Name, DisplayName: in.DisplayName, Email: in.Email, Groups: in.Groups, Admin: in.Admin, Password: in.PasswordHash}
	if in.PasswordHash != "" {
		if err := password.Check(in.PasswordHash); err != nil {
			return err
		}
		p.PasswordSet = time.Now().UTC().Truncate(time.Second)
	}
	if dry != nil {
		_, err := dry.Create(ctx, p)
		return err
	}
	p, err := o.people.Create(ctx, p)
	if err != nil {
		return err
	}
	return o.note(ctx, signin.PersonCreated, &p)
}

// read is a line that was read, or why not.
type read struct {
	imported
	err error
}

// people yields the lines of a file and their numbers, in whichever of the two forms
// it is.
func people(r io.Reader) func(yield func(int, read) bool) {
	in := bufio.NewReaderSize(r, 64<<10)
	return func(yield func(int, read) bool) {
		start, _ := in.Peek(64) // what is shorter is there all the same
		trimmed := strings.TrimLeft(strings.TrimPrefix(string(start), "\ufeff"), " \t\r\n")
		if strings.HasPrefix(trimmed, "{") {
			jsonLines(in, yield)
		} else {
			csvLines(in, yield)
		}
	}
}

// maxLine bounds a line of JSON.
const maxLine = 1 << 20

func jsonLines(in *bufio.Reader, yield func(int, read) bool) {
	for n := 1; ; n++ {
		text, err := nextLine(in)
		if errors.Is(err, io.EOF) {
			return
		}
		one := read{err: err}
		if err == nil {
			if text = strings.TrimSpace(strings.TrimPrefix(text, "\ufeff")); text == "" {
				continue
			}
			one.err = one.parse(text)
		}
		if !yield(n, one) {
			return
		}
	}
}

// nextLine returns the next line, or errLine if it is longer than any may be.
func nextLine(in *bufio.Reader) (string, error) {
	var line []byte
	long := false
	for {
		part, err := in.ReadSlice('\n')
		if long = long || len(line)+len(part) > maxLine; !long {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && (len(line) > 0 || long), err == nil: // the last one need not end
		default:
			return "", err
		}
		if long {
			return "", fmt.Errorf("%w: longer than %d bytes", errLine, maxLine)
		}
		return string(line), nil
	}
}

// parse reads an object of JSON. Its text may have a hash in it, and is not quoted.
func (r *read) parse(text string) error {
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(&r.imported)
	if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		what := "it"
		if mismatch.Field != "" {
			what = strconv.Quote(mismatch.Field)
		}
		return fmt.Errorf("%w: %s cannot be of the kind %s", errLine, what, mismatch.Value)
	}
	if err != nil {
		return fmt.Errorf("%w: %v", errLine, err) //nolint:errorlint // the kind is what matters
	}
	if d.More() {
		return fmt.Errorf("%w: more than one object", errLine)
	}
	return nil
}

var columns = []string{"name", "display_name", "email", "groups", "admin", "password_hash"}

func csvLines(in io.Reader, yield func(int, read) bool) {
	r := csv.NewReader(in)
	r.FieldsPerRecord = -1
	head, err := r.Read()
	if errors.Is(err, io.EOF) {
		return
	}
	if err != nil {
		yield(1, read{err: err})
		return
	}
	for i := range head {
		head[i] = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(head[i], "\ufeff")))
		if !slices.Contains(columns, head[i]) {
			yield(1, read{err: fmt.Errorf("%q is no column; did you mean %q?", head[i], nearest(head[i], columns))})
			return
		}
		if slices.Contains(head[:i], head[i]) {
			yield(1, read{err: fmt.Errorf("the column %q is there twice", head[i])})
			return
		}
	}
	if !slices.Contains(head, "name") {
		yield(1, read{err: errors.New("there is no column name")})
		return
	}
	for n := 1; ; {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		var one read
		if wrong, ok := errors.AsType[*csv.ParseError](err); ok {
			n, one.err = wrong.StartLine, fmt.Errorf("%w: %w", errLine, wrong.Err)
		} else if err != nil {
			yield(n+1, read{err: err})
			return
		} else {
			n, _ = r.FieldPos(0)
			one = fromCells(head, cells)
		}
		if !yield(n, one) {
			return
		}
	}
}

func fromCells(head, cells []string) (one read) {
	if len(cells) != len(head) {
		one.err = fmt.Errorf("%w: it has %d cells, not %d", errLine, len(cells), len(head))
		return one
	}
	for i, cell := range cells {
		switch head[i] {
		case "name":
			one.Name = cell
		case "display_name":
			one.DisplayName = cell
		case "email":
			one.Email = cell
		case "groups":
			one.Groups = strings.Fields(cell)
		case "admin":
			admin, err := strconv.ParseBool(strings.TrimSpace(cell))
			if err != nil && strings.TrimSpace(cell) != "" {
				one.err = fmt.Errorf("%w: admin is true or false", errLine)
			}
			one.Admin = admin
		case "password_hash":
			one.PasswordHash = strings.TrimSpace(cell)
		}
	}
	return one
}
