package speech

import "math"

// resample appends src, played faster by a factor: fewer samples, at a higher
// pitch. Between samples it follows a cubic curve (Catmull and Rom), which dulls
// the heights less than straight lines would.
func resample(dst, src []int16, faster int) []int16 {
	for at := one; at < (len(src)-3)*one; at += faster {
		i, t := at>>bits, int64(at&(one-1))
		a, b, c, d := int64(src[i-1]), int64(src[i]), int64(src[i+1]), int64(src[i+2])
		x := 3*(b-c) + d - a
		x = 2*a - 5*b + 4*c - d + x*t>>bits
		x = c - a + x*t>>bits
		x = b + x*t>>(bits+1)
		dst = append(dst, int16(min(max(x, -1<<15), 1<<15-1)))
	}
	return dst
}

// stretch appends src, said slower or faster at the same pitch, to take about n
// samples. It is what W. Verhelst and M. Roelands called WSOLA (ICASSP 1993):
// pieces of src are faded into each other, each taken from near its place, where
// it best agrees with how the one before would go on.
func stretch(dst, src []int16, n int) []int16 {
	const (
		piece  = second / 50  // 20 ms
		search = second / 200 // either way: together a period of 100 Hz
		coarse = 4            // samples: where it is roughly, and then exactly
	)
	last := len(src) - 2*piece // where a piece that can go on may begin
	pieces := n/piece - 2
	if last <= 0 || pieces <= 0 {
		return append(dst, src...)
	}
	dst = append(dst, src[:piece]...)
	from := 0
	for k := 1; k <= pieces; k++ {
		on := src[from+piece:][:piece]
		place := k * last / pieces
		from = nearest(on, src[:last+piece], place-search, place+search, coarse)
		from = nearest(on, src[:last+piece], from-coarse+1, from+coarse-1, 1)
		for i, x := range src[from:][:piece] {
			dst = append(dst, int16((int(on[i])*(piece-i)+int(x)*i)/piece))
		}
	}
	return append(dst, src[from+piece:]...)
}

// nearest returns where in src, of every step'th place between two, there is what
// differs least from piece.
func nearest(piece, src []int16, from, to, step int) (at int) {
	const every = 4 // samples: for comparing, some do
	least := math.MaxInt
	for start := max(from, 0); start <= min(to, len(src)-len(piece)); start += step {
		other := src[start:][:len(piece)]
		sum := 0
		for i := 0; i < len(piece); i += every {
			d := int(piece[i]) - int(other[i])
			sum += max(d, -d)
		}
		if sum < least {
			least, at = sum, start
		}
	}
	return at
}
