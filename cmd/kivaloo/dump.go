package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/spf13/cobra"

	"kivaloo"
	"kivaloo/cmd/internal/commandline"
	"kivaloo/cmd/internal/dumpstream"
	"kivaloo/cmd/internal/plural"
)

func newDumpCommand() *cobra.Command {
	o := dumpOptions{
		verb: "dump", did: "dumped",
		sink: func(w io.Writer) (dumpstream.Sink, error) { return dumpstream.NewWriter(w), nil },
	}
	cmd := &cobra.Command{
		Use:   "dump",
		Short: "Write all pairs to a file or a pipe, in the original's form",
		Long: `Write all pairs of the store in the form that "kivaloo load" reads. It is the form of
the original programs kvlds-dump and kvlds-undump: for each pair, in ascending order of
the keys, a byte with the length of the key, the key, a byte with the length of the
value, the value.

` + outputHelp + ` A dump that is cut off between two pairs looks complete.

The store can be used meanwhile. The dump may hold or lack changes made while it is
written; "kivaloo backup" writes the store as it is at one moment.`,
		Example: `  kivaloo dump --output store.dump
  kivaloo dump | zstd > store.dump.zst
  kivaloo dump --addr /srv/a | kivaloo load --addr /srv/b`,
		Args:              commandline.Arguments(0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.output == "-" && isTerminal(cmd.OutOrStdout()) {
				return commandline.Usage(cmd, errors.New("a dump is not for a terminal: give --output FILE, or send it to a file or a pipe"))
			}
			return o.run(cmd)
		},
	}
	o.addFlags(cmd)
	return cmd
}

const outputHelp = `With --output the pairs go to a temporary file beside FILE. It takes the name FILE, readable
only by you, once it is complete and safely on disk: after an error FILE is as it was.
Without --output they go to standard output; check the exit status then.`

// dumpOptions are the flags of a command that writes all pairs.
type dumpOptions struct {
	clientOptions
	output    string
	verb, did string // of the command
	sink      func(io.Writer) (dumpstream.Sink, error)
}

func (o *dumpOptions) addFlags(cmd *cobra.Command) {
	o.connectionFlags(cmd)
	o.output = "-"
	commandline.Text(cmd.Flags(), &o.output, "output", "o", "FILE", "write to this file, all or nothing; - is standard output")
}

func (o *dumpOptions) run(cmd *cobra.Command) error {
	return o.with(cmd, func(ctx context.Context, c *kivaloo.Client) error {
		if o.output == "-" {
			return o.dump(ctx, c, cmd.OutOrStdout(), cmd.ErrOrStderr())
		}
		return o.dumpToFile(ctx, c, o.output, cmd.ErrOrStderr())
	})
}

// dump writes all pairs to w. Progress and a summary go to stderr.
func (o *dumpOptions) dump(ctx context.Context, c *kivaloo.Client, w io.Writer, stderr io.Writer) error {
	sink, err := o.sink(w)
	if err != nil {
		return err
	}
	start := time.Now()
	m := newMeter(stderr, o.verb, 0)
	done, err := dumpstream.Dump(ctx, c, sink, m.update)
	m.stop()
	if err != nil {
		return fmt.Errorf("the %s is incomplete, after %s: %w", o.verb, plural.Of(done.Pairs, "pair"), err)
	}
	fmt.Fprintf(stderr, "%s %s\n", o.did, done.In(time.Since(start)))
	return nil
}

// dumpToFile dumps to the file called name. It replaces the file once the dump is complete and
// durable.
func (o *dumpOptions) dumpToFile(ctx context.Context, c *kivaloo.Client, name string, stderr io.Writer) (err error) {
	to, err := openTarget(name, "kivaloo "+o.verb+" > "+name)
	if err != nil {
		return err
	}
	defer to.close()
	// An interrupt must not leave the temporary file behind.
	ctx, stop := untilStopped(ctx)
	defer stop()

	partial := fmt.Sprintf(".%s.%d.partial", to.name, rand.Uint32())
	temp, err := to.dir.OpenFile(partial, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("creating a temporary file for %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			temp.Close()
			to.dir.Remove(partial)
		}
	}()
	err = o.dump(ctx, c, temp, stderr)
	if interrupted(ctx) {
		return fmt.Errorf("interrupted; %s is as it was", name)
	}
	if err != nil {
		return fmt.Errorf("%s is as it was: %w", name, err)
	}
	if err := temp.Sync(); err != nil {
		return fmt.Errorf("%s is as it was: %w", name, err)
	}
	if err := temp.Close(); err != nil {
		return fmt.Errorf("%s is as it was: %w", name, err)
	}
	return to.replace(partial)
}
