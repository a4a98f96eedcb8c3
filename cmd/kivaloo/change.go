package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"kivaloo"
	"kivaloo/cmd/internal/commandline"
)

// change describes a command that changes one key under a condition. Its arguments are the key,
// followed by values.
type change struct {
	name    string
	values  []string // names of the arguments after KEY
	short   string
	long    string
	example string
	failure string // message if the condition does not hold; %q is the key

	// do makes the change and reports whether the condition held.
	do func(ctx context.Context, c *kivaloo.Client, key []byte, values [][]byte) (bool, error)
}

const valueHelp = `

The value "-" stands for standard input, which is taken exactly as it is, with the newline
at its end. Arguments that begin with "-" go after "--".`

const conditionHelp = `

The exit status is 3 if nothing was changed.`

func newAddCommand() *cobra.Command {
	return change{
		name:    "add",
		values:  []string{"VALUE"},
		short:   "Store a pair if the key does not exist",
		long:    `Store VALUE under KEY if the key does not exist.` + valueHelp + conditionHelp,
		example: `  kivaloo add lock/backup "$HOSTNAME" && run-the-backup`,
		failure: "nothing was added: the key %q exists",
		do: func(ctx context.Context, c *kivaloo.Client, key []byte, values [][]byte) (bool, error) {
			return c.Add(ctx, key, values[0])
		},
	}.command()
}

func newModifyCommand() *cobra.Command {
	return change{
		name:    "modify",
		values:  []string{"VALUE"},
		short:   "Change the value of a key that exists",
		long:    `Store VALUE under KEY if the key exists.` + valueHelp + conditionHelp,
		example: `  kivaloo modify greeting "good morning"`,
		failure: "nothing was changed: there is no key %q",
		do: func(ctx context.Context, c *kivaloo.Client, key []byte, values [][]byte) (bool, error) {
			return c.Modify(ctx, key, values[0])
		},
	}.command()
}

func newCASCommand() *cobra.Command {
	return change{
		name:   "cas",
		values: []string{"OLD", "NEW"},
		short:  "Change a value if it is as expected (compare and swap)",
		long: `Store NEW under KEY if KEY has the value OLD. If several clients try this at the same
time, one succeeds.` + valueHelp + ` Only one of OLD and NEW can be.` + conditionHelp,
		example: `  kivaloo cas counter 41 42`,
		failure: "nothing was changed: the key %q is absent or has another value",
		do: func(ctx context.Context, c *kivaloo.Client, key []byte, values [][]byte) (bool, error) {
			return c.CompareAndSwap(ctx, key, values[0], values[1])
		},
	}.command()
}

func newCADCommand() *cobra.Command {
	return change{
		name:    "cad",
		values:  []string{"OLD"},
		short:   "Remove a key if its value is as expected (compare and delete)",
		long:    `Remove KEY if it has the value OLD.` + valueHelp + conditionHelp,
		example: `  kivaloo cad lock/backup "$HOSTNAME"`,
		failure: "nothing was deleted: the key %q is absent or has another value",
		do: func(ctx context.Context, c *kivaloo.Client, key []byte, values [][]byte) (bool, error) {
			return c.CompareAndDelete(ctx, key, values[0])
		},
	}.command()
}

// command returns the command that ch describes.
func (ch change) command() *cobra.Command {
	var o clientOptions
	names := append([]string{"KEY"}, ch.values...)
	cmd := &cobra.Command{
		Use:     ch.name + " " + strings.Join(names, " "),
		Short:   ch.short,
		Long:    ch.long,
		Example: ch.example,
		Args:    commandline.Arguments(len(names), names...),

		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			key, values, err := ch.decode(&o, cmd, args)
			if err != nil {
				return err
			}
			return o.with(cmd, func(ctx context.Context, c *kivaloo.Client) error {
				done, err := ch.do(ctx, c, key, values)
				if err == nil && !done {
					return notDone(fmt.Sprintf(ch.failure, args[0]))
				}
				return err
			})
		},
	}
	o.connectionFlags(cmd)
	o.codingFlags(cmd)
	return cmd
}

// decode parses the arguments.
func (ch change) decode(o *clientOptions, cmd *cobra.Command, args []string) (key []byte, values [][]byte, err error) {
	if key, err = o.decode("KEY", args[0]); err != nil {
		return nil, nil, err
	}
	if values, err = o.decodeValues(cmd, args[1:], ch.values...); err != nil {
		return nil, nil, err
	}
	return key, values, nil
}
