// Package browser lets tests use a site as people do, with a real Chromium that
// shows no window.
package browser

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/seed-64ad3862/gatehouse/internal/needs"
	"github.com/seed-64ad3862/gatehouse/internal/npm"
)

// patience is how long one call of Do may take, on a machine that is busy.
const patience = time.Minute

// A Browser has a profile of its own, without cookies, that its tabs share.
type Browser struct {
	ctx context.Context
}

// Start starts Chromium, and ends it with the test. Without one the test is
// skipped, or fails if [needs.Variable] is 1.
func Start(t testing.TB) *Browser {
	t.Helper()
	path := find()
	if path == "" {
		needs.Missing(t, "browser: there is no chromium, chromium-browser or google-chrome in PATH")
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(),
		// In a profile directory of its own, which chromedp makes and removes.
		chromedp.ExecPath(path),
		chromedp.NoFirstRun,
		chromedp.NoDefaultBrowserCheck,
		chromedp.Headless,
		chromedp.DisableGPU,
		chromedp.NoSandbox, // without it, Chromium does not start for root
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true), // it is small in containers
		chromedp.WSURLReadTimeout(patience),
	)
	t.Cleanup(cancel)
	// What Chromium says that chromedp is too old to know is no matter.
	quiet := func(string, ...any) {}
	first, cancel := chromedp.NewContext(ctx, chromedp.WithErrorf(quiet), chromedp.WithLogf(quiet))
	t.Cleanup(func() {
		_ = chromedp.Cancel(first) // waits until the process is gone
		cancel()
	})
	if err := chromedp.Do(first); err != nil {
		t.Fatalf("browser: %s does not start: %v", path, err)
	}
	return &Browser{ctx: first}
}

func find() string {
	for _, name := range []string{
		"chromium", "chromium-browser", "google-chrome", "google-chrome-stable",
		"/Applications/Chromium.app/Contents/MacOS/Chromium",
		"/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
	} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// A Tab is one page at a time.
type Tab struct {
	ctx context.Context

	mu       sync.Mutex
	allowed  []string
	problems []string
}

// Allow lets the browser complain about what has this text in it, such as the
// address of a page that is not there.
func (tab *Tab) Allow(text string) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	tab.allowed = append(tab.allowed, text)
}

// Tab opens a tab. The test fails if, until it ends, there is anything that the
// browser complains about in it: an error on the console or not caught, something
// that does not load, a violation of the content security policy. A page with the
// status 422 is no error: it says what is wrong with a form.
func (b *Browser) Tab(t testing.TB) *Tab {
	t.Helper()
	tab := &Tab{}
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithListener(tab.event))
	t.Cleanup(cancel)
	tab.ctx = ctx
	// The first call must have no timeout: the tab would live no longer.
	if _, err := chromedp.Call(ctx, audits.Enable, cdp.Empty{}); err != nil {
		t.Fatalf("browser: %v", err)
	}
	t.Cleanup(func() {
		tab.mu.Lock()
		defer tab.mu.Unlock()
		for _, p := range tab.problems {
			t.Errorf("browser: %s", p)
		}
	})
	return tab
}

func (tab *Tab) event(e any) {
	var problem string
	switch e := e.(type) {
	case *log.EventEntryAdded:
		if strings.HasSuffix(e.Entry.Text, "status of 422 (Unprocessable Entity)") {
			return
		}
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			problem = fmt.Sprintf("%s %s: %s (%s)", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL)
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning || e.Type == runtime.ConsoleAPICalledTypeAssert {
			problem = "console " + string(e.Type)
			for _, arg := range e.Args {
				problem += fmt.Sprintf(" %s%s", arg.Value, arg.Description)
			}
		}
	case *runtime.EventExceptionThrown:
		problem = "exception " + e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			problem += " " + x.Description
		}
	case *audits.EventIssueAdded:
		// Others are advice, such as on the quirks of a page of one word.
		if d := e.Issue.Details; d != nil && d.ContentSecurityPolicyIssueDetails != nil {
			problem = "violates " + d.ContentSecurityPolicyIssueDetails.ViolatedDirective
		}
	}
	if problem == "" {
		return
	}
	tab.mu.Lock()
	defer tab.mu.Unlock()
	if !slices.ContainsFunc(tab.allowed, func(text string) bool { return strings.Contains(problem, text) }) {
		tab.problems = append(tab.problems, problem)
	}
}

// Do does what the actions say, one after the other. It fails the test if one of
// them fails, or all take longer than a minute.
func (tab *Tab) Do(t testing.TB, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	Get(t, tab, chromedp.Steps(actions...))
}

// Get is [Tab.Do] for an action that gives a value.
func Get[T any](t testing.TB, tab *Tab, action chromedp.Action[T]) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		t.Fatalf("browser: %v", err)
	}
	return v
}

// Call is [Tab.Do] for a command of the protocol.
func Call[P, R any](t testing.TB, tab *Tab, command cdp.Command[P, R], params P) (result R) {
	t.Helper()
	tab.Do(t, chromedp.Func(func(ctx context.Context, target *chromedp.Target) (err error) {
		result, err = cdp.Call(ctx, target, command, params)
		return err
	}))
	return result
}

// Wait waits until an expression is true.
func (tab *Tab) Wait(t testing.TB, expression string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	for {
		// An error is that of a page which is just giving way to another.
		yes, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		if err == nil && yes {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("browser: for a minute not true: %s (%v)", expression, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Authenticator gives the tab, for which webauthn is enabled, an authenticator
// that has passkeys, and whose user is there and verified, or is not.
func (tab *Tab) Authenticator(t testing.TB, transport webauthn.AuthenticatorTransport, verified bool) webauthn.AuthenticatorID {
	t.Helper()
	return Call(t, tab, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{
		Options: &webauthn.VirtualAuthenticatorOptions{
			Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: transport,
			HasResidentKey: true, HasUserVerification: true, IsUserVerified: verified, AutomaticPresenceSimulation: true,
		},
	}).AuthenticatorID
}

// Shows waits until the page shows this text and nothing else, as after a form
// was sent.
func (tab *Tab) Shows(t testing.TB, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	for {
		// An error is that of a page which is just giving way to another.
		got, err := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
		if err == nil && got == want {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("browser: the page shows %q, not %q (%v)", got, want, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Screen sets the size of the page in CSS pixels and whether it is dark.
func (tab *Tab) Screen(t testing.TB, width, height int64, dark bool) {
	t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	tab.Do(t,
		chromedp.EmulateViewport(width, height, chromedp.EmulateScale(2)),
		chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
			})
			return err
		}),
	)
}

// Screenshot writes a picture of the whole page to a file in the test's artifact
// directory: `go test -artifacts` keeps it.
func (tab *Tab) Screenshot(t testing.TB, name string) {
	t.Helper()
	picture := Get(t, tab, chromedp.FullScreenshot(100))
	dir := t.TempDir()
	if a, ok := t.(interface{ ArtifactDir() string }); ok {
		dir = a.ArtifactDir()
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Log("screenshot:", filepath.Join(dir, name+".png"))
}

// Accessible fails the test for each violation that axe-core finds in the page,
// by the rules of WCAG 2.2, A and AA, and its own best practices.
func (tab *Tab) Accessible(t testing.TB) {
	t.Helper()
	type violation struct {
		ID, Help string
		Nodes    []struct{ HTML, FailureSummary string }
	}
	// The page's policy does not concern what a debugger evaluates.
	tab.Do(t, chromedp.Evaluate[chromedp.Void](string(npm.Axe.File(t, "axe.min.js"))+";undefined"))
	found := Get(t, tab, chromedp.Evaluate[[]violation]("axe.run().then((r) => r.violations)", chromedp.EvalAwaitPromise))
	for _, v := range found {
		for _, n := range v.Nodes {
			t.Errorf("browser: axe: %s (%s): %s: %s", v.ID, v.Help, n.HTML, n.FailureSummary)
		}
	}
}
