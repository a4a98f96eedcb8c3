package disk

import "kivaloo/actors"

// ReadBlock reads block n into buf, BlockSize bytes, and waits for it. It is for start-up and
// tools. It returns false if the block does not exist.
func ReadBlock(s Store, n uint64, buf []byte) (bool, error) {
	op := &Op{Kind: Read, Block: n, Buf: buf}
	await(s, op)
	return op.OK, op.Err
}

// AppendPages appends pages from block first on, and waits until they are durable. It returns where
// the next append must start, or false if this one should not have started at first.
func AppendPages(s Store, first uint64, pages [][]byte) (next uint64, ok bool, err error) {
	op := &Op{Kind: Append, Block: first, Pages: pages}
	await(s, op)
	return op.Next, op.OK, op.Err
}

// await submits op and waits until it has come back.
func await(s Store, op *Op) {
	bell := actors.NewWaiter()
	done := NewCompletions(&bell.Doorbell)
	op.Done = done
	s.Submit(op, op)
	for done.Drain() == nil {
		bell.Wait(-1, done.Empty)
	}
}
