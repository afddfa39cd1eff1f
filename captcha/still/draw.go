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

// letter is a glyph on its way to the canvas.
type letter struct {
	glyph   strokes.Glyph
	lattice [3][3]point // how far parts of the glyph are moved, in its units
	turn    [4]float64  // a matrix: scale, slant and rotation
	x, y    float64     // the middle
	width   float64     // what the letter takes up on the line
	radius  float64     // half the width of its strokes
	style   style
}

// draw draws text on an empty canvas.
func (c *canvas) draw(text []strokes.Glyph) {
	for i := range c.waves {
		c.waves[i] = c.newWave()
	}
	var letters [maxText]letter
	c.layOut(letters[:len(text)], text)
	radius := letters[0].radius
	// Behind, an outline would be one of too many.
	c.wander(0.7*radius, style{kind: []int{filled, textured}[c.rnd.IntN(2)], mask: c.rnd.IntN(numMasks)})
	for _, i := range c.rnd.Perm(len(text)) {
		c.follow(&letters[i])
		c.stroke(letters[i].radius, letters[i].style)
	}
	c.wander(0.3*radius, style{invert: true})
	c.invertParts()
}

// layOut chooses shape, place and style of all letters.
func (c *canvas) layOut(letters []letter, text []strokes.Glyph) {
	h := c.size.y
	unit := h * c.between(0.6, 0.66) / strokes.Height
	radius := h * c.between(0.046, 0.06)
	total := 0.0
	styles := c.rnd.Perm(numStyles)
	for i := range letters {
		l := &letters[i]
		l.glyph = text[i]
		for y := range l.lattice {
			for x := range l.lattice[y] {
				l.lattice[y][x] = point{c.about(0.5), c.about(0.5)}
			}
		}
		sx, sy := unit*c.between(0.82, 1.02), unit*c.between(0.9, 1.05)
		slant, sin := c.about(0.2), c.about(0.2)
		cos := math.Sqrt(1 - sin*sin)
		l.turn = [4]float64{cos * sx, (cos*slant - sin) * sy, sin * sx, (sin*slant + cos) * sy}
		l.radius = radius * c.between(0.9, 1.1)
		l.style = style{kind: styles[i%numStyles], mask: c.rnd.IntN(numMasks), margin: true}
		l.width = strokes.Width*sx + 2*l.radius + c.between(-0.6, 0.5)*radius
		l.y = h/2 + c.about(0.04)*h
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
		l.x = x + l.width*shrink/2
		x += l.width*shrink + air
	}
}

// follow makes the letter's strokes the path.
func (c *canvas) follow(l *letter) {
	for _, s := range l.glyph {
		c.flatten(s)
		for _, p := range c.scratch {
			m := l.moved(p)
			c.to(c.warped(point{
				l.x + l.turn[0]*m.x + l.turn[1]*m.y,
				l.y + l.turn[2]*m.x + l.turn[3]*m.y,
			}))
		}
		c.lift()
	}
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
// letters.
func (c *canvas) wander(radius float64, s style) {
	h := c.size.y
	side := c.between(0.15, 0.3)
	if c.rnd.IntN(2) == 0 {
		side = -side
	}
	line := strokes.Stroke{Curve: true}
	for x := -0.3 * h; x < c.size.x+0.6*h; x += h * c.between(0.5, 0.9) {
		line.Points = append(line.Points, strokes.Point{X: x, Y: h * (0.5 + side)})
		side = math.Copysign(c.between(0.05, 0.3), -side)
	}
	unit := h / 14
	for i := range line.Points {
		line.Points[i].X /= unit
		line.Points[i].Y /= unit
	}
	c.flatten(line)
	for _, p := range c.scratch {
		c.to(point{p.X * unit, p.Y * unit})
	}
	c.lift()
	c.stroke(radius, s)
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
