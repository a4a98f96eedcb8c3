package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"kivaloo/stress/results"
)

func reportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "report DIR",
		Short: "Draw the results of a run or a sweep",
		Long: `Writes report.html into a directory of results, anew if it is there: one page that needs nothing
else, with the percentiles, the course of the run, or the sweep, and the table.`,
		Args: cobra.ExactArgs(1),
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
