package results

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
)

// Two loads differ in a measure if a Mann-Whitney test over their intervals says that chance alone would
// rarely make them look so different.
const (
	// significance is how often chance makes two loads look different in any measure although they are alike.
	significance = 0.05
	// smallestShift is the least change that is called better or worse. Times are recorded to 1 %.
	smallestShift = 0.02
	// minSamples is how many intervals each load needs for the test to say anything.
	minSamples = 8
	// minIndependent is how many independent values the intervals of a load count as, at least. Four below four
	// others is the least that chance rarely makes: with fewer, nothing could ever differ.
	minIndependent = 4
)

// Verdicts of a Difference.
const (
	Same    = "no difference"
	Slight  = "differs by less than 2 %"
	Better  = "better"
	Worse   = "WORSE"
	Unknown = "too few intervals to tell"
)

// compared are the measures that Compare looks at.
var compared = []string{"rate", "mean", "p50", "p99", "p99.9"}

// Difference is one measure of one operation in two loads.
type Difference struct {
	Op, Measure string
	Old, New    float64 // medians of the intervals, or of the whole loads if these are few; per second or nanoseconds
	P           float64 // that chance makes such a difference; 1 if that cannot be told
	Verdict     string
}

// Change is how much more New is, as a part of Old.
func (d *Difference) Change() float64 { return d.New/d.Old - 1 }

// Compare compares two loads, which should have been alike, operation by operation.
func Compare(old, new *Results) []Difference {
	var all []Difference
	for i := range old.Summary.Ops {
		before := &old.Summary.Ops[i]
		j := slices.IndexFunc(new.Summary.Ops, func(r Row) bool { return r.Op == before.Op })
		if j < 0 || before.Done == 0 || new.Summary.Ops[j].Done == 0 {
			continue
		}
		for _, measure := range compared {
			all = append(all, difference(old, new, before, &new.Summary.Ops[j], measure))
		}
	}
	correct(all)
	return all
}

// correct adjusts P for the number of measures, by the method of Benjamini and Hochberg: whoever looks at many would find
// chance in one of them otherwise. If two loads are alike, all of their measures stay below significance as often as
// a single one does. If many measures differ they support each other, so that each needs no more evidence than alone.
func correct(all []Difference) {
	var tested []*Difference
	for i := range all {
		if all[i].Verdict != Unknown {
			tested = append(tested, &all[i])
		}
	}
	slices.SortStableFunc(tested, func(a, b *Difference) int { return cmp.Compare(a.P, b.P) })
	p := 1.0
	for i, d := range slices.Backward(tested) {
		p = min(p, d.P*float64(len(tested))/float64(i+1))
		d.P = p
		d.judge()
	}
}

// difference compares one measure. The numbers are medians of the intervals, which is what the test compares: one long
// stall can make a whole load look slower of which nearly every interval is faster.
func difference(old, new *Results, before, after *Row, measure string) Difference {
	d := Difference{Op: before.Op, Measure: measure, P: 1, Verdict: Unknown}
	a, b := old.samples(d.Op, measure), new.samples(d.Op, measure)
	if len(a) < minSamples || len(b) < minSamples {
		d.Old, d.New = value(measure, before.PerSec, before.Response), value(measure, after.PerSec, after.Response)
		return d
	}
	d.Old, d.New = median(a), median(b)
	d.P = mannWhitney(a, b)
	d.judge()
	return d
}

// median returns the middle value, or the mean of the two in the middle.
func median(values []float64) float64 {
	sorted, n := slices.Sorted(slices.Values(values)), len(values)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// judge says what P and the change mean.
func (d *Difference) judge() {
	switch {
	case d.P >= significance || d.New == d.Old:
		d.Verdict = Same
	case math.Abs(d.Change()) < smallestShift:
		d.Verdict = Slight
	case (d.New > d.Old) == (d.Measure == "rate"):
		d.Verdict = Better
	default:
		d.Verdict = Worse
	}
}

// value returns a measure; one of another name is taken for max.
func value(measure string, rate float64, t Times) float64 {
	switch measure {
	case "rate":
		return rate
	case "mean":
		return float64(t.Mean)
	case "p50":
		return float64(t.P50)
	case "p90":
		return float64(t.P90)
	case "p99":
		return float64(t.P99)
	case "p99.9":
		return float64(t.P999)
	case "p99.99":
		return float64(t.P9999)
	}
	return float64(t.Max)
}

// show writes a measure for people.
func show(measure string, x float64) string {
	if measure == "rate" {
		return fmt.Sprintf("%.0f/s", x)
	}
	return Duration(int64(x))
}

// samples returns a measure in all intervals, but for those that are much shorter than most, as the last one may be. An
// interval without operations has a rate, and no times.
func (r *Results) samples(op, measure string) []float64 {
	var lengths, values []float64
	for _, s := range r.Intervals[op] {
		lengths = append(lengths, s.Length)
	}
	slices.Sort(lengths)
	for _, s := range r.Intervals[op] {
		if s.Length > lengths[len(lengths)/2]/2 && (s.PerSec > 0 || measure == "rate") {
			values = append(values, value(measure, s.PerSec, s.Response))
		}
	}
	return values
}

// mannWhitney returns how probable it is that samples of one distribution differ as much as a and b in how often the
// ones are larger than the others: two-sided, by the normal approximation, corrected for ties and for neighbours in
// time that are alike, as a machine that is slow in one second often is in the next: n values, each with a correlation r
// with the one before, say as much as n*(1-r)/(1+r) independent ones.
func mannWhitney(a, b []float64) float64 {
	ranks, ties := ranksOf(append(slices.Clone(a), b...))
	n, na, nb := float64(len(ranks)), float64(len(a)), float64(len(b))
	sum := 0.0
	for _, r := range ranks[:len(a)] {
		sum += r
	}
	u := sum - na*(na+1)/2
	deviation := math.Sqrt(na * nb / 12 * (n + 1 - ties/(n*(n-1))))
	if deviation == 0 { // all are equal
		return 1
	}
	r := correlation(ranks[:len(a)], ranks[len(a):])
	deviation *= math.Sqrt(min((1+r)/(1-r), min(na, nb)/minIndependent))
	z := max(math.Abs(u-na*nb/2)-0.5, 0) / deviation
	return math.Erfc(z / math.Sqrt2)
}

// ranksOf returns the place of each value among all, from 1; those that are equal share the middle one. ties is the sum
// of t*t*t-t over all groups of t equal values.
func ranksOf(values []float64) (ranks []float64, ties float64) {
	order := make([]int, len(values))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(values[i], values[j]) })
	ranks = make([]float64, len(values))
	for i := 0; i < len(order); {
		j := i
		for j < len(order) && values[order[j]] == values[order[i]] {
			j++
		}
		for _, k := range order[i:j] {
			ranks[k] = float64(i+j+1) / 2
		}
		equal := float64(j - i)
		ties += equal*equal*equal - equal
		i = j
	}
	return ranks, ties
}

// correlation returns how much alike neighbours are in both of two series, from 0 to less than 1. Each is compared with
// its own line, not with its mean: a load that becomes slower as its store grows does so steadily, in both runs alike,
// and that is no chance. Compared with the mean such a course looks like one long coincidence.
func correlation(series ...[]float64) float64 {
	together, squares, n := 0.0, 0.0, 0
	for _, values := range series {
		n += len(values)
		before := 0.0
		for _, v := range fromLine(values) {
			squares += v * v
			together += v * before
			before = v
		}
	}
	if squares < 1e-9 { // ranks: all are on the line
		return 0
	}
	// In a short series neighbours look less alike than they are, for its line follows them.
	r := together / squares
	r += (2 + 4*r) * float64(len(series)) / float64(n)
	return min(max(r, 0), 0.99)
}

// fromLine returns how far each value is from the straight line that fits all best.
func fromLine(values []float64) []float64 {
	middle, mean, along, squares := float64(len(values)-1)/2, 0.0, 0.0, 0.0
	for _, v := range values {
		mean += v / float64(len(values))
	}
	for i, v := range values {
		t := float64(i) - middle
		along += t * (v - mean)
		squares += t * t
	}
	from := make([]float64, len(values))
	for i, v := range values {
		from[i] = v - mean - along/squares*(float64(i)-middle)
	}
	return from
}

// PrintComparison prints what Compare has found.
func PrintComparison(out io.Writer, old, new *Results, all []Difference) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\t\told\tnew\tchange\tp\t\t\n")
	for _, d := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%+.1f %%\t%.3f\t%s\t\n", d.Op, d.Measure, show(d.Measure, d.Old), show(d.Measure, d.New), 100*d.Change(), d.P, d.Verdict)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if a, b := old.Summary.Config, new.Summary.Config; !alike(a, b) {
		_, err := fmt.Fprintf(out, "\nWARNING: the loads were not alike:\n  old: %s; %s\n  new: %s; %s\n", a.describe(), a.loop(), b.describe(), b.loop())
		return err
	}
	_, err := fmt.Fprintf(out, "\n%s\n", conclusion(all))
	return err
}

// alike reports whether two loads asked the same; seeds, targets and lengths may differ.
func alike(a, b Config) bool {
	for _, c := range []*Config{&a, &b} {
		c.Seed, c.Target, c.Duration, c.Warmup, c.Count = 0, "", 0, 0, 0
	}
	return a == b
}

func conclusion(all []Difference) string {
	count := map[string]int{}
	for _, d := range all {
		count[d.Verdict]++
	}
	switch {
	case count[Worse]+count[Better] > 0:
		return fmt.Sprintf("%d measures are better, %d are worse.", count[Better], count[Worse])
	case count[Slight] > 0:
		return fmt.Sprintf("%d measures differ, by less than %.0f %%.", count[Slight], 100*smallestShift)
	case count[Unknown] > 0 || len(all) == 0:
		return fmt.Sprintf("Too few intervals: at least %d are needed of each load.", minSamples)
	}
	return "No difference."
}
