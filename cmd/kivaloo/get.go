package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"kivaloo"
	"kivaloo/cmd/internal/commandline"
	"kivaloo/cmd/internal/pairtext"
)

// getOptions are the flags of get.
type getOptions struct {
	clientOptions
	raw  bool
	json bool
}

func newGetCommand() *cobra.Command {
	var o getOptions
	cmd := &cobra.Command{
		Use:   "get KEY...",
		Short: "Print the values of keys",
		Long: `Print the value of KEY and a newline. With --raw print the exact bytes of the value and
nothing else.

For several keys print a line for each, as "kivaloo range" does. With --json print an
object for each key, as "kivaloo range --json" does.

The exit status is 3 if a key does not exist. The others are printed nevertheless.`,
		Example: `  kivaloo get greeting
  kivaloo get greeting farewell
  kivaloo get --raw thumbnail > thumbnail.png
  kivaloo get --hex 00ff`,
		Args:              commandline.AtLeast(1, "KEY"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.raw && (len(args) > 1 || o.json) {
				return commandline.Usage(cmd, errors.New("--raw is for one KEY, and without --json"))
			}
			return o.run(cmd, args)
		},
	}
	o.connectionFlags(cmd)
	o.codingFlags(cmd)
	cmd.Flags().BoolVarP(&o.raw, "raw", "r", false, "print no newline after the value")
	jsonFlag(cmd, &o.json)
	return cmd
}

func (o *getOptions) run(cmd *cobra.Command, args []string) error {
	keys, err := o.decodeAll("KEY", args)
	if err != nil {
		return err
	}
	return o.with(cmd, func(ctx context.Context, c *kivaloo.Client) error {
		var absent []string
		w := bufio.NewWriterSize(cmd.OutOrStdout(), outputBufferBytes)
		values, err := c.GetMany(ctx, keys...)
		if err != nil {
			return err
		}
		for n, value := range values {
			if value == nil {
				absent = append(absent, fmt.Sprintf("%q", args[n]))
			} else if err := o.print(w, kivaloo.Pair{Key: keys[n], Value: value}, len(keys) == 1); err != nil {
				return err
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
		switch len(absent) {
		case 0:
			return nil
		case 1:
			return notDone("there is no key " + absent[0])
		}
		return notDone("there are no keys " + strings.Join(absent, ", "))
	})
}

// print prints a pair. If it is the only one and --json is not given, it prints only the value.
func (o *getOptions) print(w *bufio.Writer, p kivaloo.Pair, only bool) (err error) {
	switch {
	case o.json:
		err = printObject(w, pairtext.PairObject(p, o.hex))
	case !only:
		_, err = w.Write(o.appendLine(nil, p, false))
	default:
		if _, err = w.Write(o.encode(p.Value)); err == nil && !o.raw {
			err = w.WriteByte('\n')
		}
	}
	return err
}
