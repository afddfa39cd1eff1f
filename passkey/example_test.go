package passkey_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"

	"github.com/seed-64ad3862/gatehouse/passkey"
)

func Example() {
	p, err := passkey.New(passkey.Config{Origins: []string{"https://app.example"}, Name: "Example"})
	if err != nil {
		log.Fatal(err)
	}
	device := newDevice("ES256") // a browser, which runs what Script serves

	// Zoe is signed in, and makes a passkey.
	zoe := passkey.User{Handle: passkey.NewHandle(), Name: "zoe"}
	options, state, err := p.BeginRegistration(zoe)
	if err != nil {
		log.Fatal(err)
	}
	session, _ := json.Marshal(state) // in her session, until the response is there
	response := device.Create(options)

	state = passkey.State{}
	if err := json.Unmarshal(session, &state); err != nil {
		log.Fatal(err)
	}
	credential, err := p.FinishRegistration(zoe, state, response)
	if err != nil {
		log.Fatal(err)
	}
	zoe.Credentials = append(zoe.Credentials, credential) // to the store
	fmt.Println("registered, reached by", credential.Transports)

	// Somebody signs in, and gives no name.
	options, state, err = p.BeginSignIn()
	if err != nil {
		log.Fatal(err)
	}
	find := func(_ context.Context, handle, _ []byte) (passkey.User, error) {
		if string(handle) != string(zoe.Handle) {
			return passkey.User{}, passkey.ErrUnknown
		}
		return zoe, nil
	}
	who, credential, err := p.FinishSignIn(context.Background(), state, device.Get(options), find)
	if err != nil {
		log.Fatal(err)
	}
	zoe.Credentials[0] = credential // its counter has changed
	fmt.Println("welcome,", who.Name)

	// What is over is over.
	_, other, _ := p.BeginSignIn()
	_, _, err = p.FinishSignIn(context.Background(), other, device.Get(options), find)
	fmt.Println(err)
	// Output:
	// registered, reached by [internal hybrid]
	// welcome, zoe
	// passkey: response not verified: sign-in: it is for another challenge
}
