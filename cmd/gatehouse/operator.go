package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/width"

	"github.com/seed-64ad3862/gatehouse/account"
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
	records  account.Store
	people   *account.Directory
	log      account.Log
	sessions *session.Manager
	store    throttle.Store
	close    func()
}

// connect reaches a server that is running, through its socket, or else its
// database.
func (r *reach) connect(ctx context.Context) (*operator, error) {
	quiet := slog.New(slog.DiscardHandler)
	s := &server{settings: settings{
		Database: r.Database, DatabasePasswordFile: r.DatabasePasswordFile, Sessions: r.Sessions, SessionsPasswordFile: r.SessionsPasswordFile,
	}, log: quiet}
	if err := s.checkStores(); err != nil {
		return nil, err
	}
	all, err := s.reach(ctx)
	if err != nil {
		s.close()
		return nil, err
	}
	o := &operator{records: all.people, log: all.log, store: all.throttle, close: s.close}
	if o.people, err = account.New(account.Config{Store: all.people, Logger: quiet}); err == nil {
		o.sessions, err = session.New(session.Config{Store: all.sessions, Logger: quiet})
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return o, nil
}

// reach opens the stores as a server does, but does not make a file, and shares it with a
// server.
func (s *server) reach(ctx context.Context) (*stores, error) {
	all, err := s.reachDatabase(ctx)
	if err != nil || s.Sessions == "" {
		return all, err
	}
	store, err := s.openRedis(ctx)
	if err != nil {
		return nil, err
	}
	all.share(store)
	return all, nil
}

func (s *server) reachDatabase(ctx context.Context) (*stores, error) {
	if isPostgres(s.Database) {
		return s.openDatabase(ctx)
	}
	if _, err := os.Stat(s.Database); err != nil {
		return nil, fmt.Errorf("%w: `gatehouse serve` makes it; --database says where it is", err)
	}
	db, err := sqlite.Connect(ctx, s.Database)
	if err != nil {
		return nil, err
	}
	s.onClose(func() { _ = db.Close() }) // what was written is there
	return &stores{sessions: db, people: db.Accounts(), log: db.Accounts(), once: db, throttle: db.Throttle()}, nil
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

// A table is for people, or lines of JSON for programs.
type table struct {
	out  io.Writer
	rows [][]string
	json *json.Encoder // nil: for people
}

func newTable(w io.Writer, asJSON bool, head ...string) *table {
	t := &table{out: w}
	if asJSON {
		t.json = json.NewEncoder(w)
		t.json.SetEscapeHTML(false)
		return t
	}
	t.rows = append(t.rows, head)
	return t
}

func (t *table) add(object any, row ...string) error {
	if t.json != nil {
		return t.json.Encode(object)
	}
	for i, c := range row {
		if c == "" {
			row[i] = "-"
		}
	}
	t.rows = append(t.rows, row)
	return nil
}

// end prints the rows, in columns as wide as a terminal shows them.
func (t *table) end() error {
	wide := make(map[int]int)
	for _, row := range t.rows {
		for i, c := range row {
			wide[i] = max(wide[i], cells(c))
		}
	}
	var b strings.Builder
	for _, row := range t.rows {
		for i, c := range row {
			b.WriteString(c)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", wide[i]-cells(c)+2))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(t.out, b.String())
	return err
}

// cells is how many a terminal takes for a text: two for a character of Chinese,
// Japanese or Korean (Unicode Standard Annex 11), none for what combines.
func cells(s string) (n int) {
	for _, r := range s {
		switch k := width.LookupRune(r).Kind(); {
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		case k == width.EastAsianWide, k == width.EastAsianFullwidth:
			n += 2
		default:
			n++
		}
	}
	return n
}

// pairs prints what is known of one thing.
func pairs(w io.Writer, rows [][2]string) error {
	t := &table{out: w}
	for _, row := range rows {
		if err := t.add(nil, row[:]...); err != nil {
			return err
		}
	}
	return t.end()
}
