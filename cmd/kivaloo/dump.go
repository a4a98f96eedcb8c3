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
	"kivaloo/cmd/internal/dumpstream"
)

func newDumpCommand() *cobra.Command {
	var o clientOptions
	var output string
	cmd := &cobra.Command{
		Use:   "dump",
		Short: "Write all pairs to a file or a pipe",
		Long: `Write all pairs of the store, in a form that "kivaloo load" reads. The form is that
of the original programs kvlds-dump and kvlds-undump: for each pair, in ascending
order of the keys, a byte with the length of the key, the key, a byte with the length
of the value, the value.

With --output the dump goes to a temporary file beside FILE, which takes the name
FILE, readable only by you, when it is complete and safely on disk: a dump that
fails leaves FILE as it was. Without, it goes to standard output; check the exit
status then, because a dump that is cut off between two pairs looks whole.

The store can be used meanwhile. Changes made during the dump may be in it or not.`,
		Example: `  kivaloo dump --output store.dump
  kivaloo dump | zstd > store.dump.zst
  kivaloo dump --addr /srv/a/kivaloo.sock | kivaloo load --addr /srv/b/kivaloo.sock`,
		Args: arguments(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output == "-" && isTerminal(cmd.OutOrStdout()) {
				return usageError(cmd, errors.New("a dump is not for a terminal: give --output FILE, or send it into a file or a pipe"))
			}
			return o.with(cmd, func(ctx context.Context, c *kivaloo.Client) error {
				if output == "-" {
					return dump(ctx, c, cmd.OutOrStdout(), cmd.ErrOrStderr())
				}
				return dumpToFile(ctx, c, output, cmd.ErrOrStderr())
			})
		},
	}
	o.connectionFlags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "-", "write to `FILE`, all or nothing; \"-\" is standard output")
	return cmd
}

// dump writes all pairs to w. Progress and a summary go to stderr.
func dump(ctx context.Context, c *kivaloo.Client, w io.Writer, stderr io.Writer) error {
	start := time.Now()
	m := newMeter(stderr, "dump", 0)
	done, err := dumpstream.Dump(ctx, c, dumpstream.NewWriter(w), m.update)
	m.stop()
	if err != nil {
		return fmt.Errorf("the dump is incomplete, after %d pairs: %w", done.Pairs, err)
	}
	fmt.Fprintf(stderr, "dumped %s\n", done.In(time.Since(start)))
	return nil
}

// dumpToFile dumps to the file called name, which is replaced once the dump is
// complete and durable.
func dumpToFile(ctx context.Context, c *kivaloo.Client, name string, stderr io.Writer) (err error) {
	to, err := openTarget(name, "kivaloo dump > "+name)
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
	err = dump(ctx, c, temp, stderr)
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted; %s is left as it was", name)
	}
	if err != nil {
		return fmt.Errorf("%s is left as it was: %w", name, err)
	}
	if err := temp.Sync(); err != nil {
		return fmt.Errorf("%s is left as it was: %w", name, err)
	}
	if err := temp.Close(); err != nil {
		return fmt.Errorf("%s is left as it was: %w", name, err)
	}
	return to.replace(partial)
}
