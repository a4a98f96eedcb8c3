package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"kivaloo"
	"kivaloo/cmd/internal/commandline"
)

func newSetCommand() *cobra.Command {
	var o clientOptions
	cmd := &cobra.Command{
		Use:        "set KEY VALUE [KEY VALUE]...",
		SuggestFor: []string{"put", "store", "write"},
		Short:      "Store pairs",
		Long: `Store each VALUE under its KEY, whether or not the key has a value already. Each pair
is stored by itself: after an error some may have been stored.` + valueHelp + ` Only one VALUE can be.`,
		Example: `  kivaloo set greeting hello
  kivaloo set greeting hello farewell bye
  printf %s "$token" | kivaloo set token -
  kivaloo set --hex 00ff 0102
  kivaloo set -- temperature -4`,
		Args:              pairs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return set(cmd, &o, args) },
	}
	o.connectionFlags(cmd)
	o.codingFlags(cmd)
	return cmd
}

// pairs checks that the arguments are pairs.
func pairs(cmd *cobra.Command, args []string) error {
	if len(args) > 2 && len(args)%2 == 1 {
		return commandline.Usage(cmd, fmt.Errorf("VALUE for KEY %q is missing", args[len(args)-1]))
	}
	return commandline.AtLeast(2, "KEY", "VALUE")(cmd, args)
}

func set(cmd *cobra.Command, o *clientOptions, args []string) error {
	var keys, values []string
	for pair := range slices.Chunk(args, 2) {
		keys, values = append(keys, pair[0]), append(values, pair[1])
	}
	decodedKeys, err := o.decodeAll("KEY", keys)
	if err != nil {
		return err
	}
	decodedValues, err := o.decodeValues(cmd, values, "VALUE")
	if err != nil {
		return err
	}
	return o.with(cmd, func(ctx context.Context, c *kivaloo.Client) error {
		if len(keys) == 1 {
			return c.Set(ctx, decodedKeys[0], decodedValues[0])
		}
		p := c.Pipeline(ctx)
		for n, key := range decodedKeys {
			if p.Set(key, decodedValues[n]) != nil {
				break // Wait returns the error
			}
		}
		return p.Wait()
	})
}

// decodeValues decodes arguments that are values. One may be "-". The last name also applies to all
// further arguments.
func (o *clientOptions) decodeValues(cmd *cobra.Command, args []string, names ...string) (values [][]byte, err error) {
	if first := slices.Index(args, "-"); first >= 0 && slices.Contains(args[first+1:], "-") {
		return nil, commandline.Usage(cmd, errors.New(`only one value can be "-"`))
	}
	for n, arg := range args {
		value, err := o.decodeValue(cmd, names[min(n, len(names)-1)], arg)
		if err != nil {
			return nil, err
		}
		values = append(values, value)
	}
	return values, nil
}
