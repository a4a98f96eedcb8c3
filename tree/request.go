package tree

import (
	"bytes"
	"time"

	"kivaloo/actors"
)

// OpCode names an operation on the store.
type OpCode uint8

const (
	Get OpCode = iota
	Range
	Scan   // Range in either direction, of pairs or of keys, or a count
	Backup // Range over a snapshot that stays for further ones

	// TakeLease takes a snapshot that Gets and Scans can name in further requests. Done answers it,
	// with the id in Request.Snapshot. The snapshot is gone after as many ReleaseLeases as there
	// were TakeLeases that got its id, and a minute after its last use. After a restart it is there
	// again if nothing was committed since.
	TakeLease
	ReleaseLease // Done says false if there is no such lease

	// Watch waits for changes of keys from Key on, and before End if that is not empty, after
	// Position. Changed answers it: as soon as there are any, or with none after Wait.
	Watch

	Set
	Add    // set if absent
	Modify // set if present
	CAS    // set if present with the value Old
	Delete
	CAD // delete if present with the value Old

	// Conditions. If one of an Atomic Batch does not hold before the Batch, nothing of the Batch is
	// carried out.
	Expect        // present with the value Old
	ExpectPresent // present
	ExpectAbsent

	// DeleteRange deletes keys from Key on that are committed when it looks, Limit of them at most,
	// and before End if that is not empty. One commit has all of it. Scanned answers it after that
	// is durable: n keys up to next are deleted. Changes that are not yet answered when it arrives
	// may or may not come before it.
	DeleteRange
)

// Modifies reports whether the operation can change the store, or decides whether others do.
func (op OpCode) Modifies() bool { return op >= Set }

// Condition reports whether the operation only decides whether its Batch is carried out.
func (op OpCode) Condition() bool { return op >= Expect && op <= ExpectAbsent }

// decided reports whether the operation is decided by what its key holds.
func (op OpCode) decided() bool { return op >= Set && op <= ExpectAbsent }

// Request is one operation. The byte slices may alias one buffer that the Batch's owner keeps.
// Nobody writes to them while the tree has the Batch.
type Request struct {
	ID    uint64 // the client's own, as is Began
	Key   []byte // at most 255 bytes; Range, Scan, DeleteRange, Watch: the first key wanted
	Value []byte // at most 255 bytes; the new value
	Old   []byte // at most 255 bytes; CAS, CAD, Expect: the value expected
	End   []byte // at most 255 bytes; Range, Scan, DeleteRange, Watch: the first key not wanted, empty for no end
	Max   uint32 // Range, Scan, Watch: how many bytes of pairs or changes are wanted, length bytes included
	Limit uint32 // Scan, DeleteRange: how many pairs are wanted at most; 0: no such limit
	Op    OpCode

	// Position is where a Watch begins: 0, or one that an earlier answer gave.
	Position uint64
	Wait     time.Duration // Watch: at most maxWatchWait

	Reverse   bool // Scan: from the end to the start
	KeysOnly  bool // Scan: keys without values
	CountOnly bool // Scan: only the number of pairs; Max means nothing

	ended bool // Watch: it is to wait no longer

	changed bool     // the outcome, kept until the commit is durable
	before  keyState // of Key before the Atomic Batch, as far as it is known

	Began time.Duration

	// At is the snapshot that a Get, a Range or a Scan reads; nil: what is committed.
	At *Snapshot
	// Snapshot is the id of a lease: the one that a Get or a Scan reads, or that a ReleaseLease
	// gives up. The answer to a TakeLease sets it.
	//
	// For a Backup it is likewise the snapshot that it reads. The answer sets it. With 0 the tree
	// takes a new snapshot. It keeps the snapshot until a Backup has read the last pair, and at
	// most for a minute after the latest Backup.
	Snapshot uint64

	err error // why it failed, kept like changed
}

// keyState is what a request needs to know of its key.
type keyState uint8

const (
	keyKnown keyState = 1 << iota // what the other bits say is known
	keyThere
	keyOld // there, with the value Old
)

// stateOf returns the state for q of a key with a value, or without one.
func stateOf(q *Request, value []byte, there bool) keyState {
	switch {
	case !there:
		return keyKnown
	case bytes.Equal(value, q.Old):
		return keyKnown | keyThere | keyOld
	}
	return keyKnown | keyThere
}

// Batch carries requests of one client through the mailbox, in the order in which it made them. It
// says nothing about commits: one commit may have requests of many Batches, and a Batch may end up
// in several commits. Only an Atomic Batch is what users call a batch.
//
// Ownership: pushing a Batch gives it to the tree, which returns it through Client.Release when
// every request has had its answer.
type Batch struct {
	actors.Link[Batch]

	Client   Client
	Owner    any // the client's own: what the Batch is part of
	Requests []Request

	// Atomic puts the modifying requests into one commit. All of them take effect together or, if
	// one fails or a condition does not hold, none.
	Atomic bool
	// Pushed is when the Batch was pushed, on the clock of Inputs.Now. With 0 the time that it
	// waited is not measured.
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
	// Done answers a modifying request, after its commit is durable: done is false if a condition
	// did not hold. In an Atomic Batch with a condition that does not hold, done is false for the
	// first such condition and for all requests that are neither. A batch whose conditions come
	// first learns from the first false answer which one that was.
	Done(r *Request, done bool)
	// Pairs answers a Range or a Backup with n pairs, each a length byte, key, length byte and
	// value. They are all pairs from r.Key up to next. If next equals r.End, both may be empty,
	// nothing is left. Any other next is between r.Key and r.End.
	Pairs(r *Request, n int, next, pairs []byte)
	// Scanned answers a Scan with n pairs, each as for Pairs. With KeysOnly the values are left
	// out, and with CountOnly pairs is empty. If more is true, something may be left: the pairs are
	// all from r.Key up to next or, in reverse, all from next up to r.End, next included. The next
	// request has next in the place of that bound. The work for one request is bounded, so n may
	// be 0 all the same. If more is false, nothing is left, and next means nothing.
	Scanned(r *Request, n int, more bool, next, pairs []byte)
	// Changed answers a Watch with n changes, in the order of their commits, all of them durable.
	// Each is a byte 0, a length byte, key, length byte and value if the key was set, or a byte 1,
	// a length byte and key if it was deleted. A commit that changes a key more than once shows the
	// last change alone. A commit is whole in one answer unless that alone is too long. The next
	// Watch has position for its Position. A position means the same after a restart, as long as
	// the changes after it are kept; else Failed says ErrPositionGone.
	Changed(r *Request, position uint64, n int, changes []byte)
	// Failed answers a request that failed. A modifying request may have taken effect unless err
	// says otherwise.
	Failed(r *Request, err error)
	// Dropped answers a modifying request that the tree did not start, or a Watch that waited,
	// because its client was abandoned.
	Dropped(r *Request)
	// Release returns b.
	Release(b *Batch)
	// Flush follows the last answer to this client in a step.
	Flush()
	// Abandoned reports whether the tree is to drop Watches, and modifying requests that it has not
	// started. It may be called from any goroutine.
	Abandoned() bool
}

// Nobody is the client of a Batch without requests: it has no use for answers.
type Nobody struct{}

func (Nobody) Value(*Request, []byte, bool)                {}
func (Nobody) Done(*Request, bool)                         {}
func (Nobody) Pairs(*Request, int, []byte, []byte)         {}
func (Nobody) Scanned(*Request, int, bool, []byte, []byte) {}
func (Nobody) Changed(*Request, uint64, int, []byte)       {}
func (Nobody) Failed(*Request, error)                      {}
func (Nobody) Dropped(*Request)                            {}
func (Nobody) Release(*Batch)                              {}
func (Nobody) Flush()                                      {}
func (Nobody) Abandoned() bool                             { return false }
