package signin_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

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

// times are how many attempts the entries are for, by the address.
func times(t testing.TB, entries []account.Entry) map[string]int {
	t.Helper()
	sum := make(map[string]int)
	for _, e := range entries {
		n := 1
		if e.Detail != "" {
			if _, err := fmt.Sscanf(e.Detail, "×%d", &n); err != nil {
				t.Errorf("detail %q: %v", e.Detail, err)
			}
		}
		sum[e.Addr.String()] += n
	}
	return sum
}

// few is how many entries of one address there can be at most, and lines of one kind,
// in a test that takes some minutes.
const few = 15

// Attempts that are denied cost their client nothing: their entries are counted, and
// no network hides another one.
func TestThrottledEntries(t *testing.T) {
	var seen atomic.Int64
	s := newSite(t, fromHeader, throttled(&seen))
	s.person(t, account.Person{Name: "alex"})
	v := s.visitor(t)
	denied := make(map[string]int)
	attempts := func(addr string, n int) {
		from(v, addr)
		v.Open("/login")
		action, values := v.Filled("/login")
		values.Set("name", "alex")
		values.Set("password", "wrong")
		for range n {
			v.Do(t.Context(), http.MethodPost, action, values.Encode())
			if v.Status == http.StatusTooManyRequests {
				denied[addr]++
			}
		}
	}
	attempts("192.0.2.1", 80) // five are looked at
	attempts("192.0.2.2", 40)
	if got, want := len(s.entries(t, signin.Refused)), 120-denied["192.0.2.1"]-denied["192.0.2.2"]; got != want {
		t.Errorf("%d wrong passwords in the log, want all %d", got, want)
	}
	first := s.entries(t, signin.Throttled)
	if e := first[len(first)-1]; e.Detail != "" || e.Addr.String() != "192.0.2.1" || e.Agent != v.Agent {
		t.Errorf("the first entry is %+v", e)
	}
	s.pages.Wait() // the program ends
	got := s.entries(t, signin.Throttled)
	if sum := times(t, got); len(got) > 2*few || !maps.Equal(sum, denied) || len(sum) != 2 {
		t.Errorf("%d entries for %v, want them for %v: %+v", len(got), sum, denied, got)
	}
	if e := got[0]; e.Agent != v.Agent || e.Time.IsZero() || e.Time.Before(first[0].Time) {
		t.Errorf("the count is in the entry %+v", e)
	}
	if sum := int(seen.Load()); sum != denied["192.0.2.1"]+denied["192.0.2.2"] {
		t.Errorf("%d observed, want each of %v", sum, denied)
	}
	s.pages.Wait()
	if again := s.entries(t, signin.Throttled); len(again) != len(got) {
		t.Errorf("the counts are written again: %+v", again)
	}
}

// A count is written with the next entry of another kind, too.
func TestThrottledCountsAreDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(account.Memory)
		p := signin.NewAuditor(log)
		for range 7 {
			p.Append(t.Context(), account.Entry{Kind: signin.Throttled})
		}
		p.Append(t.Context(), account.Entry{Kind: signin.Refused})
		time.Sleep(time.Minute)
		p.Append(t.Context(), account.Entry{Kind: signin.Refused})
		p.Append(t.Context(), account.Entry{Kind: signin.Refused})
		var got []string
		for e, err := range log.Entries(t.Context(), account.LogQuery{}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(e.Kind)+e.Detail)
		}
		if want := []string{"refused", "refused", "throttled×6", "refused", "throttled"}; !slices.Equal(got, want) {
			t.Errorf("the log has, the newest first, %q, want %q", got, want)
		}
	})
}

// Many addresses take bounded room as well.
func TestThrottledEntriesOfManyAddresses(t *testing.T) {
	var seen atomic.Int64
	s := newSite(t, fromHeader, throttled(&seen))
	v := s.visitor(t)
	v.Open("/login")
	action, values := v.Filled("/login")
	values.Set("name", "alex")
	values.Set("password", "wrong")
	for i := range 300 { // all of one network, as budgets have it
		from(v, fmt.Sprintf("2001:db8::%x", i+1))
		v.Do(t.Context(), http.MethodPost, action, values.Encode())
	}
	s.pages.Wait()
	got := s.entries(t, signin.Throttled)
	total := 0
	for _, n := range times(t, got) {
		total += n
	}
	if total != int(seen.Load()) || len(got) > 64+2*few {
		t.Errorf("%d entries for %d of %d denied attempts", len(got), total, seen.Load())
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
	if len(lines) > few || !strings.Contains(lines[len(lines)-1], "repeated=") {
		t.Errorf("%d lines of log, want five and a count:\n%.3000s", len(lines), s.errors.String())
	}
	for _, line := range lines {
		if len(line) > 1000 {
			t.Errorf("a line of %d bytes: %.2000s", len(line), line)
		}
	}
	got := s.entries(t, signin.Throttled)
	total := 0
	for _, n := range times(t, got) {
		total += n
	}
	if len(got) > few || total != int(seen.Load()) || total == 0 {
		t.Errorf("%d entries for %d of %d denied attempts", len(got), total, seen.Load())
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
