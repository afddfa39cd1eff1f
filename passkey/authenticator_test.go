package passkey_test

import (
	"encoding/base64"
	"log"

	"github.com/seed-64ad3862/gatehouse/internal/authenticator"
)

// must is for what cannot fail in a test.
func must[T any](v T, err error) T {
	if err != nil {
		log.Panic(err)
	}
	return v
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func unb64(s string) []byte { return must(base64.RawURLEncoding.DecodeString(s)) }

const (
	site = "https://app.example"
	rpID = "app.example"
)

type device = authenticator.Device

func newDevice(algorithm string) *device { return authenticator.New(site, rpID, algorithm) }
