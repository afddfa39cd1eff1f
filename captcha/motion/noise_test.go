package motion

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// A sample is a film to be measured. Each is from a seed of its own, so that the
// figures of two films are independent; and all seeds are fixed, so that what
// passes once passes always.
type sample struct {
	f     film
	cells [frames][height]row
}

func forFilms(t *testing.T, n int, measure func(*sample)) {
	t.Helper()
	d := newRenderer(t, Config{})
	for i := range n {
		s := &sample{f: *newFilm()}
		if err := s.f.begin(d.font, textOf(i, 5), seed(i)); err != nil {
			t.Fatal(err)
		}
		for j := range frames {
			s.cells[j] = *s.f.next()
		}
		measure(s)
	}
}

// at is a bit of a plane of cells; ok is false beyond the edges.
func (s *sample) at(cells *[height]row, x, y int) (bit int, ok bool) {
	if x < 0 || y < 0 || x >= s.f.width || y >= height {
		return 0, false
	}
	return int(cells[y][x/64] >> (x % 64) & 1), true
}

// A series is a figure that films have, expected to be 0.
type series struct{ n, sum, squares float64 }

func (s *series) add(x float64) { s.n++; s.sum += x; s.squares += x * x }

// deviation is Student's t: how far the mean is from 0, in its standard errors.
func (s *series) deviation() float64 {
	mean := s.sum / s.n
	return mean / math.Sqrt((s.squares/s.n-mean*mean)/(s.n-1))
}

type figures map[string]*series

func (f figures) add(name string, x float64) {
	if f[name] == nil {
		f[name] = new(series)
	}
	f[name].add(x)
}

// check fails the test for figures whose mean is not 0. With less than two
// hundred figures, one in a thousand runs with other seeds would see a deviation
// of 4.5 by chance.
func (f figures) check(t *testing.T) {
	t.Helper()
	if len(f) < 10 {
		t.Errorf("only %d figures", len(f))
	}
	for name, s := range f {
		// NaN if all were 0, which no noise is.
		if d := s.deviation(); !(math.Abs(d) < 4.5) {
			t.Errorf("%s: mean %.5f, which is %.1f standard errors from 0", name, s.sum/s.n, d)
		}
	}
}

var near = [...]way{{1, 0}, {0, 1}, {1, 1}, {1, -1}, {2, 0}, {0, 2}, {3, 0}, {0, 3}, {8, 0}, {0, 8}, {16, 0}, {0, 16}}

// measurePlane adds how dense a plane of bits is, and how much neighbours agree,
// within the letters, around them, and across their edges.
func (s *sample) measurePlane(f figures, name string, cells *[height]row) {
	region := [2]string{"around", "inside"}
	var lit, all [2]float64
	for y := range height {
		for x := range s.f.width {
			bit, _ := s.at(cells, x, y)
			in, _ := s.at(&s.f.letters, x, y)
			lit[in] += float64(bit)
			all[in]++
		}
	}
	for i := range region {
		f.add(name+", density "+region[i], lit[i]/all[i]-0.5)
	}
	for _, d := range near {
		var same, pairs [3]float64
		for y := range height {
			for x := range s.f.width {
				a, _ := s.at(cells, x, y)
				b, ok := s.at(cells, x+d.x, y+d.y)
				if !ok {
					continue
				}
				p, _ := s.at(&s.f.letters, x, y)
				q, _ := s.at(&s.f.letters, x+d.x, y+d.y)
				i := p
				if p != q {
					i = 2
				}
				pairs[i]++
				if a == b {
					same[i]++
				}
			}
		}
		for i, where := range [...]string{"around", "inside", "across"} {
			f.add(fmt.Sprintf("%s, agreement %s at %d,%d", name, where, d.x, d.y), same[i]/pairs[i]-0.5)
		}
	}
}

// A frame is noise, and so is what differs in place between two frames.
func TestFrame(t *testing.T) {
	f := make(figures)
	i := 0
	forFilms(t, 160, func(s *sample) {
		s.measurePlane(f, "frame", &s.cells[i%frames])
		for lag := 1; lag <= 4; lag++ {
			var xor [height]row
			for y := range xor {
				for x := range xor[y] {
					xor[y][x] = s.cells[i%frames][y][x] ^ s.cells[(i+lag)%frames][y][x]
				}
			}
			s.measurePlane(f, fmt.Sprintf("difference at lag %d", lag), &xor)
		}
		i++
	})
	f.check(t)
}

// A cell is what it was not eight frames before: whatever one computes from its
// sixteen frames without regard to their order is the same for all cells. And in
// half a loop it is a fair coin, inside of the letters and around them.
func TestThroughFrames(t *testing.T) {
	f := make(figures)
	forFilms(t, 400, func(s *sample) {
		for i := range frames {
			for y := range height {
				for x := range s.f.width {
					a, _ := s.at(&s.cells[i], x, y)
					b, _ := s.at(&s.cells[(i+frames/2)%frames], x, y)
					if a == b {
						t.Fatalf("frame %d: cell %d, %d is not the opposite of what it is eight frames later", i, x, y)
					}
				}
			}
		}
		var sums [2]struct{ n, mean, variance, dark, bright, changes float64 }
		for y := range height {
			for x := range s.f.width {
				lit, changes, last := 0, 0, 0
				for i := range frames / 2 {
					a, _ := s.at(&s.cells[i], x, y)
					lit += a
					if i > 0 {
						changes += a ^ last
					}
					last = a
				}
				in, _ := s.at(&s.f.letters, x, y)
				p := &sums[in]
				p.n++
				p.mean += float64(lit)
				p.variance += float64((lit - 4) * (lit - 4))
				p.changes += float64(changes)
				if lit <= 1 {
					p.dark++
				}
				if lit >= 7 {
					p.bright++
				}
			}
		}
		// Of 256 ways to throw eight coins, nine show at most one head.
		const tail = 9.0 / 256
		for i, where := range [...]string{"around", "inside"} {
			p := &sums[i]
			f.add("mean "+where, p.mean/p.n-4)
			f.add("variance "+where, p.variance/p.n-2)
			f.add("changes "+where, p.changes/p.n-3.5)
			f.add("dark "+where, p.dark/p.n-tail)
			f.add("bright "+where, p.bright/p.n-tail)
		}
	})
	f.check(t)
}

// What moves is there, all the time: a cell agrees with the next frame's at
// where it moves to as often as dots live on, also from the last frame to the
// first; and after the eight frames of a life by chance alone.
func TestMovement(t *testing.T) {
	// A dot is replaced with a chance of 1/8 by its age and 1/16 else; half of
	// the new ones are like the old.
	const lives = 7.0 / 8 * 15 / 16
	var agree [9][frames]float64
	const n = 100
	forFilms(t, n, func(s *sample) {
		for lag := range agree {
			for i := range frames {
				var same, all float64
				for y := range height {
					for x := range s.f.width {
						in, _ := s.at(&s.f.letters, x, y)
						d := way{s.f.way.x * lag, s.f.way.y * lag}
						if in == 0 {
							d = way{-d.x, -d.y}
						}
						if to, ok := s.at(&s.f.letters, x+d.x, y+d.y); !ok || to != in {
							continue
						}
						a, _ := s.at(&s.cells[i], x, y)
						b, _ := s.at(&s.cells[(i+lag)%frames], x+d.x, y+d.y)
						all++
						if a == b {
							same++
						}
					}
				}
				agree[lag][i] += same / all / n
			}
		}
	})
	for i := range frames {
		if got, want := agree[1][i], 0.5+lives/2; math.Abs(got-want) > 0.005 {
			t.Errorf("frame %d and the next agree in %.3f, want %.3f", i, got, want)
		}
		if got := agree[8][i]; math.Abs(got-0.5) > 0.01 {
			t.Errorf("frame %d and eight later agree in %.3f", i, got)
		}
	}
}

// A dot that left is not back before it has died, and the layer closes: states
// 16 steps apart are the same, in any width and way.
func TestLoop(t *testing.T) {
	for words := 1; words <= len(row{}); words++ {
		for _, w := range ways {
			var l layer
			l.begin(newFilm().chacha)
			for y := range l.dots { // what was there before
				l.dots[y] = row{1, 2, 3, 4}
			}
			var seen [3 * frames][layerRows]row
			for i := range seen {
				l.step(i, w, words)
				for y := range l.dots {
					copy(seen[i][y][:words], l.dots[y][:words])
				}
			}
			for i := life; i+frames < len(seen); i++ {
				if seen[i] != seen[i+frames] {
					t.Errorf("%d words, way %v: step %d is not step %d", words, w, i, i+frames)
				}
			}
			if slices.ContainsFunc(seen[life:life+frames-1], func(c [layerRows]row) bool { return c == seen[life+frames-1] }) {
				t.Error("the loop is shorter than it should be")
			}
		}
	}
}

// Programs that read the film by a projection of it: what they look at is a
// number per cell, averaged over the neighbourhood.
var projections = []struct {
	name  string
	reads bool
	cell  func(s *sample, x, y int) float64
}{
	{"flow", true, func(s *sample, x, y int) float64 {
		sum := 0
		for i := range frames {
			a, _ := s.at(&s.cells[i], x, y)
			next := &s.cells[(i+1)%frames]
			if b, ok := s.at(next, x+s.f.way.x, y+s.f.way.y); ok && a == b {
				sum++
			}
			if b, ok := s.at(next, x-s.f.way.x, y-s.f.way.y); ok && a == b {
				sum--
			}
		}
		return float64(sum)
	}},
	{"first frame", false, func(s *sample, x, y int) float64 {
		a, _ := s.at(&s.cells[0], x, y)
		return float64(a)
	}},
	{"mean of a half", false, func(s *sample, x, y int) float64 { return s.lit(x, y) }},
	{"variance of a half", false, func(s *sample, x, y int) float64 { return (s.lit(x, y) - 4) * (s.lit(x, y) - 4) }},
	{"changes", false, func(s *sample, x, y int) float64 { return s.changes(x, y, 1) }},
	{"changes at lag 2", false, func(s *sample, x, y int) float64 { return s.changes(x, y, 2) }},
	{"changes at lag 3", false, func(s *sample, x, y int) float64 { return s.changes(x, y, 3) }},
	// Always eight: what changes in half a loop does not in the other.
	{"changes at lag 4", false, func(s *sample, x, y int) float64 { return s.changes(x, y, 4) }},
	{"first difference", false, func(s *sample, x, y int) float64 {
		a, _ := s.at(&s.cells[0], x, y)
		b, _ := s.at(&s.cells[1], x, y)
		return float64(a ^ b)
	}},
	{"texture of a frame", false, func(s *sample, x, y int) float64 {
		a, _ := s.at(&s.cells[0], x, y)
		b, _ := s.at(&s.cells[0], x+s.f.way.x, y+s.f.way.y)
		return float64(a ^ b)
	}},
}

// lit is in how many of eight frames a cell is lit: in all it is in eight.
func (s *sample) lit(x, y int) float64 {
	sum := 0
	for i := range frames / 2 {
		a, _ := s.at(&s.cells[i], x, y)
		sum += a
	}
	return float64(sum)
}

func (s *sample) changes(x, y, lag int) float64 {
	sum := 0
	for i := range frames {
		a, _ := s.at(&s.cells[i], x, y)
		b, _ := s.at(&s.cells[(i+lag)%frames], x, y)
		sum += a ^ b
	}
	return float64(sum)
}

// The letters are in the flow, where a simple matching with letters that are
// known finds them, and in no other projection, where it does no better than
// guessing. What it does in the flow is also the proof that it would find them.
func TestProjections(t *testing.T) {
	// Without the two letters for which others make room: then each has its
	// place.
	const letters = "23456789ACEHJKLNPTUXY"
	d := newRenderer(t, Config{})

	// Templates: for each letter, how often a cell was part of it.
	templates := make([][]float64, len(letters))
	for i := range letters {
		templates[i] = make([]float64, pitch*height)
		for j := range 60 {
			f := newFilm()
			text := []byte{letters[i], letters[i], letters[i]}
			if err := f.begin(d.font, string(text), seed(10_000+j)); err != nil {
				t.Fatal(err)
			}
			for k := range templates[i] {
				x := pitch + k%pitch
				templates[i][k] += float64(f.letters[k/pitch][x/64] >> (x % 64) & 1)
			}
		}
		normalise(templates[i])
	}

	const films, length = 60, 5
	hits := make([]int, len(projections))
	rnd := rand.New(rand.NewPCG(5, 6))
	for i := range films {
		text := make([]byte, length)
		for j := range text {
			text[j] = letters[rnd.IntN(len(letters))]
		}
		s := &sample{f: *newFilm()}
		if err := s.f.begin(d.font, string(text), seed(i)); err != nil {
			t.Fatal(err)
		}
		for j := range frames {
			s.cells[j] = *s.f.next()
		}
		for p, projection := range projections {
			raw := make([]float64, s.f.width*height)
			for k := range raw {
				raw[k] = projection.cell(s, k%s.f.width, k/s.f.width)
			}
			smooth := blur(raw, s.f.width)
			for j, want := range text {
				part := make([]float64, 0, pitch*height)
				for y := range height {
					part = append(part, smooth[y*s.f.width+j*pitch:][:pitch]...)
				}
				normalise(part)
				best, read := math.Inf(-1), byte(0)
				for l, template := range templates {
					sum := 0.0
					for k := range part {
						sum += part[k] * template[k]
					}
					// Light on dark or dark on light: only the flow says which.
					if !projection.reads {
						sum = math.Abs(sum)
					}
					if sum > best {
						best, read = sum, letters[l]
					}
				}
				if read == want {
					hits[p]++
				}
			}
		}
	}
	for p, projection := range projections {
		share := float64(hits[p]) / (films * length)
		t.Logf("%s: %.1f %% of letters", projection.name, 100*share)
		// Guessing is right in 4.8 % of 300 letters, give or take 1.2.
		if projection.reads && share < 0.9 || !projection.reads && share > 0.1 {
			t.Errorf("%s: %.1f %% of letters are read", projection.name, 100*share)
		}
	}
}

// normalise gives v a mean of 0 and a length of 1.
func normalise(v []float64) {
	sum, squares := 0.0, 0.0
	for _, x := range v {
		sum += x
	}
	for i := range v {
		v[i] -= sum / float64(len(v))
		squares += v[i] * v[i]
	}
	for i := range v {
		v[i] /= math.Sqrt(squares)
	}
}

// blur averages over 5 by 5 cells.
func blur(v []float64, w int) []float64 {
	out := make([]float64, len(v))
	for i := range v {
		n := 0.0
		for y := max(i/w-2, 0); y <= min(i/w+2, len(v)/w-1); y++ {
			for x := max(i%w-2, 0); x <= min(i%w+2, w-1); x++ {
				out[i] += v[y*w+x]
				n++
			}
		}
		out[i] /= n
	}
	return out
}
