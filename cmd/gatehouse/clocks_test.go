package main

import (
	"encoding/base32"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/internal/authenticator"
	"github.com/seed-64ad3862/gatehouse/internal/needs"
	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/internal/visitor"
	"github.com/seed-64ad3862/gatehouse/password"
)

// clockVariable sets the clock of a command that buildWithClock has built ahead, or back.
const clockVariable = "GATEHOUSE_TEST_CLOCK"

// shiftedClock is put into package time. It changes what the clock on the wall shows, and
// leaves the monotonic reading and timers alone, as a clock that differs does.
const shiftedClock = `package time

import "syscall"

var shift = func() Duration {
	text, ok := syscall.Getenv("` + clockVariable + `")
	if !ok {
		return 0
	}
	d, err := ParseDuration(text)
	if err != nil {
		panic(err)
	}
	return d
}()

func shifted(sec int64, nsec int32) (int64, int32) {
	at := int64(nsec) + int64(shift%Second)
	sec += int64(shift / Second)
	switch {
	case at < 0:
		sec, at = sec-1, at+int64(Second)
	case at >= int64(Second):
		sec, at = sec+1, at-int64(Second)
	}
	return sec, int32(at)
}
`

// buildWithClock builds the command with a standard library whose clock can be set by
// clockVariable, so that the command itself knows nothing of it.
func buildWithClock(t testing.TB) string {
	t.Helper()
	program, err := exec.LookPath("go")
	if err != nil {
		needs.Missing(t, "there is no go command")
	}
	root, err := exec.CommandContext(t.Context(), program, "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	text, err := os.ReadFile(filepath.Join(source, "time.go"))
	if err != nil {
		t.Fatal(err)
	}
	const reads = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	changed := strings.Replace(string(text), reads, reads+"\tsec, nsec = shifted(sec, nsec)\n", 1)
	if changed == string(text) {
		t.Fatalf("time.Now is another one in this version of Go; want one that begins %q", reads)
	}
	dir := t.TempDir()
	files := map[string]string{"time.go": changed, "shifted.go": shiftedClock}
	replace := make(map[string]string)
	for name, text := range files {
		replace[filepath.Join(source, name)] = filepath.Join(dir, name)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "gatehouse")
	if out, err := exec.CommandContext(t.Context(), program, "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return binary
}

// asText draws the answer of a captcha as text.
type asText struct{}

func (asText) MediaType() string { return "text/plain" }
func (asText) Append(dst []byte, answer string, _ [32]byte) ([]byte, error) {
	return append(dst, answer...), nil
}
func (asText) Alphabet() string { return captcha.Alphabet }

// mailServer takes mail, and keeps the last message to each address.
type mailServer struct {
	net.Listener
	mu   sync.Mutex
	last map[string]string
}

var recipient = regexp.MustCompile(`(?i)RCPT TO:<([^>]*)>`)

func newMailServer(t testing.TB) *mailServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &mailServer{Listener: l, last: make(map[string]string)}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				text := smtpDialogue(conn)
				if to := recipient.FindStringSubmatch(text); to != nil {
					m.mu.Lock()
					defer m.mu.Unlock()
					m.last[to[1]] = strings.NewReplacer("=\n", "", "=3D", "=").Replace(text) // quoted-printable
				}
			}()
		}
	}()
	return m
}

// linkTo waits for mail to an address, and returns the link in it.
func (m *mailServer) linkTo(t testing.TB, address string) string {
	t.Helper()
	for range 6000 {
		m.mu.Lock()
		text := m.last[address]
		m.mu.Unlock()
		if link := recoveryLink.FindString(text); link != "" {
			return link
		}
		time.Sleep(10 * time.Millisecond)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t.Fatalf("no mail to %s; last: %q", address, m.last)
	return ""
}

var (
	recoveryLink = regexp.MustCompile(`http://\S+/recover/[\w-]+`)
	appKey       = regexp.MustCompile(`secret=([A-Z2-7]+)`)
	recoveryCode = regexp.MustCompile(`\b[a-z0-9]{4}(-[a-z0-9]{4}){3,}\b`)
)

// clockSite is a site of machines whose clocks differ.
type clockSite struct {
	*several
	people *account.Directory
	secret []byte // of captchas
	hash   string // of goodPassword
	mail   *mailServer
}

func (s *clockSite) visitor(t testing.TB) *visitor.Visitor {
	t.Helper()
	v := visitor.New(t, s.url)
	v.Solve = func(id string) string {
		t.Helper()
		c, err := captcha.New(captcha.Config{Keys: [][]byte{s.secret}, Forms: map[string]captcha.Renderer{"txt": asText{}}})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		c.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/"+id+".txt", nil))
		if w.Code != http.StatusOK {
			t.Fatalf("captcha: %d", w.Code)
		}
		return w.Body.String()
	}
	return v
}

// user makes a user with goodPassword.
func (s *clockSite) user(t testing.TB, name string, change func(p *account.Person)) {
	t.Helper()
	p := account.Person{Name: name, Email: name + "@example.com", Password: s.hash}
	if change != nil {
		change(&p)
	}
	if _, err := s.people.Create(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

// signIn signs in with the password and a captcha.
func signIn(v *visitor.Visitor, name, password string) *visitor.Visitor {
	v.T.Helper()
	return v.Open("/login").Send("/login", "name", name, "password", password)
}

// everywhere: the user is signed in on each machine, and the sign-in is recent there.
func everywhere(v *visitor.Visitor, name string) {
	v.T.Helper()
	for range 3 {
		v.Open("/manager").Shows("/manager", name)
	}
	for range 3 {
		v.Open("/manager/profile").Shows("/manager/profile")
	}
}

// phoneCode is what an app shows now.
func phoneCode(t testing.TB, secret string) string {
	t.Helper()
	code, err := totp.GenerateCode(secret, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// clockFlows are the ways in, and what asks for a recent sign-in. Each is for a name that
// no user has yet.
var clockFlows = map[string]func(t *testing.T, s *clockSite, name string){
	"password and CAPTCHA": func(t *testing.T, s *clockSite, name string) {
		s.user(t, name, nil)
		v := s.visitor(t)
		v.Open("/login").Send("/login", "name", name, "password", goodPassword, "captcha_answer", "wrong").Shows("/login")
		if v.Status != http.StatusUnprocessableEntity {
			t.Errorf("a wrong answer: %d", v.Status)
		}
		v.Send("/login", "name", name, "password", goodPassword).Shows("/index", "Hello, "+name)
		everywhere(v, name)
		other := s.visitor(t)
		signIn(other, name, "wrong "+goodPassword).Shows("/login")
		signIn(other, name, goodPassword).Shows("/index", "Hello, "+name)
		v.Open("/manager").Send("/end-others").Shows("/manager")
		// A machine reads from memory what it has read within a second.
		for range 3000 {
			if strings.Contains(v.Text(), "All other sessions have ended") {
				break
			}
			time.Sleep(10 * time.Millisecond)
			v.Open("/manager")
		}
		v.Shows("/manager", "All other sessions have ended")
		for range 3 {
			other.Open("/manager").Shows("/login")
		}
		v.Open("/manager").Send("/logout")
		for range 3 {
			v.Open("/manager").Shows("/login")
		}
	},
	"second factor": func(t *testing.T, s *clockSite, name string) {
		secret := []byte("12345678901234567890")
		codes, hashes := account.NewRecoveryCodes()
		s.user(t, name, func(p *account.Person) {
			p.Authenticator, p.RecoveryCodes = &account.Authenticator{Secret: secret}, hashes
		})
		v := s.visitor(t)
		signIn(v, name, goodPassword).Shows("/login/code").
			Send("/login/code", "code", phoneCode(t, base32.StdEncoding.EncodeToString(secret))).Shows("/index", "Hello, "+name)
		everywhere(v, name)
		v = s.visitor(t)
		signIn(v, name, goodPassword).Shows("/login/code").Send("/login/code", "code", codes[0]).Shows("/index", "Hello, "+name)
		everywhere(v, name)
		v.Open("/confirm?next=/manager/profile").Send("/confirm", "password", goodPassword, "code", codes[1]).Shows("/manager/profile")
		everywhere(v, name)
	},
	"setting up a second factor": func(t *testing.T, s *clockSite, name string) {
		s.user(t, name, nil)
		v := s.visitor(t)
		signIn(v, name, goodPassword).Shows("/index")
		v.Open("/manager/authenticator").Shows("/manager/authenticator", "Scan this")
		key := appKey.FindStringSubmatch(v.Body)
		if key == nil {
			t.Fatalf("no key: %s", v.Text())
		}
		v.Send("/manager/authenticator", "code", phoneCode(t, key[1])).Shows("/manager/authenticator", "Recovery codes")
		codes := recoveryCode.FindAllString(v.Text(), -1)
		if len(codes) == 0 {
			t.Fatalf("no codes: %s", v.Text())
		}
		v = s.visitor(t)
		signIn(v, name, goodPassword).Shows("/login/code").Send("/login/code", "code", codes[0]).Shows("/index", "Hello, "+name)
		everywhere(v, name)
	},
	"passkey": func(t *testing.T, s *clockSite, name string) {
		s.user(t, name, nil)
		device := authenticator.New(s.url, "localhost", "ES256")
		v := s.visitor(t)
		signIn(v, name, goodPassword).Shows("/index")
		v.Open("/manager").Ceremony("/manager/passkeys", device.Create).Shows("/manager", "The passkey is added")
		v = s.visitor(t)
		v.Open("/login").Ceremony("/login/passkey", device.Get).Shows("/index", "Hello, "+name)
		everywhere(v, name)
		v.Open("/confirm?next=/manager/profile").Ceremony("/confirm/passkey", device.Get)
		if v.Status != http.StatusOK {
			t.Errorf("confirmation: %d, %s", v.Status, v.Body)
		}
		everywhere(v, name)
	},
	"confirmation": func(t *testing.T, s *clockSite, name string) {
		s.user(t, name, nil)
		v := s.visitor(t)
		signIn(v, name, goodPassword).Shows("/index")
		v.Open("/confirm?next=/manager/profile").Send("/confirm", "password", "wrong").Shows("/confirm")
		v.Send("/confirm", "password", goodPassword).Shows("/manager/profile").
			Send("/manager/profile", "display", "Dr "+name, "email", name+"@example.com").Shows("/manager", "Dr "+name)
		everywhere(v, name)
		v.Open("/manager/password").Send("/manager/password", "password", goodPassword, "new", "seven copper bridges", "again", "seven copper bridges").Shows("/manager")
		everywhere(v, name)
	},
	"recovery by mail": func(t *testing.T, s *clockSite, name string) {
		s.user(t, name, nil)
		v := s.visitor(t)
		v.Open("/recover").Send("/recover", "email", name+"@example.com").Shows("/recover", "on its way")
		v.Open(s.mail.linkTo(t, name+"@example.com")).Send("", "new", "seven copper bridges", "again", "seven copper bridges").Shows("/manager", name)
		everywhere(v, name)
		v = s.visitor(t)
		signIn(v, name, "seven copper bridges").Shows("/index", "Hello, "+name)
	},
	"recovery by an administrator": func(t *testing.T, s *clockSite, name string) {
		s.user(t, name+".admin", func(p *account.Person) { p.Admin = true })
		root := s.visitor(t)
		signIn(root, name+".admin", goodPassword).Shows("/index")
		root.Open("/manager/people/new").Send("/new", "name", name).Shows("/manager/people/new", "Link for "+name)
		link := recoveryLink.FindString(root.Body)
		v := s.visitor(t)
		v.Open(link).Send("", "new", goodPassword, "again", goodPassword).Shows("/manager", name)
		everywhere(v, name)
		for range 3 {
			s.visitor(t).Open(link).Shows(strings.TrimPrefix(link, s.url), "not good any more")
		}
	},
}

// TestServeClocks: machines whose clocks differ are one site, whichever of them a request
// of a flow goes to.
func TestServeClocks(t *testing.T) {
	binary := buildWithClock(t)
	hasher, err := password.New(password.Config{})
	if err != nil {
		t.Fatal(err)
	}
	hash, err := hasher.Hash(t.Context(), goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	for _, clocks := range [][]time.Duration{
		{0, 20 * time.Millisecond, time.Second},
		{20 * time.Millisecond, time.Second, 45 * time.Second},
		{-45 * time.Second, -20 * time.Millisecond, 0},
	} {
		t.Run(fmt.Sprint(clocks), func(t *testing.T) {
			s := &clockSite{hash: hash, mail: newMailServer(t)}
			database := service.Postgres(t).URL()
			var commands []*exec.Cmd
			for _, by := range clocks {
				cmd := exec.CommandContext(t.Context(), binary, "serve")
				cmd.Dir = t.TempDir()
				cmd.Env = append(os.Environ(), clockVariable+"="+by.String())
				commands = append(commands, cmd)
			}
			s.several = startSeveral(t, commands, "--database="+database, "--sessions=redis://"+service.Redis(t).Addr,
				"--smtp=smtp://"+s.mail.Addr().String(), "--mail-from=gate@example.com")
			for i, by := range clocks {
				checkClock(t, s.targets[i].String(), by)
			}

			quiet := &server{settings: settings{Database: database}, log: slog.New(slog.DiscardHandler)}
			t.Cleanup(quiet.close)
			stores, err := quiet.openDatabase(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if s.people, err = account.New(account.Config{Store: stores.people}); err != nil {
				t.Fatal(err)
			}
			if s.secret, err = s.people.Secret(t.Context(), "captcha"); err != nil {
				t.Fatal(err)
			}
			s.visitor(t).Open(s.machines[0].link).Send("", "name", "root", "new", goodPassword, "again", goodPassword).Shows("/manager", "root")

			for _, flow := range sortedKeys(clockFlows) {
				t.Run(flow, func(t *testing.T) {
					// Each machine is the first one, and the others follow in both orders.
					for i := range 6 {
						s.next.Store(int64(i % 3))
						s.step.Store(int64(1 + i/3))
						clockFlows[flow](t, s, fmt.Sprintf("%s%d", strings.ToLower(strings.ReplaceAll(flow, " ", "-")), i))
					}
				})
			}
		})
	}
}

// checkClock fails the test if the clock of a machine does not differ by as much as it
// should.
func checkClock(t testing.TB, address string, by time.Duration) {
	t.Helper()
	before := time.Now().Add(by).Truncate(time.Second)
	_, _, header := get(t, address+"/robots.txt")
	after := time.Now().Add(by)
	at, err := http.ParseTime(header.Get("Date"))
	if err != nil || at.Before(before) || at.After(after) {
		t.Fatalf("it is %v there, want %v to %v: %v", at, before, after, err)
	}
}
