package voices

// Samples are stored as differences from what a linear prediction says, counted
// in steps whose size follows the signal: N. S. Jayant, Adaptive quantization
// with a one-word memory, Bell System Technical Journal 52 (1973). Each takes a
// byte, of which DEFLATE then leaves less than four bits.

// coder is the state that both directions share.
type coder struct {
	last, before int32 // samples
	step         int32 // in sixteenths
}

const (
	most    = 15 // steps in either direction
	minStep = 32 * 16
	maxStep = 4096 * 16
)

func newCoder() coder { return coder{step: minStep} }

func (c *coder) predict() int32 { return (14*c.last - 6*c.before) / 16 }

// put takes a difference of q steps and returns the sample.
func (c *coder) put(q int32) int16 {
	x := min(max(c.predict()+q*c.step/16, -1<<15), 1<<15-1)
	c.last, c.before = x, c.last
	// Of three steps on the average: less makes them smaller.
	c.step = min(max(c.step*(58+2*max(q, -q))/64, minStep), maxStep)
	return int16(x)
}

func encode(dst []byte, samples []int16) []byte {
	c := newCoder()
	for _, x := range samples {
		d := (int32(x) - c.predict()) * 16
		half := c.step / 2
		if d < 0 {
			half = -half
		}
		q := min(max((d+half)/c.step, -most), most)
		c.put(q)
		dst = append(dst, byte(int8(q)))
	}
	return dst
}

func decode(b []byte) []int16 {
	c := newCoder()
	samples := make([]int16, len(b))
	for i, q := range b {
		samples[i] = c.put(min(max(int32(int8(q)), -most), most))
	}
	return samples
}
