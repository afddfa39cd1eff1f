//go:build unix

package sqlite

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
)

// childVariable tells a process that a test has started it, and for what.
const childVariable = "GATEHOUSE_SQLITE_CHILD"

// child makes a command that runs the present test once more, in another process.
func child(t *testing.T, role string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v")
	cmd.Env = append(os.Environ(), childVariable+"="+role)
	return cmd
}

// inChild runs the test in another process.
func inChild(t *testing.T, role string) {
	t.Helper()
	out, err := child(t, role).CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("the other process: %v", err)
	}
}
