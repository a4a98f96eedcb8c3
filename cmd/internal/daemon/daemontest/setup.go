package daemontest

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Torture reports whether the long runs are wanted.
func Torture() bool { return os.Getenv("KIVALOO_TORTURE") != "" }

// seedVar is the environment variable with the seed for Seeded.
const seedVar = "KIVALOO_SEED"

// Seeded returns a source of random numbers. If the test fails, it logs how to repeat it: with the
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
			long := ""
			if Torture() {
				long = "KIVALOO_TORTURE=1 "
			}
			name := strings.NewReplacer("/", "$/^", "+", `\+`).Replace(t.Name())
			t.Logf("to replay: %s%s=%#x go test %s -count=1 -run '^%s$'", long, seedVar, seed, testedPackage, name)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

// testedPackage is the folder of the tested package, relative to its module.
var testedPackage = func() string {
	dir, err := os.Getwd()
	for root := dir; err == nil && root != filepath.Dir(root); root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			return "." + strings.TrimPrefix(dir, root)
		}
	}
	return ""
}()

// Place creates a directory with a short path, because paths of sockets are limited.
func Place(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
