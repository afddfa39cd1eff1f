package wcag

import (
	"fmt"
	"image/color"
	"testing"
)

// WCAG's own examples: the greatest ratio, and #777 on white, which is known
// for failing 4.5:1 by a hair.
func TestContrast(t *testing.T) {
	white := color.RGBA{0xff, 0xff, 0xff, 0xff}
	for _, tt := range []struct {
		c    color.RGBA
		want string
	}{
		{color.RGBA{0, 0, 0, 0xff}, "21.00"},
		{color.RGBA{0x77, 0x77, 0x77, 0xff}, "4.48"},
		{color.RGBA{0x76, 0x76, 0x76, 0xff}, "4.54"},
		{white, "1.00"},
	} {
		if got := fmt.Sprintf("%.2f", Contrast(tt.c, white)); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.c, got, tt.want)
		}
		if Contrast(tt.c, white) != Contrast(white, tt.c) {
			t.Errorf("%v: the order matters", tt.c)
		}
	}
}
