package passkey

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
	"github.com/go-webauthn/webauthn/webauthn"
)

// algorithms are in the order in which an authenticator should choose.
var algorithms = []protocol.CredentialParameter{
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgES256},
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgEdDSA},
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgRS256},
}

// BeginRegistration begins to make a passkey for a person who is signed in. The
// options are PublicKeyCredentialCreationOptionsJSON, for the page; authenticators
// that hold one of u.Credentials refuse to make another.
func (p *Passkeys) BeginRegistration(u User) (options json.RawMessage, state State, err error) {
	if err := u.check(); err != nil {
		return nil, State{}, err
	}
	creation, _, err := p.lib.BeginRegistration(person{u},
		webauthn.WithCredentialParameters(algorithms),
		webauthn.WithExclusions(webauthn.Credentials(person{u}.WebAuthnCredentials()).CredentialDescriptors()))
	if err != nil {
		return nil, State{}, fmt.Errorf("passkey: %s: %w", registration, err)
	}
	if options, err = json.Marshal(creation.Response); err != nil {
		return nil, State{}, fmt.Errorf("passkey: %s: %w", registration, err)
	}
	return options, newState(registration, creation.Response.Challenge, u.Handle), nil
}

// FinishRegistration verifies the response of the page, a RegistrationResponseJSON,
// as https://www.w3.org/TR/webauthn-3/#sctn-registering-a-new-credential says, and
// returns the new passkey. The caller stores it, unless anybody has one with the same
// ID. The errors are [ErrState] and [ErrResponse].
func (p *Passkeys) FinishRegistration(u User, state State, response []byte) (Credential, error) {
	session, err := p.session(state, registration, u.Handle)
	if err != nil {
		return Credential{}, err
	}
	if len(response) > maxResponse {
		return Credential{}, refuse(registration, "it is too long")
	}
	r, err := protocol.ParseCredentialCreationResponseBytes(response)
	if err != nil {
		return Credential{}, refuse(registration, kind(err))
	}
	object := &r.Response.AttestationObject
	if why := p.check(session, protocol.CreateCeremony, r.Response.CollectedClientData, object.AuthData); why != "" {
		return Credential{}, refuse(registration, why)
	}
	// Whoever makes a statement up could as well send none, so that reading one,
	// in one of eight formats with certificates, would be a risk for nothing.
	object.Format, object.AttStatement, object.SubStatements = string(protocol.AttestationFormatNone), nil, nil
	made, err := p.lib.CreateCredential(person{u}, session, r)
	if err != nil {
		return Credential{}, refuse(registration, kind(err))
	}
	if why := checkKey(made.PublicKey); why != "" {
		return Credential{}, refuse(registration, why)
	}
	if _, ok := u.credential(made.ID); ok {
		return Credential{}, refuse(registration, "the credential is there already")
	}
	model := made.Authenticator.AAGUID // 16 bytes, as the library has cut it out
	return Credential{
		ID:             made.ID,
		PublicKey:      made.PublicKey,
		SignCount:      made.Authenticator.SignCount,
		AAGUID:         fmt.Sprintf("%x-%x-%x-%x-%x", model[:4], model[4:6], model[6:8], model[8:10], model[10:]),
		Transports:     transports(made.Transport),
		BackupEligible: made.Flags.BackupEligible,
		BackedUp:       made.Flags.BackupState,
	}, nil
}

// BeginSignIn begins a sign-in of whoever it may be. The options are
// PublicKeyCredentialRequestOptionsJSON, for the page, which may use them for autofill:
// then somebody may look at it for longer than the state is good, and the page has to
// ask for others in time.
func (p *Passkeys) BeginSignIn() (options json.RawMessage, state State, err error) {
	return p.begin(signIn, nil, func() (*protocol.CredentialAssertion, *webauthn.SessionData, error) {
		return p.lib.BeginDiscoverableLogin()
	})
}

// FinishSignIn verifies the response of the page, an AuthenticationResponseJSON, as
// https://www.w3.org/TR/webauthn-3/#sctn-verifying-assertion says. It returns who it
// is, as find did, and the passkey that was used, as it is to be stored now.
//
// It calls find once at most, to learn who has the handle, with all of their
// credentials; the ID of the one in question is a hint. If nobody has it, find returns
// [ErrUnknown].
//
// The errors are [ErrState], [ErrResponse], [ErrUnknown], those of find, and [ErrCloned].
// With the last one the person and the passkey are returned, with the greater counter:
// a caller that does not refuse should at least tell somebody.
func (p *Passkeys) FinishSignIn(
	ctx context.Context, state State, response []byte,
	find func(ctx context.Context, handle, credentialID []byte) (User, error),
) (User, Credential, error) {
	session, err := p.session(state, signIn, nil)
	if err != nil {
		return User{}, Credential{}, err
	}
	r, err := p.assertion(signIn, session, response)
	if err != nil {
		return User{}, Credential{}, err
	}
	handle := r.Response.UserHandle
	if len(handle) == 0 || len(handle) > 64 {
		return User{}, Credential{}, refuse(signIn, "it does not say whose it is")
	}
	u, err := find(ctx, handle, r.RawID)
	if err != nil {
		return User{}, Credential{}, fmt.Errorf("passkey: %s: %w", signIn, err)
	}
	if !bytes.Equal(u.Handle, handle) {
		return User{}, Credential{}, fmt.Errorf("%w: %s: the passkey is another person's", ErrUnknown, signIn)
	}
	session.UserID = handle
	c, err := p.verify(signIn, u, session, r)
	if err != nil && !errors.Is(err, ErrCloned) {
		return User{}, Credential{}, err
	}
	return u, c, err
}

// BeginConfirmation begins to ask a person who is signed in for one of their passkeys
// again, before something that matters. The options are as those of
// [Passkeys.BeginSignIn], for the passkeys of this person alone, who must have one.
func (p *Passkeys) BeginConfirmation(u User) (options json.RawMessage, state State, err error) {
	if err := u.check(); err != nil {
		return nil, State{}, err
	}
	return p.begin(confirmation, u.Handle, func() (*protocol.CredentialAssertion, *webauthn.SessionData, error) {
		return p.lib.BeginLogin(person{u})
	})
}

// FinishConfirmation is [Passkeys.FinishSignIn] for this person. The errors are
// [ErrState], [ErrResponse], [ErrUnknown] if it is not a passkey of theirs, and
// [ErrCloned], with which the passkey is returned.
func (p *Passkeys) FinishConfirmation(u User, state State, response []byte) (Credential, error) {
	session, err := p.session(state, confirmation, u.Handle)
	if err != nil {
		return Credential{}, err
	}
	r, err := p.assertion(confirmation, session, response)
	if err != nil {
		return Credential{}, err
	}
	// An authenticator may leave the handle out, since it was asked for one of these.
	if handle := r.Response.UserHandle; len(handle) > 0 && !bytes.Equal(handle, u.Handle) {
		return Credential{}, fmt.Errorf("%w: %s: the passkey is another person's", ErrUnknown, confirmation)
	}
	return p.verify(confirmation, u, session, r)
}

func (p *Passkeys) begin(purpose string, handle []byte, login func() (*protocol.CredentialAssertion, *webauthn.SessionData, error)) (json.RawMessage, State, error) {
	assertion, _, err := login()
	if err != nil {
		return nil, State{}, fmt.Errorf("passkey: %s: %w", purpose, err)
	}
	options, err := json.Marshal(assertion.Response)
	if err != nil {
		return nil, State{}, fmt.Errorf("passkey: %s: %w", purpose, err)
	}
	return options, newState(purpose, assertion.Response.Challenge, handle), nil
}

// assertion parses and checks what can be checked without knowing who it is, so that
// no store is asked about what is worth nothing.
func (p *Passkeys) assertion(purpose string, session webauthn.SessionData, response []byte) (*protocol.ParsedCredentialAssertionData, error) {
	if len(response) > maxResponse {
		return nil, refuse(purpose, "it is too long")
	}
	r, err := protocol.ParseCredentialRequestResponseBytes(response)
	if err != nil {
		return nil, refuse(purpose, kind(err))
	}
	if why := p.check(session, protocol.AssertCeremony, r.Response.CollectedClientData, r.Response.AuthenticatorData); why != "" {
		return nil, refuse(purpose, why)
	}
	return r, nil
}

// verify verifies the signature.
func (p *Passkeys) verify(purpose string, u User, session webauthn.SessionData, r *protocol.ParsedCredentialAssertionData) (Credential, error) {
	c, ok := u.credential(r.RawID)
	if !ok {
		return Credential{}, fmt.Errorf("%w: %s: the person has no such passkey", ErrUnknown, purpose)
	}
	// Whether the key may be copied is said once and for all; the library looks, and
	// this says so.
	if c.BackupEligible != r.Response.AuthenticatorData.Flags.HasBackupEligible() {
		return Credential{}, refuse(purpose, "the flag of backup eligibility has changed")
	}
	used, err := p.lib.ValidateLogin(person{u}, session, r)
	if err != nil {
		return Credential{}, refuse(purpose, kind(err))
	}
	c.SignCount = used.Authenticator.SignCount
	c.BackedUp = used.Flags.BackupState
	if used.Authenticator.CloneWarning {
		return c, fmt.Errorf("%w: %s", ErrCloned, purpose)
	}
	return c, nil
}

// check returns what is wrong with a response, if anything is. The library repeats all
// of it but would quote the response in its errors, or say only that something is wrong;
// and of origins it accepts "https://app.example/else" and "https://else@app.example".
func (p *Passkeys) check(s webauthn.SessionData, ceremony protocol.CeremonyType, c protocol.CollectedClientData, a protocol.AuthenticatorData) string {
	switch {
	case c.Type != ceremony:
		return "it is of another ceremony"
	case c.Challenge != s.Challenge:
		return "it is for another challenge"
	case !slices.Contains(p.origins, c.Origin):
		return "the origin is none of ours"
	case c.CrossOrigin || c.TopOrigin != "":
		return "the page is in a frame of another origin"
	case !bytes.Equal(a.RPIDHash, p.rpID[:]):
		return "it is for another RPID"
	case !a.Flags.HasUserPresent():
		return "nobody was present"
	case !a.Flags.HasUserVerified():
		return "the person was not verified"
	}
	return ""
}

// maxKey bounds a public key as COSE_Key, in bytes: longer ones are RSA keys whose
// use would take long. RSA of 4096 bits has some 530.
const maxKey = 1 << 10

// checkKey returns what is wrong with a public key: it is better not to be registered
// than of no use, or of too much, at every sign-in. The library has seen the algorithm
// only.
func checkKey(cose []byte) string {
	if len(cose) > maxKey {
		return "the key is too long"
	}
	key, err := webauthncose.ParsePublicKey(cose)
	if err != nil {
		return "the key is malformed"
	}
	if key, ok := key.(webauthncose.RSAPublicKeyData); ok {
		modulus := bytes.TrimLeft(key.Modulus, "\x00")
		if len(modulus) < 2048/8 || len(modulus) > 4096/8 || !bytes.Equal(key.Exponent, []byte{1, 0, 1}) {
			return "the RSA key is not of 2048 to 4096 bits with the exponent 65537"
		}
	}
	return ""
}

// transports keeps what is a token: these words come from the browser, and go to
// another with the next options (https://www.w3.org/TR/webauthn-3/#enum-transport).
func transports(from []protocol.AuthenticatorTransport) (to []string) {
	for _, t := range from {
		if len(to) < 8 && len(t) > 0 && len(t) <= 32 && !bytes.ContainsFunc([]byte(t), func(r rune) bool { return r != '-' && (r < 'a' || r > 'z') }) {
			to = append(to, string(t))
		}
	}
	return to
}

func refuse(purpose, why string) error { return fmt.Errorf("%w: %s: %s", ErrResponse, purpose, why) }

// kind returns what the library calls a kind of error. The texts of its errors, and of
// those of JSON, may quote the response.
func kind(err error) string {
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		return e.Type
	}
	return "malformed"
}

// person is a User as the library knows one.
type person struct{ u User }

func (p person) WebAuthnID() []byte          { return p.u.Handle }
func (p person) WebAuthnName() string        { return p.u.Name }
func (p person) WebAuthnDisplayName() string { return p.u.DisplayName }

func (p person) WebAuthnCredentials() []webauthn.Credential {
	all := make([]webauthn.Credential, 0, len(p.u.Credentials))
	for _, c := range p.u.Credentials {
		var ways []protocol.AuthenticatorTransport
		for _, t := range c.Transports {
			ways = append(ways, protocol.AuthenticatorTransport(t))
		}
		all = append(all, webauthn.Credential{
			ID:            c.ID,
			PublicKey:     c.PublicKey,
			Transport:     ways,
			Flags:         webauthn.CredentialFlags{UserPresent: true, UserVerified: true, BackupEligible: c.BackupEligible, BackupState: c.BackedUp},
			Authenticator: webauthn.Authenticator{SignCount: c.SignCount},
		})
	}
	return all
}
