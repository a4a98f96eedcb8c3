package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"kivaloo/cmd/internal/debug"
	"kivaloo/cmd/internal/number"
)

const (
	// defaultDebugURL is where top looks if nothing else is said, the usual place for such things in Go.
	defaultDebugURL = "127.0.0.1:6060"

	// topPatience is how long a server may take to say how it is.
	topPatience = 5 * time.Second

	// maxReportBytes is far above what a server says.
	maxReportBytes = 1 << 20

	// minTopEvery is as often as the numbers change.
	minTopEvery = time.Second
)

// topOptions are the flags of top.
type topOptions struct {
	every time.Duration
	count int
}

func newTopCommand() *cobra.Command {
	o := topOptions{every: minTopEvery}
	cmd := &cobra.Command{
		Use:   "top [url]",
		Short: "Watch what a server does",
		Long: `Watch what a server that was started with --debug-addr does, second by second: requests,
where their time goes, commits, and the shape of the store. The argument is what --debug-addr
was, or its URL; without one it is ` + defaultDebugURL + `.

On a terminal the numbers stay in place, until Ctrl-C; elsewhere they follow each other.`,
		Example: `  kivaloo top
  kivaloo top 127.0.0.1:6061 --count 1`,
		Args: arguments(0, "url"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			return top(ctx, cmd.OutOrStdout(), reportURL(append(args, defaultDebugURL)[0]), o)
		},
	}
	f := cmd.Flags()
	number.Duration(f, &o.every, "every", "", minTopEvery, maxTopEvery, "how often to look")
	number.Int(f, &o.count, "count", "n", 0, maxTopCount, "how often to look before ending; 0: until Ctrl-C")
	return cmd
}

// reportURL is where the numbers of a server are.
func reportURL(arg string) string {
	if !strings.Contains(arg, "://") {
		arg = "http://" + arg
	}
	return strings.TrimSuffix(arg, "/") + "/stats.json"
}

// top prints what a server says until ctx is done or it has been asked often enough.
func top(ctx context.Context, out io.Writer, url string, o topOptions) error {
	client := &http.Client{Timeout: topPatience}
	defer client.CloseIdleConnections()
	inPlace := isTerminal(out)
	tick := time.NewTicker(o.every)
	defer tick.Stop()
	for n := 1; ; n++ {
		r, err := fetchReport(ctx, client, url)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		var text bytes.Buffer
		if inPlace {
			text.WriteString("\x1b[H\x1b[2J") // to the corner, and all clear
		} else if n > 1 {
			text.WriteByte('\n')
		}
		showReport(&text, r)
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

// fetchReport asks a server how it is.
func fetchReport(ctx context.Context, client *http.Client, url string) (*debug.Report, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%w; is that the --debug-addr of a server?", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxReportBytes))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(answer.Status)
	}
	r := &debug.Report{}
	if err == nil {
		err = json.Unmarshal(body, r)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
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
	fmt.Fprintf(w, "%.0f requests a second, %d connections\n\n", r.PerSecond, r.Connections)

	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(table, "stage\tper s\tp50\tp99\t\n")
	timings := r.Stages
	if r.Commit != nil {
		timings = append(timings, *r.Commit)
	}
	for _, t := range append(timings, r.Sync) {
		fmt.Fprintf(table, "%s\t%.0f\t%s\t%s\t\n", t.Name, t.PerSecond, seconds(t.P50), seconds(t.P99))
	}
	table.Flush()

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
		fmt.Fprintf(w, "tree: %d pages of %d bytes, %d levels above the leaves, %d snapshots\n", t.Pages, t.BlockBytes, t.Height, t.Snapshots)
		fmt.Fprintf(w, "disk: %d blocks, garbage ratio %.2f, journal %.1f MB, memtables %.1f MB, %d flushes\n",
			t.Blocks, t.GarbageRatio, float64(t.JournalBytes)/1e6, float64(t.MemtableBytes)/1e6, t.Flushes)
	}
}

// seconds is a time in seconds, for people.
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
