package still_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"image/gif"
	"log"

	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/captcha/still"
)

func Example() {
	d, err := still.New(still.Config{Inks: still.Dark()})
	if err != nil {
		log.Fatal(err)
	}
	// The application keeps the code; the seed it can forget.
	var seed [32]byte
	rand.Read(seed[:])
	picture, err := d.Append(nil, captcha.NewCode(4), seed)
	if err != nil {
		log.Fatal(err)
	}

	c, err := gif.DecodeConfig(bytes.NewReader(picture))
	fmt.Println(d.MediaType(), c.Width, c.Height, err)
	// Output: image/gif 240 80 <nil>
}
