package main

import (
	"testing"

	"github.com/seed-64ad3862/gatehouse/internal/tryout"
)

func TestApp(t *testing.T) { tryout.Run(t, newApp) }
