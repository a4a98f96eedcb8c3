package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"kivaloo"
	"kivaloo/cmd/internal/commandline"
	"kivaloo/cmd/internal/dumpstream"
	"kivaloo/cmd/internal/plural"
)

// partialSuffix ends the name of a backup's file until it is complete.
const partialSuffix = ".partial"

func newBackupCommand() *cobra.Command {
	var b backup
	var noResume bool
	cmd := &cobra.Command{
		Use:   "backup ADDR|DIR FILE",
		Short: "Back up a store as it is at one moment",
		Long: `Write a backup of a store to FILE; "-" is standard output. It holds the store as it is at
one moment, shortly after the start. Checksums protect it: a backup that is damaged or
cut off is never taken for a whole one.

The first argument is the address of a server, which can be used meanwhile, or the
directory of a store, whether a server runs there or not.

The backup grows in FILE` + partialSuffix + `. It takes the name FILE, readable only by you, once
it is complete and safely on disk. If it is interrupted, run the same command again
within a minute to go on where it stopped: the server keeps the old state of the store
for that minute. Later the backup starts again, unless nothing has changed.

FILE must not be in a directory that holds a store.`,
		Example: `  kivaloo backup ./kivaloo-data store.backup
  kivaloo backup ./kivaloo-data - | zstd > store.backup.zst
  kivaloo restore store.backup ./new-data`,
		Args:              commandline.Arguments(2, "ADDR|DIR", "FILE"),
		ValidArgsFunction: commandline.InOrder(commandline.Files, commandline.Files),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := commandline.NotEmpty(cmd, args, "ADDR|DIR", "FILE"); err != nil {
				return err
			}
			// An interrupt leaves the part on disk, to be continued later.
			ctx, stop := untilStopped(cmd.Context())
			defer stop()
			cmd.SetContext(ctx)
			b.stderr, b.resume = cmd.ErrOrStderr(), !noResume
			if args[1] == "-" && isTerminal(cmd.OutOrStdout()) {
				return commandline.Usage(cmd, errors.New("a backup is not for a terminal: give a FILE, or send it to a file or a pipe"))
			}
			return b.from(cmd, args[0], func(ctx context.Context) error {
				if args[1] == "-" {
					return b.toStream(ctx, cmd.OutOrStdout())
				}
				return b.toFile(ctx, args[1])
			})
		},
	}
	b.AddFlags(cmd)
	cmd.Flags().BoolVar(&noResume, "no-resume", false, "start again, even if FILE"+partialSuffix+" could be continued")
	return cmd
}

// backup is one run of the command.
type backup struct {
	clientOptions
	source kivaloo.Store
	resume bool // if possible
	stderr io.Writer
}

// from opens the store at where, and runs f.
func (b *backup) from(cmd *cobra.Command, where string, f func(ctx context.Context) error) error {
	if info, err := os.Stat(where); err != nil || !info.IsDir() {
		return b.fromServer(cmd, where, f)
	}
	db, err := kivaloo.Open(where, kivaloo.Options{ReadOnly: true, Log: slog.New(slog.NewTextHandler(b.stderr, nil))})
	if errors.Is(err, kivaloo.ErrLocked) {
		return b.fromServer(cmd, where, f)
	}
	if err != nil {
		return err
	}
	defer db.Close()
	b.source, b.resume = db, false
	return f(cmd.Context())
}

// fromServer connects to the server at addr, and runs f.
func (b *backup) fromServer(cmd *cobra.Command, addr string, f func(ctx context.Context) error) error {
	b.addr = addr
	return b.with(cmd, func(ctx context.Context, c *kivaloo.Client) error {
		b.source = c
		return f(ctx)
	})
}

// run writes the backup to w, or the rest of it from position at. Progress and a summary go to
// stderr.
func (b *backup) run(ctx context.Context, w io.Writer, at *kivaloo.BackupPosition) error {
	var done dumpstream.Count
	start, m := time.Now(), newMeter(b.stderr, "backup", 0)
	o := kivaloo.BackupOptions{Resume: at, Progress: func(pairs, bytes int64) {
		done = dumpstream.Count{Pairs: pairs, Bytes: bytes}
		m.show(done)
	}}
	if at != nil {
		done = dumpstream.Count{Pairs: at.Pairs(), Bytes: at.Offset()}
	}
	err := b.source.Backup(ctx, w, o)
	m.stop()
	switch {
	case errors.Is(err, kivaloo.ErrUnsupported):
		return fmt.Errorf("%w; use `kivaloo dump`, whose pairs are not of one moment", err)
	case err != nil && interrupted(ctx):
		return fmt.Errorf("interrupted after %s", plural.Of(done.Pairs, "pair"))
	case err != nil:
		return fmt.Errorf("the backup is incomplete, after %s: %w", plural.Of(done.Pairs, "pair"), err)
	}
	fmt.Fprintf(b.stderr, "backed up %s\n", done.In(time.Since(start)))
	return nil
}

func (b *backup) toStream(ctx context.Context, w io.Writer) error {
	return b.run(ctx, w, nil)
}

// toFile makes or completes the backup in the file called name.
func (b *backup) toFile(ctx context.Context, name string) (err error) {
	to, err := openTarget(name, "kivaloo backup ... - > "+name)
	if err != nil {
		return err
	}
	defer to.close()
	partial := to.name + partialSuffix
	f, err := openPartial(to.dir, partial)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := b.fill(ctx, f); err != nil {
		kept, err := b.keepPartial(f, err)
		if !kept {
			to.dir.Remove(partial)
		}
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return to.replace(partial)
}

// openPartial opens the file that a backup grows in. The file is locked, so no other process can
// use it.
func openPartial(dir *os.Root, name string) (*os.File, error) {
	// Do not follow a link that someone else may have put there, and do not block on a pipe.
	if info, err := dir.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not an ordinary file", filepath.Join(dir.Name(), name))
	}
	f, err := dir.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		// If another process has just completed it, it has another name now.
		if now, statErr := dir.Lstat(name); err == unix.EWOULDBLOCK || err == nil && (statErr != nil || !os.SameFile(info, now)) {
			err = fmt.Errorf("%s is being written by another backup", f.Name())
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// fill completes the backup begun in f. If that is impossible, it writes the backup anew.
func (b *backup) fill(ctx context.Context, f *os.File) error {
	at, err := b.position(f)
	if err != nil {
		return err
	}
	if at != nil {
		fmt.Fprintf(b.stderr, "going on with %s after %s\n", f.Name(), plural.Of(at.Pairs(), "pair"))
		if err := cut(f, at.Offset()); err != nil {
			return err
		}
		err := b.run(ctx, f, at)
		if !errors.Is(err, kivaloo.ErrSnapshotGone) {
			return err
		}
		fmt.Fprintf(b.stderr, "the snapshot of %s is gone: starting again\n", f.Name())
	}
	if err := cut(f, 0); err != nil {
		return err
	}
	return b.run(ctx, f, nil)
}

// position returns where the backup in f can be continued, or nil.
func (b *backup) position(f *os.File) (*kivaloo.BackupPosition, error) {
	if info, err := f.Stat(); err != nil || info.Size() == 0 || !b.resume {
		return nil, err
	}
	at, err := kivaloo.FindBackupPosition(f)
	if errors.Is(err, kivaloo.ErrBadBackup) {
		fmt.Fprintf(b.stderr, "%s cannot be continued: starting again\n", f.Name())
		return nil, nil
	}
	return at, err
}

// cut shortens f to size bytes, and continues writing there.
func cut(f *os.File, size int64) error {
	if err := f.Truncate(size); err != nil {
		return err
	}
	_, err := f.Seek(size, io.SeekStart)
	return err
}

// keepPartial handles a failed backup. It reports whether f is useful and must be kept, and adds
// that to the error.
func (b *backup) keepPartial(f *os.File, err error) (bool, error) {
	if _, seekErr := f.Seek(0, io.SeekStart); seekErr != nil {
		return true, err
	}
	at, posErr := kivaloo.FindBackupPosition(f)
	if posErr != nil || at.Pairs() == 0 || !b.resumable() {
		return false, err
	}
	return true, fmt.Errorf("%w; run the same command within a minute to go on", err)
}

// resumable reports whether backups of the source can be continued.
func (b *backup) resumable() bool {
	_, ok := b.source.(*kivaloo.Client)
	return ok
}
