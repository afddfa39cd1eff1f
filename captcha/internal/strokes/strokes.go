// Package strokes is the font of the forms that draw: letters as the lines a pen
// would follow, without width or outline, for each form to bend and to thicken in
// its own way.
package strokes

import (
	"math"
	"strings"
)

// The font. A glyph is a few strokes; a stroke is a list of points on a grid of
// 9 by 13, written as two hexadecimal digits for x, from 0 at the left to 8, and
// y, from 0 at the top to c at the base line. A stroke that begins with ~ is a
// smooth curve through its points, and closed where it ends as it began; any
// other has straight edges. Other ways to write the same letter, the less plain
// ones, follow after |. Digits come first, then A to Z.
const font = `
	~40 71 86 7b 4c 1b 06 11 40
	13 40 4c, 1c 7c
	~03 11 40 71 83 67 0c, 0c 8c | 02 20 60 82 84 0c 8c | ~03 11 40 71 83 56 1b 0a 29 4b 6c 8b
	~02 20 60 82 74 46, ~46 76 89 6c 2c 0a | 00 80 45, ~45 76 89 6c 2c 0a | 02 20 60 82 84 66 36, 66 88 8a 6c 2c 0a
	60 09 89, 66 6c | 10 07 87, 63 6c | 80 08 88, 6c 64
	70 10 05, ~05 34 64 88 6c 2c 0a | 80 00 05 65 87 8a 6c 0c
	~70 32 07 1b 4c 7b 88 65 35 08 | ~60 34 07, ~07 35 65 88 7b 4c 1b 07 | 82 60 20 02 0a 2c 6c 8a 88 66 26 08
	00 80 3c
	~40 71 73 46 13 11 40, ~46 78 7b 4c 1b 18 46 | 20 60 82 84 66 26 04 02 20, 26 08 0a 2c 6c 8a 88 66 | ~81 50 21 13 46 79 7b 4c 1b 19 46 73 81
	~1c 5a 85 71 40 11 04 27 57 84 | ~84 60 20 03 06 28 67 84, 80 8c | 80 8a 6c 2c 0a, 80 20 02 05 27 67 85
	0c 40 8c, 18 78 | 0c 04, ~04 11 40 71 84, 84 8c, 07 87 | 0c 20 60 8c, 17 77
	00 0c, ~00 50 72 74 46 06, ~06 66 88 8a 6c 0c
	~82 60 30 04 08 3c 6c 8a | 82 60 20 02 0a 2c 6c 8a
	00 0c, ~00 40 74 78 4c 0c
	80 00 0c 8c, 06 66
	80 00 0c, 06 66
	~82 60 30 04 08 3c 6c 89, 57 87 8c
	00 0c, 80 8c, 06 86 | 00 0c, ~06 25 65 88, 88 8c
	40 4c, 10 70, 1c 7c
	30 80, ~70 75 79 5c 2c 09
	00 0c, 80 07, 35 8c | 00 0c, 80 06 8c
	00 0c 8c | 00 0a 2c 8c
	0c 00 47 80 8c | 0c 00 44 80 8c | 0c 02, ~02 20 44, 44 4b, ~44 60 82, 82 8c
	0c 00 8c 80 | 0c 20 6c 80
	~40 82 86 8a 4c 0a 06 02 40
	0c 00, ~00 50 81 84 57 07 | 0c 00 60 82 85 67 07
	~40 82 86 8a 4c 0a 06 02 40, 59 8c
	0c 00, ~00 50 81 84 57 07, 47 8c
	~82 60 20 03 25 66 89 6c 2c 0a
	00 80, 40 4c | 03 00 80 83, 40 4c
	~00 07 1b 4c 7b 87 80 | 00 0a 2c 6c 8a 80 | ~00 08 2c 6b 87, 80 8c
	00 4c 80
	00 2c 43 6c 80 | ~00 0a 2c 49, 49 44, ~49 6c 8a 80 | 00 2c 40 6c 80
	00 8c, 80 0c | ~00 46 0c, ~80 46 8c
	00 46 80, 46 4c | ~00 04 26 66 84, 80 89, ~89 6c 2c 0b
	00 80 0c 8c`

// Width and Height are where the points of a glyph end; they begin at 0.
const (
	Width  = 8
	Height = 12
)

const numGlyphs = 10 + 26

// A Font has the glyphs of each digit and each letter from A to Z.
type Font [numGlyphs][]Glyph

// A Glyph is the strokes of a letter.
type Glyph []Stroke

// A Stroke is a line through points, at least two: smooth if it is a curve, with
// straight edges otherwise.
type Stroke struct {
	Curve  bool
	Points []Point
}

// A Point has its y from the top downwards.
type Point struct{ X, Y float64 }

// Parse returns the font.
func Parse() *Font {
	f := new(Font)
	i := 0
	for line := range strings.Lines(strings.TrimSpace(font)) {
		for shape := range strings.SplitSeq(line, "|") {
			var g Glyph
			for part := range strings.SplitSeq(shape, ",") {
				part, curve := strings.CutPrefix(strings.TrimSpace(part), "~")
				s := Stroke{Curve: curve}
				for p := range strings.FieldsSeq(part) {
					s.Points = append(s.Points, Point{coordinate(p[0]), coordinate(p[1])})
				}
				g = append(g, s)
			}
			f[i] = append(f[i], g)
		}
		i++
	}
	return f
}

// coordinate trusts the font: a test parses it.
func coordinate(hex byte) float64 {
	return float64(strings.IndexByte("0123456789abc", hex))
}

// Glyph returns the plainest glyph of a digit or capital, or nil.
func (f *Font) Glyph(r byte) Glyph {
	if all := f.Glyphs(r); all != nil {
		return all[0]
	}
	return nil
}

// Glyphs returns all the ways to write a digit or capital, the plainest first, or
// nil.
func (f *Font) Glyphs(r byte) []Glyph {
	switch {
	case '0' <= r && r <= '9':
		return f[r-'0']
	case 'A' <= r && r <= 'Z':
		return f[r-'A'+10]
	}
	return nil
}

// Flatten appends points along the stroke, each no further than step from the one
// before as the crow flies between two points of the font, for straight lines to
// join them after they have been bent.
func (s Stroke) Flatten(dst []Point, step float64) []Point {
	p := s.Points
	for i := range len(p) - 1 {
		before, after := p[max(i-1, 0)], p[min(i+2, len(p)-1)]
		if s.closed() {
			before, after = p[(i+len(p)-2)%(len(p)-1)], p[(i+2)%(len(p)-1)]
		}
		if !s.Curve {
			before, after = p[i+1], p[i] // makes the spline below straight
		}
		steps := int(math.Ceil(math.Hypot(p[i+1].X-p[i].X, p[i+1].Y-p[i].Y) / step))
		for j := range steps {
			dst = append(dst, spline(before, p[i], p[i+1], after, float64(j)/float64(steps)))
		}
	}
	return append(dst, p[len(p)-1])
}

// closed reports whether the stroke ends where it begins.
func (s Stroke) closed() bool { return s.Points[0] == s.Points[len(s.Points)-1] }

// spline is the Catmull-Rom curve from b, at t = 0, to c, at t = 1.
func spline(a, b, c, d Point, t float64) Point {
	f := func(a, b, c, d float64) float64 {
		return b + t/2*(c-a+t*(2*a-5*b+4*c-d+t*(3*(b-c)+d-a)))
	}
	return Point{f(a.X, b.X, c.X, d.X), f(a.Y, b.Y, c.Y, d.Y)}
}
