package kivaloo

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"kivaloo/wire"
)

// Backup implements Store. It cannot be resumed after an error.
func (db *DB) Backup(ctx context.Context, w io.Writer, o BackupOptions) error {
	if o.Resume != nil {
		return badOption("BackupOptions.Resume", "a DB cannot continue a backup")
	}
	s, err := db.snapshot(ctx, "backup")
	if err != nil {
		return err
	}
	defer s.Close()
	b, err := newBackupWriter(w, 0)
	if err == nil {
		err = b.fill(ctx, dbSource{db, s.at}, query{}, &o)
	}
	if err != nil {
		return db.opError("backup", false, err)
	}
	return nil
}

// Backup implements Store. After an error w has the beginning of a backup, and the server keeps the
// snapshot until a minute after its last use. FindBackupPosition tells how much of the beginning is
// good. With BackupOptions.Resume, Backup appends the rest, on the same Client or another. If that
// comes too late, the error wraps ErrSnapshotGone, and nothing has been written. A server of the
// original has no snapshots: the error wraps ErrUnsupported.
func (c *Client) Backup(ctx context.Context, w io.Writer, o BackupOptions) error {
	if o.Resume != nil && o.Resume.complete {
		return nil
	}
	if err := c.backup(ctx, w, &o); err != nil {
		return &OpError{Op: "backup", Addr: c.addr, Err: cause(err)}
	}
	return nil
}

func (c *Client) backup(ctx context.Context, w io.Writer, o *BackupOptions) error {
	at, err := c.backupLease(ctx, o)
	if err != nil {
		return err
	}
	defer at.end()
	var b *backupWriter
	var q query
	s := clientSource{c, at}
	if o.Resume == nil {
		b, err = newBackupWriter(w, at.id)
	} else {
		b = newBackupWriterAt(w, o.Resume)
		q, err = b.confirm(ctx, s, o.Resume.chunk)
	}
	if err == nil {
		err = b.fill(ctx, s, q, o)
	}
	if err == nil {
		at.release() // not earlier: the backup could still be resumed
	}
	return err
}

// backupLease returns a lease of a new snapshot, or of the one that a backup was begun with.
func (c *Client) backupLease(ctx context.Context, o *BackupOptions) (*lease, error) {
	every := cmp.Or(o.keepEvery, keepSnapshotEvery)
	switch {
	case o.Resume != nil && o.Resume.snapshot == 0:
		return nil, fmt.Errorf("%w: the backup was made without a server", ErrSnapshotGone)
	case o.Resume != nil:
		return c.holdLease(o.Resume.snapshot, every)
	}
	at, err := c.lease(ctx, every)
	if errors.Is(err, ErrUnsupported) {
		err = fmt.Errorf("%w: a backup needs snapshots, which a server of the original does not have", ErrUnsupported)
	}
	return at, err
}

// fill writes the pairs of s that match q, and the trailer.
func (b *backupWriter) fill(ctx context.Context, s source, q query, o *BackupOptions) error {
	for p, err := range readAhead(ctx, s, q) {
		if err == nil {
			err = b.put(p.list())
		}
		if err != nil {
			return err
		}
		o.progress(b.pairs, b.bytes)
	}
	if err := b.finish(); err != nil {
		return err
	}
	o.progress(b.pairs, b.bytes)
	return nil
}

// readAhead returns the pieces of s that match q. It reads each piece while the caller uses the
// previous one.
func readAhead(ctx context.Context, s source, q query) iter.Seq2[*piece, error] {
	return func(yield func(*piece, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		type read struct {
			p   *piece
			err error
		}
		reads := make(chan read) // unbuffered: one piece is in use, and the other is being read
		go func() {
			defer close(reads)
			pieces := [2]piece{{size: lastPieceBytes}, {size: lastPieceBytes}}
			for n := 0; !q.empty; n++ {
				p := &pieces[n%2]
				err := s.piece(ctx, &q, p)
				q.advance(p)
				reads <- read{p, err}
				if err != nil {
					return
				}
			}
		}()
		defer func() {
			cancel()
			for range reads { // until the goroutine has ended
			}
		}()
		for r := range reads {
			if !yield(r.p, r.err) {
				return
			}
		}
	}
}

// confirm reads chunk, the last of an interrupted backup, from s once more, and returns what comes
// after it. Another store may use the same number for one of its snapshots: the same pairs show
// that this is the one.
func (b *backupWriter) confirm(ctx context.Context, s source, chunk []byte) (q query, err error) {
	if len(chunk) > 0 {
		q.start, _, _, _ = wire.CutPair(chunk) // it has been read without an error
	}
	for rest := chunk; len(rest) > 0; {
		var p piece
		if err := s.piece(ctx, &q, &p); err != nil {
			return q, err
		}
		pairs := p.list()
		n := min(len(rest), len(pairs))
		if !bytes.Equal(rest[:n], pairs[:n]) || n < len(rest) && !p.more {
			return q, fmt.Errorf("%w: the server's store differs from the backup", ErrSnapshotGone)
		}
		if rest = rest[n:]; len(rest) == 0 {
			err = b.put(pairs[n:]) // what follows the chunk
		}
		q.advance(&p)
	}
	return q, err
}
