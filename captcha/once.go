package captcha

import (
	"context"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/spent"
)

// Once remembers which challenges are spent, for all machines that verify.
// Its methods use types of the standard library only, so that a store can be
// a Once without knowing this package.
//
// A Once that can also tell without spending should have the method
//
//	Spent(ctx context.Context, id [16]byte) (bool, error)
//
// with which [Captcha.ServeHTTP] answers 410 for a spent challenge, instead of
// drawing it once more.
type Once interface {
	// Spend records id as spent and reports whether this call was the first
	// to do so. It must be atomic: of any number of calls with the same id, on
	// any number of machines, exactly one is the first. The record must be
	// kept until the given time, and should not be kept much longer. Calls with
	// one id give one time. One that is over is not the first: it may have been
	// spent and forgotten.
	//
	// If Spend cannot tell, it returns an error, and the answer is refused.
	Spend(ctx context.Context, id [16]byte, until time.Time) (first bool, err error)
}

// spentReader is the optional method of a [Once].
type spentReader interface {
	Spent(ctx context.Context, id [16]byte) (bool, error)
}

// ErrFull means that the table in this process can remember no more spent
// challenges. It comes wrapped in [ErrStore]: answers are refused until old
// ones expire. Forgetting some early instead would let anyone with enough
// requests use their answers twice.
var ErrFull = spent.ErrFull
