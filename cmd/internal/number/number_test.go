package number

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// FuzzSet checks that an accepted number is within its bounds and is shown in a form that is
// accepted again. A refused one must leave the value unchanged.
func FuzzSet(f *testing.F) {
	for _, s := range []string{"", "0", "-0", "1000", "1001", "1_0", "0x10", "+5", "1.5", "1e3", "NaN", "Inf", "-5s", "1h30m", "2562047h47m16.854775807s", "1,2,3", "1,,2", "18446744073709551615"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		set := pflag.NewFlagSet("", pflag.ContinueOnError)
		i, u, r, d := 7, uint64(7), 7.0, 7*time.Second
		is, rs := []int{7}, []float64{7}
		Int(set, &i, "int", "", -100, 1000, "")
		Uint64(set, &u, "uint64", "", 1, 1<<63, "")
		Float64(set, &r, "float64", "", -0.5, 1e9, "")
		Duration(set, &d, "duration", "", -time.Minute, 1000*time.Hour, "")
		Ints(set, &is, "ints", "", 0, 1000, "")
		Float64s(set, &rs, "float64s", "", 0, 1e300, "")
		within := map[string]func() bool{
			"int":      func() bool { return -100 <= i && i <= 1000 },
			"uint64":   func() bool { return 1 <= u && u <= 1<<63 },
			"float64":  func() bool { return -0.5 <= r && r <= 1e9 },
			"duration": func() bool { return -time.Minute <= d && d <= 1000*time.Hour },
			"ints":     func() bool { return !slices.ContainsFunc(is, func(v int) bool { return !(0 <= v && v <= 1000) }) },
			"float64s": func() bool { return !slices.ContainsFunc(rs, func(v float64) bool { return !(0 <= v && v <= 1e300) }) },
		}
		set.VisitAll(func(flag *pflag.Flag) {
			before := flag.Value.String()
			if err := flag.Value.Set(s); err != nil {
				if !strings.HasPrefix(err.Error(), "want a ") || flag.Value.String() != before {
					t.Errorf("%s: %q leaves %s, %v", flag.Name, s, flag.Value, err)
				}
				return
			}
			shown := flag.Value.String()
			if !within[flag.Name]() {
				t.Errorf("%s: %q is taken for %s", flag.Name, s, shown)
			}
			if err := flag.Value.Set(shown); err != nil || flag.Value.String() != shown {
				t.Errorf("%s: %q is shown as %s, and that is taken for %s, %v", flag.Name, s, shown, flag.Value, err)
			}
		})
	})
}
