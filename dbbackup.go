package kivaloo

import (
	"context"
	"io"
)

// Backup writes the store, as it is now, to w in a form that Restore reads. Changes go on
// meanwhile; what they replace is kept until Backup returns. It cannot be continued after an error.
func (db *DB) Backup(ctx context.Context, w io.Writer, o BackupOptions) error {
	if o.Resume != nil {
		return badOption("BackupOptions.Resume", "a DB cannot continue a backup")
	}
	s, err := db.snapshot(ctx, "backup")
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.backup(ctx, w, o); err != nil {
		return db.opError("backup", false, err)
	}
	return nil
}

func (s *dbSnapshot) backup(ctx context.Context, w io.Writer, o BackupOptions) error {
	b, err := newBackupWriter(w, 0)
	if err != nil {
		return err
	}
	var chunk []byte // the pairs of a piece, in wire format
	p, q := piece{size: lastPieceBytes}, query{}
	for !q.empty {
		if err := (dbSource{s.db, s.at}).piece(ctx, &q, &p); err != nil {
			return err
		}
		chunk = chunk[:0]
		for key, value := range p.db.All() {
			chunk = append(append(chunk, byte(len(key))), key...)
			chunk = append(append(chunk, byte(len(value))), value...)
		}
		q.advance(&p)
		if err := b.put(chunk); err != nil {
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
