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
	ErrNotFound = errors.New("no such key")
	// ErrClosed: the Client, DB or Snapshot has been closed.
	ErrClosed = errors.New("closed")
	// ErrTooLong: a key or a value is longer than the store takes. Nothing was sent.
	ErrTooLong = errors.New("too long")
	// ErrLocked: another process has the store open.
	ErrLocked = disk.ErrLocked
	// ErrNotKivaloo: what answers at the address is no server of pairs. The error says what it seems to be.
	ErrNotKivaloo = wire.ErrNotKivaloo
	// ErrReadOnly: the change was not made, because the store was opened for reading
	// only, or because nothing can be made durable any more.
	ErrReadOnly = tree.ErrReadOnly
)

// CorruptionError: what is on disk cannot be what was written. It is in the chain of
// the errors of whatever needed that block; errors.As finds it.
type CorruptionError struct {
	Block uint64 // number of the block
	Err   error  // what is wrong with it
}

func (e *CorruptionError) Error() string {
	return fmt.Sprintf("block %d is corrupt: %v", e.Block, e.Err)
}

func (e *CorruptionError) Unwrap() error { return e.Err }

// OpError is the error of an operation that could not be carried out. Err may be
// ErrClosed, ErrTooLong, the error of a context, wire.ErrBadRecord for an answer
// that made no sense, or what ended the connection.
type OpError struct {
	Op   string // "dial", "params", "get", "set", "add", "modify", "cas", "delete", "cad", "range", "backup" or "pipeline"
	Addr string // of the server, as it was given to Dial, or the directory, as it was given to Open

	// Sent is false if the operation certainly had no effect. If it is true the
	// server may have received the request: a change may have been made, or may
	// still be made, or not.
	Sent bool
	Err  error
}

func (e *OpError) Error() string {
	s := e.Op + " at " + e.Addr + ": " + e.Err.Error()
	if e.Sent && e.changes() {
		s += " (the request was sent and may have taken effect)"
	}
	return s
}

func (e *OpError) Unwrap() error { return e.Err }

// changes reports whether Op can change the store.
func (e *OpError) changes() bool {
	switch e.Op {
	case "dial", "params", "get", "range", "backup":
		return false
	}
	return true
}

// opName returns the name that errors use for a request of type typ.
func opName(typ uint32) string {
	switch typ {
	case wire.TypeParams:
		return "params"
	case wire.TypeGet:
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
	case wire.TypeBackup:
		return "backup"
	default:
		return "range"
	}
}
