package kivaloo

import (
	"errors"
	"hash"
	"io"
)

// BackupPosition is how far an interrupted backup got.
type BackupPosition struct {
	snapshot uint64
	offset   int64
	pairs    uint64
	complete bool
	chunk    []byte    // pairs of the last whole chunk
	sum      hash.Hash // of everything up to offset
}

// FindBackupPosition reads part of a backup and returns the position from which it can be
// continued, see BackupOptions. Anything damaged or cut off, and everything after it, must be
// written again. An error wraps ErrBadBackup if not even the beginning is there.
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

// Offset returns how many bytes of the input are good. The rest must be written from there.
func (p *BackupPosition) Offset() int64 { return p.offset }

// Pairs returns how many pairs are in these bytes.
func (p *BackupPosition) Pairs() int64 { return int64(p.pairs) }

// Complete reports whether the backup is complete, so that nothing is left to do.
func (p *BackupPosition) Complete() bool { return p.complete }
