package targets

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kivaloo/internal/must"
	"kivaloo/stress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func row(t Target, figuresAndYards ...float64) *Row {
	r := &Row{Name: "it", Target: t}
	for i := 0; i < len(figuresAndYards); i += 2 {
		r.Record(figuresAndYards[i], figuresAndYards[i+1])
	}
	return r
}

func TestShareOfTarget(t *testing.T) {
	atLeast := Target{Factor: 2, Yardstick: "y"}
	for _, c := range []struct {
		name  string
		row   *Row
		share float64
	}{
		{"reached exactly", row(atLeast, 20, 10), 1},
		{"half", row(atLeast, 10, 10), 0.5},
		{"median of the rounds' own ratios", row(atLeast, 10, 10, 40, 10, 300, 100), 1.5},
		{"at most, and it is half of that", row(Target{Plus: 400, AtMost: true}, 200, 0), 2},
		{"at most, and it is twice that", row(Target{Plus: 400, AtMost: true}, 800, 0), 0.5},
		{"at most a yardstick and more", row(Target{Factor: 1, Yardstick: "y", Plus: 150, AtMost: true}, 500, 100), 0.5},
	} {
		if got := c.row.share(); got != c.share || c.row.met() != (c.share >= 1) {
			t.Errorf("%s: %v, met %v; want %v", c.name, got, c.row.met(), c.share)
		}
	}
}

func TestTable(t *testing.T) {
	get := row(Target{Factor: 1.4, Yardstick: redisGet, Unit: PerSecond}, 900, 500, 800, 500, 700, 400)
	get.worked(95*time.Millisecond, 100*time.Millisecond)
	get.cost, get.yardCost = []float64{0.7, 0.625, 0.6}, []float64{1.2}
	get.worked(10*time.Millisecond, 100*time.Millisecond)
	written := row(Target{Plus: 400, AtMost: true, Unit: Bytes}, 6000, 0)
	written.Note("all of them")
	set := row(Target{Factor: 1, Yardstick: "fdatasync", Plus: 150, AtMost: true, Unit: Micros}, 200.5, 100)
	var out bytes.Buffer
	must.Do(t, printTable(&out, "Title", []*Row{get, row(Target{}), written, set}))
	const want = `Title

workload  target                      measured  yardstick  ratio  of target          server CPU  its yardstick's
it        1.4 x R_get                 800/s     500/s      1.75   1.25       met     0.62 us     1.20 us
it        at most 400 B               6000 B                      0.07       MISSED              
it        at most fdatasync + 150 us  200 us    100 us     2.00   1.25       met                 

2 of 3 met. Measured and yardstick are medians; ratio and share of the target are medians of the rounds' own.
CPU is the processor time of a server for each request (of a scan: each pair), user and system, also a median.
it: the generator was busy 95 % of the time, and may be what limits it
it: all of them
`
	if out.String() != want {
		t.Errorf("%s\nwant:\n%s", &out, want)
	}
	if printTable(broken{}, "", nil) == nil {
		t.Error("printed to what cannot be written to")
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken") }

func options(rows string) Options {
	return Options{Rows: regexp.MustCompile(rows), Rounds: 1, Pairs: minPairs, Time: 100 * time.Millisecond,
		Redis: RedisPrograms{Server: "redis-server", Benchmark: "redis-benchmark"}}
}

// TestRun measures with real servers, on a scale that takes no time.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds and runs servers")
	}
	rows, want := "^bytes|^kill", []string{"bytes written per random SET", "kill -9 during"}
	if _, err := exec.LookPath("redis-server"); err == nil {
		rows, want = rows+"|one GET|^RANGE|random GET|50/50 mix|scan, pairs", append(want, "\none GET in flight, p50", "\nRANGE of 100 pairs beside", "\nrandom GET", "\nlbs+kvlds: 50/50 mix", "\nfull scan, pairs")
	}
	t.Setenv("TMPDIR", t.TempDir())
	var out bytes.Buffer
	o := options(rows)
	o.Programs = t.TempDir()
	build := exec.Command("go", "build", "-pgo=off", "-o", o.Programs, "./cmd/kivaloo", "./cmd/kivaloo-lbs", "./cmd/kivaloo-kvlds")
	build.Dir = filepath.Join("..", "..", "..")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	must.Do(t, Run(t.Context(), o, slices.Concat(Wire(), Latency(), Upkeep()), &out, io.Discard))
	for _, row := range want {
		if !strings.Contains(out.String(), row) {
			t.Errorf("no %q in:\n%s", row, &out)
		}
	}
	if strings.Contains(out.String(), "hot-spot") || strings.Contains(out.String(), "NaN") {
		t.Errorf("it has what was not asked for, or no number:\n%s", &out)
	}
}

func TestRunRefuses(t *testing.T) {
	for want, change := range map[string]func(o *Options){
		"0 rounds":                 func(o *Options) { o.Rounds = 0 },
		"a multiple of 65536":      func(o *Options) { o.Pairs++ },
		"no row is called":         func(o *Options) { o.Rows = regexp.MustCompile("nothing") },
		"apt install redis-server": func(o *Options) { o.Redis.Server = "no-such-server" },
	} {
		o := options("random GET")
		change(&o)
		if err := Run(t.Context(), o, Wire(), io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with: %s", err, want)
		}
	}
}

func TestSplit(t *testing.T) {
	began := time.Now()
	at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
	all := []stress.Answered{{Due: 0, Took: 5e6}, {Due: 8e6, Took: 4e6}, {Due: 12e6, Took: 1e6}, {Due: 25e6, Took: 1e6}}
	during, without := split(all, began, []period{{at(10), at(20)}})
	if len(during) != 2 || during[0] != 4e6 || during[1] != 1e6 || len(without) != 2 {
		t.Errorf("during %v, without %v", during, without)
	}
}

func TestPercentile(t *testing.T) {
	times := make([]time.Duration, 1000)
	for i := range times {
		times[i] = time.Duration(999 - i)
	}
	if p := percentile(times, 50); p != 500 {
		t.Errorf("p50 %d", p)
	}
	if p := percentile(times, 99.9); p != 999 {
		t.Errorf("p99.9 %d", p)
	}
}

func TestBenchmarkRate(t *testing.T) {
	const real = `"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
"GET key:__rand_int__","1000000.00","2.101","0.408","2.079","2.759","3.479","4.583"
`
	if rate, err := benchmarkRate(real); rate != 1000000 || err != nil {
		t.Errorf("%v, %v", rate, err)
	}
	for _, bad := range []string{"", "\"open\n", "a,b\n1,2\n", "rps\nfast\n", "rps\n1\n2\n"} {
		if rate, err := benchmarkRate(bad); err == nil {
			t.Errorf("%q gives %v", bad, rate)
		}
	}
}
