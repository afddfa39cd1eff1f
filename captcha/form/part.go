package form

import (
	_ "embed"
	"encoding/json"
	"errors"
	"html/template"
	"strings"
	"time"

	"github.com/seed-64ad3862/gatehouse/captcha/pow"
)

//go:embed part.html
var partHTML string

var partTemplate = template.Must(template.New("part").Parse(partHTML))

// part is what the template and, as JSON, the script are told.
type part struct {
	Style  string `json:"-"`
	Script string `json:"-"`
	Name   string `json:"-"` // begins the ids of the part's elements
	ID     string `json:"-"`
	Text   *text  `json:"-"`
	Spoken string `json:"-"` // the language of the voices
	Length int    `json:"-"`
	Error  string `json:"-"`
	Film   bool   `json:"-"`
	Code   bool   `json:"-"` // there is a picture, at least in the end

	Prefix    string            `json:"prefix"`
	Solver    string            `json:"solver,omitempty"`
	Lifetime  int               `json:"lifetime"` // seconds
	Unseen    bool              `json:"unseen"`   // the picture is only for those who cannot work
	Worked    bool              `json:"worked"`   // the error is of the work, not of the picture
	Challenge json.RawMessage   `json:"challenge,omitempty"`
	Say       map[string]string `json:"say"`
}

// Settings is the JSON for the script.
func (p *part) Settings() (string, error) {
	b, err := json.Marshal(p)
	return string(b), err
}

// HTML returns the part of a page, with a new challenge, to be put into a <form>.
// Pages with one are not to be cached.
func (f *Form) HTML(ask Ask) (template.HTML, error) {
	t := textFor(ask.Language)
	id := f.codes.Issue(ask.Scope)
	p := &part{
		Style: f.style, Script: f.code, Text: t, Spoken: t.spoken, Film: f.cfg.Film,
		Name: "captcha-" + id[len(id)-8:], ID: id, Length: f.cfg.Length, Error: t.explain(ask.Err),
		Prefix: f.cfg.Prefix, Lifetime: int(f.cfg.Lifetime / time.Second), Unseen: ask.By == Work, Say: t.Say,
		Worked: errors.Is(ask.Err, ErrWork),
	}
	if ask.By != Code {
		challenge, err := f.toll.Issue(pow.Demand{Scope: ask.Scope, Cost: ask.Cost})
		if err != nil {
			return "", err
		}
		p.Challenge, p.Solver = challenge, f.solve
	}
	var b strings.Builder
	err := partTemplate.Execute(&b, p)
	return template.HTML(b.String()), err //nolint:gosec // of a template of html/template
}
