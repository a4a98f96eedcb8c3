package targets

import (
	"bytes"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// printTable prints the results of all rows.
func printTable(out io.Writer, title string, rows []*Row) error {
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s\n\n", title)
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "workload\ttarget\tmeasured\tyardstick\tratio\tof target\t\tserver CPU\tits yardstick's\n")
	met, measured := 0, 0
	for _, r := range rows {
		if !r.measured() {
			continue
		}
		measured++
		yard, ratio, verdict := "", "", "MISSED"
		if len(r.yards) > 0 {
			yard, ratio = r.Target.Unit.format(median(r.yards)), fmt.Sprintf("%.2f", r.ratio())
		}
		if r.met() {
			verdict = "met"
			met++
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%.2f\t%s\t%s\t%s\n", r.Name, r.Target, r.Target.Unit.format(median(r.figures)), yard, ratio, r.share(), verdict, perRequest(r.cost), perRequest(r.yardCost))
	}
	table.Flush()
	fmt.Fprintf(&text, "\n%d of %d met. Measured and yardstick are medians; ratio and share of the target are medians of the rounds' own.\nCPU is the processor time of a server for each request (of a scan: each pair), user and system, also a median.\n", met, measured)
	for _, r := range rows {
		if r.measured() && r.note != "" {
			fmt.Fprintf(&text, "%s: %s\n", r.Name, r.note)
		}
		if r.generatorBound() {
			fmt.Fprintf(&text, "%s: the generator was busy %.0f %% of the time, and may be what limits it\n", r.Name, 100*r.generatorBusy())
		}
	}
	_, err := out.Write(text.Bytes())
	return err
}

// perRequest formats the median time of a request, if it is known.
func perRequest(micros []float64) string {
	if len(micros) == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f us", median(micros))
}

// worked records how much of the time the generator had to work, if it was more than in earlier
// rounds.
func (r *Row) worked(busy, wall time.Duration) {
	if r.wall == 0 || float64(busy)/float64(wall) > r.generatorBusy() {
		r.busy, r.wall = busy, wall
	}
}

// generatorBusy is a fraction of one processor: the generator is one goroutine.
func (r *Row) generatorBusy() float64 { return float64(r.busy) / float64(max(r.wall, 1)) }

func (r *Row) generatorBound() bool { return r.generatorBusy() > generatorLimit }
