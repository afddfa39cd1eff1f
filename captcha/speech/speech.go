// Package speech says short codes aloud, for those who do not see them, in
// English or Mandarin, as WAV.
//
// A [Renderer] is a form for package captcha:
//
//	en, err := speech.New(speech.Config{})
//	slow, err := speech.New(speech.Config{Slow: true})
//	captcha.Config{Forms: map[string]captcha.Renderer{"en.wav": en, "en.slow.wav": slow}}
//
// # What is heard
//
// Digits are said in the language. Of letters, whose names sound too much alike,
// the name comes first and then an English word that begins with it: "K, king".
// The words are the same in both languages, and such as are learned in a first
// year of English. A page should say so beside the player.
//
// Digits alone are easier for everybody, and the only thing that is as easy in
// Mandarin as in English: where an application makes codes to be heard, it
// should make them of [Digits].
//
// # How a recording is made
//
// The characters are recordings of synthetic voices, of several for each. Every
// character gets another voice, pitch and speed, and distance from the next; over
// it all come the echoes of a room, and behind it the babble of more voices,
// which are played backwards, so that nobody listens to what they say. The
// recording has 8000 samples per second of 8 bits: what a telephone carries.
//
// # What it is worth
//
// Less than a picture. Programs hear such recordings well, once they are trained
// on them, and the voices are public; the noise is set so that people
// understand. No person's hearing has been measured for it. Who can choose
// between forms is stopped by the weakest of them, so that this one counts for
// the whole: what stands against it is one try per challenge, and budgets.
//
// # Randomness
//
// Everything random comes from the seed, through ChaCha8, and all arithmetic is
// in integers. The same text, seed and Config give the same bytes on every
// machine.
package speech

import (
	"errors"
	"fmt"
	"sync"

	"github.com/seed-64ad3862/gatehouse/captcha/speech/internal/voices"
)

// Digits are the characters that are understood best, in either language. There
// is no 1, which in Mandarin sounds like 7, and no 0, which captcha.Alphabet has
// not either.
const Digits = "23456789"

// Config configures [New]. The zero value is English at its normal pace.
type Config struct {
	// Language is what digits are said in, [English] if empty.
	Language Language

	// Slow stretches the voices by a third, at the same pitch, and leaves more
	// than a second between characters: time to type each.
	Slow bool
}

// Language is a BCP 47 language tag.
type Language string

// The languages.
const (
	English  Language = "en"
	Mandarin Language = "zh"
)

// ErrText is the error for a text that cannot be said: it is empty, longer than
// ten characters, or has others than those of captcha.Alphabet. It comes without
// the text, which is a secret.
var ErrText = errors.New("speech: text cannot be said")

const maxText = 10

// A Renderer says texts. It is safe for concurrent use.
type Renderer struct {
	cfg  Config
	load func() (*recordings, error) // unpacks them for the first text
	pool sync.Pool                   // of *mixer
}

// recordings are what a language is spoken with.
type recordings struct {
	speech map[byte][][]int16 // for each character, how the voices say it
	babble [][]int16
}

// New returns a Renderer, or an error if cfg is out of its bounds. All Renderers
// share one megabyte of recordings, which are unpacked for the first text that one of
// them says.
func New(cfg Config) (*Renderer, error) {
	if cfg.Language == "" {
		cfg.Language = English
	}
	kind, ok := map[Language]byte{English: voices.English, Mandarin: voices.Mandarin}[cfg.Language]
	if !ok {
		return nil, fmt.Errorf("speech: unknown language %q", cfg.Language)
	}
	d := &Renderer{cfg: cfg, load: sync.OnceValues(func() (*recordings, error) { return recordingsOf(kind) })}
	d.pool.New = func() any { return newMixer() }
	return d, nil
}

// recordingsOf returns those of a kind, and the letters that both have.
func recordingsOf(kind byte) (*recordings, error) {
	clips, err := voices.Load()
	if err != nil {
		return nil, fmt.Errorf("speech: %w", err)
	}
	r := &recordings{speech: make(map[byte][][]int16)}
	for _, c := range clips {
		if c.Kind == kind || c.Kind == voices.Letters {
			r.speech[c.Symbol] = append(r.speech[c.Symbol], c.Samples)
		}
		r.babble = append(r.babble, c.Samples)
	}
	return r, nil
}

// MediaType returns "audio/wav".
func (d *Renderer) MediaType() string { return "audio/wav" }

// Alphabet returns [Digits]: challenges of package captcha get an answer of them
// to be heard. Append says letters all the same, for codes made elsewhere.
func (d *Renderer) Alphabet() string { return Digits }

// Append says text and appends the encoded recording to dst. The error is
// [ErrText], with dst as it was.
func (d *Renderer) Append(dst []byte, text string, seed [32]byte) ([]byte, error) {
	if len(text) == 0 || len(text) > maxText {
		return dst, ErrText
	}
	rec, err := d.load()
	if err != nil {
		return dst, err
	}
	for i := range len(text) {
		if rec.speech[text[i]] == nil {
			return dst, ErrText
		}
	}
	m := d.pool.Get().(*mixer)
	defer d.pool.Put(m)
	m.chacha.Seed(seed)
	m.speak(rec, text, d.cfg.Slow)
	m.babble(rec)
	return m.appendWAV(dst), nil
}
