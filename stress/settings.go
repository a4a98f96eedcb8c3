package stress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"
	"time"
)

// SettingsOptions says which settings of `kivaloo serve` to compare.
type SettingsOptions struct {
	Serve        string // the kivaloo program; empty: it is built
	Pairs        uint64 // size of the data set, and of each round
	Overwrites   int    // rounds of random SETs
	Seed         uint64
	BlockSizes   []int     // in bytes
	StorageCosts []float64 // as for serve
}

// CompareSettings runs the same work on a new store for every combination of settings: an ordered
// load, a round of random GETs, and rounds of random SETs. During the SETs it watches the disk
// space in use. It prints a table to out, and its progress to progress.
func CompareSettings(ctx context.Context, o SettingsOptions, out, progress io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "kivaloo-stress-")
	if err != nil {
		return fmt.Errorf("make a directory for the stores: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.Serve == "" {
		if o.Serve, err = Build(ctx, dir, "kivaloo"); err != nil {
			return err
		}
	}
	pairs := Collect(o.Pairs)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "block size\tstorage cost\tordered load/s\trandom GET/s\trandom SET/s\tmost disk/data\t\n")
	for _, size := range o.BlockSizes {
		for _, cost := range o.StorageCosts {
			fmt.Fprintf(progress, "blocks of %d bytes, storage cost %g\n", size, cost)
			run := settingsRun{o: o, size: size, cost: cost, dir: filepath.Join(dir, "store"), pairs: pairs}
			if err := run.do(ctx); err != nil {
				return interrupted(ctx, err)
			}
			fmt.Fprintf(table, "%d\t%g\t%.0f\t%.0f\t%.0f\t%.1f\t\n", size, cost, run.load, run.get, run.set, run.disk)
		}
	}
	return table.Flush()
}

// settingsRun is the work with one combination of settings.
type settingsRun struct {
	o     SettingsOptions
	size  int
	cost  float64
	dir   string
	pairs []Pair

	load, get, set float64 // requests per second
	disk           float64 // most disk space during the SETs, as a multiple of the size of the pairs
}

func (r *settingsRun) do(ctx context.Context) (err error) {
	p, err := Start("kivaloo serve", filepath.Join(r.dir, "kivaloo.sock"), r.o.Serve, []string{"serve", "--dir", r.dir,
		"--block-size", strconv.Itoa(r.size), "--storage-cost", strconv.FormatFloat(r.cost, 'g', -1, 64)}, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Stop(), os.RemoveAll(r.dir)) }()
	nc, err := p.Connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	if r.load, err = r.drive(ctx, p, nc, OrderedLoad(r.pairs)); err != nil {
		return err
	}
	if r.get, err = r.drive(ctx, p, nc, RandomGet(r.pairs, len(r.pairs), r.o.Seed)); err != nil {
		return err
	}
	watch, stop := context.WithCancel(ctx)
	most := make(chan int64, 1)
	go func() { most <- mostUsed(watch, r.dir) }()
	var rates []float64
	for i := range r.o.Overwrites {
		var rate float64
		if rate, err = r.drive(ctx, p, nc, RandomSet(r.pairs, len(r.pairs), r.o.Seed+uint64(i))); err != nil {
			break
		}
		rates = append(rates, rate)
	}
	stop()
	r.disk = float64(<-most) / float64(len(r.pairs)*len(Pair{}))
	if err == nil {
		r.set = median(rates)
	}
	return err
}

func (r *settingsRun) drive(ctx context.Context, p *Process, nc net.Conn, w Workload) (float64, error) {
	result, err := Drive(ctx, nc, w, Depth)
	if err != nil {
		return 0, p.Lost(err)
	}
	return result.Rate(), nil
}

// mostUsed watches the size of the files in dir until ctx ends, and returns the largest size, in
// bytes.
func mostUsed(ctx context.Context, dir string) int64 {
	var most int64
	for {
		most = max(most, used(dir))
		select {
		case <-ctx.Done():
			return most
		case <-time.After(settleInterval):
		}
	}
}

// used returns the size of the files in dir. It ignores files that disappear meanwhile.
func used(dir string) (bytes int64) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			bytes += info.Size()
		}
	}
	return bytes
}

// interrupted returns the cause if ctx is cancelled, and err otherwise. The error of something cut
// off is of no interest.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
