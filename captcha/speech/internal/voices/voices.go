// Package voices holds the recordings that package speech puts together: digits
// in English and Mandarin, and letters, each from several voices. See README.md
// for how they are made.
package voices

import (
	"bytes"
	"compress/flate"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Rate is the samples per second of all clips.
const Rate = 8000

// Level is the root mean square of the loudest tenth of a second of each clip.
const Level = 4000

// The kinds of clip: in English and Mandarin, digits, and for both, letters.
const (
	English  = 'e'
	Mandarin = 'm'
	Letters  = 'l'
)

// A Clip is one character spoken by one voice.
type Clip struct {
	Kind    byte // English, Mandarin, Letters
	Voice   byte // counted from 0 within a kind
	Symbol  byte // what is said: a digit, or a capital letter
	Samples []int16
}

//go:embed voices.bin
var packed []byte

// Load returns the clips that are part of the program. They are unpacked once,
// to one megabyte that all callers share and nobody may change.
var Load = sync.OnceValues(func() ([]Clip, error) { return Unpack(packed) })

// The packed form is a stream of DEFLATE (RFC 1951) of all clips: kind, voice,
// symbol, the number of samples in two bytes, little-endian, and a byte for each
// sample, as in codec.go.

// Pack packs clips, none of which is longer than 65,535 samples.
func Pack(clips []Clip) []byte {
	var b []byte
	for _, c := range clips {
		b = append(b, c.Kind, c.Voice, c.Symbol)
		b = binary.LittleEndian.AppendUint16(b, uint16(len(c.Samples)))
		b = encode(b, c.Samples)
	}
	return deflate(b)
}

func deflate(b []byte) []byte {
	var out bytes.Buffer
	// Nothing fails: the level is one that there is, and memory takes all.
	w, _ := flate.NewWriter(&out, flate.BestCompression)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

// Unpack returns the clips that were packed.
func Unpack(b []byte) ([]Clip, error) {
	b, err := io.ReadAll(flate.NewReader(bytes.NewReader(b)))
	if err != nil {
		return nil, fmt.Errorf("voices: %w", err)
	}
	var clips []Clip
	for len(b) > 0 {
		const header = 5
		if len(b) < header || len(b) < header+int(binary.LittleEndian.Uint16(b[3:])) {
			return nil, errors.New("voices: cut off")
		}
		n := header + int(binary.LittleEndian.Uint16(b[3:]))
		clips = append(clips, Clip{Kind: b[0], Voice: b[1], Symbol: b[2], Samples: decode(b[header:n])})
		b = b[n:]
	}
	return clips, nil
}
