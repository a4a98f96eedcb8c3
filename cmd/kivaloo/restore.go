package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"kivaloo"
	"kivaloo/cmd/internal/commandline"
	"kivaloo/cmd/internal/dumpstream"
	"kivaloo/cmd/internal/number"
	"kivaloo/cmd/internal/pairtext"
	"kivaloo/disk"
)

func newRestoreCommand() *cobra.Command {
	var blockSize int
	cmd := &cobra.Command{
		Use:   "restore FILE DIR",
		Short: "Make a store from a backup",
		Long: `Make a store in DIR, which must be missing or empty, from what "kivaloo backup" wrote to
FILE; "-" is standard input. The store is built in a directory beside DIR named
DIR.restore-... Every checksum is compared, every page is read back, and the pairs are
counted. Then the store takes its place: after an error DIR is as it was.`,
		Example: `  kivaloo restore store.backup ./new-data
  zstd -dc store.backup.zst | kivaloo restore - ./new-data
  kivaloo serve --dir ./new-data`,
		Args:              commandline.Arguments(2, "FILE", "DIR"),
		ValidArgsFunction: commandline.InOrder(commandline.Files, commandline.Directories),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := commandline.NotEmpty(cmd, args, "FILE", "DIR"); err != nil {
				return err
			}
			ctx, stop := untilStopped(cmd.Context())
			defer stop()
			in, closeInput, err := openInput(cmd, args[0], "a backup does not come from a terminal: give a FILE, or send it from a file or a pipe")
			if err != nil {
				return err
			}
			defer closeInput()
			return restore(ctx, in, args[1], blockSize, cmd.ErrOrStderr())
		},
	}
	number.Int(cmd.Flags(), &blockSize, "block-size", "", disk.MinBlockSize, disk.MaxBlockSize, fmt.Sprintf("bytes in a block of the new store, 512 to 131072 (default %d)", kivaloo.DefaultBlockSize))
	return cmd
}

// restore makes a store in dir from the backup in. Progress and a summary go to stderr.
func restore(ctx context.Context, in io.Reader, dir string, blockSize int, stderr io.Writer) error {
	var done dumpstream.Count
	start, m := time.Now(), newMeter(stderr, "restore", fileSize(in))
	buffered := bufio.NewReaderSize(in, dumpHeadBytes)
	if head, _ := buffered.Peek(dumpHeadBytes); !kivaloo.IsBackup(head) {
		switch {
		case pairtext.IsJSON(head):
			m.stop()
			return errors.New("the input is JSON, not a backup: store its pairs with `kivaloo import`")
		case dumpstream.IsDump(head):
			m.stop()
			return errors.New("the input is a dump, not a backup: store its pairs with `kivaloo load`")
		}
	}
	o := kivaloo.Options{BlockSize: blockSize, Log: slog.New(slog.NewTextHandler(stderr, nil))}
	err := kivaloo.Restore(ctx, buffered, dir, o, kivaloo.RestoreOptions{Progress: func(pairs, bytes int64) {
		done = dumpstream.Count{Pairs: pairs, Bytes: bytes}
		m.show(done)
	}})
	m.stop()
	switch {
	case errors.Is(err, kivaloo.ErrNotEmpty):
		return fmt.Errorf("%s is not empty: restore to another directory, then put that in its place while no server runs there", dir)
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("interrupted; %s is as it was", dir)
	case errors.Is(err, kivaloo.ErrTooLong):
		return fmt.Errorf("%w: give --block-size %d", err, kivaloo.DefaultBlockSize)
	case err != nil:
		return err
	}
	fmt.Fprintf(stderr, "restored %s\n", done.In(time.Since(start)))
	return nil
}
