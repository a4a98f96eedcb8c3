package kvlds

import (
	"kivaloo/eventloop"
	"kivaloo/tree"
)

// Operations whose latency eventloop.Metrics counts: those of the tree, and requests that the tree
// does not distinguish.
const (
	opGetAt = tree.OpCodes + iota // a Get of a snapshot
	opApply                       // a Batch

	Ops // how many there are
)

var _ [eventloop.MaxOps - Ops]struct{} // there is room for all

// OpName returns the name of operation op, which is less than Ops.
func OpName(op int) string {
	switch op {
	case opGetAt:
		return "get_at"
	case opApply:
		return "apply"
	}
	return tree.OpCode(op).String()
}

// opOf returns the operation of r.
func opOf(r *tree.Request) uint8 {
	if r.Op == tree.Get && r.Snapshot != 0 {
		return uint8(opGetAt)
	}
	return uint8(r.Op)
}
