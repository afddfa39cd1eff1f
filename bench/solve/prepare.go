package main

import (
	"image"
	"slices"
)

// preparations are what an attacker does to a picture before it is read. All make
// it twice as large, which recognisers like better.
var preparations = []struct {
	name string
	of   func(m *image.Gray) *image.Gray
}{
	{"grey", func(m *image.Gray) *image.Gray { return doubled(dark(m)) }},
	{"median", func(m *image.Gray) *image.Gray { return doubled(dark(ranked(m, 1, 4))) }},
	{"binary", func(m *image.Gray) *image.Gray { return doubled(bitonal(dark(m))) }},
	// Lines that are thinner than letters go.
	{"opened", func(m *image.Gray) *image.Gray { return doubled(ranked(ranked(bitonal(dark(m)), 1, 8), 1, 0)) }},
	// Small parts go.
	{"cleaned", func(m *image.Gray) *image.Gray { return doubled(cleaned(bitonal(dark(ranked(m, 1, 4))))) }},
}

// dark is the picture, or its negative, with ink on lighter paper.
func dark(m *image.Gray) *image.Gray {
	sum := 0
	for _, p := range m.Pix {
		sum += int(p)
	}
	if sum/len(m.Pix) >= 128 {
		return m
	}
	out := image.NewGray(m.Rect)
	for i, p := range m.Pix {
		out.Pix[i] = 255 - p
	}
	return out
}

// ranked gives each pixel the value that has so many smaller ones in its
// neighbourhood: 4 of 9 is the median.
func ranked(m *image.Gray, r, rank int) *image.Gray {
	out := image.NewGray(m.Rect)
	w, h := m.Rect.Dx(), m.Rect.Dy()
	var near []uint8
	for y := range h {
		for x := range w {
			near = near[:0]
			for dy := -r; dy <= r; dy++ {
				for dx := -r; dx <= r; dx++ {
					near = append(near, m.Pix[min(max(y+dy, 0), h-1)*w+min(max(x+dx, 0), w-1)])
				}
			}
			slices.Sort(near)
			out.Pix[y*w+x] = near[rank]
		}
	}
	return out
}

// bitonal is black and white, parted where the two differ most (Otsu 1979).
func bitonal(m *image.Gray) *image.Gray {
	var count [256]float64
	all, sum := 0.0, 0.0
	for _, p := range m.Pix {
		count[p]++
		all++
		sum += float64(p)
	}
	best, at := -1.0, 0
	below, belowSum := 0.0, 0.0
	for i, n := range count {
		below += n
		belowSum += n * float64(i)
		if below == 0 || below == all {
			continue
		}
		d := belowSum/below - (sum-belowSum)/(all-below)
		if v := below * (all - below) * d * d; v > best {
			best, at = v, i
		}
	}
	out := image.NewGray(m.Rect)
	for i, p := range m.Pix {
		if int(p) > at {
			out.Pix[i] = 255
		}
	}
	return out
}

// cleaned is a picture in black and white without black parts of less than 40
// pixels.
func cleaned(m *image.Gray) *image.Gray {
	w := m.Rect.Dx()
	seen := make([]bool, len(m.Pix))
	for start, p := range m.Pix {
		if p != 0 || seen[start] {
			continue
		}
		part := []int{start}
		seen[start] = true
		for k := 0; k < len(part); k++ {
			i := part[k]
			for _, j := range []int{i - 1, i + 1, i - w, i + w} {
				if j >= 0 && j < len(m.Pix) && m.Pix[j] == 0 && !seen[j] && (j/w == i/w || j%w == i%w) {
					seen[j] = true
					part = append(part, j)
				}
			}
		}
		if len(part) < 40 {
			for _, i := range part {
				m.Pix[i] = 255
			}
		}
	}
	return m
}

func doubled(m *image.Gray) *image.Gray {
	w := m.Rect.Dx()
	out := image.NewGray(image.Rect(0, 0, 2*w, 2*m.Rect.Dy()))
	for i := range out.Pix {
		out.Pix[i] = m.Pix[i/(2*w)/2*w+i%(2*w)/2]
	}
	return out
}

func halved(m *image.Gray) *image.Gray {
	w, h := m.Rect.Dx()/2, m.Rect.Dy()/2
	out := image.NewGray(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			at := 2*y*m.Stride + 2*x
			out.Pix[y*w+x] = uint8((int(m.Pix[at]) + int(m.Pix[at+1]) + int(m.Pix[at+m.Stride]) + int(m.Pix[at+m.Stride+1])) / 4)
		}
	}
	return out
}
