package main

import (
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	for _, test := range []struct {
		name, in, want string
		ok             bool
	}{
		{"nothing", "", "0 passed, 0 failed, 0 skipped\n", false},
		{"passed", `{"Action":"pass","Package":"p","Test":"T"}` + "\n" + `{"Action":"pass","Package":"p"}`, "1 passed, 0 failed, 0 skipped\n", true},
		{"a package without tests", `{"Action":"pass","Package":"p","Test":"T"}` + "\n" + `{"Action":"skip","Package":"q"}`, "1 passed, 0 failed, 0 skipped\n", true},
		{"skipped", `{"Action":"pass","Package":"p","Test":"T"}` + "\n" + `{"Action":"output","Package":"p","Test":"S","Output":"no server\n"}` + "\n" + `{"Action":"skip","Package":"p","Test":"S"}`, "SKIP p S\nno server\n1 passed, 0 failed, 1 skipped\n", false},
		{"failed", `{"Action":"pass","Package":"p","Test":"T"}` + "\n" + `{"Action":"output","Package":"p","Test":"F","Output":"why\n"}` + "\n" + `{"Action":"fail","Package":"p","Test":"F"}` + "\n" + `{"Action":"fail","Package":"p"}`, "FAIL p F\nwhy\nFAIL p \n1 passed, 1 failed, 0 skipped\n", false},
		{"does not build", `{"Action":"pass","Package":"p","Test":"T"}` + "\n" + `{"Action":"build-output","ImportPath":"q","Output":"undefined: x\n"}` + "\n" + `{"Action":"build-fail","ImportPath":"q"}`, "FAIL q \nundefined: x\n1 passed, 1 failed, 0 skipped\n", false},
		{"no JSON", "go: cannot find module\n" + `{"Action":"pass","Package":"p","Test":"T"}`, "go: cannot find module\n1 passed, 0 failed, 0 skipped\n", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			ok := run(strings.NewReader(test.in), &out)
			if ok != test.ok || !strings.HasSuffix(out.String(), test.want) {
				t.Errorf("%v, %q; want %v, …%q", ok, out.String(), test.ok, test.want)
			}
		})
	}
}
