package targets

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Row is one line of the table: a measurement and its target.
type Row struct {
	Name   string
	Target Target

	figures, yards []float64     // by round; yards are empty if the target has no yardstick
	busy           time.Duration // of the generator, in the round where it worked most
	wall           time.Duration // length of that round
	// Processor time per request of the server, and of the yardstick's, by round, in us.
	cost, yardCost []float64
	note           string
}

// Target is a bound: Factor times the yardstick, plus Plus. The yardstick is what something else
// achieved in the same round. Without one the bound is Plus.
type Target struct {
	Factor    float64
	Yardstick string
	Plus      float64
	AtMost    bool // the bound must not be exceeded; otherwise it must be reached
	Unit      Unit // of the figure, the yardstick and Plus
}

// Unit is the unit of a figure.
type Unit string

// The units of figures.
const (
	PerSecond Unit = "/s"
	Micros    Unit = "us"
	Millis    Unit = "ms"
	Nanos     Unit = "ns"
	Bytes     Unit = "B"
	Times     Unit = "x" // a ratio
)

// String formats the target: "1.4 x R_get", "at most 400 B".
func (t Target) String() string {
	text := ""
	if t.Yardstick != "" {
		text = t.Yardstick
		if t.Factor != 1 {
			text = fmt.Sprintf("%.3g x %s", t.Factor, t.Yardstick)
		}
	}
	switch {
	case text == "":
		text = t.Unit.format(t.Plus)
	case t.Plus != 0:
		text += " + " + t.Unit.format(t.Plus)
	}
	if t.AtMost {
		return "at most " + text
	}
	return text
}

// format formats a figure with as many digits as are meaningful.
func (u Unit) format(v float64) string {
	digits := 0
	if v != math.Trunc(v) && math.Abs(v) < 100 {
		digits = 2
	}
	if u == PerSecond {
		return fmt.Sprintf("%.0f/s", v)
	}
	return fmt.Sprintf("%.*f %s", digits, v, u)
}

// Record records the result of a round. yard is ignored if the target has no yardstick.
func (r *Row) Record(figure, yard float64) {
	r.figures = append(r.figures, figure)
	if r.Target.Yardstick != "" {
		r.yards = append(r.yards, yard)
	}
}

// Note sets a note that is printed below the table.
func (r *Row) Note(format string, args ...any) { r.note = fmt.Sprintf(format, args...) }

// measured reports whether there is anything to print.
func (r *Row) measured() bool { return len(r.figures) > 0 }

// ratio returns the median of the figures over their yardsticks, round by round. When the machine
// is slow for a while, it is slow for both.
func (r *Row) ratio() float64 { return r.over(func(i int) float64 { return r.yards[i] }) }

// share returns how much of the target was reached: 1 or more means all of it, in either direction.
// It is the median over the rounds.
func (r *Row) share() float64 {
	share := r.over(func(i int) float64 {
		bound := r.Target.Plus
		if r.Target.Yardstick != "" {
			bound += r.Target.Factor * r.yards[i]
		}
		return bound
	})
	if r.Target.AtMost {
		return 1 / share
	}
	return share
}

func (r *Row) met() bool { return r.share() >= 1 }

// over returns the median of the figures, each divided by its divisor.
func (r *Row) over(divisor func(round int) float64) float64 {
	ratios := make([]float64, len(r.figures))
	for i, figure := range r.figures {
		ratios[i] = figure / divisor(i)
	}
	return median(ratios)
}

// median returns the middle value, or the mean of the two middle values. There must be at least
// one.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
