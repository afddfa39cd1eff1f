package speech

import (
	"math"
	"math/cmplx"
	"math/rand/v2"
	"testing"

	"github.com/seed-64ad3862/gatehouse/captcha/speech/internal/voices"
)

// A listener recognises single characters as machines did in the 1970s: it
// compares what it hears with the clips themselves, stretched in time to fit
// (H. Sakoe and S. Chiba, Dynamic programming algorithm optimization for spoken
// word recognition, 1978), and says what the nearest is.
type listener struct {
	templates []template
}

type template struct {
	voice, symbol byte
	frames        []frame
}

// A frame is 20 ms of sound: cepstral coefficients.
type frame [12]float64

// listen cuts sound into frames.
func listen(samples []int16) (out []frame) {
	const window, hop, bands = 256, second / 50, 20
	mel := func(f float64) float64 { return 1127 * math.Log(1+f/700) }
	low, high := mel(150), mel(3900)
	for start := 0; start+window <= len(samples); start += hop {
		x := make([]complex128, window)
		for i := range x {
			hann := 0.5 - 0.5*math.Cos(2*math.Pi*float64(i)/window)
			x[i] = complex(float64(samples[start+i])*hann, 0)
		}
		x = fft(x)
		var energy [bands]float64
		for i := 1; i < window/2; i++ {
			b := (mel(float64(i)*second/window) - low) / (high - low) * bands
			if b >= 0 && b < bands {
				energy[int(b)] += real(x[i] * cmplx.Conj(x[i]))
			}
		}
		var f frame
		for i := range f {
			for b, e := range energy {
				f[i] += math.Log(e+1e4) * math.Cos(math.Pi*float64(i+1)*(float64(b)+0.5)/bands)
			}
		}
		out = append(out, f)
	}
	// What all frames have in common is the voice and the room.
	var mean frame
	for _, f := range out {
		for i := range f {
			mean[i] += f[i] / float64(len(out))
		}
	}
	for j := range out {
		for i := range mean {
			out[j][i] -= mean[i]
		}
	}
	return out
}

func fft(x []complex128) []complex128 {
	n := len(x)
	if n == 1 {
		return x
	}
	even, odd := make([]complex128, n/2), make([]complex128, n/2)
	for i := range even {
		even[i], odd[i] = x[2*i], x[2*i+1]
	}
	even, odd = fft(even), fft(odd)
	out := make([]complex128, n)
	for i := range even {
		t := cmplx.Rect(1, -2*math.Pi*float64(i)/float64(n)) * odd[i]
		out[i], out[i+n/2] = even[i]+t, even[i]-t
	}
	return out
}

// apart is how much two words differ, however fast each is said.
func apart(a, b []frame) float64 {
	cost := make([]float64, len(b)+1)
	for j := range cost {
		cost[j] = math.Inf(1)
	}
	cost[0] = 0
	for _, f := range a {
		diagonal := cost[0]
		cost[0] = math.Inf(1)
		for j, g := range b {
			d := 0.0
			for i := range f {
				d += (f[i] - g[i]) * (f[i] - g[i])
			}
			d = math.Sqrt(d)
			// A step in both is as long as one in each.
			best := min(diagonal+2*d, cost[j]+d, cost[j+1]+d)
			diagonal, cost[j+1] = cost[j+1], best
		}
	}
	return cost[len(b)] / float64(len(a)+len(b))
}

// hear says what symbol the sound is. Templates of one voice may be left out.
func (l *listener) hear(samples []int16, without int) byte {
	frames := listen(samples)
	least, symbol := math.Inf(1), byte(0)
	for _, t := range l.templates {
		if int(t.voice) == without {
			continue
		}
		if d := apart(frames, t.frames); d < least {
			least, symbol = d, t.symbol
		}
	}
	return symbol
}

// The words are such that a listener who knows other voices only tells them
// apart, and nothing that is done to them, short of the babble, makes them
// another. With the babble this listener, who is told where each word begins and
// ends, gets some wrong. People do not hear like this; it is what can be tested.
func TestHear(t *testing.T) {
	clips, err := voices.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name     string
		kind     byte
		language Language
		symbols  string
	}{
		{"English", voices.English, English, Digits},
		{"Mandarin", voices.Mandarin, Mandarin, Digits},
		{"letters", voices.Letters, English, "ACEHKLMNPTUWY"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var l listener
			for _, c := range clips {
				if c.Kind == test.kind {
					l.templates = append(l.templates, template{c.Voice, c.Symbol, listen(c.Samples)})
				}
			}
			wrong, all := 0, 0
			for _, c := range clips {
				if c.Kind != test.kind {
					continue
				}
				all++
				if heard := l.hear(c.Samples, int(c.Voice)); heard != c.Symbol {
					wrong++
					t.Logf("voice %d says %c, by others' templates that is %c", c.Voice, c.Symbol, heard)
				}
			}
			if wrong > all/10 {
				t.Errorf("%d of %d clips are more like another word of other voices", wrong, all)
			}

			rec := recordingsFor(t, Config{Language: test.language})
			clean, mixed := 0, 0
			const n = 60
			rnd := rand.New(rand.NewPCG(8, 9))
			for i := range n {
				want := test.symbols[rnd.IntN(len(test.symbols))]
				m := newMixer()
				m.chacha.Seed(seed(i))
				m.speak(rec, string(want), false)
				from, to := 0, len(m.track)
				for m.track[from] == 0 {
					from++
				}
				for m.track[to-1] == 0 {
					to--
				}
				word := func() []int16 {
					var s []int16
					for _, x := range m.track[from:to] {
						s = append(s, int16(min(max(x, -1<<15), 1<<15-1)))
					}
					return s
				}
				if l.hear(word(), -1) == want {
					clean++
				}
				m.babble(rec)
				if l.hear(word(), -1) == want {
					mixed++
				}
			}
			t.Logf("of %d words %d are recognised without the babble, %d with it", n, clean, mixed)
			if clean != n || mixed >= n {
				t.Errorf("of %d words %d are recognised without the babble, %d with it", n, clean, mixed)
			}
		})
	}
}
