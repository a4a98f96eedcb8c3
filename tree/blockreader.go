package tree

import (
	"errors"
	"fmt"

	"kivaloo/actors"
	"kivaloo/disk"
)

// blockReader reads blocks one at a time, mostly in descending order. It fetches several at once
// and keeps the last ones it fetched.
type blockReader struct {
	window *window
	// sparse means that block numbers have gaps between appends, as behind the original's lbs-s3.
	// Such a store keeps all of an append or nothing. Asking it for a block that may not exist is
	// not allowed.
	sparse bool
	ahead  uint64 // blocks before this one exist, and are read in ascending order
	last   uint64
	first  uint64
	n      int
}

func newBlockReader(store disk.Store) *blockReader {
	info := store.Info()
	return &blockReader{window: newWindow(store), last: info.Last, sparse: info.Last != disk.NoBlock && info.Next != info.Last+1}
}

// read returns a block. The slice is valid until the next call. It fails with errNoBlock if the
// block does not exist.
func (r *blockReader) read(block uint64) ([]byte, error) {
	if block < r.first || block >= r.first+uint64(r.n) {
		r.fetch(block)
	}
	op := &r.window.ops[block-r.first]
	switch {
	case errors.Is(op.Err, disk.ErrDoubtful):
		return op.Buf, nil // recovery judges the block itself
	case op.Err != nil:
		return nil, op.Err
	case !op.OK:
		return nil, fmt.Errorf("block %d: %w", block, errNoBlock)
	}
	return op.Buf, nil
}

// fetch reads a block, and neighbours that are likely to be needed next.
func (r *blockReader) fetch(block uint64) {
	most := uint64(1) // a block far from the last one is usually needed alone
	if block < r.ahead || !r.sparse && r.n > 0 && (block+1 == r.first || block == r.first+uint64(r.n)) {
		r.window.grow()
		most = uint64(len(r.window.ops))
	}
	switch {
	case block < r.ahead:
		r.first, r.n = block, int(min(most, r.ahead-block))
	case most > 1 && block == r.first+uint64(r.n) && block <= r.last:
		r.first, r.n = block, int(min(most, r.last-block+1))
	default:
		r.n = int(min(most, block+1))
		r.first = block + 1 - uint64(r.n)
	}
	r.window.read(r.first, r.n)
}

// window reads several blocks of a store at once.
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

// read reads n blocks, starting at first, into the first n ops.
func (w *window) read(first uint64, n int) {
	for i := range n {
		w.ops[i] = disk.Op{Kind: disk.Read, Block: first + uint64(i), Buf: w.ops[i].Buf, Done: w.done, AsIs: true}
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
