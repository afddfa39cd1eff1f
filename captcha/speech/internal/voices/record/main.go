// Command record makes voices.bin, with eSpeak NG as the voices and SoX as the
// studio: see the README beside the package. It is run by hand, in the package's
// directory:
//
//	go run ./record
package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log"
	"math"
	"os"
	"os/exec"
	"strconv"

	"github.com/seed-64ad3862/gatehouse/captcha/speech/internal/voices"
)

// speaker is a voice of eSpeak NG: its name, words per minute and pitch.
type speaker struct {
	voice       string
	speed, tune int
}

// words are what is said for a symbol.
var digits = map[byte]string{
	'2': "2", '3': "3", '4': "4", '5': "5", '6': "6", '7': "7", '8': "8", '9': "9",
}

// The names of letters sound alike, above all over a telephone. So each is
// followed by a word: of those that a first year of English teaches, because it
// is also for those who grew up with another language, and such as are unlike each
// other in length, stress and vowels.
var letters = map[byte]string{
	'A': "[[eI]], apple", 'C': "C, coffee", 'E': "E, elephant", 'H': "H, hotel",
	'K': "K, king", 'L': "L, lion", 'M': "M, monkey",
	'N': "N, number", 'P': "P, paper", 'T': "T, tiger", 'U': "U, umbrella",
	'W': "W, water", 'Y': "Y, yellow",
}

var sessions = []struct {
	kind     byte
	words    map[byte]string
	speakers []speaker
}{
	{voices.English, digits, []speaker{{"en-us", 120, 42}, {"en-us+f2", 125, 50}, {"en-gb-x-rp+m3", 105, 45}, {"en-gb+f4", 120, 45}}},
	{voices.Mandarin, digits, []speaker{{"cmn-latn-pinyin", 115, 42}, {"cmn-latn-pinyin+f2", 125, 50}, {"cmn-latn-pinyin+m3", 110, 45}, {"cmn-latn-pinyin+f4", 125, 45}}},
	{voices.Letters, letters, []speaker{{"en-us", 170, 42}, {"en-us+f2", 170, 50}}},
}

func main() {
	log.SetFlags(0)
	var clips []voices.Clip
	for _, s := range sessions {
		for i, speaker := range s.speakers {
			for symbol := range byte(128) { // in order, which a map is not
				word, ok := s.words[symbol]
				if !ok {
					continue
				}
				samples, err := record(speaker, word)
				if err != nil {
					log.Fatalf("%s, %q: %v", speaker.voice, word, err)
				}
				level(samples)
				clips = append(clips, voices.Clip{Kind: s.kind, Voice: byte(i), Symbol: symbol, Samples: samples})
			}
		}
	}
	b := voices.Pack(clips)
	if err := os.WriteFile("voices.bin", b, 0o644); err != nil {
		log.Fatal(err)
	}
	total := 0
	for _, c := range clips {
		total += len(c.Samples)
	}
	fmt.Printf("%d clips, %.1f seconds, %d bytes\n", len(clips), float64(total)/voices.Rate, len(b))
}

// record has the speaker say a word, and cuts off the silence around it.
func record(s speaker, word string) ([]int16, error) {
	var errors bytes.Buffer
	espeak := exec.Command("espeak-ng", "--stdout", "-v", s.voice, "-s", strconv.Itoa(s.speed), "-p", strconv.Itoa(s.tune), word)
	sox := exec.Command("sox", "-V1", "-R", "-D", "-t", "wav", "-", "-t", "raw", "-e", "signed", "-b", "16", "-c", "1", "-L", "-r", strconv.Itoa(voices.Rate), "-",
		"gain", "-6", // room for what the filters raise
		"highpass", "150",
		"treble", "4", "2500", // consonants are in the heights, and are the first to drown
		// The hiss of these voices' s, t and th is above 4 kHz, and hardly
		// anything else is: it is folded down instead of cut off, which makes
		// them the s and t of a telephone.
		"rate", "-v", strconv.Itoa(2*voices.Rate), "downsample", "2",
		"silence", "1", "0.005", "0.4%", "fade", "0.004", "reverse",
		"silence", "1", "0.005", "0.4%", "fade", "0.01", "reverse")
	espeak.Stderr, sox.Stderr = &errors, &errors
	pipe, err := espeak.StdoutPipe()
	if err != nil {
		return nil, err
	}
	sox.Stdin = pipe
	if err := espeak.Start(); err != nil {
		return nil, err
	}
	raw, err := sox.Output()
	if err != nil {
		return nil, fmt.Errorf("sox: %w\n%s", err, errors.Bytes())
	}
	if err := espeak.Wait(); err != nil {
		return nil, fmt.Errorf("espeak-ng: %w\n%s", err, errors.Bytes())
	}
	samples := make([]int16, len(raw)/2)
	for i := range samples {
		samples[i] = int16(binary.LittleEndian.Uint16(raw[2*i:]))
	}
	if len(samples) < voices.Rate/10 || len(samples) > math.MaxUint16 {
		return nil, fmt.Errorf("%d samples", len(samples))
	}
	return samples, nil
}

// level makes all clips equally loud.
func level(samples []int16) {
	const window = voices.Rate / 10
	loudest := 0.0
	for i := 0; i+window <= len(samples); i += window / 4 {
		sum := 0.0
		for _, x := range samples[i : i+window] {
			sum += float64(x) * float64(x)
		}
		loudest = max(loudest, math.Sqrt(sum/window))
	}
	for i, x := range samples {
		y := math.Round(float64(x) * voices.Level / loudest)
		samples[i] = int16(min(max(y, math.MinInt16), math.MaxInt16))
	}
}
