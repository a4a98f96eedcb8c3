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

// Op is one operation on a Store: the request, and when it comes back the
// outcome.
//
// Ownership: Submit gives the Op, and Buf and Pages with all they point to, to
// the store; the push into Done gives them back. Until then nobody else may
// write them; an Append's pages may be read by others meanwhile.
type Op struct {
	actors.Link[Op]

	Kind  Kind
	Block uint64   // Read: the block. Append: number of the first page. Free: first block to keep
	Buf   []byte   // Read: where the block goes, BlockSize bytes
	Pages [][]byte // Append: the blocks in order, BlockSize bytes each, at least one
	Done  *Completions
	Tag   uint64 // the submitter's own; the store leaves it alone
	AsIs  bool   // Read: by a recovery, which judges blocks by itself. Options.Doubtful is not asked

	// Outcome. Err is nil or why the operation could not be carried out, in which case the other
	// two mean nothing. A Buf has the content of its block all the same if Err is ErrDoubtful.
	Err error
	// OK is false where a Read's block does not exist, or where an Append was
	// refused because it does not start at the next block or another is running.
	OK bool
	// Append: the block number at which the next one must start. Free: the first block that stays
	// all the same, because it is in a file with others that do; 0 if that is not known.
	Next uint64
	// Free: the first block of the file after the one that begins at Next. It goes when all blocks
	// before are free. 0 if that is not known.
	After uint64
	// Append, Free: how many more blocks the disk takes, at least 1. The blocks that are being
	// discarded count as gone. 0 if that is not known.
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

// Store keeps numbered blocks of one size. Appended blocks never change; the
// oldest ones may be discarded. All methods may be called from any goroutine.
//
// Durability contract: when an Append has come back with OK, its blocks, and
// all before them, survive a crash. If the last block of an Append survives a
// crash of the process, so do the others; after a crash of the machine any of the
// blocks of an Append that had not come back may be missing or hold rubbish.
type Store interface {
	// Info returns the state of the store at this moment.
	Info() Info
	// Submit starts the operations first..last (chained by Next). Reads are
	// started in order and finish in any; at most one Append may be under way.
	// It may block for as long as the store has too many reads waiting.
	Submit(first, last *Op)
	// Close waits for everything that was submitted and releases the store.
	// Nothing may be submitted afterwards.
	Close() error
}

// Errors that callers tell apart. They are wrapped with what was being done, to
// which file or peer.
var (
	// ErrLocked: another process has the directory open.
	ErrLocked = errors.New("in use by another process")
	// ErrCorrupt: what is on disk cannot be what was written.
	ErrCorrupt = errors.New("corrupt")
	// ErrRot: a block was durable, as its checksum shows, and is not what it was. It is an
	// ErrCorrupt.
	ErrRot = fmt.Errorf("%w: it was whole once", ErrCorrupt)
	// ErrDoubtful: a block has no checksum, and its content shows that it is not what was written.
	// It is an ErrCorrupt.
	ErrDoubtful = fmt.Errorf("%w: it does not fit the checksum that was written with it", ErrCorrupt)
	// ErrNoSpace: an Append failed because the disk is full, or there are no file
	// descriptors or no memory, and the store has been put back to the state before it, unless the
	// error is ErrLeftBehind too. A later Append may succeed.
	ErrNoSpace = errors.New("no space left")
	// ErrLeftBehind: the blocks of the Append could not be removed either. If the store is opened
	// anew before the next Append it may have them.
	ErrLeftBehind = errors.New("and what was written may be found by the next start")
	// ErrFailed: an earlier Append or sync failed, so that nothing more can be
	// made durable until the store is opened anew.
	ErrFailed = errors.New("read-only after a failed write")
	// ErrClosed: the store has been closed, or the connection to it has.
	ErrClosed = errors.New("store closed")
)
