package results

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Results is the content of a directory of results.
type Results struct {
	Dir       string
	Summary   Summary
	Intervals map[string][]Sample // by operation, and "all"

	// Curves are the histograms of the whole load, by operation. Those of service times have
	// serviceTag in their names.
	Curves map[string]*hdrhistogram.Histogram
}

// Sample is one operation in one interval.
type Sample struct {
	Start, Length float64 // seconds
	PerSec        float64
	Response      Times
}

// maxFileBytes bounds how much is read from any file of results.
const maxFileBytes = 1 << 30

// Read reads a directory of results.
func Read(dir string) (*Results, error) {
	r := &Results{Dir: dir, Intervals: map[string][]Sample{}, Curves: map[string]*hdrhistogram.Histogram{}}
	for _, part := range []struct {
		file string
		read func(io.Reader) error
	}{{summaryFile, r.readSummary}, {intervalsFile, r.readIntervals}, {latencyFile, r.readCurves}} {
		f, err := os.Open(filepath.Join(dir, part.file))
		if err != nil {
			return nil, fmt.Errorf("read results: %w", err)
		}
		err = part.read(io.LimitReader(f, maxFileBytes))
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("read results: %s: %w", f.Name(), err)
		}
	}
	return r, nil
}

func (r *Results) readSummary(in io.Reader) error {
	if err := json.NewDecoder(in).Decode(&r.Summary); err != nil {
		return err
	}
	if r.Summary.Format != Format {
		return fmt.Errorf("format %d, and this program knows %d", r.Summary.Format, Format)
	}
	if len(r.Summary.Ops) == 0 {
		return fmt.Errorf("it has no operations")
	}
	return nil
}

func (r *Results) readIntervals(in io.Reader) error {
	lines := csv.NewReader(in)
	header, err := lines.Read()
	if err != nil {
		return err
	}
	column := map[string]int{}
	for i, name := range header {
		column[name] = i
	}
	for _, name := range columns() {
		if _, ok := column[name]; !ok {
			return fmt.Errorf("no column %q", name)
		}
	}
	for {
		line, err := lines.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		number := func(name string) float64 {
			f, failed := strconv.ParseFloat(line[column[name]], 64)
			if failed != nil && err == nil {
				err = fmt.Errorf("column %s: %w", name, failed)
			}
			return f
		}
		ns := func(place string) int64 { return int64(math.Round(1000 * number("response_"+place+"_us"))) }
		s := Sample{number("start_s"), number("length_s"), number("per_s"),
			Times{ns("mean"), ns("p50"), ns("p90"), ns("p99"), ns("p99.9"), ns("p99.99"), ns("max")}}
		if err != nil {
			return err
		}
		op := line[column["op"]]
		r.Intervals[op] = append(r.Intervals[op], s)
	}
}

func (r *Results) readCurves(in io.Reader) error {
	for log := hdrhistogram.NewHistogramLogReader(in); ; {
		h, err := log.NextIntervalHistogram()
		if err != nil {
			return err
		}
		if h == nil {
			return nil
		}
		if all, ok := r.Curves[h.Tag()]; ok {
			all.Merge(h)
		} else {
			r.Curves[h.Tag()] = h
		}
	}
}
