// Package common knows the passwords that people choose most. See README.md for
// where they are from.
package common

import (
	"bytes"
	"compress/flate"
	_ "embed"
	"io"
	"sort"
	"strings"
	"sync"
)

//go:embed words.bin
var packed []byte

// words are sorted, in lower case. Reading them takes a few milliseconds and a
// megabyte, which only who asks for one spends.
var words = sync.OnceValue(func() []string {
	b, err := io.ReadAll(flate.NewReader(bytes.NewReader(packed)))
	if err != nil {
		panic("common: " + err.Error()) // embedded, and read by a test
	}
	return unpack(string(b))
})

// Has reports whether a word, in lower case, is one of the common ones.
func Has(word string) bool {
	all := words()
	i := sort.SearchStrings(all, word)
	return i < len(all) && all[i] == word
}

// Pack returns sorted words in the form of words.bin: of each, as a letter from
// 'A' on, how many bytes it begins with of the one before, then the others and a
// line feed.
func Pack(sorted []string) ([]byte, error) {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestCompression)
	if err != nil {
		return nil, err
	}
	before := ""
	for _, word := range sorted {
		same := 0
		for same < min(len(word), len(before), maxSame) && word[same] == before[same] {
			same++
		}
		if _, err := io.WriteString(w, string(rune('A'+same))+word[same:]+"\n"); err != nil {
			return nil, err
		}
		before = word
	}
	err = w.Close()
	return out.Bytes(), err
}

const maxSame = 60

func unpack(s string) []string {
	all := make([]string, 0, strings.Count(s, "\n"))
	before := ""
	for line := range strings.Lines(s) {
		before = before[:line[0]-'A'] + line[1:len(line)-1]
		all = append(all, before)
	}
	return all
}
