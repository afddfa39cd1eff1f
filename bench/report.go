package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// report gathers Markdown and shows it as it grows.
type report struct {
	live    io.Writer
	all     bytes.Buffer
	targets []target
}

// target is a figure that the design asks for, and what came out.
type target struct {
	what, goal, got string
	met             bool
	beside          string // what another got in the same run
}

func (r *report) printf(format string, args ...any) {
	fmt.Fprintf(io.MultiWriter(r.live, &r.all), format, args...)
}

// text writes one paragraph.
func (r *report) text(format string, args ...any) { r.printf(format+"\n\n", args...) }

func (r *report) title(s string) { r.printf("## %s\n\n", s) }

// table writes a table whose first column is text and whose others are figures.
func (r *report) table(head []string, rows [][]string) {
	r.printf("| %s |\n|---%s|\n", strings.Join(head, " | "), strings.Repeat("|---:", len(head)-1))
	for _, row := range rows {
		r.printf("| %s |\n", strings.Join(row, " | "))
	}
	r.printf("\n")
}

// atMost and atLeast note a target, what was measured, and beside it what
// another got. What is shown as equal is taken for equal.
func (r *report) atMost(what string, got, goal float64, unit func(float64) string, beside string) {
	met := got <= goal || unit(got) == unit(goal)
	r.targets = append(r.targets, target{what, "≤ " + unit(goal), unit(got), met, beside})
}

func (r *report) atLeast(what string, got, goal float64, unit func(float64) string, beside string) {
	met := got >= goal || unit(got) == unit(goal)
	r.targets = append(r.targets, target{what, "≥ " + unit(goal), unit(got), met, beside})
}

// head says what was measured where.
func (r *report) head(args []string, cfg config) {
	r.printf("# Gatehouse beside others\n\n")
	r.text("Written by `%s` on %s. A figure is the median of interleaved rounds (A B C A B C …): %d of %v each for what runs in one process. CPU is user and system time of the whole process, garbage collection included.",
		strings.Join(append([]string{"go run ."}, args...), " "), time.Now().UTC().Format("2006-01-02 15:04 UTC"), cfg.rounds, cfg.slice)
	r.text("Machine: %s, %d cores, %s/%s, %s, load %s at the start.", cpuModel(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version(), load())

	info, ok := debug.ReadBuildInfo()
	if !ok {
		return
	}
	var rows [][]string
	shown := []string{
		"alexedwards/scs/v2", "gorilla/sessions", "gofiber/fiber/v3", "valyala/fasthttp",
		"filippo.io/csrf", "gorilla/csrf", "justinas/nosurf", "mojocn/base64Captcha", "dchest/captcha",
		"redis/rueidis", "redis/go-redis/v9", "gomodule/redigo", "scs/redisstore", "scs/sqlite3store", "scs/pgxstore",
		"modernc.org/sqlite", "mattn/go-sqlite3", "jackc/pgx/v5",
	}
	for _, d := range info.Deps {
		for _, s := range shown {
			if strings.HasSuffix(d.Path, s) {
				rows = append(rows, []string{d.Path, d.Version})
			}
		}
	}
	r.table([]string{"Compared with", "version"}, rows)
}

// foot lists the targets.
func (r *report) foot() {
	if len(r.targets) > 0 {
		r.title("Targets")
		var rows [][]string
		for _, t := range r.targets {
			met := "met"
			if !t.met {
				met = "**missed**"
			}
			rows = append(rows, []string{t.what, t.goal, t.got, met, t.beside})
		}
		r.table([]string{"", "target", "measured", "", "beside, in this run"}, rows)
	}
	r.text("Load %s at the end.", load())
}

// write puts the report into a file, and the notes after it if there are any.
func (r *report) write(name, notes string) error {
	text := bytes.TrimRight(r.all.Bytes(), "\n")
	more, err := os.ReadFile(notes)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(more) > 0 {
		text = append(append(text, "\n\n"...), bytes.TrimRight(more, "\n")...)
	}
	return os.WriteFile(name, append(text, '\n'), 0o644)
}

// cpuModel and load are what Linux says; elsewhere they are not known.
func cpuModel() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "CPU not known"
	}
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "CPU not known"
}

func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "not known"
	}
	first, _, _ := strings.Cut(string(b), " ")
	return first
}

// What figures look like.

func duration(ns float64) string {
	switch {
	case ns < 0:
		return "−" + duration(-ns)
	case ns < 999.5:
		return fmt.Sprintf("%.0f ns", ns)
	case ns < 1e6:
		return fmt.Sprintf("%.2f µs", ns/1e3)
	default:
		return fmt.Sprintf("%.2f ms", ns/1e6)
	}
}

func count(v float64) string {
	if v < 0.05 && v > -0.05 {
		return "0"
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
}

func size(v float64) string {
	switch {
	case v >= 9999.5:
		return fmt.Sprintf("%.1f kB", v/1e3)
	default:
		return fmt.Sprintf("%.0f B", v)
	}
}

func times(v float64) string { return fmt.Sprintf("%.2f", v) }

func thousands(v float64) string {
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// costTable shows contenders in their order, with CPU as a multiple of one.
func (r *report) costTable(cs []contender, results map[string]result, reference string) {
	var rows [][]string
	for _, c := range cs {
		res := results[c.name]
		m := res.median()
		rows = append(rows, []string{
			c.name, duration(m.cpu), times(res.ratio(results[reference])), duration(m.wall), count(m.allocs), size(m.bytes),
		})
	}
	r.table([]string{"", "CPU", "× ours", "wall", "allocations", "bytes"}, rows)
}
