package tree

import (
	"context"
	"errors"
	"fmt"

	"kivaloo/disk"
)

// journalReader puts the pieces of the journal together to the batches that were acknowledged.
type journalReader struct {
	store disk.Store
	batch func(payload []byte) error // takes the records of a batch, in order; they are the reader's again afterwards

	seq     uint64 // the highest that was seen
	lastSeq uint64 // of the last whole batch
	batches int
	blocks  uint64 // of whole batches

	part    []byte // payload of the batch at hand, as far as it has been read
	partSeq uint64
	pieces  uint32 // read of it; 0: there is none
	of      uint32
	cut     uint64 // pieces of batches that are not whole, and blocks that are no good
}

// read reads blocks from first on and before end.
func (r *journalReader) read(first, end uint64) error {
	w := newWindow(r.store)
	w.resize(scanWindow)
	for at := first; at < end; {
		n := int(min(uint64(len(w.ops)), end-at))
		w.read(at, n)
		for i := range n {
			if err := r.block(&w.ops[i]); err != nil {
				return fmt.Errorf("block %d: %w", w.ops[i].Block, err)
			}
		}
		at += uint64(n)
	}
	r.drop()
	return nil
}

// block takes in one block. What is neither a piece of the journal nor a checkpoint record is a page, or was never
// acknowledged.
func (r *journalReader) block(op *disk.Op) error {
	if op.Err != nil && !errors.Is(op.Err, disk.ErrCorrupt) {
		return op.Err
	}
	if op.Err == nil && op.OK && isJournal(op.Buf) {
		j, err := parseJournal(op.Block, op.Buf)
		if err == nil {
			return r.take(&j)
		}
		r.cut++
	}
	r.drop()
	return nil
}

// drop gives up the batch at hand: it was cut short by a crash, or a sequence number will be missed.
func (r *journalReader) drop() { r.cut, r.pieces = r.cut+uint64(r.pieces), 0 }

// take puts a piece to those before it. A batch that is not whole was cut short by a crash, and is passed over.
func (r *journalReader) take(j *journalBlock) error {
	if j.kind == journalCheckpoint {
		r.seq = max(r.seq, j.seq)
		r.drop()
		return nil
	}
	switch {
	case j.piece == 0:
		r.drop()
		r.part, r.partSeq, r.of = r.part[:0], j.seq, j.pieces
	case r.pieces != j.piece || r.partSeq != j.seq || r.of != j.pieces:
		r.drop()
		r.cut++
		return nil
	}
	r.part = append(r.part, j.payload...)
	if r.pieces++; r.pieces < r.of {
		return nil
	}
	r.pieces = 0
	if r.batches > 0 && r.partSeq != r.lastSeq+1 {
		// A batch gets a number only after the one before it was acknowledged.
		return fmt.Errorf("%w: batch %d follows batch %d: what is between has been acknowledged, and cannot be read", disk.ErrCorrupt, r.partSeq, r.lastSeq)
	}
	r.lastSeq, r.seq = r.partSeq, max(r.seq, r.partSeq)
	r.batches++
	r.blocks += uint64(r.of)
	return r.batch(r.part)
}

// Journal is what a store holds behind its last root.
type Journal struct {
	From    uint64 // the first block that is to be replayed
	Batches int    // whole ones, which were acknowledged
	Changes int    // in them
	Blocks  uint64 // that they take
	Cut     uint64 // blocks of appends that were cut short, and never acknowledged
	Behind  uint64 // blocks behind the root, those of checkpoints included
	Kept    bool   // whoever wrote the root, or what is behind it, kept a journal
}

// CheckJournal reads the journal that an opening would replay on the tree of root, which FindRoot has found, and
// checks all that is known of it. It changes nothing. An error that is disk.ErrCorrupt says what is wrong with the journal.
// What a crash has cut short is not. Where a journal is kept, what FindRoot has passed over is either cut short, or missed here.
func CheckJournal(ctx context.Context, store disk.Store, root Root) (Journal, error) {
	info := store.Info()
	j := Journal{From: root.ReplayFrom, Behind: info.Next - root.Block - 1}
	r := journalReader{store: store}
	var changes []outcome
	r.batch = func(payload []byte) error {
		var err error
		changes, err = cutRecords(changes[:0], payload)
		j.Changes += len(changes)
		return errors.Join(err, ctx.Err())
	}
	err := r.read(root.ReplayFrom, info.Next)
	j.Batches, j.Blocks, j.Cut = r.batches, r.blocks, r.cut
	j.Kept = root.record || r.batches > 0 || r.cut > 0
	return j, err
}

// Fold puts what the journal of a store says into pages, so that the last block is a root, as after a stop in order: then
// those who know nothing of a journal can open it. Nothing else may write to the store.
func Fold(store disk.Store, cfg Config) error {
	cfg.JournalBytes = 0
	t, err := Open(store, cfg)
	if err != nil {
		return err
	}
	return t.fold(store)
}

// FoldDir is Fold of the store in a directory, which there has to be. See OpenDir.
func FoldDir(dir string, o disk.Options, cfg Config) error {
	cfg.JournalBytes = 0
	store, t, err := OpenDir(dir, o, 0, func(int) (Config, error) { return cfg, nil })
	if err != nil {
		return err
	}
	return errors.Join(t.fold(store), store.Close())
}

// fold ends t, which has just been opened, so that the last block is a root.
func (t *Tree) fold(store disk.Store) error {
	log := t.cfg.Log
	t.Close()
	root, err := FindRoot(store, log)
	next := store.Info().Next
	if err != nil || root.Block+1 == next {
		return err
	}
	// Nothing was to be replayed, but something that was never acknowledged is behind the root. A root does not say
	// where it is: the same again is a root of the same tree.
	pages := [][]byte{root.Page}
	if size := store.Info().BlockSize; sealed(size) {
		pages = [][]byte{make([]byte, size), root.Page}
		putSeal(pages, 0, next)
	}
	_, err = createRoot(store, next, pages)
	return err
}
