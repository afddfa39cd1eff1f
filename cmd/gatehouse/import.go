package main

import (
	"bufio"
	"bytes"
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
	"unicode/utf8"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/password"
	"github.com/seed-64ad3862/gatehouse/signin"
)

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
	in, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer in.Close()
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
				fmt.Fprintf(std.err, "line %d: %s\n", n, brief(err.Error()))
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

// brief is the beginning of a text that may be long, such as a line of a file that
// somebody has named by mistake.
func brief(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// open returns the file. What comes from elsewhere, and when it likes, is read before
// the database is anybody's.
func (c *userImportCmd) open(ctx context.Context) (io.ReadCloser, error) {
	if info, err := os.Stat(c.File); c.File != "-" && (err != nil || info.Mode().IsRegular()) {
		return os.Open(c.File)
	}
	return until(ctx, func() (io.ReadCloser, error) {
		f := os.Stdin
		if c.File != "-" {
			var err error
			if f, err = os.Open(c.File); err != nil {
				return nil, err
			}
			defer f.Close()
		}
		b, err := io.ReadAll(io.LimitReader(f, maxStream+1))
		if len(b) > maxStream {
			err = fmt.Errorf("more than %d bytes that are no file: put them into one", maxStream)
		}
		return io.NopCloser(bytes.NewReader(b)), err
	})
}

// maxStream bounds what is kept in memory, some millions of people.
const maxStream = 1 << 30

var (
	// errLine says that a line cannot be read.
	errLine = errors.New("not a line that can be read")

	// errHeader says so of the first one of CSV, which ends the import.
	errHeader = errors.New("it names the columns, or is an object of JSON")
)

// badLine reports whether an error is that of a line, and the next one may be good.
func badLine(err error) bool {
	if errors.Is(err, errHeader) {
		return false
	}
	for _, e := range []error{errLine, account.ErrName, account.ErrPerson, account.ErrNameTaken, account.ErrEmailTaken, account.ErrPasskeyTaken, password.ErrFormat} {
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

// people yields the people in the lines of a file and the lines' numbers, in whichever
// of the two forms it is. Lines are read one by one, so that a quotation mark too many
// costs a single one.
func people(r io.Reader) func(yield func(int, read) bool) {
	return func(yield func(int, read) bool) {
		var form func(text string) read
		for n, one := range lines(bufio.NewReaderSize(r, 64<<10)) {
			switch {
			case form != nil:
			case strings.HasPrefix(one.text, "{"):
				form = fromJSON
			default:
				var head []string
				err := one.err
				if err == nil {
					head, err = header(one.text)
				}
				if err != nil { // of which nobody can say what the next lines are
					yield(n, read{err: fmt.Errorf("%w: %w", errHeader, err)})
					return
				}
				form = func(text string) read { return fromCSV(head, text) }
				continue
			}
			person := read{err: one.err}
			if one.err == nil {
				person = form(one.text)
			}
			if !yield(n, person) {
				return
			}
		}
	}
}

// maxLine bounds a line.
const maxLine = 1 << 20

// textLine is the text of a line, or why there is none.
type textLine struct {
	text string
	err  error
}

// lines yields the lines that are not empty, and their numbers.
func lines(in *bufio.Reader) func(yield func(int, textLine) bool) {
	return func(yield func(int, textLine) bool) {
		for n := 1; ; n++ {
			text, err := nextLine(in)
			if errors.Is(err, io.EOF) {
				return
			}
			if n == 1 { // some programs of Windows begin with a mark
				text = strings.TrimPrefix(text, "\ufeff")
			}
			if text = strings.TrimSpace(text); text == "" && err == nil {
				continue
			}
			if err == nil && !utf8.ValidString(text) {
				err = fmt.Errorf("%w: it is not UTF-8", errLine)
			}
			if !yield(n, textLine{text, err}) || err != nil && !badLine(err) {
				return
			}
		}
	}
}

// nextLine returns the next line, or its beginning and errLine if it is longer than any
// may be.
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
			return string(line), fmt.Errorf("%w: longer than %d bytes", errLine, maxLine)
		}
		return string(line), nil
	}
}

// fromJSON reads an object. Its text may have a hash in it, and is not quoted.
func fromJSON(text string) (one read) {
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(&one.imported)
	mismatch, isMismatch := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case isMismatch:
		what := "it"
		if mismatch.Field != "" {
			what = strconv.Quote(mismatch.Field)
		}
		one.err = fmt.Errorf("%w: %s cannot be of the kind %s", errLine, what, mismatch.Value)
	case err != nil:
		one.err = fmt.Errorf("%w: %v", errLine, err) //nolint:errorlint // the kind is what matters
	default:
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			one.err = fmt.Errorf("%w: more than one object", errLine)
		} else if key := twice(text); key != "" {
			one.err = fmt.Errorf("%w: %q is there twice", errLine, key)
		}
	}
	return one
}

// twice returns a key that an object of JSON has twice, by the rules of encoding/json,
// for which Name is name.
func twice(object string) string {
	d := json.NewDecoder(strings.NewReader(object))
	seen := make(map[string]bool)
	for _, err := d.Token(); err == nil && d.More(); { // its bracket
		var key json.Token
		if key, err = d.Token(); err == nil {
			name := strings.ToLower(fmt.Sprint(key))
			if seen[name] {
				return name
			}
			seen[name] = true
			err = d.Decode(new(json.RawMessage))
		}
	}
	return ""
}

var columns = []string{"name", "display_name", "email", "groups", "admin", "password_hash"}

// cellsOf takes a line of CSV apart.
func cellsOf(text string) ([]string, error) {
	r := csv.NewReader(strings.NewReader(text))
	r.FieldsPerRecord = -1
	cells, err := r.Read()
	if wrong, ok := errors.AsType[*csv.ParseError](err); ok {
		err = wrong.Err
	}
	return cells, err
}

// header reads the names of the columns.
func header(text string) ([]string, error) {
	head, err := cellsOf(text)
	if err != nil {
		return nil, err
	}
	for i := range head {
		head[i] = strings.ToLower(strings.TrimSpace(head[i]))
		if !slices.Contains(columns, head[i]) {
			return nil, fmt.Errorf("%q is no column; did you mean %q?", brief(head[i]), nearest(brief(head[i]), columns))
		}
		if slices.Contains(head[:i], head[i]) {
			return nil, fmt.Errorf("the column %q is there twice", head[i])
		}
	}
	if !slices.Contains(head, "name") {
		return nil, errors.New("there is no column name")
	}
	return head, nil
}

func fromCSV(head []string, text string) (one read) {
	cells, err := cellsOf(text)
	if err != nil {
		one.err = fmt.Errorf("%w: %w", errLine, err)
		return one
	}
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
