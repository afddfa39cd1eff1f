package postgres

// Gather has calls of Load and plain commits of the store wait, as if as many of
// their statements were under way as there may be, until release lets them go in
// one batch of each kind. Queued returns how many wait.
func (s *Store) Gather() (queued func() int, release func()) {
	crowded := s.Crowd()
	releaseLoads, releaseChanges := s.loads.hold(), s.changes.hold()
	queued = func() int { return s.loads.queued() + s.changes.queued() }
	return queued, func() {
		releaseLoads()
		releaseChanges()
		crowded()
	}
}

// Crowd has the store believe that there are too many calls for a statement each,
// until it is told otherwise.
func (s *Store) Crowd() (done func()) {
	s.loads.present.Add(maxAlone)
	return func() { s.loads.present.Add(-maxAlone) }
}

// MaxStatements returns how many statements of one kind are under way at most in a
// crowd.
func (s *Store) MaxStatements() int { return s.loads.maxStatements }

func (b *batcher[T]) queued() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue)
}

func (b *batcher[T]) hold() (release func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running += b.maxStatements
	b.watching = true // what is held is no stall
	era := b.era
	return func() {
		b.mu.Lock()
		b.watching = false
		b.mu.Unlock()
		for range b.maxStatements {
			b.finish(era)
		}
	}
}
