package main

import (
	"bufio"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"kivaloo/cmd/internal/commandline"
	"kivaloo/stress"
)

func pairsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "pairs N",
		Short: "Write the data set of the original's benchmarks",
		Long: `Write N pairs of 40+40 bytes to standard output, in the order of their keys, with nothing between
them: byte for byte what the original's mkpairs writes. N is decimal, or hex with 0x, or octal with 0.`,
		Args:              commandline.Arguments(1, "N"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := strconv.ParseUint(args[0], 0, 64)
			if err != nil {
				return fmt.Errorf("the number of pairs is a whole number, not %q", args[0])
			}
			return writePairs(cmd.OutOrStdout(), n)
		},
	}
}

func writePairs(w io.Writer, n uint64) error {
	out := bufio.NewWriterSize(w, 1<<20)
	for p := range stress.Pairs(n) {
		if _, err := out.Write(p[:]); err != nil {
			return fmt.Errorf("write pairs: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write pairs: %w", err)
	}
	return nil
}
