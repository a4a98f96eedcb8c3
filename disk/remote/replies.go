package remote

import (
	"errors"
	"fmt"

	"kivaloo/disk"
	"kivaloo/wire"
)

// handler is a Store's handler of its connection. The loop calls all its methods.
type handler Store

// Packet handles one answer. An invalid record fails its request. An answer to an unknown request
// means that the connection is no longer usable.
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

// Pushed passes on the operations completed by one read.
func (h *handler) Pushed() { h.done.push() }

// Ended makes all later operations fail.
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

// Closed makes all outstanding operations fail. This cannot happen earlier, because the pages of an
// Append may have been read until now.
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

// chain has completed operations that go back to the same mailbox.
type chain struct {
	first, last *disk.Op
}

// add adds one operation.
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

// push returns the collected operations.
func (c *chain) push() {
	if c.first != nil {
		c.first.Done.Push(c.first, c.last)
		*c = chain{}
	}
}
