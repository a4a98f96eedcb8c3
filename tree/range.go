package tree

import (
	"bytes"
	"fmt"

	"kivaloo/disk"
	"kivaloo/tree/memtable"
	"kivaloo/tree/page"
)

// rangeRun is a Range, or a Backup, that is being carried out.
type rangeRun struct {
	*reader
	ref
	answered func(last bool) // of a Backup: called when it has been answered; last says it was the last one
	waiting  int             // pages
	tries    int             // times it has waited
	cost     int             // taken from reader.cost while it waits
}

// runRange answers a Range if the pages are in memory, and else has them fetched. It is run anew,
// from its start, when they have come.
func (rd *reader) runRange(run *rangeRun) {
	req := run.request()
	for {
		v, err := rd.seen(req)
		if err != nil {
			run.fail(err)
			return
		}
		s := scan{cache: rd.cache, start: req.Key, end: req.End, limit: int(min(req.Max, MaxRangePairBytes)), pairs: rd.pairs[:0], adopt: true}
		s.run(v, &rd.overlay)
		rd.pairs = s.pairs
		if s.stop == scanMissing && (run.tries < rangeTries || s.next == nil) {
			switch err := run.fetch(v, &s); {
			case err != nil:
				run.fail(err)
				return
			case run.waiting > 0:
				return
			}
			continue // they were in memory all the same
		}
		next, err := s.rest()
		if err != nil {
			run.fail(err)
			return
		}
		last := len(next) == 0
		run.b.Client.Pairs(req, s.count, next, s.pairs)
		rd.replies.answered(run.ref, StatusOK)
		if run.answered != nil {
			run.answered(last)
		}
		return
	}
}

func (run *rangeRun) fail(err error) {
	run.replies.fail(run.ref, err)
	if run.answered != nil {
		run.answered(false)
	}
}

// fetch asks for the page that s came to, and for those after it that it will come to.
func (run *rangeRun) fetch(v *view, s *scan) error {
	for _, key := range s.missing {
		id, err := run.pager.want(v.tree.root, key, 0, waiter{other: run})
		switch {
		case err != nil && run.waiting == 0:
			return err
		case err == nil && id == noNode:
			run.replies.tally.misses++
			run.waiting++
		}
		if err != nil {
			break // it will be met again, if it matters
		}
	}
	if run.waiting > 0 {
		run.tries++
		run.cost = run.waiting + v.tree.height
		run.reader.cost += run.cost
	}
	return nil
}

func (run *rangeRun) pageArrived(uint64, nodeID, error) {
	if run.waiting--; run.waiting == 0 {
		run.reader.cost -= run.cost
		run.runRange(run)
	}
}

// scanStop is why a scan has stopped. Only scanComplete says that nothing is left.
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
	adopt   bool   // it is on the tree's goroutine, and may look for pages that hints do not lead to
	limit   int    // bytes of pairs
	split   bool   // values go to values
	overlay *memtable.Cursor

	count   int
	pairs   []byte // or keys alone
	values  []byte
	stop    scanStop
	next    []byte   // everything before it is there; nil: nothing is
	missing [][]byte // a key in each page that is wanted and not in memory
	touched uint64   // keeps loads that are only there to warm the caches from being optimised away
}

// run gathers what is wanted. overlay is scratch.
func (s *scan) run(v *view, overlay *memtable.Cursor) {
	if len(s.end) > 0 && bytes.Compare(s.start, s.end) >= 0 {
		s.stop = scanComplete
		return
	}
	overlay.Reset()
	for _, t := range v.tables {
		end := t.Durable()
		for !t.Sort(end, sortItems) {
		}
		overlay.Add(t, end, s.start)
	}
	s.overlay = overlay
	s.walk(s.cache.node(v.tree.root), nil, nil)
}

// walk gathers what is wanted from the subtree of nd, whose bounds are lo and hi. It returns false
// when the scan has stopped.
func (s *scan) walk(nd *node, lo, hi []byte) bool {
	c := s.cache
	nd.use()
	if nd.height == 0 {
		return s.takeLeaf(nd, hi)
	}
	i := c.childFor(nd, s.start)
	for kid := s.child(nd, i, lo, hi); i <= int(nd.keys); i++ {
		if kid == nil {
			s.stop = scanMissing
			if s.adopt {
				s.wantFrom(nd, i, lo, hi)
			}
			return false
		}
		var next *node
		if i < int(nd.keys) {
			next = s.child(nd, i+1, lo, hi)
			s.touch(next)
		}
		kidLo, kidHi := c.kidBounds(nd, i, lo, hi)
		if !s.walk(kid, kidLo, kidHi) {
			return false
		}
		kid = next
	}
	return true
}

// touch has a page on its way to the processor while another one is copied. It may be nil.
func (s *scan) touch(nd *node) {
	if nd == nil || raceEnabled {
		return
	}
	p := s.cache.page(nd)
	for at := 0; at < len(p); at += touchStride {
		s.touched += uint64(p[at])
	}
}

// child returns child i of a parent, if its page is in memory. lo and hi are the bounds of the
// parent.
func (s *scan) child(nd *node, i int, lo, hi []byte) *node {
	if !s.adopt {
		return s.cache.peek(nd, i, &s.touched)
	}
	id := s.cache.child(nd, i)
	if id == noNode {
		w := page.Want{Lo: lo, Hi: hi}
		s.cache.narrow(&w, nd, i)
		id, _ = s.cache.adopt(nd, i, &w) // an error is met again when the page is asked for
	}
	if id == noNode {
		return nil
	}
	return s.cache.node(id)
}

// takeLeaf takes the pairs of a leaf, and the changes that belong between them. It leaves in s.next
// where a Range that ends here has to go on, and returns false when the scan has stopped.
func (s *scan) takeLeaf(nd *node, hi []byte) bool {
	if s.changesBefore(hi) {
		if !s.mergeLeaf(nd, hi) {
			return false
		}
	} else if !s.copyLeaf(nd, hi) {
		return false
	}
	// Everything up to the leaf's upper bound has been returned.
	if hi == nil || len(s.end) > 0 && bytes.Compare(hi, s.end) >= 0 {
		s.stop = scanComplete
		return false
	}
	s.next = hi
	return true
}

// rest returns where the next Range has to start: at the end, if this one is complete, and else
// between start and end. The error says that the tree does not ascend, so that nobody is led in a
// circle, or to an end that is none.
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

// changesBefore reports whether there are changes of keys before hi that have not been passed.
func (s *scan) changesBefore(hi []byte) bool {
	return !s.overlay.Done() && (hi == nil || bytes.Compare(s.overlay.Key(), hi) < 0)
}

// room reports whether so many bytes more are within the limit. The first pair always is.
func (s *scan) room(bytes int) bool {
	return s.count == 0 || len(s.pairs)+len(s.values)+bytes <= s.limit
}

// first returns the number of the first key of a leaf that is wanted.
func (s *scan) first(nd *node) int {
	if s.next != nil { // of the leaves after the first, all is wanted
		return 0
	}
	i, _ := s.cache.position(nd, s.start)
	return i
}

// copyLeaf takes the pairs of a leaf as they are. It returns false where the scan ends in it.
func (s *scan) copyLeaf(nd *node, hi []byte) bool {
	c := s.cache
	p := c.page(nd)
	if s.next != nil && s.split && s.whole(hi) {
		if !s.room(int(nd.size)) {
			s.stop = scanFull // s.next is where the leaf begins
			return false
		}
		s.pairs = append(s.pairs, p[nd.first:nd.second]...)
		s.values = append(s.values, p[nd.second:nd.size]...)
		s.count += int(nd.keys)
		return true
	}
	i := s.first(nd)
	if i == int(nd.keys) {
		return true
	}
	keyAt, valueAt := c.keyAt(nd, i), c.valueAt(nd, i)
	for ; i < int(nd.keys); i++ {
		keyEnd, valueEnd := keyAt+1+int(p[keyAt]), valueAt+1+int(p[valueAt])
		if !s.take(p[keyAt:keyEnd], p[valueAt:valueEnd]) {
			return false
		}
		keyAt, valueAt = keyEnd, valueEnd
	}
	return true
}

// take takes a pair, given as key and value with their length bytes. It returns false if the scan
// stops before it.
func (s *scan) take(key, value []byte) bool {
	switch {
	case len(s.end) > 0 && bytes.Compare(key[1:], s.end) >= 0:
		s.stop = scanComplete
		return false
	case !s.room(len(key) + len(value)):
		s.stop, s.next = scanFull, key[1:]
		return false
	}
	s.pairs = append(s.pairs, key...)
	if s.split {
		s.values = append(s.values, value...)
	} else {
		s.pairs = append(s.pairs, value...)
	}
	s.count++
	return true
}

// mergeLeaf takes the pairs of a leaf and the changes before hi, in the order of the keys. It returns
// false where the scan ends among them.
func (s *scan) mergeLeaf(nd *node, hi []byte) bool {
	c := s.cache
	p := c.page(nd)
	i := s.first(nd)
	keyAt, valueAt := 0, 0
	if i < int(nd.keys) {
		keyAt, valueAt = c.keyAt(nd, i), c.valueAt(nd, i)
	}
	var room [2 * (page.MaxString + 1)]byte
	for changes := true; ; {
		changes = changes && s.changesBefore(hi)
		order := -1 // of the leaf's key and that of the change
		switch left := i < int(nd.keys); {
		case !left && !changes:
			return true
		case !left:
			order = 1
		case changes:
			order = bytes.Compare(page.String(p, keyAt), s.overlay.Key())
		}
		if order >= 0 {
			if ch := s.overlay.Change(); !ch.Deleted {
				key := append(append(room[:0], byte(len(ch.Key))), ch.Key...)
				value := append(append(room[len(key):len(key)], byte(len(ch.Value))), ch.Value...)
				if !s.take(key, value) {
					s.next = bytes.Clone(s.next)
					return false
				}
			}
			s.overlay.Next()
		}
		if order > 0 {
			continue
		}
		keyEnd, valueEnd := keyAt+1+int(p[keyAt]), valueAt+1+int(p[valueAt])
		if order < 0 && !s.take(p[keyAt:keyEnd], p[valueAt:valueEnd]) {
			return false
		}
		i, keyAt, valueAt = i+1, keyEnd, valueEnd
	}
}

// whole reports whether all keys below hi are before the end.
func (s *scan) whole(hi []byte) bool {
	return hi != nil && (len(s.end) == 0 || bytes.Compare(hi, s.end) < 0)
}

// wantFrom notes that child i of nd, where the scan stands, is missing, and which of the children
// after it the rest of the scan will need too, as far as that can be known.
func (s *scan) wantFrom(nd *node, i int, lo, hi []byte) {
	c := s.cache
	pages := 1
	if nd.height == 1 {
		pages = min(readAheadPages, 1+(s.limit-len(s.pairs))/c.blockSize)
	}
	key := s.start
	if bytes.Compare(s.next, key) > 0 {
		key = s.next
	}
	s.missing = append(s.missing, bytes.Clone(key)) // fetching may evict nd
	for ; pages > 1 && i < int(nd.keys); pages-- {
		key = c.key(nd, i) // where the next child begins
		if len(s.end) > 0 && bytes.Compare(key, s.end) >= 0 {
			return
		}
		if i++; s.child(nd, i, lo, hi) == nil {
			s.missing = append(s.missing, bytes.Clone(key))
		}
	}
}
