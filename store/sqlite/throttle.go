package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/seed-64ad3862/gatehouse/throttle"
)

// Throttle returns what counts attempts: in the memory of the process that has the
// file, which alone serves, so that nothing has to be written for a guess. A restart
// forgets them. Commands reach it through the socket.
func (s *Store) Throttle() throttle.Store { return s.attempts() }

// Throttle returns what counts attempts in the process that has the database.
func (c *client) Throttle() throttle.Store { return remoteThrottle{c} }

// remoteThrottle counts in another process.
type remoteThrottle struct{ c *client }

// wireThrottle is one call of a [throttle.Store].
type wireThrottle struct {
	Take    []throttle.Bucket `json:"take,omitempty"`
	Used    []throttle.Bucket `json:"used,omitempty"`
	Give    []throttle.Bucket `json:"give,omitempty"`
	Fill    []throttle.Bucket `json:"fill,omitempty"`
	Account *[16]byte         `json:"forget,omitempty"`
}

// wireAttempts is what it answers.
type wireAttempts struct {
	Wait time.Duration `json:"wait,omitempty"`
	Used []int         `json:"used,omitempty"`
}

// maxBuckets is how many a call can name.
const maxBuckets = 64

func decodeThrottle(b []byte) (w wireThrottle, err error) {
	if err := decode(b, &w); err != nil {
		return w, err
	}
	for _, buckets := range [][]throttle.Bucket{w.Take, w.Used, w.Give, w.Fill} {
		if len(buckets) > maxBuckets {
			return w, fmt.Errorf("%w: more than %d buckets", errRequest, maxBuckets)
		}
		for _, b := range buckets {
			if l := b.Limit; l.Burst < 1 || l.Burst > throttle.MaxBurst || l.Every < time.Millisecond || l.Every > 24*time.Hour {
				return w, fmt.Errorf("%w: a bucket of %d, one each %v", errRequest, l.Burst, l.Every)
			}
		}
	}
	return w, nil
}

func (s *Store) serveThrottle(r *http.Request) (any, error) {
	w, err := decodeBody(r, decodeThrottle)
	if err != nil {
		return nil, err
	}
	t := s.Throttle()
	var answer wireAttempts
	switch {
	case w.Take != nil:
		answer.Wait, err = t.Take(r.Context(), w.Take)
	case w.Used != nil:
		answer.Used, err = t.Used(r.Context(), w.Used)
	case w.Account != nil:
		err = t.Forget(r.Context(), *w.Account)
	default:
		err = t.Give(r.Context(), w.Give, w.Fill)
	}
	return answer, err
}

func (t remoteThrottle) call(ctx context.Context, w *wireThrottle) (answer wireAttempts, err error) {
	body, err := json.Marshal(w)
	if err == nil {
		err = t.c.call(ctx, &answer, http.MethodPost, "throttle", nil, body)
	}
	return answer, err
}

// Take implements [throttle.Store].
func (t remoteThrottle) Take(ctx context.Context, buckets []throttle.Bucket) (time.Duration, error) {
	answer, err := t.call(ctx, &wireThrottle{Take: buckets})
	return answer.Wait, err
}

// Used implements [throttle.Store].
func (t remoteThrottle) Used(ctx context.Context, buckets []throttle.Bucket) ([]int, error) {
	answer, err := t.call(ctx, &wireThrottle{Used: buckets})
	return answer.Used, err
}

// Give implements [throttle.Store].
func (t remoteThrottle) Give(ctx context.Context, one, all []throttle.Bucket) error {
	_, err := t.call(ctx, &wireThrottle{Give: one, Fill: all})
	return err
}

// Forget implements [throttle.Store].
func (t remoteThrottle) Forget(ctx context.Context, account [16]byte) error {
	_, err := t.call(ctx, &wireThrottle{Account: &account})
	return err
}
