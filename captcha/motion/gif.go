package motion

import (
	"encoding/binary"
	"slices"
	"time"
)

// gifWriter encodes GIF89a films of two colours. The standard library's encoder
// takes them as a byte per pixel, compresses each byte through a hash table, and
// allocates all of that anew for each film.
//
// The format is CompuServe's specification of 1990-07-31, the compression its
// appendix F.
type gifWriter struct {
	next [2 * maxCodes]uint16 // the code for a code and one more cell

	data []byte // codes
	bits uint64 // those that are not yet in data
	n    uint   // how many bits they have
}

// Of two colours, a GIF's codes begin as if there were four.
const (
	minWidth  = 2
	clearCode = 1 << minWidth
	endCode   = clearCode + 1

	// There are at most 2^j different runs of j cells: 1022 runs of up to 9 cells
	// have 8194 cells, and the 2606 others of the largest frame are no more than
	// 261 longer runs. So codes stay below 2048, and the dictionary, which can
	// have 4096, is never full and needs no restart within a frame.
	maxCodes = 1 << 11
)

func (g *gifWriter) append(dst []byte, f *film, cfg Config) []byte {
	size := []byte{byte(f.width), byte(f.width >> 8), height, 0}
	dst = append(dst, "GIF89a"...)
	dst = append(dst, size...)
	dst = append(dst, 0x80, 0, 0) // a global table of two colours
	paper, ink := cfg.Ink.Paper, cfg.Ink.Ink
	dst = append(dst, paper.R, paper.G, paper.B, ink.R, ink.G, ink.B)
	if again := cfg.Loops - 1; again > 0 {
		// Netscape's extension counts how often to begin again.
		dst = append(dst, 0x21, 0xff, 11)
		dst = append(dst, "NETSCAPE2.0"...)
		dst = append(dst, 3, 1, byte(again), byte(again>>8), 0)
	}
	for range frames {
		const delay = byte(frameTime / (10 * time.Millisecond))
		dst = append(dst, 0x21, 0xf9, 4, 1<<2, delay, 0, 0, 0) // 1: leave it there
		dst = append(dst, ',', 0, 0, 0, 0)
		dst = append(dst, size...)
		dst = append(dst, 0, minWidth)
		for block := range slices.Chunk(g.compress(f.next(), f.width), 255) {
			dst = append(dst, byte(len(block)))
			dst = append(dst, block...)
		}
		dst = append(dst, 0)
	}
	return append(dst, ';')
}

// compress returns the codes of a frame; they are good until the next call.
func (g *gifWriter) compress(cells *[height]row, w int) []byte {
	g.data, g.bits, g.n = g.data[:0], 0, 0
	clear(g.next[:])
	width, last := uint(minWidth+1), uint16(endCode)
	g.code(clearCode, width)
	code := uint16(cells[0][0] & 1)
	skip := 1
	for y := range cells {
		for x := skip; x < w; x++ {
			bit := uint16(cells[y][x/64] >> (x % 64) & 1)
			next := &g.next[(code<<1|bit)%(2*maxCodes)]
			if *next != 0 {
				code = *next
				continue
			}
			g.code(code, width)
			code = bit
			last++
			*next = last
			if last == 1<<width {
				width++
			}
		}
		skip = 0
	}
	g.code(code, width)
	if last++; last == 1<<width { // as the decoder counts
		width++
	}
	g.code(endCode, width)
	g.data = binary.LittleEndian.AppendUint64(g.data, g.bits)[:len(g.data)+int(g.n+7)/8]
	return g.data
}

func (g *gifWriter) code(c uint16, width uint) {
	g.bits |= uint64(c) << g.n
	if g.n += width; g.n >= 32 {
		g.data = binary.LittleEndian.AppendUint32(g.data, uint32(g.bits))
		g.bits >>= 32
		g.n -= 32
	}
}
