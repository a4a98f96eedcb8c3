package stress

import (
	"bytes"
	"fmt"
	"io"
	"slices"
)

// report is the outcome of a benchmark, for people.
type report struct {
	title  string
	rows   []row
	ratios []ratio
	notes  []string
}

// row is what one thing measured, in requests per second, each time.
type row struct {
	name  string
	rates []float64
}

// ratio compares two medians with what was promised.
type ratio struct {
	name          string
	value, target float64
}

func (r *report) print(out io.Writer) error {
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s\n\n%-25s%10s   each time\n", r.title, "requests per second", "median")
	for _, row := range r.rows {
		fmt.Fprintf(&text, "%-25s%10.0f  ", row.name, median(row.rates))
		for _, rate := range row.rates {
			fmt.Fprintf(&text, "%10.0f", rate)
		}
		fmt.Fprintln(&text)
	}
	fmt.Fprintln(&text)
	for _, ratio := range r.ratios {
		verdict := "reached"
		if ratio.value < ratio.target {
			verdict = "MISSED"
		}
		fmt.Fprintf(&text, "%-25s%10.2f   target %.1f: %s\n", ratio.name, ratio.value, ratio.target, verdict)
	}
	fmt.Fprintln(&text)
	for _, note := range r.notes {
		fmt.Fprintln(&text, note)
	}
	_, err := out.Write(text.Bytes())
	return err
}

// median returns the middle value, or the mean of the two in the middle. There is
// at least one.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
