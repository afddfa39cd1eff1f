package main

import (
	"errors"
	"testing"
)

// TestSessionsCache: the address of Redis says whether reads are cached.
func TestSessionsCache(t *testing.T) {
	for query, want := range map[string]struct{ require, disable bool }{
		"":                      {},
		"?client_cache=require": {require: true},
		"?client_cache=0":       {disable: true},
		"?client_cache=1":       {},
		"?db=3":                 {},
	} {
		cfg, err := (&settings{Sessions: "redis://redis.example:6379" + query}).redis()
		if err != nil || cfg.RequireCache != want.require || cfg.Client.DisableCache != want.disable {
			t.Errorf("%q: RequireCache %v, DisableCache %v, %v", query, cfg.RequireCache, cfg.Client.DisableCache, err)
		}
	}
	for _, query := range []string{"?client_cache=required", "?client_cache=require&protocol=2"} {
		if _, err := (&settings{Sessions: "redis://redis.example:6379" + query}).redis(); !errors.As(err, &usageError{}) {
			t.Errorf("%q: %v", query, err)
		}
	}
}
