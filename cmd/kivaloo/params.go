package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"kivaloo"
	"kivaloo/cmd/internal/commandline"
)

func newParamsCommand() *cobra.Command {
	var o clientOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "params",
		Short: "Print how long keys and values may be",
		Long: `Print the length in bytes of the longest key and of the longest value that the store
takes. It is also a quick way to see whether a server answers.`,
		Args:              commandline.Arguments(0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.with(cmd, func(ctx context.Context, c *kivaloo.Client) error {
				p, err := c.Params(ctx)
				if err != nil {
					return err
				}
				if asJSON {
					return printObject(cmd.OutOrStdout(), struct {
						MaxKey   int `json:"max_key"`
						MaxValue int `json:"max_value"`
					}{p.MaxKey, p.MaxValue})
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "max-key %d\nmax-value %d\n", p.MaxKey, p.MaxValue)
				return err
			})
		},
	}
	o.connectionFlags(cmd)
	jsonFlag(cmd, &asJSON)
	return cmd
}
