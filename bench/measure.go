package main

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// A contender does one kind of operation as often as it is told.
type contender struct {
	name string
	run  func(n int)
	// after, unless nil, clears up after a slice, outside of the measurement.
	after func()
	// over names the contender whose cost is this one's base, for a layer
	// whose own cost is sought.
	over string
}

// cost is that of one operation.
type cost struct {
	cpu, wall     float64 // ns; cpu is user and system time of the whole process
	allocs, bytes float64
}

func (c cost) minus(b cost) cost {
	return cost{c.cpu - b.cpu, c.wall - b.wall, c.allocs - b.allocs, c.bytes - b.bytes}
}

// result is what one contender cost in each round.
type result struct {
	name   string
	rounds []cost
}

// median takes each quantity's median by itself.
func (r result) median() cost {
	return cost{
		r.medianOf(func(c cost) float64 { return c.cpu }),
		r.medianOf(func(c cost) float64 { return c.wall }),
		r.medianOf(func(c cost) float64 { return c.allocs }),
		r.medianOf(func(c cost) float64 { return c.bytes }),
	}
}

func (r result) medianOf(f func(cost) float64) float64 {
	vs := make([]float64, len(r.rounds))
	for i, c := range r.rounds {
		vs[i] = f(c)
	}
	return median(vs)
}

// ratio is the median, over the rounds, of this one's CPU time as a multiple of
// the reference's in the same round: what disturbs a whole round cancels out.
func (r result) ratio(reference result) float64 {
	vs := make([]float64, len(r.rounds))
	for i := range vs {
		vs[i] = r.rounds[i].cpu / reference.rounds[i].cpu
	}
	return median(vs)
}

// speed is the median, over the rounds, of how much this one does in the time
// in which the reference does one.
func (r result) speed(reference result) float64 {
	vs := make([]float64, len(r.rounds))
	for i := range vs {
		vs[i] = reference.rounds[i].wall / r.rounds[i].wall
	}
	return median(vs)
}

// minus is what this one cost more than its base, round by round.
func (r result) minus(base result) result {
	d := result{name: r.name, rounds: make([]cost, len(r.rounds))}
	for i := range d.rounds {
		d.rounds[i] = r.rounds[i].minus(base.rounds[i])
	}
	return d
}

func median(vs []float64) float64 {
	if len(vs) == 0 {
		return math.NaN()
	}
	vs = slices.Sorted(slices.Values(vs))
	n := len(vs)
	return (vs[(n-1)/2] + vs[n/2]) / 2
}

// ballast is a heap such as a server has. Without it the live heap of these
// loops is so small that the garbage collector runs thousands of times a
// second, at a cost that no server pays; it holds no pointers, so that marking
// it costs nothing.
var ballast []byte

const ballastBytes = 64 << 20

func layBallast() {
	if ballast == nil {
		ballast = make([]byte, ballastBytes)
		runtime.GC() // sets the goal of the next by it
	}
}

// measure runs the contenders in turns, A B C A B C, for so many rounds.
func measure(cs []contender, cfg config) map[string]result {
	layBallast()
	loops := make([]int, len(cs))
	results := make(map[string]result, len(cs))
	for i, c := range cs {
		loops[i] = c.calibrate(cfg.slice)
	}
	for range cfg.rounds {
		for i, c := range cs {
			r := results[c.name]
			r.name = c.name
			r.rounds = append(r.rounds, c.slice(loops[i]))
			results[c.name] = r
		}
	}
	return results
}

// calibrate returns how often the operation has to be done to take so long.
func (c contender) calibrate(slice time.Duration) int {
	for n := 1; ; n *= 4 {
		// The first time a connection may have to be opened, and once is chance.
		took := slice
		for range 2 {
			start := time.Now()
			c.run(n)
			took = min(took, time.Since(start))
			if c.after != nil {
				c.after()
			}
		}
		if took > slice/8 {
			return max(1, int(float64(n)*float64(slice)/float64(took)))
		}
	}
}

// slice is one contender's part of a round.
func (c contender) slice(n int) cost {
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, wall := cpuTime(), time.Now()
	c.run(n)
	took := cost{cpu: float64(cpuTime() - cpu), wall: float64(time.Since(wall))}
	runtime.ReadMemStats(&after)
	if c.after != nil {
		c.after()
	}
	ops := float64(n)
	return cost{
		cpu: took.cpu / ops, wall: took.wall / ops,
		allocs: float64(after.Mallocs-before.Mallocs) / ops,
		bytes:  float64(after.TotalAlloc-before.TotalAlloc) / ops,
	}
}

// cpuTime is what the process has used so far, user and system, the garbage
// collector's threads included.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(fmt.Sprintf("getrusage: %v", err)) // it has no reason to fail
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
