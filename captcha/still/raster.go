package still

import (
	"image"
	"math"
)

// raster draws lines on a picture. Paths are given in sixteenths of a pixel,
// and from there on all is integer arithmetic: processors may round the sums of
// products differently (Go lets them fuse the two operations), and the picture
// has to be the same everywhere.
type raster struct {
	img  image.Paletted
	path []subpixel // what the next stroke follows

	// dist is, while a path is drawn, how far each pixel is from it: the
	// square, in units of distUnit. At other times everything is further away
	// than a line can reach.
	dist  []uint16
	roots *[numRoots]uint8

	// rows are, while a path is drawn, those in which it is near, for each
	// strip of the picture. A line goes through few of them in each.
	rows [maxWidth/strip + 1]struct{ from, to int32 }
}

type subpixel struct{ x, y int32 }

const (
	sub      = 16            // subpixels per pixel
	distUnit = sub * sub / 8 // squared subpixels per unit of dist
	far      = math.MaxUint16
	strip    = 16 // pixels, a multiple of the patterns' width
	numRoots = 256 * 256 / distUnit
)

// lifted in a path means that the pen does not draw to the next point.
var lifted = subpixel{math.MinInt32, math.MinInt32}

// squareRoots returns the distance, in sixteenths of a pixel, for each dist.
// What is beyond is beyond any line.
func squareRoots() *[numRoots]uint8 {
	t := new([numRoots]uint8)
	for i := range t {
		t[i] = uint8(math.Sqrt(float64(i * distUnit)))
	}
	return t
}

// to lets the path go on to p.
func (r *raster) to(p point) {
	r.path = append(r.path, subpixel{int32(math.Round(p.x * sub)), int32(math.Round(p.y * sub))})
}

// lift ends a line of the path.
func (r *raster) lift() { r.path = append(r.path, lifted) }

// The styles: how a stroke looks across and along itself.
const (
	filled   = iota
	hollow   // two lines
	inlined  // three parts, the middle one is paper
	textured // a pattern between two lines
	carved   // paper between two thick lines
	numStyles
)

type style struct {
	kind   int
	mask   int  // the pattern of a textured stroke
	margin bool // clear some paper around the stroke
}

// masks are the patterns, as bits of 8 by 8 pixels.
var masks = [...][8]uint8{
	{0x33, 0x66, 0xcc, 0x99, 0x33, 0x66, 0xcc, 0x99}, // rising hatch
	{0xcc, 0x66, 0x33, 0x99, 0xcc, 0x66, 0x33, 0x99}, // falling hatch
	{0xff, 0xff, 0x00, 0x00, 0xff, 0xff, 0x00, 0x00}, // bars
	{0x66, 0x66, 0x00, 0x99, 0x99, 0x00, 0x66, 0x66}, // dots
	{0xcc, 0xcc, 0x33, 0x33, 0xcc, 0xcc, 0x33, 0x33}, // checks
}

const numMasks = len(masks)

// stroke draws the path, half as wide as radius pixels, and empties it.
func (r *raster) stroke(radius float64, s style) {
	var l look
	r.measure(l.set(int(math.Round(radius*sub)), s))
	mask := &masks[s.mask]
	w := r.img.Stride
	for i := range r.rows[:(w+strip-1)/strip] {
		rows := &r.rows[i]
		for y := int(rows.from); y < int(rows.to); y++ {
			from, to := y*w+i*strip, y*w+min((i+1)*strip, w)
			dist := r.dist[from:to]
			pix := r.img.Pix[from:to]
			bits := mask[y&7]
			for x, q := range dist {
				if q >= numRoots {
					continue
				}
				dist[x] = far
				d := r.roots[q]
				switch cover := l.cover[d]; cover {
				case 0:
				case sub:
					pix[x] = l.ink[bits>>(x&7)&1][d]
				default:
					pix[x] = blend(pix[x], l.ink[bits>>(x&7)&1][d], cover)
				}
			}
		}
		rows.from, rows.to = 0, 0
	}
	r.path = r.path[:0]
}

// look is a style at each distance from the middle line.
type look struct {
	cover [256]uint8    // how much of what was there is covered, from 0 to sub
	ink   [2][256]uint8 // the level, for both values of the pattern's bit
}

// set fills in the look, and returns the distance from which on it covers
// nothing. All distances are in subpixels.
func (l *look) set(radius int, s style) int {
	// Letters clear a margin around themselves, as if cut out of paper: this
	// is what keeps those that overlap apart.
	margin := 0
	if s.margin {
		margin = min(radius/3, math.MaxUint8-sub/2-radius) // all has to end within the table
	}
	rim := max(radius*2/5, sub)
	// within is how much of a pixel at distance d is within r, of full.
	within := func(d, r, full int) uint8 {
		return uint8(min(max((r-d)*full/sub+full/2, 0), full))
	}
	reach := radius + margin + sub/2
	for d := range reach {
		l.cover[d] = within(d, radius+margin, sub)
		all := within(d, radius, full)
		outline := all - within(d, radius-rim, full)
		switch s.kind {
		case filled:
			l.ink[0][d], l.ink[1][d] = all, all
		case hollow:
			l.ink[0][d], l.ink[1][d] = outline, outline
		case inlined:
			in := all - within(d, radius/3, full)
			l.ink[0][d], l.ink[1][d] = in, in
		case carved:
			thick := within(d, radius+margin, full) - within(d, radius*3/5, full)
			l.ink[0][d], l.ink[1][d] = thick, thick
		case textured:
			l.ink[0][d], l.ink[1][d] = outline, all
		}
	}
	return reach
}

// measure lowers dist to the distance from the path, up to reach.
func (r *raster) measure(reach int) {
	start := true
	for i := 1; i < len(r.path); i++ {
		if a, b := r.path[i-1], r.path[i]; a != lifted && b != lifted {
			r.segment(a, b, int32(reach), start)
			start = false
		} else {
			start = true
		}
	}
}

// segment lowers dist to the distance from the line between a and b. Beyond a
// it does so only if a is where the pen was set down: elsewhere the segment
// before has done it.
func (r *raster) segment(a, b subpixel, reach int32, start bool) {
	x0, x1 := max((min(a.x, b.x)-reach)/sub, 0), min((max(a.x, b.x)+reach)/sub+1, int32(r.img.Rect.Max.X))
	y0, y1 := max((min(a.y, b.y)-reach)/sub, 0), min((max(a.y, b.y)+reach)/sub+1, int32(r.img.Rect.Max.Y))
	if x0 >= x1 || y0 >= y1 {
		return
	}
	for i := x0 / strip; i <= (x1-1)/strip; i++ {
		rows := &r.rows[i]
		if rows.from == rows.to {
			rows.from, rows.to = y0, y1
		}
		rows.from, rows.to = min(rows.from, y0), max(rows.to, y1)
	}
	left, right := start, true
	if a.x > b.x {
		a, b, left, right = b, a, right, left
	}
	dx, dy := b.x-a.x, b.y-a.y
	square := dx*dx + dy*dy
	const shift = 18
	length := max(int32(math.Sqrt(float64(square))), 1)
	inverse := (1<<shift + length/2) / length
	step := sub * dx
	for y := y0; y < y1; y++ {
		row := r.dist[int(y)*r.img.Stride:][x0:x1]
		// The first pixel's middle as seen from a, and then along and across
		// the line. In a row, pixels beyond a come first, then those beside
		// the line, from i to j, then those beyond b.
		ex, ey := x0*sub+sub/2-a.x, y*sub+sub/2-a.y
		along, across := ex*dx+ey*dy, ex*dy-ey*dx
		var i, j int
		if step > 0 {
			i = min(max(int((step-1-along)/step), 0), len(row))
			j = min(max(int((step-1+square-along)/step), i), len(row))
		} else {
			if along < 0 {
				i = len(row)
			}
			if j = i; along < square {
				j = len(row)
			}
		}
		if left {
			lower(row[:i], ex, ey)
		}
		across += int32(i) * sub * dy
		for x, old := range row[i:j] {
			q := across * inverse >> shift
			row[i+x] = min(old, uint16(min(uint32(q*q)/distUnit, far)))
			across += sub * dy
		}
		if right {
			lower(row[j:], ex+int32(j)*sub-dx, ey-dy)
		}
	}
}

// lower lowers dist in a row, whose first pixel is at (x, y), to the distance
// from (0, 0).
func lower(row []uint16, x, y int32) {
	for i, old := range row {
		row[i] = min(old, uint16(min(uint32(x*x+y*y)/distUnit, far)))
		x += sub
	}
}

// invertRow swaps paper and ink from x0 to x1 in row y.
func (r *raster) invertRow(y int, x0, x1 float64) {
	row := r.img.Pix[y*r.img.Stride:][:r.img.Stride]
	end := len(row) * sub
	a, b := min(max(int(math.Round(x0*sub)), 0), end), min(max(int(math.Round(x1*sub)), 0), end)
	if a/sub >= b/sub {
		return // less than a pixel, or nothing
	}
	for i, v := range row[a/sub : b/sub] {
		row[a/sub+i] = full - v
	}
	// At the ends some of a pixel has to be put back, and some is missing.
	row[a/sub] = blend(row[a/sub], full-row[a/sub], uint8(a%sub))
	if b < end {
		row[b/sub] = blend(row[b/sub], full-row[b/sub], uint8(b%sub))
	}
}

// blend returns new where part is sub, old where it is 0.
func blend(old, new, part uint8) uint8 {
	return (old*(sub-part) + new*part + sub/2) / sub
}
