package passkey_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/seed-64ad3862/gatehouse/internal/browser"
	"github.com/seed-64ad3862/gatehouse/passkey"
)

// A server has one person, Zoe, for whom anybody may register passkeys.
type server struct {
	url string
	p   *passkey.Passkeys

	mu    sync.Mutex
	zoe   passkey.User
	state passkey.State
}

const page = `<!doctype html><html lang=en><meta charset=utf-8><title>Sign in</title><link rel=icon href=data:,>
<script type=module src=/page.js></script><form><label>Name <input name=name autocomplete="username webauthn"></label></form></html>`

func newServer(t testing.TB) *server {
	t.Helper()
	scripts, module, err := passkey.Script("/passkey/")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{zoe: passkey.User{Handle: passkey.NewHandle(), Name: "zoe", DisplayName: "Zoë"}}
	mux := http.NewServeMux()
	serve := func(path, media, body string) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", media)
			w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:; require-trusted-types-for 'script'")
			io.WriteString(w, body)
		})
	}
	mux.Handle("/passkey/", scripts)
	serve("/{$}", "text/html; charset=utf-8", page)
	serve("/page.js", "text/javascript", `
		import * as passkey from "`+module+`";
		const post = async (path, body) => {
			const response = await fetch(path, { method: "POST", body });
			if (!response.ok) throw new Error(await response.text());
			return response.json();
		};
		// ceremony returns what the server says at the end, or the name of what was thrown.
		window.ceremony = async (purpose, options) => {
			try {
				const asked = await post("/begin/" + purpose);
				const call = purpose === "registration" ? passkey.create : passkey.get;
				window.response = await call(asked, options);
				window.asked = asked;
				return await post("/finish/" + purpose, JSON.stringify(window.response));
			} catch (error) {
				return error instanceof DOMException ? error.name : String(error);
			}
		};
		window.passkey = passkey;`)
	mux.HandleFunc("POST /begin/{purpose}", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		var options json.RawMessage
		var err error
		switch r.PathValue("purpose") {
		case "registration":
			options, s.state, err = s.p.BeginRegistration(s.zoe)
		case "sign-in":
			options, s.state, err = s.p.BeginSignIn()
		case "confirmation":
			options, s.state, err = s.p.BeginConfirmation(s.zoe)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Write(options)
	})
	mux.HandleFunc("POST /finish/{purpose}", func(w http.ResponseWriter, r *http.Request) {
		response, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
		if err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		state := s.state
		s.state = passkey.State{}
		said, err := s.finish(r.Context(), r.PathValue("purpose"), state, response)
		if err != nil {
			said = err.Error()
			if !errors.Is(err, passkey.ErrUnknown) {
				t.Error(err)
			}
		}
		json.NewEncoder(w).Encode(said)
	})
	h := httptest.NewServer(mux)
	t.Cleanup(h.Close)
	s.url = strings.Replace(h.URL, "127.0.0.1", "localhost", 1) // an address is no domain
	s.p, err = passkey.New(passkey.Config{Origins: []string{s.url}, Name: "Test"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *server) finish(ctx context.Context, purpose string, state passkey.State, response []byte) (string, error) {
	keep := func(c passkey.Credential) {
		for i := range s.zoe.Credentials {
			if string(s.zoe.Credentials[i].ID) == string(c.ID) {
				s.zoe.Credentials[i] = c
			}
		}
	}
	switch purpose {
	case "registration":
		c, err := s.p.FinishRegistration(s.zoe, state, response)
		if err == nil {
			s.zoe.Credentials = append(s.zoe.Credentials, c)
		}
		return "registered", err
	case "sign-in":
		u, c, err := s.p.FinishSignIn(ctx, state, response, people{&s.zoe}.find)
		if err == nil {
			keep(c)
		}
		return "signed in as " + u.Name, err
	default:
		c, err := s.p.FinishConfirmation(s.zoe, state, response)
		if err == nil {
			keep(c)
		}
		return "confirmed", err
	}
}

func (s *server) credentials() []passkey.Credential {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.zoe.Credentials
}

// call sends a command of the debugger's protocol.
// open shows the page, in a browser without authenticators until plug gives it some.
func (s *server) open(t testing.TB, b *browser.Browser) *browser.Tab {
	t.Helper()
	tab := b.Tab(t)
	browser.Call(t, tab, webauthn.Enable, webauthn.EnableParams{})
	tab.Do(t, chromedp.Navigate(s.url))
	tab.Wait(t, `typeof ceremony === "function"`)
	return tab
}

func unplug(t testing.TB, tab *browser.Tab, id webauthn.AuthenticatorID) {
	t.Helper()
	browser.Call(t, tab, webauthn.RemoveVirtualAuthenticator, webauthn.RemoveVirtualAuthenticatorParams{AuthenticatorID: id})
}

// says runs an asynchronous expression, which must give this text.
func says(t testing.TB, tab *browser.Tab, expression, want string) {
	t.Helper()
	got := browser.Get(t, tab, chromedp.Evaluate[string]("(async () => String(await ("+expression+")))()", chromedp.EvalAwaitPromise))
	if got != want {
		t.Errorf("%s says %q, want %q", expression, got, want)
	}
}

// byHand makes the browser an old one, and byThrowing one with a password manager whose
// objects are not quite the browser's.
const (
	byHand = `delete PublicKeyCredential.parseCreationOptionsFromJSON;
		delete PublicKeyCredential.parseRequestOptionsFromJSON;
		delete PublicKeyCredential.prototype.toJSON`
	byThrowing = `PublicKeyCredential.prototype.toJSON = () => { throw new TypeError("Illegal invocation"); }`
)

func TestBrowser(t *testing.T) {
	b := browser.Start(t)
	for name, before := range map[string]string{"today's": "", "old": byHand, "extended": byThrowing} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			tab := s.open(t, b)
			tab.Do(t, chromedp.Evaluate[chromedp.Void]("{"+before+"}"))
			says(t, tab, `passkey.supported()`, "true")
			first := tab.Authenticator(t, webauthn.AuthenticatorTransportInternal, true)
			says(t, tab, `ceremony("registration")`, "registered")
			says(t, tab, `ceremony("sign-in")`, "signed in as zoe")
			says(t, tab, `ceremony("confirmation")`, "confirmed")

			// What is there already is not made again, but on another authenticator.
			says(t, tab, `ceremony("registration")`, "InvalidStateError")
			unplug(t, tab, first)
			second := tab.Authenticator(t, webauthn.AuthenticatorTransportUsb, true)
			says(t, tab, `ceremony("registration")`, "registered")
			says(t, tab, `ceremony("sign-in")`, "signed in as zoe")
			got := s.credentials()
			if len(got) != 2 || fmt.Sprint(got[0].Transports) != "[internal]" || fmt.Sprint(got[1].Transports) != "[usb]" ||
				got[0].SignCount < 2 || got[1].SignCount == 0 || got[0].AAGUID == "" {
				t.Errorf("passkeys %+v", got)
			}

			// The server has forgotten it, and the browser is told.
			s.mu.Lock()
			s.zoe.Credentials = s.zoe.Credentials[:1]
			s.mu.Unlock()
			says(t, tab, `ceremony("sign-in")`, "passkey: no such credential: sign-in: the person has no such passkey")
			says(t, tab, `passkey.unknown(asked, response)`, "undefined")
			if left := browser.Call(t, tab, webauthn.GetCredentials, webauthn.GetCredentialsParams{AuthenticatorID: second}).Credentials; len(left) != 0 {
				t.Errorf("the browser keeps %d passkeys that it was told are unknown", len(left))
			}
		})
	}
}

// TestBrowserRefused: no passkey without verification of the person.
func TestBrowserRefused(t *testing.T) {
	s := newServer(t)
	tab := s.open(t, browser.Start(t))
	id := tab.Authenticator(t, webauthn.AuthenticatorTransportInternal, false)
	says(t, tab, `ceremony("registration")`, "NotAllowedError")
	browser.Call(t, tab, webauthn.SetUserVerified, webauthn.SetUserVerifiedParams{AuthenticatorID: id, IsUserVerified: true})
	says(t, tab, `ceremony("registration")`, "registered")
	browser.Call(t, tab, webauthn.SetUserVerified, webauthn.SetUserVerifiedParams{AuthenticatorID: id, IsUserVerified: false})
	says(t, tab, `ceremony("sign-in")`, "NotAllowedError")
	says(t, tab, `ceremony("confirmation")`, "NotAllowedError")

	// An authenticator that has none of these.
	unplug(t, tab, id)
	tab.Authenticator(t, webauthn.AuthenticatorTransportInternal, true)
	says(t, tab, `ceremony("confirmation", {signal: AbortSignal.timeout(2000)}).then((said) => said === "NotAllowedError" || said === "TimeoutError")`, "true")

	says(t, tab, `ceremony("sign-in", {signal: AbortSignal.abort("no more")})`, "no more")
	says(t, tab, `(delete window.PublicKeyCredential, passkey.supported())`, "false")
	says(t, tab, `passkey.conditional()`, "false")
}

// TestBrowserAutofill: it waits, gives way to what comes later, and signs in.
func TestBrowserAutofill(t *testing.T) {
	s := newServer(t)
	tab := s.open(t, browser.Start(t))
	id := tab.Authenticator(t, webauthn.AuthenticatorTransportInternal, true)
	says(t, tab, `ceremony("registration")`, "registered")
	says(t, tab, `passkey.conditional()`, "true")

	present := func(is bool) {
		browser.Call(t, tab, webauthn.SetAutomaticPresenceSimulation, webauthn.SetAutomaticPresenceSimulationParams{AuthenticatorID: id, Enabled: is})
	}
	begin := func() {
		t.Helper()
		tab.Do(t, chromedp.Evaluate[chromedp.Void](`{
			window.said = undefined;
			window.controller = new AbortController();
			ceremony("sign-in", { conditional: true, signal: controller.signal }).then((said) => { window.said = said; });
		}`))
	}
	waits := func() {
		t.Helper()
		begin()
		time.Sleep(300 * time.Millisecond)
		if said := browser.Get(t, tab, chromedp.Evaluate[string]("String(window.said)")); said != "undefined" {
			t.Fatalf("does not wait: %s", said)
		}
	}

	begin()
	tab.Wait(t, `window.said === "signed in as zoe"`)

	// From now on nobody chooses anything.
	present(false)
	waits()
	tab.Do(t, chromedp.Evaluate[chromedp.Void](`controller.abort()`))
	tab.Wait(t, `window.said === "AbortError"`)

	waits()
	present(true) // this is for what comes after
	says(t, tab, `ceremony("confirmation")`, "confirmed")
	tab.Wait(t, `window.said === "AbortError"`)
	says(t, tab, `(controller.abort(), ceremony("sign-in"))`, "signed in as zoe")
}
