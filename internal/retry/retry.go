// Package retry says when somebody who was refused may come again.
package retry

import (
	"errors"
	"math"
	"strconv"
	"time"
)

// After returns what the header field Retry-After says for an error that has, or
// wraps one that has, a method RetryAfter() time.Duration: whole seconds, one at
// least. For another error it is empty.
func After(err error) string {
	var after interface{ RetryAfter() time.Duration }
	if !errors.As(err, &after) {
		return ""
	}
	return strconv.Itoa(int(math.Ceil(max(after.RetryAfter(), time.Second).Seconds())))
}
