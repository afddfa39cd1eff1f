package archtest

import (
	"bufio"
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/seed-64ad3862/gatehouse"

// fences say what a package may depend on beside the standard library, directly
// or not, tests aside.
var fences = []struct {
	pkg    string
	may    []string
	reason string
}{
	{"session", []string{"internal/logtext", "internal/clock", "internal/outage"}, "an importer of sessions gets the standard library and nothing of others"},
	{"csrf", []string{"internal/clock", "internal/outage", "internal/logtext", "session"}, "tokens belong to sessions; a guard against forgery must not bring a supply chain with it"},
	{"csrf/tornado", nil, "wire formats need nobody; whoever migrates reads this package alone"},
	{"captcha", []string{"internal/clock", "internal/spent", "internal/retry", "golang.org/x/text"}, "answers are folded with the Unicode tables; a renderer is the application's choice"},
	{"captcha/still", []string{"internal/clock", "captcha", "golang.org/x/text"}, "a picture is drawn with the standard library"},
	{"captcha/motion", []string{"internal/clock", "captcha", "golang.org/x/text", "internal/spent"}, "a film is drawn with the standard library"},
	{"captcha/speech", []string{"internal/clock", "captcha", "golang.org/x/text", "internal/spent"}, "a voice brings its recordings and nothing else"},
	{"captcha/pow", []string{"internal/clock", "captcha", "golang.org/x/text", "internal/spent", "internal/retry", "internal/static"}, "PBKDF2 is in the standard library"},
	{"captcha/form", []string{"internal/clock", "captcha", "golang.org/x/text", "internal/spent", "internal/retry", "internal/static"}, "the part of a page is text and pictures"},
	{"password", []string{"password/internal", "golang.org/x/crypto", "golang.org/x/sync", "golang.org/x/sys", "golang.org/x/text"}, "hashes are made by the Go project's own packages"},
	{"throttle", []string{"internal/clock", "internal/outage"}, "a few buckets need nobody"},
	{"throttle/throttletest", []string{"internal/clock", "internal/outage", "throttle"}, "third parties import it into their tests"},
	{"passkey", []string{"internal/clock", "internal/static", "github.com/go-webauthn", "github.com/fxamacker/cbor", "github.com/go-viper/mapstructure", "github.com/golang-jwt/jwt", "github.com/google/go-tpm", "github.com/google/uuid", "github.com/philhofer/fwd", "github.com/tinylib/msgp", "github.com/x448/float16", "golang.org/x/crypto", "golang.org/x/sys"}, "go-webauthn brings much for attestation, which nobody else here shall have to carry"},
	{"account", []string{"internal/outage", "internal/clock", "golang.org/x/text"}, "names are compared with the Unicode tables; hashes, factors and pages are other packages'"},
	{"account/accounttest", []string{"internal/outage", "internal/clock", "account", "golang.org/x/text"}, "third parties import it into their tests"},
	{"signin", []string{
		"session", "csrf", "captcha", "password", "throttle", "passkey", "account", "internal/clock", "internal/outage", "internal/headers", "internal/logtext", "internal/static", "internal/spent", "internal/retry",
		"github.com/boombuler/barcode", "github.com/pquerna/otp", "github.com/go-webauthn", "github.com/fxamacker/cbor", "github.com/go-viper/mapstructure",
		"github.com/golang-jwt/jwt", "github.com/google/go-tpm", "github.com/google/uuid", "github.com/philhofer/fwd", "github.com/tinylib/msgp", "github.com/x448/float16",
		"golang.org/x/crypto", "golang.org/x/sync", "golang.org/x/sys", "golang.org/x/text",
	}, "the pages know no store and send no mail: which ones, the program says"},
	{"internal/logtext", nil, "packages that promise the standard library import it"},
	{"store/memory", []string{"internal/logtext", "internal/clock", "internal/outage", "session", "internal/spent"}, "the default store must cost nothing to import"},
	{"store/sqlite", []string{"internal/logtext", "internal/outage", "session", "account", "throttle", "internal/clock", "golang.org/x/text", "modernc.org", "github.com/dustin/go-humanize", "github.com/google/uuid", "github.com/remyoudompheng/bigfft", "golang.org/x/sys"}, "SQLite in Go, and what it is made with"},
	{"store/redis", []string{"internal/logtext", "internal/reach", "internal/clock", "internal/outage", "session", "throttle", "github.com/redis/rueidis", "golang.org/x/sys"}, "one client, and nothing of ours that another store needs"},
	{"store/postgres", []string{"internal/logtext", "internal/reach", "internal/outage", "session", "account", "throttle", "internal/clock", "github.com/jackc", "golang.org/x/sync", "golang.org/x/text"}, "one driver, and nothing of ours that another store needs"},
	{"store/storetest", []string{"internal/logtext", "internal/clock", "internal/outage", "session"}, "third parties import it into their tests"},
}

// order is the way a request flows. A package may import those before it.
var order = []string{"session", "csrf", "captcha", "password", "throttle", "passkey", "account", "signin", "store", "examples", "cmd"}

func deps(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v\n%s", args, err, stderr.Bytes())
	}
	var lines []string
	for sc := bufio.NewScanner(bytes.NewReader(out)); sc.Scan(); {
		if line := strings.TrimSpace(sc.Text()); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestFences(t *testing.T) {
	for _, f := range fences {
		pkg := module + "/" + f.pkg
		found := false
		for _, dep := range deps(t, "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./"+f.pkg) {
			if dep == pkg {
				found = true
				continue
			}
			if !slices.ContainsFunc(f.may, func(may string) bool {
				return dep == module+"/"+may || strings.HasPrefix(dep, module+"/"+may+"/") || dep == may || strings.HasPrefix(dep, may+"/")
			}) {
				t.Errorf("%s depends on %s; it may not: %s", f.pkg, dep, f.reason)
			}
		}
		if !found {
			t.Errorf("%s is not there", f.pkg)
		}
	}
}

func TestOrder(t *testing.T) {
	rank := func(path string) int {
		first, _, _ := strings.Cut(strings.TrimPrefix(path, module+"/"), "/")
		return slices.Index(order, first)
	}
	for _, line := range deps(t, "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...") {
		words := strings.Fields(line)
		pkg := words[0]
		if strings.HasPrefix(pkg, module+"/internal/") {
			continue
		}
		if rank(pkg) < 0 {
			t.Errorf("%s has no place in the order: name it there", pkg)
		}
		for _, imp := range words[1:] {
			if strings.HasPrefix(imp, module+"/") && rank(imp) > rank(pkg) {
				t.Errorf("%s imports %s, which stands after it", pkg, imp)
			}
			if strings.HasPrefix(imp, "github.com/go-webauthn/") && pkg != module+"/passkey" {
				t.Errorf("%s imports %s: its policy is package passkey's to keep", pkg, imp)
			}
		}
	}
}

// TestTestsOnly: what only tests need stays out of every program.
func TestTestsOnly(t *testing.T) {
	for _, dep := range deps(t, "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./cmd/...", "./session/...", "./csrf/...", "./captcha/...") {
		for _, not := range []string{"github.com/chromedp", "github.com/anishathalye/porcupine", module + "/store/storetest", module + "/internal/authenticator", "testing"} {
			if dep == not || strings.HasPrefix(dep, not+"/") {
				t.Errorf("a program would contain %s", dep)
			}
		}
	}
}
