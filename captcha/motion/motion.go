// Package motion shows short codes as films in which the letters are nowhere but
// in the movement: dots drift one way within the letters and the other way
// around them, and each frame on its own is noise. Films are animated GIFs or
// APNGs.
//
// A [Renderer] is a form for package captcha:
//
//	gif, err := motion.New(motion.Config{})
//	captcha.Config{Forms: map[string]captcha.Renderer{"film.gif": gif}}
//
// # How a film is made
//
// Two fields of random dots, half of all cells lit, move by one whole cell per
// frame in opposite directions, one of four chosen at random. The letters decide
// which of the two shows through in a cell. A dot lives for at most eight frames;
// a cell whose dot has died gets a new one. Sixteen frames are a loop without a
// seam, the last eight of them the first eight inverted.
//
// In a frame each cell is lit with a chance of one half whatever the others are:
// that is exact, and not a matter of tuning, because either field is uniform at
// any moment and a letter only chooses between the two. So a screenshot is noise.
// Each cell is lit in exactly eight frames: the mean of a loop, as of a long
// exposure, is an even grey, and variance, median or extremes show nothing either.
//
// # What it is worth
//
// It stops programs that look at pictures, and not those that compute optical
// flow: where each frame is compared with the next one, moved, the letters stand
// out, and a plain matching with templates reads 99 % of them. Traces of their
// edges are also in the mean of half a loop, where dots smear along their way and
// the smear ends at an edge: templates learned from the smear of 4000 films read
// 37 % of letters and 0.5 % of texts of five. Use it beside other forms, and for
// nothing that it would have to guard alone.
//
// # Showing a film
//
// The picture has a pixel for each cell ([Size]). Show it twice as large, with
//
//	image-rendering: pixelated
//
// and never so that a cell takes more than three CSS pixels: under that, noise is
// no flashing in the sense of WCAG 2.2, success criterion 2.3.1. After
// [Config.Loops] it stands still. A page must let people who ask for less motion
// (prefers-reduced-motion) have another form by itself, and should begin to play
// when they ask for it.
//
// # Randomness
//
// Everything random comes from the seed, through ChaCha8. The same text, seed
// and Config give the same bytes on every machine.
package motion

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/seed-64ad3862/gatehouse/captcha/internal/strokes"
	"github.com/seed-64ad3862/gatehouse/captcha/internal/wcag"
)

// Config configures [New]. The zero value is a GIF on light paper that plays for
// 4.8 seconds.
type Config struct {
	// Format of the film, [GIF] if empty.
	Format Format

	// Ink is the pair of colours, [Light] if zero. Its contrast must be from
	// 3:1 to 10:1: less is not seen by everybody, and more is hard on the eyes
	// in a picture that is nothing but flicker.
	Ink Ink

	// Loops is how often the film plays, at 0.96 seconds each, from 1 to 100;
	// 5 if 0. What moves by itself for more than five seconds needs a way to
	// pause it (WCAG 2.2, success criterion 2.2.2): a page that has one, or
	// that plays only what was asked for, may want more than 5.
	Loops int
}

// Format is a media type that films can be encoded as.
type Format string

// The formats. An APNG is smaller, and made in half the time; a GIF is shown by
// everything that shows pictures.
const (
	GIF  Format = "image/gif"
	APNG Format = "image/apng"
)

// An Ink is a pair of colours. Half of a film has one, half the other.
type Ink struct{ Paper, Ink color.RGBA }

// Light returns the ink for pages with a light background.
func Light() Ink {
	return Ink{color.RGBA{0xec, 0xea, 0xe4, 0xff}, color.RGBA{0x5f, 0x68, 0x75, 0xff}}
}

// Dark returns the ink for pages with a dark background.
func Dark() Ink {
	return Ink{color.RGBA{0x1c, 0x22, 0x2b, 0xff}, color.RGBA{0x7f, 0x89, 0x98, 0xff}}
}

// ErrText is the error for a text that cannot be drawn: it is empty, longer
// than ten characters, or has others than the digits and A to Z. It comes
// without the text, which is a secret.
var ErrText = errors.New("motion: text cannot be drawn")

// Bounds of a text and of a [Config].
const (
	maxText     = 10
	maxLoops    = 100
	minContrast = 3
	maxContrast = 10
)

// A film's measures. Cells are the pixels of the encoded picture.
const (
	pitch     = 24 // cells from letter to letter
	height    = 45
	frames    = 16
	frameTime = 60 * time.Millisecond
)

// Size returns the width and height, in cells, of films of texts of a length.
// Five letters are 120 by 45: 240 by 90 CSS pixels.
func Size(letters int) (w, h int) { return pitch * letters, height }

// A Renderer draws films. It is safe for concurrent use.
type Renderer struct {
	cfg  Config
	font *strokes.Font
	pool sync.Pool // of *film
}

// New returns a Renderer, or an error if cfg is out of its bounds.
func New(cfg Config) (*Renderer, error) {
	if cfg.Format == "" {
		cfg.Format = GIF
	}
	if cfg.Ink == (Ink{}) {
		cfg.Ink = Light()
	}
	if cfg.Loops == 0 {
		cfg.Loops = 5
	}
	c := wcag.Contrast(cfg.Ink.Paper, cfg.Ink.Ink)
	switch {
	case cfg.Format != GIF && cfg.Format != APNG:
		return nil, fmt.Errorf("motion: unknown format %q", cfg.Format)
	case cfg.Ink.Paper.A != 0xff || cfg.Ink.Ink.A != 0xff:
		return nil, errors.New("motion: the ink is not opaque")
	case c < minContrast || c > maxContrast:
		return nil, fmt.Errorf("motion: the ink has a contrast of %.1f:1, which is not from %d:1 to %d:1", c, minContrast, maxContrast)
	case cfg.Loops < 1 || cfg.Loops > maxLoops:
		return nil, fmt.Errorf("motion: %d loops are not from 1 to %d", cfg.Loops, maxLoops)
	}
	d := &Renderer{cfg: cfg, font: strokes.Parse()}
	d.pool.New = func() any { return newFilm() }
	return d, nil
}

// MediaType returns the format, as the value of a Content-Type header.
func (d *Renderer) MediaType() string { return string(d.cfg.Format) }

// Duration is how long a film plays, from when it is shown.
func (d *Renderer) Duration() time.Duration {
	return time.Duration(d.cfg.Loops) * frames * frameTime
}

// Append draws text and appends the encoded film to dst. The error is
// [ErrText], with dst as it was.
func (d *Renderer) Append(dst []byte, text string, seed [32]byte) ([]byte, error) {
	f := d.pool.Get().(*film)
	defer d.pool.Put(f)
	if err := f.begin(d.font, text, seed); err != nil {
		return dst, err
	}
	if d.cfg.Format == APNG {
		return appendAPNG(dst, f, d.cfg), nil
	}
	return f.gif.append(dst, f, d.cfg), nil
}

// Frames draws text without encoding it: the pictures of one loop, for other
// formats and for measuring. The error is [ErrText].
func (d *Renderer) Frames(text string, seed [32]byte) ([]*image.Paletted, error) {
	f := newFilm()
	if err := f.begin(d.font, text, seed); err != nil {
		return nil, err
	}
	palette := color.Palette{d.cfg.Ink.Paper, d.cfg.Ink.Ink}
	var all []*image.Paletted
	for range frames {
		cells := f.next()
		m := image.NewPaletted(image.Rect(0, 0, f.width, height), palette)
		for i := range m.Pix {
			x, y := i%f.width, i/f.width
			m.Pix[i] = uint8(cells[y][x/64] >> (x % 64) & 1)
		}
		all = append(all, m)
	}
	return all, nil
}

// film is one film on its way out, and the working memory for the next.
type film struct {
	width          int
	way            way
	frame          int
	inside, around layer
	letters        [height]row // which cells are inside
	cells          [height]row // the frame
	gif            gifWriter
	pen            pen
	chacha         *rand.ChaCha8
	rnd            *rand.Rand
}

func newFilm() *film {
	f := &film{chacha: rand.NewChaCha8([32]byte{})}
	f.rnd = rand.New(f.chacha)
	return f
}

// begin prepares f for a text, whatever was in it.
func (f *film) begin(font *strokes.Font, text string, seed [32]byte) error {
	if len(text) == 0 || len(text) > maxText {
		return ErrText
	}
	for i := range len(text) {
		if font.Glyph(text[i]) == nil {
			return ErrText
		}
	}
	f.chacha.Seed(seed)
	f.width, _ = Size(len(text))
	f.frame = 0
	f.way = ways[f.rnd.IntN(len(ways))]
	f.draw(font, text)
	f.inside.begin(f.chacha)
	f.around.begin(f.chacha)
	for t := range life {
		f.step(t)
	}
	return nil
}

// next returns the next frame of the sixteen: a bit for each cell, from the
// lowest one of a row's first word on. It is good until the next call.
func (f *film) next() *[height]row {
	f.step(life + f.frame)
	f.frame++
	for y := range f.cells {
		for i, letters := range f.letters[y] {
			f.cells[y][i] = f.inside.dots[y][i]&letters | f.around.dots[y][i]&^letters
		}
	}
	return &f.cells
}

func (f *film) step(t int) {
	words := (f.width + 63) / 64
	f.inside.step(t, f.way, words)
	f.around.step(t, way{-f.way.x, -f.way.y}, words)
}
