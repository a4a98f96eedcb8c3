package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"kivaloo"
)

// change describes a command that changes one key. Its arguments are the key and
// then values.
type change struct {
	name    string
	values  []string // names of the arguments after KEY
	short   string
	long    string
	example string
	failure string // what it means that the change was not made; says %q of the key

	// do makes the change and reports whether it was made.
	do func(ctx context.Context, c *kivaloo.Client, key []byte, values [][]byte) (bool, error)
}

const valueHelp = `

A value of "-" is read from standard input and taken exactly as it is, a newline at
its end included. Arguments that begin with "-" go after "--".`

const conditionHelp = `

Exit status 3 if nothing was changed.`

func newSetCommand() *cobra.Command {
	return change{
		name:   "set",
		values: []string{"VALUE"},
		short:  "Store a pair",
		long:   `Store VALUE under KEY, whether or not there was a value before.` + valueHelp,
		example: `  kivaloo set greeting hello
  printf %s "$token" | kivaloo set token -
  kivaloo set --hex 00ff 0102
  kivaloo set -- temperature -4`,
		do: func(ctx context.Context, c *kivaloo.Client, key []byte, values [][]byte) (bool, error) {
			return true, c.Set(ctx, key, values[0])
		},
	}.command()
}

func newAddCommand() *cobra.Command {
	return change{
		name:    "add",
		values:  []string{"VALUE"},
		short:   "Store a pair if the key is absent",
		long:    `Store VALUE under KEY if there is no such key yet.` + valueHelp + conditionHelp,
		example: `  kivaloo add lock/backup "$HOSTNAME" && run-the-backup`,
		failure: "nothing was added: there is a key %q already",
		do: func(ctx context.Context, c *kivaloo.Client, key []byte, values [][]byte) (bool, error) {
			return c.Add(ctx, key, values[0])
		},
	}.command()
}

func newModifyCommand() *cobra.Command {
	return change{
		name:    "modify",
		values:  []string{"VALUE"},
		short:   "Change the value of a key that is present",
		long:    `Store VALUE under KEY if there is such a key already.` + valueHelp + conditionHelp,
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
		short:  "Change a value if it is the one expected (compare and swap)",
		long: `Store NEW under KEY if KEY has the value OLD. Of several that try this at the same
time only one succeeds.` + valueHelp + ` Only one of OLD and NEW can be.` + conditionHelp,
		example: `  kivaloo cas counter 41 42`,
		failure: "nothing was changed: the key %q is absent or has another value",
		do: func(ctx context.Context, c *kivaloo.Client, key []byte, values [][]byte) (bool, error) {
			return c.CompareAndSwap(ctx, key, values[0], values[1])
		},
	}.command()
}

func newDeleteCommand() *cobra.Command {
	return change{
		name:    "delete",
		short:   "Remove a key",
		long:    `Remove KEY and its value. It is no error if there is no such key.`,
		example: `  kivaloo delete greeting`,
		do: func(ctx context.Context, c *kivaloo.Client, key []byte, _ [][]byte) (bool, error) {
			return true, c.Delete(ctx, key)
		},
	}.command()
}

func newCADCommand() *cobra.Command {
	return change{
		name:    "cad",
		values:  []string{"OLD"},
		short:   "Remove a key if it has the value expected (compare and delete)",
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
		Args:    arguments(len(names), names...),
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

// decode reads the arguments.
func (ch change) decode(o *clientOptions, cmd *cobra.Command, args []string) (key []byte, values [][]byte, err error) {
	if key, err = o.decode("KEY", args[0]); err != nil {
		return nil, nil, err
	}
	fromStdin := 0
	for n, arg := range args[1:] {
		if arg == "-" {
			fromStdin++
		}
		if fromStdin > 1 {
			return nil, nil, usageError(cmd, errors.New(`only one value can be "-"`))
		}
		value, err := o.decodeValue(cmd, ch.values[n], arg)
		if err != nil {
			return nil, nil, err
		}
		values = append(values, value)
	}
	return key, values, nil
}
