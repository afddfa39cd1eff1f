package motion

import (
	"encoding/binary"
	"hash/adler32"
	"hash/crc32"
	"math/bits"
	"time"
)

// appendAPNG appends the film as an animated PNG (PNG, third edition, W3C
// 2025). Noise cannot be compressed: the frames are stored as they are, and an
// encoder that looks for patterns would only cost time.
func appendAPNG(dst []byte, f *film, cfg Config) []byte {
	be := binary.BigEndian
	dst = append(dst, "\x89PNG\r\n\x1a\n"...)

	dst, start := openChunk(dst, "IHDR")
	dst = be.AppendUint32(dst, uint32(f.width))
	dst = be.AppendUint32(dst, height)
	dst = append(dst, 1, 3, 0, 0, 0) // one bit, which chooses from a palette
	dst = closeChunk(dst, start)

	dst, start = openChunk(dst, "acTL")
	dst = be.AppendUint32(dst, frames)
	dst = be.AppendUint32(dst, uint32(cfg.Loops))
	dst = closeChunk(dst, start)

	dst, start = openChunk(dst, "PLTE")
	paper, ink := cfg.Ink.Paper, cfg.Ink.Ink
	dst = append(dst, paper.R, paper.G, paper.B, ink.R, ink.G, ink.B)
	dst = closeChunk(dst, start)

	number := uint32(0) // counts fcTL and fdAT together
	for i := range frames {
		dst, start = openChunk(dst, "fcTL")
		dst = be.AppendUint32(dst, number)
		dst = be.AppendUint32(dst, uint32(f.width))
		dst = be.AppendUint32(dst, height)
		dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0) // at the top left
		dst = be.AppendUint16(dst, uint16(frameTime/time.Millisecond))
		dst = be.AppendUint16(dst, 1000)
		dst = append(dst, 0, 0) // leave it there; what was there is gone
		dst = closeChunk(dst, start)
		number++

		if i == 0 { // what is shown where nothing moves
			dst, start = openChunk(dst, "IDAT")
		} else {
			dst, start = openChunk(dst, "fdAT")
			dst = be.AppendUint32(dst, number)
			number++
		}
		dst = appendStored(dst, f.next(), f.width)
		dst = closeChunk(dst, start)
	}
	dst, start = openChunk(dst, "IEND")
	return closeChunk(dst, start)
}

// openChunk begins a chunk, whose start closeChunk wants.
func openChunk(dst []byte, name string) (_ []byte, start int) {
	return append(append(dst, 0, 0, 0, 0), name...), len(dst)
}

func closeChunk(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-8))
	return binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[start+4:]))
}

// appendStored appends the lines of a frame, each after its filter type 0, in a
// stored block (RFC 1951 §3.2.4) of a zlib stream (RFC 1950). A line is whole
// bytes, because pitch is.
func appendStored(dst []byte, cells *[height]row, w int) []byte {
	size := uint16(height * (1 + w/8))
	dst = append(dst, 0x78, 0x01, 1) // the last block
	dst = binary.LittleEndian.AppendUint16(dst, size)
	dst = binary.LittleEndian.AppendUint16(dst, ^size)
	start := len(dst)
	for y := range cells {
		dst = append(dst, 0)
		for i := range w / 8 {
			dst = append(dst, bits.Reverse8(uint8(cells[y][i/8]>>(i%8*8))))
		}
	}
	return binary.BigEndian.AppendUint32(dst, adler32.Checksum(dst[start:]))
}
