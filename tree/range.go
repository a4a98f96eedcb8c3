package tree

import (
	"bytes"
	"fmt"

	"kivaloo/disk"
)

// rangeRun is a Range, or a Backup, that is being carried out.
type rangeRun struct {
	ref
	lease   *lease // of a Backup
	waiting int    // pages
	tries   int    // times it has waited
	cost    int    // taken from reader.cost while it waits
}

// runRange answers a Range from the committed tree if the pages are in memory, and else has
// them fetched. It is run anew, from its start, when they have come.
func (t *Tree) runRange(run *rangeRun) {
	req := run.request()
	v, err := t.seen(req)
	if err != nil {
		t.failRange(run, err)
		return
	}
	s := scan{cache: t.cache, start: req.Key, end: req.End, limit: int(min(req.Max, MaxRangePairBytes)), pairs: t.pairs[:0]}
	if len(req.End) > 0 && bytes.Compare(req.Key, req.End) >= 0 {
		s.stop = scanComplete
	} else {
		s.walk(t.cache.node(v.root), nil)
	}
	if s.stop == scanMissing && (run.tries < rangeTries || s.next == nil) {
		if err := t.fetchForRange(run, v, &s); err != nil {
			t.failRange(run, err)
		}
		return
	}
	next, err := s.rest()
	if err != nil {
		t.failRange(run, err)
		return
	}
	t.pairs = s.pairs
	run.b.Client.Pairs(req, s.count, next, s.pairs)
	last := len(next) == 0
	t.answered(run.ref, StatusOK)
	if run.lease != nil {
		t.backedUp(run.lease, last)
	}
}

func (t *Tree) failRange(run *rangeRun, err error) {
	t.fail(run.ref, err)
	if run.lease != nil {
		t.backedUp(run.lease, false)
	}
}

// fetchForRange asks for the page that s came to, and for those after it that it will
// come to, in v.
func (t *Tree) fetchForRange(run *rangeRun, v *version, s *scan) error {
	run.tries++
	for _, key := range s.missing {
		if err := t.fetch(v.root, key, waiter{scan: run}); err != nil {
			if run.waiting == 0 {
				return err
			}
			break // it will be met again, if it matters
		}
		run.waiting++
	}
	run.cost = run.waiting + v.height
	t.reads.cost += run.cost
	return nil
}

func (t *Tree) rangePageCame(run *rangeRun) {
	if run.waiting--; run.waiting == 0 {
		t.reads.cost -= run.cost
		t.runRange(run)
	}
}

// scanStop is why a scan has stopped. Only scanComplete says that there is nothing left.
type scanStop uint8

const (
	scanRunning  scanStop = iota
	scanComplete          // every pair up to the end is there
	scanFull              // the limit was met: the rest begins at next
	scanMissing           // a page is not in memory: the rest begins at next, or at start if that is nil
)

// scan gathers the pairs of one Range.
type scan struct {
	cache   *cache
	start   []byte // first key wanted
	end     []byte // first key not wanted; empty for no end
	reader  bool   // it is not on the tree's goroutine: see Readers
	limit   int    // bytes of pairs
	split   bool   // values go to values
	count   int
	pairs   []byte // or keys alone
	values  []byte
	stop    scanStop // why the walk has ended
	next    []byte   // everything before it is there; nil: nothing is
	missing [][]byte // a key in each page that is wanted and not in memory; not for a reader
	touched uint64   // keeps loads that are only there to warm the caches from being optimised away
}

// walk gathers what is wanted from the subtree of nd, of which hi is the upper bound. It
// returns false when the scan has come to its end.
func (s *scan) walk(nd *node, hi []byte) bool {
	c := s.cache
	nd.use()
	if nd.height == 0 {
		return s.takeLeaf(nd, hi)
	}
	i := c.childFor(nd, s.start)
	for kid := s.child(nd, i); i <= int(nd.keys); i++ {
		var next *node
		if i < int(nd.keys) {
			next = s.child(nd, i+1)
			s.touch(next)
		}
		kidHi := hi
		if i < int(nd.keys) {
			kidHi = c.key(nd, i)
		}
		if kid == nil {
			s.stop = scanMissing
			if !s.reader { // pages come and go under a reader, which has the tree fetch them
				s.wantFrom(nd, i)
			}
			return false
		}
		if !s.walk(kid, kidHi) {
			return false
		}
		kid = next
	}
	return true
}

// touch has a page on its way to the processor while another one is copied. It may be nil.
func (s *scan) touch(nd *node) {
	if nd == nil {
		return
	}
	p := s.cache.page(nd)
	for at := 0; at < len(p); at += touchStride {
		s.touched += uint64(p[at])
	}
}

// child returns child i of a parent, if its page is in memory.
func (s *scan) child(nd *node, i int) *node {
	if s.reader {
		return s.cache.peek(nd, i, &s.touched)
	}
	if id := s.cache.child(nd, i); id != noNode {
		return s.cache.node(id)
	}
	return nil
}

// takeLeaf takes the pairs of a leaf. It leaves in s.next where a Range that
// ends here has to go on.
func (s *scan) takeLeaf(nd *node, hi []byte) bool {
	c := s.cache
	p := c.page(nd)
	if s.next != nil && s.split && s.whole(hi) {
		if len(s.pairs)+len(s.values)+int(nd.size) > s.limit && s.count > 0 {
			s.stop = scanFull // s.next is where the leaf begins
			return false
		}
		s.pairs = append(s.pairs, p[nd.first:nd.second]...)
		s.values = append(s.values, p[nd.second:nd.size]...)
		s.count += int(nd.keys)
		s.next = hi
		return true
	}
	i := 0
	if s.next == nil { // of the leaves after the first, all is wanted
		i, _ = c.position(nd, s.start)
	}
	if i < int(nd.keys) {
		keyAt, valueAt := c.keyAt(nd, i), c.valueAt(nd, i)
		for ; i < int(nd.keys); i++ {
			keyEnd, valueEnd := keyAt+1+int(p[keyAt]), valueAt+1+int(p[valueAt])
			key := p[keyAt+1 : keyEnd]
			if len(s.end) > 0 && bytes.Compare(key, s.end) >= 0 {
				s.stop = scanComplete
				return false
			}
			if s.count > 0 && len(s.pairs)+len(s.values)+keyEnd-keyAt+valueEnd-valueAt > s.limit {
				s.stop, s.next = scanFull, key
				return false
			}
			s.pairs = append(s.pairs, p[keyAt:keyEnd]...)
			if s.split {
				s.values = append(s.values, p[valueAt:valueEnd]...)
			} else {
				s.pairs = append(s.pairs, p[valueAt:valueEnd]...)
			}
			s.count++
			keyAt, valueAt = keyEnd, valueEnd
		}
	}
	// Everything up to the leaf's upper bound has been returned.
	if hi == nil || len(s.end) > 0 && bytes.Compare(hi, s.end) >= 0 {
		s.stop = scanComplete
		return false
	}
	s.next = hi
	return true
}

// rest returns where the next Range has to start: at the end, if this one is complete, and else between start and end. The
// error says that the tree does not ascend, so that nobody is led in a circle, or to an end that is none.
func (s *scan) rest() ([]byte, error) {
	switch {
	case s.stop == scanComplete:
		return s.end, nil
	case s.stop == scanRunning,
		bytes.Compare(s.next, s.start) <= 0,
		len(s.end) > 0 && bytes.Compare(s.next, s.end) >= 0:
		return nil, fmt.Errorf("%w: the range from %q to %q goes on at %q", disk.ErrCorrupt, s.start, s.end, s.next)
	}
	return s.next, nil
}

// whole reports whether all keys below hi are before the end.
func (s *scan) whole(hi []byte) bool {
	return hi != nil && (len(s.end) == 0 || bytes.Compare(hi, s.end) < 0)
}

// wantFrom notes that child i of nd, where the scan stands, is missing, and which of the children
// after it the rest of the scan will need too, as far as that can be known.
func (s *scan) wantFrom(nd *node, i int) {
	c := s.cache
	pages := 1
	if nd.height == 1 {
		pages = min(readAheadPages, 1+(s.limit-len(s.pairs))/c.blockSize)
	}
	key := s.start
	if bytes.Compare(s.next, key) > 0 {
		key = s.next
	}
	for first := i; pages > 0; pages-- {
		if i == first || s.child(nd, i) == nil {
			s.missing = append(s.missing, bytes.Clone(key)) // fetching may evict nd
		}
		if i == int(nd.keys) {
			return
		}
		key = c.key(nd, i) // where the next child begins
		if len(s.end) > 0 && bytes.Compare(key, s.end) >= 0 {
			return
		}
		i++
	}
}
