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
// each leaf is made anew once. Those of the stretches after it are mostly written over what the first has made.

// replayBytes is how much of the journal is taken at a time: so much that a stretch has several keys for many leaves, and so
// little that it stays in the processor's caches.
const replayBytes = 4 << 20

// usualRecordBytes is how long a record of the journal is for a short key and value.
const usualRecordBytes = 64

// replay brings the tree, of which the root has been read, up to what the journal says.
func (t *Tree) replay(store disk.Store) error {
	info := store.Info()
	r := replayer{journalReader: journalReader{store: store}, tree: t}
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
		t.cfg.Log.Debug("replayed the journal", "batches", r.batches, "changes", r.records, "blocks", r.blocks)
	}
	if t.logs() || t.cfg.ReadOnly {
		return nil
	}
	// Those who write pages know nothing of a journal: it must not come before their first root.
	t.torn = r.batches > 0
	return t.runUntil(store, nil, func() bool { return !t.Busy() && !t.checkpoint.sweeping && !t.torn && t.isSaved(&t.committed) })
}

// replayer has the batches of the journal carried out.
type replayer struct {
	journalReader
	tree    *Tree
	records int

	payload  []byte // of whole batches that are to be carried out
	changes  []outcome
	items    []item
	sorted   []outcome // as changes, for keepLast
	requests []Request
	failed   error // why one could not be
}

// readFrom replays what is in blocks from first on and before end.
func (r *replayer) readFrom(first, end uint64) error {
	// As long as a stretch becomes: what is behind the last root may be little, or so much that it pays not to grow them.
	size := int(min(replayBytes, (end-first)*uint64(r.store.Info().BlockSize)))
	r.payload = make([]byte, 0, size+size/16)
	for _, list := range []*[]outcome{&r.changes, &r.sorted} {
		*list = make([]outcome, 0, size/usualRecordBytes)
	}
	r.items = make([]item, 0, size/usualRecordBytes)
	r.batch = func(payload []byte) error {
		r.payload = append(r.payload, payload...)
		if len(r.payload) < replayBytes {
			return nil
		}
		return r.carryOut()
	}
	if err := r.read(first, end); err != nil {
		return err
	}
	return r.carryOut()
}

// carryOut puts what has been read into the tree, in the order of the keys.
func (r *replayer) carryOut() error {
	var err error
	if r.changes, err = cutRecords(r.changes[:0], r.payload); err != nil {
		return err
	}
	r.records += len(r.changes)
	r.keepLast()
	for changes := r.changes; len(changes) > 0; {
		n := min(len(changes), r.tree.batchLimit())
		if err := r.tree.runUntil(r.store, r.asBatch(changes[:n]), func() bool { return !r.tree.Busy() }); err != nil {
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

// cutRecords appends the records of a payload, in their order, to changes. They alias it.
func cutRecords(changes []outcome, payload []byte) ([]outcome, error) {
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

// keepLast leaves the last of the changes of each key, in the order of the keys.
func (r *replayer) keepLast() {
	r.items = r.items[:0]
	for i := range r.changes {
		r.items = append(r.items, item{key: r.changes[i].key, req: int32(i)})
	}
	sortItems(r.items)
	last := r.sorted[:0]
	for i := range r.items {
		if i+1 == len(r.items) || !bytes.Equal(r.items[i].key, r.items[i+1].key) {
			last = append(last, r.changes[r.items[i].req])
		}
	}
	r.changes, r.sorted = last, r.changes
}

// asBatch returns changes as a batch of requests, which is good until the next call.
func (r *replayer) asBatch(changes []outcome) *Batch {
	r.requests = r.requests[:0]
	for _, o := range changes {
		op := Set
		if o.action == remove {
			op = Delete
		}
		r.requests = append(r.requests, Request{Op: op, Key: o.key, Value: o.value})
	}
	return &Batch{Client: r, Requests: r.requests}
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
