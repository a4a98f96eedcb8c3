package daemontest

import (
	"math/rand/v2"
	"os"
	"testing"
)

// Torture reports whether the long runs are wanted.
func Torture() bool { return os.Getenv("KIVALOO_TORTURE") != "" }

// Seeded returns a source of random numbers whose seed is printed if the test fails.
func Seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the seed was %#x", seed)
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
