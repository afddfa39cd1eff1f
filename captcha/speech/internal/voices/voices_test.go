package voices

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// Every voice of a kind says everything that there is to say, at the same level,
// neither cut short nor with a pause around it.
func TestLoad(t *testing.T) {
	clips, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	said := map[byte]map[byte]string{} // by kind and voice
	for _, c := range clips {
		if said[c.Kind] == nil {
			said[c.Kind] = map[byte]string{}
		}
		said[c.Kind][c.Voice] += string(c.Symbol)
		if seconds := float64(len(c.Samples)) / Rate; seconds < 0.2 || seconds > 1.5 {
			t.Errorf("%c %d says %c in %.2f seconds", c.Kind, c.Voice, c.Symbol, seconds)
		}
		if l := loudest(c.Samples); math.Abs(l/Level-1) > 0.1 {
			t.Errorf("%c %d says %c at level %.0f", c.Kind, c.Voice, c.Symbol, l)
		}
		if slices.Max(c.Samples) == math.MaxInt16 || slices.Min(c.Samples) == math.MinInt16 {
			t.Errorf("%c %d says %c too loud", c.Kind, c.Voice, c.Symbol)
		}
		const edge = Rate / 10
		if loudest(c.Samples[:edge]) < Level/100 || loudest(c.Samples[len(c.Samples)-edge:]) < Level/100 {
			t.Errorf("%c %d says %c with silence around it", c.Kind, c.Voice, c.Symbol)
		}
	}
	const digits, letters = "23456789", "ACEHKLMNPTUWY"
	for kind, want := range map[byte][]string{
		English:  {digits, digits, digits, digits},
		Mandarin: {digits, digits, digits, digits},
		Letters:  {letters, letters},
	} {
		if len(said[kind]) != len(want) {
			t.Errorf("%c has %d voices", kind, len(said[kind]))
		}
		for i, w := range want {
			if got := said[kind][byte(i)]; got != w {
				t.Errorf("%c %d says %q, want %q", kind, i, got, w)
			}
		}
	}
	if n := len(packed); n > 256_000 {
		t.Errorf("%d bytes", n)
	}
}

// loudest is the root mean square of the loudest tenth of a second.
func loudest(s []int16) (most float64) {
	const window = Rate / 10
	for i := 0; i+window <= len(s); i += window / 8 {
		sum := 0.0
		for _, x := range s[i : i+window] {
			sum += float64(x) * float64(x)
		}
		most = max(most, math.Sqrt(sum/window))
	}
	return most
}

// What comes back is near what was stored, for a voice, noise, silence and
// jumps from end to end.
func TestCodec(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for name, test := range map[string]struct {
		sample  func(i int) float64
		decibel float64 // how far below the signal its errors are
	}{
		"voice": {func(i int) float64 {
			t := 2 * math.Pi * 120 * float64(i) / Rate
			return 5000*math.Sin(t) + 2500*math.Sin(4*t) + 1000*math.Sin(19*t)
		}, 20},
		"noise":   {func(int) float64 { return 3000 * rnd.NormFloat64() }, 12},
		"silence": {func(int) float64 { return 0 }, 0},
		"jumps":   {func(i int) float64 { return 32767 * float64(1-i/50%2*2) }, 6},
	} {
		samples := make([]int16, 8000)
		for i := range samples {
			samples[i] = int16(min(max(test.sample(i), -1<<15), 1<<15-1))
		}
		clips, err := Unpack(Pack([]Clip{{English, 1, '2', samples}, {Letters, 2, 'A', nil}}))
		if err != nil || len(clips) != 2 || clips[0].Kind != English || clips[0].Voice != 1 || clips[0].Symbol != '2' ||
			len(clips[0].Samples) != len(samples) || clips[1].Symbol != 'A' || len(clips[1].Samples) != 0 {
			t.Fatalf("%s: %v", name, err)
		}
		signal, noise := 1.0, 1.0
		for i, x := range clips[0].Samples {
			d := float64(x) - float64(samples[i])
			signal += float64(samples[i]) * float64(samples[i])
			noise += d * d
		}
		if got := 10 * math.Log10(signal/noise); got < test.decibel {
			t.Errorf("%s: errors are %.1f dB below, want %.1f", name, got, test.decibel)
		}
	}
}

// A program that was built from half a file does not start with half a voice.
func TestUnpack(t *testing.T) {
	clip := []Clip{{English, 0, '2', make([]int16, 100)}}
	whole := Pack(clip)
	for n := range len(whole) {
		if c, err := Unpack(whole[:n]); err == nil {
			t.Errorf("%d of %d bytes: %d clips", n, len(whole), len(c))
		}
	}
	for _, raw := range [][]byte{{1, 2, 3, 4}, {1, 2, 3, 2, 0, 1}} {
		if _, err := Unpack(deflate(raw)); err == nil {
			t.Errorf("%v: no error", raw)
		}
	}
	if !bytes.Equal(Pack(clip), whole) {
		t.Error("the same clips are packed in two ways")
	}
}
