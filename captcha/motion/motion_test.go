package motion

import (
	"bytes"
	"compress/lzw"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/png"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/captcha/internal/wcag"
)

var _ captcha.Renderer = (*Renderer)(nil)

const everything = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

func newRenderer(t testing.TB, cfg Config) *Renderer {
	t.Helper()
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func seed(i int) [32]byte { return [32]byte{byte(i), byte(i >> 8)} }

// textOf is one of many texts of n letters.
func textOf(i, n int) string { return strings.Repeat(everything, 2)[i*7%36:][:n] }

// Both formats, read by the standard library, have the frames that were drawn,
// for texts of all lengths.
func TestFormats(t *testing.T) {
	decode := map[Format]func(testing.TB, []byte) (frames []*image.Paletted, plays int){GIF: decodeGIF, APNG: decodeAPNG}
	for format, decode := range decode {
		for n := 1; n <= maxText; n++ {
			for i := range 8 {
				cfg := Config{Format: format, Ink: Dark(), Loops: []int{0, 1, 2, 100}[i%4]}
				d := newRenderer(t, cfg)
				if d.MediaType() != string(format) {
					t.Errorf("media type %s", d.MediaType())
				}
				text := textOf(i, n)
				b, err := d.Append([]byte("before"), text, seed(i))
				if err != nil {
					t.Fatal(err)
				}
				if string(b[:6]) != "before" {
					t.Fatal("what was in dst is gone")
				}
				got, plays := decode(t, b[6:])
				want, err := d.Frames(text, seed(i))
				if err != nil {
					t.Fatal(err)
				}
				if len(got) != len(want) || len(got) != 16 {
					t.Fatalf("%d frames, want %d", len(got), len(want))
				}
				w, h := Size(n)
				for j := range got {
					if got[j].Rect != image.Rect(0, 0, w, h) || !bytes.Equal(got[j].Pix, want[j].Pix) || !slices.Equal(got[j].Palette[:2], want[j].Palette) {
						t.Fatalf("%s %s %d: frame %d differs", format, text, i, j)
					}
				}
				if want := []int{5, 1, 2, 100}[i%4]; plays != want {
					t.Errorf("%s: plays %d times, want %d", format, plays, want)
				}
				if want := time.Duration(plays) * 960 * time.Millisecond; d.Duration() != want {
					t.Errorf("%s: plays for %v, want %v", format, d.Duration(), want)
				}
			}
		}
	}
}

func decodeGIF(t testing.TB, b []byte) ([]*image.Paletted, int) {
	g, err := gif.DecodeAll(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for i := range g.Image {
		if g.Delay[i] != 6 || g.Disposal[i] != gif.DisposalNone {
			t.Fatalf("frame %d: delay %d, disposal %d", i, g.Delay[i], g.Disposal[i])
		}
	}
	// Package gif: -1 is once, and n is n+1 times.
	return g.Image, max(g.LoopCount, 0) + 1
}

// decodeAPNG takes an APNG apart into PNGs, one for each frame, for the standard
// library to read.
func decodeAPNG(t testing.TB, b []byte) (all []*image.Paletted, plays int) {
	const signature = "\x89PNG\r\n\x1a\n"
	rest, ok := bytes.CutPrefix(b, []byte(signature))
	if !ok {
		t.Fatal("no PNG")
	}
	chunk := func(name string, data []byte) []byte {
		c := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
		c = append(append(c, name...), data...)
		return binary.BigEndian.AppendUint32(c, crc32.ChecksumIEEE(c[4:]))
	}
	var header, palette []byte
	var number uint32
	count := func(data []byte) {
		if got := binary.BigEndian.Uint32(data); got != number {
			t.Fatalf("sequence number %d, want %d", got, number)
		}
		number++
	}
	for len(rest) > 0 {
		n := binary.BigEndian.Uint32(rest)
		name, data := string(rest[4:8]), rest[8:8+n]
		if whole := chunk(name, data); !bytes.HasPrefix(rest, whole) {
			t.Fatalf("%s: wrong checksum", name)
		}
		rest = rest[12+n:]
		switch name {
		case "IHDR":
			header = data
		case "PLTE":
			palette = data
		case "acTL":
			if n := binary.BigEndian.Uint32(data); n != frames {
				t.Fatalf("says %d frames", n)
			}
			plays = int(binary.BigEndian.Uint32(data[4:]))
		case "fcTL":
			count(data)
			want := slices.Concat(header[:8], make([]byte, 8), []byte{0, 60, 1000 >> 8, 1000 & 0xff, 0, 0})
			if !bytes.Equal(data[4:], want) {
				t.Fatalf("frame control %x, want %x", data[4:], want)
			}
		case "IDAT", "fdAT":
			if name == "fdAT" {
				count(data)
				data = data[4:]
			}
			one := slices.Concat([]byte(signature), chunk("IHDR", header), chunk("PLTE", palette), chunk("IDAT", data), chunk("IEND", nil))
			m, err := png.Decode(bytes.NewReader(one))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, m.(*image.Paletted))
		case "IEND":
			if len(rest) > 0 {
				t.Fatal("something after the end")
			}
		default:
			t.Fatalf("chunk %s", name)
		}
	}
	return all, plays
}

// The compressor, given what a film never has: what compresses best, and what
// makes most codes. The latter is every run of cells once, in order of length.
func TestCompress(t *testing.T) {
	var everyRun []byte
	for n := 1; n < 14; n++ {
		for v := range 1 << n {
			for i := range n {
				everyRun = append(everyRun, byte(v>>i&1))
			}
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	type picture struct {
		letters int
		cell    func(i int) byte
	}
	var pictures []picture
	for n := 1; n <= maxText; n++ {
		pictures = append(
			pictures,
			picture{n, func(int) byte { return 0 }},
			picture{n, func(int) byte { return 1 }},
			picture{n, func(i int) byte { return byte(i & 1) }},
			picture{n, func(i int) byte { return everyRun[i] }},
		)
	}
	// As much noise as it takes to end with any number of codes, such as one
	// at which the width of codes changes.
	for noise := range pitch * height {
		pictures = append(pictures, picture{1, func(i int) byte {
			if i < noise {
				return byte(rnd.IntN(2))
			}
			return 0
		}})
	}
	g := new(gifWriter)
	for i, p := range pictures {
		w, _ := Size(p.letters)
		var cells [height]row
		var want []byte
		for y := range height {
			for x := range w {
				bit := p.cell(y*w + x)
				want = append(want, bit)
				cells[y][x/64] |= uint64(bit) << (x % 64)
			}
		}
		// Stricter than package gif: it also wants the code at the end.
		got, err := io.ReadAll(lzw.NewReader(bytes.NewReader(g.compress(&cells, w)), lzw.LSB, minWidth))
		if err != nil {
			t.Fatalf("picture %d: %v", i, err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("picture %d: others come back", i)
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
		if m, err := d.Frames(text, seed(0)); m != nil || !errors.Is(err, ErrText) {
			t.Errorf("%q: frames %v", text, err)
		}
	}
}

func TestNew(t *testing.T) {
	white := color.RGBA{0xff, 0xff, 0xff, 0xff}
	for name, cfg := range map[string]Config{
		"format":      {Format: "image/png"},
		"pale":        {Ink: Ink{white, color.RGBA{0xb0, 0xb0, 0xb0, 0xff}}},
		"glaring":     {Ink: Ink{white, color.RGBA{0, 0, 0, 0xff}}},
		"translucent": {Ink: Ink{white, color.RGBA{0x70, 0x70, 0x70, 0x80}}},
		"no paper":    {Ink: Ink{Ink: color.RGBA{0x80, 0x80, 0x80, 0xff}}},
		"negative":    {Loops: -1},
		"endless":     {Loops: maxLoops + 1},
	} {
		if d, err := New(cfg); err == nil || d != nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// By itself a film ends before WCAG asks for a way to pause it, and its inks
// are such that they could also be text.
func TestDefaults(t *testing.T) {
	if d := newRenderer(t, Config{}).Duration(); d >= 5*time.Second {
		t.Errorf("plays for %v", d)
	}
	for _, ink := range []Ink{Light(), Dark()} {
		newRenderer(t, Config{Ink: ink})
		if c := wcag.Contrast(ink.Paper, ink.Ink); c < 4.5 {
			t.Errorf("%v: %.1f:1", ink, c)
		}
	}
}

// The same seed gives the same bytes, whatever was drawn before and from how
// many goroutines; another seed or text gives others.
func TestDeterministic(t *testing.T) {
	for _, format := range []Format{GIF, APNG} {
		d := newRenderer(t, Config{Format: format})
		want := make([][]byte, 8)
		seen := make(map[string]bool)
		for i := range want {
			want[i], _ = newRenderer(t, Config{Format: format}).Append(nil, "K7MPY", seed(i))
			seen[string(want[i])] = true
		}
		other, _ := d.Append(nil, "K7MP4", seed(0))
		seen[string(other)] = true
		if len(seen) != len(want)+1 {
			t.Errorf("%d different films", len(seen))
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for i := range 40 {
					// A longer text before leaves nothing behind.
					if _, err := d.Append(nil, "23456789AC"[:1+i%10], seed(i)); err != nil {
						t.Error(err)
					}
					got, err := d.Append(nil, "K7MPY", seed(i%len(want)))
					if err != nil || !bytes.Equal(got, want[i%len(want)]) {
						t.Errorf("film %d differs", i)
					}
				}
			})
		}
		wg.Wait()
	}
}

// These cells must not change by accident: where two machines of different
// versions serve the same challenge, a program that sees both films gains. Look
// at new films before their sums are put here.
func TestGolden(t *testing.T) {
	d := newRenderer(t, Config{})
	for text, want := range map[string]string{
		"K7MPY":      "c6063fea5539d76f",
		"0123456789": "fa051104105c1a66",
		"ABCDEFGHIJ": "0c5ed33afb1b74ee",
		"KLMNOPQRST": "bf6875460c4c5c1d",
		"UVWXYZ":     "0bda4776a8614fa7",
	} {
		all, err := d.Frames(text, seed(7))
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		for _, m := range all {
			h.Write(m.Pix)
		}
		if got := hex.EncodeToString(h.Sum(nil)[:8]); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
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

func BenchmarkGIF(b *testing.B)  { benchmark(b, GIF) }
func BenchmarkAPNG(b *testing.B) { benchmark(b, APNG) }
