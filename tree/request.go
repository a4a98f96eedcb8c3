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
	Scan // Range in either direction, of pairs, of keys, or only their number

	// TakeLease takes a snapshot that later Gets and Scans can name. Done answers it, with the id
	// in Request.Snapshot. The snapshot ends after as many ReleaseLeases as there were TakeLeases
	// that got its id, or a minute after its last use. After a restart it is available again if
	// nothing has been committed since.
	TakeLease
	ReleaseLease // Done says false if there is no such lease

	// Watch waits for changes after Position of keys from Key on, and before End if End is not
	// empty. Changed answers it: as soon as there are changes, or without any after Wait.
	Watch

	Set
	Add    // set if the key is absent
	Modify // set if the key is present
	CAS    // set if the key has the value Old
	Delete
	CAD // delete if the key has the value Old

	// Conditions. If any of them does not hold before an Atomic Batch, nothing in the Batch is
	// carried out.
	Expect        // the key has the value Old
	ExpectPresent // the key is present
	ExpectAbsent

	// DeleteRange deletes keys from Key on, and before End if End is not empty, up to Limit keys.
	// They are all in one commit, after all changes that arrived earlier and before all later ones.
	// Scanned answers it once that is durable: n keys before next are deleted.
	DeleteRange
)

// Modifies reports whether the operation can change the store, or decides whether others do.
func (op OpCode) Modifies() bool { return op >= Set }

// Condition reports whether the operation only decides whether its Batch is carried out.
func (op OpCode) Condition() bool { return op >= Expect && op <= ExpectAbsent }

// Request is one operation. The byte slices may alias one buffer that the Batch's owner keeps.
// Nobody may write to them while the tree has the Batch.
type Request struct {
	ID    uint64 // for the client's use, like Began
	Key   []byte // at most 255 bytes; of Range, Scan, DeleteRange, Watch: the first key wanted
	Value []byte // at most 255 bytes; the new value
	Old   []byte // at most 255 bytes; of CAS, CAD, Expect: the expected value
	End   []byte // at most 255 bytes; of Range, Scan, DeleteRange, Watch: the first key not wanted, empty for no end
	Max   uint32 // Range, Scan, Watch: most bytes of pairs or changes to return, including length bytes
	Limit uint32 // Scan, DeleteRange: most pairs; 0: no limit
	Op    OpCode

	// Position is where a Watch begins: 0, or a position from an earlier answer.
	Position uint64
	Wait     time.Duration // Watch: at most maxWatchWait

	Reverse   bool // Scan: from the end to the start
	KeysOnly  bool // Scan: return keys without values
	CountOnly bool // Scan: return only the number of pairs; Max is ignored

	ended bool // Watch: stop waiting

	changed bool     // the outcome, kept until the commit is durable
	before  keyState // state of Key before the Atomic Batch, as far as it is known

	Began time.Duration

	// At is the snapshot that a Get, a Range or a Scan reads. nil means what is committed.
	At *Snapshot
	// Snapshot is the id of the lease that a Get or a Scan reads, or that a ReleaseLease ends. The
	// answer to a TakeLease sets it.
	Snapshot uint64

	err error // why it failed; kept until the commit is durable
}

// keyState is what a request needs to know about its key.
type keyState uint8

const (
	keyKnown keyState = 1 << iota // the other bits are valid
	keyThere
	keyOld // the key has the value Old
)

// stateOf returns the state of q's key, given the key's value, if it is there.
func stateOf(q *Request, value []byte, there bool) keyState {
	switch {
	case !there:
		return keyKnown
	case bytes.Equal(value, q.Old):
		return keyKnown | keyThere | keyOld
	}
	return keyKnown | keyThere
}

// Batch carries requests of one client through the mailbox, in the client's order. It does not
// determine commits: a commit may have requests of many Batches, and a Batch may end up in several
// commits. Only an Atomic Batch is what users call a batch.
//
// Ownership: pushing a Batch gives it to the tree. The tree returns it through Client.Release when
// every request has been answered.
type Batch struct {
	actors.Link[Batch]

	Client   Client
	Owner    any // for the client's use: what the Batch belongs to
	Requests []Request

	// Atomic puts all modifying requests into one commit. If one fails, or a condition does not
	// hold, none of them takes effect.
	Atomic bool
	// Pushed is the time of the push, on the clock of Inputs.Now. With 0 the waiting time is not
	// measured.
	Pushed time.Duration
	// Call, if not nil, is called on the tree's goroutine when the Batch arrives.
	Call func(*Tree)

	unanswered int
}

// Requests is the mailbox of a tree.
type Requests = actors.Mailbox[Batch, *Batch]

// Client receives the answers. The tree calls all methods except Abandoned on its goroutine. They
// must not block. Byte slices are only valid during the call.
type Client interface {
	// Value answers a Get. found is false if the key is absent.
	Value(r *Request, value []byte, found bool)
	// Done answers a modifying request after its commit is durable. done is false if a condition
	// did not hold. In an Atomic Batch with a failed condition, done is false for the first failed
	// condition and for every request that is no condition. So in a batch whose conditions come
	// first, the first false answer shows which condition failed.
	Done(r *Request, done bool)
	// Pairs answers a Range with n pairs. Each pair is a length byte, key, length byte and value.
	// They are all pairs from r.Key up to next. If next equals r.End (both may be empty),
	// nothing is left. Any other next is between r.Key and r.End.
	Pairs(r *Request, n int, next, pairs []byte)
	// Scanned answers a Scan with n pairs, encoded as for Pairs. With KeysOnly the values are left
	// out. With CountOnly pairs is empty. If more is true, something may be left. The pairs are
	// then all from r.Key up to next or, in reverse, all from next (inclusive) up to r.End, and the
	// next request uses next in place of that bound. n may be 0 even then, because the work for one
	// request is bounded. If more is false, nothing is left, and next has no meaning.
	Scanned(r *Request, n int, more bool, next, pairs []byte)
	// Changed answers a Watch with n durable changes, in commit order. A set key is a byte 0, a
	// length byte, key, length byte and value. A deleted key is a byte 1, a length byte and key.
	// Between two commits, 2 is added to the byte of the last change of the first one, and the
	// position between them follows it, in 8 bytes. If a commit changes a key more than once, only
	// the last change is included. A commit is not split over several answers unless it is too long
	// for one. The next Watch passes position as its Position. A position stays valid over a
	// restart, as long as the changes after it are kept. If they are not, Failed says
	// ErrPositionGone.
	Changed(r *Request, position uint64, n int, changes []byte)
	// Failed answers a request that failed. A modifying request may have taken effect unless err
	// says otherwise.
	Failed(r *Request, err error)
	// Dropped answers a modifying request that the tree did not start, or a waiting Watch, because
	// its client was abandoned.
	Dropped(r *Request)
	// Release returns b.
	Release(b *Batch)
	// Flush is called after the last answer to this client in a step.
	Flush()
	// Abandoned reports whether the tree should drop Watches and modifying requests that it has not
	// started. It must be safe for concurrent use.
	Abandoned() bool
}

// Nobody is the client of a Batch without requests. It ignores all answers.
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
