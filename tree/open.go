package tree

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"

	"kivaloo/disk"
	"kivaloo/tree/memtable"
	"kivaloo/tree/page"
)

// Open opens the tree in a store. It finds the last root, checks that the root's append is whole,
// and replays the commits that the tree lacks into a memtable. It reads no other page. It writes
// nothing, except an empty tree if the store is empty. The caller closes the store.
func Open(store disk.Store, cfg Config) (*Tree, error) {
	t, err := recovered(store, cfg)
	if t != nil || err != nil {
		return t, err
	}
	return created(store, cfg)
}

// recovered returns the tree in a store. It returns nil if nothing was ever stored and cfg allows a
// new tree. It changes nothing.
func recovered(store disk.Store, cfg Config) (*Tree, error) {
	info := store.Info()
	cfg, err := cfg.checked(info)
	if err != nil {
		return nil, err
	}
	root, err := FindRoot(store, cfg.Log)
	if errors.Is(err, errNoRoot) {
		neverWritten := info.Next == 0 || info.Last == disk.NoBlock && cfg.AdoptBlank
		if !neverWritten {
			if blank, blankErr := isBlank(store); blankErr != nil || !blank || !cfg.AdoptBlank {
				return nil, cmp.Or(blankErr, err)
			}
		}
		if cfg.ReadOnly {
			return nil, err
		}
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t, err := newTree(cfg, info, root)
	if err != nil {
		return nil, err
	}
	if err := t.replay(store, root.commits); err != nil {
		t.Close()
		return nil, fmt.Errorf("replay the journal: %w", err)
	}
	return t, nil
}

// created writes an empty tree into a store that never held anything.
func created(store disk.Store, cfg Config) (*Tree, error) {
	cfg, err := cfg.checked(store.Info())
	if err != nil {
		return nil, err
	}
	root, err := createRoot(store)
	if err != nil {
		return nil, err
	}
	return newTree(cfg, store.Info(), root)
}

// checked validates c for a store and fills in every default.
func (c Config) checked(info disk.Info) (Config, error) {
	if info.BlockSize < disk.MinBlockSize || info.BlockSize > disk.MaxBlockSize {
		return c, fmt.Errorf("block size %d is not between %d and %d", info.BlockSize, disk.MinBlockSize, disk.MaxBlockSize)
	}
	if info.Next >= maxBlock {
		return c, fmt.Errorf("%w: next block is %d", disk.ErrCorrupt, info.Next)
	}
	c, err := c.withDefaults(info.BlockSize)
	if c.StorageCost == 0 {
		c.MaxSpread = 0 // cleaning is off altogether
	}
	return c, err
}

// createRoot writes the first page of an empty store.
func createRoot(store disk.Store) (Root, error) {
	info := store.Info()
	root := page.EmptyRoot(info.BlockSize) // all of it is in one sector
	pages := [][]byte{root}
	if info.Last != disk.NoBlock {
		// Behind blocks of zeros, the root alone would be taken for a part of the append that left
		// them.
		pages = [][]byte{make([]byte, info.BlockSize), root}
		page.PutSeal(pages, 0, info.Next, noBlock)
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
	r.start = start{seq: firstAfter(at), block: at + 1}
	return r, err
}

// isBlank reports whether a store has only a few blocks, all zeros. Power cuts during the first
// append, of one page, can leave them. Nothing was ever acknowledged in such a store.
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
	t.pager = pager{cache: c, submit: t.submit, fault: t.fault, doubtful: root.doubtful}
	t.reader = reader{t: t, cache: c, pager: &t.pager, replies: &t.replies, view: &t.view}
	t.writer = writer{t: t, head: noBlock}
	t.flush.t = t
	t.space = space{t: t, room: info.Room}
	t.clean = cleaner{t: t, badPages: make(map[uint64]badPage)}
	if cfg.ReadOnly {
		t.refusal = ErrReadOnly
	}
	if t.view.tree, err = c.addRoot(root); err != nil {
		c.close()
		return nil, err
	}
	table, err := t.pool.New(t.memtableBytes(), t.seed)
	if err != nil {
		c.close()
		return nil, err
	}
	t.view.tables = []*memtable.Table{table}
	a := &t.appends
	a.starts, a.durable = []start{{}}, root.start
	a.next, a.last, a.seq = info.Next, root.last, root.lastSeq
	switch {
	case root.last != root.Block:
		a.end = endsInCommit
	case root.Partial:
		a.end = endsInPartial
	case info.Next == root.Block+1:
		a.end = endsComplete
	}
	t.changes = changeLog{last: a.seq, limit: int(min(t.memory()/watchMemoryShare, maxWatchBytes))}
	t.rootID = cmp.Or(root.id, newRootID())
	if root.recorded {
		t.beforeRoot = 2
	}
	t.clean.lastChange, t.clean.flushAt = info.Next, info.Next
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
