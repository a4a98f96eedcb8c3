package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"kivaloo"
)

func newParamsCommand() *cobra.Command {
	var o clientOptions
	cmd := &cobra.Command{
		Use:   "params",
		Short: "Print how long keys and values may be",
		Long: `Print the longest key and the longest value, in bytes, that the store takes. It
is also a quick way to see whether a server is there.`,
		Args: arguments(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.with(cmd, func(ctx context.Context, c *kivaloo.Client) error {
				p, err := c.Params(ctx)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "max-key %d\nmax-value %d\n", p.MaxKey, p.MaxValue)
				return err
			})
		},
	}
	o.connectionFlags(cmd)
	return cmd
}
