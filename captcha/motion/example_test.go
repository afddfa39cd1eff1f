package motion_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"image/gif"
	"log"

	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/captcha/motion"
)

func Example() {
	d, err := motion.New(motion.Config{Ink: motion.Dark()})
	if err != nil {
		log.Fatal(err)
	}
	var seed [32]byte
	rand.Read(seed[:])
	film, err := d.Append(nil, captcha.NewCode(5), seed)
	if err != nil {
		log.Fatal(err)
	}

	g, err := gif.DecodeAll(bytes.NewReader(film))
	fmt.Println(d.MediaType(), g.Config.Width, g.Config.Height, err)
	fmt.Println(len(g.Image), "frames, seen for", d.Duration())
	// Output:
	// image/gif 120 45 <nil>
	// 16 frames, seen for 4.8s
}
