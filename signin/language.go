package signin

import (
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"time"

	xlanguage "golang.org/x/text/language"
)

// A language is its catalogue, and the views in it, which are parsed when somebody
// first sees one: they take more memory than anything else that a site has for each
// language, and most sites are read in one.
type language struct {
	tag   string
	texts map[string]string
	views func() map[string]*template.Template
}

// tags are those of the catalogues, the default one first, and what each language
// calls itself.
var (
	tags    = []string{"en", "zh-Hans"}
	names   = map[string]string{"en": "English", "zh-Hans": "简体中文"}
	matcher = xlanguage.NewMatcher([]xlanguage.Tag{xlanguage.English, xlanguage.SimplifiedChinese})
)

// text returns a text of the catalogue with its arguments put in. A key that is
// not there is shown as it is; a test sees to it that all are.
func (l *language) text(key string, args ...any) string {
	s, ok := l.texts[key]
	if !ok {
		return key
	}
	if len(args) > 0 {
		return fmt.Sprintf(s, args...)
	}
	return s
}

func catalogue(tag string) (texts map[string]string, err error) {
	b, err := fs.ReadFile(files, "text/"+tag+".json")
	if err == nil {
		err = json.Unmarshal(b, &texts)
	}
	return texts, err
}

// languageCookie remembers a choice. It tells nothing that Accept-Language would
// not.
func (p *Pages) languageCookie() string {
	if p.insecure {
		return "lang"
	}
	return "__Host-lang"
}

// languageOf returns the language that the visitor has chosen, or else the one that
// the browser prefers.
func (p *Pages) languageOf(r *http.Request) *language {
	if c, err := r.Cookie(p.languageCookie()); err == nil && p.views[c.Value] != nil {
		return p.views[c.Value]
	}
	// Bounded, because what is parsed here anybody can send.
	accept := r.Header.Get("Accept-Language")
	if len(accept) > 256 {
		accept = ""
	}
	wanted, _, err := xlanguage.ParseAcceptLanguage(accept)
	if err != nil {
		return p.views[tags[0]]
	}
	_, i, _ := matcher.Match(wanted...)
	return p.views[tags[i]]
}

// choose sets the language that an address asks for, and leads to the same address
// without that. It reports whether there was one.
func (p *Pages) choose(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodGet || r.URL.RawQuery == "" {
		return false
	}
	q := r.URL.Query()
	tag := q.Get("lang")
	if p.views[tag] == nil {
		return false
	}
	http.SetCookie(w, &http.Cookie{
		Name: p.languageCookie(), Value: tag, Path: "/", MaxAge: 365 * 24 * 3600,
		Secure: !p.insecure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
	q.Del("lang")
	to := *r.URL
	to.Scheme, to.Host, to.RawQuery = "", "", q.Encode()
	local, ok := localPath(to.String())
	if !ok {
		local = p.home
	}
	http.Redirect(w, r, local, http.StatusSeeOther)
	return true
}

// ago is a time as people say it.
func (l *language) ago(t time.Time) string {
	if t.IsZero() {
		return l.text("time.never")
	}
	switch d := time.Since(t); {
	case d < time.Minute:
		return l.text("time.now")
	case d < 2*time.Minute:
		return l.text("time.minute")
	case d < time.Hour:
		return l.text("time.minutes", int(d/time.Minute))
	case d < 2*time.Hour:
		return l.text("time.hour")
	case d < 24*time.Hour:
		return l.text("time.hours", int(d/time.Hour))
	case d < 48*time.Hour:
		return l.text("time.day")
	case d < 30*24*time.Hour:
		return l.text("time.days", int(d/(24*time.Hour)))
	default:
		return t.UTC().Format(time.DateOnly)
	}
}

// parse reads the views, for each language. Errors in them are found here: they are the
// same in all.
func (p *Pages) parse(fsys fs.FS) (map[string]*language, error) {
	sources, err := sourcesOf(fsys)
	if err != nil {
		return nil, err
	}
	all := make(map[string]*language)
	for _, tag := range tags {
		l := &language{tag: tag}
		if l.texts, err = catalogue(tag); err != nil {
			return nil, err
		}
		l.views = sync.OnceValue(func() map[string]*template.Template {
			views, err := p.viewsIn(l, sources)
			if err != nil {
				panic(err) // though they were parsed in another language
			}
			return views
		})
		all[tag] = l
	}
	views, err := p.viewsIn(all[tags[0]], sources)
	if err != nil {
		return nil, fmt.Errorf("views: %w", err)
	}
	all[tags[0]].views = func() map[string]*template.Template { return views }
	return all, nil
}

// The files of which all other views are made.
const (
	baseFile  = "base.html"
	partsFile = "parts.html"
)

// sourcesOf returns the texts of all views by the names of their files.
func sourcesOf(fsys fs.FS) (map[string]string, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, err
	}
	sources := make(map[string]string)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".html") {
			b, err := fs.ReadFile(fsys, e.Name())
			if err != nil {
				return nil, err
			}
			sources[e.Name()] = string(b)
		}
	}
	return sources, nil
}

// viewsIn parses the views, by their names.
func (p *Pages) viewsIn(l *language, sources map[string]string) (map[string]*template.Template, error) {
	base, err := template.New(baseFile).Funcs(template.FuncMap{
		"t":      l.text,
		"ago":    l.ago,
		"utc":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
		"iso":    func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"path":   func(s string) string { return p.cfg.Prefix + s },
		"static": p.statics.URL,
		"field":  newField,
		"dict":   dict,
		// how many characters a password needs
		"shortest": p.shortest,
	}).Parse(sources[baseFile])
	if err == nil {
		_, err = base.New(partsFile).Parse(sources[partsFile])
	}
	if err != nil {
		return nil, err
	}
	views := make(map[string]*template.Template)
	for name, source := range sources {
		if name == baseFile || name == partsFile {
			continue
		}
		view, err := base.Clone()
		if err == nil {
			_, err = view.New(name).Parse(source)
		}
		if err != nil {
			return nil, err
		}
		views[strings.TrimSuffix(name, ".html")] = view
	}
	return views, nil
}

// A field of a form, for the part of this name.
type field struct {
	Name, Label, Type, Value, Error, Hint string
	Autocomplete                          string
	Required, Autofocus, Show             bool
	MaxLength, MinLength                  int
}

// newField returns a field; what follows are names of attributes that are set, or
// "autocomplete=username" for those that have a value.
func newField(name, label, kind, value, problem string, attributes ...string) (field, error) {
	f := field{Name: name, Label: label, Type: kind, Value: value, Error: problem}
	for _, a := range attributes {
		key, value, _ := strings.Cut(a, "=")
		switch key {
		case "required":
			f.Required = true
		case "autofocus":
			f.Autofocus = true
		case "show":
			f.Show = true
		case "autocomplete":
			f.Autocomplete = value
		case "hint":
			f.Hint = value
		case "maxlength":
			f.MaxLength = 64
		default:
			return f, fmt.Errorf("field %s: unknown attribute %q", name, a)
		}
	}
	return f, nil
}

// dict makes a map of names and values, for parts that take several.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, errors.New("dict: a name without a value")
	}
	m := make(map[string]any, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict: %v is no name", pairs[i])
		}
		m[name] = pairs[i+1]
	}
	return m, nil
}
