package account_test

import (
	"testing"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/account/accounttest"
)

func TestMemory(t *testing.T) {
	accounttest.Run(t, func(*testing.T) []account.Store { return []account.Store{new(account.Memory)} })
	accounttest.RunLog(t, func(*testing.T) []account.Log { return []account.Log{new(account.Memory)} })
}
