package tree

import (
	"bytes"

	"kivaloo/disk"
	"kivaloo/tree/page"
)

// memStore is a store in memory. Operations are carried out when run is called, so that a test
// decides when they finish.
type memStore struct {
	blockSize int
	first     uint64
	blocks    [][]byte // nil: the block does not exist
	frees     []uint64
	appends   []int  // pages of each append
	gap       uint64 // block numbers left out after each append
	reads     int
	disk      uint64           // blocks that it can hold, and reports; 0: no limit
	fail      error            // error of the next append
	unread    map[uint64]error // unreadable blocks; nil error: the block does not exist
}

func newMemStore(blockSize int) *memStore {
	return &memStore{blockSize: blockSize, unread: map[uint64]error{}}
}

func (s *memStore) next() uint64 { return s.first + uint64(len(s.blocks)) }

func (s *memStore) Info() disk.Info {
	return disk.Info{BlockSize: s.blockSize, Next: s.next(), Last: s.next() - 1, Room: s.room()}
}

// Submit carries out the operations at once, for Open and Check.
func (s *memStore) Submit(first, last *disk.Op) {
	for op := first; op != nil; {
		next := op.Link.Next()
		op.SetNext(nil)
		s.run(op)
		op.Done.PushOne(op)
		op = next
	}
}

func (s *memStore) Close() error { return nil }

func (s *memStore) run(op *disk.Op) {
	op.OK, op.Err = false, nil
	switch op.Kind {
	case disk.Read:
		s.read(op)
	case disk.Append:
		if op.Err, s.fail = s.fail, nil; op.Err != nil {
			return
		}
		if op.OK = op.Block == s.next(); !op.OK {
			return
		}
		if s.disk > 0 && uint64(len(s.blocks)+len(op.Pages)) > s.disk {
			op.Err, op.Room = disk.ErrNoSpace, s.room()
			return
		}
		s.add(op.Pages...)
		op.Room = s.room()
		s.blocks = append(s.blocks, make([][]byte, s.gap)...)
		op.Next = s.next()
	case disk.Free:
		op.OK = true
		s.frees = append(s.frees, op.Block)
		for s.first < op.Block && len(s.blocks) > 1 {
			s.blocks = s.blocks[1:]
			s.first++
		}
		op.Room = s.room()
	}
}

// room returns how many more blocks fit, as in disk.Op.
func (s *memStore) room() uint64 {
	if s.disk == 0 {
		return 0
	}
	return max(1, s.disk-min(s.disk, uint64(len(s.blocks))))
}

func (s *memStore) read(op *disk.Op) {
	s.reads++
	err, bad := s.unread[op.Block]
	switch {
	case bad:
		op.Err = err
	case op.Block >= s.first && op.Block < s.next() && s.page(op.Block) != nil:
		op.OK = true
		copy(op.Buf, s.page(op.Block))
	}
}

// add appends pages as one append.
func (s *memStore) add(pages ...[]byte) {
	for _, p := range pages {
		s.blocks = append(s.blocks, bytes.Clone(p))
	}
	s.appends = append(s.appends, len(pages))
}

// page returns the content of a block, for the test to read or damage.
func (s *memStore) page(block uint64) []byte { return s.blocks[block-s.first] }

// all returns the existing blocks by number.
func (s *memStore) all() map[uint64][]byte {
	all := map[uint64][]byte{}
	for i, p := range s.blocks {
		if p != nil {
			all[s.first+uint64(i)] = p
		}
	}
	return all
}

// clone returns an independent copy.
func (s *memStore) clone() *memStore {
	c := newMemStore(s.blockSize)
	c.first = s.first
	c.add(s.blocks...)
	return c
}

// lastAppend returns the first block of the last append.
func (s *memStore) lastAppend() uint64 {
	return s.next() - uint64(s.appends[len(s.appends)-1])
}

// endsInRoot reports whether the last block is a root that holds every change.
func endsInRoot(s *memStore) bool {
	h, err := page.ParseHead(s.page(s.next() - 1))
	return err == nil && h.Root && !h.Partial
}
