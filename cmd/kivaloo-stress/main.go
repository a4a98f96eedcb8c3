// Command kivaloo-stress measures what a store does under load.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"kivaloo/cmd/internal/outcheck"
	"kivaloo/stress"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "kivaloo-stress:", err)
		os.Exit(exitStatus(err))
	}
}

// exitStatus tells scripts what kind of error it was.
func exitStatus(err error) int {
	switch {
	case errors.Is(err, stress.ErrVerify):
		return 2
	case errors.Is(err, errThreshold):
		return 3
	}
	return 1
}

// run is the program. Signals end it in order: what it started is stopped, what it
// wrote is removed.
func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// A reader of the output that has gone away must not kill it half-way either:
	// the write fails instead.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	defer signal.Stop(pipe)

	root := &cobra.Command{
		Use:           "kivaloo-stress",
		Short:         "Measure what a kivaloo store does under load",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(loadCommand(), runCommand(), compareCommand(), reportCommand(), pairsCommand(), redisCommand(), settingsCommand())
	root.SetArgs(args)
	out := outcheck.New(os.Stdout)
	root.SetOut(out)
	root.SetErr(os.Stderr)
	return out.Check(root.ExecuteContext(ctx))
}

func redisCommand() *cobra.Command {
	o := stress.RedisOptions{}
	cmd := &cobra.Command{
		Use:   "redis",
		Short: "Compare kivaloo serve with Redis on this machine",
		Long: `Loads the same amount of data into "kivaloo serve" and into a redis-server that
syncs every write, lets both answer random GETs in turn, and prints the ratios.

Both are started for this, with their data in a new directory below $TMPDIR,
and are gone afterwards. Nothing else should be running meanwhile.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return stress.CompareRedis(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Serve, "serve-bin", "", "the kivaloo program to measure (default: build it from this module)")
	f.StringVar(&o.Server, "redis-server", "redis-server", "the Redis server")
	f.StringVar(&o.Benchmark, "redis-benchmark", "redis-benchmark", "the Redis load generator")
	f.Uint64Var(&o.Pairs, "pairs", 1<<20, "number of pairs, and of requests in a round")
	f.IntVar(&o.Rounds, "rounds", 3, "rounds of random GETs on each side")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of the choice of keys")
	return cmd
}

func settingsCommand() *cobra.Command {
	o := stress.SettingsOptions{}
	cmd := &cobra.Command{
		Use:   "settings",
		Short: "Compare settings of kivaloo serve on this machine",
		Long: `Runs the same work against a new store for every combination of block size and storage
cost, and prints what each is good for. The defaults of "kivaloo serve" were chosen
with it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return stress.CompareSettings(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Serve, "serve-bin", "", "the kivaloo program to measure (default: build it from this module)")
	f.Uint64Var(&o.Pairs, "pairs", 1<<20, "number of pairs, and of requests in a round")
	f.IntVar(&o.Overwrites, "overwrites", 2, "rounds of random SETs")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of the choice of keys")
	f.IntSliceVar(&o.BlockSizes, "block-sizes", []int{1024, 2048, 4096, 8192}, "block sizes in bytes")
	f.Float64SliceVar(&o.StorageCosts, "storage-costs", []float64{10000}, "storage costs")
	return cmd
}
