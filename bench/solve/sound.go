package main

import (
	"image"
	"math"
	"math/bits"
	"math/cmplx"
)

// A sound of 8 kHz and 8 bits is seen as its spectrum: a column each 20 ms, a row
// for each of 40 bands that get wider with their frequency.
const (
	wavHeader = 44
	window    = 256
	hop       = 160
	bands     = 40
	columns   = 256 // 5.1 s
)

func spectrum(samples []byte) *image.Gray {
	values := make([]float64, columns*bands)
	for i := range values {
		values[i] = -2
	}
	for column := range columns {
		at := column * hop
		if at+window > len(samples) {
			break
		}
		frame := make([]complex128, window)
		for i, s := range samples[at : at+window] {
			hann := 0.5 - 0.5*math.Cos(2*math.Pi*float64(i)/window)
			frame[i] = complex(hann*(float64(s)-128)/128, 0)
		}
		fft(frame)
		for band := range bands {
			low, high := edge(band), max(edge(band+1), edge(band)+1)
			sum := 0.0
			for _, c := range frame[low:high] {
				sum += real(c)*real(c) + imag(c)*imag(c)
			}
			values[(bands-1-band)*columns+column] = max(math.Log10(sum/float64(high-low)+1e-9), -2)
		}
	}
	return newGray(columns, bands, values)
}

// edge is the first bin of a band, by the mel scale.
func edge(band int) int {
	const top = 4000
	mel := 2595 * math.Log10(1+top/700.0) * float64(band) / bands
	return 1 + int((math.Pow(10, mel/2595)-1)*700/top*(window/2-1))
}

// fft is the discrete Fourier transform of a power of two, in place.
func fft(a []complex128) {
	n := len(a)
	shift := 64 - bits.Len(uint(n-1))
	for i := range a {
		if j := int(bits.Reverse64(uint64(i)) >> shift); i < j {
			a[i], a[j] = a[j], a[i]
		}
	}
	for size := 2; size <= n; size *= 2 {
		step := cmplx.Rect(1, -2*math.Pi/float64(size))
		for from := 0; from < n; from += size {
			turn := complex(1, 0)
			for i := from; i < from+size/2; i++ {
				odd := turn * a[i+size/2]
				a[i], a[i+size/2] = a[i]+odd, a[i]-odd
				turn *= step
			}
		}
	}
}
