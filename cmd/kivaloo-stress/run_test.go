package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kivaloo"
	"kivaloo/cmd/internal/number/numbertest"
	"kivaloo/internal/must"
	"kivaloo/stress"
)

// output runs the program and returns its output.
func output(t *testing.T, args ...string) (string, error) {
	t.Helper()
	read, write, err := os.Pipe()
	must.Do(t, err)
	text := make(chan string)
	go func() {
		b, _ := io.ReadAll(read)
		text <- string(b)
	}()
	stdout, stderr := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = write, write
	err = run(args)
	os.Stdout, os.Stderr = stdout, stderr
	write.Close()
	defer read.Close()
	return <-text, err
}

func contains(t *testing.T, text string, wanted ...string) {
	t.Helper()
	for _, want := range wanted {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in:\n%s", want, text)
		}
	}
}

// TestRunAndCompare makes a store, fills it and loads it with one command, and compares the
// results.
func TestRunAndCompare(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	text, err := output(t, "run", "--dir", at("store"), "-n", "500", "--warmup", "10ms", "--duration", "500ms", "--interval", "50ms",
		"-c", "1", "-P", "4", "-w", "f", "--verify", "-o", at("closed"))
	must.Do(t, err)
	contains(t, text, "workload f: get=50,rmw=50, zipfian:0.99 over 500 records", "A closed loop sends nothing while it waits", ", 0 violations", "Results are in "+at("closed"), "s left")
	for _, name := range []string{"summary.json", "intervals.csv", "latency.hlog", "bench.txt", "report.html"} {
		if info, err := os.Stat(filepath.Join(at("closed"), name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	text, err = output(t, "run", "--dir", at("store"), "--existing", "-n", "500", "--warmup", "0s", "--duration", "300ms", "--interval", "50ms",
		"--mix", "get=9,range=1", "-R", "1000", "--arrivals", "poisson", "-o", at("open"))
	must.Do(t, err)
	contains(t, text, "workload mix: get=90,range=10, uniform over 500 records", "open loop: 1000 per second, poisson arrivals, at most 4 connections, 256 in flight", "service")
	if strings.Contains(text, "loading") {
		t.Errorf("it has loaded what was there:\n%s", text)
	}

	if text, err = output(t, "compare", at("closed"), at("closed"), "--fail-if", "p99>+1%"); err != nil {
		t.Error(err)
	}
	// On a slow machine there may be too few intervals to conclude that there is no difference.
	contains(t, text, "rmw", "+0.0 %")
	if strings.Contains(text, "WORSE") || !strings.Contains(text, "0 better, 0 worse") && !strings.Contains(text, "Too few") {
		t.Errorf("a run differs from itself:\n%s", text)
	}
	text, err = output(t, "compare", at("closed"), at("open"), "--fail-if", "rate<100000000/s", "--fail-if", "rate>100000000/s")
	if !errors.Is(err, errThreshold) || strings.Count(err.Error(), errThreshold.Error()) != 1 || exitStatus(err) != 3 {
		t.Errorf("conditions: %v", err)
	}
	contains(t, text, "the loads were not alike")
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	text, err := output(t, "run", "--dir", filepath.Join(dir, "store"), "-n", "100", "-w", "c", "--warmup", "0s", "--duration", "100ms", "--sweep", "500:0.6k:50", "-o", filepath.Join(dir, "out"))
	must.Do(t, err)
	contains(t, text, "asked", "500", "550", "600", "drawn in "+filepath.Join(dir, "out", "report.html"))
	for _, rate := range []string{"500", "550", "600"} {
		made := filepath.Join(dir, "out", rate)
		if path, err := output(t, "report", made); err != nil || strings.TrimSpace(path) != filepath.Join(made, "report.html") {
			t.Errorf("report of %s: %q %v", rate, path, err)
		}
	}
	for _, text := range []string{"", "1:2", "1:2:0", "2:1:1", "k:2:1", "1:1m:1", "1:100000:1", "1:2:Inf", "1:NaN:1", "NaN:2:1", "-1:2:1", "1:1e300:1e299", "0.0001:1:0.1"} {
		if rates, err := parseSweep(text); err == nil {
			t.Errorf("sweep %q is taken for %v", text, rates)
		}
	}
	if rates, err := parseSweep("0.1:0.3:0.1"); err != nil || len(rates) != 3 {
		t.Errorf("%v %v", rates, err)
	}
}

func TestLoadCommand(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	text, err := output(t, "load", "--dir", dir, "-n", "300", "--value-size", "20")
	must.Do(t, err)
	contains(t, text, "300 records in ")
	db, err := kivaloo.Open(dir, kivaloo.Options{})
	must.Do(t, err)
	defer db.Close()
	n := 0
	for pair, err := range db.Range(context.Background(), nil, nil) {
		if err != nil || len(pair.Value) != 20 {
			t.Fatalf("%q: %v", pair, err)
		}
		n++
	}
	if n != 300 {
		t.Errorf("%d records", n)
	}
}

// TestNumbersInFlags checks that numeric flags refuse invalid and senseless numbers before anything
// is done.
func TestNumbersInFlags(t *testing.T) { numbertest.Refuses(t, newRootCommand, "seed", "count") }

// filesIn returns the names in a directory.
func filesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestRunKeepsOutOfOtherDirectories checks that neither records nor results go to a directory with
// other files, and that nothing was done before the refusal.
func TestRunKeepsOutOfOtherDirectories(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if _, err := output(t, "load", "--dir", at("theirs"), "-n", "20"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etc", "empty"} {
		must.Do(t, os.Mkdir(at(name), 0o755))
	}
	must.Do(t, os.WriteFile(at("etc/passwd"), nil, 0o600))
	before := fmt.Sprint(filesIn(t, at("theirs")))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"load", "--dir", at("theirs")}, "holds a store, and a load changes it"},
		{[]string{"run", "--dir", at("theirs"), "-o", at("out")}, "say --existing if that is meant"},
		{[]string{"load", "--dir", at("etc")}, "is not empty, and there is no store in it"},
		{[]string{"load", "--dir", at("etc"), "--existing"}, "is not empty, and there is no store in it"},
		{[]string{"run", "--dir", at("etc"), "--existing", "-o", at("out")}, "is not empty, and there is no store in it"},
		{[]string{"load", "--dir", at("etc/passwd")}, "not a directory"},
		{[]string{"run", "--dir", at("new"), "-o", at("etc")}, "etc is not empty: name a new directory"},
		{[]string{"run", "--dir", at("new"), "-o", at("theirs")}, "theirs is not empty: name a new directory"},
		{[]string{"run", "--dir", at("new"), "-o", at("etc"), "--sweep", "1:2:1"}, "etc is not empty: name a new directory"},
		{[]string{"run", "--dir", at("empty"), "-o", at("empty")}, "results and the store need a directory each"},
		{[]string{"run", "--dir", at("new"), "-c", "1000", "-P", "1000"}, "1000000 operations in flight"},
	} {
		if err := run(c.args); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want an error with: %s", c.args, err, c.want)
		}
		if got := fmt.Sprint(filesIn(t, dir)); got != "[empty etc theirs]" {
			t.Fatalf("%v has left %s", c.args, got)
		}
	}
	if fmt.Sprint(filesIn(t, at("theirs"))) != before || len(filesIn(t, at("etc"))) != 1 || len(filesIn(t, at("empty"))) != 0 {
		t.Error("something has been made in a directory of somebody else")
	}
	// Empty directories may be used.
	if _, err := output(t, "run", "--dir", at("empty"), "-n", "10", "--count", "5", "--warmup", "0s", "-o", at("out")); err != nil {
		t.Error(err)
	}
}

// TestAchievedAtALowRate checks that the achieved rate refers to the time of the schedule, not to
// the time until its last answer.
func TestAchievedAtALowRate(t *testing.T) {
	dir := t.TempDir()
	text, err := output(t, "run", "--dir", filepath.Join(dir, "store"), "-n", "10", "-w", "c", "-R", "10", "--warmup", "0s", "--count", "3", "-o", filepath.Join(dir, "out"))
	must.Do(t, err)
	contains(t, text, "of 10 (100.00 % of what was due)")
	var achieved float64
	_, line, _ := strings.Cut(text, "Achieved ")
	if _, err := fmt.Sscanf(line, "%g per second", &achieved); err != nil || achieved > 10 { // less on a busy machine
		t.Errorf("achieved %g, %v", achieved, err)
	}
}

// TestResultsAreKept checks that results stay, and are named, if something fails afterwards.
func TestResultsAreKept(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	t.Run("a page that cannot be drawn", func(t *testing.T) {
		l := load{}
		var out strings.Builder
		err := l.draw(at("nothing"), &out)
		if err == nil {
			t.Error("no error")
		}
		contains(t, out.String(), "Results are in "+at("nothing")+", not drawn")
	})
	t.Run("the second rate of a sweep fails", func(t *testing.T) {
		must.Do(t, os.MkdirAll(at("out/2000"), 0o755))
		must.Do(t, os.WriteFile(at("out/2000/intervals.csv"), nil, 0o600))
		db, err := kivaloo.Open(at("store"), kivaloo.Options{})
		must.Do(t, err)
		defer db.Close()
		mix, distribution, err := stress.YCSB("c")
		must.Do(t, err)
		plan := stress.Plan{Mix: mix, Distribution: distribution, Records: 10, ValueSize: 100, Workers: 2, Duration: 20 * time.Millisecond, Interval: time.Second}
		l := load{target: target{dir: at("store"), connections: 1, records: 10}, workload: "c"}
		var out strings.Builder
		err = l.sweepRates(t.Context(), []kivaloo.Store{db}, plan, []float64{1000, 2000, 3000}, at("out"), &out, io.Discard)
		if !errors.Is(err, os.ErrExist) || !strings.Contains(err.Error(), "at 2000 per second") {
			t.Error(err)
		}
		contains(t, out.String(), "asked  achieved", "\n   1000 ", "drawn in "+at("out/report.html"))
	})
}

// TestRunCount checks that a number of operations ends a load too, and that the results need no
// given place.
func TestRunCount(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	if _, err := output(t, "run", "--dir", filepath.Join(t.TempDir(), "store"), "-n", "10", "--count", "50", "--warmup", "0s"); err != nil {
		t.Fatal(err)
	}
	made, err := filepath.Glob(filepath.Join(tmp, "kivaloo-stress-a-*", "summary.json"))
	if err != nil || len(made) != 1 {
		t.Fatalf("%q %v", made, err)
	}
	text, err := os.ReadFile(made[0])
	must.Do(t, err)
	contains(t, string(text), `"count": 50`, `"duration_seconds": 0`)
}

// TestRunVerificationFails checks that a load reports a record lost by the store, and that the exit
// status shows it.
func TestRunVerificationFails(t *testing.T) {
	dir := t.TempDir()
	store := filepath.Join(dir, "store")
	if _, err := output(t, "load", "--dir", store, "-n", "20"); err != nil {
		t.Fatal(err)
	}
	if _, err := output(t, "run", "--dir", store, "--existing", "-n", "20", "--mix", "delete=1", "--distribution", "hotspot:0.5:0.5", "--count", "7", "--warmup", "0s", "-o", filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	db, err := kivaloo.Open(store, kivaloo.Options{})
	must.Do(t, err)
	keepEnds(t, db)
	must.Do(t, db.Close())
	text, err := output(t, "run", "--dir", store, "--existing", "-n", "20", "--mix", "get=1", "--count", "500", "--warmup", "0s", "--verify", "-o", filepath.Join(dir, "b"))
	if !errors.Is(err, stress.ErrVerify) || exitStatus(err) != 2 {
		t.Errorf("%v: exit status %d", err, exitStatus(err))
	}
	contains(t, text, "is absent, want version 0 or later")
}

// keepEnds makes a store that has lost records look complete: it has the first and the last of 20.
func keepEnds(t *testing.T, db *kivaloo.DB) {
	t.Helper()
	full := filepath.Join(t.TempDir(), "full")
	if _, err := output(t, "load", "--dir", full, "-n", "20"); err != nil {
		t.Fatal(err)
	}
	other, err := kivaloo.Open(full, kivaloo.Options{})
	must.Do(t, err)
	defer other.Close()
	for pair, err := range other.Range(t.Context(), nil, nil) {
		must.Do(t, err)
		if n := pair.Value[7]; n == 0 || n == 19 {
			must.Do(t, db.Set(t.Context(), pair.Key, pair.Value))
		}
	}
}

func TestRunUsage(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "socket")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"run"}, "either -t with an address or --dir"},
		{[]string{"run", "-t", missing, "--dir", "x"}, "either -t with an address or --dir"},
		{[]string{"run", "-t", missing}, "no such file or directory"},
		{[]string{"run", "-t", missing, "-c", "0"}, `invalid argument "0" for "-c, --connections" flag`},
		{[]string{"run", "-w", "z"}, `no workload "z"`},
		{[]string{"run", "-w", "a", "--mix", "get=1"}, "not both"},
		{[]string{"run", "--mix", "peek=1"}, `no operation "peek"`},
		{[]string{"run", "--distribution", "odd"}, `distribution "odd"`},
		{[]string{"run", "--arrivals", "odd"}, `want constant or poisson`},
		{[]string{"run", "--dir", t.TempDir(), "--value-size", "1"}, `invalid argument "1" for "--value-size" flag: want a number from 20 to 255`},
		{[]string{"run", "--original-output"}, "--original-output is for the workloads bulk-extract,"},
		{[]string{"run", "-w", "tokyo"}, "-t with the address of a server"},
		{[]string{"run", "-w", "tokyo", "-t", missing, "-c", "3"}, "--connections has no meaning for tokyo"},
		{[]string{"run", "-w", "tokyo", "-t", missing}, "no such file or directory"},
		{[]string{"run", "--sweep", "odd"}, `sweep "odd"`},
		{[]string{"run", "--sweep", "1:2:1", "-R", "5"}, "--sweep has rates of its own"},
		{[]string{"report", missing}, "read results"},
		{[]string{"pairs"}, "N is missing"},
		{[]string{"pairs", "-1"}, "unknown shorthand flag"},
		{[]string{"pairs", "many"}, "number of pairs is a whole number"},
		{[]string{"compare", missing}, "NEW is missing"},
		{[]string{"compare", missing, missing}, "read results"},
		{[]string{"compare", missing, missing, "--fail-if", "odd"}, `condition "odd"`},
	} {
		if err := run(c.args); err == nil || !strings.Contains(err.Error(), c.want) || exitStatus(err) != 1 {
			t.Errorf("%v: %v, want an error with: %s", c.args, err, c.want)
		}
	}
}

// TestPairsCommand compares the output with that of the original's generator, by its sum.
func TestPairsCommand(t *testing.T) {
	for _, n := range []string{"1000", "0x3e8", "01750"} {
		text, err := output(t, "pairs", n)
		must.Do(t, err)
		if got, want := fmt.Sprintf("%x", sha256.Sum256([]byte(text))), "344da37ef05a02b9e3027e2f8b3d09eefad1c501a01287018cc8dacc5171d29b"; got != want {
			t.Errorf("%s pairs: SHA-256 is %s, want %s", n, got, want)
		}
	}
	if text, err := output(t, "pairs", "0"); text != "" || err != nil {
		t.Errorf("no pairs: %q %v", text, err)
	}
}

func TestMeterLines(t *testing.T) {
	var out strings.Builder
	m := newMeter(&out, "work")
	m.show(0.5, "half")
	stop := m.follow(func() (float64, string) { return 1, "never, it is over too soon" })
	stop()
	if got := out.String(); got != "work: half\n" {
		t.Errorf("%q", got)
	}
}

// FuzzSweep checks that the rates of an accepted sweep ascend within bounds, and that there are not
// too many.
func FuzzSweep(f *testing.F) {
	for _, s := range []string{"10k:100k:10k", "0.1:0.3:0.1", "1:2", "2:1:1", "1:2:Inf", "NaN:2:1", "1:1e7:1e-3", "0.001:0.001:10000k", "1kk:2:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		rates, err := parseSweep(s)
		if err != nil {
			if !strings.HasPrefix(err.Error(), fmt.Sprintf("sweep %q: ", s)) {
				t.Fatal(err)
			}
			return
		}
		if len(rates) < 1 || len(rates) > maxSteps || rates[0] < stress.MinRate || rates[len(rates)-1] > stress.MaxRate*(1+1e-9) || !slices.IsSorted(rates) {
			t.Fatalf("%q is %v", s, rates)
		}
	})
}

func TestServerPID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	must.Do(t, err)
	defer ln.Close()
	if pid := serverPID(path); pid != os.Getpid() {
		t.Errorf("process %d listens, want %d", pid, os.Getpid())
	}
	for _, addr := range []string{"[127.0.0.1]:1", path + "-missing", ""} {
		if pid := serverPID(addr); pid != 0 {
			t.Errorf("%q: process %d", addr, pid)
		}
	}
}
