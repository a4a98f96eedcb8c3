package kivaloo

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"kivaloo/tree"
	"kivaloo/wire"
)

// Errors of backups.
var (
	// ErrNoBackups: the server has hung up on the request, and goes on serving others.
	ErrNoBackups = errors.New("this server does not offer backups")
	// ErrBackupFailed: the server offers backups, and could not carry this request out. Its disk
	// may be full, or a page damaged. The connection goes on, and so can the backup, once the
	// server is well again.
	ErrBackupFailed = errors.New("the server could not make the backup now: its disk may be full or a page damaged, see its log")
	// ErrSnapshotGone: what was being backed up is not kept any more, so that the backup cannot be
	// continued.
	ErrSnapshotGone = tree.ErrSnapshotGone
	// ErrTooManySnapshots: the server keeps as many snapshots as it can. Each is given up a minute
	// after its last use.
	ErrTooManySnapshots = tree.ErrTooManySnapshots
)

// Backup writes the store, as it is at one moment at the beginning, to w in a form that Restore
// reads. Others may change it meanwhile: what they replace is kept until the backup is through, or
// was not continued for a minute.
//
// After an error w has the beginning of a backup. FindBackupPosition tells how much of it is good,
// and BackupOptions.Resume has Backup append the rest, on the same Client or another. If that comes
// too late, or the end had been read before, the error wraps ErrSnapshotGone, and nothing has been
// written.
func (c *Client) Backup(ctx context.Context, w io.Writer, o BackupOptions) error {
	if o.Resume != nil && o.Resume.complete {
		return nil
	}
	b, snapshot, next, err := c.beginBackup(ctx, w, o.Resume)
	if err == nil && len(next) > 0 {
		defer c.keepSnapshot(ctx, snapshot, cmp.Or(o.keepEvery, keepSnapshotEvery))()
	}
	for err == nil && len(next) > 0 {
		o.progress(b.pairs, b.bytes)
		next, err = c.backUp(ctx, b, snapshot, next)
	}
	if err != nil {
		return err
	}
	if err := b.finish(); err != nil {
		return c.backupError(err)
	}
	o.progress(b.pairs, b.bytes)
	return nil
}

// beginBackup writes the first piece or, if there is a position, confirms that its snapshot still
// exists. The next piece begins at next; if that is empty nothing is left.
func (c *Client) beginBackup(ctx context.Context, w io.Writer, p *BackupPosition) (b *backupWriter, snapshot uint64, next []byte, err error) {
	if p != nil {
		next, err = c.confirmBackup(ctx, p)
		if err != nil {
			return nil, 0, nil, c.hungUp(ctx, err)
		}
		b = newBackupWriterAt(w, p)
		if len(p.chunk) == 0 {
			next, err = c.backUp(ctx, b, p.snapshot, nil)
		}
		return b, p.snapshot, next, c.hungUp(ctx, err)
	}
	a, err := c.backupPiece(ctx, 0, backupChunkBytes, nil)
	if err != nil {
		return nil, 0, nil, c.hungUp(ctx, err)
	}
	if b, err = newBackupWriter(w, a.Snapshot); err == nil {
		err = b.put(a.Pairs)
	}
	if err != nil {
		return nil, 0, nil, c.backupError(err)
	}
	return b, a.Snapshot, a.Next, nil
}

// keepSnapshot keeps a snapshot from expiring at the server until stop is called, even while
// nothing is read because w is slow. The snapshot must have at least two pairs.
func (c *Client) keepSnapshot(ctx context.Context, snapshot uint64, every time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var keeper sync.WaitGroup
	keeper.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				// The first pair is not the last, so this request does not end the snapshot. If it
				// fails, so will the next piece.
				_, _ = c.backupPiece(ctx, snapshot, 1, nil)
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		keeper.Wait()
	}
}

// backUp reads and writes one piece.
func (c *Client) backUp(ctx context.Context, b *backupWriter, snapshot uint64, from []byte) (next []byte, err error) {
	a, err := c.backupPiece(ctx, snapshot, backupChunkBytes, from)
	if err != nil {
		return nil, err
	}
	if err := b.put(a.Pairs); err != nil {
		return nil, c.backupError(err)
	}
	return a.Next, nil
}

// confirmBackup reads the last chunk of p again and returns where the rest begins. Another store
// may use the same number for a snapshot. The same pairs show that this is the right one.
func (c *Client) confirmBackup(ctx context.Context, p *BackupPosition) (next []byte, err error) {
	gone := c.backupError(fmt.Errorf("%w: the server has a store that differs", ErrSnapshotGone))
	if p.snapshot == 0 {
		return nil, c.backupError(fmt.Errorf("%w: the backup was made without a server", ErrSnapshotGone))
	}
	rest := p.chunk
	if len(rest) > 0 {
		key, _, _, err := wire.CutPair(rest)
		if err != nil {
			return nil, c.backupError(err)
		}
		next = key
	}
	for len(rest) > 0 {
		// Ask for no more than that: the server drops the snapshot when its end has been read.
		a, err := c.backupPiece(ctx, p.snapshot, len(rest), next)
		if err != nil {
			return nil, err
		}
		same := false
		if rest, same = bytes.CutPrefix(rest, a.Pairs); !same || len(a.Next) == 0 && len(rest) > 0 {
			return nil, gone
		}
		next = a.Next
	}
	return next, nil
}

// backupPiece asks for about size bytes of pairs of a snapshot; 0 is a new one.
func (c *Client) backupPiece(ctx context.Context, snapshot uint64, size int, from []byte) (wire.KVBackup, error) {
	cl, err := c.do(ctx, &wire.KVRequest{Type: wire.TypeBackup, Snapshot: snapshot, Max: uint32(size), Key: from})
	if err != nil {
		return wire.KVBackup{}, err
	}
	defer cl.recycle()
	record := cl.record
	cl.record = nil // the pairs alias it
	a, err := wire.ParseKVBackup(record, uint32(size))
	switch {
	case err != nil:
	case a.Status == wire.BackupGone:
		err = ErrSnapshotGone
	case a.Status == wire.BackupTooMany:
		err = fmt.Errorf("%w: other backups are under way or were cut off; try again in a minute", ErrTooManySnapshots)
	case a.Status == wire.BackupFailed:
		err = ErrBackupFailed
	case snapshot != 0 && a.Snapshot != snapshot:
		err = fmt.Errorf("%w: an answer for snapshot %d instead of %d", wire.ErrBadRecord, a.Snapshot, snapshot)
	default:
		err = checkRange(a.Next, a.Pairs, from, nil)
	}
	return a, cl.bad(err)
}

// hungUp returns ErrNoBackups with err if err says that the server has closed the connection upon
// the first request, and the server still answers others. A server that has ended may support
// backups.
func (c *Client) hungUp(ctx context.Context, err error) error {
	var op *OpError
	if !errors.As(err, &op) || !op.Sent || !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		return err
	}
	short, cancel := context.WithTimeout(ctx, stillThereTime)
	defer cancel()
	again, dialErr := c.connect(short)
	switch {
	case dialErr == nil:
		again.close()
	case ctx.Err() == nil && errors.Is(dialErr, context.DeadlineExceeded): // it is busy with others
	default:
		return err
	}
	return &OpError{Op: op.Op, Addr: op.Addr, Sent: op.Sent, Err: fmt.Errorf("%w: %w", ErrNoBackups, op.Err)}
}

// backupError returns the error of a backup that failed on this side.
func (c *Client) backupError(err error) error {
	return &OpError{Op: opName(wire.TypeBackup), Addr: c.addr, Err: err}
}

// checkRange returns an error unless next and pairs answer from and end: the keys ascend, stay
// within the range, and next comes later. Otherwise a bad server could keep a loop running in
// circles.
//
// It accepts a key that equals end, because the original server returns it.
func checkRange(next, pairs, from, end []byte) error {
	if len(next) > 0 && bytes.Compare(next, from) <= 0 {
		return fmt.Errorf("%w: the range from %q continues at %q", wire.ErrBadRecord, from, next)
	}
	least, first := from, true
	for rest := pairs; len(rest) > 0; {
		key, _, tail, err := wire.CutPair(rest)
		if err != nil {
			return err
		}
		if c := bytes.Compare(key, least); c < 0 || c == 0 && !first {
			return fmt.Errorf("%w: the range from %q has %q out of order", wire.ErrBadRecord, from, key)
		}
		if len(next) > 0 && bytes.Compare(key, next) >= 0 && !bytes.Equal(key, end) {
			return fmt.Errorf("%w: the range from %q to %q has %q", wire.ErrBadRecord, from, next, key)
		}
		least, first, rest = key, false, tail
	}
	return nil
}
