package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"kivaloo/stress/results"
)

// errThreshold is wrapped by the error of compare when a condition of --fail-if holds.
var errThreshold = errors.New("the new results are beyond what --fail-if allows")

func compareCommand() *cobra.Command {
	var failIf []string
	cmd := &cobra.Command{
		Use:   "compare OLD NEW",
		Short: "Compare the results of two runs",
		Long: `Compares two directories of results: each measure of each operation, and whether it differs by
more than chance makes intervals of one and the same load differ.

--fail-if takes a condition such as 'p99>+5%' (a change), 'get.p99.9>10ms' or 'rate<50000/s'; the
measures are rate, mean, p50, p90, p99, p99.9, p99.99 and max.

Exit status: 0 done, 1 wrong usage or no results, 3 a condition holds.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var conditions []results.Condition
			for _, text := range failIf {
				c, err := results.ParseCondition(text)
				if err != nil {
					return err
				}
				conditions = append(conditions, c)
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
	cmd.Flags().StringArrayVar(&failIf, "fail-if", nil, "condition under which the exit status is 3; can be repeated")
	return cmd
}
