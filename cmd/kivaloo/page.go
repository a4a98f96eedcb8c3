package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"strconv"

	"github.com/spf13/cobra"

	"kivaloo/disk"
	"kivaloo/tree"
)

func newPageCommand() *cobra.Command {
	var blockSize int
	cmd := &cobra.Command{
		Use:   "page DIR BLOCK",
		Short: "Show what is in one page",
		Long: `Show the page in a block of the store in DIR, or what a block of the journal says of
itself. Nothing is changed. The store must not be running.`,
		Example: `  kivaloo page ./kivaloo-data 0`,
		Args:    arguments(2, "DIR", "BLOCK"),
		RunE: func(cmd *cobra.Command, args []string) error {
			block, err := strconv.ParseUint(args[1], 0, 64)
			if err != nil {
				return usageError(cmd, fmt.Errorf("BLOCK is a number, not %q", args[1]))
			}
			return page(args[0], block, blockSize, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	addBlockSizeFlag(cmd, &blockSize)
	return cmd
}

func page(dir string, block uint64, blockSize int, stdout, stderr io.Writer) error {
	store, err := openToRead(dir, blockSize, slog.New(slog.NewTextHandler(stderr, nil)))
	if err != nil {
		return err
	}
	defer store.Close()
	p := make([]byte, store.Info().BlockSize)
	ok, err := disk.ReadBlock(store, block, p)
	switch {
	case err != nil:
		return fmt.Errorf("read block %d: %w", block, err)
	case !ok:
		return fmt.Errorf("there is no block %d: the last one is %d", block, store.Info().Last)
	}
	w := bufio.NewWriter(stdout)
	if err := tree.Describe(w, block, p); err != nil {
		return err
	}
	return w.Flush()
}
