package storetest

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// ProcessConfig says how several processes get at one store.
type ProcessConfig struct {
	// Where starts what the store needs, and returns what Open has to know of
	// it: an address, the path of a file.
	Where func(t *testing.T) string

	// Open returns a store of this process. It closes it with the test.
	Open func(t *testing.T, where string) session.Store

	// Stale is how long a process may go on showing what another has changed:
	// zero, but for a store that remembers what it has read.
	Stale time.Duration

	// Rounds is how often each race is repeated, 100 if zero.
	Rounds int
}

// whereVariable tells a process that another has started it, and for what.
const whereVariable = "GATEHOUSE_STORETEST_WHERE"

// ready precedes the address in what such a process says.
const ready = "storetest: listening at "

// Processes runs the promises that hold across processes: it starts the test
// binary twice more, with requests for each. It must be all that the test calls:
//
//	func TestProcesses(t *testing.T) {
//		storetest.Processes(t, storetest.ProcessConfig{Where: …, Open: …})
//	}
func Processes(t *testing.T, cfg ProcessConfig) {
	if cfg.Rounds == 0 {
		cfg.Rounds = 100
	}
	if where := os.Getenv(whereVariable); where != "" {
		serveProcess(t, cfg.Open(t, where))
		return
	}
	where := cfg.Where(t)
	p := &processes{T: t, ProcessConfig: cfg, client: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 2 * requestsAtOnce},
		Timeout:   time.Minute,
	}}
	t.Cleanup(p.client.CloseIdleConnections)
	for i := range p.bases {
		p.bases[i] = "http://" + startProcess(t, where)
	}
	for _, test := range []struct {
		name string
		run  func(*processes)
	}{
		{"KeepEachOthersKeys", (*processes).keys},
		{"Update", (*processes).update},
		{"ConsumeOnce", (*processes).consume},
		{"SignOutIsFinal", func(p *processes) { p.ends("/out") }},
		{"RenewIsFinal", func(p *processes) { p.ends("/renew") }},
		{"EndAllIsFinal", func(p *processes) { p.ends("/end") }},
		{"SpendOnce", (*processes).spend},
	} {
		t.Run(test.name, func(t *testing.T) {
			here := *p
			here.T = t
			test.run(&here)
		})
	}
}

// startProcess starts another process of this test, and returns its address.
func startProcess(t *testing.T, where string) string {
	t.Helper()
	// Each element of a test's path is matched by itself.
	path := strings.Split(t.Name(), "/")
	for i := range path {
		path[i] = "^" + regexp.QuoteMeta(path[i]) + "$"
	}
	cmd := exec.Command(os.Args[0], "-test.run="+strings.Join(path, "/"), "-test.count=1")
	cmd.Env = append(os.Environ(), whereVariable+"="+where)
	stdin, err := cmd.StdinPipe() // closes when we are gone, however that comes
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	addr, said := make(chan string, 1), make(chan string, 1)
	go func() {
		defer close(addr)
		var all strings.Builder
		for sc := bufio.NewScanner(stdout); sc.Scan(); {
			if at, ok := strings.CutPrefix(sc.Text(), ready); ok {
				addr <- at
				continue
			}
			fmt.Fprintln(&all, sc.Text())
		}
		said <- all.String()
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		text := <-said
		if err := cmd.Wait(); err != nil {
			t.Errorf("another process: %v\n%s", err, text)
		}
	})
	at, ok := <-addr
	if !ok {
		t.Fatal("another process ended before it listened")
	}
	return at
}

// serveProcess answers requests until nobody can send any more.
func serveProcess(t *testing.T, store session.Store) {
	m, err := session.New(session.Config{Store: store, Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: (&process{m: m, store: store}).handler()}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	fmt.Printf("\n%s%v\n", ready, l.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = server.Close()
	serving.Wait()
}

// process is the other process.
type process struct {
	m     *session.Manager
	store session.Store

	mu      sync.Mutex
	waiting []chan struct{} // one for each request that is under way at /slow
}

func (p *process) handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(path string, f func(s *session.Session, r *http.Request) (string, error)) {
		mux.Handle(path, p.m.Handler(p.m.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			text, err := f(s, r)
			if err != nil {
				p.m.Error(w, r, err)
				return
			}
			_, _ = io.WriteString(w, text)
		})))
	}
	handle("/begin", func(s *session.Session, r *http.Request) (string, error) {
		if owner := r.FormValue("owner"); owner != "" {
			s.SetOwner(owner)
		}
		name.Set(s, "once")
		return "", nil
	})
	handle("/set", func(s *session.Session, r *http.Request) (string, error) {
		time.Sleep(5 * time.Millisecond) // the handler's work
		session.NewKey[string](r.FormValue("key")).Set(s, "x")
		return "", nil
	})
	handle("/count", func(s *session.Session, _ *http.Request) (string, error) {
		n := 0
		for i := range requestsAtOnce {
			if _, ok := session.NewKey[string](fmt.Sprint(i)).Get(s); ok {
				n++
			}
		}
		return fmt.Sprint(n), nil
	})
	handle("/update", func(s *session.Session, r *http.Request) (string, error) {
		return "", count.Update(r.Context(), s, func(n int) int { return n + 1 })
	})
	handle("/updated", func(s *session.Session, _ *http.Request) (string, error) {
		n, _ := count.Get(s)
		return fmt.Sprint(n), nil
	})
	handle("/consume", func(s *session.Session, r *http.Request) (string, error) {
		v, _, err := name.Consume(r.Context(), s)
		return v, err
	})
	handle("/read", func(s *session.Session, _ *http.Request) (string, error) {
		v, _ := name.Get(s)
		return v, nil
	})
	handle("/slow", func(s *session.Session, _ *http.Request) (string, error) {
		name.Get(s)
		release := make(chan struct{})
		p.mu.Lock()
		p.waiting = append(p.waiting, release)
		p.mu.Unlock()
		<-release
		name.Set(s, "slow")
		return "", nil
	})
	mux.HandleFunc("/slow/count", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		fmt.Fprint(w, len(p.waiting))
	})
	mux.HandleFunc("/slow/release", func(http.ResponseWriter, *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range p.waiting {
			close(c)
		}
		p.waiting = nil
	})
	handle("/out", func(s *session.Session, _ *http.Request) (string, error) {
		s.Destroy()
		return "", nil
	})
	handle("/renew", func(s *session.Session, _ *http.Request) (string, error) {
		s.Renew()
		return "", nil
	})
	mux.HandleFunc("/end", func(w http.ResponseWriter, r *http.Request) {
		n, err := p.m.EndAll(r.Context(), session.Query{Owner: r.FormValue("owner")})
		if errors.Is(err, errors.ErrUnsupported) {
			w.WriteHeader(http.StatusNotImplemented)
		} else if err != nil || n != 1 {
			http.Error(w, fmt.Sprint(n, " ended: ", err), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("/spend", func(w http.ResponseWriter, r *http.Request) {
		o, ok := p.store.(once)
		if !ok {
			w.WriteHeader(http.StatusNotImplemented)
			return
		}
		var id [16]byte
		if _, err := hex.Decode(id[:], []byte(r.FormValue("id"))); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		until, err := time.Parse(time.RFC3339, r.FormValue("until"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		first, err := o.Spend(r.Context(), id, until)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, first)
	})
	return mux
}

// processes drives them.
type processes struct {
	*testing.T
	ProcessConfig
	client *http.Client
	bases  [2]string
}

type answer struct {
	status int
	body   string
	cookie string // that it sets
}

// do sends a request to one of the processes.
func (p *processes) do(n int, path, cookie string) answer {
	p.Helper()
	r, err := http.NewRequestWithContext(context.Background(), "GET", p.bases[n%len(p.bases)]+path, nil)
	if err != nil {
		p.Fatal(err)
	}
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	res, err := p.client.Do(r)
	if err != nil {
		p.Errorf("%s: %v", path, err)
		return answer{}
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		p.Errorf("%s: %v", path, err)
	}
	a := answer{status: res.StatusCode, body: string(text)}
	for _, c := range res.Cookies() {
		a.cookie = c.Name + "=" + c.Value
	}
	return a
}

// must sends a request that succeeds.
func (p *processes) must(n int, path, cookie string) answer {
	p.Helper()
	a := p.do(n, path, cookie)
	if a.status != http.StatusOK {
		p.Fatalf("%s: status %d: %s", path, a.status, a.body)
	}
	return a
}

// begin begins a session in one of the processes.
func (p *processes) begin(n int, query string) (cookie string) {
	p.Helper()
	cookie = p.must(n, "/begin"+query, "").cookie
	if cookie == "" {
		p.Fatal("no cookie begins the session")
	}
	return cookie
}

// side asks both processes many times, side by side.
func (p *processes) side(path func(i int) string, cookie string, each func(a answer)) {
	var wg sync.WaitGroup
	for i := range requestsAtOnce {
		wg.Go(func() {
			a := p.do(i, path(i), cookie)
			if a.status != http.StatusOK {
				p.Errorf("status %d: %s", a.status, a.body)
			}
			if each != nil {
				each(a)
			}
		})
	}
	wg.Wait()
}

// soon asserts that both processes show this, at the latest when what they
// remember is stale.
func (p *processes) soon(path, cookie, want string) {
	p.Helper()
	for n := range p.bases {
		for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
			asked := time.Now()
			got := p.must(n, path, cookie).body
			if got == want {
				break
			}
			if asked.Sub(start) > p.Stale {
				p.Fatalf("process %d shows %q at %s, want %q", n, got, path, want)
			}
		}
	}
}

func (p *processes) keys() {
	for i := range p.Rounds {
		cookie := p.begin(i, "")
		p.side(func(i int) string { return fmt.Sprint("/set?key=", i) }, cookie, nil)
		p.soon("/count", cookie, fmt.Sprint(requestsAtOnce))
	}
}

func (p *processes) update() {
	for i := range max(1, p.Rounds/10) {
		cookie := p.begin(i, "")
		p.side(func(int) string { return "/update" }, cookie, nil)
		p.soon("/updated", cookie, fmt.Sprint(requestsAtOnce))
	}
}

func (p *processes) consume() {
	for i := range p.Rounds {
		cookie := p.begin(i, "")
		var won atomic.Int32
		p.side(func(int) string { return "/consume" }, cookie, func(a answer) {
			if a.body != "" {
				won.Add(1)
			}
		})
		if won.Load() != 1 {
			p.Fatalf("%d requests got a value that one may get", won.Load())
		}
	}
}

// ends ends a session in one process while requests of the other are under way.
func (p *processes) ends(path string) {
	for i := range p.Rounds {
		slow, other := i, i+1
		full := newID()
		owner := url.QueryEscape("owner " + full.Handle().String())
		cookie := p.begin(other, "?owner="+owner)
		const n = 3
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				if a := p.do(slow, "/slow", cookie); a.status != http.StatusConflict || a.cookie != "" {
					p.Errorf("a request under way when the session ended: status %d, cookie %q, want 409 and none", a.status, a.cookie)
				}
			})
		}
		for start := time.Now(); p.must(slow, "/slow/count", "").body != fmt.Sprint(n); time.Sleep(time.Millisecond) {
			if time.Since(start) > patience {
				p.Fatal("requests do not arrive")
			}
		}
		a := p.do(other, path+"?owner="+owner, cookie)
		p.must(slow, "/slow/release", "")
		wg.Wait()
		if a.status == http.StatusNotImplemented {
			p.Skip("the store cannot list")
		}
		if a.status != http.StatusOK {
			p.Fatalf("%s: status %d: %s", path, a.status, a.body)
		}
		if got := p.must(other, "/read", cookie).body; got != "" {
			p.Fatalf("the process that ended the session shows %q in it", got)
		}
		p.soon("/read", cookie, "")
		if path == "/renew" {
			p.soon("/read", a.cookie, "once")
		}
	}
}

func (p *processes) spend() {
	if p.do(0, "/spend?id=none", "").status == http.StatusNotImplemented {
		p.Skip("the store remembers no spent ids")
	}
	for range p.Rounds {
		full := newID()
		path := fmt.Sprintf("/spend?id=%x&until=%s", full[:16], url.QueryEscape(time.Now().Add(time.Minute).Format(time.RFC3339)))
		var won atomic.Int32
		p.side(func(int) string { return path }, "", func(a answer) {
			if a.body == "true" {
				won.Add(1)
			}
		})
		if won.Load() != 1 {
			p.Fatalf("%d of %d were the first to spend an id", won.Load(), requestsAtOnce)
		}
	}
}
