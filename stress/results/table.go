package results

import (
	"bytes"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// lateLag is the lag above which the generator is called too slow.
const lateLag = 2 * time.Millisecond

// fewOverdue is the fraction of an open loop's operations that may be unstarted at its end without
// a warning.
const fewOverdue = 0.001

// Table prints a summary as plain text.
func (s *Summary) Table(out io.Writer) error {
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s\n%s\n\n", s.Config.describe(), s.Config.loop())
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\tdone\tper second\tmissed\tfailed\t\tmean\tp50\tp90\tp99\tp99.9\tp99.99\tmax\t\n")
	for i := range s.Ops {
		r := &s.Ops[i]
		if r.Op == "all" && len(s.Ops) == 2 { // it would repeat the only one
			continue
		}
		kind := "service"
		if s.Config.Open() {
			kind = "response"
		}
		fmt.Fprintf(t, "%s\t%d\t%.0f\t%d\t%d\t%s\t%s\t\n", r.Op, r.Done, r.PerSec, r.Missed, r.Failed, kind, r.Response.cells())
		if s.Config.Open() {
			fmt.Fprintf(t, "\t\t\t\t\tservice\t%s\t\n", r.Service.cells())
		}
	}
	t.Flush()
	fmt.Fprintln(&text)
	for _, note := range s.Notes() {
		fmt.Fprintln(&text, note)
	}
	_, err := out.Write(text.Bytes())
	return err
}

// describe describes the workload.
func (c *Config) describe() string {
	return fmt.Sprintf("workload %s: %s, %s over %d records, values of %d bytes", c.Workload, c.Mix, c.Distribution, c.Records, c.ValueSize)
}

// loop describes the kind of loop and its limits.
func (c *Config) loop() string {
	flight := fmt.Sprintf("%d connections, %d in flight on each", c.Connections, c.InFlight)
	if c.Open() {
		return fmt.Sprintf("open loop: %g per second, %s arrivals, at most %s", c.Rate, c.Arrivals, flight)
	}
	return "closed loop: " + flight
}

func (t Times) cells() string {
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s", Duration(t.Mean), Duration(t.P50), Duration(t.P90), Duration(t.P99), Duration(t.P999), Duration(t.P9999), Duration(t.Max))
}

// Duration formats nanoseconds with three digits.
func Duration(ns int64) string {
	switch d := float64(ns); {
	case ns >= Never/2:
		return "never"
	case ns < 1e3:
		return fmt.Sprintf("%.0fns", d)
	case ns < 1e6:
		return fmt.Sprintf("%.3gus", round3(d/1e3))
	case ns < 1e9:
		return fmt.Sprintf("%.3gms", round3(d/1e6))
	default:
		return fmt.Sprintf("%.4gs", d/1e9)
	}
}

// round3 keeps %.3g from writing 999.6 as 1e+03.
func round3(x float64) float64 { return min(x, 999) }

// Notes returns what a reader must know to interpret the numbers, and what went wrong.
func (s *Summary) Notes() []string {
	var notes []string
	say := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if s.Config.Open() {
		say("Achieved %.0f per second of %g (%.2f %% of what was due). Response time counts from when an operation was to start, service time from when it was sent.",
			s.Achieved(), s.Config.Rate, 100*s.Achieved()/s.Config.Rate)
	} else {
		say("A closed loop sends nothing while it waits, so a stall of the server counts as a few slow operations however long it is: " +
			"what users would have waited for is not in these times. An open loop (-R) shows it.")
	}
	say("The generator's own lag: p50 %s, p99 %s, max %s.", Duration(s.Lag.P50), Duration(s.Lag.P99), Duration(s.Lag.Max))
	if s.Lag.P99 > int64(lateLag) {
		say("WARNING: the generator was late by itself. Response times are too long by as much; give it more processors, or ask for less.")
	}
	if float64(s.Overdue) > fewOverdue*float64(s.Due) {
		say("WARNING: %d of %d operations never started, as all that may be in flight were (-c, -P). They count in the percentiles of all operations together, not in those of each.", s.Overdue, s.Due)
	} else if s.Overdue > 0 {
		say("%d of %d operations were due at the very end and not started any more.", s.Overdue, s.Due)
	}
	if s.Config.Verify {
		say("Verified: %d reads, %d violations.", s.Checked, s.Violations)
	}
	for _, f := range s.Findings {
		say("  %s", f)
	}
	if s.Error != "" {
		say("ERROR: %d operations failed, the first of them: %s", s.All().Failed, s.Error)
	}
	for _, u := range s.Usage {
		say("The %s took %.2f processors, %.2f us per operation; %.0f MB of memory at the end; %.1f MB were written to disk.", u.Who, u.CPU/max(s.Seconds, 1e-9),
			1e6*u.CPU/float64(max(s.All().Done, 1)), float64(u.Memory)/1e6, float64(u.Written)/1e6)
		if u.Who == "server" {
			say("Server: %s", u.Command)
		}
	}
	if s.Command != "" {
		say("Load: %s", s.Command)
	}
	if len(s.Events) > 0 {
		say("Inside the store: %s", describeEvents(s.Events))
	}
	notes = append(notes, s.Inside...)
	if s.Cut {
		say("Interrupted after %.1f s.", s.Seconds)
	}
	return notes
}
