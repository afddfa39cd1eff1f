package main

import (
	"image"
	"image/gif"
)

// A film is its frames, cell by cell: 1 where it is lit.
type film struct {
	w, h   int
	frames [][]uint8
}

func cellsOf(g *gif.GIF) *film {
	f := &film{w: g.Config.Width, h: g.Config.Height}
	for _, m := range g.Image {
		cells := make([]uint8, f.w*f.h)
		for i, p := range m.Pix {
			cells[i] = p & 1
		}
		f.frames = append(f.frames, cells)
	}
	return f
}

// projections are what attackers make of a film.
var projections = []struct {
	name string
	of   func(f *film) *image.Gray
}{
	{"one frame", func(f *film) *image.Gray { return f.sum(1) }},
	{"mean of half a loop", func(f *film) *image.Gray { return f.sum(len(f.frames) / 2) }},
	{"mean of three quarters", func(f *film) *image.Gray { return f.sum(len(f.frames) * 3 / 4) }},
	{"changes, lag 1", func(f *film) *image.Gray { return f.changes(1) }},
	{"changes, lag 2", func(f *film) *image.Gray { return f.changes(2) }},
	{"optical flow", (*film).flow},
}

// sum is how often each cell is lit in the first n frames.
func (f *film) sum(n int) *image.Gray {
	values := make([]float64, f.w*f.h)
	for _, frame := range f.frames[:n] {
		for i, c := range frame {
			values[i] += float64(c)
		}
	}
	return newGray(f.w, f.h, values)
}

// changes is how often each cell is another than so many frames before, in half a
// loop: in all of it each changes as often.
func (f *film) changes(lag int) *image.Gray {
	values := make([]float64, f.w*f.h)
	for t := lag; t < len(f.frames)/2; t++ {
		for i := range values {
			values[i] += float64(f.frames[t][i] ^ f.frames[t-lag][i])
		}
	}
	return newGray(f.w, f.h, values)
}

// flow is how much better each cell's neighbourhood is explained by a movement
// than by the opposite one, over all frames, for the axis along which that says
// more.
func (f *film) flow() *image.Gray {
	var best []float64
	most := -1.0
	for _, axis := range [][2]int{{1, 0}, {0, 1}} {
		values := make([]float64, f.w*f.h)
		for t := range f.frames {
			next := f.frames[(t+1)%len(f.frames)]
			for y := 1; y < f.h-1; y++ {
				for x := 1; x < f.w-1; x++ {
					c := f.frames[t][y*f.w+x]
					if next[(y+axis[1])*f.w+x+axis[0]] == c {
						values[y*f.w+x]++
					}
					if next[(y-axis[1])*f.w+x-axis[0]] == c {
						values[y*f.w+x]--
					}
				}
			}
		}
		values = blurred(values, f.w, f.h, 1)
		energy := 0.0
		for _, v := range values {
			energy += v * v
		}
		if energy > most {
			best, most = values, energy
		}
	}
	// Which of the two the letters are is a matter of chance: the border is not.
	edge := 0.0
	for x := range f.w {
		edge += best[f.w+x] + best[(f.h-2)*f.w+x]
	}
	if edge > 0 {
		for i := range best {
			best[i] = -best[i]
		}
	}
	return newGray(f.w, f.h, best)
}

// blurred is the mean of the cells that are no further than r.
func blurred(values []float64, w, h, r int) []float64 {
	out := make([]float64, len(values))
	for y := range h {
		for x := range w {
			n := 0.0
			for dy := max(-r, -y); dy <= min(r, h-1-y); dy++ {
				for dx := max(-r, -x); dx <= min(r, w-1-x); dx++ {
					out[y*w+x] += values[(y+dy)*w+x+dx]
					n++
				}
			}
			out[y*w+x] /= n
		}
	}
	return out
}
