package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/alecthomas/kong"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/store/memory"
	"github.com/seed-64ad3862/gatehouse/throttle"
)

// settings are those of a server: flags, variables of the environment and keys of
// the configuration file, all by the same names. A flag goes before the
// environment, and that before the file.
type settings struct {
	Listen       string   `default:"localhost:9000" placeholder:"HOST:PORT" help:"Where to listen (${default})."`
	PublicURL    string   `name:"public-url" placeholder:"URL" help:"Where browsers find the site, such as https://app.example; the address of --listen if empty."`
	InsecureHTTP bool     `name:"insecure-http" help:"Listen on more than this machine without TLS, although passwords travel in the clear."`
	TrustedProxy []string `name:"trusted-proxy" placeholder:"NETWORK" help:"Networks of proxies whose X-Forwarded-For is believed, such as 10.0.0.0/8."`
	Site         string   `default:"Gatehouse" help:"What the pages call the site (${default})."`
	Home         string   `placeholder:"PATH" help:"Where a sign-in leads; the home page if empty."`

	Database             string `default:"gatehouse.db" placeholder:"FILE|URL" help:"People and the log: a file of SQLite, or postgres://… (${default})."`
	DatabasePasswordFile string `name:"database-password-file" placeholder:"FILE" help:"Holds the password for the database."`
	DatabaseSize         size   `name:"database-size" placeholder:"SIZE" help:"How large the file of SQLite may become, such as 512MB; if empty, the disk is the bound, of which sessions of visitors get half. When it is full, they give way to those of users."`
	Sessions             string `placeholder:"URL" help:"Sessions in Redis: redis://…; in the database if empty."`
	SessionsPasswordFile string `name:"sessions-password-file" placeholder:"FILE" help:"Holds the password for Redis."`

	DifferingSettings string `name:"differing-settings" default:"refuse" enum:"refuse,warn" help:"What to do if a running machine with the same database or Redis has another public URL, database or Redis: refuse to start, or warn, while a setting is changed on one machine after the other (${default}). Other machines count as gone 15 s after they were killed."`

	Captcha        string        `default:"always" enum:"always,adaptive,off" help:"When a captcha is asked for: always, adaptive, off (${default})."`
	SecondFactor   string        `name:"second-factor" default:"optional" enum:"optional,required" help:"Whether everybody needs a passkey or an authenticator app: optional, required (${default})."`
	PasswordLength int           `name:"password-length" default:"8" placeholder:"N" help:"How many characters a password needs (${default})."`
	Idle           time.Duration `default:"30m" placeholder:"TIME" help:"How long a session lasts that is not used (${default})."`
	Absolute       time.Duration `default:"24h" placeholder:"TIME" help:"How long a session lasts at most (${default})."`

	Views  string `placeholder:"DIR" help:"Lies over the pages' own templates, file by file."`
	Static string `placeholder:"DIR" help:"Lies over the pages' own styles, scripts and pictures, file by file."`

	TLSCert       string   `name:"tls-cert" placeholder:"FILE" help:"Certificate chain, PEM; read again when it changes."`
	TLSKey        string   `name:"tls-key" placeholder:"FILE" help:"Key of the certificate, PEM."`
	ACMEHost      []string `name:"acme-host" placeholder:"HOST" help:"Names to get certificates for: from Let's Encrypt, or whom --acme-directory names."`
	ACMEEmail     string   `name:"acme-email" placeholder:"ADDRESS" help:"Whom that authority may write to."`
	ACMEDirectory string   `name:"acme-directory" default:"https://acme-v02.api.letsencrypt.org/directory" placeholder:"URL" help:"Directory of the authority (${default})."`
	ACMERoot      string   `name:"acme-root" placeholder:"FILE" help:"Certificate by which an authority of one's own is known, PEM."`
	ACMECache     string   `name:"acme-cache" default:"gatehouse-certificates" placeholder:"DIR" help:"Where such certificates are kept (${default})."`

	SMTP             string `name:"smtp" placeholder:"URL" help:"Server for mail: smtp://USER@HOST:587, or smtps://."`
	SMTPPasswordFile string `name:"smtp-password-file" placeholder:"FILE" help:"Holds the password for mail."`
	MailFrom         string `name:"mail-from" placeholder:"ADDRESS" help:"Who mail is from."`

	Metrics        string        `default:"127.0.0.1:9001" placeholder:"HOST:PORT" help:"Where /metrics, /healthz and /readyz are, or off (${default})."`
	AuditRetention time.Duration `name:"audit-retention" default:"2160h" placeholder:"TIME" help:"How long the log is kept (${default}, 90 days)."`
	LogFormat      string        `name:"log-format" default:"text" enum:"text,json" help:"Of what a server says on standard error: text, json (${default})."`
	LogLevel       string        `name:"log-level" default:"info" enum:"debug,info,warn,error" help:"From which level on: debug, info, warn, error (${default})."`
}

// A size is a number of bytes, in text with a unit of 1024 times the one before.
type size int64

// units are those of sizes, the smallest first. None is bytes, too.
var units = []string{"B", "KB", "MB", "GB", "TB"}

// UnmarshalText implements [encoding.TextUnmarshaler]. Nothing is no size: 0.
func (s *size) UnmarshalText(text []byte) error {
	*s = 0
	if len(text) == 0 {
		return nil
	}
	digits := strings.TrimRight(string(text), "BKMGT")
	n, err := strconv.ParseInt(digits, 10, 64)
	unit := slices.Index(units, cmp.Or(string(text[len(digits):]), "B"))
	if err != nil || unit < 0 || n < 0 || n > math.MaxInt64>>(10*unit) {
		return fmt.Errorf("%q is no size such as 512MB or 2GB", text)
	}
	*s = size(n << (10 * unit))
	return nil
}

func (s size) String() string {
	if s == 0 {
		return ""
	}
	unit := 0
	for unit < len(units)-1 && s%1024 == 0 {
		s, unit = s/1024, unit+1
	}
	return strconv.FormatInt(int64(s), 10) + units[unit]
}

// differWarn is the value of --differing-settings with which a machine joins the others
// although promises break.
const differWarn = "warn"

// Names of what is outside of the command line.
const (
	variables   = "GATEHOUSE"
	defaultFile = "gatehouse.toml"
)

// names are those of all settings, as flags have them.
func names() (all []string) {
	t := reflect.TypeFor[settings]()
	for f := range t.Fields() {
		all = append(all, nameOf(f))
	}
	return all
}

func nameOf(f reflect.StructField) string {
	if name := f.Tag.Get("name"); name != "" {
		return name
	}
	return strings.ToLower(f.Name)
}

func variable(name string) string {
	return variables + "_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// addVariables lets flags that are settings of a server, and --config, be variables of
// the environment. Others are for one command: a variable for them would be one for
// commands that nobody thought of.
func addVariables(k *kong.Kong) error {
	known := append(names(), "config")
	return kong.Visit(k.Model, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok && slices.Contains(known, flag.Name) {
			flag.Envs = []string{variable(flag.Name)}
			flag.Tag.Envs = flag.Envs
		}
		return next(nil)
	})
}

// checkEnvironment refuses variables that mean nothing here.
func checkEnvironment(environ []string) error {
	known := []string{variable("config")}
	for _, name := range names() {
		known = append(known, variable(name))
	}
	for _, e := range environ {
		name, _, _ := strings.Cut(e, "=")
		// Those of the tests are not ours.
		if strings.HasPrefix(name, variables+"_") && !strings.HasPrefix(name, variables+"_TEST_") && !strings.HasPrefix(name, variables+"_SOAK_") && !slices.Contains(known, name) {
			return usageError{fmt.Errorf("the environment has %s, which is no setting; did you mean %s?", name, nearest(name, known))}
		}
	}
	return nil
}

// file is a configuration file.
type file struct {
	path   string
	values map[string]any
}

// readFile reads the file that is named, or the one in this folder if there is
// one.
func readFile(path string) (*file, error) {
	f := &file{path: path}
	if path == "" {
		f.path = defaultFile
	}
	b, err := os.ReadFile(f.path)
	if path == "" && errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, err
	}
	return f, f.parse(string(b))
}

func (f *file) parse(text string) error {
	if _, err := toml.Decode(text, &f.values); err != nil {
		if p, ok := errors.AsType[toml.ParseError](err); ok {
			return usageError{fmt.Errorf("%s:%d: %s", f.path, p.Position.Line, p.Message)}
		}
		return usageError{fmt.Errorf("%s: %w", f.path, err)}
	}
	known := names()
	for key, value := range f.values {
		if !slices.Contains(known, key) {
			return usageError{fmt.Errorf("%s:%d: %q is no setting; did you mean %q?", f.path, lineOf(text, key), key, nearest(key, known))}
		}
		switch value.(type) {
		case string, bool, int64, []any:
		default:
			return usageError{fmt.Errorf("%s:%d: %q is not a text, a number, true or false, or a list of texts", f.path, lineOf(text, key), key)}
		}
	}
	return nil
}

// lineOf is the line on which a key is set.
func lineOf(text, key string) int {
	at := regexp.MustCompile(`(?m)^\s*(\[\s*)?["']?` + regexp.QuoteMeta(key) + `["']?\s*[.=\]]`).FindStringIndex(text)
	if at == nil {
		return 1
	}
	return 1 + strings.Count(text[:at[1]], "\n")
}

// Validate implements [kong.Resolver].
func (*file) Validate(*kong.Application) error { return nil }

// Resolve implements [kong.Resolver]: the environment goes before the file.
func (f *file) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if _, ok := os.LookupEnv(variable(flag.Name)); ok {
		return nil, nil
	}
	switch v := f.values[flag.Name].(type) {
	case int64:
		return fmt.Sprint(v), nil
	default:
		return v, nil
	}
}

// nearest returns the word that takes the fewest changes of a letter to get to.
func nearest(word string, words []string) string {
	return slices.MinFunc(words, func(a, b string) int { return distance(word, a) - distance(word, b) })
}

// distance is that of Levenshtein, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// secretIn returns the text of a file that holds a secret, without the line's end and
// the mark with which some programs of Windows begin.
func secretIn(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return readSecret(f)
}

// maxSecret bounds what is read of a file that somebody has named by mistake.
const maxSecret = 64 << 10

func readSecret(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxSecret+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxSecret {
		return "", fmt.Errorf("larger than %d bytes: that is no password", maxSecret)
	}
	return strings.TrimRight(strings.TrimPrefix(string(b), "\ufeff"), "\r\n"), nil
}

// configured are the commands that settings from outside of the command line are
// for.
var configured = []string{"serve", "user", "session", "audit", "config"}

// configOf reads the configuration that a command line asks for, and checks the
// environment.
func configOf(args []string) (*file, error) {
	path, command := os.Getenv(variable("config")), ""
	for i, arg := range args {
		switch {
		case arg == "--config" && i+1 < len(args):
			path = args[i+1]
		case strings.HasPrefix(arg, "--config="):
			path = strings.TrimPrefix(arg, "--config=")
		case command == "" && slices.Contains(configured, arg):
			command = arg
		}
	}
	if command == "" {
		return &file{}, nil
	}
	if err := checkEnvironment(os.Environ()); err != nil {
		return nil, err
	}
	return readFile(path)
}

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Look at the configuration, and say what is wrong."`
	Show  configShowCmd  `cmd:"" help:"Print all settings as they are, as a configuration file."`
}

type configCheckCmd struct {
	settings
}

// Run builds the server as serve does, but on stores in memory, and does not listen:
// another one may be running.
func (c *configCheckCmd) Run(ctx context.Context, std streams) error {
	quiet := slog.New(slog.DiscardHandler)
	people := new(account.Memory)
	s := &server{settings: c.settings, log: quiet, metrics: newMetrics(), stores: &stores{
		sessions: memory.New(memory.Config{Logger: quiet}), people: people, log: people, throttle: throttle.NewTable(1),
	}}
	defer s.close()
	proxies, err := s.check(ctx)
	if err != nil {
		return err
	}
	certificates, err := s.tls(ctx)
	if err != nil {
		return err
	}
	l, _, err := resolve(ctx, s.Listen, s.private(certificates != nil, proxies))
	if err != nil {
		return err
	}
	l.tls = certificates
	if s.PublicURL == "" {
		s.PublicURL = s.urlOf(l)
	}
	if err := s.prepare(); err != nil {
		return err
	}
	if err := s.build(ctx, proxies); err != nil {
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
	for _, one := range [][2]string{{"database", c.Database}, {"sessions", c.Sessions}, {"smtp", c.SMTP}} {
		if !strings.Contains(one[1], "://") {
			continue // a file
		}
		if _, err := plainAddress(one[0], one[1]); err != nil {
			return err
		}
	}
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
