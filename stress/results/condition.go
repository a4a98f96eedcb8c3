package results

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"kivaloo/stress"
)

// Condition is a limit such as "p99>+5%" or "p99.9>50ms". It concerns a measure of one operation,
// or of all together if none is named. It is met if the measure has changed by more than a
// fraction, or is beyond a value.
type Condition struct {
	text      string
	op        string
	measure   string
	above     bool
	relative  bool
	threshold float64 // a fraction, nanoseconds, or operations per second
}

var conditionSyntax = regexp.MustCompile(`^(?:(\w+)\.)?(rate|mean|p50|p90|p99|p99\.9|p99\.99|max)([<>])([+-]?[0-9.]+)(%|ns|us|ms|s|/s)$`)

// ParseCondition parses "[OP.]MEASURE>LIMIT", or the same with <. The measures are rate, mean, p50,
// p90, p99, p99.9, p99.99 and max (of response times). The limit is a change, as in +5%, a time, as
// in 10ms, or a rate, as in 50000/s.
func ParseCondition(text string) (Condition, error) {
	parts := conditionSyntax.FindStringSubmatch(text)
	if parts == nil {
		return Condition{}, fmt.Errorf("condition %q: want one like p99>+5%%, get.p99.9>10ms or rate<-5%%", text)
	}
	c := Condition{text: text, op: parts[1], measure: parts[2], above: parts[3] == ">", relative: parts[5] == "%"}
	if c.op == "" {
		c.op = "all"
	}
	var err error
	if c.threshold, err = strconv.ParseFloat(parts[4], 64); err != nil {
		return Condition{}, fmt.Errorf("condition %q: %w", text, err)
	}
	switch unit := parts[5]; {
	case unit == "%":
		c.threshold /= 100
	case (unit == "/s") != (c.measure == "rate"):
		return Condition{}, fmt.Errorf("condition %q: %s cannot be in %s", text, c.measure, unit)
	case unit != "/s":
		one, _ := time.ParseDuration("1" + unit) // the pattern only allows units that it knows
		c.threshold *= float64(one)
	}
	return c, nil
}

// ForIntervals returns an error if the condition cannot be checked in the intervals of one load
// with a mix.
func (c *Condition) ForIntervals(m stress.Mix) error {
	switch {
	case c.relative:
		return fmt.Errorf("condition %q: one load alone has no change: want a time or a rate, as in p99.9>50ms", c.text)
	case c.op != "all" && !strings.Contains(","+m.String(), ","+c.op+"="):
		return fmt.Errorf("condition %q: the mix is %s, without %q", c.text, m, c.op)
	}
	return nil
}

// HoldsIn reports whether an interval meets the condition, and the value of its measure.
func (c *Condition) HoldsIn(v *stress.Interval) (holds bool, was string) {
	s := v.All
	if i := slices.IndexFunc(v.Ops, func(s *stress.OpStats) bool { return s.Op == c.op }); i >= 0 {
		s = v.Ops[i]
	}
	if s.Done+s.Failed == 0 && c.measure != "rate" {
		return false, "" // it has no times
	}
	row := rowOf(s, 0, v.Length)
	x := value(c.measure, row.PerSec, row.Response)
	return c.beyond(x), fmt.Sprintf("%s.%s was %s", c.op, c.measure, show(c.measure, x))
}

func (c *Condition) String() string { return c.text }

func (c *Condition) beyond(x float64) bool {
	return c.above && x > c.threshold || !c.above && x < c.threshold
}

// Holds reports whether new meets the condition, compared with old, and why. A change counts only
// if it is more than chance. If there are too few intervals to tell, any change counts.
func (c *Condition) Holds(old, new *Results) (bool, string, error) {
	find := func(r *Results) (*Row, error) {
		i := slices.IndexFunc(r.Summary.Ops, func(row Row) bool { return row.Op == c.op })
		if i < 0 {
			return nil, fmt.Errorf("condition %q: %s has no operation %q", c.text, r.Dir, c.op)
		}
		return &r.Summary.Ops[i], nil
	}
	before, err := find(old)
	if err != nil {
		return false, "", err
	}
	after, err := find(new)
	if err != nil {
		return false, "", err
	}
	if !c.relative {
		x := value(c.measure, after.PerSec, after.Response)
		return c.beyond(x), fmt.Sprintf("%s: %s.%s is %s", c.text, c.op, c.measure, show(c.measure, x)), nil
	}
	d := difference(old, new, before, after, c.measure)
	return c.beyond(d.Change()) && d.Verdict != NotShown && d.Verdict != Equal, fmt.Sprintf("%s: %s.%s went from %s to %s (%+.1f %%, p=%.3f)",
		c.text, c.op, c.measure, show(c.measure, d.Old), show(c.measure, d.New), 100*d.Change(), d.P), nil
}
