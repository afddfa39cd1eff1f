package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/session"
)

// What a server keeps things in, as people are told of it: by the settings' names.
const (
	databaseStore = "database"
	sessionsStore = "sessions"
)

// checkTime is how long a store may take to say that it is there. Each has that for
// itself: one that is away must not be blamed on another.
const checkTime = 2 * time.Second

// A check asks whether something is there that a server needs.
type check struct {
	name string
	ask  func(ctx context.Context) error
}

// readiness is whether a server can answer requests. It may be used concurrently.
type readiness struct {
	mu      sync.Mutex
	started bool
	checks  []check          // once it has started
	missing map[string]error // before: what it waits for, and why
	told    string           // what the log was told is missing
}

// waits notes that the server waits for a store, or, without an error, no longer.
func (r *readiness) waits(name string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.missing == nil {
		r.missing = make(map[string]error)
	}
	r.missing[name] = err
	if err == nil {
		delete(r.missing, name)
	}
}

// begins has the server ask from now on.
func (r *readiness) begins(checks []check) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started, r.checks = true, checks
}

// look returns what is wrong, by name; nothing if all is well.
func (r *readiness) look(ctx context.Context) map[string]error {
	r.mu.Lock()
	started, checks := r.started, r.checks
	wrong := make(map[string]error, len(r.missing))
	maps.Copy(wrong, r.missing)
	r.mu.Unlock()
	if !started {
		if len(wrong) == 0 {
			wrong["server"] = errStarting
		}
		return wrong
	}
	var mu sync.Mutex
	var asked sync.WaitGroup
	for _, c := range checks {
		asked.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, checkTime)
			defer cancel()
			if err := c.ask(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				wrong[c.name] = err
			}
		})
	}
	asked.Wait()
	return wrong
}

var errStarting = errors.New("starting")

// checksOf returns what asks the stores whether they are there.
func (s *server) checksOf(all *stores) []check {
	database := check{databaseStore, func(ctx context.Context) error {
		_, err := all.people.Get(ctx, "setup")
		if errors.Is(err, account.ErrNotFound) {
			err = nil
		}
		return err
	}}
	sessions := check{databaseStore, func(ctx context.Context) error {
		_, err := all.sessions.Load(ctx, session.ID{})
		if errors.Is(err, session.ErrNotFound) {
			err = nil
		}
		return err
	}}
	if s.Sessions != "" {
		sessions.name = sessionsStore
	}
	return []check{database, sessions}
}

// readyz answers those who send requests only to servers that can answer them.
func (s *server) readyz(w http.ResponseWriter, r *http.Request) {
	wrong := s.readiness.look(r.Context())
	if r.Context().Err() != nil {
		return // the caller has gone, and so nothing was found out
	}
	s.tell(r.Context(), wrong)
	if len(wrong) == 0 {
		_, _ = w.Write([]byte("ok\n"))
		return
	}
	var b strings.Builder
	b.WriteString("not ready\n")
	for _, name := range sortedKeys(wrong) {
		fmt.Fprintf(&b, "%s: %s\n", name, oneLine(wrong[name]))
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(b.String()))
}

// tell writes one line of the log when something else is missing than before.
func (s *server) tell(ctx context.Context, wrong map[string]error) {
	names := strings.Join(sortedKeys(wrong), ", ")
	s.readiness.mu.Lock()
	changed := s.readiness.started && names != s.readiness.told
	if changed {
		s.readiness.told = names
	}
	s.readiness.mu.Unlock()
	switch {
	case !changed: // and what it waits for at start has its own lines
	case names == "":
		s.log.InfoContext(ctx, "ready again")
	default:
		args := []any{"missing", names}
		for _, name := range sortedKeys(wrong) {
			args = append(args, "error_"+name, oneLine(wrong[name]))
		}
		s.log.WarnContext(ctx, "not ready", args...)
	}
}

// oneLine is the text of an error on one line, and not endless.
func oneLine(err error) string { return brief(strings.Join(strings.Fields(err.Error()), " ")) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
