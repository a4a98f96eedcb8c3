package daemontest

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
)

// Torture reports whether the long runs are wanted.
func Torture() bool { return os.Getenv("KIVALOO_TORTURE") != "" }

// seedVar is the environment variable that gives Seeded its seed.
const seedVar = "KIVALOO_SEED"

// Seeded returns a source of random numbers. If the test fails it says how to make the same choices again: with the
// seed in the environment.
func Seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv(seedVar); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 0, 64); err != nil {
			t.Fatalf("%s: %v", seedVar, err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the same choices again: %s=%#x go test -count=1 -run '^%s$'", seedVar, seed, strings.ReplaceAll(t.Name(), "/", "$/^"))
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

// Place makes a directory of which the path is short, because the paths of sockets are limited.
func Place(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
