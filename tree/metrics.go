package tree

import (
	"sync/atomic"
	"time"

	"kivaloo/actors"
)

// Status is how a request ended.
type Status uint8

const (
	StatusOK      Status = iota
	StatusNotDone        // the key is absent, or a condition failed
	StatusFailed         // an error occurred
	StatusDropped        // not started, because its client was gone
)

// Operations and statuses are numbers below these.
const (
	OpCodes  = int(DeleteRange) + 1
	Statuses = int(StatusDropped) + 1
)

var opNames = [OpCodes]string{
	"get", "range", "scan", "snapshot", "release", "watch",
	"set", "add", "modify", "cas", "delete", "cad", "expect", "expect_present", "expect_absent", "delete_range",
}

var statusNames = [Statuses]string{"ok", "not_done", "failed", "dropped"}

func (op OpCode) String() string { return opNames[op] }
func (s Status) String() string  { return statusNames[s] }

// Metrics counts the work of a tree. The tree writes it on its goroutine; any goroutine may read
// it.
//
// Counts that change with every request are plain numbers in the tree. The tree publishes them once
// a step.
type Metrics struct {
	CommitSize actors.Histogram // changes in a commit
	Commit     actors.Durations // from the start of an append with a commit until it was durable
	Queue      actors.Durations // from when a client pushed its requests, if it says so, until a step took them
	Step       actors.Durations // duration of a step with requests or completed operations
	Flush      actors.Durations // from the start of a memtable's flush until its last root was durable
	Disk       actors.Durations // from the step that submitted an append or a page read until the step that got it back

	requests [OpCodes][Statuses]atomic.Uint64
	hits     atomic.Uint64
	misses   atomic.Uint64
}

// Measure has the tree count in m from now on; nil stops counting. Only call it where Step may be
// called.
func (t *Tree) Measure(m *Metrics) {
	t.metrics, t.replies.tally = m, tally{}
	if r := t.cache.readers; r != nil {
		r.metrics.Store(m)
	}
}

// Kinds of events of a tree.
const (
	EventCleaning = "cleaning" // a snapshot, from taking it to its release
	EventSnapshot = "snapshot" // a snapshot was open; the event ends when it is released
	EventFlush    = "flush"    // a memtable is being written into pages
)

// Note has the tree record its events in e from now on. Only call it where Step may be called.
func (t *Tree) Note(e *actors.Events) { t.events = e }

// noteCleaning records, every second, whether cleaning is going on.
func (t *Tree) noteCleaning() {
	if t.clean.moved {
		t.events.Begin(EventCleaning)
	} else {
		t.events.End(EventCleaning)
	}
	t.clean.moved = false
}

// Requests returns how many requests for an operation ended with a status.
func (m *Metrics) Requests(op OpCode, s Status) uint64 { return m.requests[op][s].Load() }

// CacheHits returns how often a Get found all its pages in memory. CacheMisses returns how often a
// request had to wait for a page.
func (m *Metrics) CacheHits() uint64   { return m.hits.Load() }
func (m *Metrics) CacheMisses() uint64 { return m.misses.Load() }

// tally holds counts that are not published yet.
type tally struct {
	requests [OpCodes][Statuses]uint32
	hits     uint64
	misses   uint64
}

// outcomeOf returns the status of a request that was carried out.
func outcomeOf(done bool) Status {
	if done {
		return StatusOK
	}
	return StatusNotDone
}

// publishTally adds the counts of this step to the metrics.
func (t *Tree) publishTally() {
	m := t.metrics
	if m == nil {
		return
	}
	for op := range t.replies.tally.requests {
		for s, n := range t.replies.tally.requests[op] {
			if n > 0 {
				m.requests[op][s].Add(uint64(n))
			}
		}
	}
	m.hits.Add(t.replies.tally.hits)
	m.misses.Add(t.replies.tally.misses)
	t.replies.tally = tally{}
}

// noteQueued records how long requests waited in the mailbox.
func (t *Tree) noteQueued(b *Batch) {
	if t.metrics != nil && b.Pushed > 0 {
		t.metrics.Queue.Add(t.now - b.Pushed)
	}
}

// noteCommit records the number of changes in a commit.
func (t *Tree) noteCommit(changes int) {
	if t.metrics != nil {
		t.metrics.CommitSize.Add(uint64(changes))
	}
}

// noteDurable records how long a commit took to become durable.
func (t *Tree) noteDurable() {
	if t.metrics != nil {
		t.metrics.Commit.Add(t.now - t.appends.since)
	}
}

// noteDisk records how long a store operation took.
func (t *Tree) noteDisk(took time.Duration) {
	if t.metrics != nil {
		t.metrics.Disk.Add(took)
	}
}
