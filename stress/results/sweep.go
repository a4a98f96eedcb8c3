package results

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Sweep is a series of loads at rising rates.
type Sweep struct {
	Format int    `json:"format"`
	Config Config `json:"config"` // of all loads, except for the rate
	Host   Host   `json:"host"`
	Steps  []Step `json:"steps"`
}

// Step is the load at one rate.
type Step struct {
	Rate     float64 `json:"rate"` // requested, per second
	PerSec   float64 `json:"per_second"`
	Due      int64   `json:"due"`
	Overdue  int64   `json:"overdue"`
	Response Times   `json:"response"`
	Service  Times   `json:"service"`
	Lag      Times   `json:"lag"`
}

const sweepFile = "sweep.json"

// IsSweep reports whether a directory has the results of a sweep.
func IsSweep(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, sweepFile))
	return err == nil
}

// StepDir returns the name of the subdirectory with the results at a rate.
func StepDir(rate float64) string { return strconv.FormatFloat(rate, 'f', -1, 64) }

func (s *Step) name() string { return StepDir(s.Rate) }

// The store keeps up with a rate if it achieves at least keptUp of it, with a p99 of at most
// kneeFactor times the best of all rates.
const (
	keptUp     = 0.99
	kneeFactor = 10
)

// Add adds a step. Its rate must be higher than those before.
func (w *Sweep) Add(s *Summary) {
	all := s.All()
	w.Steps = append(w.Steps, Step{Rate: s.Config.Rate, PerSec: s.Achieved(), Due: s.Due, Overdue: s.Overdue,
		Response: all.Response, Service: all.Service, Lag: s.Lag})
}

// Knee returns the highest rate that the store keeps up with, or 0. missed are the lower rates that
// it did not keep up with, which happens if other load kept the machine busy at that time.
func (w *Sweep) Knee() (rate float64, missed []float64) {
	best := w.Steps[0].Response.P99
	for _, s := range w.Steps {
		best = min(best, s.Response.P99)
	}
	var behind []float64
	for _, s := range w.Steps {
		if s.PerSec >= keptUp*s.Rate && s.Response.P99 <= kneeFactor*best {
			rate, missed = s.Rate, behind
		} else {
			behind = append(behind, s.Rate)
		}
	}
	return rate, missed
}

// Conclusion says where the knee is.
func (w *Sweep) Conclusion() string {
	rule := fmt.Sprintf("at least %.0f %% achieved, with a p99 of at most %d times the best", 100*keptUp, kneeFactor)
	switch knee, missed := w.Knee(); {
	case knee == 0:
		return fmt.Sprintf("The store did not keep up with any of the rates (%s).", rule)
	case knee < w.Steps[len(w.Steps)-1].Rate:
		return fmt.Sprintf("The knee is at %.0f per second, the highest rate that the store kept up with (%s).", knee, rule)
	case len(missed) == 0:
		return fmt.Sprintf("No knee: the store kept up with all of %.0f per second (%s).", knee, rule)
	default:
		return fmt.Sprintf("No knee: the store kept up with all rates to %.0f per second but %s (%s).", knee, listed(missed), rule)
	}
}

// listed formats rates as a list: "2000, 4000 and 6000".
func listed(rates []float64) string {
	var b strings.Builder
	for i, r := range rates {
		switch {
		case i == 0:
		case i == len(rates)-1:
			b.WriteString(" and ")
		default:
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%.0f", r)
	}
	return b.String()
}

// Write writes the sweep to a directory. Each step has a subdirectory.
func (w *Sweep) Write(dir string) error {
	text, err := json.MarshalIndent(w, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, sweepFile), append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write results to %s: %w", dir, err)
	}
	return nil
}

// readSweep reads what Write has written.
func readSweep(dir string) (*Sweep, error) {
	f, err := os.Open(filepath.Join(dir, sweepFile))
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	defer f.Close()
	w := &Sweep{}
	if err := json.NewDecoder(io.LimitReader(f, maxFileBytes)).Decode(w); err != nil {
		return nil, fmt.Errorf("read results: %s: %w", f.Name(), err)
	}
	if w.Format != Format || len(w.Steps) == 0 {
		return nil, fmt.Errorf("read results: %s: format %d with %d steps, and this program knows %d", f.Name(), w.Format, len(w.Steps), Format)
	}
	return w, nil
}

// Table prints the sweep as plain text.
func (w *Sweep) Table(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "asked\tachieved\toverdue\tp50\tp99\tp99.9\tmax\tservice p99\tlag p99\t\n")
	for _, s := range w.Steps {
		r := s.Response
		fmt.Fprintf(t, "%.0f\t%.0f\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t\n", s.Rate, s.PerSec, s.Overdue, Duration(r.P50), Duration(r.P99), Duration(r.P999),
			Duration(r.Max), Duration(s.Service.P99), Duration(s.Lag.P99))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%s\n", w.Conclusion())
	return err
}
