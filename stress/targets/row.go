package targets

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Row is one line of the table: something that is measured, and what it has to reach.
type Row struct {
	Name   string
	Target Target

	figures, yards []float64     // by round; yards are empty if the target has no yardstick
	busy           time.Duration // of the generator, in the round where it had most to do
	wall           time.Duration // how long that round took
	cost, yardCost []float64     // processor time of the server, and of the yardstick's, for each request, by round, in us
	note           string
}

// Target is a bound: Factor times the yardstick, plus Plus. The yardstick is what something else
// achieved in the same round. Without one the bound is Plus.
type Target struct {
	Factor    float64
	Yardstick string
	Plus      float64
	AtMost    bool // the bound is not to be exceeded; otherwise it is to be reached
	Unit      Unit // of the figure, the yardstick and Plus
}

// Unit is what a figure is in.
type Unit string

// The units that figures have.
const (
	PerSecond Unit = "/s"
	Micros    Unit = "us"
	Millis    Unit = "ms"
	Nanos     Unit = "ns"
	Bytes     Unit = "B"
	Times     Unit = "x" // a ratio
)

// String shows the target as people write it: "1.4 x R_get", "at most 400 B".
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

// format shows a figure with as many digits as say something.
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

// Record notes what a round has found. yard is ignored if the target has no yardstick.
func (r *Row) Record(figure, yard float64) {
	r.figures = append(r.figures, figure)
	if r.Target.Yardstick != "" {
		r.yards = append(r.yards, yard)
	}
}

// Note is printed below the table.
func (r *Row) Note(format string, args ...any) { r.note = fmt.Sprintf(format, args...) }

// measured reports whether there is something to print.
func (r *Row) measured() bool { return len(r.figures) > 0 }

// ratio returns the median of the figures over their yardsticks, round by round: what the machine
// does slower for a while it does slower for both.
func (r *Row) ratio() float64 { return r.over(func(i int) float64 { return r.yards[i] }) }

// share returns how much of the target was reached: 1 and more is all of it, whichever way the
// bound goes. It is the median over the rounds.
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

// over returns the median of the figures over what each is divided by.
func (r *Row) over(divisor func(round int) float64) float64 {
	ratios := make([]float64, len(r.figures))
	for i, figure := range r.figures {
		ratios[i] = figure / divisor(i)
	}
	return median(ratios)
}

// median returns the middle value, or the mean of the two in the middle. There is at least one.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
