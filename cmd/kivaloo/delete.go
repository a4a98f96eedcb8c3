package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"kivaloo"
	"kivaloo/cmd/internal/commandline"
	"kivaloo/cmd/internal/plural"
)

// deleteOptions are the flags of delete.
type deleteOptions struct {
	keyRange
	wholeRange bool
	all        bool
}

func newDeleteCommand() *cobra.Command {
	var o deleteOptions
	cmd := &cobra.Command{
		Use:        "delete KEY... | --range START END | --prefix PREFIX | --all",
		SuggestFor: []string{"rm", "del", "remove", "unset"},
		Short:      "Remove keys",
		Long: `Remove each KEY and its value. A key that does not exist is no error.

With --range remove the keys from START on that are less than END; with --prefix those that
begin with PREFIX; with --all every key. This is not atomic: other clients may see some of
the keys removed and others not yet, and keys that are set meanwhile may stay. How many
were removed is said on standard error.`,
		Example: `  kivaloo delete greeting farewell
  kivaloo delete --prefix session/
  kivaloo delete --range log/2023 log/2024`,
		ValidArgsFunction: cobra.NoFileCompletions,
		Args:              func(cmd *cobra.Command, args []string) error { return o.check(cmd, args) },
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.wholeRange || o.all || cmd.Flags().Changed("prefix") {
				return o.deleteRange(cmd, args)
			}
			return o.deleteKeys(cmd, args)
		},
	}
	cmd.Flags().BoolVar(&o.wholeRange, "range", false, "remove the keys from START to before END")
	cmd.Flags().BoolVar(&o.all, "all", false, "remove every key")
	o.addFlags(cmd)
	return cmd
}

// check checks the arguments. An empty shell variable must not delete everything.
func (o *deleteOptions) check(cmd *cobra.Command, args []string) error {
	prefix := cmd.Flags().Changed("prefix")
	ways := 0
	for _, way := range []bool{o.wholeRange, o.all, prefix} {
		if way {
			ways++
		}
	}
	switch {
	case ways > 1:
		return commandline.Usage(cmd, errors.New("give only one of --range, --prefix and --all"))
	case o.wholeRange && len(args) == 2 && args[0] == "" && args[1] == "":
		return commandline.Usage(cmd, errors.New("START and END are empty: say --all to remove every key"))
	case o.wholeRange:
		return commandline.Arguments(2, "START", "END")(cmd, args)
	case prefix && o.prefix == "":
		return commandline.Usage(cmd, errors.New("--prefix is empty: say --all to remove every key"))
	case prefix, o.all:
		return commandline.Arguments(0)(cmd, args)
	}
	return commandline.AtLeast(1, "KEY")(cmd, args)
}

func (o *deleteOptions) deleteKeys(cmd *cobra.Command, args []string) error {
	keys, err := o.decodeAll("KEY", args)
	if err != nil {
		return err
	}
	return o.with(cmd, func(ctx context.Context, c *kivaloo.Client) error {
		if len(keys) == 1 {
			return c.Delete(ctx, keys[0])
		}
		p := c.Pipeline(ctx)
		for _, key := range keys {
			if p.Delete(key) != nil {
				break // Wait returns the error
			}
		}
		return p.Wait()
	})
}

func (o *deleteOptions) deleteRange(cmd *cobra.Command, args []string) error {
	scan, err := o.scan(args)
	if err != nil {
		return err
	}
	return o.with(cmd, func(ctx context.Context, c *kivaloo.Client) error {
		remove := func() (int64, error) { return c.DeleteRange(ctx, scan.Start, scan.End) }
		if len(scan.Prefix) > 0 {
			remove = func() (int64, error) { return c.DeletePrefix(ctx, scan.Prefix) }
		}
		n, err := remove()
		if err != nil {
			return fmt.Errorf("%w; removed before it: %s", err, plural.Of(n, "key"))
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "removed %s\n", plural.Of(n, "key"))
		return nil
	})
}
