package speech

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/seed-64ad3862/gatehouse/captcha"
)

var _ captcha.Renderer = (*Renderer)(nil)

// configs are all that there are.
var configs = []Config{{}, {Slow: true}, {Language: Mandarin}, {Language: Mandarin, Slow: true}}

func newRenderer(t testing.TB, cfg Config) *Renderer {
	t.Helper()
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func recordingsFor(t testing.TB, cfg Config) *recordings {
	t.Helper()
	r, err := newRenderer(t, cfg).load()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func seed(i int) [32]byte { return [32]byte{byte(i), byte(i >> 8)} }

// textOf is one of many texts of n characters.
func textOf(i, n int) string { return strings.Repeat(captcha.Alphabet, 2)[i*7%23:][:n] }

// A recording is a WAV file by the book, whole, neither silent nor overdriven.
func TestWAV(t *testing.T) {
	type header struct {
		RIFF          [4]byte
		Size          uint32
		WAVE, Fmt     [4]byte
		FmtSize       uint32
		Format        uint16
		Channels      uint16
		Rate, Speed   uint32
		Frame, Sample uint16
		Data          [4]byte
		DataSize      uint32
	}
	for _, cfg := range configs {
		d := newRenderer(t, cfg)
		if d.MediaType() != "audio/wav" {
			t.Errorf("media type %s", d.MediaType())
		}
		for i := range 40 {
			b, err := d.Append([]byte("before"), textOf(i, 1+i%maxText), seed(i))
			if err != nil {
				t.Fatal(err)
			}
			if string(b[:6]) != "before" {
				t.Fatal("what was in dst is gone")
			}
			b = b[6:]
			var h header
			r := bytes.NewReader(b)
			if err := binary.Read(r, binary.LittleEndian, &h); err != nil {
				t.Fatal(err)
			}
			samples := b[len(b)-r.Len():]
			want := header{
				[4]byte([]byte("RIFF")), uint32(len(b) - 8), [4]byte([]byte("WAVE")), [4]byte([]byte("fmt ")),
				16, 1, 1, 8000, 8000, 1, 8, [4]byte([]byte("data")), h.DataSize,
			}
			if h != want {
				t.Fatalf("header %+v, want %+v", h, want)
			}
			if pad := len(samples) - int(h.DataSize); pad < 0 || pad > 1 || len(b)%2 != 0 {
				t.Fatalf("%d bytes, of which %d are samples", len(samples), h.DataSize)
			}
			samples = samples[:h.DataSize]
			low, high, power := slices.Min(samples), slices.Max(samples), 0.0
			for _, x := range samples {
				power += (float64(x) - 128) * (float64(x) - 128)
			}
			if low < 128-121 || high > 128+121 || low > 128-118 && high < 128+118 {
				t.Errorf("from %d to %d", low, high)
			}
			if rms := math.Sqrt(power / float64(len(samples))); rms < 6 || rms > 50 {
				t.Errorf("%s, %d: loudness %.1f", textOf(i, 1+i%maxText), i, rms)
			}
		}
	}
}

// What is to be heard over a slow line is not to be large.
func TestSize(t *testing.T) {
	for _, cfg := range configs {
		d := newRenderer(t, cfg)
		most := map[string]int{}
		for i := range 60 {
			for _, text := range []string{Digits[i%4:][:5], "9K5A7", "HWYNM"} {
				b, err := d.Append(nil, text, seed(i))
				if err != nil {
					t.Fatal(err)
				}
				most[text] = max(most[text], len(b))
			}
		}
		for text, n := range most {
			limit := 60_000
			if cfg.Slow {
				limit = 110_000
			}
			if n > limit {
				t.Errorf("%+v, %s: %d bytes", cfg, text, n)
			}
		}
		t.Logf("%+v: %v", cfg, most)
	}
}

func TestText(t *testing.T) {
	for _, cfg := range configs {
		d := newRenderer(t, cfg)
		for _, text := range []string{"", "k7mpx", "K7MP ", "K7MPB", "K7MP1", "K7MPÄ", "K7M\x00", strings.Repeat("A", maxText+1)} {
			b, err := d.Append([]byte("dst"), text, seed(0))
			if !errors.Is(err, ErrText) || string(b) != "dst" {
				t.Errorf("%q: %q, %v", text, b, err)
			}
		}
	}
}

func TestNew(t *testing.T) {
	for _, cfg := range []Config{{Language: "en-US"}, {Language: "EN"}, {Language: "de"}, {Language: "yue"}} {
		if d, err := New(cfg); err == nil || d != nil {
			t.Errorf("%+v: no error", cfg)
		}
	}
}

// Everything that package captcha asks for can be said, by several voices, and
// nothing in two ways.
func TestAlphabet(t *testing.T) {
	for _, cfg := range configs {
		rec := recordingsFor(t, cfg)
		for i := range captcha.Alphabet {
			if n := len(rec.speech[captcha.Alphabet[i]]); n < 2 {
				t.Errorf("%+v: %c has %d voices", cfg, captcha.Alphabet[i], n)
			}
		}
		if len(rec.speech) != len(captcha.Alphabet) {
			t.Errorf("%+v: %d characters", cfg, len(rec.speech))
		}
	}
	for i := range Digits {
		if !strings.Contains(captcha.Alphabet, Digits[i:i+1]) {
			t.Errorf("%c is not in captcha.Alphabet", Digits[i])
		}
	}
}

// Slow is the same recording for somebody who wants to follow: the same voices at
// the same pitch, and a second more between them.
func TestSlow(t *testing.T) {
	for _, language := range []Language{English, Mandarin} {
		rec := recordingsFor(t, Config{Language: language})
		for i := range 50 {
			m, text := newMixer(), textOf(i, 5)
			m.chacha.Seed(seed(i))
			a := slices.Clone(m.takes(rec, text, false))
			m.chacha.Seed(seed(i))
			b := m.takes(rec, text, true)
			for j := range a {
				want := a[j]
				want.stretch = want.stretch * 4 / 3
				if j > 0 {
					want.pause += 8000
				}
				if &a[j].samples[0] != &b[j].samples[0] || b[j].pitch != want.pitch || b[j].gain != want.gain || b[j].stretch != want.stretch || b[j].pause != want.pause {
					t.Fatalf("%s, %d: character %d is another", text, i, j)
				}
			}
		}
	}
}

// The same seed gives the same bytes, whatever was said before and from how
// many goroutines; another seed or text gives others.
func TestDeterministic(t *testing.T) {
	d := newRenderer(t, Config{})
	want := make([][]byte, 16)
	seen := make(map[string]bool)
	for i := range want {
		want[i], _ = newRenderer(t, Config{}).Append(nil, "K7MPY", seed(i))
		seen[string(want[i])] = true
	}
	other, _ := d.Append(nil, "K7MP4", seed(0))
	seen[string(other)] = true
	if len(seen) != len(want)+1 {
		t.Errorf("%d different recordings", len(seen))
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 40 {
				// A longer text before leaves nothing behind.
				if _, err := d.Append(nil, textOf(i, 1+i%maxText), seed(i)); err != nil {
					t.Error(err)
				}
				got, err := d.Append(nil, "K7MPY", seed(i%len(want)))
				if err != nil || !bytes.Equal(got, want[i%len(want)]) {
					t.Errorf("recording %d differs", i)
				}
			}
		})
	}
	wg.Wait()
}

// These bytes must not change by accident: where two machines of different
// versions serve the same challenge, a program that hears both gains.
func TestGolden(t *testing.T) {
	want := []string{"5717004503ba3d96", "5be02f776f75de81", "56cd5274b51817fd", "0c7cd0cc16e43b0d"}
	for i, cfg := range configs {
		h := sha256.New()
		for j := range 8 {
			b, err := newRenderer(t, cfg).Append(nil, textOf(j*5, 5), seed(j))
			if err != nil {
				t.Fatal(err)
			}
			h.Write(b)
		}
		if got := hex.EncodeToString(h.Sum(nil)[:8]); got != want[i] {
			t.Errorf("%+v: %s, want %s", cfg, got, want[i])
		}
	}
}

func benchmark(b *testing.B, cfg Config, text string) {
	d := newRenderer(b, cfg)
	var buf []byte
	most, i := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = d.Append(buf[:0], text, seed(i)); err != nil {
			b.Fatal(err)
		}
		most = max(most, len(buf))
		i++
	}
	b.ReportMetric(float64(most), "bytes/most")
}

func BenchmarkDigits(b *testing.B)  { benchmark(b, Config{}, "39562") }
func BenchmarkMixed(b *testing.B)   { benchmark(b, Config{}, "K7MP4") }
func BenchmarkLetters(b *testing.B) { benchmark(b, Config{}, "HWYNM") }
func BenchmarkSlow(b *testing.B)    { benchmark(b, Config{Slow: true}, "39562") }
