package still

import (
	"image"
	"math"
	"math/rand/v2"

	"github.com/seed-64ad3862/gatehouse/captcha/internal/strokes"
)

type point struct{ x, y float64 }

// canvas is the working memory for one picture, used again for the next. Its
// pixels are levels from 0, paper, to full, ink: enough of them for smooth
// edges, and few enough for small files.
type canvas struct {
	raster
	size    point
	waves   [4]wave
	bends   []strokes.Point // of a line
	scratch []strokes.Point
	chacha  *rand.ChaCha8
	rnd     *rand.Rand
	gif     gifWriter
}

const (
	levelBits = 3
	levels    = 1 << levelBits
	full      = levels - 1
)

func newCanvas(w, h int, roots *[numRoots]uint8) *canvas {
	c := &canvas{
		raster: raster{
			img:   image.Paletted{Pix: make([]uint8, w*h), Stride: w, Rect: image.Rect(0, 0, w, h)},
			dist:  make([]uint16, w*h),
			roots: roots,
		},
		size:   point{float64(w), float64(h)},
		chacha: rand.NewChaCha8([32]byte{}),
	}
	c.rnd = rand.New(c.chacha)
	for i := range c.dist {
		c.dist[i] = far
	}
	return c
}

// between returns a random number from a to b.
func (c *canvas) between(a, b float64) float64 { return a + (b-a)*c.rnd.Float64() }

// about returns a random number from -a to a.
func (c *canvas) about(a float64) float64 { return c.between(-a, a) }

// radius returns half the width that lines have in this picture, more or less.
func (c *canvas) radius() float64 { return c.size.y * c.between(0.039, 0.051) }

// letter is a glyph on its way to the canvas.
type letter struct {
	glyph   strokes.Glyph
	serifs  bool
	lattice [3][3]point // how far parts of the glyph are moved, in its units
	turn    [4]float64  // a matrix: scale, slant and rotation
	x, y    float64     // the middle
	width   float64     // what the letter takes up on the line
	radius  float64     // half the width of its strokes
	style   style
}

// numLines is how many lines are behind the letters. A letter clears a margin
// around itself, so that a reader is hardly hindered by any number of them; a
// program has to learn that they are not strokes of letters.
const numLines = 8

// draw draws text, of whose letters any way to write them will do, on an empty
// canvas.
func (c *canvas) draw(text [][]strokes.Glyph) {
	for i := range c.waves {
		c.waves[i] = c.newWave()
	}
	var letters [maxText]letter
	c.layOut(letters[:len(text)], text)
	for range numLines {
		c.wander()
	}
	for _, i := range c.rnd.Perm(len(text)) {
		c.follow(&letters[i])
		c.stroke(letters[i].radius, letters[i].style)
	}
	c.invertParts()
}

// layOut chooses shape, place and style of all letters.
func (c *canvas) layOut(letters []letter, text [][]strokes.Glyph) {
	h := c.size.y
	unit := h * c.between(0.56, 0.62) / strokes.Height
	radius := c.radius()
	total := 0.0
	styles := c.rnd.Perm(numStyles)
	for i := range letters {
		l := &letters[i]
		l.glyph = text[i][c.rnd.IntN(len(text[i]))]
		l.serifs = c.rnd.IntN(4) == 0
		for y := range l.lattice {
			for x := range l.lattice[y] {
				l.lattice[y][x] = point{c.about(0.5), c.about(0.5)}
			}
		}
		size := unit * c.between(0.7, 1)
		sx, sy := size*c.between(0.76, 1.2), size*c.between(0.9, 1.05)
		slant, sin := c.about(0.35), c.about(0.34)
		cos := math.Sqrt(1 - sin*sin)
		l.turn = [4]float64{cos * sx, (cos*slant - sin) * sy, sin * sx, (sin*slant + cos) * sy}
		l.radius = radius * c.between(0.65, 1.2)
		l.style = style{kind: styles[i%numStyles], mask: c.rnd.IntN(numMasks), margin: true}
		l.width = strokes.Width*sx + 2*l.radius + c.between(-0.2, 0.8)*radius
		l.y = h/2 + c.about(0.12)*h
		total += l.width
	}
	// Too many letters get smaller; few get some air.
	room := c.size.x - 0.2*h
	shrink := min(1, room/total)
	air := max(0, room-total) / float64(len(letters)+1)
	x := (c.size.x-min(total, room)-air*float64(len(letters)-1))/2 + c.about(air)
	for i := range letters {
		l := &letters[i]
		for j := range l.turn {
			l.turn[j] *= shrink
		}
		l.radius *= math.Sqrt(shrink)
		// Slanted and turned, a letter needs more than its width, and may not
		// get out of the picture.
		w, tall := strokes.Width/2.0, strokes.Height/2.0
		if l.serifs {
			w += serif
		}
		dx := math.Abs(l.turn[0])*w + math.Abs(l.turn[1])*tall + 0.08*h
		dy := math.Abs(l.turn[2])*w + math.Abs(l.turn[3])*tall + 0.08*h
		l.x = min(max(x+l.width*shrink/2, dx), c.size.x-dx)
		l.y = min(max(l.y, dy), h-dy)
		x += l.width*shrink + air
	}
}

// serif is half the width of a serif, in units of the glyph.
const serif = 1.4

// follow makes the letter's strokes the path.
func (c *canvas) follow(l *letter) {
	for _, s := range l.glyph {
		c.flatten(s)
		for _, p := range c.scratch {
			c.pass(l, p)
		}
		c.lift()
		if !l.serifs {
			continue
		}
		for _, p := range [...]strokes.Point{s.Points[0], s.Points[len(s.Points)-1]} {
			if p.Y == 0 || p.Y == strokes.Height {
				c.pass(l, strokes.Point{X: p.X - serif, Y: p.Y})
				c.pass(l, strokes.Point{X: p.X + serif, Y: p.Y})
				c.lift()
			}
		}
	}
}

// pass lets the path go on to a point of the letter.
func (c *canvas) pass(l *letter, p strokes.Point) {
	m := l.moved(p)
	c.to(c.warped(point{
		l.x + l.turn[0]*m.x + l.turn[1]*m.y,
		l.y + l.turn[2]*m.x + l.turn[3]*m.y,
	}))
}

// moved returns a point of the glyph, relative to its middle, moved as the
// nearest points of the lattice say.
func (l *letter) moved(p strokes.Point) point {
	fx, fy := p.X/strokes.Width*2, p.Y/strokes.Height*2
	ix, iy := min(max(int(fx), 0), 1), min(max(int(fy), 0), 1)
	fx, fy = fx-float64(ix), fy-float64(iy)
	a, b := l.lattice[iy][ix], l.lattice[iy][ix+1]
	d, e := l.lattice[iy+1][ix], l.lattice[iy+1][ix+1]
	return point{
		p.X - strokes.Width/2 + (1-fy)*((1-fx)*a.x+fx*b.x) + fy*((1-fx)*d.x+fx*e.x),
		p.Y - strokes.Height/2 + (1-fy)*((1-fx)*a.y+fx*b.y) + fy*((1-fx)*d.y+fx*e.y),
	}
}

// flatten leaves a stroke in c.scratch as points near enough to each other to
// be joined by straight lines after everything has been bent.
func (c *canvas) flatten(s strokes.Stroke) {
	step := 4.0
	if s.Curve {
		step = 1.7
	}
	c.scratch = s.Flatten(c.scratch[:0], step)
}

// A wave moves points up and down along x, or left and right along y.
type wave struct{ height, freq, phase float64 }

func (c *canvas) newWave() wave {
	return wave{
		height: c.size.y * c.between(0.01, 0.025),
		freq:   2 * math.Pi / (c.size.y * c.between(0.8, 2)),
		phase:  c.between(0, 2*math.Pi),
	}
}

func (w wave) at(x float64) float64 { return w.height * math.Sin(w.freq*x+w.phase) }

// warped applies the warp that all letters share.
func (c *canvas) warped(p point) point {
	w := &c.waves
	return point{p.x + w[0].at(p.y) + w[1].at(p.y+p.x/2), p.y + w[2].at(p.x) + w[3].at(p.x-p.y/2)}
}

// wander draws a line through the whole picture, with bends like those of
// letters. Most lines stay near the middle; one in eight goes up and down all of
// the picture.
func (c *canvas) wander() {
	h := c.size.y
	near, off, short, long := 0.05, 0.3, 0.5, 0.9 // in parts of the height
	if c.rnd.IntN(8) == 0 {
		near, off, short, long = 0.1, 0.5, 0.25, 0.7
	}
	unit := h / 14 // flatten works on the scale of glyphs
	side := c.between(near, off)
	if c.rnd.IntN(2) == 0 {
		side = -side
	}
	line := strokes.Stroke{Curve: true, Points: c.bends[:0]}
	for x := -0.3 * h; x < c.size.x+0.6*h; x += h * c.between(short, long) {
		line.Points = append(line.Points, strokes.Point{X: x / unit, Y: h * (0.5 + side) / unit})
		side = math.Copysign(c.between(near, off), -side)
	}
	c.bends = line.Points
	c.flatten(line)
	for _, p := range c.scratch {
		c.to(point{p.X * unit, p.Y * unit})
	}
	c.lift()
	c.stroke(c.radius()*c.between(0.25, 1), style{kind: c.rnd.IntN(numStyles), mask: c.rnd.IntN(numMasks)})
}

// invertParts swaps paper and ink between two wavy lines and within a disc.
func (c *canvas) invertParts() {
	w, h := c.size.x, c.size.y
	left, right := c.newWave(), c.newWave()
	x := c.between(0, 0.8) * w
	width := c.between(0.15, 0.3) * w
	var disc point
	disc.x, disc.y = c.between(0, w), c.between(0, h)
	r := c.between(0.2, 0.42) * h
	for y := range int(h) {
		fy := float64(y) + 0.5
		c.invertRow(y, x+2*left.at(fy), x+width+2*right.at(fy))
		if d := r*r - (fy-disc.y)*(fy-disc.y); d > 0 {
			d = math.Sqrt(d)
			c.invertRow(y, disc.x-d, disc.x+d)
		}
	}
}
