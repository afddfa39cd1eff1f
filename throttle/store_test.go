package throttle_test

import (
	"testing"

	"github.com/seed-64ad3862/gatehouse/throttle"
	"github.com/seed-64ad3862/gatehouse/throttle/throttletest"
)

func TestTableStore(t *testing.T) {
	table := throttle.NewTable(0)
	throttletest.Run(t, func(*testing.T) throttle.Store { return table })
}
