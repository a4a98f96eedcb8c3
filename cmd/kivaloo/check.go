package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"

	"github.com/spf13/cobra"

	"kivaloo/disk"
	"kivaloo/tree"
)

func newCheckCommand() *cobra.Command {
	var blockSize int
	cmd := &cobra.Command{
		Use:   "check DIR",
		Short: "Check every page of a store",
		Long: `Check every page that can be reached from the root of the store in DIR, and the
block files. Nothing is changed. The store must not be running.

Exit status 1 if anything is wrong, with one line for each fault.`,
		Example: `  kivaloo check ./kivaloo-data`,
		Args:    arguments(1, "DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return check(cmd.Context(), args[0], blockSize, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	addBlockSizeFlag(cmd, &blockSize)
	return cmd
}

// addBlockSizeFlag adds the flag of the commands that look into a directory.
func addBlockSizeFlag(cmd *cobra.Command, blockSize *int) {
	cmd.Flags().IntVar(blockSize, "block-size", 0, "bytes in a block, if it cannot be told from the pages")
}

// openToRead opens the block store in dir so that nothing in it is changed.
func openToRead(dir string, blockSize int, log *slog.Logger) (*disk.Local, error) {
	if blockSize == 0 {
		found, err := tree.DetectBlockSize(nil, dir)
		switch {
		case err != nil:
			return nil, explainDetect(err)
		case found == 0:
			return nil, fmt.Errorf("there is no store in %s", dir)
		}
		blockSize = found
	}
	return disk.Open(dir, disk.Options{BlockSize: blockSize, ReadOnly: true, Log: log})
}

// explainDetect says what to do where the pages do not tell their size.
func explainDetect(err error) error {
	if errors.As(err, new(*fs.PathError)) {
		return err // they could not be looked at
	}
	return fmt.Errorf("%w; if you know it, give --block-size", err)
}

func check(ctx context.Context, dir string, blockSize int, stdout, stderr io.Writer) error {
	store, err := openToRead(dir, blockSize, slog.New(slog.NewTextHandler(stderr, nil)))
	if err != nil {
		return err
	}
	defer store.Close()
	root, err := tree.FindRoot(store, slog.New(slog.DiscardHandler)) // what it passes over is in the report
	if err != nil {
		return fmt.Errorf("check %s: %w", dir, err)
	}
	r := tree.Check(ctx, store, root)
	for _, f := range r.Faults {
		fmt.Fprintln(stdout, f)
	}
	if r.More > 0 {
		fmt.Fprintf(stdout, "and %d more\n", r.More)
	}
	if len(root.Skipped) > 0 {
		fmt.Fprintf(stdout, "a start will go back to the root at block %d\n", root.Block)
	}
	if n := len(r.Faults) + r.More; n > 0 {
		return fmt.Errorf("check %s: faults: %d", dir, n)
	}
	printReport(stdout, dir, r)
	return nil
}

func printReport(w io.Writer, dir string, r *tree.Report) {
	used := r.Next - r.Root.Oldest
	fmt.Fprintf(w, "%s: no faults\n", dir)
	fmt.Fprintf(w, "  blocks       %d bytes each, next is %d\n", r.BlockSize, r.Next)
	fmt.Fprintf(w, "  root         block %d, height %d\n", r.Root.Block, r.Root.Height)
	fmt.Fprintf(w, "  pages        %d: %d leaves, %d parents, %.0f %% full\n", r.Pages(), r.Leaves, r.Parents, 100*r.Fill())
	fmt.Fprintf(w, "  pairs        %d, %d bytes\n", r.Pairs, r.PairBytes)
	fmt.Fprintf(w, "  oldest leaf  block %d: the tree is spread over %d blocks, %.1f times its size\n",
		r.Root.Oldest, used, float64(used)/float64(r.Pages()))
}
