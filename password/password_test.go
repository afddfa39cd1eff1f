package password_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/seed-64ad3862/gatehouse/password"
)

func newHasher(t testing.TB, cfg password.Config) *password.Hasher {
	t.Helper()
	h, err := password.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// cheap is the least that New accepts in memory.
var cheap = password.Config{Memory: 7168, Passes: 5}

func Example() {
	h, err := password.New(password.Config{})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	encoded, err := h.Hash(ctx, "correct horse battery staple")
	if err != nil {
		panic(err)
	}
	fmt.Println(encoded[:30])

	outdated, err := h.Verify(ctx, encoded, "correct horse battery staple")
	fmt.Println(outdated, err)
	_, err = h.Verify(ctx, encoded, "Tr0ub4dor&3")
	fmt.Println(err)
	_, err = h.Verify(ctx, "", "a name that nobody has")
	fmt.Println(err)
	// Output:
	// $argon2id$v=19$m=19456,t=2,p=1
	// false <nil>
	// password: does not match
	// password: does not match
}

func TestSalted(t *testing.T) {
	h := newHasher(t, cheap)
	a, err := h.Hash(t.Context(), "the same one")
	if err != nil {
		t.Fatal(err)
	}
	b, err := h.Hash(t.Context(), "the same one")
	if err != nil {
		t.Fatal(err)
	}
	if a == b {
		t.Error("two hashes of one password are equal")
	}
	if len(a) > 128 || strings.ContainsAny(a, " \n") {
		t.Errorf("%q is not what the documentation says", a)
	}
}

func TestOutdated(t *testing.T) {
	now := newHasher(t, cheap)
	for name, cfg := range map[string]password.Config{
		"memory": {Memory: 8192, Passes: 5},
		"passes": {Memory: 7168, Passes: 6},
		"lanes":  {Memory: 7168, Passes: 5, Lanes: 2},
	} {
		t.Run(name, func(t *testing.T) {
			encoded, err := newHasher(t, cfg).Hash(t.Context(), "hunter22")
			if err != nil {
				t.Fatal(err)
			}
			if outdated, err := now.Verify(t.Context(), encoded, "hunter22"); err != nil || !outdated {
				t.Errorf("made with other parameters: %v, %v; want true, nil", outdated, err)
			}
			if outdated, err := now.Verify(t.Context(), encoded, "hunter23"); !errors.Is(err, password.ErrMismatch) || outdated {
				t.Errorf("of another password: %v, %v", outdated, err)
			}
		})
	}
}

// TestElsewhere verifies what the programs that testdata names have made.
func TestElsewhere(t *testing.T) {
	text, err := os.ReadFile("testdata/elsewhere.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct{ By, Encoded, Password string }
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 50 {
		t.Fatalf("only %d vectors", len(vectors))
	}
	h := newHasher(t, cheap)
	for _, v := range vectors {
		if err := password.Check(v.Encoded); err != nil {
			t.Errorf("%s: %s: %v", v.By, v.Encoded, err)
			continue
		}
		if outdated, err := h.Verify(t.Context(), v.Encoded, v.Password); err != nil || !outdated {
			t.Errorf("%s: %s: %v, %v; want true, nil", v.By, v.Encoded, outdated, err)
		}
		for _, wrong := range []string{"", "y" + v.Password[1:], strings.ToUpper(v.Password)} {
			if _, err := h.Verify(t.Context(), v.Encoded, wrong); !errors.Is(err, password.ErrMismatch) {
				t.Errorf("%s: %s: %q gets %v", v.By, v.Encoded, wrong, err)
			}
		}
	}
}

func TestNormal(t *testing.T) {
	h := newHasher(t, cheap)
	for _, v := range []struct{ name, set, typed string }{
		{"composed, then not", "caf\u00e9 au lait", "cafe\u0301 au lait"},
		{"not composed, then so", "cafe\u0301 au lait", "caf\u00e9 au lait"},
		{"Hangul", "\u1112\u1161\u11ab\u1100\u1173\u11af one two", "\ud55c\uae00 one two"},
		{"blanks kept", "  both ends  ", "  both ends  "},
		{"NUL", "before\x00after", "before\x00after"},
		{"empty", "", ""},
		{"the longest", strings.Repeat("\U0001f510", password.MaxLength), strings.Repeat("\U0001f510", password.MaxLength)},
	} {
		t.Run(v.name, func(t *testing.T) {
			encoded, err := h.Hash(t.Context(), v.set)
			if err != nil {
				t.Fatal(err)
			}
			if outdated, err := h.Verify(t.Context(), encoded, v.typed); err != nil || outdated {
				t.Errorf("%v, %v", outdated, err)
			}
		})
	}
	for _, v := range []struct{ name, set, typed string }{
		{"after a NUL", "before\x00after", "before\x00other"},
		{"only like it", "pass\u017fword 1", "password 1"}, // NFC, not NFKC
		{"trimmed", " blank before", "blank before"},
		{"the last of many", strings.Repeat("x", 1024), strings.Repeat("x", 1023) + "y"},
	} {
		t.Run(v.name, func(t *testing.T) {
			encoded, err := h.Hash(t.Context(), v.set)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := h.Verify(t.Context(), encoded, v.typed); !errors.Is(err, password.ErrMismatch) {
				t.Errorf("%q is taken for %q: %v", v.typed, v.set, err)
			}
		})
	}
}

func TestInvalid(t *testing.T) {
	h := newHasher(t, cheap)
	encoded, err := h.Hash(t.Context(), "one that is right")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"a megabyte":         strings.Repeat("x", 1<<20),
		"too long by one":    strings.Repeat("x", password.MaxLength+1),
		"not UTF-8":          "half\xffway there",
		"surrogate":          "half\xed\xa0\x80way there",
		"cut in a character": "caf\xc3",
	} {
		if _, err := h.Hash(t.Context(), text); !errors.Is(err, password.ErrInvalid) {
			t.Errorf("%s: Hash: %v", name, err)
		}
		for _, e := range []string{encoded, "", "damaged"} {
			if _, err := h.Verify(t.Context(), e, text); !errors.Is(err, password.ErrMismatch) {
				t.Errorf("%s: Verify(%.9q): %v", name, e, err)
			}
		}
	}
}

func TestFormat(t *testing.T) {
	const salt, key = "c29tZXNhbHRzb21lc2FsdA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	h := newHasher(t, cheap)
	for _, encoded := range []string{
		" ", "$", "$$$$$", "plain text", "{SSHA}c29tZQ==", "$1$salt$hash", "$6$salt$hash", "argon2", "argon2$", "bcrypt$", "scrypt$", "pbkdf2_", "pbkdf2_sha256$", "pbkdf2:$", "scrypt:$",
		"$argon2d$v=19$m=8192,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=16$m=8192,t=2,p=1$" + salt + "$" + key,
		"$argon2id$m=8192,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$t=2,m=8192,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=8192,t=2$" + salt + "$" + key,
		"$argon2id$v=19$m=8192,t=2,p=1,x=1$" + salt + "$" + key,
		"$argon2id$v=19$m=08192,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=+8192,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=8192,t=0,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=8192,t=65,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=8192,t=2,p=0$" + salt + "$" + key,
		"$argon2id$v=19$m=8192,t=2,p=256$" + salt + "$" + key,
		"$argon2id$v=19$m=7,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=262145,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=4294967295,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=99999999999999999999,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=8192,t=2,p=1$$" + key,
		"$argon2id$v=19$m=8192,t=2,p=1$" + salt + "$",
		"$argon2id$v=19$m=8192,t=2,p=1$" + salt + "$" + key + "=",
		"$argon2id$v=19$m=8192,t=2,p=1$" + salt + "$" + key + "$",
		"$argon2id$v=19$m=8192,t=2,p=1$" + salt + "\n$" + key,
		"$argon2id$v=19$m=8192,t=2,p=1$" + salt + "$" + strings.Repeat("A", 700),
		"$scrypt$ln=31,r=8,p=1$" + salt + "$" + key,
		"$scrypt$ln=30,r=64,p=1$" + salt + "$" + key,
		"$scrypt$ln=19,r=8,p=1$" + salt + "$" + key, // 512 MiB
		"scrypt:1000:8:1$salt$00112233445566778899aabbccddeeff",
		"scrypt:1024:8$salt$00112233445566778899aabbccddeeff",
		"scrypt:1024:8:1$salt$0011",
		"pbkdf2:md5:1000$salt$00112233445566778899aabbccddeeff",
		"pbkdf2:sha256:99999999$salt$00112233445566778899aabbccddeeff",
		"pbkdf2:sha256:1000$$00112233445566778899aabbccddeeff",
		"pbkdf2_sha256$0$salt$SKBP8UqH3AQkAnDwhvaEBQa2J194vd7T1gSd1kiMpRY=",
		"pbkdf2_sha256$1000$salt$",
		"$2b$31$" + strings.Repeat("a", 53),
		"$2b$16$" + strings.Repeat("a", 53),
		"$2b$03$" + strings.Repeat("a", 53),
		"$2b$10$" + strings.Repeat("a", 52),
		"$2b$10$" + strings.Repeat("a", 54),
		"$2x$10$" + strings.Repeat("a", 53),
		strings.Repeat("$", 1<<20),
	} {
		if err := password.Check(encoded); !errors.Is(err, password.ErrFormat) {
			t.Errorf("Check(%.80q) = %v", encoded, err)
		}
		if _, err := h.Verify(t.Context(), encoded, "whatever"); !errors.Is(err, password.ErrFormat) {
			t.Errorf("Verify(%.80q) = %v", encoded, err)
		}
	}
}

func TestConfig(t *testing.T) {
	for want, cfg := range map[string]password.Config{
		"Config.Memory":  {Memory: 7167, Passes: 8},
		"too cheap":      {Memory: 8192, Passes: 4},
		"Config.Passes":  {Passes: -1},
		"Config.Lanes":   {Lanes: 65},
		"Config.AtOnce":  {AtOnce: -1},
		"Config.Waiting": {Waiting: -1},
	} {
		if _, err := password.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want something of %s", cfg, err, want)
		}
	}
	// The pairs of the Password Storage Cheat Sheet of OWASP.
	for _, cfg := range []password.Config{{Memory: 47104, Passes: 1}, {Memory: 19456, Passes: 2}, {Memory: 12288, Passes: 3}, {Memory: 9216, Passes: 4}, {Memory: 7168, Passes: 5}} {
		newHasher(t, cfg)
	}
}

// TestBusy: of many at once some are served, and those for whom there is no room are
// told so, at once.
func TestBusy(t *testing.T) {
	cfg := cheap
	cfg.AtOnce, cfg.Waiting = 1, 3
	h := newHasher(t, cfg)
	encoded, err := h.Hash(t.Context(), "one that is right")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	served, busy := 0, 0
	for range 200 {
		wg.Go(func() {
			_, err := h.Verify(t.Context(), encoded, "one that is right")
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				served++
			case errors.Is(err, password.ErrBusy):
				busy++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if served < 4 || busy == 0 || served+busy != 200 {
		t.Errorf("%d served and %d turned away of 200", served, busy)
	}
	if _, err := h.Verify(t.Context(), encoded, "one that is right"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestPatience: a context ends the waiting, and what others cost is counted.
func TestPatience(t *testing.T) {
	cfg := cheap
	cfg.AtOnce = 1
	h := newHasher(t, cfg)
	encoded, err := newHasher(t, password.Config{Memory: 65536, Passes: 8}).Hash(t.Context(), "slow")
	if err != nil {
		t.Fatal(err)
	}
	began, done := make(chan struct{}), make(chan error)
	go func() {
		close(began)
		_, err := h.Verify(t.Context(), encoded, "slow")
		done <- err
	}()
	<-began
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(nil)
	for {
		_, err := h.Verify(ctx, "", "quick")
		if errors.Is(err, password.ErrBusy) && errors.Is(err, context.Canceled) {
			break // it had to wait
		}
		select {
		case err := <-done:
			t.Fatalf("the dear one did not keep others waiting: %v", err)
		default:
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func FuzzCheck(f *testing.F) {
	for _, seed := range []string{
		"$argon2id$v=19$m=8192,t=2,p=2$9JtoKAR4G/kP3MHq+kXqAA$wUqsH72CDNIJDB+sy8UHEg",
		"$scrypt$ln=10,r=8,p=1$47x3rrWWEuKcMwbAOAeAkA$joZDe+iqjDctRGPHnvE+BLGQZRC8jo7jXX7L3VVWfnQ",
		"scrypt$16$salt$8$1$PVvru3Y94WWQIte4R0l6tRp2Ll3204lCJK+hOQgxhoM=",
		"pbkdf2:sha256:10$salt$00112233445566778899aabbccddeeff", "pbkdf2_sha1$10$salt$6oQzay8wXJD0LKd/PSl+WH4yjQs=",
		"bcrypt_sha256$$2b$04$5IDPfgt4zjaVolbPnDuSnONgBqHIFlXAYNZoUxnHrAclNwmGfMc.i", "scrypt:1024:8:1$salt$00", "argon2$",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, encoded string) {
		switch err := password.Check(encoded); {
		case err == nil:
			if len(encoded) > 1024 || strings.ContainsAny(encoded, "\r\n") {
				t.Errorf("%q was read", encoded)
			}
		case !errors.Is(err, password.ErrFormat):
			t.Error(err)
		case len(encoded) > 20 && strings.Contains(err.Error(), encoded):
			t.Error("the error has the hash in it")
		}
	})
}
