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

// Request is one operation. The byte slices may alias one buffer of the Batch's
// owner; nobody writes them while the tree has the batch.
type Request struct {
	ID    uint64 // the client's own
	Key   []byte // at most 255 bytes; Range: the first key wanted
	Value []byte // at most 255 bytes; the new value
	Old   []byte // at most 255 bytes; CAS, CAD: the value expected
	End   []byte // at most 255 bytes; Range: the first key not wanted, empty for no end
	Max   uint32 // Range: how many bytes of pairs are wanted, length bytes included
	Op    OpCode

	// At has a Get or a Range read a snapshot instead of the committed tree.
	At *Snapshot
	// Snapshot names the snapshot that a Backup reads; with the answer it is set. 0 has one taken. It is kept until a
	// Backup has come to the end, or for a minute after the last one.
	Snapshot uint64

	changed bool  // the outcome, kept until the batch is durable
	err     error // why it could not be carried out
}

// Batch is requests of one client, in the order they were made.
//
// Ownership: pushing a Batch gives it to the tree, which gives it back through
// Client.Release when every request has had its answer.
type Batch struct {
	actors.Link[Batch]

	Client   Client
	Owner    any // the client's own: what the batch is part of
	Requests []Request

	// Atomic has the modifying requests go into one commit. They take effect all together or, if one
	// cannot be carried out, not at all.
	Atomic bool
	// Pushed is when the batch was pushed, by the clock that Inputs.Now is of, if the time that it has waited is to be
	// measured.
	Pushed time.Duration
	// Call, if it is not nil, is called on the tree's goroutine when the batch arrives.
	Call func(*Tree)

	unanswered int
}

// Requests is the mailbox in which a tree gets its work.
type Requests = actors.Mailbox[Batch, *Batch]

// Client gets the answers. All methods but Abandoned are called on the tree's
// goroutine and must not block; byte slices are only valid during the call.
type Client interface {
	// Value answers a Get: the value, or found false.
	Value(r *Request, value []byte, found bool)
	// Done answers a modifying request: done is false where a condition did not
	// hold. It is called after the change is durable.
	Done(r *Request, done bool)
	// Pairs answers a Range or a Backup: n pairs, each as length byte, key, length byte, value;
	// everything from r.Key up to next has been returned. A next that equals r.End, empty if that is, means
	// that there is nothing left; any other is between r.Key and r.End.
	Pairs(r *Request, n int, next, pairs []byte)
	// Failed answers a request that could not be carried out. Whether a modifying one
	// took effect is unknown unless err says so.
	Failed(r *Request, err error)
	// Dropped answers a modifying request that was not started because the
	// client had been abandoned.
	Dropped(r *Request)
	// Release gives b back.
	Release(b *Batch)
	// Flush ends a step in which the client had answers.
	Flush()
	// Abandoned reports whether modifying requests that have not started are to be
	// dropped. It may be called from any goroutine.
	Abandoned() bool
}
