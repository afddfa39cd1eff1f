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

// TestSize: sizes come back as they are written, and what is no size is refused.
func TestSize(t *testing.T) {
	for text, want := range map[string]size{"": 0, "1B": 1, "1023B": 1023, "4KB": 4 << 10, "512MB": 512 << 20, "1536MB": 1536 << 20, "2GB": 2 << 30, "3TB": 3 << 40} {
		var got size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want || got.String() != text {
			t.Errorf("%q is %d, %v, and back %q", text, got, err, got)
		}
	}
	var got size
	if err := got.UnmarshalText([]byte("1234567")); err != nil || got != 1234567 {
		t.Errorf("a number of bytes is %d, %v", got, err)
	}
	for _, text := range []string{"MB", "-1MB", "1.5GB", "1 MB", "1mb", "1MBB", "1BM", "9999999999TB", "99999999999999999999B"} {
		var got size
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}
