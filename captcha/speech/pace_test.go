package speech

import (
	"math"
	"testing"
)

// tone is a voice of one note: a fundamental and some overtones.
func tone(hertz float64, n int) []int16 {
	s := make([]int16, n)
	for i := range s {
		t := 2 * math.Pi * hertz * float64(i) / second
		s[i] = int16(6000*math.Sin(t) + 3000*math.Sin(2*t+1) + 2000*math.Sin(5*t+2))
	}
	return s
}

// note measures a tone of about so many hertz: the lag, to a fraction, at which it
// is most like itself.
func note(s []int16, about float64) float64 {
	s = s[len(s)/4 : len(s)*3/4]
	match := func(lag int) (sum float64) {
		for i := range len(s) - 200 {
			sum += float64(s[i]) * float64(s[i+lag])
		}
		return sum
	}
	best := int(second / about)
	for lag := int(0.8 * second / about); lag < int(1.2*second/about); lag++ {
		if match(lag) > match(best) {
			best = lag
		}
	}
	a, b, c := match(best-1), match(best), match(best+1)
	return second / (float64(best) + (a-c)/(2*(a-2*b+c)))
}

func TestStretch(t *testing.T) {
	for _, hertz := range []float64{90, 130, 190, 240} {
		src := tone(hertz, 4000)
		step := 0 // the steepest there is in the tone
		for i := 1; i < len(src); i++ {
			step = max(step, int(math.Abs(float64(src[i])-float64(src[i-1]))))
		}
		for _, n := range []int{2400, 3300, 4000, 4700, 6000, 8000} {
			got := stretch([]int16{7}, src, n)
			if got[0] != 7 {
				t.Fatal("what was there is gone")
			}
			got = got[1:]
			if math.Abs(float64(len(got)-n)) > 260 {
				t.Errorf("%v Hz: %d samples, want %d", hertz, len(got), n)
			}
			if f := note(got, hertz); math.Abs(f/hertz-1) > 0.01 {
				t.Errorf("%v Hz, %d samples: %.1f Hz", hertz, n, f)
			}
			for i := 1; i < len(got); i++ {
				if d := math.Abs(float64(got[i]) - float64(got[i-1])); d > 1.5*float64(step) {
					t.Errorf("%v Hz, %d samples: clicks at %d", hertz, n, i)
					break
				}
			}
		}
	}
}

func TestResample(t *testing.T) {
	for _, hertz := range []float64{90, 130, 190} {
		src := tone(hertz, 4000)
		for _, faster := range []int{one * 9 / 10, one, one * 11 / 10, one * 5 / 4} {
			got := resample([]int16{7}, src, faster)
			if got[0] != 7 {
				t.Fatal("what was there is gone")
			}
			got = got[1:]
			by := float64(faster) / one
			if want := 4000 / by; math.Abs(float64(len(got))-want) > 8 {
				t.Errorf("%v times: %d samples, want %.0f", by, len(got), want)
			}
			if f := note(got, hertz*by); math.Abs(f/(hertz*by)-1) > 0.01 {
				t.Errorf("%v Hz, %v times: %.1f Hz", hertz, by, f)
			}
		}
		for i, x := range resample(nil, src, one) {
			if x != src[i+1] {
				t.Fatalf("at its own speed it is changed at %d", i)
			}
		}
	}
	// A curve through extremes goes beyond them, and is cut, not wrapped.
	loud := make([]int16, 64)
	for i := range loud {
		loud[i] = math.MaxInt16
		if i/4%2 == 1 {
			loud[i] = math.MinInt16
		}
	}
	for i, x := range resample(nil, loud, one/4) {
		near := loud[1+i/4]
		if next := loud[2+i/4]; near == next && (x < 0) != (near < 0) {
			t.Fatalf("sample %d is %d between two of %d", i, x, near)
		}
	}
}

// Sounds too short to be worked on come back, or nothing does.
func TestShort(t *testing.T) {
	for n := range 700 {
		src := tone(100, n)
		for _, to := range []int{0, 1, n / 2, n, 2 * n, 1000} {
			if got := stretch(nil, src, to); len(got) > max(n, to)+320 {
				t.Errorf("%d samples, stretched to %d, are %d", n, to, len(got))
			}
		}
		resample(nil, src, one)
	}
}
