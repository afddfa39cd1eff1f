package browser

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/seed-64ad3862/gatehouse/internal/needs"
)

// A Firefox has a profile of its own, and shows one page at a time. It is driven by
// WebDriver BiDi.
type Firefox struct {
	socket *websocket.Conn
	id     int
	page   string // the browsing context
}

// firefoxSettings keep it from asking anyone for anything, and from asking the user.
const firefoxSettings = `user_pref("app.update.enabled", false);
user_pref("app.normandy.enabled", false);
user_pref("browser.aboutConfig.showWarning", false);
user_pref("browser.safebrowsing.downloads.remote.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.homepage_override.mstone", "ignore");
user_pref("browser.topsites.contile.enabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("extensions.update.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("services.settings.server", "http://127.0.0.1:9/");
user_pref("signon.rememberSignons", false);
user_pref("toolkit.telemetry.enabled", false);
`

// StartFirefox starts Firefox, with JavaScript in its pages or without, and ends it
// with the test. Without one the test is skipped, or fails if [needs.Variable] is 1.
func StartFirefox(t testing.TB, scripts bool) *Firefox {
	t.Helper()
	path := ""
	for _, name := range []string{"firefox-esr", "firefox", "/Applications/Firefox.app/Contents/MacOS/firefox"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		needs.Missing(t, "browser: there is no firefox-esr or firefox in PATH")
	}
	profile, err := os.MkdirTemp("", "gatehouse-firefox-") // the process may still write to it when the test ends
	if err != nil {
		t.Fatal(err)
	}
	settings := firefoxSettings + fmt.Sprintf("user_pref(\"javascript.enabled\", %v);\n", scripts)
	if err := os.WriteFile(filepath.Join(profile, "user.js"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, "--headless", "--no-remote", "--remote-debugging-port", "0", "--profile", profile)
	cmd.Env = append(os.Environ(), "HOME="+profile)
	said, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		t.Fatalf("browser: %s does not start: %v", path, err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		_ = os.RemoveAll(profile)
	})
	address := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(said); lines.Scan(); {
			if _, at, found := strings.Cut(lines.Text(), "WebDriver BiDi listening on "); found {
				address <- at
			}
		}
	}()
	f := &Firefox{}
	select {
	case at := <-address:
		if f.socket, _, err = websocket.Dial(ctx, at+"/session", nil); err != nil { //nolint:bodyclose // there is none
			t.Fatalf("browser: %v", err)
		}
	case <-time.After(patience):
		t.Fatalf("browser: %s is silent", path)
	}
	f.socket.SetReadLimit(16 << 20)
	f.Call(t, "session.new", `{"capabilities":{}}`, nil)
	var made struct{ Context string }
	f.Call(t, "browsingContext.create", `{"type":"tab"}`, &made)
	f.page = made.Context
	// High enough for a whole page: what is clicked on must be in view.
	f.Call(t, "browsingContext.setViewport", fmt.Sprintf(`{"context":%q,"viewport":{"width":1280,"height":2000}}`, f.page), nil)
	return f
}

// Call sends a command, whose parameters are JSON, and reads its result.
func (f *Firefox) Call(t testing.TB, method, params string, result any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	f.id++
	if err := wsjson.Write(ctx, f.socket, map[string]any{"id": f.id, "method": method, "params": json.RawMessage(params)}); err != nil {
		t.Fatalf("browser: %s: %v", method, err)
	}
	for {
		var answer struct {
			ID             int
			Type           string
			Result         json.RawMessage
			Error, Message string
		}
		if err := wsjson.Read(ctx, f.socket, &answer); err != nil {
			t.Fatalf("browser: %s: %v", method, err)
		}
		if answer.ID != f.id {
			continue // an event
		}
		if answer.Type != "success" {
			t.Fatalf("browser: %s %s: %s: %s", method, params, answer.Error, answer.Message)
		}
		if result != nil {
			if err := json.Unmarshal(answer.Result, result); err != nil {
				t.Fatalf("browser: %s: %v", method, err)
			}
		}
		return
	}
}

// Open shows the page of an address.
func (f *Firefox) Open(t testing.TB, address string) {
	t.Helper()
	f.Call(t, "browsingContext.navigate", fmt.Sprintf(`{"context":%q,"url":%q,"wait":"complete"}`, f.page, address), nil)
}

// At returns the address of the page.
func (f *Firefox) At(t testing.TB) string {
	t.Helper()
	var tree struct{ Contexts []struct{ URL string } }
	f.Call(t, "browsingContext.getTree", fmt.Sprintf(`{"root":%q}`, f.page), &tree)
	return tree.Contexts[0].URL
}

// node finds the first element of a selector.
func (f *Firefox) node(t testing.TB, selector string) (id string, attributes map[string]string) {
	t.Helper()
	var found struct {
		Nodes []struct {
			SharedID string
			Value    struct{ Attributes map[string]string }
		}
	}
	f.Call(t, "browsingContext.locateNodes", fmt.Sprintf(`{"context":%q,"locator":{"type":"css","value":%q}}`, f.page, selector), &found)
	if len(found.Nodes) == 0 {
		t.Fatalf("browser: %s has no %s", f.At(t), selector)
	}
	return found.Nodes[0].SharedID, found.Nodes[0].Value.Attributes
}

// Attribute returns an attribute of the first element of a selector.
func (f *Firefox) Attribute(t testing.TB, selector, name string) string {
	t.Helper()
	_, attributes := f.node(t, selector)
	return attributes[name]
}

// Click clicks on the first element of a selector, so many times.
func (f *Firefox) Click(t testing.TB, selector string, times int) {
	t.Helper()
	id, _ := f.node(t, selector)
	actions := []string{fmt.Sprintf(`{"type":"pointerMove","x":0,"y":0,"origin":{"type":"element","element":{"sharedId":%q}}}`, id)}
	for range times {
		actions = append(actions, `{"type":"pointerDown","button":0}`, `{"type":"pointerUp","button":0}`)
	}
	f.perform(t, `{"type":"pointer","id":"mouse","actions":[`+strings.Join(actions, ",")+`]}`)
}

// Enter is the key of this name, for [Firefox.Type].
const Enter = "\uE007"

// Type types into the first element of a selector.
func (f *Firefox) Type(t testing.TB, selector, text string) {
	t.Helper()
	f.Click(t, selector, 1)
	var actions []string
	for _, r := range text {
		key, _ := json.Marshal(string(r))
		actions = append(actions, fmt.Sprintf(`{"type":"keyDown","value":%s},{"type":"keyUp","value":%s}`, key, key))
	}
	f.perform(t, `{"type":"key","id":"keyboard","actions":[`+strings.Join(actions, ",")+`]}`)
}

// EnterAndClick presses Enter in the first element of a selector, and clicks on that of
// another, at once.
func (f *Firefox) EnterAndClick(t testing.TB, field, button string) {
	t.Helper()
	f.Click(t, field, 1)
	id, _ := f.node(t, button)
	const pause = `{"type":"pause"}`
	f.perform(t,
		fmt.Sprintf(`{"type":"key","id":"keyboard","actions":[%s,{"type":"keyDown","value":%q},{"type":"keyUp","value":%[2]q},%[1]s,%[1]s]}`, pause, Enter),
		fmt.Sprintf(`{"type":"pointer","id":"mouse","actions":[{"type":"pointerMove","x":0,"y":0,"origin":{"type":"element","element":{"sharedId":%q}}},%s,%[2]s,`+
			`{"type":"pointerDown","button":0},{"type":"pointerUp","button":0}]}`, id, pause))
}

func (f *Firefox) perform(t testing.TB, sources ...string) {
	t.Helper()
	f.Call(t, "input.performActions", fmt.Sprintf(`{"context":%q,"actions":[%s]}`, f.page, strings.Join(sources, ",")), nil)
}

// ForgetCookies removes all cookies.
func (f *Firefox) ForgetCookies(t testing.TB) {
	t.Helper()
	f.Call(t, "storage.deleteCookies", `{}`, nil)
}

// Wait waits until the page has this address.
func (f *Firefox) Wait(t testing.TB, address string) {
	t.Helper()
	for end := time.Now().Add(patience); f.At(t) != address; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("browser: at %s, want %s", f.At(t), address)
		}
	}
}
