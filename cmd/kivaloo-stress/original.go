package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/pflag"

	"kivaloo/stress"
)

// Benchmarks that count in windows wait before the first window, like the original.
const (
	originalWarmup = 50 * time.Second
	originalWindow = time.Second
)

// meaningless are the flags that the original's benchmarks do not support: they have one
// connection, 4096 outstanding requests, and their own mix.
var meaningless = []string{"dir", "connections", "in-flight", "rate", "sweep", "arrivals", "mix", "distribution", "value-size", "count", "interval", "verify", "output", "debug-addr", "profile", "flight-recorder"}

// original runs one of the original's benchmarks.
func (l *load) original(ctx context.Context, f *pflag.FlagSet, out io.Writer) (err error) {
	for _, name := range meaningless {
		if f.Changed(name) {
			return fmt.Errorf("--%s has no meaning for %s, which is as in the original", name, l.workload)
		}
	}
	if l.addr == "" {
		return errors.New("-t with the address of a server is needed")
	}
	o := stress.OriginalOptions{Name: l.workload, Pairs: l.records, Seed: l.seed, Plain: l.originalOutput,
		Warmup: originalWarmup, Window: originalWindow, Windows: stress.DefaultWindows(l.workload)}
	if f.Changed("warmup") {
		o.Warmup = l.warmup
	}
	if f.Changed("duration") {
		o.Windows = max(1, int(l.duration/originalWindow))
	}
	if l.workload == "tokyo" && !f.Changed("records") {
		o.Pairs = stress.TokyoSets
	}
	if o.Patience, err = l.Timeout(); err != nil {
		return err
	}
	nc, err := l.Conn(ctx, l.addr)
	if err != nil {
		return err
	}
	defer nc.Close()
	return stress.RunOriginal(ctx, nc, o, out)
}
