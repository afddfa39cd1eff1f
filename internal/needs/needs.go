// Package needs is for tests that need a program which may not be there.
package needs

import "os"

// Variable is set to 1 where a test that would be skipped must fail: `make test`
// does so.
const Variable = "GATEHOUSE_TEST_ALL"

// T is the part of testing.TB that is needed here.
type T interface {
	Helper()
	Fatalf(format string, args ...any)
	Skip(args ...any)
}

// Missing ends the test because what it needs is not there: skipped, or failed
// if the Variable is 1.
func Missing(t T, what string) {
	t.Helper()
	if os.Getenv(Variable) == "1" {
		t.Fatalf("%s, and %s=1 wants all tests run", what, Variable)
	}
	t.Skip(what)
}
