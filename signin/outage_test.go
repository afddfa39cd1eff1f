package signin_test

import (
	"context"
	"iter"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/internal/visitor"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/signin"
	"github.com/seed-64ad3862/gatehouse/store/memory"
	"github.com/seed-64ad3862/gatehouse/throttle"
)

// outages are stores that fail while they are told to.
type outages struct {
	people   account.Store
	log      account.Log
	throttle throttle.Store
	is       struct{ people, log, sessions, throttle atomic.Bool }
}

func fails(is *atomic.Bool) error {
	if is.Load() {
		return errAway
	}
	return nil
}

type awayPeople struct{ *outages }

func (a awayPeople) Get(ctx context.Context, key string) (account.Record, error) {
	if err := fails(&a.is.people); err != nil {
		return account.Record{}, err
	}
	return a.people.Get(ctx, key)
}

func (a awayPeople) Put(ctx context.Context, r account.Record) error {
	if err := fails(&a.is.people); err != nil {
		return err
	}
	return a.people.Put(ctx, r)
}

func (a awayPeople) Delete(ctx context.Context, id string, version int64) error {
	if err := fails(&a.is.people); err != nil {
		return err
	}
	return a.people.Delete(ctx, id, version)
}

func (a awayPeople) List(ctx context.Context, prefix, after string) iter.Seq2[account.Found, error] {
	if err := fails(&a.is.people); err != nil {
		return func(yield func(account.Found, error) bool) { yield(account.Found{}, err) }
	}
	return a.people.List(ctx, prefix, after)
}

type awayLog struct{ *outages }

func (a awayLog) Append(ctx context.Context, e account.Entry) error {
	if err := fails(&a.is.log); err != nil {
		return err
	}
	return a.log.Append(ctx, e)
}

func (a awayLog) Entries(ctx context.Context, q account.LogQuery) iter.Seq2[account.Entry, error] {
	return a.log.Entries(ctx, q)
}

func (a awayLog) Trim(ctx context.Context, before time.Time) (int, error) {
	return a.log.Trim(ctx, before)
}

type awaySessions struct {
	*memory.Store
	*outages
}

func (a awaySessions) List(ctx context.Context, q session.Query) iter.Seq2[session.Record, error] {
	if err := fails(&a.is.sessions); err != nil {
		return func(yield func(session.Record, error) bool) { yield(session.Record{}, err) }
	}
	return a.Store.List(ctx, q)
}

func (a awaySessions) Load(ctx context.Context, id session.ID) (session.Record, error) {
	if err := fails(&a.is.sessions); err != nil {
		return session.Record{}, err
	}
	return a.Store.Load(ctx, id)
}

func (a awaySessions) Commit(ctx context.Context, id session.ID, d *session.Delta) error {
	if err := fails(&a.is.sessions); err != nil {
		return err
	}
	return a.Store.Commit(ctx, id, d)
}

func (a awaySessions) Delete(ctx context.Context, id session.ID) error {
	if err := fails(&a.is.sessions); err != nil {
		return err
	}
	return a.Store.Delete(ctx, id)
}

type awayThrottle struct{ *outages }

func (a awayThrottle) Take(ctx context.Context, b []throttle.Bucket) (time.Duration, error) {
	if err := fails(&a.is.throttle); err != nil {
		return 0, err
	}
	return a.throttle.Take(ctx, b)
}

func (a awayThrottle) Used(ctx context.Context, b []throttle.Bucket) ([]int, error) {
	if err := fails(&a.is.throttle); err != nil {
		return nil, err
	}
	return a.throttle.Used(ctx, b)
}

func (a awayThrottle) Give(ctx context.Context, one, all []throttle.Bucket) error {
	if err := fails(&a.is.throttle); err != nil {
		return err
	}
	return a.throttle.Give(ctx, one, all)
}

func (a awayThrottle) Forget(ctx context.Context, name [16]byte) error {
	return a.throttle.Forget(ctx, name)
}

// TestOutageLog: while a store is away, whichever, the log has a line when that begins and
// one when it is over, and none for the requests in between.
func TestOutageLog(t *testing.T) {
	records := new(account.Memory)
	a := &outages{people: records, log: records, throttle: throttle.NewTable(0)}
	var logged lines
	logger := slog.New(slog.NewTextHandler(&logged, nil))
	s := newSite(t, func(c *signin.Config) {
		var err error
		if c.People, err = account.New(account.Config{Store: awayPeople{a}, Logger: logger}); err != nil {
			t.Fatal(err)
		}
		if c.Sessions, err = session.New(session.Config{Store: awaySessions{memory.New(memory.Config{}), a}, Insecure: true, Logger: logger}); err != nil {
			t.Fatal(err)
		}
		if c.Throttle, err = throttle.New(throttle.Config{Store: awayThrottle{a}, Logger: logger}); err != nil {
			t.Fatal(err)
		}
		c.Log, c.Logger = awayLog{a}, logger
	})
	people, err := account.New(account.Config{Store: records})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := people.Create(t.Context(), account.Person{Name: "alex", Password: hashOf(t, good)}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		is   *atomic.Bool
		line string
	}{
		{&a.is.people, "account: the store"},
		{&a.is.log, "signin: the log that entries are appended to"},
		{&a.is.sessions, "session: the store"},
		{&a.is.throttle, "throttle: the store"},
	} {
		in, out := s.visitor(t), s.visitor(t)
		signIn(in, "alex", good).Shows("/index", "Hello, alex")
		out.Open("/login")
		path, form := out.Filled("/login")
		form.Set("name", "alex")
		form.Set("password", "wrong")
		requests := func() (failed int) {
			t.Helper()
			count := func(v *visitor.Visitor) {
				if v.Status >= http.StatusInternalServerError {
					failed++
				}
			}
			out.Do(t.Context(), http.MethodPost, path, form.Encode())
			count(out)
			for _, page := range []string{"/manager", "/app/x", "/login", "/login/code", "/confirm", "/nothing"} {
				in.Open(page)
				count(in)
			}
			s.visitor(t).Open("/login")
			// What is tested here is not how many attempts there can be.
			for _, err := range []error{s.throttle.Unban(t.Context(), "alex"), s.throttle.UnbanNetwork(t.Context(), netip.AddrFrom4([4]byte{127, 0, 0, 1}))} {
				if err != nil {
					failed++
				}
			}
			return failed
		}
		before := logged.String()
		since := func() []string { return strings.Split(strings.TrimPrefix(logged.String(), before), "\n") }
		tt.is.Store(true)
		failed := 0
		for range 10 {
			failed += requests()
		}
		if failed == 0 && tt.is != &a.is.log {
			t.Errorf("%s: nothing fails", tt.line)
		}
		if got := since(); len(got) != 2 || !strings.Contains(got[0], tt.line+" fails") || !strings.Contains(got[0], "away") {
			t.Errorf("%s, while it is away: %q", tt.line, got)
		}
		tt.is.Store(false)
		// It is over when none has failed for a second.
		for end := time.Now().Add(time.Minute); len(since()) < 3 && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			s.visitor(t).Open("/login")
			requests()
		}
		if got := since(); len(got) != 3 || !strings.Contains(got[1], tt.line+" answers again") {
			t.Errorf("%s, afterwards: %q", tt.line, got)
		}
	}
}
