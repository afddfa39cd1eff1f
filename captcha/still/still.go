// Package still draws short codes as pictures that people can read, in GIF or
// PNG.
//
// A [Renderer] is a form for package captcha, and as well draws any code on
// its own:
//
//	gif, err := still.New(still.Config{})
//	picture, err := gif.Append(nil, "K7MPY", seed)
//
// # How a picture is made
//
// There is no font whose outlines a program could learn: a letter is a few
// strokes (captcha/internal/strokes), written in one of several ways, with serifs
// or without, whose control points are moved about, slanted, turned, made wider
// or smaller, and then warped together with their neighbours'. The strokes are
// drawn as a field of distances to their middle lines, out of which each letter's
// style is cut: filled, hollow, inlined, textured or carved, each in every
// picture of five letters or more. Behind them run curves that have the letters'
// own widths and styles, and parts of the picture are inverted.
//
// All that a reader has to do is to look at what is in front: each letter clears a
// margin around itself, and there is nothing across it. The curves behind cost a
// program that learns from examples much, and people little; of all that was
// tried, lines across the letters are what people can bear least.
//
// What this is worth is measured: see docs/captcha.md of the project. Where
// reading by people and resistance cannot both be had, this package prefers the
// people.
//
// # Randomness
//
// Everything random comes from the seed, through ChaCha8. The same text, seed
// and Config give the same bytes on every machine, so that a challenge looks the
// same wherever it is drawn and however often. To make pictures that nobody
// can foresee, the seed must be secret or random.
package still

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"slices"
	"sync"

	"github.com/seed-64ad3862/gatehouse/captcha/internal/strokes"
	"github.com/seed-64ad3862/gatehouse/captcha/internal/wcag"
)

// Config configures [New]. The zero value is a GIF of 240 by 80 pixels on
// light paper.
type Config struct {
	// Format of the picture, [GIF] if empty.
	Format Format

	// Width and Height in pixels; 240 and 80 if both are 0. Width is from 60 to
	// 600, Height from 30 to 200. Five letters want three times as much
	// width as height.
	Width, Height int

	// Inks are the pairs of colours of which each picture has one; [Light]
	// if empty. A pair whose contrast is under 4.5:1 is refused: it would be
	// hard to read (WCAG 2.2, success criterion 1.4.3).
	Inks []Ink
}

// Format is a media type that pictures can be encoded as.
type Format string

// The formats. A GIF costs about half the time of a PNG, and is no larger.
const (
	GIF Format = "image/gif"
	PNG Format = "image/png"
)

// An Ink is a pair of colours. Which of them the letters have changes within a
// picture.
type Ink struct{ Paper, Ink color.RGBA }

// Light returns inks for pages with a light background.
func Light() []Ink {
	return []Ink{
		{color.RGBA{0xf8, 0xf6, 0xf0, 0xff}, color.RGBA{0x1f, 0x3a, 0x5f, 0xff}}, // blue
		{color.RGBA{0xf6, 0xf7, 0xf2, 0xff}, color.RGBA{0x1f, 0x4d, 0x45, 0xff}}, // green
		{color.RGBA{0xfa, 0xf5, 0xf1, 0xff}, color.RGBA{0x6b, 0x2b, 0x3a, 0xff}}, // wine
		{color.RGBA{0xf6, 0xf4, 0xf8, 0xff}, color.RGBA{0x45, 0x32, 0x6b, 0xff}}, // violet
		{color.RGBA{0xf5, 0xf5, 0xf3, 0xff}, color.RGBA{0x33, 0x37, 0x3d, 0xff}}, // slate
	}
}

// Dark returns inks for pages with a dark background.
func Dark() []Ink {
	return []Ink{
		{color.RGBA{0x12, 0x1a, 0x26, 0xff}, color.RGBA{0x9f, 0xc4, 0xee, 0xff}},
		{color.RGBA{0x10, 0x1d, 0x1b, 0xff}, color.RGBA{0x93, 0xd6, 0xc1, 0xff}},
		{color.RGBA{0x22, 0x14, 0x18, 0xff}, color.RGBA{0xf0, 0xb4, 0xbd, 0xff}},
		{color.RGBA{0x1a, 0x16, 0x26, 0xff}, color.RGBA{0xc7, 0xb8, 0xf0, 0xff}},
		{color.RGBA{0x17, 0x18, 0x1a, 0xff}, color.RGBA{0xe3, 0xdd, 0xcf, 0xff}},
	}
}

// ErrText is the error for a text that cannot be drawn: it is empty, longer
// than twelve characters, or has others than the digits and A to Z. It comes
// without the text, which is a secret.
var ErrText = errors.New("still: text cannot be drawn")

const (
	maxText  = 12
	maxWidth = 600 // as Config documents
)

// minContrast is what [Config.Inks] documents.
const minContrast = 4.5

// A Renderer draws pictures. It is safe for concurrent use.
type Renderer struct {
	cfg      Config
	font     *strokes.Font
	palettes []color.Palette
	roots    *[numRoots]uint8
	pool     sync.Pool // of *canvas
	png      png.Encoder
}

// New returns a Renderer, or an error if cfg is out of its bounds.
func New(cfg Config) (*Renderer, error) {
	if cfg.Format == "" {
		cfg.Format = GIF
	}
	if cfg.Width == 0 && cfg.Height == 0 {
		cfg.Width, cfg.Height = 240, 80
	}
	if len(cfg.Inks) == 0 {
		cfg.Inks = Light()
	}
	switch {
	case cfg.Format != GIF && cfg.Format != PNG:
		return nil, fmt.Errorf("still: unknown format %q", cfg.Format)
	case cfg.Width < 60 || cfg.Width > maxWidth:
		return nil, fmt.Errorf("still: width %d is not from 60 to 600", cfg.Width)
	case cfg.Height < 30 || cfg.Height > 200:
		return nil, fmt.Errorf("still: height %d is not from 30 to 200", cfg.Height)
	}
	cfg.Inks = slices.Clone(cfg.Inks)

	d := &Renderer{cfg: cfg, font: strokes.Parse(), roots: squareRoots()}
	for i, ink := range cfg.Inks {
		if ink.Paper.A != 0xff || ink.Ink.A != 0xff {
			return nil, fmt.Errorf("still: ink %d is not opaque", i)
		}
		if c := wcag.Contrast(ink.Paper, ink.Ink); c < minContrast {
			return nil, fmt.Errorf("still: ink %d has a contrast of %.1f:1, less than %.1f:1", i, c, minContrast)
		}
		d.palettes = append(d.palettes, ramp(ink))
	}
	d.pool.New = func() any { return d.newCanvas() }
	d.png = png.Encoder{CompressionLevel: png.BestSpeed, BufferPool: &pngBuffers{}}
	return d, nil
}

// MediaType returns the format, as the value of a Content-Type header.
func (d *Renderer) MediaType() string { return string(d.cfg.Format) }

// Append draws text and appends the encoded picture to dst. The error is
// [ErrText], with dst as it was.
func (d *Renderer) Append(dst []byte, text string, seed [32]byte) ([]byte, error) {
	c := d.pool.Get().(*canvas)
	defer d.pool.Put(c)
	if err := d.draw(c, text, seed); err != nil {
		return dst, err
	}
	if d.cfg.Format == GIF {
		return c.gif.append(dst, &c.img), nil
	}
	out := appender(dst)
	if err := d.png.Encode(&out, &c.img); err != nil {
		return dst, fmt.Errorf("still: encode: %w", err) // an appender does not fail
	}
	return out, nil
}

// Image draws text without encoding it, for other formats. The error is
// [ErrText].
func (d *Renderer) Image(text string, seed [32]byte) (*image.Paletted, error) {
	c := d.newCanvas() // not a pooled one: it is given away
	if err := d.draw(c, text, seed); err != nil {
		return nil, err
	}
	img := c.img                            // the canvas itself is not to be kept alive
	img.Palette = slices.Clone(img.Palette) // the Renderer's own
	return &img, nil
}

func (d *Renderer) newCanvas() *canvas { return newCanvas(d.cfg.Width, d.cfg.Height, d.roots) }

// draw fills a canvas, whatever was on it.
func (d *Renderer) draw(c *canvas, text string, seed [32]byte) error {
	if len(text) == 0 || len(text) > maxText {
		return ErrText
	}
	var glyphs [maxText][]strokes.Glyph
	for i := range len(text) {
		if glyphs[i] = d.font.Glyphs(text[i]); glyphs[i] == nil {
			return ErrText
		}
	}
	c.chacha.Seed(seed)
	c.img.Palette = d.palettes[c.rnd.IntN(len(d.palettes))]
	clear(c.img.Pix)
	c.draw(glyphs[:len(text)])
	return nil
}

// appender is an io.Writer to the end of a slice.
type appender []byte

func (a *appender) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}

// pngBuffers is a png.EncoderBufferPool: without it every picture costs the
// hundreds of kilobytes of a new compressor.
type pngBuffers struct{ pool sync.Pool }

func (p *pngBuffers) Get() *png.EncoderBuffer {
	b, _ := p.pool.Get().(*png.EncoderBuffer)
	return b
}
func (p *pngBuffers) Put(b *png.EncoderBuffer) { p.pool.Put(b) }

// ramp is the palette: levels from paper to ink.
func ramp(ink Ink) color.Palette {
	mix := func(a, b uint8, i int) uint8 {
		return uint8((int(a)*(full-i) + int(b)*i + full/2) / full)
	}
	p := make(color.Palette, levels)
	for i := range p {
		a, b := ink.Paper, ink.Ink
		p[i] = color.RGBA{mix(a.R, b.R, i), mix(a.G, b.G, i), mix(a.B, b.B, i), 0xff}
	}
	return p
}
