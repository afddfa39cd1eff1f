package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/BurntSushi/toml"
	"golang.org/x/term"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/password"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/signin"
	"github.com/seed-64ad3862/gatehouse/store/sqlite"
	"github.com/seed-64ad3862/gatehouse/throttle"
)

// reach are the settings by which a command reaches what a server keeps.
type reach struct {
	Database             string `default:"gatehouse.db" placeholder:"FILE|URL" help:"That of the server (${default})."`
	DatabasePasswordFile string `name:"database-password-file" placeholder:"FILE" help:"Holds the password for the database."`
	Sessions             string `placeholder:"URL" help:"Sessions in Redis, if the server has them there."`
	SessionsPasswordFile string `name:"sessions-password-file" placeholder:"FILE" help:"Holds the password for Redis."`
}

// An operator is who gives commands.
type operator struct {
	people   *account.Directory
	log      account.Log
	sessions *session.Manager
	store    throttle.Store // nil: in the memory of the server
	close    func()
}

// connect reaches a server that is running, through its socket, or else its
// database.
func (r *reach) connect(ctx context.Context) (*operator, error) {
	quiet := slog.New(slog.DiscardHandler)
	s := &server{settings: settings{
		Database: r.Database, DatabasePasswordFile: r.DatabasePasswordFile, Sessions: r.Sessions, SessionsPasswordFile: r.SessionsPasswordFile,
	}, log: quiet}
	all, err := s.reach(ctx)
	if err != nil {
		s.close()
		return nil, err
	}
	o := &operator{log: all.log, store: all.throttle, close: s.close}
	if o.people, err = account.New(account.Config{Store: all.people}); err == nil {
		o.sessions, err = session.New(session.Config{Store: all.sessions, Logger: quiet})
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return o, nil
}

// reach is open, but does not make a file, and shares it with a server.
func (s *server) reach(ctx context.Context) (*stores, error) {
	if isPostgres(s.Database) {
		return s.open(ctx)
	}
	if _, err := os.Stat(s.Database); err != nil {
		return nil, fmt.Errorf("%w: `gatehouse serve` makes it; --database says where it is", err)
	}
	db, err := sqlite.Connect(ctx, s.Database)
	if err != nil {
		return nil, err
	}
	s.onClose(func() { _ = db.Close() }) // what was written is there
	all := &stores{sessions: db, people: db.Accounts(), log: db.Accounts(), once: db}
	if s.Sessions == "" {
		return all, nil
	}
	store, err := s.openRedis(ctx)
	if err != nil {
		return nil, err
	}
	all.sessions, all.once, all.throttle = store, store, store.Throttle()
	return all, nil
}

// note tells the log who has done it.
func (o *operator) note(ctx context.Context, kind account.Kind, p *account.Person) error {
	return o.log.Append(ctx, account.Entry{Time: time.Now().UTC(), Kind: kind, Person: p.ID, Name: p.Name, Detail: "command"})
}

// named returns the person of a name, or says that there is none.
func (o *operator) named(ctx context.Context, name string) (account.Person, error) {
	p, err := o.people.ByName(ctx, name)
	if errors.Is(err, account.ErrNotFound) {
		return p, fmt.Errorf("nobody is called %q; `gatehouse user list` shows who there is", name)
	}
	return p, err
}

// endAll ends all sessions of a person.
func (o *operator) endAll(ctx context.Context, p *account.Person) error {
	n, err := o.sessions.EndAll(ctx, session.Query{Owner: p.ID})
	if n > 0 && err == nil {
		err = o.note(ctx, signin.SessionsEnded, p)
	}
	return err
}

// with connects for a command.
func (r *reach) with(ctx context.Context, f func(o *operator) error) error {
	o, err := r.connect(ctx)
	if err != nil {
		return err
	}
	defer o.close()
	return f(o)
}

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
	PublicURL string `name:"public-url" default:"http://localhost:9000" placeholder:"URL" help:"Where browsers find the site (${default})."`
}

func (l *link) print(ctx context.Context, o *operator, p *account.Person, out io.Writer) error {
	token, err := o.people.NewLink(ctx, p.ID, account.Recovery, time.Hour)
	if err != nil {
		return err
	}
	if err := o.note(ctx, signin.RecoveryOpened, p); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s/recover/%s\n", strings.TrimSuffix(l.PublicURL, "/"), token)
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
			if p.Password, err = hashed(ctx, secret, c.Name, c.Email); err != nil {
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
	b, err := io.ReadAll(io.LimitReader(os.Stdin, 1<<20))
	return strings.TrimRight(string(b), "\r\n"), err
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

// hashed returns the hash of a password that can be chosen.
func hashed(ctx context.Context, secret string, about ...string) (string, error) {
	if err := (password.Policy{}).Check(ctx, secret, about...); err != nil {
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

// A table is for people, or lines of JSON for programs.
type table struct {
	out  *tabwriter.Writer
	json *json.Encoder // nil: for people
}

func newTable(w io.Writer, asJSON bool, head ...string) *table {
	t := &table{out: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	if asJSON {
		t.json = json.NewEncoder(w)
		t.json.SetEscapeHTML(false)
		return t
	}
	fmt.Fprintln(t.out, strings.Join(head, "\t"))
	return t
}

func (t *table) add(object any, cells ...string) error {
	if t.json != nil {
		return t.json.Encode(object)
	}
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(c, "\t", " ")
		if c == "" {
			cells[i] = "-"
		}
	}
	_, err := fmt.Fprintln(t.out, strings.Join(cells, "\t"))
	return err
}

func (t *table) end() error { return t.out.Flush() }

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
		w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
		for _, row := range [][2]string{
			{"name", l.Name},
			{"display name", l.DisplayName},
			{"e-mail", l.Email},
			{"groups", strings.Join(l.Groups, " ")},
			{"role", l.role()},
			{"factors", l.factors()},
			{"created", l.Created.Format(time.RFC3339)},
			{"id", l.ID},
		} {
			fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
		}
		if err := w.Flush(); err != nil {
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
		encoded, err := hashed(ctx, secret, p.Name, p.Email)
		if err != nil {
			return err
		}
		if _, err := o.people.Update(ctx, p.ID, func(p *account.Person) error {
			p.Password, p.PasswordSet = encoded, time.Now().UTC().Truncate(time.Second)
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
		if _, err := o.people.Update(ctx, p.ID, func(p *account.Person) error { p.Disabled, p.Links = true, nil; return nil }); err != nil {
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
		if o.store == nil {
			return errors.New("attempts are in the memory of the server: forget them in its page of the person, or start it anew; " +
				"only with PostgreSQL or Redis they are where this command can reach them")
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
		return nil
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
	// What would be taken, a dry run puts here, so that two lines that cannot both be
	// taken are told.
	dry, err := account.New(account.Config{Store: new(account.Memory)})
	if err != nil {
		return err
	}
	return c.with(ctx, func(o *operator) error {
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

// one adds a person.
func (c *userImportCmd) one(ctx context.Context, o *operator, dry *account.Directory, in imported) error {
	p := account.Person{Name: in.Name, DisplayName: in.DisplayName, Email: in.Email, Groups: in.Groups, Admin: in.Admin, Password: in.PasswordHash}
	if in.PasswordHash != "" {
		if err := password.Check(in.PasswordHash); err != nil {
			return err
		}
		p.PasswordSet = time.Now().UTC().Truncate(time.Second)
	}
	if c.DryRun {
		_, err := o.people.ByName(ctx, p.Name)
		switch {
		case err == nil:
			return account.ErrNameTaken
		case !errors.Is(err, account.ErrNotFound):
			return err
		}
		_, err = dry.Create(ctx, p)
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

func jsonLines(in io.Reader, yield func(int, read) bool) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() {
		n++
		text := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if text == "" {
			continue
		}
		var one read
		d := json.NewDecoder(strings.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&one.imported); err != nil {
			// The text may have a hash in it, and is not quoted.
			one.err = fmt.Errorf("%w: %v", errLine, err) //nolint:errorlint // the kind is what matters
		} else if d.More() {
			one.err = fmt.Errorf("%w: more than one object", errLine)
		}
		if !yield(n, one) {
			return
		}
	}
	if err := lines.Err(); err != nil {
		yield(n+1, read{err: err})
	}
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
	}
	if !slices.Contains(head, "name") {
		yield(1, read{err: errors.New("there is no column name")})
		return
	}
	for {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		n, _ := r.FieldPos(0)
		var one read
		if wrong, ok := errors.AsType[*csv.ParseError](err); ok {
			n, one.err = wrong.StartLine, fmt.Errorf("%w: %w", errLine, wrong.Err)
		} else if err != nil {
			yield(n, read{err: err})
			return
		} else {
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

// ---- sessions

type sessionCmd struct {
	List sessionListCmd `cmd:"" help:"List sessions of people."`
	End  sessionEndCmd  `cmd:"" help:"End sessions."`
}

type sessionListCmd struct {
	reach
	User string `placeholder:"NAME" help:"Those of one person."`
	JSON bool   `help:"One object of JSON on each line."`
}

func (c *sessionListCmd) Run(ctx context.Context, std streams) error {
	return c.with(ctx, func(o *operator) error {
		q := session.Query{All: true}
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

func (o *operator) listSessions(ctx context.Context, q session.Query, asJSON bool, out io.Writer) error {
	q.Fields = true
	t := newTable(out, asJSON, "HANDLE", "NAME", "SEEN", "SIGNED IN", "ADDRESS", "DEVICE")
	called := make(map[string]string)
	var all []sessionLine
	for i, err := range o.sessions.List(ctx, q) {
		if err != nil {
			return err
		}
		if i.Owner == "" {
			continue
		}
		name, ok := called[i.Owner]
		if !ok {
			p, err := o.people.ByID(ctx, i.Owner)
			if err != nil && !errors.Is(err, account.ErrNotFound) {
				return err
			}
			name = p.Name
			called[i.Owner] = name
		}
		d := signin.DeviceOf(i)
		all = append(all, sessionLine{i.Handle, i.Owner, name, i.Created.UTC(), i.Seen.UTC(), i.Deadline.UTC(), d.Name, d.Addr, d.Factor})
	}
	slices.SortFunc(all, func(a, b sessionLine) int { return b.Seen.Compare(a.Seen) })
	for _, l := range all {
		if err := t.add(l, l.Handle.String(), l.Name, l.Seen.Format("2006-01-02 15:04"), l.Created.Format("2006-01-02 15:04"), l.Addr, l.Device); err != nil {
			return err
		}
	}
	return t.end()
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
	h, err := session.ParseHandle(handle)
	if err != nil {
		return usageError{err}
	}
	info, err := o.sessions.Find(ctx, h)
	if err == nil {
		err = o.sessions.End(ctx, h)
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

// ---- the log

type auditCmd struct {
	reach
	User  string        `placeholder:"NAME" help:"What concerns one person."`
	Kind  string        `placeholder:"KIND" help:"One kind, such as sign-in or refused."`
	Since time.Duration `placeholder:"TIME" help:"Of so long ago, such as 24h."`
	Limit int           `default:"100" placeholder:"N" help:"At most so many, 0 for all (${default})."`
	JSON  bool          `help:"One object of JSON on each line."`
}

func (c *auditCmd) Run(ctx context.Context, std streams) error {
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
		return t.end()
	})
}

// ---- the configuration

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Look at the configuration, and say what is wrong."`
	Show  configShowCmd  `cmd:"" help:"Print all settings as they are, as a configuration file."`
}

type configCheckCmd struct {
	settings
}

// Run has nothing more to look at than what was read before, but for files that are
// named.
func (c *configCheckCmd) Run(ctx context.Context, std streams) error {
	s := &server{settings: c.settings, log: slog.New(slog.DiscardHandler)}
	if _, err := s.tls(ctx); err != nil {
		return err
	}
	if _, err := s.mail(); err != nil {
		return err
	}
	for setting, dir := range map[string]string{"views": c.Views, "static": c.Static} {
		if _, err := folder(dir); err != nil {
			return fmt.Errorf("--%s: %w", setting, err)
		}
	}
	if err := s.checkPublicURL(); err != nil {
		return err
	}
	fmt.Fprintln(std.err, "The configuration is good.")
	return nil
}

type configShowCmd struct {
	settings
}

// Run prints settings with what they mean. There is no secret among them: those are
// in files.
func (c *configShowCmd) Run(std streams) error {
	v := reflect.ValueOf(c.settings)
	for f, value := range v.Fields() {
		help := strings.ReplaceAll(f.Tag.Get("help"), "${default}", f.Tag.Get("default"))
		set := value.Interface()
		if d, ok := set.(time.Duration); ok {
			set = d.String()
		}
		line, err := toml.Marshal(map[string]any{nameOf(f): set})
		if err != nil {
			return err
		}
		fmt.Fprintf(std.out, "# %s\n%s\n", help, line)
	}
	return nil
}
