package speech_test

import (
	"crypto/rand"
	"fmt"
	"log"

	"github.com/seed-64ad3862/gatehouse/captcha/speech"
)

func Example() {
	d, err := speech.New(speech.Config{Language: speech.Mandarin})
	if err != nil {
		log.Fatal(err)
	}
	var seed [32]byte
	rand.Read(seed[:])
	recording, err := d.Append(nil, "39562", seed)

	fmt.Println(d.MediaType(), err)
	fmt.Printf("%s %s\n", recording[:4], recording[8:12])
	// Output:
	// audio/wav <nil>
	// RIFF WAVE
}
