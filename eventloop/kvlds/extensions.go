package kvlds

import (
	"errors"
	"strings"

	"kivaloo/tree"
	"kivaloo/wire"
)

// offered is the set of extensions that clients are told about.
const offered = wire.Extensions1

// extensionOps maps extension requests to operations of the tree, for those that are one operation.
var extensionOps = map[uint32]tree.OpCode{
	wire.TypeScan:        tree.Scan,
	wire.TypeGetAt:       tree.Get,
	wire.TypeSnapshot:    tree.TakeLease,
	wire.TypeRelease:     tree.ReleaseLease,
	wire.TypeDeleteRange: tree.DeleteRange,
	wire.TypeWatch:       tree.Watch,
}

// isExtension reports whether r comes from an extension request. A GET of the original reads no
// snapshot.
func isExtension(r *tree.Request) bool {
	switch r.Op {
	case tree.Scan, tree.TakeLease, tree.ReleaseLease, tree.DeleteRange, tree.Watch:
		return true
	}
	return r.Op == tree.Get && r.Snapshot != 0
}

// extension accepts a request that the original does not have. Its record has length bytes. Errors
// other than in its form are reported in the answer.
func (s *session) extension(id uint64, q *wire.KVRequest, length int) {
	switch {
	case q.Type == wire.TypeApply:
		s.apply(id, q, length)
	case q.Type == wire.TypeGetAt && q.Snapshot == 0: // the tree would take it for a GET
		s.answerNow(id, wire.AppendRefusal(nil, wire.StatusGone, ""))
	case q.Type == wire.TypeUnwatch:
		s.unwatch(id, q.Watch)
	case q.Type == wire.TypeWatch && q.Wait > 0:
		s.watch(id, q, length)
	default:
		s.single(id, q, length)
	}
}

// single accepts an extension request that is one operation of the tree.
func (s *session) single(id uint64, q *wire.KVRequest, length int) {
	b := s.room(length)
	r := tree.Request{
		ID: id, Began: s.began, Op: extensionOps[q.Type], Key: b.keep(q.Key), End: b.keep(q.End), Snapshot: q.Snapshot,
		Max: min(q.Max, uint32(s.conn.Room())), Limit: q.Limit, Position: q.Position,
		Reverse: q.Flags&wire.ScanReverse != 0, KeysOnly: q.Flags&wire.ScanKeysOnly != 0,
		CountOnly: q.Flags&wire.ScanCountOnly != 0,
	}
	switch {
	case r.CountOnly:
		r.Max = 0
	case r.Op == tree.DeleteRange:
		r.Max, r.Limit = 0, q.Max
	}
	b.Requests = append(b.Requests, r)
	s.conn.Owe(1, reservation(&r))
}

// appendOutcome appends the answer to an operation of an extension request that was done, or not.
func appendOutcome(dst []byte, r *tree.Request, done bool) []byte {
	switch {
	case !done: // there is no such snapshot
		return wire.AppendRefusal(dst, wire.StatusGone, "")
	case r.Op == tree.TakeLease:
		return wire.AppendSnapshot(dst, r.Snapshot)
	}
	return wire.AppendKVStatus(dst, wire.StatusDone)
}

// appendRefusal appends the answer to a failed extension request.
func appendRefusal(dst []byte, err error) []byte {
	switch {
	case errors.Is(err, tree.ErrSnapshotGone), errors.Is(err, tree.ErrPositionGone):
		return wire.AppendRefusal(dst, wire.StatusGone, "")
	case errors.Is(err, tree.ErrTooManySnapshots), errors.Is(err, tree.ErrTooManyWatches):
		_, reason, _ := strings.Cut(err.Error(), ": ") // the status says the rest
		return wire.AppendRefusal(dst, wire.StatusTooMany, reason)
	}
	if errors.Is(err, tree.ErrReadOnly) {
		return wire.AppendRefusal(dst, wire.StatusRefused, err.Error())
	}
	return wire.AppendRefusal(dst, wire.StatusFailed, err.Error())
}
