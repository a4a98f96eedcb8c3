package remote

import (
	"errors"
	"fmt"

	"kivaloo/disk"
	"kivaloo/wire"
)

// handler is what the event loop sees of a Store: one connection's answers. All its
// methods are called by the loop.
type handler Store

// Packet takes one answer. A record that is none of its request's fails that request; an
// answer to nothing means that the two ends no longer agree on anything.
func (h *handler) Packet(id uint64, record []byte) error {
	h.mu.Lock()
	op := h.pending[id]
	if op == nil {
		h.mu.Unlock()
		return fmt.Errorf("an answer to request %d, which is not outstanding", id)
	}
	delete(h.pending, id)
	err := h.complete(op, record)
	h.changed.Broadcast()
	h.mu.Unlock()
	if err != nil {
		op.Err = fmt.Errorf("block store at %s: %w", h.peer, err)
	}
	h.done.add(op)
	return nil
}

// complete fills in the outcome of op. It needs mu.
func (h *handler) complete(op *disk.Op, record []byte) (err error) {
	switch op.Kind {
	case disk.Read:
		var block []byte
		block, op.OK, err = wire.ParseLBSBlock(record, h.blockSize)
		copy(op.Buf, block)
	case disk.Append:
		op.Next, op.OK, err = wire.ParseLBSAppended(record)
		if err == nil && op.OK {
			h.info.Next, h.info.Last = op.Next, op.Block+uint64(len(op.Pages))-1
		}
	case disk.Free:
		err = wire.ParseLBSFreed(record)
		op.OK = err == nil
	}
	return err
}

// Pushed hands on what one read has completed.
func (h *handler) Pushed() { h.done.push() }

// Ended makes everything later fail.
func (h *handler) Ended(why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if why == nil && !h.closing {
		why = errors.New("it closed the connection")
	}
	h.down = fmt.Errorf("block store at %s: %w", h.peer, disk.ErrClosed)
	if why != nil {
		h.down = fmt.Errorf("%w: %w", h.down, why)
	}
	h.changed.Broadcast()
	if !h.closing {
		close(h.lost)
	}
}

// Closed makes everything outstanding fail. Not before: until now the pages of an
// Append might still have been read.
func (h *handler) Closed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, op := range h.pending {
		delete(h.pending, id)
		op.Err = h.down
		h.done.add(op)
	}
	h.done.push()
}

// chain is completed operations that go back to the same mailbox.
type chain struct {
	first, last *disk.Op
}

// add takes one more operation.
func (c *chain) add(op *disk.Op) {
	op.SetNext(nil)
	switch {
	case c.first == nil:
		c.first = op
	case c.first.Done != op.Done:
		c.push()
		c.first = op
	default:
		c.last.SetNext(op)
	}
	c.last = op
}

// push gives back what there is.
func (c *chain) push() {
	if c.first != nil {
		c.first.Done.Push(c.first, c.last)
		*c = chain{}
	}
}
