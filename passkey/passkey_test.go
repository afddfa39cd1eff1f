package passkey_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/authenticator"
	"github.com/seed-64ad3862/gatehouse/internal/clock"
	"github.com/seed-64ad3862/gatehouse/passkey"
)

func newPasskeys(t testing.TB) *passkey.Passkeys {
	t.Helper()
	p, err := passkey.New(passkey.Config{Origins: []string{site, "https://www.app.example:8443"}, Name: "Example"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func newUser() passkey.User { return passkey.User{Handle: passkey.NewHandle(), Name: "zoe"} }

// people is what a store does.
type people []*passkey.User

func (all people) find(_ context.Context, handle, _ []byte) (passkey.User, error) {
	for _, u := range all {
		if bytes.Equal(u.Handle, handle) {
			return *u, nil
		}
	}
	return passkey.User{}, passkey.ErrUnknown
}

func register(t testing.TB, p *passkey.Passkeys, u *passkey.User, d *device) passkey.Credential {
	t.Helper()
	options, state, err := p.BeginRegistration(*u)
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.FinishRegistration(*u, state, d.Create(options))
	if err != nil {
		t.Fatal(err)
	}
	u.Credentials = append(u.Credentials, c)
	return c
}

func signIn(t testing.TB, p *passkey.Passkeys, d *device, all people) (passkey.User, passkey.Credential, error) {
	t.Helper()
	options, state, err := p.BeginSignIn()
	if err != nil {
		t.Fatal(err)
	}
	return p.FinishSignIn(t.Context(), state, d.Get(options), all.find)
}

func confirm(t testing.TB, p *passkey.Passkeys, u passkey.User, d *device) (passkey.Credential, error) {
	t.Helper()
	options, state, err := p.BeginConfirmation(u)
	if err != nil {
		t.Fatal(err)
	}
	return p.FinishConfirmation(u, state, d.Get(options))
}

// refused fails the test unless this is the error, with these words.
func refused(t testing.TB, err, want error, words string) {
	t.Helper()
	if !errors.Is(err, want) || !strings.Contains(err.Error(), words) {
		t.Errorf("%v, want %v: … %s", err, want, words)
	}
}

func TestNew(t *testing.T) {
	for _, tt := range []struct {
		rpID    string
		origins []string
		err     string // none: it is right
	}{
		{"", []string{"https://app.example"}, ""},
		{"", []string{"http://localhost:9000"}, ""},
		{"", []string{"http://app.localhost:9000"}, ""},
		{"app.example", []string{"https://app.example:8443", "https://www.app.example"}, ""},
		{"", []string{"https://xn--bcher-kva.example"}, ""},
		{"", nil, "no Origins"},
		{"", []string{""}, "is not a scheme"},
		{"", []string{"app.example"}, "is not a scheme"},
		{"", []string{"https://app.example/"}, "is not a scheme"},
		{"", []string{"https://app.example/sign-in"}, "is not a scheme"},
		{"", []string{"https://zoe@app.example"}, "is not a scheme"},
		{"", []string{"https://App.example"}, "is not a scheme"},
		{"", []string{"HTTPS://app.example"}, "is not a scheme"},
		{"", []string{"https://app.example?"}, "is not a scheme"},
		{"", []string{"https://app.example\n"}, "is not a scheme"},
		{"", []string{"https://app.example:443"}, "browsers leave away"},
		{"", []string{"https://app.example:"}, "browsers leave away"},
		{"", []string{"http://localhost:80"}, "browsers leave away"},
		{"", []string{"http://app.example"}, "neither https nor http on localhost"},
		{"", []string{"http://localhost.example"}, "neither https nor http on localhost"},
		{"", []string{"wss://app.example"}, "neither https nor http on localhost"},
		{"", []string{"https://192.0.2.1"}, "IP address"},
		{"", []string{"https://[2001:db8::1]"}, "IP address"},
		{"", []string{"https://bücher.example"}, "non-ascii"},
		{"", []string{"https://app.example", "https://other.example"}, "neither on"},
		{"", []string{"https://www.app.example", "https://app.example"}, "neither on"},
		{"app.example", []string{"https://notapp.example"}, "neither on"},
		{"https://app.example", []string{"https://app.example"}, "neither on"},
		{"App.example", []string{"https://app.example"}, "neither on"},
	} {
		p, err := passkey.New(passkey.Config{RPID: tt.rpID, Origins: tt.origins})
		if tt.err == "" && (err != nil || p == nil) || tt.err != "" && (err == nil || p != nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%q of %q: %v", tt.origins, tt.rpID, err)
		}
	}

	origins := []string{site}
	p, err := passkey.New(passkey.Config{Origins: origins})
	if err != nil {
		t.Fatal(err)
	}
	origins[0] = "https://evil.example"
	u := newUser()
	register(t, p, &u, newDevice("ES256"))
}

// TestOptions: what the policy is, in the words of the standard.
func TestOptions(t *testing.T) {
	p := newPasskeys(t)
	u := newUser()
	u.DisplayName = "Zoë"
	same := func(got json.RawMessage, state passkey.State, want string) {
		t.Helper()
		if len(state.Challenge) != 32 {
			t.Errorf("a challenge of %d bytes", len(state.Challenge))
		}
		for from, to := range map[string][]byte{"CHALLENGE": state.Challenge, "HANDLE": u.Handle} {
			want = strings.ReplaceAll(want, from, b64(to))
		}
		var a, b any
		must(0, json.Unmarshal(got, &a))
		must(0, json.Unmarshal([]byte(want), &b))
		if !reflect.DeepEqual(a, b) {
			t.Errorf("options %s\nwant %s", got, want)
		}
	}
	const creation = `{
		"rp": {"id": "app.example", "name": "Example"},
		"user": {"id": "HANDLE", "name": "zoe", "displayName": "Zoë"},
		"challenge": "CHALLENGE",
		"timeout": 300000,
		"pubKeyCredParams": [{"type": "public-key", "alg": -7}, {"type": "public-key", "alg": -8}, {"type": "public-key", "alg": -257}],
		"authenticatorSelection": {"residentKey": "required", "requireResidentKey": true, "userVerification": "required"},
		%s
		"attestation": "none"}`
	options, state, err := p.BeginRegistration(u)
	if err != nil {
		t.Fatal(err)
	}
	same(options, state, fmt.Sprintf(creation, ""))

	d := newDevice("ES256")
	register(t, p, &u, d)
	ours := `[{"type": "public-key", "id": "` + b64(d.ID) + `", "transports": ["internal", "hybrid"]}],`
	options, state, err = p.BeginRegistration(u)
	if err != nil {
		t.Fatal(err)
	}
	same(options, state, fmt.Sprintf(creation, `"excludeCredentials": `+ours))

	const request = `{"rpId": "app.example", "challenge": "CHALLENGE", "timeout": 300000, %s "userVerification": "required"}`
	options, other, err := p.BeginSignIn()
	if err != nil {
		t.Fatal(err)
	}
	same(options, other, fmt.Sprintf(request, ""))
	if bytes.Equal(state.Challenge, other.Challenge) || other.Handle != nil {
		t.Errorf("states %v and %v", state, other)
	}
	options, state, err = p.BeginConfirmation(u)
	if err != nil {
		t.Fatal(err)
	}
	same(options, state, fmt.Sprintf(request, `"allowCredentials": `+ours))
}

func TestUsers(t *testing.T) {
	p := newPasskeys(t)
	good := newUser()
	register(t, p, &good, newDevice("ES256"))
	for _, change := range []func(u *passkey.User){
		func(u *passkey.User) { u.Handle = nil },
		func(u *passkey.User) { u.Handle = []byte("zoe") },
		func(u *passkey.User) { u.Handle = make([]byte, 65) },
		func(u *passkey.User) { u.Name = "" },
	} {
		u := good
		change(&u)
		if _, _, err := p.BeginRegistration(u); err == nil {
			t.Errorf("%+v can register", u)
		}
		if _, _, err := p.BeginConfirmation(u); err == nil {
			t.Errorf("%+v can confirm", u)
		}
	}
	if _, _, err := p.BeginConfirmation(newUser()); err == nil {
		t.Error("somebody without a passkey can confirm with one")
	}
	if a, b := passkey.NewHandle(), passkey.NewHandle(); len(a) != 32 || bytes.Equal(a, b) {
		t.Errorf("handles %x and %x", a, b)
	}
}

// TestAlgorithms: all three, through all of it, at both origins, and stored as JSON.
func TestAlgorithms(t *testing.T) {
	p := newPasskeys(t)
	for _, algorithm := range []string{"ES256", "EdDSA", "RS256"} {
		for _, origin := range []string{site, "https://www.app.example:8443"} {
			d := newDevice(algorithm)
			d.Origin = origin
			d.Flags |= authenticator.Eligible
			u, other := newUser(), newUser()
			c := register(t, p, &u, d)
			want := passkey.Credential{
				ID: d.ID, PublicKey: c.PublicKey, AAGUID: "00000000-0000-0000-0000-000000000000",
				Transports: d.Transports, BackupEligible: true,
			}
			if !reflect.DeepEqual(c, want) {
				t.Errorf("%s: registered %+v\nwant %+v", algorithm, c, want)
			}
			var back passkey.Credential
			must(0, json.Unmarshal(must(json.Marshal(c)), &back))
			if !reflect.DeepEqual(back, c) {
				t.Errorf("%s: as JSON %+v", algorithm, back)
			}
			u.Credentials[0] = back

			d.Flags |= authenticator.BackedUp
			who, c, err := signIn(t, p, d, people{&other, &u})
			if err != nil || !reflect.DeepEqual(who, u) {
				t.Fatalf("%s: %+v, %v", algorithm, who, err)
			}
			want.SignCount, want.BackedUp = 1, true
			if !reflect.DeepEqual(c, want) {
				t.Errorf("%s: signed in with %+v\nwant %+v", algorithm, c, want)
			}
			u.Credentials[0] = c

			d.Handle = nil // which is enough where one was asked for by name
			if c, err = confirm(t, p, u, d); err != nil || c.SignCount != 2 {
				t.Errorf("%s: %+v, %v", algorithm, c, err)
			}
		}
	}
}

// changes are what makes a response of any ceremony worthless.
var changes = []struct {
	name   string
	change func(d *device)
	words  string
}{
	{"origin", func(d *device) { d.Origin = "https://evil.example" }, "origin is none"},
	{"scheme", func(d *device) { d.Origin = "http://app.example" }, "origin is none"},
	{"port", func(d *device) { d.Origin = site + ":8443" }, "origin is none"},
	{"subdomain", func(d *device) { d.Origin = "https://sub.app.example" }, "origin is none"},
	// These three the library takes for the origin.
	{"path", func(d *device) { d.Origin = site + "/else" }, "origin is none"},
	{"user", func(d *device) { d.Origin = "https://else@app.example" }, "origin is none"},
	{"upper case", func(d *device) { d.Origin = "https://APP.example" }, "origin is none"},
	{"no origin", func(d *device) { d.Origin = "" }, "origin is none"},
	{"frame", func(d *device) { d.Client = map[string]any{"crossOrigin": true} }, "frame of another origin"},
	{"framed by", func(d *device) { d.Client = map[string]any{"topOrigin": site} }, "frame of another origin"},
	{"RPID", func(d *device) { d.RPID = "example" }, "another RPID"},
	{"not present", func(d *device) { d.Flags &^= authenticator.Present }, "nobody was present"},
	{"not verified", func(d *device) { d.Flags &^= authenticator.Verified }, "person was not"},
	{"backed up but not eligible", func(d *device) { d.Flags |= authenticator.BackedUp }, "invalid_request"},
	{"bytes left over", func(d *device) { d.Extras = []byte{0} }, ""},
	{"flag without extensions", func(d *device) { d.Flags |= authenticator.HasExtras }, ""},
	{"extensions of no kind", func(d *device) { d.Flags, d.Extras = d.Flags|authenticator.HasExtras, []byte{0xff} }, ""},
	{"challenge", func(d *device) { d.Client = map[string]any{"challenge": b64(make([]byte, 32))} }, "another challenge"},
	{"no challenge", func(d *device) { d.Client = map[string]any{"challenge": ""} }, "another challenge"},
	{"padded challenge", func(d *device) { d.Client = map[string]any{"challenge": "AA=="} }, "another challenge"},
	{"type", func(d *device) { d.Client = map[string]any{"type": "payment.get"} }, "another ceremony"},
	{"types", func(d *device) { d.Client = map[string]any{"type": 1} }, ""},
	{"other identifier", func(d *device) { d.ID = []byte("other") }, ""},
}

func TestRegistrationRefused(t *testing.T) {
	p := newPasskeys(t)
	try := func(name string, change func(d *device), words string) {
		t.Run(name, func(t *testing.T) {
			d, u := newDevice("ES256"), newUser()
			options, state, err := p.BeginRegistration(u)
			if err != nil {
				t.Fatal(err)
			}
			change(d)
			c, err := p.FinishRegistration(u, state, d.Create(options))
			refused(t, err, passkey.ErrResponse, words)
			if !reflect.DeepEqual(c, passkey.Credential{}) {
				t.Errorf("with the error, %+v", c)
			}
		})
	}
	for _, c := range changes {
		if c.name != "other identifier" { // there is no other yet
			try(c.name, c.change, c.words)
		}
	}
	rsaOf := func(bits uint) func(*device) {
		return func(d *device) {
			*d = *newDevice("RS256")
			n := new(big.Int).Lsh(big.NewInt(1), bits-1)
			d.SetRSA(&rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537}})
		}
	}
	try("a sign-in's", func(d *device) { d.Client = map[string]any{"type": "webauthn.get"} }, "another ceremony")
	try("no identifier", func(d *device) { d.ID = nil }, "")
	try("long identifier", func(d *device) { d.ID = make([]byte, 1024) }, "")
	try("other algorithm", func(d *device) { *d = *newDevice("ES384") }, "")
	try("no key", func(d *device) { d.COSE = authenticator.Pairs{} }, "")
	try("key of an algorithm only", func(d *device) { d.COSE = d.COSE[:2] }, "key is malformed")
	try("point off the curve", func(d *device) { d.COSE[4][1] = make([]byte, 32) }, "key is malformed")
	try("weak RSA key", rsaOf(1024), "2048 to 4096 bits")
	try("short RSA key behind zeros", func(d *device) {
		rsaOf(1024)(d)
		d.COSE[2][1] = append(make([]byte, 128), d.COSE[2][1].([]byte)...)
	}, "2048 to 4096 bits")
	try("strong RSA key", rsaOf(5120), "2048 to 4096 bits")
	try("endless RSA key", rsaOf(200_000), "key is too long")
	try("RSA key of exponent 1", func(d *device) {
		*d = *newDevice("RS256")
		d.COSE[3][1] = []byte{1}
	}, "2048 to 4096 bits")
	try("malformed statement", func(d *device) { d.Format, d.Statement = "compound", authenticator.Pairs{{"x", 1}} }, "parse_error")
}

func TestRegistration(t *testing.T) {
	p := newPasskeys(t)
	for name, change := range map[string]func(d *device){
		"a long identifier": func(d *device) { d.ID = bytes.Repeat([]byte{7}, 1023) },
		// What nobody asked for.
		"unsolicited extensions": func(d *device) { d.Extensions = map[string]any{"credProps": map[string]any{"rk": true}, "else": 1} },
		"an unknown statement":   func(d *device) { d.Format, d.Statement = "no-such", authenticator.Pairs{{"x", []byte("y")}} },
		"a statement, not signed": func(d *device) {
			d.Format, d.Statement = "packed", authenticator.Pairs{{"alg", -7}, {"sig", []byte("none")}}
		},
		"a level of protection": func(d *device) {
			d.Flags |= authenticator.HasExtras
			d.Extras = authenticator.CBOR(authenticator.Pairs{{"credProtect", 3}})
		},
		"RSA of 4096 bits": func(d *device) {
			*d = *newDevice("RS256")
			d.SetRSA(must(rsa.GenerateKey(rand.Reader, 4096)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, u := newDevice("ES256"), newUser()
			change(d)
			register(t, p, &u, d)
			d.Flags, d.Extras = d.Flags&^authenticator.HasExtras, nil
			if _, _, err := signIn(t, p, d, people{&u}); err != nil {
				t.Error(err)
			}
		})
	}

	// The same authenticator again, which should not have done it.
	d, u := newDevice("ES256"), newUser()
	register(t, p, &u, d)
	options, state, err := p.BeginRegistration(u)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.FinishRegistration(u, state, d.Create(options))
	refused(t, err, passkey.ErrResponse, "there already")

	// Words that go back to browsers.
	d, u = newDevice("ES256"), newUser()
	d.Transports = slices.Concat([]string{"usb", "", "<b>", "NFC", strings.Repeat("x", 33), "smart-card"}, slices.Repeat([]string{"ble"}, 20))
	if c := register(t, p, &u, d); len(c.Transports) != 8 || c.Transports[0] != "usb" || c.Transports[1] != "smart-card" || c.Transports[2] != "ble" {
		t.Errorf("transports %q", c.Transports)
	}
}

func TestSignInRefused(t *testing.T) {
	p := newPasskeys(t)
	try := func(name string, change func(d *device), want error, words string) {
		t.Run(name, func(t *testing.T) {
			d, u := newDevice("ES256"), newUser()
			register(t, p, &u, d)
			change(d)
			who, c, err := signIn(t, p, d, people{&u})
			refused(t, err, want, words)
			if !reflect.DeepEqual(who, passkey.User{}) || !reflect.DeepEqual(c, passkey.Credential{}) {
				t.Errorf("with the error, %+v and %+v", who, c)
			}
			c, err = confirm(t, p, u, d)
			if len(d.Handle) > 0 { // else that is right
				refused(t, err, want, words)
				if !reflect.DeepEqual(c, passkey.Credential{}) {
					t.Errorf("with the error, %+v", c)
				}
			}
		})
	}
	for _, c := range changes {
		want := passkey.ErrResponse
		if c.name == "other identifier" {
			want = passkey.ErrUnknown
		}
		try(c.name, c.change, want, c.words)
	}
	try("a registration's", func(d *device) { d.Client = map[string]any{"type": "webauthn.create"} }, passkey.ErrResponse, "another ceremony")
	try("signature of another key", func(d *device) { d.Key = newDevice("ES256").Key }, passkey.ErrResponse, "invalid_signature")
	try("another handle", func(d *device) { d.Handle = passkey.NewHandle() }, passkey.ErrUnknown, "")
	try("no handle", func(d *device) { d.Handle = nil }, passkey.ErrResponse, "whose it is")
	try("an empty handle", func(d *device) { d.Handle = []byte{} }, passkey.ErrResponse, "whose it is")
	try("eligible all at once", func(d *device) { d.Flags |= authenticator.Eligible }, passkey.ErrResponse, "eligibility")
}

// TestChanged: each bit that is signed, and the signature's own.
func TestChanged(t *testing.T) {
	p := newPasskeys(t)
	for _, algorithm := range []string{"ES256", "EdDSA", "RS256"} {
		d, u := newDevice(algorithm), newUser()
		register(t, p, &u, d)
		options, state, err := p.BeginSignIn()
		if err != nil {
			t.Fatal(err)
		}
		right := d.Get(options)
		for _, field := range []string{"clientDataJSON", "authenticatorData", "signature"} {
			var r map[string]any
			must(0, json.Unmarshal(right, &r))
			fields := r["response"].(map[string]any)
			was := unb64(fields[field].(string))
			for bit := 0; bit < 8*len(was); bit += 7 {
				now := slices.Clone(was)
				now[bit/8] ^= 1 << (bit % 8)
				fields[field] = b64(now)
				_, _, err := p.FinishSignIn(t.Context(), state, must(json.Marshal(r)), people{&u}.find)
				if !errors.Is(err, passkey.ErrResponse) {
					t.Errorf("%s: bit %d of %s: %v", algorithm, bit, field, err)
				}
			}
		}
		if _, _, err := p.FinishSignIn(t.Context(), state, right, people{&u}.find); err != nil {
			t.Errorf("%s: unchanged: %v", algorithm, err)
		}
	}
}

// TestStates: a state is good for its purpose, person and time.
func TestStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPasskeys(t)
		d, u, other := newDevice("ES256"), newUser(), newUser()
		c := register(t, p, &u, d)
		other.Credentials = []passkey.Credential{c}
		type ceremony struct {
			options json.RawMessage
			state   passkey.State
		}
		begin := func(options json.RawMessage, state passkey.State, err error) ceremony {
			if err != nil {
				t.Fatal(err)
			}
			return ceremony{options, state}
		}
		all := map[string]ceremony{
			"registration": begin(p.BeginRegistration(u)),
			"sign-in":      begin(p.BeginSignIn()),
			"confirmation": begin(p.BeginConfirmation(u)),
			"none":         {json.RawMessage(`{"challenge":""}`), passkey.State{}},
		}
		signIn := func(s passkey.State, response []byte) error {
			_, _, err := p.FinishSignIn(t.Context(), s, response, people{&u}.find)
			return err
		}
		confirm := func(u passkey.User, s passkey.State, response []byte) error {
			_, err := p.FinishConfirmation(u, s, response)
			return err
		}
		register := func(u passkey.User, s passkey.State, response []byte) error {
			_, err := p.FinishRegistration(u, s, response)
			return err
		}
		for name, c := range all {
			if name != "registration" {
				fresh := newDevice("ES256")
				refused(t, register(u, c.state, fresh.Create(must(json.Marshal(map[string]any{
					"challenge": b64(c.state.Challenge), "user": map[string]string{"id": b64(u.Handle)},
				})))), passkey.ErrState, "another purpose")
			}
			if name != "sign-in" {
				refused(t, signIn(c.state, d.Get(c.options)), passkey.ErrState, "another purpose")
			}
			if name != "confirmation" {
				refused(t, confirm(u, c.state, d.Get(c.options)), passkey.ErrState, "another purpose")
			}
		}
		// Another person's, though they had the same passkey.
		refused(t, confirm(other, all["confirmation"].state, d.Get(all["confirmation"].options)), passkey.ErrState, "another person")
		refused(t, register(other, all["registration"].state, newDevice("ES256").Create(all["registration"].options)), passkey.ErrState, "another person")

		// A response to one beginning, at the end of another.
		again := begin(p.BeginSignIn())
		refused(t, signIn(again.state, d.Get(all["sign-in"].options)), passkey.ErrResponse, "another challenge")

		// The last moment, and the one after it.
		var s passkey.State
		must(0, json.Unmarshal(must(json.Marshal(all["sign-in"].state)), &s))
		ahead := s // of another machine's clock
		ahead.Expires = ahead.Expires.Add(clock.Skew)
		if err := signIn(ahead, d.Get(all["sign-in"].options)); err != nil {
			t.Error(err)
		}
		ahead.Expires = ahead.Expires.Add(time.Nanosecond) // of a clock that was set back
		refused(t, signIn(ahead, d.Get(all["sign-in"].options)), passkey.ErrState, "is over")
		time.Sleep(passkey.Lifetime - time.Nanosecond)
		u.Credentials[0].SignCount = 0
		if err := signIn(s, d.Get(all["sign-in"].options)); err != nil {
			t.Error(err)
		}
		if err := confirm(u, all["confirmation"].state, d.Get(all["confirmation"].options)); err != nil {
			t.Error(err)
		}
		if err := register(u, all["registration"].state, newDevice("ES256").Create(all["registration"].options)); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Nanosecond)
		refused(t, signIn(s, d.Get(all["sign-in"].options)), passkey.ErrState, "is over")
		refused(t, confirm(u, all["confirmation"].state, d.Get(all["confirmation"].options)), passkey.ErrState, "is over")
		refused(t, register(u, all["registration"].state, newDevice("ES256").Create(all["registration"].options)), passkey.ErrState, "is over")
	})
}

// TestFind: what find returns is not believed, and its own errors come through.
func TestFind(t *testing.T) {
	p := newPasskeys(t)
	d, u, other := newDevice("ES256"), newUser(), newUser()
	register(t, p, &u, d)
	away := errors.New("the store is away")
	for name, tt := range map[string]struct {
		user passkey.User
		err  error
		want error
	}{
		"nobody":                     {passkey.User{}, passkey.ErrUnknown, passkey.ErrUnknown},
		"an outage":                  {passkey.User{}, away, away},
		"nobody, and no error":       {passkey.User{}, nil, passkey.ErrUnknown},
		"another person":             {other, nil, passkey.ErrUnknown},
		"another person, who has it": {passkey.User{Handle: other.Handle, Name: "eve", Credentials: u.Credentials}, nil, passkey.ErrUnknown},
		"without the passkey":        {passkey.User{Handle: u.Handle, Name: "zoe"}, nil, passkey.ErrUnknown},
	} {
		options, state, err := p.BeginSignIn()
		if err != nil {
			t.Fatal(err)
		}
		who, _, err := p.FinishSignIn(t.Context(), state, d.Get(options), func(ctx context.Context, handle, id []byte) (passkey.User, error) {
			if ctx != t.Context() || !bytes.Equal(handle, u.Handle) || !bytes.Equal(id, d.ID) {
				t.Errorf("%s: asked for %x and %x", name, handle, id)
			}
			return tt.user, tt.err
		})
		if !errors.Is(err, tt.want) || who.Handle != nil {
			t.Errorf("%s: %v, %v", name, who, err)
		}
	}
}

func TestCounter(t *testing.T) {
	p := newPasskeys(t)
	for _, tt := range []struct {
		stored, sent, after uint32
		cloned              bool
	}{
		{0, 0, 0, false},
		{0, 1, 1, false},
		{5, 6, 6, false},
		{5, 900, 900, false},
		{5, 5, 5, true},
		{5, 4, 5, true},
		{5, 0, 5, true},
	} {
		d, u := newDevice("ES256"), newUser()
		register(t, p, &u, d)
		u.Credentials[0].SignCount = tt.stored
		var want error
		if tt.cloned {
			want = passkey.ErrCloned
		}
		d.Counter = tt.sent - 1
		who, c, err := signIn(t, p, d, people{&u})
		if !errors.Is(err, want) || who.Name != "zoe" || c.SignCount != tt.after || !bytes.Equal(c.ID, d.ID) {
			t.Errorf("%d after %d: %+v of %+v, %v", tt.sent, tt.stored, c, who, err)
		}
		d.Counter = tt.sent - 1
		c, err = confirm(t, p, u, d)
		if !errors.Is(err, want) || c.SignCount != tt.after || !bytes.Equal(c.ID, d.ID) {
			t.Errorf("%d after %d: %+v, %v", tt.sent, tt.stored, c, err)
		}
	}
}

// TestMalformed: what is no response, of which nothing is quoted.
func TestMalformed(t *testing.T) {
	p := newPasskeys(t)
	d, u := newDevice("ES256"), newUser()
	register(t, p, &u, d)
	creation, first, err := p.BeginRegistration(u)
	if err != nil {
		t.Fatal(err)
	}
	request, second, err := p.BeginSignIn()
	if err != nil {
		t.Fatal(err)
	}
	_, third, err := p.BeginConfirmation(u)
	if err != nil {
		t.Fatal(err)
	}
	right := []string{string(newDevice("ES256").Create(creation)), string(d.Get(request))}
	for name, text := range map[string]string{
		"nothing":        "",
		"not JSON":       "SECRET",
		"null":           "null",
		"number":         "314159",
		"empty":          "{}",
		"array":          `["SECRET"]`,
		"no type":        `{"id":"AAAA","rawId":"AAAA"}`,
		"other type":     `{"id":"AAAA","rawId":"AAAA","type":"SECRET"}`,
		"two names":      `{"id":"AAAA","rawId":"BBBB","type":"public-key"}`,
		"not base64":     `{"id":"?","rawId":"SECRET?","type":"public-key"}`,
		"numbers":        `{"id":"AAAA","rawId":314159,"type":"public-key"}`,
		"no response":    `{"id":"AAAA","rawId":"AAAA","type":"public-key"}`,
		"response null":  `{"id":"AAAA","rawId":"AAAA","type":"public-key","response":null}`,
		"client numbers": `{"id":"AAAA","rawId":"AAAA","type":"public-key","response":{"clientDataJSON":"` + b64([]byte(`{"type":314159}`)) + `"}}`,
		"client text":    `{"id":"AAAA","rawId":"AAAA","type":"public-key","response":{"clientDataJSON":"` + b64([]byte(`SECRET`)) + `"}}`,
		"deep":           strings.Repeat(`{"response":`, 5000),
		"registered":     right[0],
		"signed in":      right[1],
		"two":            right[0] + right[0],
		"half":           right[0][:len(right[0])/2],
		"half the other": right[1][:len(right[1])/2],
	} {
		ends := map[string]error{}
		if name != "registered" {
			_, ends["registration"] = p.FinishRegistration(u, first, []byte(text))
		}
		if name != "signed in" {
			_, _, ends["sign-in"] = p.FinishSignIn(t.Context(), second, []byte(text), people{&u}.find)
		}
		_, ends["confirmation"] = p.FinishConfirmation(u, third, []byte(text))
		for purpose, err := range ends {
			if !errors.Is(err, passkey.ErrResponse) {
				t.Errorf("%s, %s: %v", name, purpose, err)
				continue
			}
			for _, quote := range []string{"SECRET", "'S'", "314159"} {
				if strings.Contains(err.Error(), quote) {
					t.Errorf("%s, %s: %v", name, purpose, err)
				}
			}
		}
	}

	// As long as is allowed, and too long.
	for i, text := range right {
		for _, more := range []int{64<<10 - len(text), 64<<10 - len(text) + 1, 10 << 20} {
			text := text + strings.Repeat(" ", more)
			var err error
			if i == 0 {
				_, err = p.FinishRegistration(u, first, []byte(text))
			} else {
				_, _, err = p.FinishSignIn(t.Context(), second, []byte(text), people{&u}.find)
			}
			if len(text) == 64<<10 && err != nil {
				t.Error(err)
			} else if len(text) > 64<<10 {
				refused(t, err, passkey.ErrResponse, "too long")
			}
		}
	}
}

// TestTogether is for the race detector.
func TestTogether(t *testing.T) {
	p := newPasskeys(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				d, u := newDevice("ES256"), newUser()
				register(t, p, &u, d)
				if _, _, err := signIn(t, p, d, people{&u}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// TestStored: what an earlier version has stored is still good.
func TestStored(t *testing.T) {
	const text = `{"id":"AQID","publicKey":"BAUG","signCount":7,"aaguid":"00000000-0000-0000-0000-000000000000","transports":["usb"],"backupEligible":true,"backedUp":true}`
	var c passkey.Credential
	must(0, json.Unmarshal([]byte(text), &c))
	if got := string(must(json.Marshal(c))); got != text {
		t.Errorf("stored as %s", got)
	}
	const state = `{"purpose":"sign-in","challenge":"AQID","expires":"2030-01-02T03:04:05Z"}`
	var s passkey.State
	must(0, json.Unmarshal([]byte(state), &s))
	if got := string(must(json.Marshal(s))); got != state {
		t.Errorf("stored as %s", got)
	}
}
