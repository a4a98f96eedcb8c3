package linear

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"kivaloo/cmd/internal/daemon/daemontest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(keepDir); dir != "" {
		if err := keep(dir, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	daemontest.Main(m, "kivaloo/cmd/kivaloo", "kivaloo/cmd/kivaloo-lbs", "kivaloo/cmd/kivaloo-kvlds", "kivaloo/cmd/kivaloo-mux")
}

// torture reports whether the long run is wanted.
func torture() bool { return os.Getenv("KIVALOO_TORTURE") != "" }

// must fails the test if an error has come from what it stands before.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// seeded returns a source of random numbers whose seed is printed if the test fails.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the seed was %#x", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

// newPlace makes a directory of which the path is short, because the paths of sockets are limited.
func newPlace(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kv")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
