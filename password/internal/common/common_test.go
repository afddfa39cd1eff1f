package common

import (
	"slices"
	"testing"
)

func TestWords(t *testing.T) {
	all := words()
	long := 0
	for _, w := range all {
		if len(w) >= 8 {
			long++
		}
	}
	if len(all) != 49193 || long != 17950 {
		t.Errorf("%d words, %d of them long", len(all), long)
	}
	if !slices.IsSorted(all) || len(slices.Compact(slices.Clone(all))) != len(all) {
		t.Error("not sorted, or one is there twice")
	}
	b, err := Pack(all)
	if err != nil || string(b) != string(packed) {
		t.Errorf("packed anew: %d bytes, %v; are %d", len(b), err, len(packed))
	}
}

func TestHas(t *testing.T) {
	for word, want := range map[string]bool{
		"password": true, "123456": true, "dragon": true, "passwor": true,
		"": false, "Password": false, "zzzzzz": false, "\xff": false, "correct horse battery staple": false,
	} {
		if Has(word) != want {
			t.Errorf("%q: %t", word, !want)
		}
	}
}

func BenchmarkHas(b *testing.B) {
	for b.Loop() {
		Has("correct horse")
	}
}
