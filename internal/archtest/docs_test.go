package archtest

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestASVS: every test that docs/asvs.md names is there.
func TestASVS(t *testing.T) {
	doc, err := os.ReadFile("../../docs/asvs.md")
	if err != nil {
		t.Fatal(err)
	}
	folders := map[string]string{"gatehouse": "cmd/gatehouse"}
	tests := make(map[string]string)
	named := regexp.MustCompile("`([a-z/]+)\\.(Test\\w+)`").FindAllStringSubmatch(string(doc), -1)
	if len(named) < 50 {
		t.Errorf("%d tests are named", len(named))
	}
	for _, m := range named {
		pkg, test := m[1], m[2]
		if folders[pkg] == "" {
			folders[pkg] = pkg
		}
		if tests[pkg] == "" {
			cmd := exec.CommandContext(t.Context(), "grep", "-rhoE", "--include=*_test.go", `^func Test\w+`, folders[pkg])
			cmd.Dir = "../.."
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("tests of %s: %v", pkg, err)
			}
			tests[pkg] = string(out)
		}
		if !strings.Contains(tests[pkg]+"\n", "func "+test+"\n") {
			t.Errorf("docs/asvs.md names %s.%s, which is not there", pkg, test)
		}
	}
}
