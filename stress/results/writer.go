package results

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/HdrHistogram/hdrhistogram-go"

	"kivaloo/stress"
)

// The files in a directory of results.
const (
	summaryFile   = "summary.json"
	intervalsFile = "intervals.csv"
	latencyFile   = "latency.hlog" // in HdrHistogram's log format, version 1.3
	benchFile     = "bench.txt"    // input of benchstat
)

// serviceTag follows an operation's name when it means its service times.
const serviceTag = ".service"

// Writer writes a directory of results during the load. What it has written is valid even if the
// load is cut short.
type Writer struct {
	dir    string
	config Config
	host   Host
	files  []*os.File // intervals, latency, bench
	csv    *csv.Writer
	log    *hdrhistogram.HistogramLogWriter
	began  bool
	err    error // the first error; nothing is written after it
}

// MakeDir creates a directory for results, or accepts an empty one.
func MakeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make a directory for results: %w", err)
	}
	names, err := os.ReadDir(dir)
	if err == nil && len(names) > 0 {
		err = fmt.Errorf("%s is not empty: name a new directory", dir)
	}
	if err != nil {
		return fmt.Errorf("a directory for results: %w", err)
	}
	return nil
}

// Create creates the directory, or accepts an existing one without results.
func Create(dir string, c Config, h Host) (*Writer, error) {
	// Refuse now, not after the load, what could not be written in the end.
	if _, err := json.Marshal(Summary{Config: c, Host: h}); err != nil {
		return nil, fmt.Errorf("results of this load could not be written: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a directory for results: %w", err)
	}
	w := &Writer{dir: dir, config: c, host: h}
	for _, name := range []string{intervalsFile, latencyFile, benchFile} {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, os.ErrExist) {
			err = fmt.Errorf("%w; earlier results are not overwritten", err)
		}
		if err != nil {
			return nil, errors.Join(err, w.close())
		}
		w.files = append(w.files, f)
	}
	w.csv = csv.NewWriter(w.files[0])
	w.log = hdrhistogram.NewHistogramLogWriter(w.files[1])
	w.note(w.csv.Write(columns()))
	_, err := fmt.Fprintf(w.files[2], "goos: %s\ngoarch: %s\npkg: kivaloo/stress\ncpu: %s\n", runtime.GOOS, runtime.GOARCH, h.CPU)
	w.note(err)
	return w, nil
}

// note keeps the first error.
func (w *Writer) note(err error) {
	if w.err == nil && err != nil {
		w.err = fmt.Errorf("write results to %s: %w", w.dir, err)
	}
}

// Interval writes one interval. Close reports errors.
func (w *Writer) Interval(v *stress.Interval) {
	if w.err != nil {
		return
	}
	w.beginLog(v)
	for _, s := range v.Ops {
		w.line(v, s, "")
		w.histogram(v, s.Response, s.Op)
		if w.config.Open() {
			w.histogram(v, s.Service, s.Op+serviceTag)
		}
		w.bench(v, s)
	}
	w.line(v, v.All, microseconds(TimesOf(v.Lag, 0).P99))
	w.csv.Flush()
	w.note(w.csv.Error())
}

func (w *Writer) beginLog(v *stress.Interval) {
	if w.began {
		return
	}
	w.began = true
	w.note(w.log.OutputComment("[times are in nanoseconds; tags are operations, those with " + serviceTag + " count from the sending]"))
	w.note(w.log.OutputLogFormatVersion())
	w.note(w.log.OutputStartTime(v.Began.Add(-v.Start).UnixMilli()))
	w.note(w.log.OutputLegend())
}

func (w *Writer) histogram(v *stress.Interval, h *hdrhistogram.Histogram, tag string) {
	h.SetTag(tag)
	h.SetStartTimeMs(v.Began.UnixMilli())
	h.SetEndTimeMs(v.Began.Add(v.Length).UnixMilli())
	w.note(w.log.OutputIntervalHistogram(h))
}

// bench writes a sample for benchstat: mean and percentiles of the response times, and the rate.
func (w *Writer) bench(v *stress.Interval, s *stress.OpStats) {
	if s.Done == 0 {
		return
	}
	row := rowOf(s, 0, v.Length)
	t := row.Response
	_, err := fmt.Fprintf(w.files[2], "BenchmarkLoad/workload=%s/op=%s %d %d ns/op %d p50-ns %d p99-ns %d p99.9-ns %.1f ops/s\n",
		w.config.Workload, s.Op, s.Done, t.Mean, t.P50, t.P99, t.P999, row.PerSec)
	w.note(err)
}

// columns returns the columns of intervals.csv. Each interval has a line for each operation, and
// one for all together.
func columns() []string {
	names := []string{"start_s", "length_s", "op", "done", "failed", "per_s"}
	for _, kind := range []string{"response", "service"} {
		for _, place := range []string{"mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"} {
			names = append(names, kind+"_"+place+"_us")
		}
	}
	return append(names, "lag_p99_us")
}

func (w *Writer) line(v *stress.Interval, s *stress.OpStats, lag string) {
	row := rowOf(s, 0, v.Length)
	line := []string{seconds(v.Start.Seconds()), seconds(v.Length.Seconds()), s.Op,
		strconv.FormatInt(s.Done, 10), strconv.FormatInt(s.Failed, 10), strconv.FormatFloat(row.PerSec, 'f', 1, 64)}
	for _, t := range []Times{row.Response, row.Service} {
		for _, ns := range []int64{t.Mean, t.P50, t.P90, t.P99, t.P999, t.P9999, t.Max} {
			line = append(line, microseconds(ns))
		}
	}
	w.note(w.csv.Write(append(line, lag)))
}

func seconds(s float64) string { return strconv.FormatFloat(s, 'f', 3, 64) }

func microseconds(ns int64) string { return strconv.FormatFloat(float64(ns)/1000, 'f', 3, 64) }

// Finish writes the summary and closes the files.
func (w *Writer) Finish(s *Summary) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(w.dir, summaryFile), append(text, '\n'), 0o644)
	}
	w.note(err)
	return w.Close()
}

// Close closes the files, with or without a summary, and returns the first error.
func (w *Writer) Close() error {
	w.csv.Flush() // there may have been no interval to flush it
	w.note(w.csv.Error())
	w.note(w.close())
	return w.err
}

func (w *Writer) close() (err error) {
	for _, f := range w.files {
		err = errors.Join(err, f.Close())
	}
	w.files = nil
	return err
}
