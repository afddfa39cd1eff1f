package speech

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"

	"github.com/seed-64ad3862/gatehouse/captcha/speech/internal/voices"
)

// Times are in samples, factors in 4096ths.
const (
	second = voices.Rate
	bits   = 12
	one    = 1 << bits
)

// mixer is the desk for one recording, used again for the next. All its
// arithmetic is in integers, because processors may round the sums of products
// differently (Go lets them fuse the two operations).
type mixer struct {
	track   []int32 // what is heard
	plan    []take
	voice   []int16 // one character
	scratch []int16
	chacha  *rand.ChaCha8
	rnd     *rand.Rand
}

func newMixer() *mixer {
	m := &mixer{chacha: rand.NewChaCha8([32]byte{})}
	m.rnd = rand.New(m.chacha)
	return m
}

// between returns a random number from a to b.
func (m *mixer) between(a, b int) int { return a + m.rnd.IntN(b-a+1) }

// A take is how a character is to be said.
type take struct {
	samples              []int16
	pitch, stretch, gain int
	pause                int // before it
}

// takes chooses how text is said. A slow recording has the voices of the other
// with the same seed, each at the same pitch.
func (m *mixer) takes(r *recordings, text string, slow bool) []take {
	m.plan = m.plan[:0]
	for i := range len(text) {
		said := r.speech[text[i]]
		t := take{
			samples: said[m.rnd.IntN(len(said))],
			pitch:   m.between(one*92/100, one*110/100),
			stretch: m.between(one*92/100, one*108/100),
			gain:    m.between(one*80/100, one*110/100),
			pause:   m.between(second*20/100, second*40/100),
		}
		if slow {
			t.stretch = t.stretch * 4 / 3
			if i > 0 {
				t.pause += second
			}
		}
		m.plan = append(m.plan, t)
	}
	return m.plan
}

// speak fills the track with what is to be understood.
func (m *mixer) speak(r *recordings, text string, slow bool) {
	m.track = m.track[:0]
	for _, t := range m.takes(r, text, slow) {
		m.rest(t.pause)
		m.say(t)
	}
	m.rest(second / 5)
	for range 3 { // walls
		m.echo(m.between(second*4/1000, second*35/1000), m.between(-one*30/100, one*30/100))
	}
}

// rest adds silence.
func (m *mixer) rest(n int) { m.track = append(m.track, make([]int32, n)...) }

// say adds a character.
func (m *mixer) say(t take) {
	// First at another speed, like a record, which changes pitch and length; and
	// then to the length it is to have, which leaves the pitch.
	m.scratch = resample(m.scratch[:0], t.samples, t.pitch)
	m.voice = stretch(m.voice[:0], m.scratch, len(t.samples)*t.stretch>>bits)
	for _, x := range m.voice {
		m.track = append(m.track, int32(x)*int32(t.gain)>>bits)
	}
}

// echo adds everything once more: later, weaker, or upside down.
func (m *mixer) echo(delay, gain int) {
	late := m.track[delay:]
	// From the end on, so that an echo has no echo of its own.
	for i, x := range slices.Backward(m.track[:len(late)]) {
		late[i] += x * int32(gain) >> bits
	}
}

// babble adds what is behind the voices.
func (m *mixer) babble(r *recordings) {
	for range 3 {
		m.behind(r)
	}
}

// behind adds a voice that babbles from beginning to end.
func (m *mixer) behind(r *recordings) {
	for i := 0; i < len(m.track); {
		clip := r.babble[m.rnd.IntN(len(r.babble))]
		gain := int32(m.between(one*12/100, one*28/100))
		speed := m.between(one*80/100, one*125/100)
		for at := len(clip)*one - 1; at >= 0 && i < len(m.track); at -= speed {
			m.track[i] += int32(clip[at>>bits]) * gain >> bits
			i++
		}
	}
}

// appendWAV appends the track, as loud as it goes, in RIFF's form of 1991
// (Multimedia Programming Interface and Data Specifications 1.0).
func (m *mixer) appendWAV(dst []byte) []byte {
	le := binary.LittleEndian
	n := uint32(len(m.track))
	pad := n % 2
	dst = append(dst, "RIFF"...)
	dst = le.AppendUint32(dst, 4+8+16+8+n+pad)
	dst = append(dst, "WAVEfmt "...)
	dst = le.AppendUint32(dst, 16)
	dst = le.AppendUint16(dst, 1) // PCM
	dst = le.AppendUint16(dst, 1) // channel
	dst = le.AppendUint32(dst, voices.Rate)
	dst = le.AppendUint32(dst, voices.Rate) // bytes per second
	dst = le.AppendUint16(dst, 1)           // bytes per sample
	dst = le.AppendUint16(dst, 8)           // bits
	dst = append(dst, "data"...)
	dst = le.AppendUint32(dst, n)
	loudest := int32(1)
	for _, x := range m.track {
		loudest = max(loudest, x, -x)
	}
	scale := (120 << 16) / int(loudest)
	for _, x := range m.track {
		dst = append(dst, byte(128+(int(x)*scale+1<<15)>>16))
	}
	if pad != 0 {
		dst = append(dst, 0)
	}
	return dst
}
