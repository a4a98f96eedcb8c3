package number

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// flag is one number, or a list of them.
type flag[T cmp.Ordered] struct {
	kind     string // for help
	parse    func(string) (T, error)
	min, max T
	to       *T
	list     *[]T // used instead of to for a list
}

// Set implements pflag.Value.
func (f *flag[T]) Set(s string) error {
	if f.list == nil {
		v, err := f.read(s)
		if err == nil {
			*f.to = v
		}
		return err
	}
	var all []T
	for part := range strings.SplitSeq(s, ",") {
		v, err := f.read(part)
		if err != nil {
			return err
		}
		all = append(all, v)
	}
	*f.list = all
	return nil
}

func (f *flag[T]) read(s string) (T, error) {
	v, err := f.parse(s)
	if err != nil || !(v >= f.min && v <= f.max) { // NaN fails both comparisons
		return v, fmt.Errorf("want a %s from %v to %v", f.kind, f.min, f.max)
	}
	return v, nil
}

// String implements pflag.Value. pflag shows the result as the default. A value out of bounds means
// that there is none.
func (f *flag[T]) String() string {
	var zero T
	switch {
	case f.list != nil:
		return strings.Trim(strings.ReplaceAll(fmt.Sprint(*f.list), " ", ","), "[]")
	case f.to == nil || !(*f.to >= f.min && *f.to <= f.max):
		return ""
	case *f.to == zero:
		return "0" // pflag hides "0", but not "0s"
	}
	return fmt.Sprint(*f.to)
}

// Type implements pflag.Value.
func (f *flag[T]) Type() string { return f.kind }

// Each function adds a flag for *to, which has the default. short may be empty. A default out of
// bounds means "not given".

// Int adds a flag for a whole number.
func Int(f *pflag.FlagSet, to *int, name, short string, min, max int, usage string) {
	f.VarP(&flag[int]{kind: "number", parse: strconv.Atoi, min: min, max: max, to: to}, name, short, usage)
}

// Uint64 adds a flag for a whole number.
func Uint64(f *pflag.FlagSet, to *uint64, name, short string, min, max uint64, usage string) {
	parse := func(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) }
	f.VarP(&flag[uint64]{kind: "number", parse: parse, min: min, max: max, to: to}, name, short, usage)
}

// Float64 adds a flag for a real number.
func Float64(f *pflag.FlagSet, to *float64, name, short string, min, max float64, usage string) {
	f.VarP(&flag[float64]{kind: "number", parse: parseFloat, min: min, max: max, to: to}, name, short, usage)
}

// Duration adds a flag for a duration, such as 10s.
func Duration(f *pflag.FlagSet, to *time.Duration, name, short string, min, max time.Duration, usage string) {
	f.VarP(&flag[time.Duration]{kind: "duration", parse: time.ParseDuration, min: min, max: max, to: to}, name, short, usage)
}

// Ints adds a flag for a comma-separated list of whole numbers.
func Ints(f *pflag.FlagSet, to *[]int, name, short string, min, max int, usage string) {
	f.VarP(&flag[int]{kind: "number", parse: strconv.Atoi, min: min, max: max, list: to}, name, short, usage)
}

// Float64s adds a flag for a comma-separated list of real numbers.
func Float64s(f *pflag.FlagSet, to *[]float64, name, short string, min, max float64, usage string) {
	f.VarP(&flag[float64]{kind: "number", parse: parseFloat, min: min, max: max, list: to}, name, short, usage)
}

func parseFloat(s string) (float64, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err == nil && math.IsInf(v, 0) {
		err = strconv.ErrRange
	}
	return v, err
}
