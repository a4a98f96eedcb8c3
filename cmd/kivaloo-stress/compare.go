package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"kivaloo/cmd/internal/commandline"
	"kivaloo/stress/results"
)

// errThreshold is returned by compare if a condition of --fail-if holds.
var errThreshold = errors.New("the new results are beyond what --fail-if allows")

func compareCommand() *cobra.Command {
	var failIf []string
	cmd := &cobra.Command{
		Use:   "compare OLD NEW",
		Short: "Compare the results of two runs, or of two sweeps",
		Long: `Compare two directories of results: each measure of each operation, and whether the difference is
more than chance explains. Two sweeps are compared rate by rate.

--fail-if takes a condition such as 'p99>+5%' (a change), 'get.p99.9>10ms' or 'rate<50000/s'; the
measures are rate, mean, p50, p90, p99, p99.9, p99.99 and max.

Exit status: 0 done, 1 wrong usage or no results, 3 a condition holds.`,
		Args:              commandline.Arguments(2, "OLD", "NEW"),
		ValidArgsFunction: commandline.InOrder(commandline.Directories, commandline.Directories),
		RunE: func(cmd *cobra.Command, args []string) error {
			var conditions []results.Condition
			for _, text := range failIf {
				c, err := results.ParseCondition(text)
				if err != nil {
					return err
				}
				conditions = append(conditions, c)
			}
			if results.IsSweep(args[0]) && results.IsSweep(args[1]) {
				if len(conditions) > 0 {
					return errors.New("--fail-if is for two runs: name those of one rate in each sweep")
				}
				return results.CompareSweeps(cmd.OutOrStdout(), args[0], args[1])
			}
			old, err := results.Read(args[0])
			if err != nil {
				return err
			}
			new, err := results.Read(args[1])
			if err != nil {
				return err
			}
			if err := results.PrintComparison(cmd.OutOrStdout(), old, new, results.Compare(old, new)); err != nil {
				return err
			}
			var failed error
			for _, c := range conditions {
				holds, why, err := c.Holds(old, new)
				if err != nil {
					return err
				}
				if holds {
					failed = errors.Join(failed, fmt.Errorf("%w: %s", errThreshold, why))
				}
			}
			return failed
		},
	}
	commandline.Texts(cmd.Flags(), &failIf, "fail-if", "CONDITION", "exit with status 3 if this holds (may be given again)")
	commandline.Complete(cmd, "fail-if", cobra.NoFileCompletions)
	return cmd
}
