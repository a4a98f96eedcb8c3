package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"kivaloo"
)

func newGetCommand() *cobra.Command {
	var o clientOptions
	var raw bool
	cmd := &cobra.Command{
		Use:   "get KEY",
		Short: "Print the value of a key",
		Long: `Print the value of KEY and a newline. With --raw the exact bytes of the value are
printed, and nothing else.

Exit status 3 if there is no such key.`,
		Example: `  kivaloo get greeting
  kivaloo get --raw thumbnail > thumbnail.png
  kivaloo get --hex 00ff`,
		Args: arguments(1, "KEY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := o.decode("KEY", args[0])
			if err != nil {
				return err
			}
			return o.with(cmd, func(ctx context.Context, c *kivaloo.Client) error {
				value, err := c.Get(ctx, key)
				if errors.Is(err, kivaloo.ErrNotFound) {
					return notDone(fmt.Sprintf("there is no key %q", args[0]))
				}
				if err != nil {
					return err
				}
				out := o.encode(value)
				if !raw {
					out = append(out, '\n')
				}
				_, err = cmd.OutOrStdout().Write(out)
				return err
			})
		},
	}
	o.connectionFlags(cmd)
	o.codingFlags(cmd)
	cmd.Flags().BoolVarP(&raw, "raw", "r", false, "print no newline after the value")
	return cmd
}
