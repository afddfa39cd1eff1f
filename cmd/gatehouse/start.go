package main

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-64ad3862/gatehouse/internal/clientaddr"
	"github.com/seed-64ad3862/gatehouse/internal/headers"
	"github.com/seed-64ad3862/gatehouse/store/postgres"
	"github.com/seed-64ad3862/gatehouse/store/redis"
)

// Pauses between two looks whether a store is there.
const firstWait, longestWait = 500 * time.Millisecond, 15 * time.Second

// patiently calls f, which needs a store, until that is there: with growing pauses, and
// one line of the log for each. It returns the error of f that waiting does not mend, or
// that of the context.
func (s *server) patiently(ctx context.Context, store string, f func(ctx context.Context) error) error {
	for pause := firstWait; ; pause = min(2*pause, longestWait) {
		err := f(ctx)
		if ended := ctx.Err(); ended != nil {
			return ended
		}
		if !s.away(store, err) {
			s.readiness.waits(store, nil)
			return err
		}
		s.readiness.waits(store, err)
		s.log.WarnContext(ctx, "a store is away: waiting for it", "store", store, "error", oneLine(err), "again_in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// away reports whether an error says that the store is, and may come back. A file is
// there or not.
func (s *server) away(store string, err error) bool {
	switch store {
	case databaseStore:
		return isPostgres(s.Database) && postgres.Away(err)
	case sessionsStore:
		return redis.Away(err)
	}
	return false
}

// openStores opens the stores, and waits for those that are away, each for itself.
func (s *server) openStores(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	var all *stores
	g.Go(func() error {
		return s.patiently(ctx, databaseStore, func(ctx context.Context) (err error) {
			all, err = s.openDatabase(ctx)
			return err
		})
	})
	var sessions *redis.Store
	if s.Sessions != "" {
		g.Go(func() error {
			return s.patiently(ctx, sessionsStore, func(ctx context.Context) (err error) {
				sessions, err = s.openRedis(ctx)
				return err
			})
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if sessions != nil {
		all.share(sessions)
	}
	s.stores = all
	return nil
}

// begin opens the stores and makes what answers requests of them. It returns the link
// that makes the first administrator, if there is none.
func (s *server) begin(ctx context.Context, l *listeners, proxies clientaddr.Trusted) (setup string, err error) {
	if err := s.openStores(ctx); err != nil {
		return "", err
	}
	s.machines = s.newMachines(l)
	if err := s.machines.join(ctx); err != nil {
		return "", err
	}
	err = s.patiently(ctx, databaseStore, func(ctx context.Context) (err error) {
		if err := s.build(ctx, proxies); err != nil {
			return err
		}
		setup, err = s.setupURL(ctx)
		return err
	})
	if err != nil {
		s.machines.leave(ctx)
	}
	return setup, err
}

// A front answers requests from the moment at which the server listens: that it starts,
// until there is another handler.
type front struct {
	handler  atomic.Pointer[http.Handler]
	insecure bool
}

func (f *front) set(h http.Handler) { f.handler.Store(&h) }

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := f.handler.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	headers.Set(w.Header(), f.insecure)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Retry-After", "5")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = io.WriteString(w, "Starting. Try again in a moment.\n")
}
