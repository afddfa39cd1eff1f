package outage_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/outage"
)

var errAway = errors.New("away")

// TestOutage: one beginning and one end, however many calls fail and however they are
// mixed with some that do not.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o outage.Outage
		call := func(err error) outage.Change { return o.Note(time.Now(), err) }
		for range 10 {
			if c := call(nil); c != (outage.Change{}) || o.Failing() {
				t.Errorf("%+v, failing %v", c, o.Failing())
			}
		}
		for round := range 3 {
			if c := call(errAway); c != (outage.Change{Begins: true}) || !o.Failing() {
				t.Errorf("round %d: %+v, failing %v", round, c, o.Failing())
			}
			for range 9 {
				time.Sleep(outage.Settled - time.Nanosecond)
				began := time.Now()
				if c := call(errAway); c != (outage.Change{}) {
					t.Errorf("round %d: another failure: %+v", round, c)
				}
				// Others succeed at the same time, or began before.
				if c := o.Note(began, nil); c != (outage.Change{}) {
					t.Errorf("round %d: a success between: %+v", round, c)
				}
			}
			early := time.Now()
			time.Sleep(outage.Settled)
			if c := o.Note(early, nil); c != (outage.Change{}) {
				t.Errorf("round %d: one that began before: %+v", round, c)
			}
			want := outage.Change{Ends: true, Failures: 10, Lasted: 10*outage.Settled - 9}
			if c := call(nil); c != want || o.Failing() {
				t.Errorf("round %d: %+v, want %+v", round, c, want)
			}
			if c := call(nil); c != (outage.Change{}) {
				t.Errorf("round %d: afterwards: %+v", round, c)
			}
		}
	})
}

// TestLog: of many calls at once one line tells of the beginning, and one of the end.
func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o outage.Outage
		var b bytes.Buffer
		log := slog.New(slog.NewTextHandler(&b, nil))
		all := func(err error) {
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() { o.Note(time.Now(), err).Log(context.Background(), log, "test: the store", err) })
			}
			wg.Wait()
		}
		all(nil)
		all(errAway)
		time.Sleep(time.Minute)
		all(errAway)
		time.Sleep(time.Minute)
		all(nil)
		lines := strings.Split(strings.TrimSpace(b.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], `level=ERROR msg="test: the store fails" error=away`) ||
			!strings.Contains(lines[1], `level=INFO msg="test: the store answers again" failures=200 after=2m0s`) {
			t.Errorf("the log: %s", b.String())
		}
	})
}
