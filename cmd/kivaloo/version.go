package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"kivaloo/cmd/internal/commandline"
	"kivaloo/cmd/internal/version"
)

func newVersionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:               "version",
		Short:             "Print the version",
		Args:              commandline.Arguments(0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if asJSON {
				return printObject(cmd.OutOrStdout(), version.Of())
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "kivaloo", version.Of())
			return err
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}
