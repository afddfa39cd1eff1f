package main

import (
	"strings"
	"testing"
)

// TestTable: columns stand under each other as a terminal shows them.
func TestTable(t *testing.T) {
	var out strings.Builder
	table := newTable(&out, false, "NAME", "ROLE")
	for _, row := range [][]string{{"alex", "admin"}, {"李雷", ""}, {"ｗｉｄｅ", "x"}, {"e\u0301mile", "admin"}} {
		if err := table.add(nil, row...); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.end(); err != nil {
		t.Fatal(err)
	}
	const want = "NAME      ROLE\nalex      admin\n李雷      -\nｗｉｄｅ  x\ne\u0301mile     admin\n"
	if out.String() != want {
		t.Errorf("\n%s, want\n%s", out.String(), want)
	}
	for text, n := range map[string]int{"": 0, "abc": 3, "李雷": 4, "e\u0301": 1, "\u200b": 0, "한국": 4, "カナ": 4, "é": 1} {
		if got := cells(text); got != n {
			t.Errorf("%q takes %d cells, want %d", text, got, n)
		}
	}
}
