// Command bench measures Gatehouse beside other packages for the same work, in
// one run, and prints Markdown:
//
//	go run .                        everything, about ten minutes
//	go run . -quick                 everything in about a minute, for a look
//	go run . -only sessions,csrf    some sections
//	go run . -write RESULTS.md      everything, into a file
//
// What is in the repository was made by
//
//	go run . -only sessions,promises,memory,csrf,server -write RESULTS.md
//	go run . -only pictures,forms -write RESULTS-captcha.md -notes notes-captcha.md
//	go run . -only signin -write RESULTS-signin.md -notes notes-signin.md
//	go run . -only stores,millions -write RESULTS-stores.md -notes notes-stores.md
//
// Everything that is compared is measured in turns, A B C A B C, and the medians
// of the rounds are shown: what else the machine does then disturbs all alike.
// CPU is the user and system time of the process, the garbage collector's
// included.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"
)

// config says how much to measure.
type config struct {
	rounds int           // of everything in one process
	slice  time.Duration // of one contender in a round

	sessions   int // that a store is filled with
	fills      int // rounds, each in a process of its own
	firstSweep time.Duration

	kept int // rounds of the promises

	served      time.Duration // of one wrk
	serveRounds int
}

var (
	full = config{
		rounds: 11, slice: 200 * time.Millisecond,
		sessions: 1_000_000, fills: 3, firstSweep: 16 * time.Second,
		kept: 20, served: 2 * time.Second, serveRounds: 11,
	}
	quick = config{
		rounds: 3, slice: 20 * time.Millisecond,
		sessions: 100_000, fills: 1, firstSweep: 6 * time.Second,
		kept: 3, served: time.Second, serveRounds: 3,
	}
)

// A section measures one thing and reports it.
type section struct {
	name string
	run  func(ctx context.Context, cfg config, r *report) error
}

var sections = []section{
	{"sessions", benchSessions},
	{"promises", benchPromises},
	{"memory", benchMemory},
	{"csrf", benchCSRF},
	{"pictures", benchPictures},
	{"forms", benchForms},
	{"signin", benchSignIn},
	{"server", benchServer},
	{"stores", benchStores},
	{"millions", benchMillions},
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == childArg {
		child(os.Args[2:])
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	var names []string
	for _, s := range sections {
		names = append(names, s.name)
	}
	isQuick := flag.Bool("quick", false, "short rounds and 100,000 sessions: for a look, not for figures")
	only := flag.String("only", strings.Join(names, ","), "the sections to run")
	write := flag.String("write", "", "file to write the report to, followed by the notes")
	notes := flag.String("notes", "notes.md", "file of notes, by hand, on the report")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	chosen := strings.Split(*only, ",")
	for _, name := range chosen {
		if !slices.Contains(names, name) {
			return fmt.Errorf("-only %s: sections are %s", name, strings.Join(names, ", "))
		}
	}
	cfg := full
	if *isQuick {
		cfg = quick
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	r := &report{live: os.Stdout}
	r.head(os.Args[1:], cfg)
	for _, s := range sections {
		if !slices.Contains(chosen, s.name) {
			continue
		}
		if err := s.run(ctx, cfg, r); err != nil {
			if errors.Is(err, errSkip) {
				r.text("Skipped: %v.", err)
				continue
			}
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	r.foot()
	if *write == "" {
		return nil
	}
	return r.write(*write, *notes)
}

// errSkip is for a section that this machine lacks something for.
var errSkip = errors.New("not on this machine")
