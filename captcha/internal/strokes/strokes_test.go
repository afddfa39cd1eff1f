package strokes

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

const everything = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

func TestFont(t *testing.T) {
	f := Parse()
	seen := make(map[string]bool)
	for i := range everything {
		all := f.Glyphs(everything[i])
		if len(all) == 0 {
			t.Fatalf("%c has no glyph", everything[i])
		}
		if fmt.Sprint(f.Glyph(everything[i])) != fmt.Sprint(all[0]) {
			t.Errorf("%c: the plainest glyph is not the first", everything[i])
		}
		for _, g := range all {
			if len(g) == 0 {
				t.Errorf("%c has no strokes", everything[i])
			}
			for _, s := range g {
				if len(s.Points) < 2 {
					t.Errorf("%c has a stroke of %d points", everything[i], len(s.Points))
				}
				for _, p := range s.Points {
					if p.X < 0 || p.X > Width || p.Y < 0 || p.Y > Height {
						t.Errorf("%c has the point %v", everything[i], p)
					}
				}
			}
			if seen[fmt.Sprint(g)] {
				t.Errorf("%c has a glyph that was there before", everything[i])
			}
			seen[fmt.Sprint(g)] = true
		}
	}
	for _, r := range []byte(" /:@[az\x00\xff") {
		if f.Glyph(r) != nil {
			t.Errorf("%q has a glyph", r)
		}
	}
}

// A flattened stroke goes through all its points, in small steps, and a straight
// one nowhere else.
func TestFlatten(t *testing.T) {
	f := Parse()
	for i := range everything {
		for _, s := range slices.Concat(f.Glyphs(everything[i])...) {
			for _, step := range []float64{0.5, 1.7, 4} {
				got := s.Flatten(nil, step)
				next := 0
				for j, p := range got {
					if next < len(s.Points) && p == s.Points[next] {
						next++
					}
					if j == 0 {
						continue
					}
					// A curve is longer than its chord.
					if d := math.Hypot(p.X-got[j-1].X, p.Y-got[j-1].Y); d > 2*step {
						t.Errorf("%c: a step of %.1f, want at most twice %.1f", everything[i], d, step)
					}
					if !s.Curve && next > 0 && next < len(s.Points) && !between(s.Points[next-1], p, s.Points[next]) {
						t.Errorf("%c: %v is beside the line", everything[i], p)
					}
				}
				if next != len(s.Points) {
					t.Errorf("%c, steps of %.1f: point %d is missing", everything[i], step, next)
				}
			}
		}
	}
}

func between(a, p, b Point) bool {
	d := math.Hypot(p.X-a.X, p.Y-a.Y) + math.Hypot(b.X-p.X, b.Y-p.Y) - math.Hypot(b.X-a.X, b.Y-a.Y)
	return d < 1e-9
}
