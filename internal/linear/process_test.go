package linear

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/rueidis"

	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/memory"
	"github.com/seed-64ad3862/gatehouse/store/postgres"
	"github.com/seed-64ad3862/gatehouse/store/redis"
	"github.com/seed-64ad3862/gatehouse/store/sqlite"
)

// processVariable tells this program that it is another process of a test, with
// the store that it names: a kind, a space and where it is.
const processVariable = "GATEHOUSE_LINEAR_PROCESS"

// listening precedes the address in what such a process says.
const listening = "linear: listening at "

func TestMain(m *testing.M) {
	if what := os.Getenv(processVariable); what != "" {
		if err := serveProcess(what); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// lister is what all stores are.
type lister interface {
	session.Store
	session.Lister
}

// openStore opens a store of one of the kinds memory, redis, redis-uncached,
// postgres and sqlite.
func openStore(ctx context.Context, what string) (s lister, closeStore func(), err error) {
	kind, where, _ := strings.Cut(what, " ")
	switch kind {
	case "memory":
		return memory.New(memory.Config{Logger: quiet}), func() {}, nil
	case "redis", "redis-uncached":
		s, err := redis.Open(ctx, redis.Config{
			Client:  rueidis.ClientOption{InitAddress: []string{where}},
			NoCache: kind == "redis-uncached",
		})
		if err != nil {
			return nil, nil, err
		}
		return s, s.Close, nil
	case "postgres":
		pool, err := pgxpool.New(ctx, where+"&pool_max_conns=16")
		if err != nil {
			return nil, nil, err
		}
		s, err := postgres.Open(ctx, postgres.Config{Pool: pool, Logger: quiet})
		if err != nil {
			pool.Close()
			return nil, nil, err
		}
		return s, pool.Close, nil
	case "sqlite":
		s, err := sqlite.Open(ctx, sqlite.Config{Path: where, Logger: quiet})
		if err != nil {
			return nil, nil, err
		}
		return s, func() { _ = s.Close() }, nil
	}
	return nil, nil, fmt.Errorf("linear: no store is %q", kind)
}

var quiet = slog.New(slog.DiscardHandler)

// A call is a request to the store of another process, and told its answer.
type (
	call struct {
		Method string
		ID     session.ID
		Delta  *session.Delta
		Query  session.Query
		Handle session.Handle
	}
	told struct {
		Error   int // of the known ones, from 1; -1: another
		Text    string
		Records []session.Record
	}
)

var known = []error{session.ErrNotFound, session.ErrExists, session.ErrConflict, session.ErrFull, session.ErrInvalidDelta}

// serveProcess answers until its standard input ends.
func serveProcess(what string) error {
	store, closeStore, err := openStore(context.Background(), what)
	if err != nil {
		return err
	}
	defer closeStore()
	m, err := session.New(session.Config{Store: store, Keys: keys32, Logger: quiet, Observe: Observe})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", Handler(m))
	mux.HandleFunc("POST /store", func(w http.ResponseWriter, r *http.Request) {
		var c call
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_ = json.NewEncoder(w).Encode(c.do(r.Context(), store))
	})
	fmt.Printf("\n%s%v\n", listening, l.Addr())
	server := &http.Server{Handler: mux}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = server.Close()
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (c *call) do(ctx context.Context, store lister) (t told) {
	var r session.Record
	var err error
	switch c.Method {
	case "load":
		r, err = store.Load(ctx, c.ID)
	case "commit":
		err = store.Commit(ctx, c.ID, c.Delta)
	case "delete":
		err = store.Delete(ctx, c.ID)
	case "find":
		r, err = store.Find(ctx, c.Handle)
	case "list":
		for r, err = range store.List(ctx, c.Query) {
			t.Records = append(t.Records, r)
		}
	}
	if c.Method != "list" {
		t.Records = []session.Record{r}
	}
	if err != nil {
		t.Error, t.Text = -1, err.Error()
		for i, e := range known {
			if errors.Is(err, e) {
				t.Error = i + 1
			}
		}
	}
	return t
}

// A process is another one, which can be killed and started again. It is a
// [Site], and its store one.
type process struct {
	t     *testing.T
	what  string
	http  *http.Transport
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{}
	addr  atomic.Pointer[string]
}

func startProcess(t *testing.T, what string) *process {
	t.Helper()
	p := &process{t: t, what: what, http: &http.Transport{MaxIdleConnsPerHost: 64}}
	p.start()
	t.Cleanup(func() {
		p.http.CloseIdleConnections()
		p.kill()
	})
	return p
}

func (p *process) start() {
	p.t.Helper()
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), processVariable+"="+p.what)
	stdin, err := p.cmd.StdinPipe() // closes when we are gone, however that comes
	if err != nil {
		p.t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	p.cmd.Stderr = p.cmd.Stdout
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.stdin, p.ended = stdin, make(chan struct{})
	addr, ended := make(chan string, 1), p.ended
	var said bytes.Buffer
	go func() {
		defer close(ended)
		for sc := bufio.NewScanner(stdout); sc.Scan(); {
			if at, ok := strings.CutPrefix(sc.Text(), listening); ok {
				addr <- at
			}
			fmt.Fprintln(&said, sc.Text())
		}
	}()
	select {
	case at := <-addr:
		p.addr.Store(&at)
	case <-ended:
		p.t.Fatalf("another process ended before it listened:\n%s", &said)
	}
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
	_ = p.cmd.Wait()
	_ = p.stdin.Close()
}

// again kills the process and starts it again.
func (p *process) again() {
	p.kill()
	p.start()
}

func (p *process) site() Site { return Site{"http://process", p} }

// RoundTrip sends the request to the process, wherever it listens now. Package
// http sends no POST again that may have been received.
func (p *process) RoundTrip(r *http.Request) (*http.Response, error) {
	r.URL.Host = *p.addr.Load()
	return p.http.RoundTrip(r)
}

func (p *process) call(ctx context.Context, c call) (told, error) {
	var t told
	body, err := json.Marshal(c)
	if err != nil {
		return t, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://process/store", bytes.NewReader(body))
	if err != nil {
		return t, err
	}
	res, err := p.RoundTrip(r)
	if err != nil {
		return t, err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&t); err != nil {
		return t, err
	}
	switch {
	case t.Error > 0:
		return t, known[t.Error-1]
	case t.Error < 0:
		return t, errors.New(t.Text)
	}
	return t, nil
}

func (p *process) one(ctx context.Context, c call) (session.Record, error) {
	t, err := p.call(ctx, c)
	if err != nil {
		return session.Record{}, err
	}
	return t.Records[0], nil
}

func (p *process) Load(ctx context.Context, id session.ID) (session.Record, error) {
	return p.one(ctx, call{Method: "load", ID: id})
}

func (p *process) Find(ctx context.Context, h session.Handle) (session.Record, error) {
	return p.one(ctx, call{Method: "find", Handle: h})
}

func (p *process) Commit(ctx context.Context, id session.ID, d *session.Delta) error {
	_, err := p.call(ctx, call{Method: "commit", ID: id, Delta: d})
	return err
}

func (p *process) Delete(ctx context.Context, id session.ID) error {
	_, err := p.call(ctx, call{Method: "delete", ID: id})
	return err
}

func (p *process) List(ctx context.Context, q session.Query) iter.Seq2[session.Record, error] {
	return func(yield func(session.Record, error) bool) {
		t, err := p.call(ctx, call{Method: "list", Query: q})
		if err != nil {
			yield(session.Record{}, err)
			return
		}
		for _, r := range t.Records {
			if !yield(r, nil) {
				return
			}
		}
	}
}
