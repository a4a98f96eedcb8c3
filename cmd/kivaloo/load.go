package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"kivaloo"
	"kivaloo/cmd/internal/commandline"
	"kivaloo/cmd/internal/dumpstream"
	"kivaloo/cmd/internal/pairtext"
)

func newLoadCommand() *cobra.Command {
	o := loadOptions{
		verb: "load", did: "loaded",
		source: func(r io.Reader) (dumpstream.Source, error) {
			in := bufio.NewReaderSize(r, dumpHeadBytes)
			if head, _ := in.Peek(dumpHeadBytes); pairtext.IsJSON(head) {
				return nil, errors.New("the input is not a dump but JSON: store its pairs with `kivaloo import`")
			}
			return dumpstream.NewReader(in), nil
		},
	}
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Store all pairs of a dump",
		Long: `Store all pairs of a dump that "kivaloo dump" or the original program kvlds-dump wrote.
A key that exists gets the value in the dump; keys that the dump lacks stay. With exit
status 0 all pairs are durable.

After an error some of the pairs may be stored. Loading the same dump again is safe.`,
		Example: `  kivaloo load --input store.dump
  zstd -dc store.dump.zst | kivaloo load`,
		Args:              commandline.Arguments(0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, "a dump does not come from a terminal: give --input FILE, or send it from a file or a pipe")
		},
	}
	o.addFlags(cmd)
	return cmd
}

// loadOptions are the flags of a command that stores the pairs of an input.
type loadOptions struct {
	clientOptions
	input     string
	verb, did string // of the command
	source    func(io.Reader) (dumpstream.Source, error)
}

func (o *loadOptions) addFlags(cmd *cobra.Command) {
	o.connectionFlags(cmd)
	o.input = "-"
	commandline.Text(cmd.Flags(), &o.input, "input", "i", "FILE", "read from this file; - is standard input")
}

// run stores the pairs of the input. It refuses a terminal with the error text terminal.
func (o *loadOptions) run(cmd *cobra.Command, terminal string) error {
	in, closeInput, err := openInput(cmd, o.input, terminal)
	if err != nil {
		return err
	}
	defer closeInput()
	return o.with(cmd, func(ctx context.Context, c *kivaloo.Client) error {
		return o.load(ctx, c, in, cmd.ErrOrStderr())
	})
}

// load stores all pairs of in. Progress and a summary go to stderr.
func (o *loadOptions) load(ctx context.Context, c *kivaloo.Client, in io.Reader, stderr io.Writer) error {
	source, err := o.source(in)
	if err != nil {
		return err
	}
	start := time.Now()
	m := newMeter(stderr, o.verb, fileSize(in))
	done, err := dumpstream.Load(ctx, c, source, m.update)
	m.stop()
	if err != nil {
		return err
	}
	fmt.Fprintf(stderr, "%s %s\n", o.did, done.In(time.Since(start)))
	return nil
}

// fileSize returns the length of the file r, or 0 if r is not a file or its length is unknown.
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
