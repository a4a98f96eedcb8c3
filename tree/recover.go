package tree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"kivaloo/disk"
	"kivaloo/tree/journal"
	"kivaloo/tree/memtable"
	"kivaloo/tree/page"
)

// Open opens the tree in a store. It finds the last root, checks that the append of the root is whole,
// and replays the commits that its tree lacks into a memtable. It reads no other page and writes
// nothing, but an empty tree if the store is empty. The caller closes the store.
func Open(store disk.Store, cfg Config) (*Tree, error) {
	o, err := look(store, cfg)
	if err != nil {
		return nil, err
	}
	return o.open(store)
}

// opening is the state that a tree starts from.
type opening struct {
	cfg   Config // with every default filled in
	root  Root
	fresh bool // there is no root, because nothing was ever stored
}

// look finds the root of a store. It changes nothing.
func look(store disk.Store, cfg Config) (opening, error) {
	o := opening{}
	info := store.Info()
	if info.BlockSize < disk.MinBlockSize || info.BlockSize > disk.MaxBlockSize {
		return o, fmt.Errorf("block size %d is not between %d and %d", info.BlockSize, disk.MinBlockSize, disk.MaxBlockSize)
	}
	if info.Next >= maxBlock {
		return o, fmt.Errorf("%w: next block is %d", disk.ErrCorrupt, info.Next)
	}
	var err error
	if o.cfg, err = cfg.withDefaults(info.BlockSize); err != nil {
		return o, err
	}
	if o.cfg.StorageCost == 0 {
		o.cfg.MaxSpread = 0 // no cleaning means none
	}
	o.root, err = FindRoot(store, o.cfg.Log)
	if !errors.Is(err, errNoRoot) {
		return o, err
	}
	if info.Next > 0 {
		if blank, blankErr := isBlank(store); blankErr != nil || !blank || !cfg.AdoptBlank {
			return o, cmp.Or(blankErr, err)
		}
	}
	if o.cfg.ReadOnly {
		return o, err
	}
	o.fresh = true
	return o, nil
}

// open makes the tree that starts from o.
func (o *opening) open(store disk.Store) (*Tree, error) {
	root := o.root
	if o.fresh {
		var err error
		if root, err = createRoot(store); err != nil {
			return nil, err
		}
	}
	t, err := newTree(o.cfg, store.Info(), root)
	if err != nil {
		return nil, err
	}
	if err := t.replay(store, root.commits); err != nil {
		t.Close()
		return nil, fmt.Errorf("replay the journal: %w", err)
	}
	return t, nil
}

// createRoot writes the first page of a store that has none.
func createRoot(store disk.Store) (Root, error) {
	info := store.Info()
	root := page.EmptyRoot(info.BlockSize) // all of it is in one sector
	pages := [][]byte{root}
	if info.Next > 0 && page.Sealed(info.BlockSize) {
		// Behind blocks of zeros it would be taken for a part of the append that left them.
		pages = [][]byte{make([]byte, info.BlockSize), root}
		page.PutSeal(pages, 0, info.Next)
	}
	_, ok, err := disk.AppendPages(store, info.Next, pages)
	switch {
	case err != nil:
		return Root{}, fmt.Errorf("write the first page: %w", err)
	case !ok:
		return Root{}, errors.New("write the first page: refused: something else writes to the store")
	}
	at := info.Next + uint64(len(pages)) - 1
	r, err := readRoot(at, root)
	r.start = start{seq: 1, block: at + 1}
	return r, err
}

// isBlank reports whether a store has only a few blocks, all zeros. Power cuts during the first append,
// of one page, can leave these. Nothing was ever acknowledged in such a store.
func isBlank(store disk.Store) (bool, error) {
	info := store.Info()
	if info.Next > maxBlankBlocks {
		return false, nil
	}
	p := make([]byte, info.BlockSize)
	for n := range info.Next {
		ok, err := disk.ReadBlock(store, n, p)
		if err != nil {
			return false, fmt.Errorf("read block %d: %w", n, err)
		}
		if !ok || !page.AllZero(p) {
			return false, nil
		}
	}
	return true, nil
}

// newTree returns the tree of a root.
func newTree(cfg Config, info disk.Info, root Root) (*Tree, error) {
	c, err := newCache(info.BlockSize, cfg.CachePages)
	if err != nil {
		return nil, err
	}
	t := &Tree{cfg: cfg, cache: c, faults: make(map[uint64]bool), leases: make(map[uint64]*lease), seed: maphash.MakeSeed()}
	t.pager = pager{cache: c, submit: t.submit, fault: t.fault}
	t.reader = reader{cache: c, pager: &t.pager, replies: &t.replies, view: &t.view}
	t.writer = writer{t: t, head: noBlock}
	t.flush.t = t
	t.clean = cleaner{t: t, marked: make(map[uint64]bool), lost: make(map[uint64]time.Duration)}
	if cfg.ReadOnly {
		t.refusal = ErrReadOnly
	}
	if t.view.tree, err = c.addRoot(root); err != nil {
		c.close()
		return nil, err
	}
	table, err := memtable.New(t.memtableBytes(), t.seed)
	if err != nil {
		c.close()
		return nil, err
	}
	t.view.tables = []*memtable.Table{table}
	a := &t.appends
	a.starts, a.durable = []start{{}}, root.start
	a.next, a.last, a.seq = info.Next, root.last, root.lastSeq
	t.rootID = cmp.Or(root.id, newRootID())
	if root.recorded {
		t.beforeRoot++
		if page.Sealed(info.BlockSize) {
			t.beforeRoot++
		}
	}
	t.clean.changed, t.clean.flushes = info.Next, [2]uint64{info.Next, 0}
	a.clean = info.Next == root.Block+1 && !root.Partial
	if info.Last != disk.NoBlock && info.Next != info.Last+1 {
		t.clean.disable()
	} else {
		t.clean.used = a.next - t.oldestOfRestart()
	}
	t.limitCache()
	return t, nil
}

// addRoot puts the root of a tree into the cache, pinned.
func (c *cache) addRoot(root Root) (version, error) {
	l, err := page.Parse(root.Page)
	if err != nil {
		return version{}, err
	}
	id, nd, err := c.alloc(l.Height)
	if err != nil {
		return version{}, err
	}
	copy(c.page(nd), root.Page)
	c.index(nd, l)
	nd.oldest, nd.state, nd.pins = root.Oldest, frameClean, 1
	nd.bounds = boundsHash(nil, nil)
	nd.setBlock(root.Block)
	c.table[nd.block] = id
	return version{root: id, nodes: l.Nodes, height: l.Height}, nil
}

// replay puts the records of commits into the newest memtable. All of them were acknowledged.
func (t *Tree) replay(store disk.Store, commits []commitAt) error {
	if len(commits) == 0 {
		return nil
	}
	a, active := &t.appends, t.active()
	changes := 0
	err := readCommits(context.Background(), store, commits, func(r journal.Record) error {
		changes++
		if r.Deleted {
			return active.Delete(active.Hash(r.Key), r.Key)
		}
		return active.Set(active.Hash(r.Key), r.Key, r.Value)
	})
	if err != nil {
		return err
	}
	active.Append()
	active.Commit()
	a.starts[0] = start{seq: commits[0].seq, block: commits[0].block}
	a.durable = a.starts[0]
	for _, c := range commits {
		a.blocks += c.pieces
	}
	t.limitCache()
	t.cfg.Log.Debug("replayed the journal", "commits", len(commits), "changes", changes, "blocks", a.blocks)
	if !t.logs() && !t.cfg.ReadOnly {
		return t.freezeRecovered()
	}
	return nil
}

// freezeRecovered flushes the replayed changes before the first commit. Commits without a journal write
// roots without a flush record, so no journal may be left to replay.
func (t *Tree) freezeRecovered() error {
	table, err := memtable.New(t.memtableBytes(), t.seed)
	if err != nil {
		return err
	}
	t.active().Freeze()
	t.view.tables = slices.Insert(t.view.tables, 0, table)
	t.appends.starts = slices.Insert(t.appends.starts, 0, start{})
	return nil
}

// readCommits calls f with each record of commits, in order, until ctx is done.
func readCommits(ctx context.Context, store disk.Store, commits []commitAt, f func(journal.Record) error) error {
	w := newWindow(store)
	w.resize(scanWindow)
	var payload []byte
	for len(commits) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		// Commits that follow each other are read together.
		n, blocks := 1, commits[0].pieces
		for n < len(commits) && commits[n].block == commits[0].block+blocks && blocks < scanWindow {
			blocks += commits[n].pieces
			n++
		}
		run := commits[:n]
		at, have := commits[0].block, 0
		for _, c := range run {
			payload = payload[:0]
			for piece := range c.pieces {
				block := c.block + piece
				if block >= at+uint64(have) {
					at = block
					have = int(min(uint64(len(w.ops)), commits[0].block+blocks-block))
					w.read(at, have)
				}
				op := &w.ops[block-at]
				if op.Err != nil {
					return fmt.Errorf("block %d: %w", block, op.Err)
				}
				b, err := journal.ParseAt(block, op.Buf)
				if err == nil && (!op.OK || b.Kind != journal.Piece || b.Seq != c.seq || b.Piece != uint32(piece)) {
					err = fmt.Errorf("%w: not piece %d of commit %d", disk.ErrCorrupt, piece+1, c.seq)
				}
				if err != nil {
					return &BlockError{block, err}
				}
				payload = append(payload, b.Payload...)
			}
			for rest := payload; len(rest) > 0; {
				r, after, err := journal.Next(rest)
				if err == nil {
					err = f(r)
				}
				if err != nil {
					return fmt.Errorf("commit %d, block %d: %w", c.seq, c.block, err)
				}
				rest = after
			}
		}
		commits = commits[n:]
	}
	return nil
}

// Journal describes the commits that the tree of the last root lacks.
type Journal struct {
	From    uint64 // the first block that is to be replayed
	Commits int    // that the tree of the root lacks
	Changes int    // in them
	Blocks  uint64 // that they take
	Cut     int    // blocks of an append that was cut short, and never acknowledged
	Behind  uint64 // blocks behind the root
	Kept    bool   // the last writer kept a journal
}

// CheckJournal reads the commits that an opening would replay on the tree of root, which FindRoot has
// found. It changes nothing.
func CheckJournal(ctx context.Context, store disk.Store, root Root) (Journal, error) {
	j := Journal{From: root.start.block, Commits: len(root.commits), Cut: len(root.Skipped),
		Behind: store.Info().Next - root.Block - 1, Kept: root.recorded || len(root.commits) > 0}
	for _, c := range root.commits {
		j.Blocks += c.pieces
	}
	err := readCommits(ctx, store, root.commits, func(journal.Record) error {
		j.Changes++
		return nil
	})
	return j, err
}
