package still

import "strings"

// The font. A glyph is a few strokes; a stroke is a list of points on a grid of
// 9 by 13, written as two hexadecimal digits for x, from 0 at the left to 8, and
// y, from 0 at the top to c at the base line. A stroke that begins with ~ is a
// smooth curve through its points, and closed where it ends as it began; any
// other has straight edges. Digits come first, then A to Z.
const font = `
	~40 71 86 7b 4c 1b 06 11 40
	13 40 4c, 1c 7c
	~03 11 40 71 83 67 0c, 0c 8c
	~02 20 60 82 74 46, ~46 76 89 6c 2c 0a
	60 09 89, 66 6c
	70 10 05, ~05 34 64 88 6c 2c 0a
	~70 32 07 1b 4c 7b 88 65 35 08
	00 80 3c
	~40 71 73 46 13 11 40, ~46 78 7b 4c 1b 18 46
	~1c 5a 85 71 40 11 04 27 57 84
	0c 40 8c, 18 78
	00 0c, ~00 50 72 74 46 06, ~06 66 88 8a 6c 0c
	~82 60 30 04 08 3c 6c 8a
	00 0c, ~00 40 74 78 4c 0c
	80 00 0c 8c, 06 66
	80 00 0c, 06 66
	~82 60 30 04 08 3c 6c 89, 57 87 8c
	00 0c, 80 8c, 06 86
	40 4c, 10 70, 1c 7c
	30 80, ~70 75 79 5c 2c 09
	00 0c, 80 07, 35 8c
	00 0c 8c
	0c 00 47 80 8c
	0c 00 8c 80
	~40 82 86 8a 4c 0a 06 02 40
	0c 00, ~00 50 81 84 57 07
	~40 82 86 8a 4c 0a 06 02 40, 59 8c
	0c 00, ~00 50 81 84 57 07, 47 8c
	~82 60 20 03 25 66 89 6c 2c 0a
	00 80, 40 4c
	~00 07 1b 4c 7b 87 80
	00 4c 80
	00 2c 43 6c 80
	00 8c, 80 0c
	00 46 80, 46 4c
	00 80 0c 8c`

const (
	numGlyphs = 10 + 26
	gridW     = 8
	gridH     = 12
)

type (
	glyph  []stroke
	stroke struct {
		curve  bool
		points []point
	}
	point struct{ x, y float64 }
)

// closed reports whether the stroke ends where it begins.
func (s stroke) closed() bool { return s.points[0] == s.points[len(s.points)-1] }

// parseFont reads the font. It trusts it: a test parses it.
func parseFont() (font36 [numGlyphs]glyph) {
	i := 0
	for line := range strings.Lines(strings.TrimSpace(font)) {
		for part := range strings.SplitSeq(line, ",") {
			part, curve := strings.CutPrefix(strings.TrimSpace(part), "~")
			s := stroke{curve: curve}
			for p := range strings.FieldsSeq(part) {
				s.points = append(s.points, point{coordinate(p[0]), coordinate(p[1])})
			}
			font36[i] = append(font36[i], s)
		}
		i++
	}
	return font36
}

func coordinate(hex byte) float64 {
	return float64(strings.IndexByte("0123456789abc", hex))
}

// glyphOf returns the index of r's glyph.
func glyphOf(r byte) (int, bool) {
	switch {
	case '0' <= r && r <= '9':
		return int(r - '0'), true
	case 'A' <= r && r <= 'Z':
		return int(r-'A') + 10, true
	}
	return 0, false
}
