package kivaloo_test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestImportGraph checks that programs that embed the store import only what they need: not the
// server's event loop and its dependencies, nor Prometheus, nor a cloud SDK.
func TestImportGraph(t *testing.T) {
	forbidden := []string{
		"github.com/panjf2000/gnet/", // by the event loop
		"go.uber.org/zap",            // by gnet
		"github.com/aws/",            // by the cloud stores
		"github.com/prometheus/",     // by contrib/collector
		"kivaloo/eventloop",
		"kivaloo/cmd/",
	}
	for _, program := range []string{"dialonly", "openonly"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			deps := dependencies(t, filepath.Join("testdata", program))
			for _, wanted := range []string{"kivaloo", "kivaloo/wire"} {
				if !slices.Contains(deps, wanted) {
					t.Errorf("%s is not among the %d packages: the wrong program has been looked at", wanted, len(deps))
				}
			}
			for _, dep := range deps {
				for _, prefix := range forbidden {
					if strings.HasPrefix(dep, prefix) {
						t.Errorf("it gets %s", dep)
					}
				}
			}
		})
	}
}

// dependencies returns all packages that a program consists of. It must compile.
func dependencies(t *testing.T, dir string) []string {
	t.Helper()
	out, err := exec.Command("go", "vet", "./"+dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%s does not compile: %v\n%s", dir, err, out)
	}
	out, err = exec.Command("go", "list", "-deps", "./"+dir).Output()
	if err != nil {
		t.Fatalf("go list -deps of %s: %v", dir, err)
	}
	return strings.Fields(string(out))
}
