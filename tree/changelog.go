package tree

import (
	"bytes"
	"sort"

	"kivaloo/tree/memtable"
)

// changeLog finds the changes of the latest commits, in order, for Watch. It reads them from the
// memtables while those exist. When a memtable is dropped, its latest changes are copied if there
// is a Watch.
//
//	runs:  [copy][copy][copy] [frozen memtable] [newest memtable]
//	                                 ^ marks: where each commit ends
//
// Each commit has a number. With a journal it is the commit sequence number, without one it comes
// from the root, see firstAfter. Numbers rise, also across restarts, but have gaps.
//
// Invariants:
// 1. runs contain every commit with a number above since, up to last.
// 2. runs contain only durable commits.
type changeLog struct {
	runs  []*changeRun // oldest first
	last  uint64       // number of the latest commit
	keeps bool         // copy changes when their memtable is dropped
	kept  int          // bytes of the copies
	limit int          // most bytes of copies
}

// changeRun is a sequence of consecutive commits.
type changeRun struct {
	before uint64 // number of the commit before the first
	marks  []mark
	table  *memtable.Table // has the changes, from its start; nil: data has them
	data   []byte          // encoded as in the answer to a Watch
}

// mark is where the changes of a commit end.
type mark struct {
	seq uint64
	end uint32 // memtable.Pos, or offset in data
}

// since returns the number of the latest commit that is not in runs.
func (c *changeLog) since() uint64 {
	if len(c.runs) == 0 {
		return c.last
	}
	return c.runs[0].before
}

// commit records that commit seq is durable. Its changes are those in table after the previous
// commit's, up to end.
func (c *changeLog) commit(table *memtable.Table, end memtable.Pos, seq uint64) {
	before, n := c.last, len(c.runs)
	c.last = seq
	if n == 0 || c.runs[n-1].table != table {
		c.runs = append(c.runs, &changeRun{before: before, table: table})
		n++
	}
	run := c.runs[n-1]
	run.marks = append(run.marks, mark{seq, uint32(end)})
}

// pageCommit records that a root is durable in a store without a journal. Its number is seq. Its
// changes are in table, which is nil if there are none.
func (c *changeLog) pageCommit(table *memtable.Table, seq uint64) {
	switch {
	case table == nil:
		c.last = seq
	case c.keeps:
		c.commit(table, table.Tip(), seq) // drop copies the changes
	default:
		c.runs, c.last = nil, seq
	}
}

// drop removes the oldest memtable.
func (c *changeLog) drop(table *memtable.Table) {
	for i, run := range c.runs {
		if run.table != table {
			continue
		}
		copies := c.copies(run)
		older := c.runs[:i:i]
		if len(copies) == 0 || copies[0].before != run.before { // older copies are useless, because there is now a gap after them
			older = nil
			c.kept = 0
		}
		for _, run := range copies {
			run.data = bytes.Clone(run.data) // clipped to its length
			c.kept += len(run.data)
		}
		c.runs = append(append(older, copies...), c.runs[i+1:]...)
		break
	}
	c.forget()
}

// copies returns copies of the latest commits of a memtable, as many as the limit allows.
func (c *changeLog) copies(run *changeRun) (copies []*changeRun) {
	if !c.keeps {
		return nil
	}
	first, size := len(run.marks), 0
	for first > 0 && size <= c.limit { // an entry takes at least as much memory as its copy
		first--
		size = memtable.PosBytes * int(run.marks[len(run.marks)-1].end-uint32(run.start(first)))
	}
	if size > c.limit {
		first++
	}
	var to *changeRun
	for i := first; i < len(run.marks); i++ {
		if to == nil || len(to.data) >= watchRunBytes {
			to = &changeRun{before: run.before}
			if i > 0 {
				to.before = run.marks[i-1].seq
			}
			copies = append(copies, to)
		}
		run.each(i, func(ch memtable.Change) bool {
			to.data = appendChange(to.data, ch)
			return true
		})
		to.marks = append(to.marks, mark{run.marks[i].seq, uint32(len(to.data))})
	}
	return copies
}

// forget drops the oldest copies until the rest is within the limit.
func (c *changeLog) forget() {
	for c.kept > c.limit || c.kept > 0 && !c.keeps {
		c.kept -= len(c.runs[0].data)
		c.runs = c.runs[1:]
	}
}

// keep says whether changes are to be copied when their memtable is dropped.
func (c *changeLog) keep(keeps bool) {
	c.keeps = keeps
	c.forget()
}

// start returns where the changes of commit i of a run begin.
func (r *changeRun) start(i int) memtable.Pos {
	switch {
	case i > 0:
		return memtable.Pos(r.marks[i-1].end)
	case r.table != nil:
		return memtable.Start
	}
	return 0
}

// bytes returns the approximate size of the changes of commit i of a run.
func (r *changeRun) bytes(i int) int {
	n := int(memtable.Pos(r.marks[i].end) - r.start(i))
	if r.table != nil {
		n *= memtable.PosBytes
	}
	return n
}

// each calls f with each change of commit i of a run, until f returns false.
func (r *changeRun) each(i int, f func(memtable.Change) bool) {
	from, to := r.start(i), memtable.Pos(r.marks[i].end)
	if r.table != nil {
		r.table.Each(from, to, f)
		return
	}
	for rest := r.data[from:to]; len(rest) > 0; {
		var ch memtable.Change
		if ch, rest = nextChange(rest); !f(ch) {
			return
		}
	}
}

// after returns the run, and the index in it, of the first commit with a number above seq. If there
// is none, run is the number of runs.
func (c *changeLog) after(seq uint64) (run, i int) {
	run = sort.Search(len(c.runs), func(n int) bool {
		marks := c.runs[n].marks
		return marks[len(marks)-1].seq > seq
	})
	if run == len(c.runs) {
		return run, 0
	}
	marks := c.runs[run].marks
	return run, sort.Search(len(marks), func(n int) bool { return marks[n].seq > seq })
}

const (
	changeSet     = 0
	changeDeleted = 1
	changeEnds    = 2 // added to one of them: a position follows

	positionBytes = 8
)

// changeLen is the encoded length of a change.
func changeLen(ch memtable.Change) int {
	if ch.Deleted {
		return 2 + len(ch.Key)
	}
	return 3 + len(ch.Key) + len(ch.Value)
}

// appendChange appends the encoding of a change.
func appendChange(p []byte, ch memtable.Change) []byte {
	if ch.Deleted {
		return append(append(p, changeDeleted, byte(len(ch.Key))), ch.Key...)
	}
	p = append(append(p, changeSet, byte(len(ch.Key))), ch.Key...)
	return append(append(p, byte(len(ch.Value))), ch.Value...)
}

// nextChange decodes the first change, which no position follows, and returns the rest.
func nextChange(p []byte) (memtable.Change, []byte) {
	end := 2 + int(p[1])
	ch := memtable.Change{Key: p[2:end], Deleted: p[0]&changeDeleted != 0}
	if ch.Deleted {
		return ch, p[end:]
	}
	value := end + 1
	end = value + int(p[end])
	ch.Value = p[value:end]
	return ch, p[end:]
}
