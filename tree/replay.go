package tree

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"kivaloo/disk"
	"kivaloo/tree/journal"
)

// replay puts the records of commits into the newest memtable. All of them were acknowledged.
func (t *Tree) replay(store disk.Store, commits []journal.Commit) error {
	if len(commits) == 0 {
		return nil
	}
	a, active := &t.appends, t.active()
	changes := 0
	t.changes.last = commits[0].Seq - 1
	seq := commits[0].Seq
	committed := func() { // one commit at a time, for Watch
		active.Append()
		active.Commit()
		t.changes.commit(active, active.Durable(), seq)
	}
	var touched uint64 // keeps the compiler from removing the loads of Touch
	err := readCommits(context.Background(), store, commits, func(c journal.Commit, records []journal.Record) error {
		if c.Seq != seq {
			committed()
			seq = c.Seq
		}
		changes += len(records)
		var hashes [touchGroup]uint64
		for i, r := range records {
			hashes[i] = active.Hash(r.Key)
			touched += active.Touch(hashes[i])
		}
		for i, r := range records {
			var err error
			if r.Deleted {
				err = active.Delete(hashes[i], r.Key)
			} else {
				err = active.Set(hashes[i], r.Key, r.Value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	t.writer.touched += touched
	if err != nil {
		return err
	}
	committed()
	a.starts[0] = start{seq: commits[0].Seq, block: commits[0].Block}
	a.durable = a.starts[0]
	for _, c := range commits {
		a.blocks += c.Pieces
	}
	t.limitCache()
	t.cfg.Log.Debug("replayed the journal", "commits", len(commits), "changes", changes, "blocks", a.blocks)
	if !t.logs() && !t.cfg.ReadOnly {
		return t.freezeRecovered()
	}
	return nil
}

// freezeRecovered freezes the replayed changes, so that they are flushed before the first commit.
// Commits without a journal write roots without a flush record, so no journal may be left to
// replay.
func (t *Tree) freezeRecovered() error {
	table, err := t.pool.New(t.memtableBytes(), t.seed)
	if err != nil {
		return err
	}
	t.active().Freeze()
	t.view.tables = slices.Insert(t.view.tables, 0, table)
	t.appends.starts = slices.Insert(t.appends.starts, 0, start{})
	return nil
}

// readCommits calls f with the records of each commit in order, up to touchGroup at a time, until
// ctx is done.
func readCommits(ctx context.Context, store disk.Store, commits []journal.Commit, f func(journal.Commit, []journal.Record) error) error {
	blocks := newBlockReader(store)
	var payload []byte
	records := make([]journal.Record, 0, touchGroup)
	for i, c := range commits {
		if err := ctx.Err(); err != nil {
			return err
		}
		if c.Block >= blocks.ahead { // read consecutive commits together
			blocks.ahead = c.Block
			for _, next := range commits[i:] {
				if next.Block != blocks.ahead {
					break
				}
				blocks.ahead = next.Next()
			}
		}
		var err error
		if payload, err = c.Payload(blocks.read, payload[:0]); err != nil {
			return pieceError(err)
		}
		for rest := payload; len(rest) > 0; {
			var r journal.Record
			r, rest, err = journal.Next(rest)
			if records = append(records, r); err == nil && (len(records) == touchGroup || len(rest) == 0) {
				err, records = f(c, records), records[:0]
			}
			if err != nil {
				return fmt.Errorf("commit %d, block %d: %w", c.Seq, c.Block, err)
			}
		}
	}
	return nil
}

// pieceError adds the block number to the error of a damaged piece.
func pieceError(err error) error {
	var p *journal.PieceError
	if errors.As(err, &p) && (errors.Is(err, disk.ErrCorrupt) || errors.Is(err, errNoBlock)) {
		return &BlockError{p.Block, err}
	}
	return err
}

// Journal describes the commits that the tree of the last root lacks.
type Journal struct {
	From    uint64 // first block to replay
	Commits int    // number of commits that the tree lacks
	Changes int    // number of changes in them
	Blocks  uint64 // number of blocks of them
	Cut     int    // blocks of an append that was cut short and never acknowledged
	Behind  uint64 // blocks after the root
	Kept    bool   // the last writer kept a journal
}

// CheckJournal reads the commits that Open would replay on the tree of root. root must come from
// FindRoot. It changes nothing.
func CheckJournal(ctx context.Context, store disk.Store, root Root) (Journal, error) {
	j := Journal{From: root.start.block, Commits: len(root.commits), Cut: len(root.Skipped),
		Behind: store.Info().Next - root.Block - 1, Kept: root.recorded || len(root.commits) > 0}
	for _, c := range root.commits {
		j.Blocks += c.Pieces
	}
	err := readCommits(ctx, store, root.commits, func(_ journal.Commit, records []journal.Record) error {
		j.Changes += len(records)
		return nil
	})
	return j, err
}
