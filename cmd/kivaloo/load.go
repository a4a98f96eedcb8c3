package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"kivaloo"
	"kivaloo/cmd/internal/dumpstream"
)

func newLoadCommand() *cobra.Command {
	var o clientOptions
	var input string
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Store all pairs of a dump",
		Long: `Store all pairs of a dump that "kivaloo dump" wrote, or the original program
kvlds-dump. Keys that are there already get the value of the dump; others stay. When it
ends with exit status 0, all of it is durable.

After an error some of the pairs are stored. Loading the same dump again is safe.`,
		Example: `  kivaloo load --input store.dump
  zstd -dc store.dump.zst | kivaloo load`,
		Args: arguments(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, closeInput, err := openInput(cmd, input, "a dump does not come from a terminal: give --input FILE, or send it in from a file or a pipe")
			if err != nil {
				return err
			}
			defer closeInput()
			return o.with(cmd, func(ctx context.Context, c *kivaloo.Client) error {
				return load(ctx, c, in, cmd.ErrOrStderr())
			})
		},
	}
	o.connectionFlags(cmd)
	cmd.Flags().StringVarP(&input, "input", "i", "-", "read from `FILE`; \"-\" is standard input")
	return cmd
}

// load stores all pairs of in. Progress and a summary go to stderr.
func load(ctx context.Context, c *kivaloo.Client, in io.Reader, stderr io.Writer) error {
	start := time.Now()
	m := newMeter(stderr, "load", fileSize(in))
	done, err := dumpstream.Load(ctx, c, dumpstream.NewReader(in), m.update)
	m.stop()
	if err != nil {
		return err
	}
	fmt.Fprintf(stderr, "loaded %s\n", done.In(time.Since(start)))
	return nil
}

// fileSize returns how long the file r is, or 0 if it is no file or its length is
// not known.
func fileSize(r io.Reader) int64 {
	f, ok := r.(*os.File)
	if !ok {
		return 0
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}
