package results

import (
	"bufio"
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"

	"kivaloo/stress"
)

// Format is the version of the files. Readers refuse other versions.
const Format = 1

// Summary is everything known about a load except its course. Times are in nanoseconds unless the
// name says otherwise.
type Summary struct {
	Format  int       `json:"format"`
	Config  Config    `json:"config"`
	Host    Host      `json:"host"`
	Started time.Time `json:"started"` // start of the measured time
	Seconds float64   `json:"seconds"` // length of the measured time

	Ops []Row `json:"operations"` // of the mix; the last one is "all"
	Lag Times `json:"lag"`        // of the generator: how late it sent operations, measured from the earliest possible moment

	Due     int64 `json:"due"`     // open loop: operations that should have started
	Overdue int64 `json:"overdue"` // open loop: operations that never started, because too many were in flight

	Checked    int64    `json:"checked"` // reads that were verified
	Violations int64    `json:"violations"`
	Findings   []string `json:"findings,omitempty"`
	Error      string   `json:"error,omitempty"` // of the first operation that failed
	Cut        bool     `json:"cut"`             // interrupted before its end

	Command string  `json:"command,omitempty"` // the command that made the load
	Usage   []Usage `json:"usage,omitempty"`   // processor, memory and disk in the measured time

	Events []Event  `json:"events,omitempty"` // inside the store, ordered by start
	Inside []string `json:"inside,omitempty"` // other findings from there, in words
}

// Usage is the consumption of a process in the measured time.
type Usage struct {
	Who     string  `json:"who"` // "server", "generator", or both
	PID     int     `json:"pid"`
	Command string  `json:"command"`
	CPU     float64 `json:"cpu_seconds"`
	Written int64   `json:"written_bytes"`  // to disks, as the kernel counts it
	Memory  int64   `json:"resident_bytes"` // at the end
}

// Event is something that happened inside the store at least partly during the measured time.
type Event struct {
	Kind   string  `json:"kind"`
	Start  float64 `json:"start_seconds"` // since the beginning of the measured time; negative: before it
	Length float64 `json:"length_seconds"`
}

// Config holds the parameters of a load.
type Config struct {
	Target       string  `json:"target"`   // address or directory
	Workload     string  `json:"workload"` // its name; "mix" if it has none
	Mix          string  `json:"mix"`
	Distribution string  `json:"distribution"`
	Records      uint64  `json:"records"`
	ValueSize    int     `json:"value_bytes"`
	Connections  int     `json:"connections"`
	InFlight     int     `json:"in_flight"` // on each connection
	Rate         float64 `json:"rate"`      // per second; 0: a closed loop
	Arrivals     string  `json:"arrivals,omitempty"`
	Warmup       float64 `json:"warmup_seconds"`
	Duration     float64 `json:"duration_seconds"` // 0: until Count
	Count        uint64  `json:"count"`            // 0: until Duration
	Seed         uint64  `json:"seed"`
	Verify       bool    `json:"verify"`
}

// Open reports whether the load is an open loop.
func (c *Config) Open() bool { return c.Rate > 0 }

// Host describes the machine and the software that made the load.
type Host struct {
	Name    string `json:"name"`
	Kernel  string `json:"kernel"`
	CPU     string `json:"cpu"`
	CPUs    int    `json:"cpus"`
	Go      string `json:"go"`
	Version string `json:"kivaloo"` // version of this module
}

// Row is one operation.
type Row struct {
	Op       string  `json:"op"`
	Done     int64   `json:"done"`
	Missed   int64   `json:"missed"` // done, but nothing was found or the condition failed
	Failed   int64   `json:"failed"`
	PerSec   float64 `json:"per_second"`
	Response Times   `json:"response"` // from when it should have started
	Service  Times   `json:"service"`  // from when it was sent
}

// Times holds a few values of a histogram. The percentiles are over all operations that should have
// been done. For a user, an operation that failed or never started took longer than all others, so
// a percentile among these is Never. The mean is over the others.
type Times struct {
	Mean  int64 `json:"mean_ns"`
	P50   int64 `json:"p50_ns"`
	P90   int64 `json:"p90_ns"`
	P99   int64 `json:"p99_ns"`
	P999  int64 `json:"p99.9_ns"`
	P9999 int64 `json:"p99.99_ns"`
	Max   int64 `json:"max_ns"`
}

// Never is the time, in nanoseconds, of an operation that failed or never started. It is a power of
// two, so it survives a conversion to floating point and back.
const Never = 1 << 62

// TimesOf reads the values from a histogram. lost is how many more operations failed or never
// started.
func TimesOf(h *hdrhistogram.Histogram, lost int64) Times {
	if h.TotalCount() == 0 && lost == 0 {
		return Times{}
	}
	if h.TotalCount() == 0 {
		return Times{Never, Never, Never, Never, Never, Never, Never}
	}
	t := Times{Mean: int64(h.Mean()), Max: h.Max(),
		P50: percentile(h, lost, 50), P90: percentile(h, lost, 90), P99: percentile(h, lost, 99),
		P999: percentile(h, lost, 99.9), P9999: percentile(h, lost, 99.99)}
	if lost > 0 {
		t.Max = Never
	}
	return t
}

// percentile returns the time that this percentage of all operations did not exceed.
func percentile(h *hdrhistogram.Histogram, lost int64, percent float64) int64 {
	done := h.TotalCount()
	if among := percent * float64(done+lost) / float64(done); among <= 100 {
		return h.ValueAtPercentile(among)
	}
	return Never
}

// rowOf returns the row of an operation. overdue is how many operations never started.
func rowOf(s *stress.OpStats, overdue int64, length time.Duration) Row {
	lost := s.Failed + overdue
	row := Row{Op: s.Op, Done: s.Done, Missed: s.Missed, Failed: s.Failed, Response: TimesOf(s.Response, lost), Service: TimesOf(s.Service, s.Failed)}
	if length > 0 {
		row.PerSec = float64(s.Done) / length.Seconds()
	}
	return row
}

// Summarize returns the summary of a load.
func Summarize(c Config, h Host, o *stress.Outcome) *Summary {
	s := &Summary{Format: Format, Config: c, Host: h, Started: o.Total.Began.UTC().Round(0), Seconds: o.Total.Length.Seconds(),
		Lag: TimesOf(o.Total.Lag, 0), Due: o.Due, Overdue: o.Overdue,
		Checked: o.Checked, Violations: o.Violations, Findings: o.Findings, Cut: o.Cut}
	for _, op := range o.Total.Ops {
		s.Ops = append(s.Ops, rowOf(op, 0, o.Total.Length)) // it is not known which operations were overdue
	}
	s.Ops = append(s.Ops, rowOf(o.Total.All, o.Overdue, o.Total.Length))
	if o.FirstError != nil {
		s.Error = o.FirstError.Error()
	}
	return s
}

// All returns the row of all operations together.
func (s *Summary) All() *Row { return &s.Ops[len(s.Ops)-1] }

// Achieved returns how many operations a second an open loop has done of those due. It divides by
// the scheduled time, not by the time of the last answer.
func (s *Summary) Achieved() float64 {
	return s.Config.Rate * float64(s.All().Done) / float64(max(s.Due, 1))
}

// ThisHost describes this machine, as far as possible.
func ThisHost() Host {
	h := Host{CPUs: runtime.NumCPU(), Go: runtime.Version(), CPU: runtime.GOARCH, Version: "unknown"}
	h.Name, _ = os.Hostname()
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		h.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	info, _ := os.ReadFile("/proc/cpuinfo")
	for lines := bufio.NewScanner(bytes.NewReader(info)); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			h.CPU = strings.TrimSpace(value)
			break
		}
	}
	if build, ok := debug.ReadBuildInfo(); ok {
		h.Version = version(build)
	}
	return h
}

// version returns the source version that a program was built from.
func version(build *debug.BuildInfo) string {
	settings := map[string]string{}
	for _, s := range build.Settings {
		settings[s.Key] = s.Value
	}
	v := build.Main.Version
	if revision := settings["vcs.revision"]; revision != "" {
		v = revision
		if settings["vcs.modified"] == "true" {
			v += " with changes"
		}
	}
	return v
}
