package postgres

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-64ad3862/gatehouse/throttle"
)

// Throttle is a [throttle.Store]. It may be used concurrently, by any number of
// processes at once.
type Throttle struct{ store *Store }

// Throttle returns the buckets of package throttle that are kept in the schema.
// They outlive a restart of the server, but not a crash of it, nor a failover:
// then all are full.
func (s *Store) Throttle() *Throttle { return &Throttle{s} }

// Take implements [throttle.Store].
func (t *Throttle) Take(ctx context.Context, buckets []throttle.Bucket) (time.Duration, error) {
	if len(buckets) == 0 {
		return 0, nil
	}
	buckets = inOrder(buckets)
	names, everies := bucketArgs(buckets)
	var bursts []int64
	var softs []bool
	for _, b := range buckets {
		bursts, softs = append(bursts, int64(b.Limit.Burst)), append(softs, b.Soft)
	}
	var wait int64
	err := t.store.run(ctx, "throttle: take", false, func(c *pgx.Conn, mode pgx.QueryExecMode) error {
		return c.QueryRow(ctx, t.store.sql.takeTokens, mode, names, everies, bursts, softs).Scan(&wait)
	})
	if err != nil {
		return 0, err
	}
	return time.Duration(wait) * time.Microsecond, nil
}

// Used implements [throttle.Store].
func (t *Throttle) Used(ctx context.Context, buckets []throttle.Bucket) ([]int, error) {
	names, everies := bucketArgs(buckets)
	used := make([]int, 0, len(buckets))
	err := t.store.run(ctx, "throttle: used", true, func(c *pgx.Conn, mode pgx.QueryExecMode) (err error) {
		used, err = all(ctx, c, mode, func(n *int) []any { return []any{n} }, t.store.sql.usedTokens, names, everies)
		return err
	})
	if err != nil {
		return nil, err
	}
	return used, nil
}

// Give implements [throttle.Store].
func (t *Throttle) Give(ctx context.Context, one, full []throttle.Bucket) error {
	if len(one)+len(full) == 0 {
		return nil
	}
	buckets := slices.Clone(one)
	for _, b := range full {
		b.Limit.Every = 0
		buckets = append(buckets, b)
	}
	names, everies := bucketArgs(inOrder(buckets))
	_, err := t.store.exec(ctx, "throttle: give", t.store.sql.giveTokens, names, everies)
	return err
}

// Forget implements [throttle.Store].
func (t *Throttle) Forget(ctx context.Context, account [16]byte) error {
	first, last := throttle.Name{Account: account}, throttle.Name{Account: account}
	for i := range last.Network {
		last.Network[i] = 0xff
	}
	_, err := t.store.exec(ctx, "throttle: forget", t.store.sql.forgetBuckets, bucketName(first), bucketName(last))
	return err
}

func bucketName(n throttle.Name) []byte { return append(n.Account[:], n.Network[:]...) }

// inOrder returns the buckets in the order in which their rows are locked.
func inOrder(buckets []throttle.Bucket) []throttle.Bucket {
	return slices.SortedStableFunc(slices.Values(buckets), func(a, b throttle.Bucket) int {
		return bytes.Compare(bucketName(a.Name), bucketName(b.Name))
	})
}

// bucketArgs returns the names, and for each the microseconds in which a token
// comes back.
func bucketArgs(buckets []throttle.Bucket) (names [][]byte, everies []int64) {
	for _, b := range buckets {
		names, everies = append(names, bucketName(b.Name)), append(everies, b.Limit.Every.Microseconds())
	}
	return names, everies
}
