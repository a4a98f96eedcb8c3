package tree

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"

	"kivaloo/actors"
	"kivaloo/disk"
)

// Opening a store means finding the last tree that was completely written.
//
// A root is the last page of an append. If the machine stopped during it, any of its
// blocks may be missing or hold rubbish, the root included; but the append before it had been
// synced. So: scan back for a root; check every page of its tree that can be of the same append: those behind the root
// before it or, where there is a seal, behind what that says; if one is bad, nobody was told that
// this tree is durable, and the root before it is the one. What the journal says since that tree
// was made is then replayed on it: see replay.go.
//
// Nobody was told, unless there is evidence that the append was durable; then a bad page is damage that came later. The root
// stays, and only those who need the page fail. Evidence is
//
//	a checksum that does not fit       the block store takes checksums of what is durable
//	the tree before it has been freed  that happens when the root is durable

// errNoRoot: a store that has blocks, but no tree.
var errNoRoot = fmt.Errorf("%w: no root of a tree in it", disk.ErrCorrupt)

// Open reads the tree in a store, making an empty one if the store has never been
// written. The store stays the caller's to close.
func Open(store disk.Store, cfg Config) (*Tree, error) {
	s, err := look(store, cfg)
	if err != nil {
		return nil, err
	}
	return s.open(store)
}

// start is what a tree starts from.
type start struct {
	cfg   Config // with every default filled in
	root  Root
	fresh bool // there is no root, because nothing was ever stored
}

// look finds out what there is in a store. It changes nothing.
func look(store disk.Store, cfg Config) (start, error) {
	s := start{cfg: cfg}
	info := store.Info()
	if info.BlockSize < disk.MinBlockSize || info.BlockSize > disk.MaxBlockSize {
		return s, fmt.Errorf("block size %d is not between %d and %d", info.BlockSize, disk.MinBlockSize, disk.MaxBlockSize)
	}
	if info.Next >= maxBlock {
		return s, fmt.Errorf("%w: next block is %d", disk.ErrCorrupt, info.Next)
	}
	var err error
	if s.cfg, err = cfg.withDefaults(info.BlockSize); err != nil {
		return s, err
	}
	if s.cfg.ReadOnly {
		s.cfg.StorageCost = 0
	}
	if s.cfg.StorageCost == 0 {
		s.cfg.MaxSpread = 0 // no cleaning means none
	}
	s.root, err = FindRoot(store, s.cfg.Log)
	if !errors.Is(err, errNoRoot) {
		return s, err
	}
	if info.Next > 0 {
		blank, blankErr := isBlank(store)
		if blankErr != nil {
			return s, blankErr
		}
		if !blank || !s.cfg.AdoptBlank {
			return s, err
		}
	}
	if s.cfg.ReadOnly {
		return s, err
	}
	s.fresh = true
	return s, nil
}

// open makes the tree that starts from s.
func (s *start) open(store disk.Store) (*Tree, error) {
	info := store.Info()
	if s.fresh {
		return s.create(store)
	}
	t, err := newTree(s.cfg, info.BlockSize, info.Next, s.root)
	if err != nil {
		return nil, err
	}
	t.torn = info.Next != s.root.Block+1 && s.cfg.JournalBytes > 0
	if err := t.replay(store); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// create writes the first root.
func (s *start) create(store disk.Store) (*Tree, error) {
	info, cfg := store.Info(), s.cfg
	pages := firstPages(info)
	next, err := createRoot(store, info.Next, pages)
	if err != nil {
		return nil, err
	}
	block := info.Next + uint64(len(pages)) - 1
	found := Root{Block: block, Oldest: block, Nodes: 1, Page: pages[len(pages)-1], ReplayFrom: next}
	if next != block+1 {
		cfg.StorageCost, cfg.MaxSpread = 0, 0 // block numbers are sparse: distances say nothing about garbage
	}
	return newTree(cfg, info.BlockSize, next, found)
}

// isBlank reports whether a store has only a few blocks, all zeros: what power cuts during the very first append,
// of one page, can leave. Nothing was ever acknowledged in it.
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
		if !ok || !allZero(p) {
			return false, nil
		}
	}
	return true, nil
}

func allZero(p []byte) bool { return len(bytes.TrimLeft(p, "\x00")) == 0 }

// newTree returns a tree of which the root is given.
func newTree(cfg Config, blockSize int, next uint64, root Root) (*Tree, error) {
	c, err := newCache(blockSize, cfg.CachePages)
	if err != nil {
		return nil, err
	}
	t := &Tree{cfg: cfg, cache: c, next: next, faults: make(map[uint64]bool)}
	t.clean.marked = make(map[uint64]bool)
	t.leases = make(map[uint64]*lease)
	if cfg.ReadOnly {
		t.writes.refusal = ErrReadOnly
	}
	l, err := parseLayout(root.Page)
	if err != nil {
		return nil, err
	}
	id, nd, err := c.alloc(l.height)
	if err != nil {
		c.close()
		return nil, err
	}
	copy(c.page(nd), root.Page)
	c.index(nd, l)
	nd.oldest, nd.state = root.Oldest, frameClean
	nd.setBlock(root.Block)
	nd.pins += 2 // as the root of the committed tree, and of the saved one
	c.table[nd.block] = id
	t.committed = version{root: id, nodes: l.nodes, height: l.height, next: root.ReplayFrom}
	t.tip, t.checkpoint.saved = t.committed, t.committed
	t.clean.changed = t.next
	t.clean.used = t.next - t.oldestOfRestart()
	return t, nil
}

func emptyRoot(blockSize int) []byte {
	p := make([]byte, blockSize)
	putHead(p, 0, 0, 0, true)
	putNodes(p, 1)
	return p
}

// firstPages returns the pages of a new store: an empty root, all of it in one sector. Behind blocks
// of zeros it needs a seal, or it would be taken for a part of the append that left them.
func firstPages(info disk.Info) [][]byte {
	root := emptyRoot(info.BlockSize)
	if info.Next == 0 || !sealed(info.BlockSize) {
		return [][]byte{root}
	}
	pages := [][]byte{make([]byte, info.BlockSize), root}
	putSeal(pages, 0, info.Next)
	return pages
}

func createRoot(store disk.Store, at uint64, pages [][]byte) (next uint64, err error) {
	next, ok, err := disk.AppendPages(store, at, pages)
	switch {
	case err != nil:
		return 0, fmt.Errorf("write the first page: %w", err)
	case !ok:
		return 0, errors.New("write the first page: refused: something else writes to the store")
	}
	return next, nil
}

// Root is the root page of a tree in a store.
type Root struct {
	Block  uint64
	Oldest uint64 // lowest block of any leaf
	Nodes  uint64 // pages of the tree
	Height int
	Page   []byte

	// ReplayFrom is the first block that may have to be replayed on the tree.
	ReplayFrom uint64
	record     bool // the block before it is a checkpoint record

	// Skipped is what FindRoot had to pass over: damage behind the root, or newer trees that are not
	// whole. It is what a crash can leave, but not what a clean stop does.
	Skipped []Fault
}

// FindRoot returns the root of the last tree that is whole. What it has to pass over
// is said in log.
func FindRoot(store disk.Store, log *slog.Logger) (Root, error) {
	info := store.Info()
	if info.Last == disk.NoBlock {
		return Root{}, errNoRoot
	}
	s := rootSearch{store: store}
	root, ok, err := s.scanBack(info.Last)
	for err == nil && ok {
		var before Root
		if root.Block > 0 {
			before, ok, err = s.scanBack(root.Block - 1)
		} else {
			ok = false
		}
		if err != nil {
			break
		}
		since := uint64(0)
		if ok {
			since = before.Block + 1
		}
		bad := s.checkSince(root, since)
		if bad == nil {
			bad = checkRecord(store, root, before.ReplayFrom) // from the first block on, if there was no root before
		}
		if errors.Is(bad, disk.ErrRot) && before.Page != nil {
			// The tree is good. To replay what it knows already does no harm.
			root.ReplayFrom, bad = before.ReplayFrom, nil
		}
		if bad != nil && s.acknowledged(bad, root, before) {
			log.Error("damaged store: requests that need this block fail; restore the store from a backup", "root", root.Block, "err", bad)
			bad = nil
		}
		if bad == nil {
			if err := s.checkBehind(root); err != nil {
				return Root{}, err
			}
			root.Skipped = s.behind(root.Block)
			logSkipped(root.Skipped, log)
			return root, nil
		}
		if !errors.Is(bad, disk.ErrCorrupt) {
			return Root{}, fmt.Errorf("check the last commit, of root %d: %w", root.Block, bad) // which says nothing about what was written
		}
		s.skip(root.Block, fmt.Errorf("the tree of this root is not whole, so it was never acknowledged: %w", bad))
		root = before
	}
	if err != nil {
		return Root{}, err
	}
	logSkipped(s.skipped, log)
	err = fmt.Errorf("%w (%d blocks from %d back); is this a store of key-value pairs, and is its block size %d?",
		errNoRoot, info.Last+1, info.Last, info.BlockSize)
	if len(s.skipped) > 0 {
		err = fmt.Errorf("%w If so, restore it from a backup; the last block that is no good: %w", err, s.skipped[0])
	}
	return Root{}, err
}

// rootSearch is the search for the last root.
type rootSearch struct {
	store   disk.Store
	skipped []Fault  // what was passed over, from the end of the store backwards
	rotten  []uint64 // blocks among it of which the checksum does not fit
}

// acknowledged reports whether the tree of root, in which bad was found, is known to have been durable: the tree before it, of which
// the root is given if it was found, has been freed.
func (s *rootSearch) acknowledged(bad error, root, before Root) bool {
	if !errors.As(bad, new(*BlockError)) || !errors.Is(bad, disk.ErrCorrupt) || len(s.behind(root.Block)) > 0 {
		return false
	}
	first := uint64(0) // of the tree before: where a store begins
	if before.Page != nil {
		first = before.Oldest
	}
	return s.isGone(first) && !s.isGone(root.Oldest)
}

// isGone reports whether a block does not exist any more.
func (s *rootSearch) isGone(block uint64) bool {
	ok, err := disk.ReadBlock(s.store, block, make([]byte, s.store.Info().BlockSize))
	return err == nil && !ok
}

// checkBehind returns an error if there is a block behind the root that was durable, and may have been a root, or a batch that
// was acknowledged.
func (s *rootSearch) checkBehind(root Root) error {
	for _, block := range s.rotten {
		if block < root.Block {
			continue
		}
		at := Root{Block: block}
		if err := s.readRecord(&at); err != nil {
			return err
		}
		if at.record {
			continue // it was a root, and the journal has all that was in its tree
		}
		before, err := hasBatch(s.store, root.ReplayFrom, block)
		if err != nil {
			return err
		}
		after, err := hasBatch(s.store, block+1, s.store.Info().Next)
		if err != nil {
			return err
		}
		if before && after {
			continue // replaying finds out if a batch is missing
		}
		return fmt.Errorf("%w, and what was in it is not known; the last root before it is block %d: "+
			"restore the store from a backup", &BlockError{block, disk.ErrRot}, root.Block)
	}
	return nil
}

// skip notes that something cannot be used.
func (s *rootSearch) skip(block uint64, why error) {
	if errors.Is(why, disk.ErrRot) {
		s.rotten = append(s.rotten, block)
	}
	if len(s.skipped) < maxReportedFaults {
		s.skipped = append(s.skipped, Fault{Block: block, Path: "behind the root", Err: why})
	}
}

// behind returns what was passed over behind a root. What is before it has been dealt
// with by an earlier start.
func (s *rootSearch) behind(root uint64) []Fault {
	n := 0
	for n < len(s.skipped) && s.skipped[n].Block > root {
		n++
	}
	return s.skipped[:n]
}

func logSkipped(skipped []Fault, log *slog.Logger) {
	for _, f := range skipped {
		log.Warn("passed over while looking for the root", "block", f.Block, "why", f.Err)
	}
}

// scanBack returns the first root at or before block from. Pages that are none are
// left over from an append that was cut short; each is passed over.
func (s *rootSearch) scanBack(from uint64) (Root, bool, error) {
	window := newWindow(s.store)
	gap := 0
	for at := from; ; {
		n := int(min(uint64(len(window.ops)), at+1))
		window.read(at+1-uint64(n), n)
		for i := n - 1; i >= 0; i-- {
			op := &window.ops[i]
			switch {
			case op.Err != nil && !errors.Is(op.Err, disk.ErrCorrupt):
				return Root{}, false, fmt.Errorf("look for the root: %w", op.Err)
			case op.Err == nil && !op.OK:
				if gap++; gap > maxScanGap {
					return Root{}, false, nil
				}
				continue
			}
			gap = 0
			root, isRoot, err := rootIn(op)
			switch {
			case err != nil:
				s.skip(op.Block, err)
			case isRoot:
				err := s.readRecord(&root)
				return root, err == nil, err
			}
		}
		if at < uint64(n) {
			return Root{}, false, nil
		}
		at -= uint64(n)
		window.grow()
	}
}

// readRecord notes in root what the checkpoint record before it says, if there is one.
func (s *rootSearch) readRecord(root *Root) error {
	root.ReplayFrom = root.Block + 1
	if root.Block == 0 {
		return nil
	}
	p := make([]byte, s.store.Info().BlockSize)
	ok, err := disk.ReadBlock(s.store, root.Block-1, p)
	if err != nil && !errors.Is(err, disk.ErrCorrupt) {
		return fmt.Errorf("look for a checkpoint record: %w", err)
	}
	if err != nil || !ok || !isJournal(p) {
		return nil // whether it has to be something else is for checkSince
	}
	j, err := parseJournal(root.Block-1, p)
	if err == nil && j.kind == journalCheckpoint && j.replayFrom() <= root.Block {
		root.ReplayFrom, root.record = j.replayFrom(), true
	}
	return nil
}

// rootIn returns the root that op has read, if it is one.
func rootIn(op *disk.Op) (Root, bool, error) {
	if op.Err != nil {
		return Root{}, false, op.Err
	}
	if isJournal(op.Buf) {
		_, err := parseJournal(op.Block, op.Buf)
		return Root{}, false, err
	}
	h, err := parseHead(op.Buf)
	if err != nil || !h.root {
		return Root{}, false, err
	}
	root, err := readRoot(op.Block, op.Buf)
	return root, err == nil, err
}

// readRoot checks a root page by itself.
func readRoot(block uint64, p []byte) (Root, error) {
	w := want{block: block, root: true}
	l, err := w.verify(p)
	if err != nil {
		return Root{}, err
	}
	r := Root{Block: block, Oldest: block, Nodes: l.nodes, Height: l.height, Page: bytes.Clone(p)}
	if l.height > 0 {
		for i := range l.keys + 1 {
			r.Oldest = min(r.Oldest, getRecord(p[l.keysEnd+i*recordBytes:]).oldest)
		}
	}
	return r, nil
}

// checkSince verifies the pages of a tree that are at block since or behind it, and their seal, and
// that its oldest leaf is still there. A block that was whole once is no sign of a commit that was cut short.
func (s *rootSearch) checkSince(root Root, since uint64) error {
	store := s.store
	var bad error
	if first, ok, err := sealOf(store, root); err != nil && !errors.Is(err, disk.ErrRot) {
		return err
	} else if ok && first >= since && first < root.Block {
		since = first // what is before was of appends that had been synced
	}
	walk := walker{
		store: store,
		since: since,
		fault: func(block uint64, _ string, err error) bool {
			if errors.Is(err, disk.ErrRot) {
				return true // it was there
			}
			bad = &BlockError{block, err}
			return false
		},
	}
	walk.tree(root)
	if bad == nil {
		bad = checkSeal(store, root, since)
	}
	if errors.Is(bad, disk.ErrRot) {
		bad = nil // the append with this block in it was durable
	}
	if bad != nil || root.Oldest >= since {
		return bad
	}
	// Whether it can be read, and is good, matters only to those who need it.
	if s.isGone(root.Oldest) {
		return fmt.Errorf("%w: its oldest leaf, block %d, does not exist any more", disk.ErrCorrupt, root.Oldest)
	}
	return nil
}

// errHasBatch ends a look for batches at the first.
var errHasBatch = fmt.Errorf("%w: the checkpoint record before the root is damaged, and there are batches that it may tell to replay", disk.ErrCorrupt)

// checkRecord returns an error if a root that has no checkpoint record must have had one. A crash can have left the root and not
// the record; that shows by the block in which it should be, and matters if there are batches that the tree may not know: those from
// block first on, where replay would start if the root were not there.
func checkRecord(store disk.Store, root Root, first uint64) error {
	if root.record || root.Block <= first {
		return nil
	}
	p := make([]byte, store.Info().BlockSize)
	ok, err := disk.ReadBlock(store, root.Block-1, p)
	switch {
	case err != nil && !errors.Is(err, disk.ErrCorrupt):
		return err
	case err == nil && !ok:
		return nil // blocks are numbered with gaps
	case err == nil && isJournal(p):
		_, err = parseJournal(root.Block-1, p)
	case err == nil:
		_, err = parseHead(p)
	}
	if err == nil {
		return nil
	}
	has, readErr := hasBatch(store, first, root.Block)
	switch {
	case readErr != nil:
		return readErr
	case has:
		return fmt.Errorf("%w: %w", errHasBatch, err)
	}
	return nil
}

// hasBatch reports whether there is a whole batch that changes something in the blocks from first on and before end.
func hasBatch(store disk.Store, first, end uint64) (bool, error) {
	r := journalReader{store: store, batch: func(payload []byte) error {
		if len(payload) > 0 {
			return errHasBatch
		}
		return nil
	}}
	err := r.read(first, end)
	if errors.Is(err, errHasBatch) {
		return true, nil
	}
	return false, err
}

// window reads several blocks of a store at once. It starts with one, for most often that is
// the root.
type window struct {
	store disk.Store
	ops   []disk.Op
	bell  *actors.Waiter
	done  *disk.Completions
}

func newWindow(store disk.Store) *window {
	w := &window{store: store, bell: actors.NewWaiter()}
	w.done = disk.NewCompletions(&w.bell.Doorbell)
	w.resize(1)
	return w
}

func (w *window) resize(n int) {
	size := w.store.Info().BlockSize
	buf := make([]byte, n*size)
	w.ops = make([]disk.Op, n)
	for i := range w.ops {
		w.ops[i].Buf = buf[i*size : (i+1)*size]
	}
}

func (w *window) grow() {
	if n := len(w.ops); n < scanWindow {
		w.resize(2 * n)
	}
}

// read reads n blocks from first on into the first n of ops.
func (w *window) read(first uint64, n int) {
	for i := range n {
		w.ops[i] = disk.Op{Kind: disk.Read, Block: first + uint64(i), Buf: w.ops[i].Buf, Done: w.done}
		if i > 0 {
			w.ops[i-1].SetNext(&w.ops[i])
		}
	}
	w.store.Submit(&w.ops[0], &w.ops[n-1])
	for back := 0; back < n; {
		for op := w.done.Drain(); op != nil; op = op.Link.Next() {
			back++
		}
		if back < n {
			w.bell.Wait(-1, w.done.Empty)
		}
	}
}
