package main

import (
	"strings"
	"testing"
)

// TestReadSecret: what editors add is no part of a password, and all else is.
func TestReadSecret(t *testing.T) {
	for text, want := range map[string]string{
		"quiet lantern\n":           "quiet lantern",
		"\ufeffquiet lantern\r\n":   "quiet lantern",
		" quiet\tlantern \n\n":      " quiet\tlantern ",
		"quiet\nlantern":            "quiet\nlantern",
		"":                          "",
		"\ufeff\ufeffquiet lantern": "\ufeffquiet lantern",
	} {
		if got, err := readSecret(strings.NewReader(text)); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}
