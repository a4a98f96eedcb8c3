package tree

import (
	"bytes"
	"slices"
)

// rangeDeletion carries out a DeleteRange. It is the first request that is not yet decided, and
// waits until all decided changes are in view. Then a Scan finds the keys, and an atomic batch that
// deletes them takes its place in the queue. Until that batch is decided, nothing else is. So a
// DeleteRange sees the changes before it, and no later ones. rangeDeletion is the client of the
// batch.
type rangeDeletion struct {
	ref
	replies *replies
	batch   Batch
	more    bool   // see Client.Scanned
	next    []byte // likewise
	err     error  // why the batch failed
	dropped bool   // the batch was not started
}

// findRange finds the keys of a DeleteRange, if that is the first request in the queue. It reports
// whether another request is first now.
func (w *writer) findRange() bool {
	if w.finding || len(w.queue) == 0 || w.queue[0].request().Op != DeleteRange || !w.settled() || w.t.foldsFirst() {
		return false
	}
	r := w.queue[0]
	if r.b.Client.Abandoned() {
		r.b.Client.Dropped(r.request())
		w.t.replies.answered(r, StatusDropped)
		w.replaceFirst()
		return true
	}
	w.finding = true
	w.t.reader.runRange(&rangeRun{
		reader:   &w.t.reader,
		ref:      r,
		answered: func() { w.replaceFirst() }, // it has failed
		found:    func(s *scan, next []byte) { w.foundRange(r, s, next) },
	})
	return !w.finding
}

// foundRange replaces a DeleteRange in the queue by an atomic batch that deletes the found keys.
func (w *writer) foundRange(r ref, s *scan, next []byte) {
	d := &rangeDeletion{ref: r, replies: &w.t.replies, more: s.stop != scanComplete, next: bytes.Clone(next)}
	d.batch = Batch{Client: d, Atomic: true, Requests: make([]Request, 0, s.count), unanswered: s.count}
	refs := make([]ref, 0, s.count)
	for keys := bytes.Clone(s.pairs); len(keys) > 0; {
		n := 1 + int(keys[0])
		refs = append(refs, ref{&d.batch, int32(len(refs))})
		d.batch.Requests = append(d.batch.Requests, Request{Op: Delete, Key: keys[1:n:n]})
		keys = keys[n:]
	}
	w.replaceFirst(refs...)
	if len(refs) == 0 {
		d.Release(&d.batch)
	}
}

// replaceFirst replaces the first request in the queue, a DeleteRange, by others.
func (w *writer) replaceFirst(refs ...ref) {
	w.finding = false
	if w.queue = slices.Replace(w.queue, 0, 1, refs...); len(w.queue) == 0 {
		w.timing, w.expired = false, false
	}
}

// maxDeletes returns how many keys one DeleteRange may delete.
func (t *Tree) maxDeletes(q *Request) int {
	n := maxRangeDeletes
	if !t.logs() {
		n = min(n, t.commitLimit())
	}
	if q.Limit > 0 {
		n = min(n, int(q.Limit))
	}
	return n
}

// Release answers the DeleteRange once its batch has been answered.
func (d *rangeDeletion) Release(*Batch) {
	client, q := d.b.Client, d.request()
	switch {
	case d.dropped:
		client.Dropped(q)
		d.replies.answered(d.ref, StatusDropped)
	case d.err != nil:
		d.replies.fail(d.ref, d.err)
	default:
		client.Scanned(q, len(d.batch.Requests), d.more, d.next, nil)
		d.replies.answered(d.ref, StatusOK)
	}
}

func (d *rangeDeletion) Value(*Request, []byte, bool)                {}
func (d *rangeDeletion) Done(*Request, bool)                         {}
func (d *rangeDeletion) Pairs(*Request, int, []byte, []byte)         {}
func (d *rangeDeletion) Scanned(*Request, int, bool, []byte, []byte) {}
func (d *rangeDeletion) Changed(*Request, uint64, int, []byte)       {}
func (d *rangeDeletion) Failed(_ *Request, err error)                { d.err = err }
func (d *rangeDeletion) Dropped(*Request)                            { d.dropped = true }
func (d *rangeDeletion) Flush()                                      {}
func (d *rangeDeletion) Abandoned() bool                             { return d.b.Client.Abandoned() }
