package main

import (
	"errors"
	"strings"
	"testing"
)

// TestImportLongLine: a line that is too long is told, and those after it are read.
func TestImportLongLine(t *testing.T) {
	long := strings.Repeat("y", maxLine)
	var got []string
	for n, one := range people(strings.NewReader(`{"name":"a"}` + "\n" + `{"name":"` + long + `"}` + "\n\n" + `{"name":"b"}` + "\n" + long + "y")) {
		name := one.Name
		if one.err != nil {
			if !errors.Is(one.err, errLine) || !strings.Contains(one.err.Error(), "longer than") {
				t.Errorf("line %d: %v", n, one.err)
			}
			name = "bad"
		}
		got = append(got, string(rune('0'+n))+name)
	}
	if want := "1a 2bad 4b 5bad"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
}

// TestImportText: a byte-order mark is no part of a name, and what is not UTF-8 is
// refused instead of mended.
func TestImportText(t *testing.T) {
	for text, want := range map[string]string{
		"\ufeff\"name\",\"email\"\r\nalex,a@example.com\r\n": "2alex",
		"\ufeff{\"name\":\"alex\"}\n":                        "1alex",
		"{\"name\":\"Jos\xe9\"}\n{\"name\":\"alex\"}\n":      "1bad 2alex",
		"name\nJos\xe9\nalex\n":                              "2bad 3alex",
		"name\n\ufeffalex\n":                                 "2\ufeffalex",
		"\xff\xfen\x00a\x00m\x00e\x00\n\x00a\x00l\x00\n\x00": "1bad",
		"name\n\n \nalex":                                    "4alex",
		"":                                                   "",
	} {
		var got []string
		for n, one := range people(strings.NewReader(text)) {
			if one.err != nil {
				one.Name = "bad"
			}
			got = append(got, string(rune('0'+n))+one.Name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestImportBrief: a file that is none of people does not fill the screen.
func TestImportBrief(t *testing.T) {
	for n, one := range people(strings.NewReader(strings.Repeat("界", maxLine/4) + "\nalex\n")) {
		if n != 1 || one.err == nil || badLine(one.err) || len(one.err.Error()) > 1000 {
			t.Errorf("line %d: %v", n, one.err)
		}
	}
	if s := brief(strings.Repeat("界", 100)); len(s) > 203 || !strings.HasSuffix(s, "界…") || brief("short") != "short" {
		t.Errorf("%q", s)
	}
}

// FuzzImport: every line is read or refused, under its number.
func FuzzImport(f *testing.F) {
	f.Add("name,email\nalex,a@example.com\n\"quoted\nname\",\n")
	f.Add("\ufeff{\"name\":\"alex\",\"groups\":\"a b\"}\r\n\n{\"name\":1}\n[]")
	f.Add("{\"name\":\"alex\",\"groups\":[\"a\"],\"admin\":true}{")
	f.Add("name,admin\nx,maybe\n\"")
	f.Add("name\x00\n\xff\n")
	f.Fuzz(func(t *testing.T, text string) {
		last, lines := 0, strings.Count(text, "\n")+strings.Count(text, "\r")+1
		for n, one := range people(strings.NewReader(text)) {
			if n <= last && one.err == nil || n < last || n > lines {
				t.Fatalf("line %d after %d, of %d", n, last, lines)
			}
			if one.err != nil && one.err.Error() == "" {
				t.Error("an error without words")
			}
			last = n
		}
	})
}
