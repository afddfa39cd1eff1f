package tornado_test

import (
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-64ad3862/gatehouse/csrf/tornado"
)

// The vectors were made by Tornado 6.2, with its answers; see testdata.

type secret map[int]string // a plain secret has key version 0

func (s *secret) UnmarshalJSON(b []byte) error {
	var plain string
	if json.Unmarshal(b, &plain) == nil {
		*s = secret{0: plain}
		return nil
	}
	return json.Unmarshal(b, (*map[int]string)(s))
}

type vector struct {
	ID, Kind, Note string
	Expect         json.RawMessage

	// decode_signed_value
	Secret     secret
	Name       string
	Input      string
	Now        int64
	MaxAgeDays int `json:"max_age_days"`
	MinVersion int `json:"min_version"`

	// set_cookie
	Value string

	// check_xsrf
	Cookie    string
	FormField *string `json:"form_field"`
	Headers   map[string]string

	// xsrf_token
	RawHex    string `json:"raw_hex"`
	SetCookie string `json:"set_cookie"`

	// static_url
	FileContent     string `json:"file_content"`
	StaticURLPrefix string `json:"static_url_prefix"`
	Path            string
}

type vectorFile struct {
	CreatedWith struct {
		Secret, Name, Value string
		Clock               int64
	} `json:"created_with"`
	Create  map[string]string
	Vectors []vector
}

func readVectors(t *testing.T) vectorFile {
	t.Helper()
	b, err := os.ReadFile("testdata/tornado-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var f vectorFile
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// stricter names each vector where this package is meant to answer otherwise
// than Tornado did, with the reason. [vector.run] says what it answers instead.
var stricter = map[string]string{
	"SV23": "Tornado raises ValueError, which its client sees as a 500",
	"XS05": "whoever plants the cookie chooses the word on both sides",
	"XS13": "a mask of 3 bytes is a mismatch or a bad format, depending on how Tornado was built; here always the latter",
}

func TestVectors(t *testing.T) {
	file := readVectors(t)
	ran := map[string]int{}
	for _, v := range file.Vectors {
		t.Run(v.ID, func(t *testing.T) {
			check, ok := map[string]func(*testing.T, vector){
				"decode_signed_value": decodeSignedValue,
				"set_cookie":          setCookie,
				"check_xsrf":          checkXSRF,
				"xsrf_token":          xsrfToken,
				"static_url":          staticURL,
			}[v.Kind]
			if !ok {
				t.Fatalf("vectors of kind %q are not exercised", v.Kind)
			}
			if why, ok := stricter[v.ID]; ok {
				t.Log("stricter than Tornado: ", why)
			}
			ran[v.Kind]++
			check(t, v)
		})
	}
	want := map[string]int{"decode_signed_value": 16, "set_cookie": 1, "check_xsrf": 10, "xsrf_token": 1, "static_url": 2}
	if !maps.Equal(ran, want) {
		t.Errorf("exercised %v, want %v", ran, want)
	}
}

// expect reads what Tornado answered, into a pointer.
func (v vector) expect(t *testing.T, into any) {
	t.Helper()
	if err := json.Unmarshal(v.Expect, into); err != nil {
		t.Fatal(err)
	}
}

// at runs f with the clock at a Unix time.
func at(t *testing.T, unix int64, f func(t *testing.T)) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Unix(unix, 0)))
		f(t)
	})
}

func newSigner(t *testing.T, cfg tornado.SignerConfig) *tornado.Signer {
	t.Helper()
	s, err := tornado.NewSigner(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func decodeSignedValue(t *testing.T, v vector) {
	var expect struct {
		Value  *string
		Raises string
	}
	v.expect(t, &expect)
	if (expect.Raises != "") != (stricter[v.ID] != "") {
		t.Fatalf("Tornado raises %q, which is not the difference expected", expect.Raises)
	}
	cfg := tornado.SignerConfig{Keys: v.Secret, MaxAge: time.Duration(v.MaxAgeDays) * 24 * time.Hour}
	for cfg.KeyVersion = range v.Secret { // any: nothing is signed
	}
	if v.MinVersion == 1 {
		cfg.V1Secret = v.Secret[0]
	}
	at(t, v.Now, func(t *testing.T) {
		got, err := newSigner(t, cfg).Verify(v.Name, v.Input)
		switch {
		case expect.Value == nil && err == nil:
			t.Errorf("Verify = %q, want an error", got)
		case expect.Value != nil && (err != nil || string(got) != *expect.Value):
			t.Errorf("Verify = %q, %v, want %q", got, err, *expect.Value)
		}
	})
}

func setCookie(t *testing.T, v vector) {
	var expect string
	v.expect(t, &expect)
	// net/http's writer, because its quoting is what the formats rely on.
	if got := (&http.Cookie{Name: v.Name, Value: v.Value, Path: "/"}).String(); got != expect {
		t.Errorf("cookie %q, want %q", got, expect)
	}
	c, err := http.ParseSetCookie(expect)
	if err != nil || c.Value != v.Value {
		t.Errorf("read back %+v, %v, want %q", c, err, v.Value)
	}
}

func checkXSRF(t *testing.T, v vector) {
	var expect struct {
		OK         bool
		Status     int
		LogMessage string `json:"log_message"`
	}
	v.expect(t, &expect)
	if !expect.OK && expect.Status != http.StatusForbidden {
		t.Fatalf("status %d", expect.Status)
	}
	switch v.ID {
	case "XS05", "XS13":
		expect.OK, expect.LogMessage = false, "'_xsrf' argument has invalid format"
	}
	field := ""
	if v.FormField != nil {
		field = *v.FormField
	}
	header := http.Header{}
	for name, value := range v.Headers {
		header.Set(name, value)
	}
	got := ""
	if err := (tornado.XSRF{AcceptV1: true}).Check(v.Cookie, field, header); err != nil {
		got = err.Error()
	}
	if (got == "") != expect.OK || got != expect.LogMessage {
		t.Errorf("Check = %q, Tornado: ok %v, %q", got, expect.OK, expect.LogMessage)
	}

	// Version 1 is read only where it is asked for.
	err := tornado.XSRF{}.Check(v.Cookie, field, header)
	if v1 := !strings.Contains(v.Cookie, "|"); (err == nil) != (expect.OK && !v1) {
		t.Errorf("with version 2 only, Check = %v", err)
	}
}

func xsrfToken(t *testing.T, v vector) {
	var expect string
	v.expect(t, &expect)
	raw, err := hex.DecodeString(v.RawHex)
	if err != nil {
		t.Fatal(err)
	}
	got := tornado.Token(raw).V1()
	if got != expect {
		t.Errorf("V1 = %q, want %q", got, expect)
	}
	c := http.Cookie{Name: tornado.CookieName, Value: got, Path: "/"}
	if c.String() != v.SetCookie {
		t.Errorf("cookie %q, want %q", c.String(), v.SetCookie)
	}
}

func staticURL(t *testing.T, v vector) {
	var expect string
	v.expect(t, &expect)
	version := ""
	if strings.Contains(expect, "?v=") {
		version = tornado.StaticVersion([]byte(v.FileContent))
	}
	if got := tornado.StaticURL(v.StaticURLPrefix, v.Path, version); got != expect {
		t.Errorf("StaticURL = %q, want %q", got, expect)
	}
}

func TestVectorsCreate(t *testing.T) {
	file := readVectors(t)
	c := file.CreatedWith
	signers := map[string]tornado.SignerConfig{
		"v1":       {V1Secret: c.Secret, WriteV1: true},
		"v2":       {Keys: map[int]string{0: c.Secret}},
		"v2_keyed": {Keys: map[int]string{0: "k-zero", 1: "k-one"}, KeyVersion: 1},
	}
	if len(file.Create) != len(signers) {
		t.Errorf("%d values in the file, %d exercised", len(file.Create), len(signers))
	}
	for id, want := range file.Create {
		t.Run(id, func(t *testing.T) {
			at(t, c.Clock, func(t *testing.T) {
				value := c.Value
				if id == "v2_keyed" {
					value = "汉\x00ÿ" // SV03 reads it back
				}
				if got := newSigner(t, signers[id]).Sign(c.Name, []byte(value)); got != want {
					t.Errorf("Sign = %q, want %q", got, want)
				}
			})
		})
	}
}
