package lbs_test

import (
	"sync"

	"kivaloo/disk"
)

// memStore is a disk.Store in memory. While held, it keeps submitted operations until it is
// released.
type memStore struct {
	blockSize int

	mu        sync.Mutex
	first     uint64 // number of blocks[0]
	blocks    [][]byte
	held      bool
	waiting   []*disk.Op
	appending bool
	most      int // the most reads waiting at once
	freed     []uint64
	err       error // error of all operations, if set
}

func (m *memStore) Info() disk.Info {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := m.first + uint64(len(m.blocks))
	return disk.Info{BlockSize: m.blockSize, Next: next, Last: next - 1}
}

func (m *memStore) Submit(first, last *disk.Op) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for op := first; op != nil; {
		next := op.Link.Next()
		if op == last {
			next = nil
		}
		if op.Kind == disk.Append && m.appending {
			op.Done.PushOne(op) // refused
		} else {
			m.appending = m.appending || op.Kind == disk.Append
			m.waiting = append(m.waiting, op)
		}
		op = next
	}
	reads := 0
	for _, op := range m.waiting {
		if op.Kind == disk.Read {
			reads++
		}
	}
	m.most = max(m.most, reads)
	if !m.held {
		m.carryOut()
	}
}

// carryOut finishes the waiting operations, the last one first.
func (m *memStore) carryOut() {
	for i := len(m.waiting) - 1; i >= 0; i-- {
		op := m.waiting[i]
		at := op.Block - m.first
		switch {
		case m.err != nil:
			op.Err = m.err
		case op.Kind == disk.Read && at < uint64(len(m.blocks)):
			copy(op.Buf, m.blocks[at])
			op.OK = true
		case op.Kind == disk.Append && at == uint64(len(m.blocks)):
			for _, p := range op.Pages {
				m.blocks = append(m.blocks, append([]byte(nil), p...))
			}
			op.OK, op.Next = true, m.first+uint64(len(m.blocks))
		case op.Kind == disk.Free:
			m.freed = append(m.freed, op.Block)
			op.OK = true
		}
		m.appending = m.appending && op.Kind != disk.Append
		op.Done.PushOne(op)
	}
	m.waiting = nil
}

func (m *memStore) hold() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held = true
}

// release finishes the waiting operations. With again, later operations are held until the next
// release.
func (m *memStore) release(again bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held = again
	m.carryOut()
}

// submitted returns the number of waiting operations.
func (m *memStore) submitted() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.waiting)
}

func (m *memStore) Close() error { return nil }
