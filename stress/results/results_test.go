package results

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"kivaloo/internal/must"
	"kivaloo/stress"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		must.Do(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	must.Do(t, err)
	if got != string(want) {
		t.Errorf("%s is not as it was; with -update it is written anew:\n%s", name, got)
	}
}

var testConfig = Config{Target: "/tmp/socket", Workload: "a", Mix: "get=50,set=50", Distribution: "zipfian:0.99", Records: 1000, ValueSize: 100,
	Connections: 2, InFlight: 8, Rate: 2000, Arrivals: "poisson", Warmup: 1, Duration: 6, Seed: 7, Verify: true}

var testHost = Host{Name: "host", Kernel: "6.1", CPU: "a processor", CPUs: 2, Go: "go1.26", Version: "v1"}

// made is a made-up load.
type made struct {
	intervals []*stress.Interval
	outcome   *stress.Outcome
	events    []Event
	inside    []string
}

// load makes up a load with a number of intervals. Times are scale times those of the first, and
// their last digit differs from interval to interval, up and down.
func load(n int, scale float64, open bool) made {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	stats := func(op string) *stress.OpStats {
		h := func() *hdrhistogram.Histogram { return hdrhistogram.New(100, int64(10*time.Minute), 2) }
		s := &stress.OpStats{Op: op, Times: stress.Times{Response: h(), Service: h()}}
		if !open {
			s.Service = s.Response
		}
		return s
	}
	empty := func(i int) *stress.Interval {
		return &stress.Interval{Began: began.Add(time.Duration(i) * time.Second), Start: time.Duration(i) * time.Second, Length: time.Second,
			Ops: []*stress.OpStats{stats("get"), stats("set")}, All: stats("all"), Lag: stats("").Response}
	}
	total := empty(0)
	total.Length = time.Duration(n) * time.Second
	var intervals []*stress.Interval
	for i := range n {
		v := empty(i)
		more := []int{0, 1, 2, 1, 0, 2, 0, 1, 2, 0}[i%10] * 300
		for k, s := range v.Ops {
			for j := range 1000 {
				t := int64(scale * float64((j+1)*(k+1)*1000+more+j%7*100))
				for _, to := range []*stress.OpStats{s, v.All, total.Ops[k], total.All} {
					to.Done++
					to.Response.RecordValue(t)
					if open {
						to.Service.RecordValue(t / 2)
					}
				}
			}
			v.Lag.RecordValue(50_000)
			total.Lag.RecordValue(50_000)
		}
		intervals = append(intervals, v)
	}
	return made{intervals: intervals, outcome: &stress.Outcome{Total: total, Due: int64(2000 * n), Checked: int64(1000 * n)}}
}

// write writes such a load to a directory.
func write(t *testing.T, c Config, m made) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "results")
	w, err := Create(dir, c, testHost)
	must.Do(t, err)
	for _, v := range m.intervals {
		w.Interval(v)
	}
	s := Summarize(c, testHost, m.outcome)
	s.Events, s.Inside = m.events, m.inside
	must.Do(t, w.Finish(s))
	return dir
}

func read(t *testing.T, dir string) *Results {
	t.Helper()
	r, err := Read(dir)
	must.Do(t, err)
	return r
}

func TestFiles(t *testing.T) {
	dir := write(t, testConfig, load(3, 1, true))
	for _, name := range []string{summaryFile, intervalsFile, latencyFile, benchFile} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		must.Do(t, err)
		golden(t, name, string(text))
	}
	r := read(t, dir)
	if r.Summary.Config != testConfig || r.Summary.All().Done != 6000 {
		t.Errorf("read back: %+v", r.Summary)
	}
	if len(r.Intervals["get"]) != 3 || len(r.Intervals["all"]) != 3 || r.Intervals["set"][2].Start != 2 {
		t.Errorf("intervals: %+v", r.Intervals)
	}
	for tag, want := range map[string]Times{"get": r.Summary.Ops[0].Response, "set.service": r.Summary.Ops[1].Service} {
		if h := r.Curves[tag]; h == nil || h.TotalCount() != 3000 || TimesOf(h, 0) != want {
			t.Errorf("curve %s is not that of the load", tag)
		}
	}
	if _, err := Create(dir, testConfig, testHost); !errors.Is(err, os.ErrExist) {
		t.Errorf("results were to be overwritten: %v", err)
	}
}

func TestWriterKeepsTheFirstError(t *testing.T) {
	w, err := Create(t.TempDir(), testConfig, testHost)
	must.Do(t, err)
	w.files[1].Close()
	m := load(2, 1, true)
	w.Interval(m.intervals[0])
	w.Interval(m.intervals[1])
	if err := w.Close(); !errors.Is(err, os.ErrClosed) || !strings.Contains(err.Error(), "write results to") {
		t.Error(err)
	}
}

// TestCreateRefusesWhatCannotBeWritten checks that parameters that could not be written after the
// load are refused before it.
func TestCreateRefusesWhatCannotBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "results")
	c := testConfig
	c.Rate = math.NaN()
	if w, err := Create(dir, c, testHost); err == nil {
		w.Close()
		t.Error("a rate that is no number")
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Error("the directory has been made")
	}
}

func TestReadRefuses(t *testing.T) {
	for name, spoil := range map[string]struct{ file, from, to, want string }{
		"format":       {summaryFile, `"format": 1`, `"format": 2`, "format 2"},
		"no summary":   {summaryFile, "{", "", "cannot unmarshal"},
		"no operation": {summaryFile, `"operations"`, `"other"`, "no operations"},
		"a column":     {intervalsFile, "per_s", "per_minute", `no column "per_s"`},
		"a number":     {intervalsFile, "1.000", "one", "invalid syntax"},
		"a field less": {intervalsFile, "get,", "", "wrong number of fields"},
	} {
		dir := write(t, testConfig, load(1, 1, true))
		path := filepath.Join(dir, spoil.file)
		text, err := os.ReadFile(path)
		must.Do(t, err)
		must.Do(t, os.WriteFile(path, []byte(strings.Replace(string(text), spoil.from, spoil.to, 1)), 0o644))
		if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), spoil.want) {
			t.Errorf("%s: %v, want an error with: %s", name, err, spoil.want)
		}
	}
	if _, err := Read(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an empty directory: %v", err)
	}
}

func TestTable(t *testing.T) {
	table := func(name string, s *Summary) {
		t.Helper()
		var out strings.Builder
		must.Do(t, s.Table(&out))
		golden(t, name, out.String())
	}
	table("open.txt", Summarize(testConfig, testHost, load(6, 1, true).outcome))

	closed := testConfig
	closed.Rate, closed.Arrivals, closed.Verify = 0, "", false
	table("closed.txt", Summarize(closed, testHost, load(6, 1, false).outcome))

	some := load(6, 1, true).outcome
	some.Overdue = 7
	table("some-overdue.txt", Summarize(testConfig, testHost, some))

	bad := load(6, 1, true).outcome
	bad.Overdue, bad.Violations, bad.Findings, bad.Cut = 100, 2, []string{"record 7 is absent"}, true
	bad.FirstError = errors.New("get: gone")
	bad.Total.All.Failed = 3
	bad.Total.Lag.RecordValues(int64(5*time.Millisecond), 1000)
	table("bad.txt", Summarize(testConfig, testHost, bad))
}

// TestLostOperationsCount checks that failed and unstarted operations count as slower than all
// others.
func TestLostOperationsCount(t *testing.T) {
	h := hdrhistogram.New(100, int64(10*time.Minute), 2)
	for i := range 90 {
		h.RecordValue(int64(i+1) * 1000)
	}
	got := TimesOf(h, 10) // of 100
	if got.P50 != h.ValueAtPercentile(100*50.0/90) || got.P90 != h.Max() || got.P99 != Never || got.Max != Never {
		t.Errorf("%+v", got)
	}
	if got := TimesOf(h, 0); got.P99 != h.ValueAtPercentile(99) || got.Max != h.Max() {
		t.Errorf("without lost ones: %+v", got)
	}
	if got := TimesOf(hdrhistogram.New(100, 1000, 2), 3); got.P50 != Never {
		t.Errorf("all failed: %+v", got)
	}
	o := load(6, 1, true).outcome
	o.Overdue = o.Due / 50
	if s := Summarize(testConfig, testHost, o); s.All().Response.P99 != Never || s.All().Response.P90 == Never || s.Ops[0].Response.P99 == Never {
		t.Errorf("2 %% overdue: %+v", s.Ops)
	}
}

// TestAchieved checks that the achieved rate is that of the schedule, however long the last answer
// takes.
func TestAchieved(t *testing.T) {
	o := load(6, 1, true).outcome
	o.Total.Length *= 3
	if s := Summarize(testConfig, testHost, o); s.Achieved() != testConfig.Rate {
		t.Errorf("%.0f per second, want %.0f", s.Achieved(), testConfig.Rate)
	}
}

func TestDuration(t *testing.T) {
	for ns, want := range map[int64]string{0: "0ns", 999: "999ns", 1000: "1us", 1234: "1.23us", 999_900: "999us", 45_600_000: "45.6ms", 1_234_000_000: "1.234s", 61e9: "61s", Never: "never"} {
		if got := Duration(ns); got != want {
			t.Errorf("%d: %s, want %s", ns, got, want)
		}
	}
}

func TestCompare(t *testing.T) {
	base := read(t, write(t, testConfig, load(10, 1, true)))
	again := read(t, write(t, testConfig, load(10, 1.001, true)))
	slower := read(t, write(t, testConfig, load(10, 1.1, true)))
	short := read(t, write(t, testConfig, load(4, 1, true)))
	config := testConfig
	config.Records++
	other := read(t, write(t, config, load(10, 1, true)))

	compare := func(name string, old, new *Results) {
		t.Helper()
		var out strings.Builder
		must.Do(t, PrintComparison(&out, old, new, Compare(old, new)))
		golden(t, name, out.String())
	}
	compare("compare-same.txt", base, again)
	compare("compare-slower.txt", base, slower)
	compare("compare-faster.txt", slower, base)
	compare("compare-short.txt", base, short)
	compare("compare-other.txt", base, other)

	for text, want := range map[string]bool{
		"p99>+5%": true, "p99>+15%": false, "get.p50>5%": true, "p99<-5%": false, "set.max>1ms": true, "set.max>1s": false,
		"rate<1000/s": false, "rate<1000000/s": true, "rate<-1%": false, "p99>0.1%": true,
	} {
		c, err := ParseCondition(text)
		must.Do(t, err)
		if got, why, err := c.Holds(base, slower); got != want || err != nil {
			t.Errorf("%s holds: %t, %s, %v", text, got, why, err)
		}
	}
	chance, _ := ParseCondition("p99>0%")
	if got, why, err := chance.Holds(base, again); got || err != nil {
		t.Errorf("chance is taken for a change: %s %v", why, err)
	}
	missing, _ := ParseCondition("range.p99>5%")
	if _, _, err := missing.Holds(base, slower); err == nil {
		t.Error("an operation that is not there is compared")
	}
	for _, text := range []string{"", "p99", "p98>5%", "p99>5", "p99>5/s", "rate>5ms", "p99>..%", "p99=5%"} {
		if _, err := ParseCondition(text); err == nil {
			t.Errorf("condition %q is taken", text)
		}
	}
}

// TestMannWhitney compares with tables of the test, and checks its symmetry. Neighbours are
// uncorrelated.
func TestMannWhitney(t *testing.T) {
	low, high := []float64{4, 5, 2, 8, 1, 7, 3, 6}, []float64{12, 13, 10, 16, 9, 15, 11, 14}
	test := func(a, b []float64) float64 { return mannWhitney(a, b, likeness(a, b)) }
	if p := test(low, high); p < 0.0001 || p > 0.0002 { // U = 0 of 8 and 8: two of 12,870 orders
		t.Errorf("apart: p = %g", p)
	}
	if p, q := test(low, high), test(high, low); p != q {
		t.Errorf("not symmetric: %g, %g", p, q)
	}
	if p := test(low, low); p < 0.99 {
		t.Errorf("the same: p = %g", p)
	}
	if p := test([]float64{5, 5, 5}, []float64{5, 5, 5}); p != 1 {
		t.Errorf("all equal: p = %g", p)
	}
}

// drift returns intervals of a load on a machine whose speed varies. Each has a correlation of r
// with the one before.
func drift(random *rand.Rand, n int, r, scale float64) *Results {
	x := &Results{Intervals: map[string][]Sample{}}
	x.Summary.Ops = []Row{{Op: "get", Done: 1}, {Op: "set", Done: 1}, {Op: "all", Done: 1}}
	for i := range x.Summary.Ops {
		row := &x.Summary.Ops[i]
		state := [4]float64{random.NormFloat64(), random.NormFloat64(), random.NormFloat64(), random.NormFloat64()}
		for range n {
			var at [4]int64
			for k := range state {
				state[k] = r*state[k] + math.Sqrt(1-r*r)*random.NormFloat64()
				at[k] = int64(scale * 1e6 * (1 + 0.05*state[k]))
			}
			times := Times{Mean: at[0], P50: at[1], P99: at[2], P999: at[3]}
			x.Intervals[row.Op] = append(x.Intervals[row.Op], Sample{Length: 1, PerSec: 1000, Response: times})
			row.Response.Mean += at[0] / int64(n)
			row.Response.P50 += at[1] / int64(n)
			row.Response.P99 += at[2] / int64(n)
			row.Response.P999 += at[3] / int64(n)
		}
		row.PerSec = 1000
	}
	return x
}

// TestCompareManyTimes checks that few pairs of equal loads are called different, however many
// measures there are. With correlated neighbours there are a few more, because the correlation is
// estimated from few values. A slowdown of a tenth must be found where intervals vary by 5 %.
func TestCompareManyTimes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	different := func(intervals int, r, scale float64) (found int) {
		for range 400 {
			all := Compare(drift(random, intervals, r, 1), drift(random, intervals, r, scale))
			if slices.ContainsFunc(all, func(d Difference) bool { return d.Verdict == Worse || d.Verdict == Better }) {
				found++
			}
		}
		return found
	}
	for _, c := range []struct {
		intervals   int
		r, scale    float64
		least, most int // of 400
	}{{10, 0, 1, 0, 20}, {30, 0, 1, 0, 20}, {30, 0.3, 1, 0, 40}, {10, 0, 1.1, 390, 400}, {30, 0.3, 1.1, 390, 400}} {
		if n := different(c.intervals, c.r, c.scale); n < c.least || n > c.most {
			t.Errorf("%+v: %d of 400 differ", c, n)
		}
	}
}

// TestIntervalOfChange checks that the interval of a change contains the true change about as often
// as it says.
func TestIntervalOfChange(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for _, c := range []struct {
		n     int
		r     float64
		least int // of 1000; few intervals say too little about how they vary
	}{{10, 0, 900}, {30, 0, 920}, {60, 0.4, 900}} {
		held := 0
		for range 1000 {
			old, new := drift(random, c.n, c.r, 1), drift(random, c.n, c.r, 1.1)
			d := difference(old, new, &old.Summary.Ops[0], &new.Summary.Ops[0], "p99")
			if d.Low <= 0.1 && 0.1 <= d.High {
				held++
			}
			if d.Low > d.High {
				t.Fatalf("%+v", d)
			}
		}
		if t.Logf("%+v: %d of 1000", c, held); held < c.least || held > 990 {
			t.Errorf("%d intervals, correlation %g: %d of 1000 hold the change", c.n, c.r, held)
		}
	}
}

// TestFamilies checks that measures that only repeat others, or are set by the schedule, do not
// make a change harder to show.
func TestFamilies(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	old, new := drift(random, 20, 0, 1), drift(random, 20, 0, 1)
	old.Summary.Config.Rate = 1000
	p := func(all []Difference, op, measure string) float64 {
		return all[slices.IndexFunc(all, func(d Difference) bool { return d.Op == op && d.Measure == measure })].P
	}
	before := p(Compare(old, new), "get", "p99")
	for i := range 20 { // now these cannot differ
		old.Intervals["all"][i], new.Intervals["all"][i] = Sample{Length: 1, PerSec: 1}, Sample{Length: 1, PerSec: 1}
		old.Intervals["get"][i].PerSec, new.Intervals["get"][i].PerSec = 5, 5
	}
	if after := p(Compare(old, new), "get", "p99"); after != before {
		t.Errorf("p is %g, and was %g beside other totals and rates", after, before)
	}
	old.Summary.Ops, new.Summary.Ops = old.Summary.Ops[1:], new.Summary.Ops[1:]
	if all := Compare(old, new); len(all) != len(compared) {
		t.Errorf("one operation is compared %d times", len(all))
	}
}

// courses are known ways in which the intervals of a load vary.
var courses = map[string]func(random *rand.Rand, n int) []float64{
	"normal": func(random *rand.Rand, n int) []float64 {
		return course(n, func(int) float64 { return random.NormFloat64() })
	},
	"exponential": func(random *rand.Rand, n int) []float64 {
		return course(n, func(int) float64 { return random.ExpFloat64() })
	},
	"lognormal": func(random *rand.Rand, n int) []float64 {
		return course(n, func(int) float64 { return math.Exp(random.NormFloat64()) })
	},
	"two values": func(random *rand.Rand, n int) []float64 {
		return course(n, func(int) float64 { return float64(random.IntN(2)) })
	},
	"a few stalls": func(random *rand.Rand, n int) []float64 {
		return course(n, func(int) float64 { return random.Float64() + 50*float64(random.IntN(10)/9) })
	},
	"a climb": func(random *rand.Rand, n int) []float64 {
		return course(n, func(i int) float64 { return float64(i)/2 + random.NormFloat64() })
	},
	"a step": func(random *rand.Rand, n int) []float64 {
		return course(n, func(i int) float64 { return float64(2*i/n*5) + random.NormFloat64() })
	},
	"like the one before": func(random *rand.Rand, n int) []float64 {
		state := random.NormFloat64()
		return course(n, func(int) float64 { state = 0.4*state + 0.917*random.NormFloat64(); return state })
	},
}

func course(n int, at func(i int) float64) []float64 {
	values := make([]float64, n)
	for i := range values {
		values[i] = at(i)
	}
	return values
}

// TestAlikeLoadsRarelyDiffer checks that chance makes no more pairs of equal loads look different
// than it may.
func TestAlikeLoadsRarelyDiffer(t *testing.T) {
	const trials = 2000
	for name, make := range courses {
		for _, n := range []int{minSamples, 20, 60} {
			random := rand.New(rand.NewPCG(3, uint64(n)))
			found := 0
			for range trials {
				a, b := make(random, n), make(random, n)
				if mannWhitney(a, b, likeness(a, b)) < significance {
					found++
				}
			}
			most := significance * 1.3 // three deviations of the number found
			if name == "like the one before" {
				most = 0.05 + 0.8/float64(n) // the correlation is estimated from few values
			}
			if rate := float64(found) / trials; rate > most {
				t.Errorf("%s, %d intervals each: %.3f of alike loads differ", name, n, rate)
			}
		}
	}
}

// TestDisjointLoadsDiffer checks that two loads differ if every interval of one is above all of the
// other, whatever their course.
func TestDisjointLoadsDiffer(t *testing.T) {
	for name, make := range courses {
		for seed := range uint64(50) {
			random := rand.New(rand.NewPCG(4, seed))
			old, new := drift(random, 20, 0, 1), drift(random, 20, 0, 1)
			for _, op := range []string{"get", "set", "all"} {
				a, b := make(random, 20), make(random, 20)
				up := slices.Max(a) - slices.Min(b) + 1 // U is 400 of 400
				for i := range 20 {
					put(&old.Intervals[op][i], a[i])
					put(&new.Intervals[op][i], b[i]+up)
				}
			}
			for _, d := range Compare(old, new) {
				if want := d.Measure != "rate"; (d.Verdict == Worse) != want {
					t.Errorf("%s, seed %d: %+v", name, seed, d)
				}
			}
		}
	}
	// A certain but small difference is not taken for none.
	old, new := &Results{}, &Results{}
	old.Intervals, new.Intervals = map[string][]Sample{}, map[string][]Sample{}
	for i := range 20 {
		old.Intervals["all"] = append(old.Intervals["all"], Sample{Length: 1, PerSec: 10_000 + float64(i*i%7)})
		new.Intervals["all"] = append(new.Intervals["all"], Sample{Length: 1, PerSec: 10_100 + float64(i*i%7)})
	}
	if d := difference(old, new, &Row{Op: "all"}, &Row{Op: "all"}, "rate"); d.Verdict != Slight {
		t.Errorf("rates that differ by 1 %% in every interval: %+v", d)
	}
}

// put sets all times of an interval to 10 ms plus ms.
func put(s *Sample, ms float64) {
	ns := int64(10e6 + ms*1e6)
	s.Response = Times{Mean: ns, P50: ns, P99: ns, P999: ns}
}

// TestOneStallIsNotTheVerdict checks that most intervals decide the verdict, not one stall.
func TestOneStallIsNotTheVerdict(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	old, new := drift(random, 20, 0, 1), drift(random, 20, 0, 1.5)
	old.Summary.Ops[2].Response.P999 = 5e9
	old.Intervals["all"][7].Response.P999 = 5e9
	// If nothing was answered in an interval, it has no times, not short ones.
	for i := range 5 {
		old.Intervals["all"][i] = Sample{Length: 1}
	}
	for _, d := range Compare(old, new) {
		if d.Op == "all" && d.Measure == "p99.9" && (d.Verdict != Worse || d.Change() < 0.3 || d.Change() > 0.7) {
			t.Errorf("%+v", d)
		}
	}
	if got := old.samples("all", "p99"); len(got) != 15 {
		t.Errorf("%d intervals have a p99, want 15", len(got))
	}
	if got := old.samples("all", "rate"); len(got) != 20 {
		t.Errorf("%d intervals have a rate, want 20", len(got))
	}
}

// drawn returns the page of a directory.
func drawn(t *testing.T, dir string) string {
	t.Helper()
	path, err := Report(dir)
	if err != nil || path != filepath.Join(dir, "report.html") {
		t.Fatal(path, err)
	}
	text, err := os.ReadFile(path)
	must.Do(t, err)
	return string(text)
}

// testEvents are one of each known kind, and one of an unknown kind.
var testEvents = []Event{{"cleaning", -0.5, 2}, {"flush", 1, 0.25}, {"fsync stall", 1.1, 0.08}, {"fsync stall", 2.2, 0.12}, {"snapshot", 2, 0.5}, {"surprise<", 2.9, 60}}

func TestEvents(t *testing.T) {
	m := load(3, 1, true)
	m.events, m.inside = testEvents, []string{"Recorded."}
	dir := write(t, testConfig, m)
	golden(t, "events.html", drawn(t, dir))
	s := read(t, dir).Summary
	if !slices.Equal(s.Events, testEvents) || !slices.Equal(s.Inside, m.inside) {
		t.Errorf("read back: %v, %v", s.Events, s.Inside)
	}
	var table strings.Builder
	must.Do(t, s.Table(&table))
	golden(t, "events.txt", table.String())
}

func TestConditionInAnInterval(t *testing.T) {
	m := load(1, 1, true)
	v := m.intervals[0]
	v.Ops = append(v.Ops, &stress.OpStats{Op: "cas", Times: stress.Times{Response: hdrhistogram.New(1, 1000, 1), Service: hdrhistogram.New(1, 1000, 1)}})
	for text, want := range map[string]struct {
		holds bool
		was   string
	}{
		"p99>1ms": {true, "all.p99 was 1.97ms"}, "p99>2ms": {false, "all.p99 was 1.97ms"}, "get.p50<1ms": {true, "get.p50 was 502us"},
		"set.p50<1ms": {false, "set.p50 was 1ms"}, "rate<2001/s": {true, "all.rate was 2000/s"}, "get.rate>1000/s": {false, "get.rate was 1000/s"},
		"cas.p99<1s": {false, ""}, "cas.rate<1/s": {true, "cas.rate was 0/s"},
	} {
		c, err := ParseCondition(text)
		must.Do(t, err)
		if holds, was := c.HoldsIn(v); holds != want.holds || was != want.was {
			t.Errorf("%s: %t, %q; want %t, %q", text, holds, was, want.holds, want.was)
		}
	}
	mix, err := stress.ParseMix("get=1,set=1")
	must.Do(t, err)
	for text, want := range map[string]string{"p99>1ms": "", "set.max>1s": "", "p99>5%": "has no change", "cas.p99>1s": `the mix is get=50,set=50, without "cas"`} {
		c, err := ParseCondition(text)
		must.Do(t, err)
		if err := c.ForIntervals(mix); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestReport(t *testing.T) {
	golden(t, "open.html", drawn(t, write(t, testConfig, load(3, 1, true))))
	closed := testConfig
	closed.Rate, closed.Arrivals, closed.Workload = 0, "", "<script>"
	text := drawn(t, write(t, closed, load(3, 1, false)))
	if strings.Contains(text, "<script") || strings.Contains(text, "http") || !strings.Contains(text, "get, service time") || strings.Contains(text, "NaN") {
		t.Errorf("not as it should be:\n%s", text)
	}
	// An interrupted load may have no results at all.
	if text := drawn(t, write(t, testConfig, load(0, 1, true))); strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
		t.Errorf("of an empty load:\n%s", text)
	}
}

func TestSweep(t *testing.T) {
	sweep := func(scales ...float64) *Sweep {
		w := &Sweep{Format: Format, Config: testConfig, Host: testHost}
		for i, scale := range scales {
			s := Summarize(testConfig, testHost, load(3, scale, true).outcome)
			s.Config.Rate = 2000 * float64(i+1)
			s.Due = int64(float64(s.All().Done) * s.Config.Rate / min(s.Config.Rate, 7000))
			w.Add(s)
		}
		return w
	}
	for name, c := range map[string]struct {
		w    *Sweep
		want float64
		says string
	}{
		"slow":       {sweep(1, 1.5, 12, 13), 4000, "The knee is at 4000 per second"},
		"disturbed":  {sweep(12, 1, 1.5, 12), 6000, "The knee is at 6000 per second"},
		"saturated":  {sweep(1, 1, 1, 1, 1), 6000, "The knee is at 6000 per second"},
		"unbeaten":   {sweep(1, 1), 4000, "kept up with all of 4000 per second"},
		"all but":    {sweep(1, 12, 1), 6000, "kept up with all rates to 6000 per second but 4000 (at least"},
		"all but 3":  {func() *Sweep { w := sweep(12, 12, 12, 1); w.Steps[3].PerSec = 8000; return w }(), 8000, "but 2000, 4000 and 6000 (at least"},
		"overloaded": {func() *Sweep { w := sweep(1); w.Steps[0].PerSec = 1; return w }(), 0, "did not keep up with any"},
	} {
		got, _ := c.w.Knee()
		if says := c.w.Conclusion(); got != c.want || !strings.Contains(says, c.says) {
			t.Errorf("%s: %g, %s; want %g", name, got, says, c.want)
		}
	}
	dir := t.TempDir()
	w := sweep(1, 1.5, 12, 13)
	must.Do(t, w.Write(dir))
	golden(t, "sweep.html", drawn(t, dir))
	var table strings.Builder
	must.Do(t, w.Table(&table))
	golden(t, "sweep.txt", table.String())
	must.Do(t, sweep(1, 1).Write(dir))
	if text := drawn(t, dir); strings.Contains(text, "knee, the") || strings.Contains(text, `class="mark"`) {
		t.Errorf("a knee is drawn where there is none:\n%s", text)
	}
	for text, want := range map[string]string{`{"format": 1}`: "with 0 steps", `{"format": 2, "steps": [{}]}`: "format 2", "no": "invalid character"} {
		must.Do(t, os.WriteFile(filepath.Join(dir, sweepFile), []byte(text), 0o644))
		if _, err := Report(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with: %s", text, err, want)
		}
	}
}

func TestAxis(t *testing.T) {
	for largest, want := range map[float64]string{0: "0 0.2 0.4 0.6 0.8 1", 1: "0 0.2 0.4 0.6 0.8 1", 7: "0 2 4 6 8", 10: "0 2 4 6 8 10", 2345: "0 500 1000 1500 2000 2500", 99999: "0 2e+04 4e+04 6e+04 8e+04 1e+05"} {
		a := linear("", largest, plainNumber)
		var got []string
		for _, t := range a.ticks {
			got = append(got, t.text)
		}
		if strings.Join(got, " ") != want || a.to < largest {
			t.Errorf("up to %g: %v, want %s", largest, got, want)
		}
	}
	for v, want := range map[float64]string{0: "0", 0.5: "0.5", 999: "999", 1000: "1k", 12500: "12.5k", 2e6: "2M"} {
		if got := count(v); got != want {
			t.Errorf("%g is %s, want %s", v, got, want)
		}
	}
}

// TestLabelsDoNotOverlap checks that a label without room is left out.
func TestLabelsDoNotOverlap(t *testing.T) {
	c := chart{x: axis{to: 100, ticks: []tick{{0, "99.999"}, {10, "99.9999"}, {30, "100"}}}, y: linear("", 1, count)}
	text := string(c.svg())
	if !strings.Contains(text, ">99.999<") || strings.Contains(text, ">99.9999<") || !strings.Contains(text, ">100<") {
		t.Errorf("drawn: %s", text)
	}
}

// FuzzRead checks that results that can be read can also be compared with themselves, checked
// against a condition, and shown, whatever is in their files.
func FuzzRead(f *testing.F) {
	files := [3][]byte{}
	for i, name := range []string{"summary.json", "intervals.csv", "latency.hlog"} {
		var err error
		if files[i], err = os.ReadFile(filepath.Join("testdata", name)); err != nil {
			f.Fatal(err)
		}
	}
	lines := func(b []byte, n int) []byte { return slices.Concat(bytes.SplitAfter(b, []byte("\n"))[:n]...) }
	for _, condition := range []string{"p99>+5%", "get.p99.9>10ms", "rate<1000/s", "set.max<-0%", "p50>..s", ""} {
		f.Add(files[0], lines(files[1], 8), lines(files[2], 6), condition)
	}
	f.Fuzz(func(t *testing.T, summary, intervals, curves []byte, condition string) {
		r := &Results{Intervals: map[string][]Sample{}, Curves: map[string]*hdrhistogram.Histogram{}}
		err := r.readSummary(bytes.NewReader(summary))
		err = errors.Join(err, r.readIntervals(bytes.NewReader(intervals)), r.readCurves(bytes.NewReader(curves)))
		c, bad := ParseCondition(condition)
		if bad == nil && (c.String() != condition || math.IsNaN(c.threshold)) {
			t.Errorf("%q is taken for %s", condition, &c)
		}
		if bad != nil && !strings.HasPrefix(bad.Error(), fmt.Sprintf("condition %q", condition)) {
			t.Error(bad)
		}
		if err != nil {
			return
		}
		for _, d := range Compare(r, r) {
			if (d.Verdict == Better || d.Verdict == Worse || d.Verdict == Slight) && d.Old == d.New {
				t.Errorf("results are %s than themselves: %+v", d.Verdict, d)
			}
		}
		if err := PrintComparison(io.Discard, r, r, Compare(r, r)); err != nil {
			t.Error(err)
		}
		if bad == nil {
			c.Holds(r, r)
		}
		if err := r.Summary.Table(io.Discard); err != nil {
			t.Error(err)
		}
		if err := reportTemplate.Execute(io.Discard, runPage(r)); err != nil {
			t.Error(err)
		}
	})
}
