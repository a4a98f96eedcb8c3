package results

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/aclements/go-moremath/stats"
)

// A measure has changed if a Mann-Whitney test over the intervals of two loads says that chance
// would rarely make them look so different.
const (
	// significance is how often chance makes two equal loads look different in any measure.
	significance = 0.05
	// smallestShift is the smallest change that is called better or worse. Times are recorded to 1
	// %.
	smallestShift = 0.02
	// confidence is how often the interval of a change contains the true change.
	confidence = 0.95
	// resamples is how many times the bootstrap draws. With 400, the bounds of an interval vary by
	// a few percent of its length.
	resamples = 400
	// minSamples is how many intervals each load needs for the test to be meaningful.
	minSamples = 8
	// minIndependent is the least number of independent values that the intervals of a load count
	// as. Four values below four others is the smallest result that chance rarely produces: with
	// fewer, nothing could ever differ.
	minIndependent = 4
)

// Verdicts of a Difference.
const (
	Equal    = "equal within 2 %"         // the whole interval of the change is that small
	NotShown = "not shown"                // there may be a change, but chance explains it too
	Slight   = "differs by less than 2 %" // certainly, but by little
	Better   = "better"
	Worse    = "WORSE"
	Unknown  = "too few intervals to tell"
)

// compared lists the measures that Compare looks at.
var compared = []string{"rate", "mean", "p50", "p99", "p99.9"}

// Difference compares one measure of one operation in two loads.
type Difference struct {
	Op, Measure string
	// Medians of the intervals, or of the whole loads if there are few intervals; per second or
	// nanoseconds.
	Old, New float64
	// Bounds of the change, as fractions of Old, with 95 % confidence; NaN if there are too few
	// intervals.
	Low, High float64
	P         float64 // how often chance makes such a difference; 1 if unknown
	Verdict   string
}

// Change returns the relative change from Old to New.
func (d *Difference) Change() float64 { return d.New/d.Old - 1 }

// Compare compares two loads, which should be alike except for what is compared, operation by
// operation. If there is a single operation, the total of all operations would repeat it, and is
// left out.
func Compare(old, new *Results) []Difference {
	// The measures of the total repeat those of the parts, and the schedule sets the rate of an
	// open loop. Counted among the others they would only make it harder to show a change. So each
	// family is corrected for its own number of measures.
	var found, parts, total, scheduled []*Difference
	for i := range old.Summary.Ops {
		before := &old.Summary.Ops[i]
		j := slices.IndexFunc(new.Summary.Ops, func(r Row) bool { return r.Op == before.Op })
		if j < 0 || before.Done == 0 || new.Summary.Ops[j].Done == 0 || before.Op == "all" && len(old.Summary.Ops) == 2 && len(found) > 0 {
			continue
		}
		for _, measure := range compared {
			d := difference(old, new, before, &new.Summary.Ops[j], measure)
			found = append(found, &d)
			switch {
			case d.Verdict == Unknown:
			case measure == "rate" && old.Summary.Config.Open():
				scheduled = append(scheduled, &d)
			case d.Op == "all":
				total = append(total, &d)
			default:
				parts = append(parts, &d)
			}
		}
	}
	correct(parts)
	correct(total)
	correct(scheduled)
	// If no part has changed, the total differs by chance.
	for _, d := range total {
		least := 1.0
		for _, part := range parts {
			if part.Measure == d.Measure {
				least = min(least, part.P)
			}
		}
		if len(parts) > 0 && least > d.P {
			d.P = least
			d.judge()
		}
	}
	all := make([]Difference, len(found))
	for i, d := range found {
		all[i] = *d
	}
	return all
}

// correct adjusts P for the number of measures, by the method of Benjamini and Hochberg. Otherwise
// one of many measures would often differ by chance. If two loads are equal, all their measures
// together look different as rarely as a single one does. If many measures differ, they support
// each other, so that each needs no more evidence than alone.
func correct(family []*Difference) {
	slices.SortStableFunc(family, func(a, b *Difference) int { return cmp.Compare(a.P, b.P) })
	p := 1.0
	for i, d := range slices.Backward(family) {
		p = min(p, d.P*float64(len(family))/float64(i+1))
		d.P = p
		d.judge()
	}
}

// difference compares one measure. Old and New are medians of the intervals, because the test
// compares these: one long stall can make a whole load look slower although nearly every interval
// is faster.
func difference(old, new *Results, before, after *Row, measure string) Difference {
	d := Difference{Op: before.Op, Measure: measure, Low: math.NaN(), High: math.NaN(), P: 1, Verdict: Unknown}
	a, b := old.samples(d.Op, measure), new.samples(d.Op, measure)
	if len(a) < minSamples || len(b) < minSamples {
		d.Old, d.New = value(measure, before.PerSec, before.Response), value(measure, after.PerSec, after.Response)
		return d
	}
	d.Old, d.New = median(a), median(b)
	alike := likeness(a, b)
	d.P = mannWhitney(a, b, alike)
	d.Low, d.High = changeInterval(a, b, alike)
	d.judge()
	return d
}

// median returns the middle value, or the mean of the two middle values.
func median(values []float64) float64 {
	sorted, n := slices.Sorted(slices.Values(values)), len(values)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// judge sets the verdict from P and the change.
func (d *Difference) judge() {
	switch {
	case d.P >= significance || d.New == d.Old:
		d.Verdict = NotShown
		if d.Low > -smallestShift && d.High < smallestShift {
			d.Verdict = Equal
		}
	case math.Abs(d.Change()) < smallestShift:
		d.Verdict = Slight
	case (d.New > d.Old) == (d.Measure == "rate"):
		d.Verdict = Better
	default:
		d.Verdict = Worse
	}
}

// value returns a measure. Any other name means max.
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

// show formats a measure.
func show(measure string, x float64) string {
	if measure == "rate" {
		return fmt.Sprintf("%.0f/s", x)
	}
	return Duration(int64(x))
}

// samples returns a measure in all intervals. It leaves out intervals that are much shorter than
// most, as the last one may be. An interval without operations has a rate, but no times.
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

// mannWhitney returns the two-sided probability that samples of one distribution differ as much as
// a and b. It looks at how often values of one exceed values of the other. The test assumes
// independent values. So its result is corrected for the correlation of neighbours: n values, each
// with a correlation of r with the one before, are worth n*(1-r)/(1+r) independent ones.
func mannWhitney(a, b []float64, alike float64) float64 {
	test, err := stats.MannWhitneyUTest(a, b, stats.LocationDiffers)
	if err != nil { // all values are equal
		return 1
	}
	if test.P < math.SmallestNonzeroFloat64*1e10 {
		return test.P // too small to convert to a deviation
	}
	each := min(perIndependent(alike), float64(min(len(a), len(b)))/minIndependent)
	return math.Erfc(math.Erfcinv(min(test.P, 1)) / math.Sqrt(each))
}

// perIndependent returns how many values are worth one independent value, given the correlation of
// neighbours.
func perIndependent(alike float64) float64 { return (1 + alike) / (1 - alike) }

// changeInterval returns the bounds of the change of the median from a to b, as a fraction of the
// median of a. It is a block bootstrap: it draws runs of neighbours, so that the draws vary as much
// as the loads do. The same values give the same bounds.
func changeInterval(a, b []float64, alike float64) (low, high float64) {
	random := rand.New(rand.NewPCG(uint64(len(a)), uint64(len(b))))
	from, to := newResampler(a, alike), newResampler(b, alike)
	changes := make([]float64, resamples)
	for i := range changes {
		changes[i] = to.median(random)/from.median(random) - 1
	}
	slices.Sort(changes)
	tail := int(resamples * (1 - confidence) / 2)
	return changes[tail], changes[resamples-1-tail]
}

// resampler draws from values, and counts how often it has drawn each.
type resampler struct {
	sorted []float64
	place  []int // rank of each value
	drawn  []int // by rank
	run    int   // how many neighbours are drawn together
}

func newResampler(values []float64, alike float64) *resampler {
	n := len(values)
	r := &resampler{sorted: slices.Sorted(slices.Values(values)), place: make([]int, n), drawn: make([]int, n)}
	r.run = min(int(math.Ceil(perIndependent(alike))), n/minIndependent)
	for i, v := range values {
		r.place[i], _ = slices.BinarySearch(r.sorted, v)
	}
	return r
}

// median draws as many values as there are, and returns their median. The first value follows the
// last.
func (r *resampler) median(random *rand.Rand) float64 {
	clear(r.drawn)
	n := len(r.place)
	for left := n; left > 0; {
		from := random.IntN(n)
		for range min(r.run, left) {
			r.drawn[r.place[from]]++
			if from++; from == n {
				from = 0
			}
			left--
		}
	}
	return (r.nth((n-1)/2) + r.nth(n/2)) / 2
}

// nth returns drawn value n in ascending order.
func (r *resampler) nth(n int) float64 {
	i := 0
	for n -= r.drawn[0]; n >= 0; n -= r.drawn[i] {
		i++
	}
	return r.sorted[i]
}

// likeness returns the correlation of neighbours in two series, from 0 to less than 1. It compares
// ranks, so that a single stall does not decide.
func likeness(a, b []float64) float64 {
	ranks := ranksOf(append(slices.Clone(a), b...))
	return correlation(ranks[:len(a)], ranks[len(a):])
}

// ranksOf returns the rank of each value among all, from 1. Equal values share the middle rank.
func ranksOf(values []float64) []float64 {
	sorted := slices.Sorted(slices.Values(values))
	ranks := make([]float64, len(values))
	for i, v := range values {
		first, _ := slices.BinarySearch(sorted, v)
		behind := first
		for behind < len(sorted) && sorted[behind] == v {
			behind++
		}
		ranks[i] = float64(first+behind+1) / 2
	}
	return ranks
}

// correlation returns the correlation of neighbours in several series, from 0 to less than 1. Each
// series is compared with its own trend line, not with its mean. A load that slows down as its
// store grows does so steadily and in both runs, and that is not chance. Compared with the mean,
// such a trend looks like one long coincidence.
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
	// In a short series the correlation looks smaller than it is, because the line follows the
	// values.
	r := together / squares
	r += (2 + 4*r) * float64(len(series)) / float64(n)
	return min(max(r, 0), 0.99)
}

// fromLine returns the distance of each value from the best-fitting straight line.
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

// CompareSweeps prints how each rate of two sweeps compares. It returns an error if they have no
// rate in common.
func CompareSweeps(out io.Writer, old, new string) error {
	before, err := readSweep(old)
	if err != nil {
		return err
	}
	after, err := readSweep(new)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "old: %s\nnew: %s\n", before.Conclusion(), after.Conclusion()); err != nil {
		return err
	}
	common := 0
	for _, step := range before.Steps {
		if !slices.ContainsFunc(after.Steps, func(s Step) bool { return s.Rate == step.Rate }) {
			continue
		}
		common++
		a, err := Read(filepath.Join(old, step.name()))
		if err != nil {
			return err
		}
		b, err := Read(filepath.Join(new, step.name()))
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "\nAt %s per second:\n\n", step.name()); err != nil {
			return err
		}
		if err := PrintComparison(out, a, b, Compare(a, b)); err != nil {
			return err
		}
	}
	if common == 0 {
		return fmt.Errorf("the sweeps in %s and %s have no rate in common", old, new)
	}
	return nil
}

// PrintComparison prints the result of Compare.
func PrintComparison(out io.Writer, old, new *Results, all []Difference) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\t\told\tnew\tchange\t95 %% interval\tp\t\t\n")
	for _, d := range all {
		interval := "-"
		if d.Verdict != Unknown {
			interval = fmt.Sprintf("%+.1f to %+.1f %%", 100*d.Low, 100*d.High)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%+.1f %%\t%s\t%.3f\t%s\t\n", d.Op, d.Measure, show(d.Measure, d.Old), show(d.Measure, d.New), 100*d.Change(), interval, d.P, d.Verdict)
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

// alike reports whether two loads had the same parameters; seeds, targets and lengths may differ.
func alike(a, b Config) bool {
	for _, c := range []*Config{&a, &b} {
		c.Seed, c.Target, c.Duration, c.Warmup, c.Count = 0, "", 0, 0, 0
	}
	return a == b
}

// conclusion counts the verdicts. A difference that is not shown may still exist: the intervals say
// how large it may be.
func conclusion(all []Difference) string {
	count := map[string]int{}
	for _, d := range all {
		count[d.Verdict]++
	}
	few := fmt.Sprintf("each load needs at least %d", minSamples)
	if count[Unknown] == len(all) {
		return "Too few intervals: " + few + "."
	}
	text := fmt.Sprintf("%d better, %d worse; %d changed by less than %.0f %%, %d equal within %.0f %%, %d not shown.",
		count[Better], count[Worse], count[Slight], 100*smallestShift, count[Equal], 100*smallestShift, count[NotShown])
	if count[Unknown] > 0 {
		text += fmt.Sprintf(" %d have too few intervals: %s.", count[Unknown], few)
	}
	return text
}
