package motion

import (
	"math/bits"
	"math/rand/v2"
)

// row is a line of up to 256 cells, one bit each.
type row [4]uint64

// A way is by how many cells dots move from frame to frame.
type way struct{ x, y int }

var ways = [...]way{{1, 0}, {-1, 0}, {0, 1}, {0, -1}}

const (
	life = frames / 2

	// Layers are closed in themselves: what leaves at the right comes back at
	// the left. So that a loop ends as it began, their height, and their width
	// in whole words, are multiples of the cells that dots move in a loop.
	layerRows = 48
)

// layer is a field of moving dots.
//
// At any step the dots are independent random bits: a step only moves them, and
// replaces some of them, chosen without looking at them, with new random bits.
//
// The replaced ones are those whose age has come, once every 8 steps along their
// way, and 1 in 16 of all. After 8 steps nothing is left of the beginning: each
// dot is what was random in one of the last 8 steps, and no two are the same
// bit. Then the same numbers are used again, the new dots inverted, so that each
// cell is the opposite of what it was 8 steps before; and after 16 steps the loop
// is closed.
type layer struct {
	dots [layerRows]row

	// ages has for each cell the step, modulo life, in which its dot is
	// replaced, in three planes of bits. It moves with the dots, and is the
	// same every 8 cells in either direction.
	ages [3][life]uint64

	seed [32]byte
	rnd  rand.ChaCha8
}

func (l *layer) begin(rnd *rand.ChaCha8) {
	for i := range l.ages {
		for y := range l.ages[i] {
			l.ages[i][y] = (rnd.Uint64() >> 56) * 0x01_01_01_01_01_01_01_01
		}
	}
	_, _ = rnd.Read(l.seed[:]) // it does not fail
}

// step is to be called for t from 0 on; from life on the dots are those of a
// loop.
func (l *layer) step(t int, w way, words int) {
	if t%life == 0 {
		l.rnd.Seed(l.seed)
	}
	var invert uint64
	if t/life%2 == 1 {
		invert = ^invert
	}
	l.move(w, words)
	for y := range l.dots {
		ages := (y - w.y*t) & (life - 1)
		due := ^uint64(0)
		for i := range l.ages {
			// A bit of the age agrees with that of t.
			due &= l.ages[i][ages] ^ (uint64(t>>i&1) - 1)
		}
		due = bits.RotateLeft64(due, w.x*t)
		for i := range words {
			early := ^uint64(0)
			for range 4 {
				early &= l.rnd.Uint64()
			}
			dead := due | early
			l.dots[y][i] = l.dots[y][i]&^dead | (l.rnd.Uint64()^invert)&dead
		}
	}
}

func (l *layer) move(w way, words int) {
	switch {
	case w.y > 0:
		last := l.dots[layerRows-1]
		copy(l.dots[1:], l.dots[:])
		l.dots[0] = last
	case w.y < 0:
		first := l.dots[0]
		copy(l.dots[:], l.dots[1:])
		l.dots[layerRows-1] = first
	case w.x > 0:
		for y := range l.dots {
			r := l.dots[y][:words]
			carry := r[words-1] >> 63
			for i, v := range r {
				r[i] = v<<1 | carry
				carry = v >> 63
			}
		}
	case w.x < 0:
		for y := range l.dots {
			r := l.dots[y][:words]
			carry := r[0] << 63
			for i := words - 1; i >= 0; i-- {
				v := r[i]
				r[i] = v>>1 | carry
				carry = v << 63
			}
		}
	}
}
