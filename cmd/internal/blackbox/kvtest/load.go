package kvtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

const (
	// loadWindow is the most requests that a Load has outstanding.
	loadWindow = 512

	// loadKeys is how many keys a Load uses: few, so that most changes hit the same keys.
	loadKeys = 150

	// loadMaxBytes is the longest key or value: what any block size allows.
	loadMaxBytes = 60
)

// Load is one connection's part of a mixed load: random changes, many in flight, and reads among
// them. Its keys begin with its own prefix, so that nobody else changes them.
//
// The changes of a connection are applied in order. So the keys are always in a state that the
// first n changes have produced. Every answer says something about n: a change is answered when it
// is durable, and a read sees only durable changes.
//
// Invariants:
//  1. base is the state to which changes are applied, and tip the state after the last one.
//  2. durable <= len(changes).
//  3. history has, for each key that a change has touched, its values in order. The first is the
//     one in base.
type Load struct {
	Prefix string

	rnd     *rand.Rand
	source  *Source
	base    wiretest.Model
	tip     wiretest.Model
	changes []wire.KVRequest // since base, in the order in which they were sent
	want    []uint32         // the expected statuses
	durable int              // this many must survive anything
	history map[string][]state

	acknowledged atomic.Int64 // changes, in total
}

// state is the value of a key once changes[after-1] has been applied.
type state struct {
	after   int
	value   string
	present bool
}

// NewLoad returns a load whose keys are all absent. It only takes a seed from rnd, because Run may
// be on another goroutine.
func NewLoad(rnd *rand.Rand, prefix string) *Load {
	rnd = rand.New(rand.NewPCG(rnd.Uint64(), 0))
	l := &Load{Prefix: prefix, rnd: rnd, source: NewSource(rnd, prefix, loadKeys, loadMaxBytes, loadMaxBytes)}
	l.settle(wiretest.Model{})
	return l
}

// settle starts again from the content of the store.
func (l *Load) settle(base wiretest.Model) {
	l.base, l.tip = base, make(wiretest.Model, len(base))
	for key, value := range base {
		l.tip[key] = value
	}
	l.changes, l.want, l.durable = l.changes[:0], l.want[:0], 0
	l.history = make(map[string][]state)
}

// Acknowledged returns how many changes have been acknowledged so far. It is safe for concurrent
// use.
func (l *Load) Acknowledged() int { return int(l.acknowledged.Load()) }

// Run makes requests on a new connection until the server closes it or ctx ends. Neither is an
// error.
func (l *Load) Run(ctx context.Context, addr string) error {
	c, err := Dial(ctx, addr)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	r := &run{Load: l, conn: c, reads: make(map[uint64]read), changeIDs: make(map[uint64]int), next: len(l.changes)}
	for {
		if err = r.send(); err != nil {
			break
		}
		// Keep at least half of the window in flight. Otherwise the answers of one write would
		// shrink to nothing.
		for limit := l.rnd.IntN(loadWindow / 2); r.outstanding() > limit && err == nil; {
			err = r.receive()
		}
		if err != nil {
			break
		}
	}
	if ctx.Err() != nil || wiretest.Lost(err) {
		return nil
	}
	return err
}

// run is one connection of a Load.
type run struct {
	*Load
	conn      *Conn
	reads     map[uint64]read
	changeIDs map[uint64]int // index of the change
	next      int            // the change to be answered next
}

// read is an outstanding GET.
type read struct {
	key   string
	since int // number of changes that were answered when it was sent
}

func (r *run) outstanding() int { return len(r.reads) + len(r.changeIDs) }

// send fills part of the window.
func (r *run) send() error {
	for range 1 + r.rnd.IntN(loadWindow-r.outstanding()) {
		if r.rnd.IntN(8) == 0 {
			key := r.source.Key()
			id := r.conn.Queue(&wire.KVRequest{Type: wire.TypeGet, Key: []byte(key)})
			r.reads[id] = read{key, r.next}
			continue
		}
		change := r.source.Change(r.tip)
		r.changeIDs[r.conn.Queue(&change)] = len(r.changes)
		r.record(change)
	}
	return r.conn.Flush()
}

// record adds a change about to be sent.
func (l *Load) record(change wire.KVRequest) {
	key := string(change.Key)
	if l.history[key] == nil {
		value, present := l.base[key]
		l.history[key] = []state{{0, value, present}}
	}
	l.changes = append(l.changes, change)
	l.want = append(l.want, l.tip.Apply(&change))
	value, present := l.tip[key]
	l.history[key] = append(l.history[key], state{len(l.changes), value, present})
}

// receive processes one answer.
func (r *run) receive() error {
	p, err := r.conn.Next()
	if err != nil {
		return err
	}
	if q, ok := r.reads[p.ID]; ok {
		delete(r.reads, p.ID)
		return r.sees(q, p.Record)
	}
	i, ok := r.changeIDs[p.ID]
	if !ok || i != r.next {
		return fmt.Errorf("answer to request %d, which is change %d; change %d is to be answered", p.ID, i, r.next)
	}
	delete(r.changeIDs, p.ID)
	r.next++
	r.acknowledged.Add(1)
	r.durable = max(r.durable, r.next)
	change := &r.changes[i]
	if status, err := wire.ParseKVStatus(change.Type, p.Record); err != nil || status != r.want[i] {
		return fmt.Errorf("%s %q: status %d, %v; want %d", wire.TypeName(change.Type), change.Key, status, err, r.want[i])
	}
	return nil
}

// sees checks the answer to a read. It must include every change that was answered before the read
// was sent. Everything that it shows is durable.
func (l *Load) sees(q read, record []byte) error {
	value, found, err := wire.ParseKVValue(record)
	if err != nil {
		return err
	}
	history := l.history[q.key]
	if history == nil {
		want, present := l.base[q.key]
		history = []state{{0, want, present}}
	}
	for i, s := range history {
		over := i+1 < len(history) && history[i+1].after <= q.since
		if !over && s.present == found && s.value == string(value) {
			l.durable = max(l.durable, s.after)
			return nil
		}
	}
	return fmt.Errorf("GET %q: %q, %v, which it was at no time since change %d", q.key, value, found, q.since)
}

// Check compares the content of the store after a crash, limited to the keys of this load, with
// what may be there: the result of the first n changes, for any n from the known durable ones to
// all. The load then continues from there.
func (l *Load) Check(found wiretest.Model) error {
	mine, err := l.look(found)
	if err == nil {
		l.settle(mine)
	}
	return err
}

// Look is Check while unanswered changes may still be made, so that the load cannot continue.
func (l *Load) Look(found wiretest.Model) error {
	_, err := l.look(found)
	return err
}

// look returns the pairs in found that belong to this load, and an error if they may not be there.
func (l *Load) look(found wiretest.Model) (mine wiretest.Model, err error) {
	mine = make(wiretest.Model)
	for key, value := range found {
		if len(key) >= len(l.Prefix) && key[:len(l.Prefix)] == l.Prefix {
			mine[key] = value
		}
	}
	state := make(wiretest.Model, len(l.base))
	for key, value := range l.base {
		state[key] = value
	}
	differ := make(map[string]bool) // keys that differ
	compare := func(key string) {
		value, present := state[key]
		got, there := mine[key]
		if delete(differ, key); present != there || value != got {
			differ[key] = true
		}
	}
	for key := range state {
		compare(key)
	}
	for key := range mine {
		compare(key)
	}
	diff := ""
	for n := 0; ; n++ {
		if n >= l.durable && len(differ) == 0 {
			return mine, nil
		}
		if n == l.durable {
			diff = state.Diff(mine)
		}
		if n == len(l.changes) {
			return nil, fmt.Errorf("keys %s*: not what any number of changes from %d to %d has left; after %d: %s",
				l.Prefix, l.durable, n, l.durable, diff)
		}
		state.Apply(&l.changes[n])
		compare(string(l.changes[n].Key))
	}
}
