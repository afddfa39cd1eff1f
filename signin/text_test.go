package signin

import (
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestCatalogues: each text that is used is there, in every language, with the same
// verbs, and none is there for nothing.
func TestCatalogues(t *testing.T) {
	used := make(map[string]bool)
	quoted := regexp.MustCompile(`"([a-z0-9-]+(?:\.[a-z0-9 -]+)*)"`)
	views, err := fs.Glob(files, "views/*.html")
	if err != nil {
		t.Fatal(err)
	}
	sources, err := fs.Glob(os.DirFS("."), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	english, err := catalogue("en")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range views {
		b, err := fs.ReadFile(files, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`[{(]\s*t "([^"]+)"`).FindAllStringSubmatch(string(b), -1) {
			used[m[1]] = true
			if _, ok := english[m[1]]; !ok {
				t.Errorf("%s uses %q, which is not there", name, m[1])
			}
		}
	}
	called := regexp.MustCompile(`\b(?:text|say|problem|mail)\((?:http\.\w+, |\w+, |&\w+, |v\.\w+, )?"([^"]+)"(?:, "([a-z.-]+)")?`)
	told := regexp.MustCompile(`\btell\(http\.\w+, "([^"]+)"`)
	for _, name := range sources {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range called.FindAllStringSubmatch(string(b), -1) {
			for _, key := range m[1:] {
				if key == "" || strings.HasSuffix(key, ".") {
					continue
				}
				used[key] = true
				if _, ok := english[key]; !ok {
					t.Errorf("%s uses %q, which is not there", name, key)
				}
			}
		}
		for _, m := range told.FindAllStringSubmatch(string(b), -1) {
			for _, part := range []string{".title", ".text", ".link"} {
				used[m[1]+part] = true
				if _, ok := english[m[1]+part]; !ok {
					t.Errorf("%s tells %q, which is not there", name, m[1]+part)
				}
			}
		}
		for _, m := range quoted.FindAllStringSubmatch(string(b), -1) {
			used[m[1]] = true
			used["detail."+m[1]] = true
			used["passkey."+m[1]] = true
			used[m[1]+".title"], used[m[1]+".text"] = true, true
		}
	}
	for _, kind := range kinds {
		used["log."+string(kind)] = true
		if _, ok := english["log."+string(kind)]; !ok {
			t.Errorf("nothing says %q", kind)
		}
	}
	for _, status := range []string{"400", "404", "405", "409", "413", "415"} {
		used["error."+status+".title"], used["error."+status+".text"] = true, true
	}
	for _, key := range slices.Sorted(maps.Keys(english)) {
		if !used[key] {
			t.Errorf("nobody uses %q", key)
		}
	}
	verbs := regexp.MustCompile(`%(?:\[\d+\])?[a-z]`)
	for _, tag := range tags[1:] {
		other, err := catalogue(tag)
		if err != nil {
			t.Fatal(err)
		}
		for key, text := range english {
			if _, ok := other[key]; !ok {
				t.Errorf("%s has no %q", tag, key)
				continue
			}
			a, b := verbs.FindAllString(text, -1), verbs.FindAllString(other[key], -1)
			slices.Sort(a)
			slices.Sort(b)
			if !slices.Equal(a, b) {
				t.Errorf("%s: %q has %q, not %q", tag, key, b, a)
			}
		}
		for key := range other {
			if _, ok := english[key]; !ok {
				t.Errorf("%s has %q, which is not English's", tag, key)
			}
		}
	}
}

// FuzzLocalPath: what is a path here is one for browsers too, on this site.
func FuzzLocalPath(f *testing.F) {
	for _, s := range []string{"/", "//evil", `/\evil`, "/a/../b?c=d#e", "/%2f%2fevil", "/\t/evil", "/a//b", "/;@evil", "/?next=//evil", "/%00", "/.//evil", "/a:b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := localPath(s)
		if !ok {
			return
		}
		// Browsers take a backslash for a slash, and drop tabs and line breaks (WHATWG URL).
		if got[0] != '/' || len(got) > 1 && (got[1] == '/' || got[1] == '\\') || strings.ContainsAny(got, "\\\t\r\n\x00 ") {
			t.Errorf("%q leads to %q", s, got)
		}
		if again, ok := localPath(got); !ok || again != got {
			t.Errorf("%q leads to %q, and that to %q", s, got, again)
		}
	})
}

// TestDescribe: who call themselves by another's name are told apart.
func TestDescribe(t *testing.T) {
	for agent, want := range map[string]string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36":                                   "Chrome, Windows",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36 Edg/150.0.0.0":                     "Edge, Windows",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15":                             "Safari, macOS",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/150.0 Mobile/15E148 Safari/604.1":            "Chrome, iPhone",
		"Mozilla/5.0 (Linux; Android 15; SM-S921B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/27.0 Chrome/125.0.0.0 Mobile Safari/537.36":        "Samsung Internet, Android",
		"Mozilla/5.0 (Linux; Android 14; X) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/120.0.0.0 Mobile Safari/537.36 MicroMessenger/8.0.50": "WeChat, Android",
		"Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0":                                                                    "Firefox, Linux",
		"curl/8.5.0": "curl", "": "", "\x1b[31mred/1": "[31mred", strings.Repeat("x", 500): strings.Repeat("x", 32),
	} {
		if got := describe(agent); got != want {
			t.Errorf("%.60q: %q, want %q", agent, got, want)
		}
	}
}
