package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"kivaloo/cmd/internal/commandline"
	"kivaloo/cmd/internal/connect"
	"kivaloo/cmd/internal/debug"
	"kivaloo/cmd/internal/number"
	"kivaloo/cmd/internal/plural"
)

const (
	// defaultDebugURL is the usual address of such pages in Go.
	defaultDebugURL = "127.0.0.1:6060"

	// maxReportBytes is far more than a server's report has.
	maxReportBytes = 1 << 20

	// minTopEvery is the interval at which the numbers change.
	minTopEvery = time.Second
)

// topOptions are the flags of top.
type topOptions struct {
	connect.Options
	every time.Duration
	count int
	json  bool
}

func newTopCommand() *cobra.Command {
	o := topOptions{every: minTopEvery}
	cmd := &cobra.Command{
		Use:   "top [HOST:PORT | URL]",
		Short: "Watch what a server does",
		Long: `Watch what a server does, second by second: requests, where their time goes, commits, and
the shape of the store. The server must have been started with --debug-addr. The argument
is that address, or a URL (default ` + defaultDebugURL + `).

On a terminal the numbers stay in place until Ctrl-C; elsewhere they follow each other.
With --json each line is an object.`,
		Example: `  kivaloo top
  kivaloo top 127.0.0.1:6061 --count 1
  kivaloo top https://db.example.org/kivaloo --tls-ca ca.pem`,
		Args:              commandline.Arguments(0, "HOST:PORT"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			source, err := o.Web(append(args, defaultDebugURL)[0])
			if err != nil {
				return err
			}
			defer source.Close()
			return o.top(ctx, cmd.OutOrStdout(), source)
		},
	}
	o.AddFlags(cmd)
	f := cmd.Flags()
	number.Duration(f, &o.every, "every", "", minTopEvery, maxTopEvery, "time between two looks")
	number.Int(f, &o.count, "count", "n", 0, maxTopCount, "how often to look before ending (0: until Ctrl-C)")
	jsonFlag(cmd, &o.json)
	return cmd
}

// top prints a server's reports until ctx is done or the requested number is reached.
func (o *topOptions) top(ctx context.Context, out io.Writer, source *connect.Web) error {
	inPlace := isTerminal(out) && !o.json
	tick := time.NewTicker(o.every)
	defer tick.Stop()
	for n := 1; ; n++ {
		r, err := fetchReport(ctx, source)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		var text bytes.Buffer
		switch {
		case inPlace:
			text.WriteString("\x1b[H\x1b[2J") // move to the corner and clear the screen
		case n > 1 && !o.json:
			text.WriteByte('\n')
		}
		if !o.json {
			showReport(&text, r)
		} else if err := printObject(&text, r); err != nil {
			return err
		}
		if _, err := out.Write(text.Bytes()); err != nil || n == o.count {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// fetchReport gets a server's report.
func fetchReport(ctx context.Context, source *connect.Web) (*debug.Report, error) {
	body, err := source.Get(ctx, "/stats.json", maxReportBytes)
	if err != nil {
		return nil, fmt.Errorf("%w; is that the --debug-addr of a server?", err)
	}
	r := &debug.Report{}
	if json.Unmarshal(body, r) != nil {
		return nil, fmt.Errorf("%s does not answer as a kivaloo server does; is that its --debug-addr?", source)
	}
	return r, nil
}

// showReport writes a report for people.
func showReport(w io.Writer, r *debug.Report) {
	state := "ready"
	if !r.Ready {
		state = "NOT READY: " + r.Problem
	}
	fmt.Fprintf(w, "%s, up %v: %s\n", r.Program, time.Duration(r.Uptime)*time.Second, state)
	fmt.Fprintf(w, "%.0f requests a second, %s\n\n", r.PerSecond, plural.Of(r.Connections, "connection"))

	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(table, "stage\tper s\tp50\tp99\t\n")
	timings := r.Stages
	if r.Commit != nil {
		timings = append(timings, *r.Commit)
	}
	if r.Sync != nil {
		timings = append(timings, *r.Sync)
	}
	showTimings(table, timings)
	table.Flush()

	if len(r.Requests) > 0 {
		fmt.Fprint(table, "\nrequest\tper s\tp50\tp99\t\n")
		showTimings(table, r.Requests)
		table.Flush()
	}

	if len(r.Ops) > 0 {
		fmt.Fprint(table, "\nop\tended\tper s\ttotal\t\n")
		for _, op := range r.Ops {
			fmt.Fprintf(table, "%s\t%s\t%.0f\t%d\t\n", op.Op, op.Status, op.PerSecond, op.Total)
		}
		table.Flush()
	}
	if r.CommitSize != nil {
		fmt.Fprintf(w, "\nchanges in a commit: mean %.1f, p99 %.0f\n", r.CommitSize.Mean, r.CommitSize.P99)
	}
	if t := r.Tree; t != nil {
		fmt.Fprintf(w, "cache: %.2f%% answered from memory, %d of %d pages\n", 100*t.HitRatio, t.CachedPages, t.CacheLimit)
		fmt.Fprintf(w, "tree: %d pages of %d bytes, %s above the leaves, %s\n", t.Pages, t.BlockBytes, plural.Of(t.Height, "level"), plural.Of(t.Snapshots, "snapshot"))
		fmt.Fprintf(w, "disk: %d blocks, garbage ratio %.2f, journal %.1f MB, memtables %.1f MB, %s\n",
			t.Blocks, t.GarbageRatio, float64(t.JournalBytes)/1e6, float64(t.MemtableBytes)/1e6, plural.Of(t.Flushes, "flush", "flushes"))
	}
}

// showTimings writes a line for each timing.
func showTimings(w io.Writer, timings []debug.Timing) {
	for _, t := range timings {
		fmt.Fprintf(w, "%s\t%.0f\t%s\t%s\t\n", t.Name, t.PerSecond, seconds(t.P50), seconds(t.P99))
	}
}

// seconds formats a time in seconds for people.
func seconds(s float64) string {
	if s == 0 {
		return "-"
	}
	d := time.Duration(s * float64(time.Second))
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}
