package main

import (
	"encoding/binary"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

// fakeBlocks is a block store in memory. A test can inspect it, delay it, and make it give wrong
// answers. It serves one connection at a time.
type fakeBlocks struct {
	size int
	done chan struct{} // closed at the end
	turn chan struct{} // delayed appends wait for it

	mu      sync.Mutex
	blocks  [][]byte
	holding bool
	appends int                             // that have arrived
	reads   map[uint64]bool                 // blocks that have been read
	frees   []uint64                        // arguments of FREE
	freed   []time.Time                     // when they came
	oldest  []uint64                        // oldest leaf of each acknowledged root
	answer  func(q *wire.LBSRequest) []byte // if set: returns the record to answer with, or nil for the right one
	conn    net.Conn                        // the current one
	skew    uint64                          // added to the IDs of answers
}

// startFake starts a fake block store in p.
func (p place) startFake(t *testing.T, size int) *fakeBlocks {
	t.Helper()
	f := &fakeBlocks{
		size: size, done: make(chan struct{}), turn: make(chan struct{}), reads: make(map[uint64]bool),
	}
	ln, err := net.Listen("unix", p.path("b"))
	must.Do(t, err)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conn = nc
			f.mu.Unlock()
			f.serve(nc, &all)
		}
	})
	t.Cleanup(func() {
		close(f.done)
		ln.Close()
		f.cut()
		all.Wait()
	})
	return f
}

// cut closes the connection, if there is one.
func (f *fakeBlocks) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conn != nil {
		f.conn.Close()
	}
}

// serve answers the requests of one connection until it ends.
func (f *fakeBlocks) serve(nc net.Conn, all *sync.WaitGroup) {
	defer nc.Close()
	c := &wiretest.Conn{Conn: nc}
	for {
		p, err := c.Next()
		if err != nil {
			return
		}
		q, err := wire.ParseLBSRequest(p.Record)
		if err != nil {
			return
		}
		if f.mustWait(&q) {
			all.Go(func() {
				select {
				case <-f.turn:
					f.reply(nc, p.ID, &q)
				case <-f.done:
				}
			})
			continue
		}
		f.reply(nc, p.ID, &q)
	}
}

// mustWait counts an append, and reports whether it must be delayed.
func (f *fakeBlocks) mustWait(q *wire.LBSRequest) bool {
	if q.Type != wire.TypeLBSAppend {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.appends++
	return f.holding
}

// reply executes q and answers it.
func (f *fakeBlocks) reply(nc net.Conn, id uint64, q *wire.LBSRequest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id += f.skew
	var record []byte
	if f.answer != nil {
		record = f.answer(q)
	}
	if record == nil {
		record = f.carryOut(q)
	}
	_, _ = nc.Write(wire.AppendPacket(nil, id, record)) // the reader notices a closed connection
}

// carryOut executes q and returns the right answer. It needs mu.
func (f *fakeBlocks) carryOut(q *wire.LBSRequest) []byte {
	next := uint64(len(f.blocks))
	switch q.Type {
	case wire.TypeLBSParams2:
		return wire.AppendLBSParams2(nil, uint32(f.size), next, next-1)
	case wire.TypeLBSGet:
		f.reads[q.Block] = true
		if q.Block >= next {
			return wire.AppendLBSStatus(nil, 1)
		}
		return wire.AppendLBSBlock(nil, f.blocks[q.Block])
	case wire.TypeLBSAppend:
		if q.Block != next {
			return wire.AppendLBSStatus(nil, 1)
		}
		for data := q.Data; len(data) > 0; data = data[f.size:] {
			f.blocks = append(f.blocks, data[:f.size:f.size])
		}
		f.oldest = append(f.oldest, f.root().oldest)
		return wire.AppendLBSAppended(nil, uint64(len(f.blocks)))
	default:
		f.frees = append(f.frees, q.Block)
		f.freed = append(f.freed, time.Now())
		return wire.AppendLBSStatus(nil, 0)
	}
}

// root is the content of a tree's root page.
type root struct {
	block  uint64
	height int
	nodes  uint64
	oldest uint64 // lowest block of any leaf; its seal if the root is a leaf
}

// root parses the last block, which must be a root. It needs mu.
func (f *fakeBlocks) root() root {
	page := f.blocks[len(f.blocks)-1]
	r := root{block: uint64(len(f.blocks) - 1), height: int(page[8] & 0x7f), nodes: binary.BigEndian.Uint64(page[10:])}
	if r.oldest = r.block; r.height == 0 {
		r.oldest-- // a restart needs the seal before it
		return r
	}
	keys, at := int(binary.BigEndian.Uint16(page[6:])), 18
	for range keys {
		at += 1 + int(page[at])
	}
	for range keys + 1 {
		r.oldest = min(r.oldest, binary.BigEndian.Uint64(page[at+8:]))
		at += 20
	}
	return r
}

// look calls what while the store is stopped.
func (f *fakeBlocks) look(what func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	what()
}

// fill copies the blocks of another store into an empty one.
func (f *fakeBlocks) fill(from *fakeBlocks) {
	var blocks [][]byte
	from.look(func() { blocks = slices.Clone(from.blocks) })
	f.look(func() { f.blocks = blocks })
}

// hold makes all appends from now on wait for release.
func (f *fakeBlocks) hold(holding bool) { f.look(func() { f.holding = holding }) }

// release lets one delayed append continue.
func (f *fakeBlocks) release(t *testing.T) {
	t.Helper()
	select {
	case f.turn <- struct{}{}:
	case <-time.After(patience):
		t.Fatal("no append to be released")
	}
}

// mustSee waits until n appends have arrived.
func (f *fakeBlocks) mustSee(t *testing.T, n int) {
	t.Helper()
	must.Eventually(t, "the append has arrived", func() bool { return f.count() >= n })
	if got := f.count(); got != n {
		t.Fatalf("%d appends have arrived, want %d", got, n)
	}
}

// count returns the number of appends that have arrived.
func (f *fakeBlocks) count() (n int) {
	f.look(func() { n = f.appends })
	return n
}

// lastRoot returns the root of the tree acknowledged last.
func (f *fakeBlocks) lastRoot() (r root) {
	f.look(func() { r = f.root() })
	return r
}

// haveRead returns the blocks that have been read.
func (f *fakeBlocks) haveRead() (blocks map[uint64]bool) {
	f.look(func() { blocks = maps.Clone(f.reads) })
	return blocks
}
