package numbertest

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// kinds are the types of number flags.
var kinds = []string{"number", "duration", "size"}

// numbers are out of bounds for every flag.
var numbers = []string{"NaN", "nan", "Inf", "-Inf", "+Infinity", "-1", "-0.5", "1e400", "-1h", "1000000h", "18446744073709551616", "99999999999999999999", "", "x"}

// Refuses checks that each number flag of each command of root refuses what is no number or out of
// all bounds, when the command line is read. any are the flags that accept every whole number from
// 0 up.
func Refuses(t *testing.T, root func() *cobra.Command, any ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // what is not refused is not carried out either
	tried := 0
	for _, cmd := range root().Commands() {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !slices.Contains(kinds, f.Value.Type()) {
				return
			}
			tries := numbers
			if !slices.Contains(any, f.Name) {
				tries = append(tries, "9223372036854775807", "18446744073709551615")
			}
			for _, bad := range tries {
				r := root()
				r.SetArgs([]string{cmd.Name(), "--" + f.Name + "=" + bad})
				r.SetOut(io.Discard)
				r.SetErr(io.Discard)
				err := r.ExecuteContext(ctx)
				if err == nil || !strings.Contains(err.Error(), "invalid argument") || !strings.Contains(err.Error(), "--"+f.Name) {
					t.Errorf("%s --%s=%s: %v, want it to be an invalid argument", cmd.Name(), f.Name, bad, err)
				}
				tried++
			}
		})
	}
	if tried == 0 {
		t.Error("no flag takes a number")
	}
}
