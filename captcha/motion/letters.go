package motion

import (
	"math"

	"github.com/seed-64ad3862/gatehouse/captcha/internal/strokes"
)

// pen draws the letters. Points are worked out in cells; the cells that a line
// covers are decided in integers, because processors may round the sums of
// products differently (Go lets them fuse the two operations), and the film has
// to be the same everywhere.
type pen struct {
	points []strokes.Point
	waves  [4]wave
}

// subcell is a point, in sixteenths of a cell, and half the width of the line
// from there on.
type subcell struct{ x, y, radius int }

const sub = 16

// A wave moves points, by up to half a cell.
type wave struct{ freq, phase float64 }

func (w wave) at(x float64) float64 { return 0.5 * math.Sin(w.freq*x+w.phase) }

// between returns a random number from a to b.
func (f *film) between(a, b float64) float64 { return a + (b-a)*f.rnd.Float64() }

// draw decides which cells are letters. Their lines are about five cells wide,
// for the eye needs some surface to see a movement; they wobble, so that the
// edges, which are all that a program may find without following the movement,
// have no clean outline.
func (f *film) draw(font *strokes.Font, text string) {
	f.letters = [height]row{}
	p := &f.pen
	for i := range p.waves {
		p.waves[i] = wave{2 * math.Pi / f.between(30, 70), f.between(0, 2*math.Pi)}
	}
	total := 0.0
	for i := range len(text) {
		total += breadth(text[i])
	}
	left := 0.0
	for i := range len(text) {
		room := breadth(text[i]) / total * float64(f.width)
		sx, sy := (room-5)/strokes.Width*f.between(0.8, 0.92), f.between(2.4, 2.65)
		sin, slant := f.between(-0.15, 0.15), f.between(-0.08, 0.08)
		cos := math.Sqrt(1 - sin*sin)
		x0 := left + room/2 + f.between(-0.7, 0.7)
		left += room
		y0 := height/2.0 + f.between(-1, 1)
		for _, s := range font.Glyph(text[i]) {
			p.points = s.Flatten(p.points[:0], 1.2)
			var last subcell
			for j, q := range p.points {
				qx, qy := (q.X-strokes.Width/2)*sx, (q.Y-strokes.Height/2)*sy
				qx += slant * qy
				x, y := x0+cos*qx-sin*qy, y0+sin*qx+cos*qy
				w := &p.waves
				to := subcell{
					x:      cell(x + w[0].at(y) + w[1].at(x+y/2) + f.between(-0.5, 0.5)),
					y:      cell(y + w[2].at(x) + w[3].at(y-x/2) + f.between(-0.5, 0.5)),
					radius: cell(f.between(1.9, 2.9)),
				}
				if j > 0 {
					f.line(last, to)
				}
				last = to
			}
		}
	}
}

// breadth is the room for a letter on the line, in proportion to others.
func breadth(letter byte) float64 {
	if letter == 'M' || letter == 'W' {
		return 1.3
	}
	return 1
}

func cell(x float64) int { return int(math.Round(x * sub)) }

// line marks the cells whose middle is within a's radius of the line from a to b.
func (f *film) line(a, b subcell) {
	r := a.radius
	x0, x1 := max((min(a.x, b.x)-r)/sub, 0), min((max(a.x, b.x)+r)/sub+1, f.width)
	y0, y1 := max((min(a.y, b.y)-r)/sub, 0), min((max(a.y, b.y)+r)/sub+1, height)
	dx, dy := b.x-a.x, b.y-a.y
	square := dx*dx + dy*dy
	for y := y0; y < y1; y++ {
		for x := x0; x < x1; x++ {
			// The middle as seen from a, then along and across the line.
			ex, ey := x*sub+sub/2-a.x, y*sub+sub/2-a.y
			along, across := ex*dx+ey*dy, ex*dy-ey*dx
			var in bool
			switch {
			case along <= 0:
				in = ex*ex+ey*ey <= r*r
			case along >= square:
				ex, ey = ex-dx, ey-dy
				in = ex*ex+ey*ey <= r*r
			default:
				in = across*across <= r*r*square
			}
			if in {
				f.letters[y][x/64] |= 1 << (x % 64)
			}
		}
	}
}
