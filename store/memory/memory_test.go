package memory_test

import (
	"testing"
	"testing/synctest"

	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/memory"
	"github.com/seed-64ad3862/gatehouse/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Config{
		New:    func(*testing.T) session.Store { return memory.New(memory.Config{}) },
		Bubble: synctest.Test,
	})
}
