// Command collect makes words.bin: see the README beside the package. It is run
// by hand, in the package's directory, with the list as its argument:
//
//	go run ./collect passwords.json
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"

	"github.com/seed-64ad3862/gatehouse/password/internal/common"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: go run ./collect passwords.json")
	}
	b, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	var list []string
	if err := json.Unmarshal(b, &list); err != nil {
		log.Fatal(err)
	}
	var words []string
	for _, w := range list {
		// What is shorter is refused without a list, also with a few characters
		// around it.
		if w = strings.ToLower(w); len(w) >= 4 && !strings.ContainsAny(w, "\n") {
			words = append(words, w)
		}
	}
	slices.Sort(words)
	words = slices.Compact(words)
	if b, err = common.Pack(words); err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile("words.bin", b, 0o644); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d of %d, %d bytes\n", len(words), len(list), len(b))
}
