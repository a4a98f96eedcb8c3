// Command kivaloo-stress measures what a store does under load.
package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"kivaloo/cmd/internal/commandline"
	"kivaloo/cmd/internal/number"
	"kivaloo/cmd/internal/outcheck"
	"kivaloo/cmd/internal/version"
	"kivaloo/disk"
	"kivaloo/stress"
)

// maxStorageCost is the most that "kivaloo serve" accepts.
const maxStorageCost = 1e12

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "kivaloo-stress:", commandline.ErrorText(err))
		os.Exit(exitStatus(err))
	}
}

// exitStatus returns the exit status for an error.
func exitStatus(err error) int {
	switch {
	case errors.Is(err, stress.ErrVerify):
		return 2
	case errors.Is(err, errThreshold):
		return 3
	}
	return 1
}

// run runs the whole program. A signal ends it cleanly: it stops what it started, and removes what
// it wrote.
func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// A closed output must not kill the program half-way either: the write fails instead.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	defer signal.Stop(pipe)

	root := newRootCommand()
	root.SetArgs(args)
	out := outcheck.New(os.Stdout)
	root.SetOut(out)
	root.SetErr(os.Stderr)
	return out.Check(root.ExecuteContext(ctx))
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "kivaloo-stress",
		Short:         "Measure what a kivaloo store does under load",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version.Of().String(),
	}
	root.SetVersionTemplate("kivaloo-stress {{.Version}}\n")
	root.SetFlagErrorFunc(commandline.FlagError)
	root.AddCommand(loadCommand(), runCommand(), compareCommand(), reportCommand(), pairsCommand(), settingsCommand(), commandline.Man())
	return root
}

func settingsCommand() *cobra.Command {
	o := stress.SettingsOptions{Pairs: 1 << 20, Overwrites: 2, Seed: 1, BlockSizes: []int{1024, 2048, 4096, 8192}, StorageCosts: []float64{10000}}
	cmd := &cobra.Command{
		Use:   "settings",
		Short: "Compare settings of kivaloo serve on this machine",
		Long: `Run the same work against a new store for every combination of block size and storage
cost, and print how each performs. The defaults of "kivaloo serve" were chosen this way.`,
		Args:              commandline.Arguments(0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return stress.CompareSettings(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Serve, "serve-bin", "", "the kivaloo program to measure (default: build it from this module)")
	number.Uint64(f, &o.Pairs, "pairs", "", 1, stress.MaxPairs, "number of pairs, and of requests in a round")
	number.Int(f, &o.Overwrites, "overwrites", "", 1, stress.MaxRounds, "rounds of random SETs")
	number.Uint64(f, &o.Seed, "seed", "", 0, math.MaxUint64, "seed of the choice of keys")
	number.Ints(f, &o.BlockSizes, "block-sizes", "", disk.MinBlockSize, disk.MaxBlockSize, "block sizes in bytes")
	number.Float64s(f, &o.StorageCosts, "storage-costs", "", 0, maxStorageCost, "storage costs")
	return cmd
}
