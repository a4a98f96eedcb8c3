package targets

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"kivaloo/stress"
)

// column is a server under one load.
type column struct {
	name     string
	depth    int
	seconds  int     // length of the profile
	rate     float64 // requests per second meanwhile
	worked   float64 // processors busy with the server, by the kernel's count
	profiled parts
}

// perRequest returns profiled time per request, in nanoseconds.
func (c *column) perRequest(took time.Duration) float64 {
	return float64(took.Nanoseconds()) / float64(c.seconds) / c.rate
}

// printBreakdown prints where the time goes, and what the machine could do.
func printBreakdown(out io.Writer, pairs uint64, profiles string, columns []column, m machine) error {
	var text bytes.Buffer
	unit, cycles := "cycles", m.gigahertz
	if cycles == 0 {
		unit, cycles = "ns", 1
	}
	fmt.Fprintf(&text, "kivaloo serve, %d pairs of %d+%d bytes, random requests: %s of processor time per request\n\n",
		pairs, stress.KeyLen, stress.KeyLen, unit)
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(name string, value func(c *column) string) {
		fmt.Fprintf(table, "%s\t", name)
		for i := range columns {
			fmt.Fprintf(table, "%s\t", value(&columns[i]))
		}
		fmt.Fprintln(table)
	}
	number := func(f float64) string { return fmt.Sprintf("%.0f", f) }
	line("requests in flight", func(c *column) string { return fmt.Sprintf("%s %d", c.name, c.depth) })
	for p := range allParts {
		line(partNames[p], func(c *column) string { return number(cycles * c.perRequest(c.profiled[p])) })
	}
	line("all", func(c *column) string { return number(cycles * c.perRequest(c.profiled.sum())) })
	line("all, ns", func(c *column) string { return number(c.perRequest(c.profiled.sum())) })
	line("by the kernel's count, ns", func(c *column) string { return number(1e9 * c.worked / c.rate) })
	line("requests per second", func(c *column) string { return number(c.rate) })
	line("processors busy with the server", func(c *column) string { return fmt.Sprintf("%.2f", c.worked) })
	line("samples", func(c *column) string { return number(float64(c.profiled.sum() / samplePeriod)) })
	table.Flush()
	fmt.Fprintf(&text, "\nThe profiles are in %s.\n\nThe machine:\n%s", profiles, m)
	_, err := out.Write(text.Bytes())
	return err
}

// String returns a line for each measured value.
func (m machine) String() string {
	var text strings.Builder
	line := func(name, value string) { fmt.Fprintf(&text, "  %-36s%s\n", name, value) }
	if m.gigahertz > 0 {
		line("clock", fmt.Sprintf("%.2f GHz", m.gigahertz))
	}
	line("append and fdatasync, 2 KiB, p50", show(m.smallSync))
	line("append and fdatasync, 256 KiB, p50", show(m.largeSync))
	line("read what is in no cache", show(m.miss))
	line("copy memory", fmt.Sprintf("%.1f GB/s", m.copyRate/1e9))
	line("socket pair, there and back, p50", show(m.roundTrip))
	line("write 64 KiB to a socket", show(m.chunkWrite))
	line("read 64 KiB from a socket", show(m.chunkRead))
	return text.String()
}

// show formats a duration in a suitable unit.
func show(d time.Duration) string {
	if d < 10*time.Microsecond {
		return fmt.Sprintf("%d ns", d.Nanoseconds())
	}
	return fmt.Sprintf("%.0f us", micros(d))
}
