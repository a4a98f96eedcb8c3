package blackbox

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kivaloo/cmd/internal/daemon/daemontest"
)

// TestNumbersInOptions checks that every numeric option of the block store and of the key-value
// daemon refuses what is no number or out of bounds, when the command line is read. The other
// programs have their own tests.
func TestNumbersInOptions(t *testing.T) {
	t.Parallel()
	wrong := []string{"NaN", "-1", "-inf", "1e400", "", "x"}
	for program, options := range map[string][]string{
		"kivaloo-lbs":   {"-b", "-n", "-l"},
		"kivaloo-kvlds": {"-C", "-c", "-k", "-v", "-S", "-w", "-g", "-n", "--journal"},
	} {
		for _, option := range options {
			values := wrong
			if option != "-S" { // as in the original, an infinite cost means that nothing is worth keeping
				values = append(values, "inf", "+Infinity", "99999999999999999999999")
			}
			for _, value := range values {
				cmd := exec.CommandContext(t.Context(), daemontest.Program(program), option, value)
				cmd.Dir = t.TempDir()
				out, err := cmd.CombinedOutput()
				var exit *exec.ExitError
				if says := string(out); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(says, "option "+option+": ") {
					t.Errorf("%s %s %q: %v, %s", program, option, value, err, says)
				}
				if left, _ := filepath.Glob(filepath.Join(cmd.Dir, "*")); len(left) > 0 {
					t.Errorf("%s %s %q has made %q", program, option, value, left)
				}
			}
		}
	}
}
