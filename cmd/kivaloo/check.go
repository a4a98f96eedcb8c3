package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"kivaloo/cmd/internal/number"
	"kivaloo/disk"
	"kivaloo/tree"
)

func newCheckCommand() *cobra.Command {
	var blockSize int
	var foldFirst bool
	cmd := &cobra.Command{
		Use:   "check DIR",
		Short: "Check every page of a store",
		Long: `Check every page that can be reached from the root of the store in DIR, the journal
behind it, and the block files. Nothing is changed. The store must not be running.

A store that was not stopped in order may have changes in its journal only. A start
replays them; the original kivaloo, which knows no journal, refuses the store. With
--fold they are first written into pages, as a start and a stop would do.

Exit status 1 if anything is wrong, with one line for each fault.`,
		Example: `  kivaloo check ./kivaloo-data
  kivaloo check --fold ./kivaloo-data`,
		Args: arguments(1, "DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			if foldFirst {
				if err := fold(args[0], blockSize, log); err != nil {
					return fmt.Errorf("fold the journal of %s: %w", args[0], err)
				}
			}
			return check(cmd.Context(), args[0], blockSize, cmd.OutOrStdout(), log)
		},
	}
	addBlockSizeFlag(cmd, &blockSize)
	cmd.Flags().BoolVar(&foldFirst, "fold", false, "first write into pages what is in the journal only")
	return cmd
}

// addBlockSizeFlag adds the flag of the commands that look into a directory.
func addBlockSizeFlag(cmd *cobra.Command, blockSize *int) {
	number.Int(cmd.Flags(), blockSize, "block-size", "", disk.MinBlockSize, disk.MaxBlockSize, "bytes in a block, if it cannot be told from what is in them")
}

// openToRead opens the block store in dir, which there has to be, so that nothing in it is changed. blockSize 0 means
// the one that it has.
func openToRead(dir string, blockSize int, log *slog.Logger) (*disk.Local, error) {
	store, err := disk.Open(dir, disk.Options{Recognise: tree.Recognise(blockSize, 0), ReadOnly: true, Log: log})
	return store, explainBlockSize(err)
}

// explainBlockSize says what to do where the pages do not tell their size.
func explainBlockSize(err error) error {
	if errors.Is(err, tree.ErrUnknownBlockSize) {
		return fmt.Errorf("%w; if you know it, give --block-size", err)
	}
	return err
}

// fold replays the journal of the store in dir, and flushes it into pages.
func fold(dir string, blockSize int, log *slog.Logger) error {
	err := tree.FoldDir(dir, disk.Options{BlockSize: blockSize, Log: log}, tree.Config{MaxKey: -1, MaxValue: -1, Log: log})
	return explainBlockSize(err)
}

func check(ctx context.Context, dir string, blockSize int, stdout io.Writer, log *slog.Logger) error {
	store, err := openToRead(dir, blockSize, log)
	if err != nil {
		return err
	}
	defer store.Close()
	root, err := tree.FindRoot(store, slog.New(slog.DiscardHandler)) // what it passes over is in the report
	if err != nil {
		return fmt.Errorf("check %s: %w", dir, err)
	}
	journal, journalErr := tree.CheckJournal(ctx, store, root)
	if journalErr != nil && !errors.Is(journalErr, disk.ErrCorrupt) {
		return fmt.Errorf("check the journal in %s: %w", dir, journalErr)
	}
	if journal.Kept && journalErr == nil {
		root.Skipped = nil // nothing that was acknowledged is missing
	}
	r := tree.Check(ctx, store, root)
	n := len(r.Faults) + r.More
	for _, f := range r.Faults {
		fmt.Fprintln(stdout, f)
	}
	if r.More > 0 {
		fmt.Fprintf(stdout, "and %d more\n", r.More)
	}
	if journalErr != nil {
		n++
		fmt.Fprintf(stdout, "journal: %v\n", journalErr)
	} else if len(root.Skipped) > 0 {
		fmt.Fprintf(stdout, "a start will go back to the root at block %d\n", root.Block)
	} else if n > 0 {
		fmt.Fprintf(stdout, "a start will use the root at block %d; requests that need a block above, or what is below it, will fail: "+
			"back up what can be read, and restore the store from a backup\n", root.Block)
	}
	if n > 0 {
		return fmt.Errorf("check %s: faults: %d", dir, n)
	}
	printReport(stdout, dir, r)
	printJournal(stdout, dir, r.BlockSize, &journal)
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

// printJournal says what is to be replayed, and what else is behind the root, if anything is.
func printJournal(w io.Writer, dir string, blockSize int, j *tree.Journal) {
	if j.Behind == 0 && j.Changes == 0 {
		return
	}
	fmt.Fprintf(w, "  journal      %d commits, %d changes to replay from block %d on; %d blocks, %d bytes\n",
		j.Commits, j.Changes, j.From, j.Blocks, j.Blocks*uint64(blockSize))
	if j.Cut > 0 {
		fmt.Fprintf(w, "  not whole    %d blocks of appends: a crash cut them short, or their blocks are damaged\n", j.Cut)
	}
	if j.Kept {
		fmt.Fprintf(w, "               the original refuses this store until it has been folded: kivaloo check --fold %s\n", dir)
	}
}
