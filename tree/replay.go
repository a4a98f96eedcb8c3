package tree

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"

	"kivaloo/actors"
	"kivaloo/disk"
)

// Replaying the journal: what batches have made of keys since the tree on disk was saved is read, in the order in which they
// were committed, and put into the tree as the pages of those batches once were: in memory. It writes nothing, unless
// the cache is too small for all that has changed; so a crash during it changes nothing.
//
// What the journal says of a key is what the key was to hold, absolutely. So it does no harm to replay a batch that the
// tree knows already, and of all that is said of a key in a stretch of the journal only the last counts: it is sorted, and
// each leaf is rebuilt once for all of its keys.

// replayBytes bounds how much of the journal is taken at a time.
const replayBytes = 64 << 20

// replay brings the tree, of which the root has been read, up to what the journal says.
func (t *Tree) replay(store disk.Store) error {
	info := store.Info()
	r := replayer{tree: t, store: store}
	t.replaying = true
	err := r.readFrom(t.committed.next, info.Next)
	t.replaying = false
	if err != nil {
		return fmt.Errorf("replay the journal: %w", err)
	}
	t.appends.seq = r.seq
	t.committed.next = t.next
	t.committed.logged = r.blocks
	t.tip = t.committed
	if r.batches > 0 {
		t.cfg.Log.Info("replayed the journal", "batches", r.batches, "changes", r.records, "blocks", r.blocks)
	}
	if t.logs() || t.cfg.ReadOnly {
		return nil
	}
	// Those who write pages know nothing of a journal.
	return t.runUntil(store, nil, func() bool { return !t.Busy() && !t.checkpoint.sweeping && t.isSaved(&t.committed) })
}

// replayer reads the journal and has its batches carried out.
type replayer struct {
	tree  *Tree
	store disk.Store

	seq     uint64 // the highest that was seen
	lastSeq uint64 // of the last whole batch
	batches int
	records int
	blocks  uint64

	part    []byte // payload of the batch at hand, as far as it has been read
	partSeq uint64
	pieces  uint32 // read of it; 0: there is none
	of      uint32

	payload []byte // of whole batches that are to be carried out
	failed  error  // why one could not be
}

// readFrom reads blocks from first on and before end.
func (r *replayer) readFrom(first, end uint64) error {
	w := newWindow(r.store)
	w.resize(scanWindow)
	for at := first; at < end; {
		n := int(min(uint64(len(w.ops)), end-at))
		w.read(at, n)
		for i := range n {
			if err := r.block(&w.ops[i]); err != nil {
				return fmt.Errorf("block %d: %w", w.ops[i].Block, err)
			}
		}
		at += uint64(n)
		if len(r.payload) >= replayBytes {
			if err := r.carryOut(); err != nil {
				return err
			}
		}
	}
	return r.carryOut()
}

// block takes in one block. What is neither a piece of the journal nor a checkpoint record is a page, or was never
// acknowledged.
func (r *replayer) block(op *disk.Op) error {
	if op.Err != nil && !errors.Is(op.Err, disk.ErrCorrupt) {
		return op.Err
	}
	if op.Err == nil && op.OK && isJournal(op.Buf) {
		if j, err := parseJournal(op.Block, op.Buf); err == nil {
			return r.take(&j)
		}
	}
	r.pieces = 0
	return nil
}

// take puts a piece to those before it. A batch that is not whole was cut short by a crash, and is passed over.
func (r *replayer) take(j *journalBlock) error {
	if j.kind == journalCheckpoint {
		r.seq, r.pieces = max(r.seq, j.seq), 0
		return nil
	}
	switch {
	case j.piece == 0:
		r.part, r.partSeq, r.pieces, r.of = r.part[:0], j.seq, 0, j.pieces
	case r.pieces != j.piece || r.partSeq != j.seq || r.of != j.pieces:
		r.pieces = 0
		return nil
	}
	r.part = append(r.part, j.payload...)
	if r.pieces++; r.pieces < r.of {
		return nil
	}
	r.pieces = 0
	if r.batches > 0 && r.partSeq != r.lastSeq+1 {
		// A batch gets a number only after the one before it was acknowledged.
		return fmt.Errorf("%w: batch %d follows batch %d: what is between has been acknowledged, and cannot be read", disk.ErrCorrupt, r.partSeq, r.lastSeq)
	}
	r.lastSeq, r.seq = r.partSeq, max(r.seq, r.partSeq)
	r.batches++
	r.blocks += uint64(r.of)
	r.payload = append(r.payload, r.part...)
	return nil
}

// carryOut puts what has been read into the tree, in the order of the keys.
func (r *replayer) carryOut() error {
	changes, err := cutRecords(r.payload)
	if err != nil {
		return err
	}
	r.records += len(changes)
	changes = lastOfEach(changes)
	for len(changes) > 0 {
		n := min(len(changes), r.tree.batchLimit())
		if err := r.tree.runUntil(r.store, r.batch(changes[:n]), func() bool { return !r.tree.Busy() }); err != nil {
			return err
		}
		if r.failed != nil {
			return r.failed
		}
		changes = changes[n:]
	}
	r.payload = r.payload[:0]
	return nil
}

// cutRecords returns the records of a payload, in their order. They alias it.
func cutRecords(payload []byte) ([]outcome, error) {
	var changes []outcome
	for rest := payload; len(rest) > 0; {
		key, value, deleted, after, err := cutRecord(rest)
		if err != nil {
			return nil, err
		}
		o := outcome{key: key, value: value, action: put}
		if deleted {
			o.action = remove
		}
		changes, rest = append(changes, o), after
	}
	return changes, nil
}

// lastOfEach returns the last of the changes of each key, in the order of the keys.
func lastOfEach(changes []outcome) []outcome {
	items := make([]item, len(changes))
	for i := range changes {
		items[i] = item{key: changes[i].key, req: int32(i)}
	}
	sortItems(items)
	last := make([]outcome, 0, len(changes))
	for i := range items {
		if i+1 == len(items) || !bytes.Equal(items[i].key, items[i+1].key) {
			last = append(last, changes[items[i].req])
		}
	}
	return last
}

// batch returns changes as a batch of requests.
func (r *replayer) batch(changes []outcome) *Batch {
	b := &Batch{Client: r, Requests: make([]Request, len(changes))}
	for i, o := range changes {
		b.Requests[i] = Request{Op: Set, Key: o.key, Value: o.value}
		if o.action == remove {
			b.Requests[i].Op = Delete
		}
	}
	return b
}

// replayer is the Client of its batches.
func (r *replayer) Failed(_ *Request, err error) { r.failed = err }

func (r *replayer) Value(*Request, []byte, bool)        {}
func (r *replayer) Done(*Request, bool)                 {}
func (r *replayer) Pairs(*Request, int, []byte, []byte) {}
func (r *replayer) Dropped(*Request)                    {}
func (r *replayer) Release(*Batch)                      {}
func (r *replayer) Flush()                              {}
func (r *replayer) Abandoned() bool                     { return false }

// errStuck: nothing is under way, and nothing can be begun.
var errStuck = errors.New("no more pages can be held in memory, and none can be saved")

// runUntil has the tree carry out a batch, which may be nil, and goes on until done says so. Time stands still meanwhile.
func (t *Tree) runUntil(store disk.Store, b *Batch, done func() bool) error {
	bell := actors.NewWaiter()
	back := disk.NewCompletions(&bell.Doorbell)
	in := Inputs{Requests: b}
	for underWay := 0; ; {
		out := t.Step(in)
		for op := out.First; op != nil; op = op.Link.Next() {
			op.Done = back
			underWay++
		}
		if out.First != nil {
			store.Submit(out.First, out.Last)
		}
		switch {
		case underWay > 0:
			bell.Wait(-1, back.Empty)
		case done():
			return nil
		case !t.checkpoint.sweeping:
			return cmp.Or(t.writes.refusal, errStuck)
		}
		in = Inputs{Done: back.Drain()}
		for op := in.Done; op != nil; op = op.Link.Next() {
			underWay--
		}
	}
}
