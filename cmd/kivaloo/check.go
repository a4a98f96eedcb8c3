package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"kivaloo/cmd/internal/commandline"
	"kivaloo/cmd/internal/number"
	"kivaloo/cmd/internal/plural"
	"kivaloo/disk"
	"kivaloo/tree"
)

func newCheckCommand() *cobra.Command {
	var c checker
	var foldFirst bool
	cmd := &cobra.Command{
		Use:   "check DIR",
		Short: "Check every page of a store",
		Long: `Check every page that can be reached from the root of the store in DIR, the journal
after it, and the block files. Change nothing. No server may be running there.

After an unclean shutdown some changes may be in the journal only. A start replays them.
The original kivaloo knows no journal and refuses such a store. --fold first writes the
changes into pages, as a start and a stop would.

--sums reads every block of every file, needed or not, and compares it with its checksum.
A fault names the block, its file and the offset.

The exit status is 1 if anything is wrong, with a line for each fault: the block, the way
to it from the root, and what is wrong. The last line says which root a start will use,
and what to do. --json prints an object instead.`,
		Example: `  kivaloo check ./kivaloo-data
  kivaloo check --sums ./kivaloo-data
  kivaloo check --fold ./kivaloo-data`,
		Args:              commandline.Arguments(1, "DIR"),
		ValidArgsFunction: commandline.InOrder(commandline.Directories),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.dir, c.out, c.stderr = args[0], cmd.OutOrStdout(), cmd.ErrOrStderr()
			c.log = slog.New(slog.NewTextHandler(c.stderr, nil))
			if foldFirst {
				if err := fold(c.dir, c.blockSize, c.log); err != nil {
					return fmt.Errorf("fold the journal of %s: %w", c.dir, err)
				}
			}
			return c.run(cmd.Context())
		},
	}
	addBlockSizeFlag(cmd, &c.blockSize)
	cmd.Flags().BoolVar(&c.sums, "sums", false, "also compare every block with its checksum")
	jsonFlag(cmd, &c.json)
	cmd.Flags().BoolVar(&foldFirst, "fold", false, "first write the changes in the journal into pages")
	return cmd
}

// addBlockSizeFlag adds the flag of the commands that read a directory.
func addBlockSizeFlag(cmd *cobra.Command, blockSize *int) {
	number.Int(cmd.Flags(), blockSize, "block-size", "", disk.MinBlockSize, disk.MaxBlockSize, "bytes in a block, if the pages do not tell")
}

// openToRead opens the existing block store in dir read-only. A blockSize of 0 means the store's
// own.
func openToRead(dir string, blockSize int, log *slog.Logger) (*disk.Local, error) {
	store, err := disk.Open(dir, disk.Options{Recognise: tree.Recognise(blockSize, 0), Doubtful: tree.Doubtful, ReadOnly: true, Log: log})
	return store, explainBlockSize(err)
}

// explainBlockSize says what to do if the block size cannot be detected.
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

// checker checks the store in a directory.
type checker struct {
	dir       string
	blockSize int  // 0: the one the store has
	sums      bool // every block, not only the needed ones
	out       io.Writer
	stderr    io.Writer
	log       *slog.Logger
	json      bool
	found     checked
}

// checked is the result of a check, as --json prints it.
type checked struct {
	Dir         string   `json:"dir"`
	Faults      []string `json:"faults"`      // the first ones
	FaultCount  int      `json:"fault_count"` // of all faults
	BlockSize   int      `json:"block_size,omitempty"`
	NextBlock   uint64   `json:"next_block,omitempty"`
	RootBlock   uint64   `json:"root_block,omitempty"`
	Height      int      `json:"height,omitempty"`
	Leaves      uint64   `json:"leaves,omitempty"`
	Parents     uint64   `json:"parents,omitempty"`
	Fill        float64  `json:"fill,omitempty"`
	Pairs       uint64   `json:"pairs"`
	PairBytes   uint64   `json:"pair_bytes"`
	OldestBlock uint64   `json:"oldest_block,omitempty"`
	Commits     int      `json:"journal_commits"`
	Changes     int      `json:"journal_changes"`
	Checked     *uint64  `json:"blocks_with_checksum,omitempty"` // with --sums
	Unchecked   *uint64  `json:"blocks_without_checksum,omitempty"`
}

// run checks the store. With --json it prints the result as an object instead of text.
func (c *checker) run(ctx context.Context) error {
	if !c.json {
		return c.check(ctx)
	}
	out := c.out
	c.out, c.found = io.Discard, checked{Dir: c.dir, Faults: []string{}}
	err := c.check(ctx)
	if c.found.BlockSize == 0 && c.found.FaultCount == 0 {
		return err // there is nothing to print but the error
	}
	if printErr := printObject(out, c.found); err == nil {
		err = printErr
	}
	return err
}

// take copies the figures of a report.
func (f *checked) take(r *tree.Report, j *tree.Journal) {
	f.BlockSize, f.NextBlock = r.BlockSize, r.Next
	f.RootBlock, f.Height, f.OldestBlock = r.Root.Block, int(r.Root.Height), r.Root.Oldest
	f.Leaves, f.Parents, f.Fill = r.Leaves, r.Parents, r.Fill()
	f.Pairs, f.PairBytes = r.Pairs, r.PairBytes
	f.Commits, f.Changes = j.Commits, j.Changes
}

// fault prints a fault, and keeps it for --json.
func (c *checker) fault(text string) {
	fmt.Fprintln(c.out, text)
	c.found.Faults = append(c.found.Faults, text)
}

func (c *checker) check(ctx context.Context) error {
	store, err := openToRead(c.dir, c.blockSize, c.log)
	if err != nil {
		return adviseSalvage(c.dir, err)
	}
	defer store.Close()
	var sums disk.SumsReport
	rotten := 0
	if c.sums {
		if sums, rotten, err = c.checkSums(ctx, store); err != nil {
			return fmt.Errorf("check the checksums in %s: %w", c.dir, err)
		}
	}
	root, err := tree.FindRoot(store, slog.New(slog.DiscardHandler)) // the report has what it skips
	if err != nil {
		return adviseSalvage(c.dir, fmt.Errorf("check %s: %w", c.dir, err))
	}
	journal, journalErr := tree.CheckJournal(ctx, store, root)
	if journalErr != nil && !errors.Is(journalErr, disk.ErrCorrupt) {
		return fmt.Errorf("check the journal in %s: %w", c.dir, journalErr)
	}
	if journal.Kept && journalErr == nil {
		root.Skipped = nil // nothing acknowledged is missing
	}
	r := c.checkTree(ctx, store, root)
	n := c.printFaults(r, journalErr)
	c.found.FaultCount = n + rotten
	c.found.take(r, &journal)
	if c.sums {
		checked := sums.Blocks - sums.Without - sums.Damaged
		c.found.Checked, c.found.Unchecked = &checked, &sums.Without
	}
	switch {
	case n > 0:
		err := fmt.Errorf("check %s: faults: %d", c.dir, n+rotten)
		if journalErr != nil {
			return adviseSalvage(c.dir, fmt.Errorf("%w: %w", err, journalErr))
		}
		return err
	case rotten > 0:
		fmt.Fprintf(c.out, "neither the tree nor the journal needs what is damaged, %s; "+
			"but look at the disk, and save the store with `kivaloo backup %s FILE`\n", howSure(sums), c.dir)
		return fmt.Errorf("check %s: faults: %d", c.dir, rotten)
	}
	printReport(c.out, c.dir, r)
	printJournal(c.out, c.dir, r.BlockSize, &journal)
	if c.sums {
		printSums(c.out, sums)
	}
	return nil
}

// counted is a store that counts reads.
type counted struct {
	disk.Store
	read func()
}

func (s counted) Submit(first, last *disk.Op) {
	s.read()
	s.Store.Submit(first, last)
}

// checkTree checks the pages of a tree, and shows its progress.
func (c *checker) checkTree(ctx context.Context, store disk.Store, root tree.Root) *tree.Report {
	m := newBlockMeter(c.stderr, "check")
	defer m.stop()
	var read atomic.Uint64
	return tree.Check(ctx, counted{store, func() {
		if n := read.Add(1); n%progressBlocks == 1 {
			m.showBlocks(n, max(n, root.Nodes))
		}
	}}, root)
}

// checkSums compares every block with its checksum, and prints faults.
func (c *checker) checkSums(ctx context.Context, store *disk.Local) (sums disk.SumsReport, faults int, err error) {
	m := newBlockMeter(c.stderr, "check")
	defer m.stop()
	var damaged []string // checksum files
	sums, err = store.CheckSums(ctx, m.showBlocks, func(f disk.Fault) {
		if faults++; faults <= maxSumFaults {
			c.fault(fmt.Sprint(f))
		}
		if f.OfSums {
			damaged = append(damaged, f.File)
		}
	})
	if faults > maxSumFaults {
		fmt.Fprintf(c.out, "and %d more\n", faults-maxSumFaults)
	}
	if sums.Damaged > 0 {
		fmt.Fprintf(c.out, "%s cannot be compared because checksum files are damaged: %s\n", plural.Of(sums.Damaged, "block"), strings.Join(damaged, ", "))
	}
	return sums, faults, err
}

// howSure says how certain it is that nothing damaged is needed.
func howSure(s disk.SumsReport) string {
	var unknown []string
	if s.Without > 0 {
		unknown = append(unknown, "no checksum for "+plural.Of(s.Without, "block"))
	}
	if s.Damaged > 0 {
		unknown = append(unknown, "a damaged checksum for "+plural.Of(s.Damaged, "block"))
	}
	if unknown == nil {
		return "so nothing is lost"
	}
	return "as far as can be told: " + strings.Join(unknown, ", and ")
}

// printFaults prints the faults of the tree and the journal, with their meaning. It returns their
// number.
func (c *checker) printFaults(r *tree.Report, journalErr error) (n int) {
	n = len(r.Faults) + r.More
	for _, f := range r.Faults {
		c.fault(fmt.Sprint(f))
	}
	if r.More > 0 {
		fmt.Fprintf(c.out, "and %d more\n", r.More)
	}
	switch {
	case journalErr != nil:
		n++
		c.fault(fmt.Sprintf("journal behind the root at block %d: %v", r.Root.Block, journalErr))
	case len(r.Root.Skipped) > 0:
		fmt.Fprintf(c.out, "a start will go back to the root at block %d\n", r.Root.Block)
	case n > 0:
		fmt.Fprintf(c.out, "a start will use the root at block %d; requests that need a block above, or what is below it, will fail: "+
			"save what can be read with `kivaloo salvage %s OUT`, unless you can restore the store from a backup\n", r.Root.Block, c.dir)
	}
	return n
}

// adviseSalvage says what to do about a damaged store.
func adviseSalvage(dir string, err error) error {
	if !errors.Is(err, disk.ErrCorrupt) {
		return err
	}
	return fmt.Errorf("%w; without a backup, save what can be read with `kivaloo salvage %s OUT`", err, dir)
}

func printReport(w io.Writer, dir string, r *tree.Report) {
	used := r.Next - r.Root.Oldest
	fmt.Fprintf(w, "%s: no faults\n", dir)
	fmt.Fprintf(w, "  blocks       %d bytes each, next is %d\n", r.BlockSize, r.Next)
	fmt.Fprintf(w, "  root         block %d, height %d\n", r.Root.Block, r.Root.Height)
	fmt.Fprintf(w, "  pages        %d: %s, %s, %.0f %% full\n", r.Pages(), plural.Of(r.Leaves, "leaf", "leaves"), plural.Of(r.Parents, "parent"), 100*r.Fill())
	fmt.Fprintf(w, "  pairs        %d, %s\n", r.Pairs, plural.Of(r.PairBytes, "byte"))
	fmt.Fprintf(w, "  oldest leaf  block %d: the tree is spread over %s, %.1f times its size\n",
		r.Root.Oldest, plural.Of(used, "block"), float64(used)/float64(r.Pages()))
}

// printJournal prints what a start will replay, and anything else after the root.
func printJournal(w io.Writer, dir string, blockSize int, j *tree.Journal) {
	if j.Behind == 0 && j.Changes == 0 {
		return
	}
	fmt.Fprintf(w, "  journal      %s, %s to replay from block %d on; %s, %s\n",
		plural.Of(j.Commits, "commit"), plural.Of(j.Changes, "change"), j.From, plural.Of(j.Blocks, "block"), plural.Of(j.Blocks*uint64(blockSize), "byte"))
	if j.Cut > 0 {
		fmt.Fprintf(w, "  not whole    %s of appends: a crash cut them short, or their blocks are damaged\n", plural.Of(j.Cut, "block"))
	}
	if j.Kept {
		fmt.Fprintf(w, "               the original refuses this store until it has been folded: kivaloo check --fold %s\n", dir)
	}
}

// printSums prints how many blocks match their checksums.
func printSums(w io.Writer, s disk.SumsReport) {
	fmt.Fprintf(w, "  checksums    right for %d of %s\n", s.Blocks-s.Without, plural.Of(s.Blocks, "block"))
	if s.Without > 0 {
		fmt.Fprintf(w, "  without      %s: only their seals, the journal's checksums or the form of a page protect them\n", plural.Of(s.Without, "block"))
	}
	if s.Torn > 0 {
		fmt.Fprintf(w, "  torn         %d of these are not whole: a crash cut their appends short, or they are damaged\n", s.Torn)
	}
}
