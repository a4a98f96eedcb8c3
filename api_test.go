package kivaloo

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"kivaloo/disk"
	"kivaloo/internal/must"
	"kivaloo/tree"
	"kivaloo/wire"
)

// Constants that the user reads as numbers are those of the engine.
func TestConstants(t *testing.T) {
	if MaxLen != wire.MaxKeyLen || MaxClientBatch != wire.MaxApplyItems || DefaultScrubRate != disk.DefaultScrubRate ||
		Certain != Trust(tree.Certain) || Unchecked != Trust(tree.Unchecked) || Stale != Trust(tree.Stale) || Lost != Trust(tree.Lost) {
		t.Error("a constant of the library is not that of the engine")
	}
}

// What go doc prints can be understood without the packages of the engine. Only the values of
// errors may be theirs.
func TestNoInternalNames(t *testing.T) {
	out, err := exec.Command("go", "doc", "-all", ".").Output()
	must.Do(t, err)
	internal := regexp.MustCompile(`\b(actors|disk|tree|wire|eventloop)\.[A-Z]|[Pp]ackage (actors|disk|tree|wire|eventloop)`)
	errorValue := regexp.MustCompile(`^\tErr\w+ += \w+\.Err\w+$`)
	if !strings.Contains(string(out), "func Open(") {
		t.Fatalf("go doc prints %q", out)
	}
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSuffix(line, "\n"); internal.MatchString(line) && !errorValue.MatchString(line) {
			t.Errorf("go doc prints %q", line)
		}
	}
}
