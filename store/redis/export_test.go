package redis

import (
	"time"

	"github.com/redis/rueidis"
)

// Client is what the store reaches the server with.
func (s *Store) Client() rueidis.Client { return s.remote.current.Load() }

// AcrossSlots has the store rename as it does in a Cluster, whose keys are on
// different nodes.
func (s *Store) AcrossSlots() { s.cluster = true }

// CheckTracking has the store ask so often whether the server tells of changes. It
// must not be in use yet.
func (s *Store) CheckTracking(every time.Duration) {
	s.remote.checks, s.remote.first, s.remote.again = every, every, 0
	s.remote.checkAfter(every)
}
