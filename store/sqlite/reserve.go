package sqlite

import (
	"io"
	"math/rand/v2"
	"os"
)

// A reserve is disk space that is given up when there is no other: to copy the WAL into
// the database's file, after which the WAL can be used again, to open the database, which
// takes files next to it, and for the writes of users. It is the rest of the lock's file,
// which exists whether or not a store is open, and only who holds the lock uses it. Its
// bytes mean nothing.
type reserve struct {
	f    *os.File
	want int64 // bytes
	has  int64
	err  error // of the last try to write
}

const (
	// reserveStart is its offset in the file, after the text that says who has the lock.
	reserveStart = 4096

	// portions is how many parts a whole reserve is given up in.
	portions = 4

	minReserve = 64 << 10
	maxReserve = 4 << 20
)

// open finds how much there is of the reserve in the lock's file.
func (r *reserve) open(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	r.f, r.has = f, max(info.Size()-reserveStart, 0)
	r.resize(r.has)
	if r.has > r.want {
		r.has = r.want
		return f.Truncate(reserveStart + r.has)
	}
	return nil
}

// resize sets the size of a whole reserve. It is never made smaller, since a full disk
// looks like a small one.
func (r *reserve) resize(want int64) {
	r.want = min(max(want, r.want, minReserve), maxReserve)
}

// fill makes the reserve whole, as far as the disk has space, and reports whether it is.
func (r *reserve) fill() bool {
	if r.has < r.want {
		var n int64
		n, r.err = writeRandom(r.f, reserveStart+r.has, r.want-r.has)
		r.has += n
	}
	return r.has >= r.want
}

// give gives up a portion, and reports whether there was any.
func (r *reserve) give() bool {
	if r.has == 0 {
		return false
	}
	r.has = max(r.has-r.want/portions, 0)
	return r.f.Truncate(reserveStart+r.has) == nil
}

// spare reports whether the disk has space for so many bytes more. It tries, since what
// the system says of the disk leaves out quotas and limits.
func (r *reserve) spare(bytes int64) bool {
	_, r.err = writeRandom(r.f, reserveStart+r.has, bytes)
	return r.f.Truncate(reserveStart+r.has) == nil && r.err == nil
}

// restore makes the reserve whole if it can, and reports whether it is whole and there is
// space for more, also for a file that has this size.
func (r *reserve) restore(largest int64) bool {
	more := r.want / portions
	if !r.fill() || !r.spare(more) {
		return false
	}
	r.err = checkSizeLimit(largest + more)
	return r.err == nil
}

// writeRandom writes bytes that no file system can compress, and returns how many it
// could write.
func writeRandom(w io.WriterAt, at, bytes int64) (written int64, err error) {
	random := rand.NewChaCha8([32]byte{})
	block := make([]byte, min(bytes, 64<<10))
	for err == nil && written < bytes {
		_, _ = random.Read(block)
		var n int
		n, err = w.WriteAt(block[:min(int64(len(block)), bytes-written)], at+written)
		written += int64(n)
	}
	return written, err
}
