package session_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

var testKeys = [][]byte{bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)}

// looker is an app whose /form shows a secret.
func looker(t *testing.T, cfg session.Config) *app {
	t.Helper()
	a := newApp(t, cfg)
	a.handle("/form", func(s *session.Session, w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%x", s.Secret("form"))
	})
	a.handle("/who", who)
	return a
}

func hexSecret(t *testing.T, text string) (secret [32]byte) {
	t.Helper()
	if _, err := fmt.Sscanf(text, "%x", new([]byte)); err != nil || len(text) != 64 {
		t.Fatalf("%q is no secret", text)
	}
	var b []byte
	fmt.Sscanf(text, "%x", &b)
	copy(secret[:], b)
	return secret
}

// TestLookersStoreNothing: pages with forms store nothing, however often they are
// asked for, and the first value begins a record under the same identifier.
func TestLookersStoreNothing(t *testing.T) {
	a := looker(t, session.Config{Keys: testKeys})
	r := a.do("/form")
	c, secret := cookie(t, r), read(r)
	if r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("the form can be cached: %v", r.Header)
	}
	for range 100 {
		a.do("/form")
		if r := a.do("/form", c); read(r) != secret || len(r.Cookies()) != 0 {
			t.Errorf("the form again: another secret, or another cookie")
		}
		a.do("/get", c)
	}
	if _, commits, deletes := a.store.counts(); commits+deletes != 0 {
		t.Errorf("%d commits, %d deletes for those who only look", commits, deletes)
	}
	if a.do("/form"); a.kinds() != nil {
		t.Errorf("there are events for those who only look")
	}
	if loads, _, _ := a.store.counts(); loads != 0 {
		t.Errorf("without a cookie the store is asked %d times", loads)
	}

	if r := a.do("/set?v=x", c); len(r.Cookies()) != 0 {
		t.Errorf("the first value sets another cookie")
	}
	if got := read(a.do("/get", c)); got != `"x" true` {
		t.Errorf("the value is %s", got)
	}
	if read(a.do("/form", c)) != secret {
		t.Errorf("the first value changes the secret: open forms are lost")
	}
	in := cookie(t, a.do("/as?v=alice", c))
	if in == c || read(a.do("/form", in)) == secret {
		t.Errorf("a sign-in keeps the identifier, or the secret")
	}
	if got := read(a.do("/who", c)); got != "  0 " {
		t.Errorf("the old cookie finds %q", got)
	}
	if got := read(a.do("/who", in)); got != "alice x 0 " {
		t.Errorf("signed in: %q", got)
	}
	// A sign-in without a record renews too, and so does a renewal.
	c = cookie(t, a.do("/form"))
	if in := cookie(t, a.do("/as?v=alice", c)); in == c || len(in) != len("__Host-session=")+43 {
		t.Errorf("a sign-in keeps the identifier: %s", in)
	}
	a.handle("/renew", func(s *session.Session, _ http.ResponseWriter, _ *http.Request) { s.Renew() })
	if renewed := cookie(t, a.do("/renew", c)); renewed == c {
		t.Errorf("a renewal keeps the identifier")
	}
	// Deleting from nothing, and a label that is removed, store nothing.
	a.store.counts()
	a.handle("/delete", func(s *session.Session, _ http.ResponseWriter, _ *http.Request) {
		name.Delete(s)
		s.SetTimeouts(time.Minute, 0)
	})
	if r := a.do("/delete", c); r.StatusCode != http.StatusOK || len(r.Cookies()) != 0 {
		t.Errorf("deleting from nothing: status %d, %v", r.StatusCode, r.Header)
	}
	if _, commits, _ := a.store.counts(); commits != 0 {
		t.Errorf("deleting from nothing commits")
	}
	// A sign-out forgets the cookie.
	if r := a.do("/out", c); len(r.Cookies()) != 1 || r.Cookies()[0].MaxAge >= 0 {
		t.Errorf("a sign-out: %v", r.Header)
	}
	// The store away: who has no cookie can still be shown a form.
	a.store.fail(fmt.Errorf("away"))
	if r := a.do("/form"); r.StatusCode != http.StatusOK {
		t.Errorf("without a store: status %d", r.StatusCode)
	}
	if r := a.do("/set?v=x"); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a value without a store: status %d", r.StatusCode)
	}
}

// TestAnonymousForged: only what was issued is a session, and not for ever.
func TestAnonymousForged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := session.Config{Keys: testKeys, Absolute: 2 * time.Hour, Idle: time.Hour}
		a := looker(t, cfg)
		a.handle("/exists", func(s *session.Session, w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, s.Exists(), s.IsNew())
		})
		exists := func(c string) bool {
			t.Helper()
			got := read(a.do("/exists", c))
			if got != "true false" && got != "false false" {
				t.Errorf("%s: %s", c, got)
			}
			return got == "true false"
		}
		r := a.do("/form")
		c, secret := cookie(t, r), hexSecret(t, read(r))
		_, value, _ := strings.Cut(c, "=")
		if !exists(c) || !a.m.IssuedAnonymously("form", secret) {
			t.Fatal("what was issued is not recognised")
		}
		for i := range len(value) {
			forged := []byte(value)
			if forged[i]++; forged[i] == '{' {
				forged[i] = 'a'
			}
			if exists("__Host-session=" + string(forged)) {
				t.Errorf("a cookie with another character %d is taken", i)
			}
		}
		for i := range secret {
			forged := secret
			if forged[i] ^= 1; a.m.IssuedAnonymously("form", forged) {
				t.Errorf("a secret with another byte %d is taken", i)
			}
		}
		signedIn := hexSecret(t, read(a.do("/form", cookie(t, a.do("/as?v=alice", c)))))
		if a.m.IssuedAnonymously("other", secret) || a.m.IssuedAnonymously("form", [32]byte{}) || a.m.IssuedAnonymously("form", signedIn) {
			t.Errorf("a secret for another purpose, or none, or of a user is taken")
		}
		// Another key, another name, no key.
		for what, other := range map[string]session.Config{
			"other keys": {Keys: [][]byte{bytes.Repeat([]byte{3}, 32)}}, "no keys": {}, "other name": {Keys: testKeys, Name: "other"},
		} {
			b := looker(t, other)
			b.handle("/exists", func(s *session.Session, w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, s.Exists()) })
			if read(b.do("/exists", strings.Replace(c, "session", max(other.Name, "session")[:7], 1), "__Host-other="+value)) != "false" || b.m.IssuedAnonymously("form", secret) {
				t.Errorf("%s: taken", what)
			}
		}
		// Keys that change: the new one first, then alone.
		newer := looker(t, session.Config{Keys: [][]byte{bytes.Repeat([]byte{3}, 32), testKeys[0]}, Absolute: 2 * time.Hour})
		if hexSecret(t, read(newer.do("/form", c))) != secret || !newer.m.IssuedAnonymously("form", secret) {
			t.Errorf("with a new key first: not recognised, or another secret")
		}
		// Its time: as long as Absolute, from a minute before.
		time.Sleep(2*time.Hour - time.Second)
		if !exists(c) || !a.m.IssuedAnonymously("form", secret) {
			t.Errorf("over too soon")
		}
		// One with a value lives by its own clocks.
		a.do("/set?v=x", c)
		time.Sleep(time.Second)
		if !exists(c) || a.m.IssuedAnonymously("form", secret) || hexSecret(t, read(a.do("/form", c))) != secret {
			t.Errorf("with a value: over with the cookie's time, or another secret")
		}
		time.Sleep(time.Hour)
		if exists(c) {
			t.Errorf("alive for ever")
		}
	})
}

// TestAnonymousClocks: an identifier that another machine has just issued counts,
// though its clock is ahead by up to a minute.
func TestAnonymousClocks(t *testing.T) {
	for ahead, want := range map[time.Duration]string{20 * time.Millisecond: "true", 45 * time.Second: "true", 59 * time.Second: "true", 62 * time.Second: "false"} {
		var c string
		var secret [32]byte
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Hour + ahead)
			r := looker(t, session.Config{Keys: testKeys}).do("/form")
			c, secret = cookie(t, r), hexSecret(t, read(r))
		})
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Hour)
			a := looker(t, session.Config{Keys: testKeys})
			a.handle("/exists", func(s *session.Session, w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, s.Exists()) })
			if got := read(a.do("/exists", c)); got != want || fmt.Sprint(a.m.IssuedAnonymously("form", secret)) != want {
				t.Errorf("%v ahead: %s, want %s", ahead, got, want)
			}
		})
	}
}

// TestAnonymousPersistent: the cookie lasts as long as what it proves.
func TestAnonymousPersistent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := looker(t, session.Config{Keys: testKeys, Persistent: true, Absolute: time.Hour})
		r := a.do("/form")
		if age := r.Cookies()[0].MaxAge; age != 3600 {
			t.Errorf("Max-Age %d", age)
		}
	})
}

func TestKeysRefused(t *testing.T) {
	for _, keys := range [][][]byte{{make([]byte, 31)}, {make([]byte, 32), nil}} {
		if _, err := session.New(session.Config{Store: newFaulty(), Keys: keys}); err == nil || !strings.Contains(err.Error(), "Config.Keys[") {
			t.Errorf("keys of %d: %v", len(keys), err)
		}
	}
}
