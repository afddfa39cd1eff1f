package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/png"

	dchest "github.com/dchest/captcha"
	"github.com/mojocn/base64Captcha"

	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/captcha/motion"
	"github.com/seed-64ad3862/gatehouse/captcha/speech"
	"github.com/seed-64ad3862/gatehouse/captcha/still"
)

// A set is one kind of challenges, as an attacker sees them.
type set struct {
	name     string
	alphabet string
	heard    bool // a sound, seen as its spectrum
	draw     func(answer string, seed [32]byte) (*image.Gray, error)
}

const letters = 5

// answer is that of the i-th challenge; each is another, and independent of what
// the seed makes of it.
func (s *set) answer(i int) string {
	b := make([]byte, letters)
	state := uint64(i)*letters*0x9e3779b97f4a7c15 + 1
	for j := range b {
		// The finalizer of SplitMix64: numbers that do not repeat.
		state += 0x9e3779b97f4a7c15
		z := (state ^ state>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		b[j] = s.alphabet[(z^z>>31)%uint64(len(s.alphabet))]
	}
	return string(b)
}

func (s *set) picture(i int) (*image.Gray, error) {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(i))
	return s.draw(s.answer(i), seed)
}

func sets() ([]*set, error) {
	var all []*set
	for _, f := range []struct {
		name string
		cfg  still.Config
	}{
		{"**gatehouse**, still, light, GIF", still.Config{}},
		{"**gatehouse**, still, dark, GIF", still.Config{Inks: still.Dark()}},
		{"**gatehouse**, still, light, PNG", still.Config{Format: still.PNG}},
	} {
		r, err := still.New(f.cfg)
		if err != nil {
			return nil, err
		}
		all = append(all, &set{f.name, captcha.Alphabet, false, func(answer string, seed [32]byte) (*image.Gray, error) {
			return decoded(r.Append(nil, answer, seed))
		}})
	}

	for _, language := range []speech.Language{speech.English, speech.Mandarin} {
		r, err := speech.New(speech.Config{Language: language})
		if err != nil {
			return nil, err
		}
		all = append(all, &set{"**gatehouse**, speech, " + string(language), speech.Digits, true, func(answer string, seed [32]byte) (*image.Gray, error) {
			b, err := r.Append(nil, answer, seed)
			if err != nil {
				return nil, err
			}
			return spectrum(b[wavHeader:]), nil
		}})
	}

	const digits = "0123456789"
	all = append(all, &set{"dchest/captcha", digits, false, func(answer string, seed [32]byte) (*image.Gray, error) {
		b := []byte(answer)
		for j := range b {
			b[j] -= '0'
		}
		var buf bytes.Buffer
		_, err := dchest.NewImage(fmt.Sprintf("%x", seed[:8]), b, 240, 80).WriteTo(&buf)
		return decoded(buf.Bytes(), err)
	}})
	lines := base64Captcha.OptionShowHollowLine | base64Captcha.OptionShowSlimeLine | base64Captcha.OptionShowSineLine
	for _, v := range []struct {
		name, alphabet string
		driver         base64Captcha.Driver
	}{
		{"base64Captcha, digits", digits, base64Captcha.NewDriverDigit(80, 240, letters, 0.7, 80)},
		{"base64Captcha, all lines and noise", captcha.Alphabet, base64Captcha.NewDriverString(80, 240, 20, lines, letters, captcha.Alphabet, nil, nil, nil)},
	} {
		all = append(all, &set{v.name, v.alphabet, false, func(answer string, _ [32]byte) (*image.Gray, error) {
			item, err := v.driver.DrawCaptcha(answer)
			if err != nil {
				return nil, err
			}
			var buf bytes.Buffer
			_, err = item.WriteTo(&buf)
			return decoded(buf.Bytes(), err)
		}})
	}

	film, err := motion.New(motion.Config{Loops: 1})
	if err != nil {
		return nil, err
	}
	for _, p := range projections {
		all = append(all, &set{"**gatehouse**, motion, " + p.name, captcha.Alphabet, false, func(answer string, seed [32]byte) (*image.Gray, error) {
			b, err := film.Append(nil, answer, seed)
			if err != nil {
				return nil, err
			}
			g, err := gif.DecodeAll(bytes.NewReader(b))
			if err != nil {
				return nil, err
			}
			return p.of(cellsOf(g)), nil
		}})
	}
	return all, nil
}

// decoded is a picture without its colours. What is transparent is on white.
func decoded(b []byte, err error) (*image.Gray, error) {
	if err != nil {
		return nil, err
	}
	m, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		if m, err = gif.Decode(bytes.NewReader(b)); err != nil {
			return nil, err
		}
	}
	g := image.NewGray(image.Rect(0, 0, m.Bounds().Dx(), m.Bounds().Dy()))
	for y := range g.Rect.Dy() {
		for x := range g.Rect.Dx() {
			r, gr, b, a := m.At(m.Bounds().Min.X+x, m.Bounds().Min.Y+y).RGBA()
			rest := 0xffff - a
			g.Set(x, y, color.RGBA64{uint16(r + rest), uint16(gr + rest), uint16(b + rest), 0xffff})
		}
	}
	return g, nil
}

// newGray makes a picture of values, between their least and their greatest.
func newGray(w, h int, values []float64) *image.Gray {
	least, most := values[0], values[0]
	for _, v := range values {
		least, most = min(least, v), max(most, v)
	}
	g := image.NewGray(image.Rect(0, 0, w, h))
	for i, v := range values {
		if most > least {
			g.Pix[i] = uint8(255 * (v - least) / (most - least))
		}
	}
	return g
}
