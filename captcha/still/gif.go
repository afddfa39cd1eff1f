package still

import (
	"encoding/binary"
	"image"
	"image/color"
	"slices"
)

// gifWriter encodes GIF89a pictures of 8 colours. The standard library's
// encoder takes 80 kB of new memory for each and three times as long, which is
// most of the time of a picture: with so few colours, the dictionary of LZW is
// a plain array.
//
// The format is CompuServe's specification of 1990-07-31, the compression its
// appendix F.
type gifWriter struct {
	next [maxCodes][levels]uint16 // the code for a code and one more pixel

	last  uint16 // the newest code
	width uint   // bits per code

	data []byte // codes
	bits uint64 // those that are not yet in data
	n    uint   // how many bits they have
}

const (
	maxCodes  = 1 << 12
	clearCode = levels
	endCode   = levels + 1
)

// append appends m, whose palette has 8 colours, to dst.
func (g *gifWriter) append(dst []byte, m *image.Paletted) []byte {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	dst = append(dst, "GIF89a"...)
	dst = append(dst, byte(w), byte(w>>8), byte(h), byte(h>>8),
		0x80|(levelBits-1)<<4|(levelBits-1), 0, 0) // a global table of 8 colours
	for _, c := range m.Palette {
		c := c.(color.RGBA)
		dst = append(dst, c.R, c.G, c.B)
	}
	dst = append(dst, ',', 0, 0, 0, 0, byte(w), byte(w>>8), byte(h), byte(h>>8), 0, levelBits)

	g.data, g.bits, g.n, g.width = g.data[:0], 0, 0, levelBits+1
	g.compress(m.Pix)
	g.data = binary.LittleEndian.AppendUint64(g.data, g.bits)[:len(g.data)+int(g.n+7)/8]
	for block := range slices.Chunk(g.data, 255) {
		dst = append(dst, byte(len(block)))
		dst = append(dst, block...)
	}
	return append(dst, 0, ';') // an empty block ends the picture
}

// compress writes the codes of pix, which is not empty.
func (g *gifWriter) compress(pix []byte) {
	g.restart()
	code := uint16(pix[0])
	for _, p := range pix[1:] {
		p %= levels // it is below: this tells the compiler
		next := &g.next[code][p]
		if *next != 0 {
			code = *next
			continue
		}
		g.code(code)
		code = uint16(p)
		if g.grow() {
			*next = g.last
		}
	}
	g.code(code)
	g.grow() // as the decoder does
	g.code(endCode)
}

// restart tells the decoder to forget its codes, and forgets them.
func (g *gifWriter) restart() {
	g.code(clearCode)
	clear(g.next[:])
	g.last, g.width = endCode, levelBits+1
}

// grow counts a new code. It reports false if there is no room for another, and
// everything begins anew.
func (g *gifWriter) grow() bool {
	g.last++
	if g.last == 1<<g.width {
		g.width++
	}
	if g.last == maxCodes-1 {
		g.restart()
		return false
	}
	return true
}

func (g *gifWriter) code(c uint16) {
	g.bits |= uint64(c) << g.n
	if g.n += g.width; g.n >= 32 {
		g.data = binary.LittleEndian.AppendUint32(g.data, uint32(g.bits))
		g.bits >>= 32
		g.n -= 32
	}
}
