package still

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"image"
	"image/color"
	"image/gif"
	"image/png"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/seed-64ad3862/gatehouse/captcha/internal/wcag"
)

const everything = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

func newRenderer(t testing.TB, cfg Config) *Renderer {
	t.Helper()
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// What Image gives away is the caller's.
func TestImageIsGivenAway(t *testing.T) {
	d := newRenderer(t, Config{})
	before, err := d.Append(nil, "2345", seed(1))
	if err != nil {
		t.Fatal(err)
	}
	m, err := d.Image("2345", seed(1))
	if err != nil {
		t.Fatal(err)
	}
	clear(m.Palette)
	clear(m.Pix)
	if after, err := d.Append(nil, "2345", seed(1)); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the caller draws on other pictures: %v", err)
	}
}

func seed(i int) [32]byte { return [32]byte{byte(i), byte(i >> 8)} }

// Both formats, read by the standard library, have the pixels that were
// drawn, in all sizes.
func TestFormats(t *testing.T) {
	decode := map[Format]func(b []byte) (image.Image, error){
		GIF: func(b []byte) (image.Image, error) { return gif.Decode(bytes.NewReader(b)) },
		PNG: func(b []byte) (image.Image, error) { return png.Decode(bytes.NewReader(b)) },
	}
	for format, decode := range decode {
		for _, size := range []image.Point{{240, 80}, {60, 30}, {61, 33}, {600, 200}, {600, 30}, {60, 200}} {
			d := newRenderer(t, Config{Format: format, Width: size.X, Height: size.Y, Inks: append(Light(), Dark()...)})
			if d.MediaType() != string(format) {
				t.Errorf("media type %s", d.MediaType())
			}
			for i := range 24 {
				text := strings.Repeat(everything, 2)[i%36:][:1+i%maxText]
				b, err := d.Append([]byte("before"), text, seed(i))
				if err != nil {
					t.Fatal(err)
				}
				if string(b[:6]) != "before" {
					t.Fatal("what was in dst is gone")
				}
				got, err := decode(b[6:])
				if err != nil {
					t.Fatalf("%s %v %d: %v", format, size, i, err)
				}
				want, err := d.Image(text, seed(i))
				if err != nil {
					t.Fatal(err)
				}
				p, ok := got.(*image.Paletted)
				if !ok || p.Rect.Size() != size || !bytes.Equal(p.Pix, want.Pix) || !slices.Equal(p.Palette, want.Palette) {
					t.Fatalf("%s %v %d: other pixels", format, size, i)
				}
			}
		}
	}
}

// The compressor, given what pictures never have: noise, which fills the
// dictionary many times, and nothing at all.
func TestCompress(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	palette := ramp(Light()[0])
	g := new(gifWriter)
	for n := 1; n < 100_000; n += 1 + n/3 {
		for _, distinct := range []int{1, 2, levels} {
			m := image.NewPaletted(image.Rect(0, 0, n, 1), palette)
			if n > 1000 {
				m = image.NewPaletted(image.Rect(0, 0, 1000, n/1000), palette)
			}
			for i := range m.Pix {
				m.Pix[i] = uint8(rnd.IntN(distinct))
			}
			got, err := gif.Decode(bytes.NewReader(g.append(nil, m)))
			if err != nil {
				t.Fatalf("%d pixels of %d: %v", n, distinct, err)
			}
			if !bytes.Equal(got.(*image.Paletted).Pix, m.Pix) {
				t.Fatalf("%d pixels of %d: other pixels", n, distinct)
			}
		}
	}
}

func TestText(t *testing.T) {
	d := newRenderer(t, Config{})
	for _, text := range []string{"", "k7mpx", "K7MP ", "K7MPÄ", "K7M\x00", strings.Repeat("A", maxText+1)} {
		b, err := d.Append([]byte("dst"), text, seed(0))
		if !errors.Is(err, ErrText) || string(b) != "dst" {
			t.Errorf("%q: %q, %v", text, b, err)
		}
		if m, err := d.Image(text, seed(0)); m != nil || !errors.Is(err, ErrText) {
			t.Errorf("%q: image %v", text, err)
		}
	}
}

func TestNew(t *testing.T) {
	grey := color.RGBA{0x90, 0x90, 0x90, 0xff}
	white := color.RGBA{0xff, 0xff, 0xff, 0xff}
	for name, cfg := range map[string]Config{
		"format":       {Format: "image/jpeg"},
		"no height":    {Width: 240},
		"no width":     {Height: 80},
		"narrow":       {Width: 59, Height: 80},
		"wide":         {Width: 601, Height: 80},
		"high":         {Width: 240, Height: 201},
		"negative":     {Width: -240, Height: -80},
		"pale":         {Inks: []Ink{{Paper: white, Ink: grey}}},
		"one is black": {Inks: append(Light(), Ink{})},
		"translucent":  {Inks: []Ink{{Paper: white, Ink: color.RGBA{0, 0, 0, 0x80}}}},
	} {
		if d, err := New(cfg); err == nil || d != nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestInks(t *testing.T) {
	for _, ink := range append(Light(), Dark()...) {
		if c := wcag.Contrast(ink.Paper, ink.Ink); c < 7 {
			t.Errorf("%v: %.1f:1", ink, c)
		}
	}
}

// The same seed gives the same bytes, whatever was drawn before and from how
// many goroutines; another seed or text gives others.
func TestDeterministic(t *testing.T) {
	d := newRenderer(t, Config{})
	want := make([][]byte, 32)
	seen := make(map[string]bool)
	for i := range want {
		want[i], _ = newRenderer(t, Config{}).Append(nil, "K7MPY", seed(i))
		seen[string(want[i])] = true
	}
	other, _ := d.Append(nil, "K7MP4", seed(0))
	seen[string(other)] = true
	if len(seen) != len(want)+1 {
		t.Errorf("%d different pictures", len(seen))
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 200 {
				got, err := d.Append(nil, "K7MPY", seed(i%len(want)))
				if err != nil || !bytes.Equal(got, want[i%len(want)]) {
					t.Errorf("picture %d differs", i)
				}
			}
		})
	}
	wg.Wait()
}

// These pixels must not change by accident: where two machines of different
// versions serve the same challenge, a program that sees both pictures gains.
// Look at new pictures before their sums are put here.
func TestGolden(t *testing.T) {
	d := newRenderer(t, Config{})
	for text, want := range map[string]string{
		"K7MPY":        "821d55e79530a86a",
		"0123456789AB": "aca521e1ea6be8d8",
		"CDEFGHIJKLMN": "63cc4ca85abc0cd3",
		"OPQRSTUVWXYZ": "c23fc6588764d394",
	} {
		m, err := d.Image(text, seed(7))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(m.Pix)
		if got := hex.EncodeToString(sum[:8]); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// Every picture has paper and ink in earnest, is small, and leaves its edges
// alone enough for all letters to be inside.
func TestPictures(t *testing.T) {
	d := newRenderer(t, Config{})
	most := 0
	for i := range 300 {
		text := strings.Repeat(everything, 2)[i*7%36:][:5]
		m, err := d.Image(text, seed(i))
		if err != nil {
			t.Fatal(err)
		}
		var count [levels]int
		for _, p := range m.Pix {
			count[p]++
		}
		if ink := count[full] * 100 / len(m.Pix); ink < 12 || ink > 70 {
			t.Errorf("picture %d: %d %% ink", i, ink)
		}
		b, err := d.Append(nil, text, seed(i))
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, len(b))
	}
	if most > 6000 {
		t.Errorf("a picture of %d bytes", most)
	}
}

// A letter's middle line stays inside of the picture, wherever chance puts it.
func TestInside(t *testing.T) {
	d := newRenderer(t, Config{})
	c := d.newCanvas()
	for i := range 2000 {
		c.chacha.Seed(seed(i))
		for j := range c.waves {
			c.waves[j] = c.newWave()
		}
		n := 1 + i%8
		var letters [maxText]letter
		c.layOut(letters[:n], d.font[i%28:][:n])
		for j := range n {
			l := &letters[j]
			c.path = c.path[:0]
			c.follow(l)
			for _, p := range c.path {
				if p == lifted {
					continue
				}
				x, y := float64(p.x)/sub, float64(p.y)/sub
				if x < 0 || y < 0 || x > c.size.x || y > c.size.y {
					t.Fatalf("picture %d, letter %d: at %.0f, %.0f", i, j, x, y)
				}
			}
		}
		c.path = c.path[:0]
	}
}

// TestLook: strokes and their margins have no hard edges, of whatever width a letter
// can be in the tallest picture.
func TestLook(t *testing.T) {
	for radius := 1; radius <= int(math.Ceil(200*0.051*1.2*sub)); radius++ {
		for kind := range numStyles {
			var l look
			reach := l.set(radius, style{kind: kind, margin: true})
			for d := 1; d < len(l.cover); d++ {
				if a, b := int(l.cover[d-1]), int(l.cover[d]); a-b > 1 || b > a {
					t.Fatalf("radius %d, style %d: %d of what is at %d is covered, and %d at %d", radius, kind, a, d-1, b, d)
				}
			}
			if l.cover[0] < sub/2 || reach > len(l.cover) || l.cover[len(l.cover)-1] != 0 {
				t.Fatalf("radius %d, style %d: covers %d in the middle, ends at %d", radius, kind, l.cover[0], reach)
			}
		}
	}
}

// A stroke measured pixel by pixel against plain geometry.
func TestMeasure(t *testing.T) {
	d := newRenderer(t, Config{})
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		c := d.newCanvas()
		var pts []point
		for range 2 + rnd.IntN(4) {
			pts = append(pts, point{rnd.Float64()*300 - 30, rnd.Float64()*120 - 20})
		}
		for _, p := range pts {
			c.to(p)
		}
		c.lift()
		c.measure(6 * sub)
		for y := range 80 {
			for x := range 240 {
				want := 1e9
				for i := range len(pts) - 1 {
					want = min(want, distance(point{float64(x) + 0.5, float64(y) + 0.5}, pts[i], pts[i+1]))
				}
				q, got := c.dist[y*240+x], 1e9
				if q < numRoots {
					got = float64(c.roots[q]) / sub
				}
				// Squares are coarse near zero, where nothing is decided.
				slack := 0.5
				if want > 1 {
					slack = 0.25
				}
				if want < 5.5 && (got < want-slack || got > want+slack) || want > 16 && got < 6 {
					t.Fatalf("%v: at %d, %d the distance is %.2f, want %.2f", pts, x, y, got, want)
				}
			}
		}
	}
}

// distance is from p to the line between a and b.
func distance(p, a, b point) float64 {
	dx, dy := b.x-a.x, b.y-a.y
	t := ((p.x-a.x)*dx + (p.y-a.y)*dy) / (dx*dx + dy*dy)
	t = min(max(t, 0), 1)
	return math.Hypot(a.x+t*dx-p.x, a.y+t*dy-p.y)
}

func benchmark(b *testing.B, f Format) {
	d := newRenderer(b, Config{Format: f})
	var buf []byte
	most, i := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = d.Append(buf[:0], "K7MPY", seed(i)); err != nil {
			b.Fatal(err)
		}
		most = max(most, len(buf))
		i++
	}
	b.ReportMetric(float64(most), "bytes/most")
}

func BenchmarkGIF(b *testing.B) { benchmark(b, GIF) }
func BenchmarkPNG(b *testing.B) { benchmark(b, PNG) }
