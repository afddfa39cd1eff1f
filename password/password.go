// Package password keeps passwords as argon2id hashes, bounds what hashing takes of
// the machine, and verifies the hashes that people bring from elsewhere. [Policy]
// says which passwords can be chosen.
//
//	h, err := password.New(password.Config{})
//	encoded, err := h.Hash(ctx, typed)                   // to be stored
//	outdated, err := h.Verify(ctx, encoded, typed)       // nil, or ErrMismatch
//
// # Cost
//
// A hash takes 19 MiB and two passes over them by default, about 50 ms on one
// core: the least that OWASP's Password Storage Cheat Sheet asks of argon2id
// (RFC 9106). Only so many are computed at a time, so that a flood of sign-ins
// takes a known amount of memory. Further ones wait, and those for whom there is no
// room to wait get [ErrBusy].
//
// When the parameters of [Config] have changed, Verify says of hashes under the
// former ones that they are outdated. The caller, who has the password in hand at
// that moment, hashes it anew. So all hashes change over by and by.
//
// # Unknown names
//
// Verifying against the empty string takes as long as against a hash, and never
// succeeds. A caller that passes what it has found, if anything, therefore answers
// as late for names that do not exist as for those that do. Hashes of other makes
// take their own time until they are replaced at the first sign-in.
//
// # Characters
//
// A password is Unicode text, in whichever of its normal forms a keyboard makes it:
// it is hashed in Normalization Form C, as RFC 8265, section 4.2, has it. Nothing
// is trimmed, and nothing cut off.
//
// # Hashes from elsewhere
//
// Verify knows, beside its own,
//
//	$argon2id$v=19$m=65536,t=3,p=4$salt$hash     PHC strings, argon2i too
//	$2b$12$…                                     bcrypt, also as 2a and 2y
//	$scrypt$ln=16,r=8,p=1$salt$hash              PHC strings
//	argon2$argon2id$…, bcrypt_sha256$$2b$…, bcrypt$$2b$…,
//	scrypt$16384$salt$8$1$hash,
//	pbkdf2_sha256$720000$salt$hash               Django, with sha1 too
//	scrypt:32768:8:1$salt$hash,
//	pbkdf2:sha256:600000$salt$hash               Werkzeug (Flask), with sha1 and sha512 too
//
// All of these are outdated.
package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/sync/semaphore"
	"golang.org/x/text/unicode/norm"
)

// The errors of this package. None of them, wrapped or not, contains a password or a
// hash.
var (
	// ErrMismatch means that the password is another one.
	ErrMismatch = errors.New("password: does not match")
	// ErrBusy means that too many are waiting already, or that the context
	// ended before its turn came; then its error is wrapped as well. Nothing is
	// known of the password. A server answers 503 with Retry-After.
	ErrBusy = errors.New("password: too many at once")
	// ErrFormat means that a hash is damaged, of an unknown kind, or would take
	// more of the machine than [MaxMemory] and the like allow.
	ErrFormat = errors.New("password: not a hash that can be verified")
	// ErrInvalid means that a password is not UTF-8, or is longer than
	// [MaxLength].
	ErrInvalid = errors.New("password: not a text of at most 1024 characters")
)

const (
	// MaxLength is how many characters a password can have.
	MaxLength = 1024
	// MaxMemory is how much memory, in KiB, a hash may ask for.
	MaxMemory = 256 << 10

	saltSize = 16
	keySize  = 32
)

// Config configures [New]. The zero value is right.
type Config struct {
	// Memory, in KiB, and Passes over it are the cost of a hash: 19456 (19 MiB)
	// and 2 if 0. Less than 7168 KiB is refused, and so is less than 35840
	// memory times passes: the weakest of the pairs that OWASP gives.
	Memory, Passes int

	// Lanes are computed side by side, if there are as many processors; 1 if 0.
	Lanes int

	// AtOnce is how many hashes are computed at the same time: as many as there
	// are processors if 0. All together take AtOnce times Memory. One that
	// needs more, having come from elsewhere, is computed alone.
	AtOnce int

	// Waiting is how many more can wait for their turn: 32 for each of AtOnce
	// if 0, which is some two seconds.
	Waiting int
}

// A Hasher makes and verifies hashes. It can be used by several goroutines at once.
type Hasher struct {
	memory, passes uint32
	lanes          uint8

	budget  int64 // KiB
	turns   *semaphore.Weighted
	waiting atomic.Int64
	room    int64
}

// New returns a Hasher, or an error that says which setting is wrong.
func New(cfg Config) (*Hasher, error) {
	or := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	or(&cfg.Memory, 19456)
	or(&cfg.Passes, 2)
	or(&cfg.Lanes, 1)
	or(&cfg.AtOnce, runtime.GOMAXPROCS(0))
	or(&cfg.Waiting, 32*cfg.AtOnce)
	switch {
	case cfg.Memory < 7168 || cfg.Memory > MaxMemory:
		return nil, fmt.Errorf("password: Config.Memory is %d KiB; it can be from 7168 to %d", cfg.Memory, MaxMemory)
	case cfg.Passes < 1 || cfg.Passes > maxPasses:
		return nil, fmt.Errorf("password: Config.Passes is %d; it can be from 1 to %d", cfg.Passes, maxPasses)
	case cfg.Memory*cfg.Passes < 35840:
		return nil, fmt.Errorf("password: Config.Memory is %d KiB with %d passes, which is too cheap to guess: their product must be 35840 at least", cfg.Memory, cfg.Passes)
	case cfg.Lanes < 1 || cfg.Lanes > maxLanes:
		return nil, fmt.Errorf("password: Config.Lanes is %d; it can be from 1 to %d", cfg.Lanes, maxLanes)
	case cfg.AtOnce < 1 || cfg.AtOnce > 1024:
		return nil, fmt.Errorf("password: Config.AtOnce is %d; it can be from 1 to 1024", cfg.AtOnce)
	case cfg.Waiting < 0:
		return nil, fmt.Errorf("password: Config.Waiting is %d; it cannot be negative", cfg.Waiting)
	}
	h := &Hasher{
		memory: uint32(cfg.Memory), passes: uint32(cfg.Passes), lanes: uint8(cfg.Lanes),
		budget: int64(cfg.AtOnce) * int64(cfg.Memory), room: int64(cfg.Waiting),
	}
	h.turns = semaphore.NewWeighted(h.budget)
	return h, nil
}

// Hash returns the hash of a password, with a salt of its own, as a PHC string
// (https://github.com/P-H-C/phc-string-format/blob/master/phc-sf-spec.md) of 96
// characters or so, ASCII without blanks.
//
// It returns [ErrInvalid], or [ErrBusy]. Whether the password is a good one is for
// [Policy] to say.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	text, ok := normal(password)
	if !ok {
		return "", ErrInvalid
	}
	if err := h.begin(ctx, h.memory); err != nil {
		return "", err
	}
	defer h.end(h.memory)
	salt := make([]byte, saltSize)
	rand.Read(salt) //nolint:errcheck // it never fails
	key := argon2.IDKey([]byte(text), salt, h.passes, h.memory, h.lanes, keySize)
	return phc(h.passes, h.memory, h.lanes, salt, key), nil
}

// Verify returns nil if encoded is the hash of the password, and whether it should
// be replaced by a new one of [Hasher.Hash]: it is of another kind, or was made with
// other parameters.
//
// If encoded is empty, it takes as long as for a hash of its own, and returns
// [ErrMismatch]. So it does at once for passwords that none can be the hash of,
// whatever encoded is. Other errors are [ErrFormat] and [ErrBusy].
func (h *Hasher) Verify(ctx context.Context, encoded, password string) (outdated bool, err error) {
	text, ok := normal(password)
	if !ok {
		return false, ErrMismatch
	}
	if encoded == "" {
		encoded = phc(h.passes, h.memory, h.lanes, make([]byte, saltSize), make([]byte, keySize))
	}
	known, err := parse(encoded)
	if err != nil {
		return false, err
	}
	if err := h.begin(ctx, known.memory); err != nil {
		return false, err
	}
	defer h.end(known.memory)
	if known.matches([]byte(text)) {
		return known.outdated(h), nil
	}
	// Others hash what is typed as it is. Ours are never made so, but may look
	// the same.
	if text != password && known.matches([]byte(password)) {
		return true, nil
	}
	return false, ErrMismatch
}

// Check returns nil if Verify can verify against this hash, else [ErrFormat]. It
// costs nothing; an import of people uses it.
func Check(encoded string) error {
	_, err := parse(encoded)
	return err
}

// begin waits until so much memory, in KiB, may be used.
func (h *Hasher) begin(ctx context.Context, memory uint32) error {
	n := h.weight(memory)
	if h.turns.TryAcquire(n) {
		return nil
	}
	if h.waiting.Add(1) > h.room {
		h.waiting.Add(-1)
		return ErrBusy
	}
	defer h.waiting.Add(-1)
	if err := h.turns.Acquire(ctx, n); err != nil {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return nil
}

func (h *Hasher) end(memory uint32) { h.turns.Release(h.weight(memory)) }

// weight is what a hash takes of the budget: at least what one of ours does, since
// it takes a processor as well.
func (h *Hasher) weight(memory uint32) int64 {
	return min(max(int64(memory), int64(h.memory)), h.budget)
}

// normal returns the password as it is hashed.
func normal(password string) (string, bool) {
	// Before anything is computed: the longest character takes four bytes, and
	// decomposed several times as many.
	if len(password) > 16*MaxLength || !utf8.ValidString(password) {
		return "", false
	}
	text := norm.NFC.String(password)
	return text, utf8.RuneCountInString(text) <= MaxLength
}

func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
