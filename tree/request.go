package tree

import (
	"time"

	"kivaloo/actors"
)

// OpCode names an operation on the store.
type OpCode uint8

const (
	Get OpCode = iota
	Range
	Backup // Range over a snapshot that stays for further ones
	Set
	Add    // set if absent
	Modify // set if present
	CAS    // set if present with the value Old
	Delete
	CAD // delete if present with the value Old
)

// Modifies reports whether the operation can change the store.
func (op OpCode) Modifies() bool { return op >= Set }

// Request is one operation. The byte slices may alias one buffer that the Batch's owner keeps. Nobody
// writes to them while the tree has the Batch.
type Request struct {
	ID    uint64 // the client's own
	Key   []byte // at most 255 bytes; Range: the first key wanted
	Value []byte // at most 255 bytes; the new value
	Old   []byte // at most 255 bytes; CAS, CAD: the value expected
	End   []byte // at most 255 bytes; Range: the first key not wanted, empty for no end
	Max   uint32 // Range: how many bytes of pairs are wanted, length bytes included
	Op    OpCode

	// At is the snapshot that a Get or a Range reads; nil: what is committed.
	At *Snapshot
	// Snapshot is the id of the snapshot that a Backup reads. The answer sets it. With 0 the tree
	// takes a new snapshot. It keeps the snapshot until a Backup has read the last pair, and at most
	// for a minute after the latest Backup.
	Snapshot uint64

	changed bool  // the outcome, kept until the commit is durable
	err     error // why it failed, kept likewise
}

// Batch carries requests of one client through the mailbox, in the order in which it made them. It
// says nothing about commits: one commit may have requests of many Batches, and a Batch may end up in
// several commits. Only an Atomic Batch is what users call a batch.
//
// Ownership: pushing a Batch gives it to the tree, which returns it through Client.Release when every
// request has had its answer.
type Batch struct {
	actors.Link[Batch]

	Client   Client
	Owner    any // the client's own: what the Batch is part of
	Requests []Request

	// Atomic puts the modifying requests into one commit. All of them take effect together or, if one
	// fails, none.
	Atomic bool
	// Pushed is when the Batch was pushed, on the clock of Inputs.Now. With 0 the time that it waited
	// is not measured.
	Pushed time.Duration
	// Call, if not nil, is called on the tree's goroutine when the Batch arrives.
	Call func(*Tree)

	unanswered int
}

// Requests is the mailbox of a tree.
type Requests = actors.Mailbox[Batch, *Batch]

// Client receives the answers. The tree calls all methods but Abandoned on its goroutine, and they
// must not block. Byte slices are only valid during the call.
type Client interface {
	// Value answers a Get: the value, or found false.
	Value(r *Request, value []byte, found bool)
	// Done answers a modifying request, after its commit is durable: done is false if a condition did
	// not hold.
	Done(r *Request, done bool)
	// Pairs answers a Range or a Backup with n pairs, each a length byte, key, length byte and value.
	// They are all pairs from r.Key up to next. If next equals r.End, both may be empty, nothing is
	// left. Any other next is between r.Key and r.End.
	Pairs(r *Request, n int, next, pairs []byte)
	// Failed answers a request that failed. A modifying request may have taken effect unless err says
	// otherwise.
	Failed(r *Request, err error)
	// Dropped answers a modifying request that the tree did not start, because its client was
	// abandoned.
	Dropped(r *Request)
	// Release returns b.
	Release(b *Batch)
	// Flush follows the last answer to this client in a step.
	Flush()
	// Abandoned reports whether the tree is to drop modifying requests that it has not started. It may
	// be called from any goroutine.
	Abandoned() bool
}
