package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"kivaloo/cmd/internal/commandline"
	"kivaloo/stress/results"
)

func reportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "report DIR",
		Short: "Draw the results of a run or a sweep",
		Long: `Write report.html to a directory of results, replacing one that is there. The page is complete in
itself: the percentiles, the course of the run or the sweep, and the table.`,
		Args:              commandline.Arguments(1, "DIR"),
		ValidArgsFunction: commandline.InOrder(commandline.Directories),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := results.Report(args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), path)
			return err
		},
	}
}
