// Package passkey registers passkeys and signs people in with them: WebAuthn's
// discoverable credentials (https://www.w3.org/TR/webauthn-3/).
//
//	p, err := passkey.New(passkey.Config{Origins: []string{"https://app.example"}})
//
//	options, state, err := p.BeginSignIn()         // options go to the page,
//	user, credential, err := p.FinishSignIn(ctx, state, response, find) // its response comes back
//
// What happens in the browser is in the module that [Script] serves.
//
// # Policy
//
// One policy holds for all, since a passkey here stands alone, without a password
// beside it:
//
//   - credentials are discoverable, so that a sign-in begins without a name;
//   - the authenticator verifies the person, by PIN, finger or face, each time, and
//     the server looks at its flags;
//   - keys are ES256, EdDSA or RS256, and RSA has from 2048 to 4096 bits;
//   - no attestation: the make of an authenticator is nobody's business, and a
//     statement that comes unasked is not read;
//   - a challenge is random, and good for [Lifetime];
//   - pages of [Config.Origins] take part, and not within frames of other origins.
//
// # What the application keeps
//
// A [State] from the beginning of a ceremony to its end, in the visitor's session and
// never in their hands. It is good for one end, and it is the application that sees
// to this, by taking it out as it looks at it: session.Key.Consume does both at once.
// Or nothing, until a user signs in: see [Passkeys.OfferSignIn].
//
// A [Credential] of each passkey, as JSON or in columns, with an ID that no other has,
// whosever. A name for it and when it was used last are the application's own. After a
// sign-in the credential has changed, and is stored again.
//
// A handle of each person, from [NewHandle]: authenticators keep it, and tell it to
// whoever holds them.
package passkey

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/seed-64ad3862/gatehouse/internal/clock"
)

// Errors of the methods that finish. None quotes what came from the browser.
var (
	// ErrState means that the state is over, or is of another purpose or person.
	// The page asks for new options.
	ErrState = errors.New("passkey: nothing of the kind is under way")
	// ErrResponse means that the response is malformed, or proves nothing: for the
	// log, the text says why.
	ErrResponse = errors.New("passkey: response not verified")
	// ErrUnknown means that nobody has this passkey: it was removed here and is
	// still in somebody's device, which the page can tell (see [Script]).
	ErrUnknown = errors.New("passkey: no such credential")
	// ErrCloned means that all is right but for the counter of signatures, which
	// has not gone up: there may be a copy of the key
	// (https://www.w3.org/TR/webauthn-3/#sctn-sign-counter).
	ErrCloned = errors.New("passkey: counter of signatures has not gone up")
)

// Lifetime is how long a [State] and the challenge in it are good.
const Lifetime = 5 * time.Minute

// maxResponse bounds responses, in bytes. One with the longest of identifiers and
// keys has some 8 kB.
const maxResponse = 64 << 10

// Config configures [New].
type Config struct {
	// Origins are those of the pages, exactly as browsers write them: a scheme, a
	// host in lower case and in ASCII, and a port unless it is the scheme's own. The
	// scheme is https, or http on localhost: browsers allow no others. At least one
	// is needed.
	Origins []string

	// RPID is the domain that passkeys belong to: the host of the first origin if
	// empty, or a domain above it. All origins must be on it or below. Passkeys are
	// of no use with another RPID than that which they were made with.
	RPID string

	// Name is the site's, for authenticators that show one: RPID if empty.
	Name string
}

// Passkeys begins and finishes ceremonies. It keeps nothing of them, and can be used
// by several goroutines at once.
type Passkeys struct {
	lib     *webauthn.WebAuthn
	origins []string
	rpID    [sha256.Size]byte
}

// New returns Passkeys, or an error that says which setting is wrong.
func New(cfg Config) (*Passkeys, error) {
	if len(cfg.Origins) == 0 {
		return nil, errors.New("passkey: no Origins")
	}
	cfg.Origins = slices.Clone(cfg.Origins)
	for _, origin := range cfg.Origins {
		host, err := hostOf(origin)
		if err != nil {
			return nil, err
		}
		if cfg.RPID == "" {
			cfg.RPID = host
		}
		if host != cfg.RPID && !strings.HasSuffix(host, "."+cfg.RPID) {
			return nil, fmt.Errorf("passkey: origin %q is neither on %q nor below", origin, cfg.RPID)
		}
	}
	if err := protocol.ValidateRPID(cfg.RPID); err != nil {
		return nil, fmt.Errorf("passkey: RPID %q: %w", cfg.RPID, err)
	}
	if cfg.Name == "" {
		cfg.Name = cfg.RPID
	}
	timeout := webauthn.TimeoutConfig{Timeout: Lifetime, TimeoutUVD: Lifetime}
	lib, err := webauthn.New(&webauthn.Config{
		RPID:          cfg.RPID,
		RPDisplayName: cfg.Name,
		RPOrigins:     cfg.Origins,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey:        protocol.ResidentKeyRequirementRequired,
			RequireResidentKey: protocol.ResidentKeyRequired(), // for browsers of Level 1
			UserVerification:   protocol.VerificationRequired,
		},
		AttestationPreference: protocol.PreferNoAttestation,
		Timeouts:              webauthn.TimeoutsConfig{Login: timeout, Registration: timeout},
		// Some password managers report on extensions that nobody asked for, which
		// sections 7.1 and 7.2 leave to us.
		ExtensionsUnsolicitedOutputPolicy: protocol.UnsolicitedOutputPolicyIgnore,
	})
	if err != nil {
		return nil, fmt.Errorf("passkey: %w", err)
	}
	return &Passkeys{lib, cfg.Origins, sha256.Sum256([]byte(cfg.RPID))}, nil
}

// hostOf returns the host of an origin, which must be written as a browser does:
// origins are compared as text.
func hostOf(origin string) (string, error) {
	bad := func(why string) (string, error) { return "", fmt.Errorf("passkey: origin %q %s", origin, why) }
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || u.Scheme+"://"+u.Host != origin || strings.ToLower(origin) != origin {
		return bad("is not a scheme, a host and perhaps a port, in lower case")
	}
	host, port := u.Hostname(), u.Port()
	switch {
	case strings.HasSuffix(u.Host, ":"), u.Scheme == "https" && port == "443", u.Scheme == "http" && port == "80":
		return bad("has a port that browsers leave away")
	case u.Scheme == "http" && host != "localhost" && !strings.HasSuffix(host, ".localhost"), u.Scheme != "http" && u.Scheme != "https":
		return bad("is neither https nor http on localhost")
	}
	return host, nil
}

// A User is a person who has passkeys, or is about to.
type User struct {
	// Handle is what authenticators know the person by, 16 to 64 bytes: random,
	// because it is no secret, and never another's. See [NewHandle].
	Handle []byte

	// Name tells accounts apart in the authenticator's list: the name that the
	// person signs in with. DisplayName is how they are called, if that is known.
	Name, DisplayName string

	// Credentials are all passkeys of the person.
	Credentials []Credential
}

// NewHandle returns a new [User.Handle], 32 random bytes.
func NewHandle() []byte {
	handle := make([]byte, 32)
	rand.Read(handle)
	return handle
}

func (u User) check() error {
	switch {
	case len(u.Handle) < 16 || len(u.Handle) > 64:
		return fmt.Errorf("passkey: handle of %d bytes, not 16 to 64", len(u.Handle))
	case u.Name == "":
		return errors.New("passkey: user without a name")
	}
	return nil
}

func (u User) credential(id []byte) (Credential, bool) {
	i := slices.IndexFunc(u.Credentials, func(c Credential) bool { return bytes.Equal(c.ID, id) })
	if i < 0 {
		return Credential{}, false
	}
	return u.Credentials[i], true
}

// A Credential is the server's part of a passkey: nothing in it is secret. As JSON it
// has the names below, bytes in base64, and will be read by later versions.
type Credential struct {
	// ID is the authenticator's name for it, 1 to 1023 bytes.
	ID []byte `json:"id"`

	// PublicKey is a COSE_Key (RFC 9052, section 7), at most 1 KiB.
	PublicKey []byte `json:"publicKey"`

	// SignCount is the highest counter seen of the key's signatures. It is 0 for
	// ever where authenticators do not count, as those do not that keep a key on
	// several devices.
	SignCount uint32 `json:"signCount"`

	// AAGUID is the model of the authenticator as a UUID, of which there are public
	// lists with names. It is the authenticator's word and proves nothing; all zeros
	// say nothing.
	AAGUID string `json:"aaguid"`

	// Transports are the ways to reach the authenticator, as its browser told:
	// usb, nfc, ble, smart-card, hybrid, internal, or of later standards.
	Transports []string `json:"transports,omitempty"`

	// BackupEligible says that the key can be copied to other devices by whoever
	// manages it. That never changes. BackedUp says that it was, when last seen.
	// A person whose passkeys are all on one device should have another way in.
	BackupEligible bool `json:"backupEligible"`
	BackedUp       bool `json:"backedUp"`
}

// A State is what the server remembers of a ceremony from its beginning to its end.
// The fields are for encoding; see the package comment for where to keep it. It holds
// no secret, but who can write it can use a response a second time.
type State struct {
	Purpose   string    `json:"purpose"`
	Challenge []byte    `json:"challenge"`
	Handle    []byte    `json:"handle,omitempty"` // of the person, where it is known who
	Expires   time.Time `json:"expires"`
}

// ID returns an identifier of the ceremony, of which no other has the same.
func (s State) ID() [16]byte {
	sum := sha256.Sum256(s.Challenge)
	return [16]byte(sum[:16])
}

// Purposes of a [State].
const (
	registration = "registration"
	signIn       = "sign-in"
	confirmation = "confirmation"
)

func newState(purpose string, challenge, handle []byte) State {
	return State{purpose, challenge, handle, time.Now().Add(Lifetime)}
}

// session returns the state as the library wants it, if it is good for that.
func (p *Passkeys) session(s State, purpose string, handle []byte) (webauthn.SessionData, error) {
	switch {
	case s.Purpose != purpose:
		return webauthn.SessionData{}, fmt.Errorf("%w: %s: the state is of another purpose", ErrState, purpose)
	case !bytes.Equal(s.Handle, handle):
		return webauthn.SessionData{}, fmt.Errorf("%w: %s: the state is of another person", ErrState, purpose)
	case !clock.Good(s.Expires, time.Now(), Lifetime):
		return webauthn.SessionData{}, fmt.Errorf("%w: %s: the state is over", ErrState, purpose)
	}
	return webauthn.SessionData{
		Challenge:        protocol.URLEncodedBase64(s.Challenge).String(),
		RelyingPartyID:   p.lib.Config.RPID,
		UserID:           handle,
		Expires:          s.Expires,
		UserVerification: protocol.VerificationRequired,
		CredParams:       algorithms,
	}, nil
}
