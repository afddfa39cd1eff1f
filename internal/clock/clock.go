// Package clock compares times that were made on one machine and are read on another.
package clock

import "time"

// Skew is by how much the clocks of two machines may differ. Machines that ask a time
// server are milliseconds apart; a minute is for those that have lost it for some days,
// and is short compared with all that is good for a time: a captcha, a ceremony, a
// sign-in that waits for its code, the ten minutes after a confirmation.
//
// It is allowed in one direction only. A time that is ahead of this machine's clock by
// no more was made by a clock that is ahead. What ends, ends by the clock of the machine
// that looks: it may end up to a minute early or late there, and is never good for
// longer than its life and Skew.
const Skew = time.Minute

// Ahead reports whether t, the time at which something happened, is further ahead of now
// than another clock can be: the clock has been set back since, or was wrong when t was
// made. Such a time proves nothing.
func Ahead(t, now time.Time) bool { return t.After(now.Add(Skew)) }

// Recent reports whether something that happened at t, by the clock of any machine, is
// less than d old at now. It is not if t is [Ahead].
func Recent(t, now time.Time, d time.Duration) bool {
	return !Ahead(t, now) && now.Sub(t) < d
}

// Good reports whether something that is good for life, until it expires, is good at
// now: it has not expired, and may have begun already.
func Good(expires, now time.Time, life time.Duration) bool {
	return Recent(expires.Add(-life), now, life)
}
