package disk

import (
	"errors"
	"fmt"

	"kivaloo/actors"
)

// Block size limits in bytes, from the original block store.
const (
	MinBlockSize = 512
	MaxBlockSize = 131072
)

// NoBlock is the last block number of a store that has never been written.
const NoBlock = ^uint64(0)

// Kind says what an Op does.
type Kind uint8

const (
	Read   Kind = iota // fetch one block
	Append             // add blocks at the end, durably
	Free               // allow everything before a block to be discarded
)

// Op is one operation on a Store. It has the request and, when it comes back, the outcome.
//
// Ownership: Submit gives the Op, and everything that Buf and Pages point to, to the store. The
// push into Done gives them back. Until then only the store may write them. Others may read an
// Append's pages meanwhile.
type Op struct {
	actors.Link[Op]

	Kind  Kind
	Block uint64   // Read: the block. Append: number of the first page. Free: first block to keep
	Buf   []byte   // Read: where the block goes, BlockSize bytes
	Pages [][]byte // Append: the blocks in order, BlockSize bytes each, at least one
	Done  *Completions
	Tag   uint64 // for the submitter; the store does not change it
	AsIs  bool   // Read: Options.Doubtful is not asked, because recovery judges blocks by itself

	// The outcome. Err is nil, or why the operation failed. In that case the other fields mean
	// nothing, except that with ErrDoubtful Buf still has the block's content.
	Err error
	// OK is false if a Read's block does not exist, or if an Append was refused because it does not
	// start at the next block or another one is in progress.
	OK bool
	// Append: the block number at which the next one must start. Free: the first block that still
	// stays, because it shares a file with needed ones; 0 if unknown.
	Next uint64
	// Free: the first block of the file after the one that begins at Next. Next is discarded once
	// all blocks before After are free. 0 if unknown.
	After uint64
	// Append, Free: how many more blocks fit on the disk, at least 1. Blocks being discarded count
	// as gone. 0 if unknown.
	Room uint64
}

// Completions is where finished operations arrive.
type Completions = actors.Mailbox[Op, *Op]

// NewCompletions returns a mailbox for finished operations.
func NewCompletions(bell *actors.Doorbell) *Completions {
	return actors.NewMailbox[Op](bell)
}

// Info describes a store.
type Info struct {
	BlockSize int    // bytes
	Next      uint64 // number that the next block to be appended gets
	Last      uint64 // number of the last block, or NoBlock
	Room      uint64 // as in Op
}

// Store keeps numbered blocks of one size. Appended blocks never change. The oldest ones may be
// discarded. All methods may be called from any goroutine.
//
// Durability contract: when an Append has come back with OK, its blocks, and all before them,
// survive a crash. If the last block of an Append survives a crash of the process, so do the
// others. After a crash of the machine, any blocks of an Append that had not come back may be
// missing or hold rubbish.
type Store interface {
	// Info returns the current state of the store.
	Info() Info
	// Submit starts the operations first..last, chained by Next. Reads start in order and finish in
	// any order. At most one Append may be in progress. Submit may block while too many reads are
	// waiting.
	Submit(first, last *Op)
	// Close waits for all submitted operations and releases the store. Nothing may be submitted
	// afterwards.
	Close() error
}

// Errors that callers distinguish. They are wrapped with the operation, and the file or the peer.
var (
	// ErrLocked: another process has the directory open.
	ErrLocked = errors.New("in use by another process")
	// ErrCorrupt: what is on disk cannot be what was written.
	ErrCorrupt = errors.New("corrupt")
	// ErrRot means that a block was durable, as its checksum shows, and has changed. It is an
	// ErrCorrupt.
	ErrRot = fmt.Errorf("%w: it was undamaged before", ErrCorrupt)
	// ErrDoubtful means that a block has no checksum, and that its content shows that it is not
	// what was written. It is an ErrCorrupt.
	ErrDoubtful = fmt.Errorf("%w: it does not match the checksum written with it", ErrCorrupt)
	// ErrNoSpace means that an Append failed because the disk is full, or because of a lack of file
	// descriptors or memory. The store is back in the state before the Append, unless the error is
	// also an ErrLeftBehind. A later Append may succeed.
	ErrNoSpace = errors.New("no space left")
	// ErrLeftBehind means that the blocks of the Append could not be removed either. If the store
	// is reopened before the next Append, it may contain them.
	ErrLeftBehind = errors.New("and the next start may find the written data")
	// ErrFailed means that an earlier Append or sync failed. Nothing more can be made durable until
	// the store is reopened.
	ErrFailed = errors.New("read-only after a failed write")
	// ErrClosed means that the store, or the connection to it, is closed.
	ErrClosed = errors.New("store closed")
)
