package logtext

import (
	"sync"
	"sync/atomic"
	"time"
)

// Every is how often something is written that repeats without end.
const Every = time.Minute

// Repeats decides what is written of things that repeat. Of each kind some are
// written as they come, and then one a minute; all others are counted. Each kind
// is a bucket of Burst tokens that gains one every minute.
//
// There is no goroutine and no timer that would write the count: [Repeats.Add] and
// [Repeats.Due] return it, to be written, as soon as the first of those counted is
// a minute old. [Repeats.All] is for a program that ends.
//
// The zero Repeats is ready. Its methods may be called concurrently.
type Repeats[T any] struct {
	Burst int // 5 if zero
	Kinds int // that are told apart, 64 if zero; any more are one kind

	// next is when a count has to be written, in nanoseconds since 1970; 0 if
	// there is none.
	next atomic.Int64

	mu    sync.Mutex
	kinds map[string]*kind[T]
}

// Repeated says that something has repeated and was not written.
type Repeated[T any] struct {
	Last  T // the last of them
	Times int
	In    time.Duration // since the first of them
}

type kind[T any] struct {
	full  time.Time // when the bucket will be
	times int       // not written
	since time.Time // the first of those
	last  T
}

// Add reports whether this one is to be written; if not, it is counted. It returns
// the counts that are to be written before.
func (r *Repeats[T]) Add(name string, v T) (counts []Repeated[T], write bool) {
	burst := r.Burst
	if burst == 0 {
		burst = 5
	}
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.kind(name, now)
	missing := max(0, k.full.Sub(now))
	write = missing <= time.Duration(burst-1)*Every
	if write {
		k.full = now.Add(missing + Every)
		counts = k.take(now, counts)
	} else {
		if k.times == 0 {
			k.since = now
		}
		k.times++
		k.last = v
	}
	return r.due(now, Every, counts), write
}

// Due returns the counts that are to be written, because a minute is over. It
// costs next to nothing if there are none.
func (r *Repeats[T]) Due() []Repeated[T] {
	next := r.next.Load()
	if next == 0 {
		return nil
	}
	now := time.Now()
	if now.UnixNano() < next {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.due(now, Every, nil)
}

// All returns all counts.
func (r *Repeats[T]) All() []Repeated[T] {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.due(time.Now(), 0, nil)
}

// due takes the counts that are so old, and finds out when the next one will be.
func (r *Repeats[T]) due(now time.Time, age time.Duration, counts []Repeated[T]) []Repeated[T] {
	var next time.Time
	for _, k := range r.kinds {
		if now.Sub(k.since) >= age {
			counts = k.take(now, counts)
		}
		if at := k.since.Add(Every); k.times > 0 && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	if next.IsZero() {
		r.next.Store(0)
	} else {
		r.next.Store(next.UnixNano())
	}
	return counts
}

func (k *kind[T]) take(now time.Time, counts []Repeated[T]) []Repeated[T] {
	if k.times == 0 {
		return counts
	}
	counts = append(counts, Repeated[T]{k.last, k.times, now.Sub(k.since)})
	var none T
	k.times, k.last = 0, none
	return counts
}

// kind returns the bucket of that name, or the common one where there are too many.
func (r *Repeats[T]) kind(name string, now time.Time) *kind[T] {
	if k := r.kinds[name]; k != nil {
		return k
	}
	most := r.Kinds
	if most == 0 {
		most = 64
	}
	if len(r.kinds) >= most {
		for name, k := range r.kinds {
			if k.times == 0 && !k.full.After(now) {
				delete(r.kinds, name)
			}
		}
	}
	if len(r.kinds) >= most {
		name = ""
	}
	k := r.kinds[name]
	if k == nil {
		if r.kinds == nil {
			r.kinds = make(map[string]*kind[T])
		}
		k = &kind[T]{}
		r.kinds[name] = k
	}
	return k
}
