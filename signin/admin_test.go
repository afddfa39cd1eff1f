package signin_test

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/signin"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

// A frugalStore refuses to list sessions of which most may be anonymous.
type frugalStore struct{ *memory.Store }

func (s frugalStore) List(ctx context.Context, q session.Query) iter.Seq2[session.Record, error] {
	if q.All || q.Owner == "" && !q.SignedIn {
		return func(yield func(session.Record, error) bool) {
			yield(session.Record{}, errors.New("this would read every anonymous session"))
		}
	}
	return s.Store.List(ctx, q)
}

// TestSessionsAmongAnonymous: neither a page of administrators nor the sample for
// their chart lists anonymous sessions, of which a stranger can make any number.
func TestSessionsAmongAnonymous(t *testing.T) {
	store := frugalStore{memory.New(memory.Config{})}
	s := newSite(t, func(c *signin.Config) {
		var err error
		if c.Sessions, err = session.New(session.Config{Store: store, Insecure: true}); err != nil {
			t.Fatal(err)
		}
	})
	s.person(t, account.Person{Name: "root", Admin: true})
	alex := s.person(t, account.Person{Name: "alex"})
	admin, v := s.visitor(t), s.visitor(t)
	signIn(admin, "root", good).Shows("/index", "Hello, root")
	signIn(v, "alex", good).Shows("/index", "Hello, alex")
	now := time.Now()
	for i := range 100 {
		d := &session.Delta{Create: true, Seen: now, Idle: time.Hour, Expires: now.Add(time.Hour)}
		if err := store.Commit(t.Context(), session.ID{byte(i)}, d); err != nil {
			t.Fatal(err)
		}
	}
	admin.Open("/manager").Shows("/manager", "root")
	admin.Open("/manager/log").Shows("/manager/log", "alex")
	admin.Open("/manager/people/"+alex.ID).Shows("/manager/people/"+alex.ID, "alex")
	admin.Open("/manager/sessions").Shows("/manager/sessions", "2 people’s sessions", "root", "alex")
	for search, found := range map[string]int{"": 2, "alex": 1, "ALE": 1, "eve": 0} {
		admin.Open("/manager/sessions?q=" + search)
		if n := strings.Count(admin.Body, "/manager/people/"); n != found {
			t.Errorf("a search for %q shows %d people, want %d: %s", search, n, found, admin.Text())
		}
	}
	if err := s.pages.Sample(t.Context()); err != nil {
		t.Errorf("Sample: %v", err)
	}
	sampled := ""
	for e, err := range s.log.Entries(t.Context(), account.LogQuery{Kind: "sample"}) {
		if err != nil {
			t.Fatal(err)
		}
		sampled = e.Detail
	}
	if sampled != "2" {
		t.Errorf("the sample is %q, want 2", sampled)
	}
}
