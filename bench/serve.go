package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// served are the servers that wrk asks, by the name a child gets.
var served = []struct {
	who, name string
	site      func() (site, error)
}{
	{"bare", "bare net/http", func() (site, error) { return bareSite(false), nil }},
	{"bare-headers", "bare net/http, with the two header fields of ours", func() (site, error) {
		bare := bareSite(false)[pathRead]
		return httpSite{pathRead: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Vary"] = []string{"Cookie"}
			w.Header()["Cache-Control"] = []string{"no-store"}
			bare.ServeHTTP(w, r)
		})}, nil
	}},
	{"ours", nameOurs + ", a session read", func() (site, error) { return ourSite(func() {}) }},
	{"scs", "scs, a session read", func() (site, error) { return scsSite(func() {}), nil }},
	{"fiber-bare", "bare fiber (fasthttp, another server)", func() (site, error) { return bareFiber(), nil }},
	{"fiber", "fiber, a session read", func() (site, error) { return newFiber(func() {}), nil }},
}

// serveChild serves on a free port of the loopback interface until its input
// ends. It prints the address and the cookie of a session, and for each line of
// input the CPU time used so far.
func serveChild(who string) error {
	for _, v := range served {
		if v.who != who {
			continue
		}
		s, err := v.site()
		if err != nil {
			return err
		}
		// Bare servers are sent a cookie of the same length, and ignore it.
		cookie := "__Host-session=" + rand.Text() + rand.Text()[:17]
		if !strings.Contains(who, "bare") {
			if cookie, err = begin(s); err != nil {
				return err
			}
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		layBallast()
		failed := make(chan error, 1)
		go func() { failed <- s.serve(l) }()
		fmt.Printf("http://%s%s\n%s\n", l.Addr(), pathRead, cookie)
		asked := make(chan bool)
		go func() {
			defer close(asked)
			for in := bufio.NewScanner(os.Stdin); in.Scan(); {
				asked <- true
			}
		}()
		for {
			select {
			case err := <-failed:
				return err
			case _, ok := <-asked:
				if !ok {
					return nil
				}
				fmt.Println(cpuTime())
			}
		}
	}
	return fmt.Errorf("serve whom: %q", who)
}

const connections = 32

// pinning is how server and client get a core each, if the machine has two and
// taskset; the same for all.
func pinning() (server, client []string) {
	if _, err := exec.LookPath("taskset"); err != nil || runtime.NumCPU() < 2 {
		return nil, nil
	}
	return []string{"taskset", "-c", "0"}, []string{"taskset", "-c", "1"}
}

// throughput is what one round of wrk saw.
type throughput struct {
	rate float64 // requests per second
	cpu  float64 // ns of the server per request
}

func benchServer(ctx context.Context, cfg config, r *report) (err error) {
	r.title("A whole server over loopback")
	wrk, err := exec.LookPath("wrk")
	if err != nil {
		return fmt.Errorf("%w: wrk is missing, apt-get install wrk", errSkip)
	}
	pinServer, pinClient := pinning()
	servers := make([]*server, len(served))
	defer func() {
		for _, s := range servers {
			if s != nil {
				err = errors.Join(err, s.stop())
			}
		}
	}()
	for i, v := range served {
		if servers[i], err = startServer(ctx, pinServer, v.who); err != nil {
			return err
		}
	}
	rounds := make([][]throughput, len(served))
	for round := range cfg.serveRounds + 1 {
		for i, s := range servers {
			t, err := s.load(ctx, append(pinClient, wrk), cfg.served)
			if err != nil {
				return fmt.Errorf("%s: %w", served[i].name, err)
			}
			if round > 0 { // the first is for warming up
				rounds[i] = append(rounds[i], t)
			}
		}
	}

	pinned := "Server and client share the cores"
	if pinServer != nil {
		pinned = "The server has one core and the client another (taskset)"
	}
	r.text("wrk, %d connections kept alive, %d rounds of %v in turns; every answer has the same body of %d bytes. %s, the same for all. Each server has the ballast. The ratios are medians of each round's. An answer that used a session carries `Vary: Cookie` and `Cache-Control: no-store`, which net/http has to copy and write: the second row is what that alone costs.", connections, cfg.serveRounds, cfg.served, len(payload), pinned)
	var rows [][]string
	ratios := make(map[string]float64)
	for i, v := range served {
		var rate, ratio, cpu []float64
		for j, t := range rounds[i] {
			rate = append(rate, t.rate)
			cpu = append(cpu, t.cpu)
			ratio = append(ratio, t.rate/rounds[0][j].rate)
		}
		rows = append(rows, []string{v.name, thousands(median(rate)), times(median(ratio)), duration(median(cpu))})
		ratios[v.who] = median(ratio)
	}
	r.atLeast("Whole server, requests/s against bare net/http", ratios["ours"], 0.90, times, "scs "+times(ratios["scs"]))
	r.table([]string{"", "requests/s", "× bare net/http", "CPU of the server per request"}, rows)
	return nil
}

var (
	wrkTotal  = regexp.MustCompile(`(?m)^\s*(\d+) requests in `)
	wrkRate   = regexp.MustCompile(`(?m)^Requests/sec:\s*([\d.]+)`)
	wrkErrors = regexp.MustCompile(`(?m)^\s*(Socket errors|Non-2xx).*`)
)

// load lets wrk ask the server for so long.
func (s *server) load(ctx context.Context, wrk []string, d time.Duration) (throughput, error) {
	ctx, cancel := context.WithTimeout(ctx, d+30*time.Second)
	defer cancel()
	before, err := s.cpu()
	if err != nil {
		return throughput{}, err
	}
	args := append(append([]string(nil), wrk...), "-t1", fmt.Sprintf("-c%d", connections), "-d", fmt.Sprintf("%.0fs", d.Seconds()), "-H", "Cookie: "+s.cookie, s.url)
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return throughput{}, fmt.Errorf("wrk: %w: %s", err, out)
	}
	after, err := s.cpu()
	if err != nil {
		return throughput{}, err
	}
	if bad := wrkErrors.Find(out); bad != nil {
		return throughput{}, fmt.Errorf("wrk: %s", bad)
	}
	total, rate := wrkTotal.FindSubmatch(out), wrkRate.FindSubmatch(out)
	if total == nil || rate == nil {
		return throughput{}, fmt.Errorf("wrk says something else: %s", out)
	}
	n, err := strconv.ParseFloat(string(total[1]), 64)
	if err != nil {
		return throughput{}, err
	}
	perSecond, err := strconv.ParseFloat(string(rate[1]), 64)
	if err != nil || n == 0 {
		return throughput{}, fmt.Errorf("wrk: %s: %w", out, err)
	}
	return throughput{perSecond, float64(after-before) / n}, nil
}
