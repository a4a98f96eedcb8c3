package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"kivaloo/cmd/internal/commandline"
	"kivaloo/disk"
	"kivaloo/tree"
)

func newPageCommand() *cobra.Command {
	var blockSize int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "page DIR BLOCK",
		Short: "Show the content of a page",
		Long: `Show the page in a block of the store in DIR, or the header of a block of the journal.
Change nothing. No server may be running there. --json prints an object with the block
number and the lines of text.`,
		Example:           `  kivaloo page ./kivaloo-data 0`,
		Args:              commandline.Arguments(2, "DIR", "BLOCK"),
		ValidArgsFunction: commandline.InOrder(commandline.Directories, cobra.NoFileCompletions),
		RunE: func(cmd *cobra.Command, args []string) error {
			block, err := strconv.ParseUint(args[1], 0, 64)
			if err != nil {
				return commandline.Usage(cmd, fmt.Errorf("BLOCK is a number, not %q", args[1]))
			}
			if !asJSON {
				return page(args[0], block, blockSize, cmd.OutOrStdout(), cmd.ErrOrStderr())
			}
			var text strings.Builder
			if err := page(args[0], block, blockSize, &text, cmd.ErrOrStderr()); err != nil {
				return err
			}
			return printObject(cmd.OutOrStdout(), struct {
				Block uint64   `json:"block"`
				Lines []string `json:"lines"`
			}{block, strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")})
		},
	}
	addBlockSizeFlag(cmd, &blockSize)
	jsonFlag(cmd, &asJSON)
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
		return fmt.Errorf("there is no block %d: the last one is %d, and blocks no longer needed have been freed", block, store.Info().Last)
	}
	w := bufio.NewWriter(stdout)
	if err := tree.Describe(w, block, p); err != nil {
		return err
	}
	return w.Flush()
}
