package sqlite

import "context"

// readers is how many may read at once what is not in the cache.
const readers = 4

// A reader is a connection that only reads. It does not wait for the writer, nor
// the writer for it.
type reader struct {
	conn *conn
	st   readStatements
}

// read has f read with a reader that is idle, or waits for one. f must be short.
func (s *Store) read(ctx context.Context, f func(*reader) error) error {
	var r *reader
	select {
	case r = <-s.readers:
	default:
		select {
		case r = <-s.readers:
		case <-s.done:
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() { s.readers <- r }()
	return f(r)
}
