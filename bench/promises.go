package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	gorilla "github.com/gorilla/sessions"
)

const (
	writers  = 64
	workTime = 5 * time.Millisecond
)

// promised says how a site is made for the promises: with hold as the work that
// a handler does between loading its session and setting a key.
type promised struct {
	name string
	site func(hold func()) (site, error)
}

func promisedSites(dir string) []promised {
	return []promised{
		{nameOurs, func(hold func()) (site, error) { return ourSite(hold) }},
		{nameScs, func(hold func()) (site, error) { return scsSite(hold), nil }},
		{nameGorillaFile, func(hold func()) (site, error) {
			return gorillaSite(gorilla.NewFilesystemStore(dir, secret), hold), nil
		}},
		{nameCookie, func(hold func()) (site, error) {
			return gorillaSite(gorilla.NewCookieStore(secret), hold), nil
		}},
		{nameFiber, func(hold func()) (site, error) { return newFiber(hold), nil }},
	}
}

// keptKeys begins a session, sends so many requests at once that each set a key
// of their own, and counts which of the keys are there at the end, for a
// browser that keeps the cookie that it was given last; and how many requests
// were answered with success.
func keptKeys(p promised) (kept, succeeded int, err error) {
	s, err := p.site(func() { time.Sleep(workTime) })
	if err != nil {
		return 0, 0, err
	}
	cookie, err := begin(s)
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", p.name, err)
	}
	last := cookie
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			a := s.answer(fmt.Sprintf("%s?key=k%d", pathKeep, i), cookie)
			mu.Lock()
			defer mu.Unlock()
			if a.code == http.StatusOK {
				succeeded++
			}
			if a.cookie != "" {
				last = a.cookie
			}
		})
	}
	wg.Wait()
	for i := range writers {
		if s.answer(fmt.Sprintf("%s?key=k%d", pathGet, i), last).body == "kept" {
			kept++
		}
	}
	return kept, succeeded, nil
}

// revival is what a cookie opens that was signed out.
type revival struct {
	alone    bool // nothing else happened
	inFlight bool // a request was under way meanwhile that set a key
	code     int  // what that request was answered
}

func revives(p promised) (rev revival, err error) {
	for _, inFlight := range []bool{false, true} {
		reached, release := make(chan struct{}), make(chan struct{})
		s, err := p.site(func() { close(reached); <-release })
		if err != nil {
			return rev, err
		}
		cookie, err := begin(s)
		if err != nil {
			return rev, fmt.Errorf("%s: %w", p.name, err)
		}
		done := make(chan answer, 1)
		if inFlight {
			go func() { done <- s.answer(pathKeep+"?key=late", cookie) }()
			<-reached
		}
		if a := s.answer(pathEnd, cookie); a.code != http.StatusOK || !a.gone {
			return rev, fmt.Errorf("%s: signing out was answered %d, cookie gone: %v", p.name, a.code, a.gone)
		}
		close(release)
		if inFlight {
			rev.code = (<-done).code
		}
		alive := s.answer(pathRead, cookie).body != "" || s.answer(pathGet+"?key=late", cookie).body == "kept"
		// gorilla answers an id that it does not know with an error page.
		if a := s.answer(pathRead, cookie); a.code != http.StatusOK {
			alive = false
		}
		if inFlight {
			rev.inFlight = alive
		} else {
			rev.alone = alive
		}
	}
	return rev, nil
}

func benchPromises(_ context.Context, cfg config, r *report) error {
	dir, err := os.MkdirTemp("", "gatehouse-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	r.title("What is kept, and what stays ended")
	r.text("Kept: %d requests at the same time on one session, each sets a key of its own after %v of work; how many of the keys are there afterwards, in %d rounds. Every one of these requests was told that all went well, unless the table says otherwise. Revived: a session is signed out; does its old cookie open it again, by itself, or because a request was under way that had loaded the session before and stored a key after? gorilla/sessions has here the store on the server that it comes with, FilesystemStore.", writers, workTime, cfg.kept)
	var rows [][]string
	for _, p := range promisedSites(dir) {
		least, most, success := writers, 0, writers
		for range cfg.kept {
			kept, succeeded, err := keptKeys(p)
			if err != nil {
				return err
			}
			least, most, success = min(least, kept), max(most, kept), min(success, succeeded)
		}
		rev, err := revives(p)
		if err != nil {
			return err
		}
		kept := fmt.Sprintf("%d of %d", least, writers)
		if most > least {
			kept = fmt.Sprintf("%d to %d of %d", least, most, writers)
		}
		rows = append(rows, []string{
			p.name, kept, fmt.Sprintf("%d of %d", success, writers), yes(rev.alone), yes(rev.inFlight), fmt.Sprint(rev.code),
		})
		if p.name == nameOurs {
			r.atLeast("Keys kept of 64 concurrent requests", float64(least), writers, count, "")
			r.targets = append(r.targets, target{"A request under way revives a signed-out session", "no", strings.Trim(yes(rev.inFlight), "*"), !rev.inFlight, ""})
		}
	}
	r.table([]string{"", "keys kept", "answered 200", "old cookie works after sign-out", "revived by a request under way", "which was answered"}, rows)
	return nil
}

func yes(b bool) string {
	if b {
		return "**yes**"
	}
	return "no"
}
