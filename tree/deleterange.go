package tree

import "bytes"

// rangeDeletion carries out a DeleteRange. A Scan finds the committed keys, and an atomic batch
// deletes them. rangeDeletion is the client of that batch.
type rangeDeletion struct {
	ref
	replies *replies
	batch   Batch
	more    bool   // see Client.Scanned
	next    []byte // likewise
	err     error  // why the batch failed
	dropped bool   // the batch was not started
}

// runDeleteRange starts a DeleteRange.
func (t *Tree) runDeleteRange(r ref) {
	t.reader.runRange(&rangeRun{reader: &t.reader, ref: r, found: func(s *scan, next []byte) {
		d := &rangeDeletion{ref: r, replies: &t.replies, more: s.stop != scanComplete, next: bytes.Clone(next)}
		d.batch = Batch{Client: d, Atomic: true, Requests: make([]Request, 0, s.count)}
		for keys := bytes.Clone(s.pairs); len(keys) > 0; {
			n := 1 + int(keys[0])
			d.batch.Requests = append(d.batch.Requests, Request{Op: Delete, Key: keys[1:n:n]})
			keys = keys[n:]
		}
		t.accept(&d.batch)
	}})
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
