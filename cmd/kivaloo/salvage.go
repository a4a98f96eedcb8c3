package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"kivaloo"
	"kivaloo/cmd/internal/commandline"
	"kivaloo/cmd/internal/number"
	"kivaloo/cmd/internal/pairtext"
	"kivaloo/cmd/internal/plural"
	"kivaloo/disk"
)

// salvageFlags are the flags of salvage.
type salvageFlags struct {
	blockSize, newBlockSize int
	hex, json               bool
}

func newSalvageCommand() *cobra.Command {
	var o salvageFlags
	cmd := &cobra.Command{
		Use:   "salvage DIR OUT",
		Short: "Make a new store from what a damaged one still holds",
		Long: `Read all that is left in the damaged store in DIR, and make a new store from it in OUT,
which must be missing or empty. DIR is not changed and not locked: no server may run
there. First look for a backup: a restore is better than a salvage.

Pages that cannot be read leave holes. Salvage fills each with the newest other page for
the same keys, also from older trees, and replays the journal. It uses pages behind the
last whole root, which a start would skip. It flips bits back that a checksum shows to
be flipped. Files and blocks may be missing, or be in wrong places.

The report goes to standard output: first the totals, then a line for each range of keys:

  certain    the pairs are as the last change left them
  unchecked  nothing newer is missing if the pages are what was written, but no checksum
             proves that
  stale      something newer may be missing: changes may be lost, and DELETED KEYS MAY
             BE BACK
  lost       no page is left: OUT holds only what the journal had

then START, END and the number of pairs from pages, separated by tabs. Keys look as
"kivaloo range" prints them. START belongs to the range, END does not. An empty START is
the first key, an empty END is behind the last. With --json each line is an object; the
first holds the totals.

The exit status is 0 if all is certain, 4 if OUT was made but not all is certain, and 1 if
OUT was not made.`,
		Example: `  kivaloo salvage ./kivaloo-data ./salvaged
  kivaloo serve --dir ./salvaged`,
		Args:              commandline.Arguments(2, "DIR", "OUT"),
		ValidArgsFunction: commandline.InOrder(commandline.Directories, commandline.Directories),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := commandline.NotEmpty(cmd, args, "DIR", "OUT"); err != nil {
				return err
			}
			ctx, stop := untilStopped(cmd.Context())
			defer stop()
			return o.salvage(ctx, args[0], args[1], cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	addBlockSizeFlag(cmd, &o.blockSize)
	number.Int(cmd.Flags(), &o.newBlockSize, "new-block-size", "", disk.MinBlockSize, disk.MaxBlockSize, "bytes in a block of the new store (default: as in DIR)")
	cmd.Flags().BoolVarP(&o.hex, "hex", "x", false, "print keys in hex")
	jsonFlag(cmd, &o.json)
	return cmd
}

// salvage makes a store in out from what is left in dir.
func (o *salvageFlags) salvage(ctx context.Context, dir, out string, stdout, stderr io.Writer) error {
	start, m := time.Now(), newBlockMeter(stderr, "salvage")
	report, err := kivaloo.Salvage(ctx, dir, out, kivaloo.SalvageOptions{
		BlockSize: o.blockSize,
		New:       kivaloo.Options{BlockSize: o.newBlockSize, Log: slog.New(slog.NewTextHandler(stderr, nil))},
		Progress:  m.showBlocks,
	})
	m.stop()
	switch {
	case errors.Is(err, kivaloo.ErrNotEmpty):
		return fmt.Errorf("%s is not empty: salvage to another directory", out)
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("interrupted; %s is as it was", out)
	case errors.Is(err, kivaloo.ErrTooLong):
		return fmt.Errorf("%w: give --new-block-size 2048", err)
	case err != nil:
		return explainBlockSize(err)
	}
	if err := o.print(stdout, dir, out, report); err != nil {
		return err
	}
	fmt.Fprintf(stderr, "salvaged %s in %v\n", plural.Of(report.Stored, "pair"), time.Since(start).Round(time.Millisecond))
	if !report.Certain() {
		return uncertain(fmt.Sprintf("not all of %s is certain: see the report", dir))
	}
	return nil
}

// print writes the report to stdout.
func (o *salvageFlags) print(stdout io.Writer, dir, out string, r *kivaloo.Salvaged) error {
	w := bufio.NewWriterSize(stdout, outputBufferBytes)
	if o.json {
		if err := o.printObjects(w, r); err != nil {
			return err
		}
		return w.Flush()
	}
	printSalvaged(w, dir, out, r)
	var line []byte
	for _, one := range r.Ranges {
		line = append(append(line[:0], one.Trust.String()...), '\t')
		line = append(appendString(line, one.Start, o.hex), '\t')
		line = append(appendString(line, one.End, o.hex), '\t')
		w.Write(fmt.Appendf(line, "%d\n", one.Pairs))
	}
	if r.More > 0 {
		fmt.Fprintf(w, "and %d more ranges\n", r.More)
	}
	return w.Flush()
}

// printSalvaged writes the totals.
func printSalvaged(w io.Writer, dir, out string, r *kivaloo.Salvaged) {
	fmt.Fprintf(w, "%s: blocks %d to %d\n", dir, r.FirstBlock, r.EndBlock-1)
	if r.NoRoot != nil {
		fmt.Fprintf(w, "  root       none can be trusted, so all blocks were searched: %v\n", r.NoRoot)
	} else {
		fmt.Fprintf(w, "  root       block %d\n", r.Root)
	}
	fmt.Fprintf(w, "  damage     unreadable: %s; mended, with a flipped bit: %s\n", plural.Of(r.Bad, "block"), plural.Of(r.Mended, "block"))
	if r.Unfit > 0 {
		fmt.Fprintf(w, "  left out   %s of damaged pages, longer than the block size allows\n", plural.Of(r.Unfit, "pair"))
	}
	if r.Cut > 0 {
		fmt.Fprintf(w, "  not whole  %s at the end: an append is damaged, or a crash cut it short, so nothing is better than stale\n", plural.Of(r.Cut, "block"))
	}
	for _, sign := range r.Signs {
		fmt.Fprintf(w, "  not whole  %s, so nothing is better than stale\n", sign)
	}
	for t, pairs := range r.Pairs {
		if trust := kivaloo.Trust(t); trust != kivaloo.Lost {
			fmt.Fprintf(w, "  %-9s  %s\n", trust, plural.Of(pairs, "pair"))
		}
	}
	lost := 0
	for _, one := range r.Ranges {
		if one.Trust == kivaloo.Lost {
			lost++
		}
	}
	fmt.Fprintf(w, "  lost       %s\n", plural.Of(lost, "range"))
	fmt.Fprintf(w, "  journal    %s replayed\n", plural.Of(r.Changes, "change"))
	fmt.Fprintf(w, "  new store  %s, %s\n", out, plural.Of(r.Stored, "pair"))
}

// salvagedObject has the totals, as --json prints them.
type salvagedObject struct {
	First     uint64   `json:"first_block"`
	Last      uint64   `json:"last_block"`
	Root      uint64   `json:"root,omitempty"`
	NoRoot    string   `json:"no_root,omitempty"`
	Bad       uint64   `json:"unreadable_blocks"`
	Mended    uint64   `json:"mended_blocks"`
	Unfit     uint64   `json:"pairs_left_out"`
	Cut       uint64   `json:"blocks_not_whole"`
	Signs     []string `json:"signs,omitempty"`
	Certain   uint64   `json:"certain_pairs"`
	Unchecked uint64   `json:"unchecked_pairs"`
	Stale     uint64   `json:"stale_pairs"`
	Changes   uint64   `json:"journal_changes"`
	Stored    uint64   `json:"pairs"`
	More      uint64   `json:"ranges_left_out"`
}

// salvagedRange is a range of keys, as --json prints it. Each bound has two fields, and at most one
// of them is set.
type salvagedRange struct {
	Trust    string  `json:"trust"`
	Start    *string `json:"start,omitempty"`
	StartHex *string `json:"start_hex,omitempty"`
	End      *string `json:"end,omitempty"`
	EndHex   *string `json:"end_hex,omitempty"`
	Pairs    uint64  `json:"pairs"`
}

func (o *salvageFlags) printObjects(w io.Writer, r *kivaloo.Salvaged) error {
	objects := newObjects(w)
	sum := salvagedObject{
		First: r.FirstBlock, Last: r.EndBlock - 1, Root: r.Root, Bad: r.Bad, Mended: r.Mended, Unfit: r.Unfit, Cut: r.Cut, Signs: r.Signs,
		Certain: r.Pairs[kivaloo.Certain], Unchecked: r.Pairs[kivaloo.Unchecked], Stale: r.Pairs[kivaloo.Stale],
		Changes: r.Changes, Stored: r.Stored, More: r.More,
	}
	if r.NoRoot != nil {
		sum.NoRoot = r.NoRoot.Error()
	}
	if err := objects.Encode(sum); err != nil {
		return err
	}
	for _, one := range r.Ranges {
		j := salvagedRange{Trust: one.Trust.String(), Pairs: one.Pairs}
		if len(one.Start) > 0 {
			j.Start, j.StartHex = pairtext.Field(one.Start, o.hex)
		}
		if one.End != nil {
			j.End, j.EndHex = pairtext.Field(one.End, o.hex)
		}
		if err := objects.Encode(j); err != nil {
			return err
		}
	}
	return nil
}
