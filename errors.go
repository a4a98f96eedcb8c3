package kivaloo

import (
	"errors"
	"fmt"

	"kivaloo/disk"
	"kivaloo/tree"
	"kivaloo/wire"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrNotFound: there is no such key.
	ErrNotFound = errors.New("kivaloo: no such key")
	// ErrClosed: the Client, DB or Snapshot has been closed.
	ErrClosed = errors.New("closed")
	// ErrTooLong: a key or a value is longer than the store takes. Nothing was sent.
	ErrTooLong = errors.New("too long")
	// ErrLocked: another process has the store open.
	ErrLocked = disk.ErrLocked
	// ErrNotKivaloo: what answers at the address is no server of pairs. The error says what it
	// seems to be.
	ErrNotKivaloo = wire.ErrNotKivaloo
	// ErrBadAnswer: an answer of the server made no sense.
	ErrBadAnswer = wire.ErrBadRecord
	// ErrUnsupported: the server is one of the original's, or behind something that is, and does
	// not offer this. Nothing was sent.
	ErrUnsupported = errors.New("the server does not offer this")
	// ErrSnapshotGone: the server does not keep the snapshot any more. A backup that was begun with
	// it cannot be resumed.
	ErrSnapshotGone = tree.ErrSnapshotGone
	// ErrTooManySnapshots: the server keeps as many snapshots as it can. It gives each up a minute
	// after its last use.
	ErrTooManySnapshots = tree.ErrTooManySnapshots
	// ErrReadOnly: the change was not made, because the store was opened for reading only, or
	// because nothing can be made durable any more. An Update that changes nothing, or a Batch of
	// conditions alone, succeeds on a store that was opened for reading only.
	ErrReadOnly = tree.ErrReadOnly
)

// CorruptionError means that the content on disk cannot be what was written. It is in the chain of
// errors of every operation that needed the block; errors.As finds it.
type CorruptionError struct {
	Block uint64 // number of the block
	Err   error  // what is wrong with it
}

func (e *CorruptionError) Error() string {
	return fmt.Sprintf("block %d is corrupt: %v", e.Block, e.Err)
}

func (e *CorruptionError) Unwrap() error { return e.Err }

// OpError is the error of an operation that could not be carried out. Err may be
// ErrClosed, ErrTooLong, ErrBadAnswer, the error of a context, or what ended the connection.
type OpError struct {
	// Op is "open", "dial", "params", "get", "set", "add", "modify", "cas", "delete", "cad",
	// "scan", "range", "count", "batch", "delete range", "update", "load", "snapshot", "release",
	// "watch", "position", "backup", "restore", "salvage", "checkpoint", "verify", "close" or
	// "pipeline".
	Op   string
	Addr string // of the server, as it was given to Dial, or the directory, as it was given to Open

	// Sent is false if the operation certainly had no effect. If it is true the
	// server may have received the request: a change may have been made, or may
	// still be made, or not.
	Sent bool
	Err  error
}

func (e *OpError) Error() string {
	s := "kivaloo: " + e.Op + " at " + e.Addr + ": " + e.Err.Error()
	if e.Sent && e.changes() {
		s += " (the request was sent and may have taken effect)"
	}
	return s
}

func (e *OpError) Unwrap() error { return e.Err }

// cause returns the cause of an *OpError, for an error that already says the rest, or err itself.
func cause(err error) error {
	if op := (*OpError)(nil); errors.As(err, &op) {
		return op.Err
	}
	return err
}

// partOf returns the error of operation op, given that of one of its requests: nil, an *OpError or,
// unchanged, any other. earlier says whether a request before may have had an effect.
func partOf(op string, earlier bool, err error) error {
	part, ok := err.(*OpError)
	if !ok {
		return err
	}
	return &OpError{Op: op, Addr: part.Addr, Sent: part.Sent || earlier, Err: part.Err}
}

// changes reports whether Op can change the store.
func (e *OpError) changes() bool {
	switch e.Op {
	case "dial", "params", "get", "update", "range", "scan", "count", "snapshot", "release", "watch", "position", "backup":
		return false
	}
	return true
}

// opName returns the name of a request type in errors.
func opName(typ uint32) string {
	switch typ {
	case wire.TypeParams:
		return "params"
	case wire.TypeGet, wire.TypeGetAt:
		return "get"
	case wire.TypeSet:
		return "set"
	case wire.TypeAdd:
		return "add"
	case wire.TypeModify:
		return "modify"
	case wire.TypeCAS:
		return "cas"
	case wire.TypeDelete:
		return "delete"
	case wire.TypeCAD:
		return "cad"
	case wire.TypeScan:
		return "scan"
	case wire.TypeApply:
		return "batch"
	case wire.TypeSnapshot:
		return "snapshot"
	case wire.TypeRelease:
		return "release"
	case wire.TypeWatch, wire.TypeUnwatch:
		return "watch"
	case wire.TypeDeleteRange:
		return "delete range"
	default:
		return "range"
	}
}
