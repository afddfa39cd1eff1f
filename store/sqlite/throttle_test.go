package sqlite

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/seed-64ad3862/gatehouse/throttle"
	"github.com/seed-64ad3862/gatehouse/throttle/throttletest"
)

// TestThrottle: the contract, in the process that serves, and by a command beside it.
func TestThrottle(t *testing.T) {
	for name, views := range map[string]func(t *testing.T, path string) []throttle.Store{
		"server": func(t *testing.T, path string) []throttle.Store {
			s := open(t, Config{Path: path})
			return []throttle.Store{s.Throttle(), s.Throttle()}
		},
		"both": func(t *testing.T, path string) []throttle.Store {
			s := open(t, Config{Path: path})
			return []throttle.Store{s.Throttle(), dialed(t, path).Throttle()}
		},
		"commands": func(t *testing.T, path string) []throttle.Store {
			open(t, Config{Path: path})
			return []throttle.Store{dialed(t, path).Throttle(), dialed(t, path).Throttle()}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var all []throttle.Store
			of, n := "", 0
			throttletest.Run(t, func(t *testing.T) throttle.Store {
				if of != t.Name() {
					of, n = t.Name(), 0
					all = views(t, filepath.Join(t.TempDir(), "sessions.db"))
				}
				n++
				return all[n-1]
			})
		})
	}
}

// FuzzThrottle: what a command says is counted or refused, and makes nothing fail.
func FuzzThrottle(f *testing.F) {
	f.Add([]byte(`{"take":[{"Name":{},"Limit":{"Burst":5,"Every":60000000000}}]}`))
	f.Add([]byte(`{"used":[{"Limit":{"Burst":0,"Every":0}}]}`))
	f.Add([]byte(`{"forget":[1,2,3]}`))
	f.Add([]byte(`{"give":[{}],"fill":null}`))
	table := throttle.NewTable(64)
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := decodeThrottle(b)
		if err != nil {
			if !errors.Is(err, errRequest) {
				t.Error(err)
			}
			return
		}
		for _, buckets := range [][]throttle.Bucket{w.Take, w.Used, w.Give, w.Fill} {
			if wait, err := table.Take(t.Context(), buckets); wait < 0 || err != nil {
				t.Error(wait, err)
			}
			used, err := table.Used(t.Context(), buckets)
			if len(used) != len(buckets) || err != nil {
				t.Error(used, err)
			}
		}
	})
}
