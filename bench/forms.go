package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	dchest "github.com/dchest/captcha"

	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/captcha/motion"
	"github.com/seed-64ad3862/gatehouse/captcha/pow"
	"github.com/seed-64ad3862/gatehouse/captcha/speech"
	"github.com/seed-64ad3862/gatehouse/captcha/still"
)

const (
	soundEnglish = "**gatehouse**, sound, English"
	soundDchest  = "dchest/captcha, sound, English"
)

// forms are the ways of showing a code beside still pictures.
func forms() ([]painter, error) {
	var ps []painter
	add := func(name, alphabet string, r captcha.Renderer, err error) error {
		ps = append(ps, painter{name, func(dst []byte, i int) ([]byte, error) {
			var seed [32]byte
			binary.LittleEndian.PutUint64(seed[:], uint64(i))
			return r.Append(dst, text(i, alphabet), seed)
		}})
		return err
	}
	for _, f := range []motion.Format{motion.GIF, motion.APNG} {
		r, err := motion.New(motion.Config{Format: f})
		if err := add("**gatehouse**, film, "+string(f), captcha.Alphabet, r, err); err != nil {
			return nil, err
		}
	}
	english, err := speech.New(speech.Config{})
	if err := add(soundEnglish, speech.Digits, english, err); err != nil {
		return nil, err
	}
	mandarin, err := speech.New(speech.Config{Language: speech.Mandarin})
	if err := add("**gatehouse**, sound, Mandarin", speech.Digits, mandarin, err); err != nil {
		return nil, err
	}
	ps = append(ps, painter{soundDchest, func(dst []byte, i int) ([]byte, error) {
		b := []byte(text(i, speech.Digits))
		for j := range b {
			b[j] -= '0'
		}
		buf := bytes.NewBuffer(dst)
		_, err := dchest.NewAudio(fmt.Sprint(i), b, "en").WriteTo(buf)
		return buf.Bytes(), err
	}})
	return ps, nil
}

func benchForms(ctx context.Context, cfg config, r *report) error {
	ps, err := forms()
	if err != nil {
		return err
	}
	cs, drawn := paintersAtWork(ps)
	results := measure(cs, cfg)
	r.title("Films and sounds")
	r.text("%d characters, digits for the sounds, each another, into a buffer that is used again.", pictureLetters)
	r.paintTable(cs, results, drawn, cs[0].name)
	m, other := results[soundEnglish].median(), results[soundDchest].median()
	r.atMost("Sound: CPU", m.cpu, 1.5e6, duration, "dchest "+duration(other.cpu))
	r.atMost("Sound: largest file", float64(drawn[soundEnglish].most), 60e3, size, "dchest "+size(float64(drawn[soundDchest].most)))

	work, err := chores(ctx)
	if err != nil {
		return err
	}
	results = measure(work, cfg)
	r.title("Challenges")
	r.text("The picture's handler from the request on, with a Once that remembers nothing; a solution of work that is right is verified for the first time, a forged one is refused before anything is remembered.")
	var rows [][]string
	for _, c := range work {
		m := results[c.name].median()
		rows = append(rows, []string{c.name, duration(m.cpu), count(m.allocs), size(m.bytes), thousands(1e9 / m.cpu)})
	}
	r.table([]string{"", "CPU", "allocations", "bytes allocated", "per second and core"}, rows)
	return nil
}

// always is a Once that remembers nothing.
type always struct{}

func (always) Spend(context.Context, [16]byte, time.Time) (bool, error) { return true, nil }

// chores are what a server does beside drawing.
func chores(ctx context.Context) ([]contender, error) {
	gif, err := still.New(still.Config{})
	if err != nil {
		return nil, err
	}
	c, err := captcha.New(captcha.Config{Once: always{}, Forms: map[string]captcha.Renderer{"gif": gif}})
	if err != nil {
		return nil, err
	}
	toll, err := pow.New(pow.Config{Once: always{}, Tries: 100})
	if err != nil {
		return nil, err
	}
	scope := captcha.Scope{Purpose: "sign-in", Session: "a session"}
	demand := pow.Demand{Scope: scope}
	challenge, err := toll.Issue(demand)
	if err != nil {
		return nil, err
	}
	solved, err := pow.Solve(ctx, challenge)
	if err != nil {
		return nil, err
	}
	other, err := pow.New(pow.Config{Tries: 100})
	if err != nil {
		return nil, err
	}
	id := c.Issue(scope)
	request := httptest.NewRequest(http.MethodGet, "/captcha/"+id+".gif", nil)
	each := func(name string, f func()) contender {
		return contender{name: name, run: func(n int) {
			for range n {
				f()
			}
		}}
	}
	return []contender{
		each("issue a code", func() { c.Issue(scope) }),
		each("its picture, through the handler", func() {
			w := &discard{header: make(http.Header)}
			if c.ServeHTTP(w, request); w.failed {
				panic("no picture")
			}
		}),
		each("verify a code", func() {
			if err := c.Verify(ctx, id, scope, "a guess"); err == nil {
				panic("a guess was right")
			}
		}),
		each("issue work, cost 50", func() { must(toll.Issue(demand)) }),
		each("verify work, right", func() { check(toll.Verify(ctx, demand, solved, "")) }),
		each("verify work, forged", func() {
			if err := other.Verify(ctx, demand, solved, ""); err == nil {
				panic("forged work was accepted")
			}
		}),
	}, nil
}
