package redis

// AcrossSlots has the store rename as it does in a Cluster, whose keys are on
// different nodes.
func (s *Store) AcrossSlots() { s.cluster = true }
