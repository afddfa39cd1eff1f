// Command noskip reads what `go test -json` writes, shows what failed, and fails
// itself if any test failed or was skipped: a suite that did not run has shown
// nothing.
//
//	go test -json ./... | go run ./internal/noskip
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	if !run(os.Stdin, os.Stdout) {
		os.Exit(1)
	}
}

type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Elapsed    float64
	Output     string
}

// run reports whether there were tests, and all of them ran and passed. Its last
// line counts them.
func run(in io.Reader, out io.Writer) bool {
	output := map[string]*strings.Builder{}
	var passed, failed, skipped, broken int
	sc := bufio.NewScanner(in)
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		var e event
		if json.Unmarshal(sc.Bytes(), &e) != nil {
			fmt.Fprintln(out, sc.Text()) // what go says outside of any test
			continue
		}
		key := e.Package + e.ImportPath + " " + e.Test
		switch e.Action {
		case "output", "build-output":
			if output[key] == nil {
				output[key] = new(strings.Builder)
			}
			output[key].WriteString(e.Output)
			continue
		case "fail", "build-fail":
			if e.Test != "" {
				failed++
			} else {
				broken++
			}
			fmt.Fprintf(out, "FAIL %s\n", key)
			if output[key] != nil {
				fmt.Fprint(out, output[key])
			}
		case "skip":
			if e.Test != "" { // a package without tests is reported as skipped too
				skipped++
				fmt.Fprintf(out, "SKIP %s\n", key)
				if output[key] != nil {
					fmt.Fprint(out, output[key])
				}
			}
		case "pass":
			if e.Test != "" {
				passed++
			} else {
				fmt.Fprintf(out, "ok   %s %.1fs\n", e.Package, e.Elapsed)
			}
		default:
			continue
		}
		delete(output, key)
	}
	if err := sc.Err(); err != nil {
		fmt.Fprintln(out, "noskip:", err)
		broken++
	}
	if broken > 0 && failed == 0 {
		failed = broken
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	return passed > 0 && failed == 0 && skipped == 0
}
