package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
)

// report prints what was measured, and how the medians compare.
func report(out io.Writer, title string, all []*measurement) error {
	var text bytes.Buffer
	medians := make(map[string]float64)
	fmt.Fprintf(&text, "%s\n\n%-32s%10s   each time\n", title, "pairs per second", "median")
	for _, m := range all {
		medians[m.name] = median(m.rates)
		fmt.Fprintf(&text, "%-32s%10.0f  ", m.name, medians[m.name])
		for _, rate := range m.rates {
			fmt.Fprintf(&text, "%10.0f", rate)
		}
		fmt.Fprintln(&text)
	}
	fmt.Fprintln(&text)
	for _, r := range []struct {
		of, over string
		target   float64
	}{
		{kivalooGet, bboltGet, targetBbolt},
		{kivalooGet, pebbleGet, targetPebble},
		{kivalooGetTwo, kivalooGet, targetTwo},
		{kivalooRange, pebbleIter, targetRange},
	} {
		verdict, ratio := "reached", medians[r.of]/medians[r.over]
		if ratio < r.target {
			verdict = "MISSED"
		}
		fmt.Fprintf(&text, "%-52s%6.2f   target %.1f: %s\n", r.of+" / "+r.over, ratio, r.target, verdict)
	}
	_, err := out.Write(text.Bytes())
	return err
}

// median returns the middle value, or the mean of the two in the middle. There is at least one.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
