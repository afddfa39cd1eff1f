package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	dchest "github.com/dchest/captcha"
	"github.com/mojocn/base64Captcha"

	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/captcha/still"
)

const (
	pictureWidth, pictureHeight = 240, 80
	pictureLetters              = 5
)

// A painter draws the i-th picture, each another, and appends it to dst.
type painter struct {
	name string
	draw func(dst []byte, i int) ([]byte, error)
}

const (
	paintGIF = "**gatehouse**, GIF"
	paintPNG = "**gatehouse**, PNG"

	paintDchest = "dchest/captcha"
)

func painters() ([]painter, error) {
	var ps []painter
	for _, f := range []struct {
		name   string
		format still.Format
	}{{paintGIF, still.GIF}, {paintPNG, still.PNG}} {
		d, err := still.New(still.Config{Format: f.format, Width: pictureWidth, Height: pictureHeight})
		if err != nil {
			return nil, err
		}
		ps = append(ps, painter{f.name, func(dst []byte, i int) ([]byte, error) {
			var seed [32]byte
			binary.LittleEndian.PutUint64(seed[:], uint64(i))
			return d.Append(dst, text(i, captcha.Alphabet), seed)
		}})
	}

	const digits = "0123456789"
	ps = append(ps, painter{paintDchest, func(dst []byte, i int) ([]byte, error) {
		b := []byte(text(i, digits))
		for j := range b {
			b[j] -= '0'
		}
		buf := bytes.NewBuffer(dst)
		_, err := dchest.NewImage(fmt.Sprint(i), b, pictureWidth, pictureHeight).WriteTo(buf)
		return buf.Bytes(), err
	}})
	all := base64Captcha.OptionShowHollowLine | base64Captcha.OptionShowSlimeLine | base64Captcha.OptionShowSineLine
	for _, v := range []struct {
		name   string
		driver base64Captcha.Driver
		source string
	}{
		{"base64Captcha, digits", base64Captcha.NewDriverDigit(pictureHeight, pictureWidth, pictureLetters, 0.7, 80), digits},
		{"base64Captcha, letters, all lines and noise", base64Captcha.NewDriverString(pictureHeight, pictureWidth, 20, all, pictureLetters, captcha.Alphabet, nil, nil, nil), captcha.Alphabet},
	} {
		ps = append(ps, painter{v.name, func(dst []byte, i int) ([]byte, error) {
			item, err := v.driver.DrawCaptcha(text(i, v.source))
			if err != nil {
				return dst, err
			}
			buf := bytes.NewBuffer(dst)
			_, err = item.WriteTo(buf)
			return buf.Bytes(), err
		}})
	}
	return ps, nil
}

// text is the i-th of the texts that are drawn.
func text(i int, alphabet string) string {
	b := make([]byte, pictureLetters)
	for j := range b {
		b[j] = alphabet[i%len(alphabet)]
		i = i/len(alphabet) + 7*j + 3
	}
	return string(b)
}

func benchPictures(_ context.Context, cfg config, r *report) error {
	ps, err := painters()
	if err != nil {
		return err
	}
	var cs []contender
	drawn := make(map[string]*struct{ n, bytes, most int })
	for _, p := range ps {
		d := &struct{ n, bytes, most int }{}
		drawn[p.name] = d
		var buf []byte
		cs = append(cs, contender{name: p.name, run: func(n int) {
			for range n {
				b, err := p.draw(buf[:0], d.n)
				if err != nil {
					panic(fmt.Sprintf("%s: %v", p.name, err))
				}
				buf = b
				d.n++
				d.bytes += len(b)
				d.most = max(d.most, len(b))
			}
		}})
	}
	results := measure(cs, cfg)

	r.title("Pictures")
	r.text("%d by %d pixels, %d characters, each picture another, into a buffer that is used again. steambap/captcha is missing: the Go module proxy does not serve it.", pictureWidth, pictureHeight, pictureLetters)
	var rows [][]string
	for _, c := range cs {
		res, d := results[c.name], drawn[c.name]
		m := res.median()
		mean := float64(d.bytes) / float64(d.n)
		rows = append(rows, []string{
			c.name, duration(m.cpu), times(res.ratio(results[paintGIF])), count(m.allocs), size(m.bytes), size(mean), size(float64(d.most)),
		})
		if c.name == paintGIF || c.name == paintPNG {
			what := "Picture, GIF"
			if c.name == paintPNG {
				what = "Picture, PNG"
			}
			other := results[paintDchest].median()
			r.atMost(what+": CPU", m.cpu, 150e3, duration, "dchest "+duration(other.cpu))
			r.atMost(what+": bytes allocated", m.bytes, 100e3, size, "dchest "+size(other.bytes))
			r.atMost(what+": largest file", float64(d.most), 6e3, size, "dchest "+size(float64(drawn[paintDchest].most)))
		}
	}
	r.table([]string{"", "CPU", "× ours (GIF)", "allocations", "bytes allocated", "file, mean", "file, largest"}, rows)
	return nil
}
