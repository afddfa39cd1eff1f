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
	cs, drawn := paintersAtWork(ps)
	results := measure(cs, cfg)

	r.title("Pictures")
	r.text("%d by %d pixels, %d characters, each picture another, into a buffer that is used again. steambap/captcha is missing: the Go module proxy does not serve it.", pictureWidth, pictureHeight, pictureLetters)
	r.paintTable(cs, results, drawn, paintGIF)
	other := results[paintDchest].median()
	for _, name := range []string{paintGIF, paintPNG} {
		m, what := results[name].median(), "Picture, "+name[len(name)-3:]
		r.atMost(what+": CPU", m.cpu, 150e3, duration, "dchest "+duration(other.cpu))
		r.atMost(what+": bytes allocated", m.bytes, 100e3, size, "dchest "+size(other.bytes))
		r.atMost(what+": largest file", float64(drawn[name].most), 6e3, size, "dchest "+size(float64(drawn[paintDchest].most)))
	}
	return nil
}

// drawing is what a painter has made so far.
type drawing struct{ n, bytes, most int }

// paintersAtWork lets painters contend, and notes what they draw.
func paintersAtWork(ps []painter) (cs []contender, drawn map[string]*drawing) {
	drawn = make(map[string]*drawing)
	for _, p := range ps {
		d := &drawing{}
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
	return cs, drawn
}

// paintTable shows what the painters took, as a multiple of one of them too.
func (r *report) paintTable(cs []contender, results map[string]result, drawn map[string]*drawing, first string) {
	var rows [][]string
	for _, c := range cs {
		res, d := results[c.name], drawn[c.name]
		m := res.median()
		rows = append(rows, []string{
			c.name, duration(m.cpu), times(res.ratio(results[first])), count(m.allocs), size(m.bytes), size(float64(d.bytes) / float64(d.n)), size(float64(d.most)),
		})
	}
	r.table([]string{"", "CPU", "× the first", "allocations", "bytes allocated", "file, mean", "file, largest"}, rows)
}
