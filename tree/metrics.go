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
	StatusNotDone        // the key is absent, or a condition did not hold
	StatusFailed         // it could not be carried out
	StatusDropped        // it was not started, because its client had been abandoned
)

// Operations and statuses are numbers from 0 up to these.
const (
	OpCodes  = int(DeleteRange) + 1
	Statuses = int(StatusDropped) + 1
)

var opNames = [OpCodes]string{
	"get", "range", "scan", "backup", "snapshot", "release", "watch",
	"set", "add", "modify", "cas", "delete", "cad", "expect", "expect_present", "expect_absent", "delete_range",
}

var statusNames = [Statuses]string{"ok", "not_done", "failed", "dropped"}

func (op OpCode) String() string { return opNames[op] }
func (s Status) String() string  { return statusNames[s] }

// Metrics is what a tree counts of its work. The tree fills it on its goroutine; any goroutine may
// read it.
//
// Counts that change with every request are plain numbers in the tree, which publishes them once a
// step.
type Metrics struct {
	CommitSize actors.Histogram // changes in a commit
	Commit     actors.Durations // from when an append with a commit began until it was durable
	Queue      actors.Durations // from when a client's requests were pushed, if it says so, until a step took them
	Step       actors.Durations // a step that had requests or completed operations
	Flush      actors.Durations // from the start of a memtable's flush until its last root was durable
	Disk       actors.Durations // from the step that made an append or a read of a page until that in which it was back

	requests [OpCodes][Statuses]atomic.Uint64
	hits     atomic.Uint64
	misses   atomic.Uint64
}

// Measure has the tree count in m from now on; nil ends counting. It is called where Step may be.
func (t *Tree) Measure(m *Metrics) {
	t.metrics, t.replies.tally = m, tally{}
	if r := t.cache.readers; r != nil {
		r.metrics.Store(m)
	}
}

// Kinds of events of a tree.
const (
	EventCleaning = "cleaning" // old leaves were moved in the last second
	EventSnapshot = "snapshot" // it was open, and has been released
	EventFlush    = "flush"    // a memtable is written into pages
)

// Note has the tree record its events in e from now on. It is called where Step may be.
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

// CacheHits returns how often a Get found all its pages in memory, and CacheMisses how often a
// request had to wait for a page.
func (m *Metrics) CacheHits() uint64   { return m.hits.Load() }
func (m *Metrics) CacheMisses() uint64 { return m.misses.Load() }

// tally is what has been counted and not yet published.
type tally struct {
	requests [OpCodes][Statuses]uint32
	hits     uint64
	misses   uint64
}

// outcomeOf is the status of a request that was carried out.
func outcomeOf(done bool) Status {
	if done {
		return StatusOK
	}
	return StatusNotDone
}

// publishTally adds what this step has counted to the metrics.
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

// noteQueued notes how long the requests of a client have waited in the mailbox.
func (t *Tree) noteQueued(b *Batch) {
	if t.metrics != nil && b.Pushed > 0 {
		t.metrics.Queue.Add(t.now - b.Pushed)
	}
}

// noteCommit notes how many changes are in a commit.
func (t *Tree) noteCommit(changes int) {
	if t.metrics != nil {
		t.metrics.CommitSize.Add(uint64(changes))
	}
}

// noteDurable notes that a commit is durable.
func (t *Tree) noteDurable() {
	if t.metrics != nil {
		t.metrics.Commit.Add(t.now - t.appends.since)
	}
}

// noteDisk notes how long an operation took.
func (t *Tree) noteDisk(took time.Duration) {
	if t.metrics != nil {
		t.metrics.Disk.Add(took)
	}
}
