package postgres

import (
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seed-64ad3862/gatehouse/internal/reach"
)

// Errors of a server that is there and may soon serve.
var (
	errStandby = errors.New("the server is a standby; target_session_attrs=read-write finds the primary")
	errCloses  = errors.New("the server closes every connection at once")
)

// Away reports whether an error, of [Open] or of any method, says that the server cannot
// be reached or does not serve now: it is down, starting, ending, out of connections, or
// a standby. Waiting may mend that. It mends no wrong password, no name of a database or
// a role that does not exist, no disagreement about TLS, and no schema of another
// version.
func Away(err error) bool {
	said := pgErrors(err)
	switch {
	case errors.Is(err, errVersion):
		return false
	case len(said) > 0: // which goes before what other addresses of the same server say
		return !slices.ContainsFunc(said, func(e *pgconn.PgError) bool { return !passing(e) })
	case errors.Is(err, errStandby), errors.Is(err, errCloses):
		return true
	case err == nil:
		return false
	// Of these package pgconn has no other sign.
	case strings.Contains(err.Error(), "server refused TLS connection"):
		return false
	case strings.Contains(err.Error(), "ValidateConnect failed"): // a server that target_session_attrs does not want now
		return true
	}
	return reach.Passing(err)
}

// pgErrors returns all that servers have answered: where there are several addresses,
// several.
func pgErrors(err error) (all []*pgconn.PgError) {
	for err != nil {
		switch e := err.(type) { //nolint:errorlint // what they wrap is looked at next
		case *pgconn.PgError:
			return append(all, e)
		case interface{ Unwrap() []error }:
			for _, one := range e.Unwrap() {
				all = append(all, pgErrors(one)...)
			}
			return all
		}
		err = errors.Unwrap(err)
	}
	return all
}

// passing reports whether an answer is of a server that may serve later.
func passing(e *pgconn.PgError) bool {
	switch e.Code {
	case readOnly:
		return true
	case protocolViolation:
		// Which PgBouncer gives to all that it, or the server behind it, refuses.
		return !slices.ContainsFunc([]string{"does not exist", "no such", "authentication failed", "not allowed", "SSL"}, func(text string) bool {
			return strings.Contains(e.Message, text)
		})
	}
	switch e.Code[:min(2, len(e.Code))] {
	case "08", // connection exceptions, as those of a pooler without a server
		"40", // rolled back because of others
		"53", // out of connections, memory or disk
		"55", // not in the state needed: in use by others
		"57", // starting, ending, cancelled
		"58": // errors of its system
		return true
	}
	return false
}
