package signin_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/signin"
)

// entries are those of a kind, the newest first.
func (s *site) entries(t testing.TB, kind account.Kind) (all []account.Entry) {
	t.Helper()
	for e, err := range s.log.Entries(t.Context(), account.LogQuery{Kind: kind}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// throttled counts events, as metrics do.
func throttled(n *atomic.Int64) func(*signin.Config) {
	return func(c *signin.Config) {
		c.Observe = func(k account.Kind) {
			if k == signin.Throttled {
				n.Add(1)
			}
		}
	}
}

// Attempts that are denied cost their client nothing: their entries are counted, and
// no network hides another one.
func TestThrottledEntries(t *testing.T) {
	var seen atomic.Int64
	s := newSite(t, fromHeader, throttled(&seen))
	s.person(t, account.Person{Name: "alex"})
	v := s.visitor(t)
	attempts := func(addr string, n int) {
		from(v, addr)
		v.Open("/login")
		action, values := v.Filled("/login")
		values.Set("name", "alex")
		values.Set("password", "wrong")
		for range n {
			v.Do(t.Context(), http.MethodPost, action, values.Encode())
		}
		if v.Status != http.StatusTooManyRequests {
			t.Errorf("status %d after %d attempts", v.Status, n)
		}
	}
	attempts("192.0.2.1", 40) // five are looked at
	attempts("192.0.2.2", 9)
	if got := s.entries(t, signin.Refused); len(got) != 10 {
		t.Errorf("%d wrong passwords in the log, want all 10", len(got))
	}
	if got := s.entries(t, signin.Throttled); len(got) != 2 || got[0].Addr.String() != "192.0.2.2" || got[1].Addr.String() != "192.0.2.1" || got[0].Detail != "" {
		t.Errorf("throttled: %+v, want one entry for each network", got)
	}
	s.pages.Wait() // the program ends
	got := s.entries(t, signin.Throttled)
	counts := make(map[string]string)
	for _, e := range got {
		counts[e.Addr.String()+" "+e.Detail] = e.Agent
	}
	if len(got) != 4 || counts["192.0.2.1 ×34"] != v.Agent || counts["192.0.2.2 ×3"] != v.Agent {
		t.Errorf("throttled, with the counts: %+v", got)
	}
	if seen.Load() != 39 {
		t.Errorf("%d observed, want each of 39", seen.Load())
	}
	s.pages.Wait()
	if got := s.entries(t, signin.Throttled); len(got) != 4 {
		t.Errorf("the counts are written again: %+v", got)
	}
}

// Many addresses take bounded room as well.
func TestThrottledEntriesOfManyAddresses(t *testing.T) {
	s := newSite(t, fromHeader)
	v := s.visitor(t)
	v.Open("/login")
	action, values := v.Filled("/login")
	values.Set("name", "alex")
	values.Set("password", "wrong")
	// All of one network, as budgets have it.
	address := func(i int) string { return fmt.Sprintf("2001:db8::%x", i+1) }
	const n = 300
	for i := range n {
		from(v, address(i))
		v.Do(t.Context(), http.MethodPost, action, values.Encode())
	}
	s.pages.Wait()
	total := 0
	got := s.entries(t, signin.Throttled)
	for _, e := range got {
		times := 1
		if e.Detail != "" {
			if _, err := fmt.Sscanf(e.Detail, "×%d", &times); err != nil {
				t.Errorf("detail %q: %v", e.Detail, err)
			}
		}
		total += times
	}
	if total != n-5 || len(got) > 70 {
		t.Errorf("%d entries for %d denied attempts, want all counted in 70 at most", len(got), total)
	}
}

// The passkeys' address asks for no captcha and no name.
func TestRefusedPasskeys(t *testing.T) {
	var seen atomic.Int64
	s := newSite(t, throttled(&seen))
	v := s.visitor(t)
	v.Open("/login")
	_, after, _ := strings.Cut(v.Body, `name="csrf-token" content="`)
	token, _, _ := strings.Cut(after, `"`)
	body := `{"response":{"id":"` + strings.Repeat("x", 50_000) + `"}}`
	for range 120 {
		v.Do(t.Context(), http.MethodPost, "/login/passkey", body, "X-Csrf-Token", token, "Content-Type", "application/json")
	}
	s.pages.Wait()
	lines := strings.Split(strings.TrimSpace(s.errors.String()), "\n")
	if len(lines) > 6 || !strings.Contains(lines[len(lines)-1], "repeated=") {
		t.Errorf("%d lines of log, want five and a count:\n%.3000s", len(lines), s.errors.String())
	}
	for _, line := range lines {
		if len(line) > 1000 {
			t.Errorf("a line of %d bytes: %.2000s", len(line), line)
		}
	}
	if got := s.entries(t, signin.Throttled); len(got) != 2 || got[0].Detail != fmt.Sprint("×", seen.Load()-1) {
		t.Errorf("throttled: %+v, want one and the count of the others of %d", got, seen.Load())
	}
}

// The page says in words how many there were.
func TestCountsOnThePage(t *testing.T) {
	s := newSite(t)
	admin := s.person(t, account.Person{Name: "alex", Admin: true})
	for _, detail := range []string{"code ×734", "×12", "code", "a ×2"} {
		if err := s.log.Append(t.Context(), account.Entry{Kind: signin.Throttled, Person: admin.ID, Name: "alex", Detail: detail}); err != nil {
			t.Fatal(err)
		}
	}
	v := signIn(s.visitor(t), "alex", good)
	for lang, want := range map[string][]string{"en": {"code ×734", "×12", "a ×2"}, "zh-Hans": {"验证码 ×734", "×12", "a ×2"}} {
		v.Open("/manager/log?kind=throttled&lang=" + lang)
		for _, text := range want {
			if !strings.Contains(v.Text(), text) {
				t.Errorf("%s: the page lacks %q: %s", lang, text, v.Text())
			}
		}
	}
}
