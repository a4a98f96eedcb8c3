package kivaloo

import (
	"errors"
	"hash"
	"io"
)

// BackupPosition is how far a backup had come that was interrupted.
type BackupPosition struct {
	snapshot uint64
	offset   int64
	pairs    uint64
	complete bool
	chunk    []byte    // the pairs of the last whole chunk
	sum      hash.Hash // of all up to offset
}

// FindBackupPosition reads what there is of a backup and returns from where it can be continued,
// see BackupOptions. What it finds damaged or cut off, and all that is behind it, is left to be
// written anew. An error wraps ErrBadBackup if not even the beginning is there.
func FindBackupPosition(r io.Reader) (*BackupPosition, error) {
	in, err := newBackupReader(r)
	if err != nil {
		return nil, err
	}
	p := &BackupPosition{snapshot: in.snapshot}
	for {
		pairs, _, err := in.next()
		if err == nil {
			p.chunk = append(p.chunk[:0], pairs...)
			continue
		}
		if err != io.EOF && !errors.Is(err, ErrBadBackup) {
			return nil, err
		}
		p.complete = err == io.EOF
		p.offset, p.pairs, p.sum = in.bytes, in.pairs, in.sum
		return p, nil
	}
}

// Offset is how many bytes of what was read are good, and the place at which the rest is to be
// written.
func (p *BackupPosition) Offset() int64 { return p.offset }

// Pairs is how many pairs are in these.
func (p *BackupPosition) Pairs() int64 { return int64(p.pairs) }

// Complete reports whether the backup is whole, so that nothing is left to be done.
func (p *BackupPosition) Complete() bool { return p.complete }
