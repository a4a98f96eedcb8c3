package tree

import (
	"bytes"
	"fmt"
	"math"

	"kivaloo/disk"
	"kivaloo/tree/memtable"
	"kivaloo/tree/page"
)

// rangeRun is a Range or a Scan in progress.
type rangeRun struct {
	*reader
	ref
	// Called after the answer. May be nil.
	answered func()
	// Called instead of giving an answer, with the result and where the rest begins. May be nil.
	found   func(*scan, []byte)
	waiting int // pages it waits for
	tries   int // times it has waited
	cost    int // its part of reader.cost while it waits
}

// runRange answers a Range or a Scan if its pages are in memory. Otherwise it requests them, and
// runs again from the start when they have arrived.
func (rd *reader) runRange(run *rangeRun) {
	req := run.request()
	for {
		v, err := rd.seen(req)
		if err != nil {
			run.fail(err)
			return
		}
		s := newScan(rd.cache, req)
		s.pairs, s.adopt = rd.pairs[:0], true
		if req.Op == DeleteRange {
			s.maxPairs = rd.t.maxDeletes(req)
		}
		s.run(v, &rd.overlay)
		rd.pairs = s.pairs
		if s.stop == scanMissing && (run.tries < rangeTries || s.next == nil) {
			err := run.fetch(v, &s)
			switch {
			case err != nil && s.next == nil:
				run.fail(err)
				return
			case err == nil && run.waiting > 0:
				return
			case err == nil:
				continue // the pages were in memory after all
			}
			// The answer ends before the bad page. The next request begins at that page.
		}
		next, err := s.rest()
		if err != nil {
			run.fail(err)
			return
		}
		from := req.Key
		if s.reverse {
			from = req.End
		}
		goesOn := s.stop == scanFull && rd.next != nil && s.reverse == rd.nextDown && bytes.Equal(from, rd.next)
		if s.stop == scanFull {
			rd.next, rd.nextDown = append(rd.next[:0], next...), s.reverse
		}
		if run.found != nil {
			run.found(&s, next)
			return
		}
		if req.Op == Scan {
			run.b.Client.Scanned(req, s.count, s.stop != scanComplete, next, s.pairs)
		} else {
			run.b.Client.Pairs(req, s.count, next, s.pairs)
		}
		if goesOn { // after the answer, because this may evict the page that next points into
			rd.readAhead(v, &s)
		}
		rd.replies.answered(run.ref, StatusOK)
		if run.answered != nil {
			run.answered()
		}
		return
	}
}

// readAhead requests the leaves that the next request needs if it continues after s. They are read
// while the answer is on its way to the client.
func (rd *reader) readAhead(v *view, s *scan) {
	leaves := s.leaves + 2 // the next Range also begins and ends within a leaf
	next := scan{
		cache: rd.cache, start: s.start, end: s.end, adopt: true, reverse: s.reverse,
		ahead: min(leaves, max(1, rd.cache.limit/readAheadShare)),
	}
	root := rd.cache.node(v.tree.root)
	if root.height == 0 {
		return
	}
	if s.reverse {
		next.end = bytes.Clone(rd.next)
		next.wantDown(root, next.below(root), nil, nil)
	} else {
		next.start = bytes.Clone(rd.next)
		next.wantFrom(root, rd.cache.childFor(root, next.start), nil, nil)
	}
	for _, m := range next.missing {
		if _, err := rd.pager.wantAt(v.tree.root, m.key, m.gap, waiter{other: noWaiter{}}); err != nil {
			return // a request that needs the page gets the error
		}
	}
}

// noWaiter is the waiter for pages that are read ahead.
type noWaiter struct{}

func (noWaiter) pageArrived(uint64, nodeID, error) {}

func (run *rangeRun) fail(err error) {
	run.replies.fail(run.ref, err)
	if run.answered != nil {
		run.answered()
	}
}

// fetch requests the page at which s stopped, and later pages that the rest of s needs.
func (run *rangeRun) fetch(v *view, s *scan) error {
	for _, m := range s.missing {
		id, err := run.pager.wantAt(v.tree.root, m.key, m.gap, waiter{other: run})
		switch {
		case err != nil && run.waiting == 0:
			return err
		case err == nil && id == noNode:
			run.replies.tally.misses++
			run.waiting++
		}
		if err != nil {
			break // a request that needs the page gets the error
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

// scanStop says why a scan stopped. Only scanComplete means that nothing is left.
type scanStop uint8

const (
	scanRunning  scanStop = iota
	scanComplete          // every pair up to the end was returned
	scanFull              // a limit was reached; the rest begins at next
	scanMissing           // a page is not in memory; the rest begins at next, or at start if next is nil
)

// missing is a page that a scan needs and that is not in memory.
type missing struct {
	key []byte // a key that the page is responsible for
	gap gap
}

// scan collects, or counts, the pairs of one Range or Scan.
type scan struct {
	cache     *cache
	start     []byte // first key wanted
	end       []byte // first key not wanted; empty for no end
	adopt     bool   // runs on the tree's goroutine, so it may search for pages that no hint leads to
	limit     int    // bytes of pairs
	maxPairs  int
	work      int  // leaves and memtable changes that it may still pass
	reverse   bool // from the end to the start
	keysOnly  bool
	countOnly bool
	split     bool // values go to values, not to pairs
	overlay   *memtable.Cursor

	count   int
	leaves  int    // leaves passed
	pairs   []byte // pairs, or keys only
	values  []byte
	stop    scanStop
	next    []byte // everything before it was passed; in reverse, everything from it on. nil: nothing was
	missing []missing
	spare   []uint32 // scratch: offsets within a leaf
	ahead   int      // after scanMissing: leaves that the rest may still need
	touched uint64   // keeps the compiler from removing loads that only warm the processor's caches
}

// newScan returns the scan for a request. A Range may pass any number of leaves without pairs,
// because its answer cannot be incomplete without a pair in it.
func newScan(c *cache, q *Request) scan {
	s := scan{cache: c, start: q.Key, end: q.End, limit: int(min(q.Max, MaxRangePairBytes)), maxPairs: math.MaxInt, work: math.MaxInt}
	switch q.Op {
	case Scan:
		s.reverse, s.keysOnly, s.countOnly = q.Reverse, q.KeysOnly, q.CountOnly
		s.work = maxScanWork
		if q.Limit > 0 {
			s.maxPairs = int(q.Limit)
		}
	case DeleteRange:
		s.keysOnly, s.limit, s.work = true, MaxRangePairBytes, maxScanWork
	}
	return s
}

// run collects the pairs of the scan from v. overlay is scratch.
func (s *scan) run(v *view, overlay *memtable.Cursor) {
	if len(s.end) > 0 && bytes.Compare(s.start, s.end) >= 0 {
		s.stop = scanComplete
		return
	}
	overlay.Reset()
	for _, t := range v.tables {
		end := t.Durable()
		for !t.Sort(end, rangeSortItems) {
		}
		if s.reverse {
			overlay.AddDown(t, end, s.end)
		} else {
			overlay.Add(t, end, s.start)
		}
	}
	s.overlay = overlay
	root := s.cache.node(v.tree.root)
	if s.reverse {
		s.walkDown(root, nil, nil)
	} else {
		s.walk(root, nil, nil)
	}
}

// walk collects pairs from the subtree of nd, whose bounds are lo and hi. It returns false when the
// scan has stopped.
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
				s.ahead = s.leavesLeft()
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
			if s.ahead > 0 {
				s.wantFrom(nd, i+1, lo, hi)
			}
			return false
		}
		kid = next
	}
	return true
}

// touch prefetches a page while another one is copied. nd may be nil.
func (s *scan) touch(nd *node) {
	if nd == nil || raceEnabled {
		return
	}
	p := s.cache.page(nd)
	for at := 0; at < len(p); at += touchStride {
		s.touched += uint64(p[at])
	}
}

// child returns child i of a parent if its page is in memory. lo and hi are the bounds of the
// parent.
func (s *scan) child(nd *node, i int, lo, hi []byte) *node {
	if !s.adopt {
		return s.cache.peek(nd, i, &s.touched)
	}
	id := s.cache.child(nd, i)
	if id == noNode {
		w := wanted{Want: page.Want{Lo: lo, Hi: hi}}
		s.cache.narrow(&w, nd, i)
		id, _ = s.cache.adopt(nd, i, &w.Want) // requesting the page gives the error again
	}
	if id == noNode {
		return nil
	}
	return s.cache.node(id)
}

// takeLeaf takes the pairs of a leaf, merged with changes in memtables. It sets s.next to where a
// Range that ends here must continue, and returns false when the scan has stopped.
func (s *scan) takeLeaf(nd *node, hi []byte) bool {
	switch {
	case s.changesBefore(hi):
		if !s.mergeLeaf(nd, hi) {
			return false
		}
	case s.countOnly:
		if !s.countLeaf(nd, hi) {
			return false
		}
	case !s.copyLeaf(nd, hi):
		return false
	}
	// Everything up to the leaf's upper bound has been returned.
	if hi == nil || len(s.end) > 0 && bytes.Compare(hi, s.end) >= 0 {
		s.stop = scanComplete
		return false
	}
	return s.passed(hi)
}

// passed records that everything up to the bound of a leaf was passed. It returns false if the scan
// stops there.
func (s *scan) passed(bound []byte) bool {
	s.next = bound
	s.leaves++
	s.work--
	if s.count >= s.maxPairs || s.work <= 0 {
		s.stop = scanFull
		return false
	}
	return true
}

// rest returns the start of the next request. If this one is complete, that is its end; otherwise
// it is between start and end. In reverse, rest returns the end of the next request: start if this
// one is complete. An error means that the keys of the tree are out of order. Without that check a
// client could be led in a circle, or stop early.
func (s *scan) rest() ([]byte, error) {
	switch {
	case s.stop == scanComplete && s.reverse:
		return s.start, nil
	case s.stop == scanComplete:
		return s.end, nil
	case s.stop == scanRunning,
		bytes.Compare(s.next, s.start) <= 0,
		len(s.end) > 0 && bytes.Compare(s.next, s.end) >= 0:
		return nil, fmt.Errorf("%w: the range from %q to %q continues at %q", disk.ErrCorrupt, s.start, s.end, s.next)
	}
	return s.next, nil
}

// changesBefore reports whether memtables have changes before hi that were not passed.
func (s *scan) changesBefore(hi []byte) bool {
	return !s.overlay.Done() && (hi == nil || bytes.Compare(s.overlay.Key(), hi) < 0)
}

// room reports whether this many more bytes fit within the limit. The first pair always fits.
func (s *scan) room(bytes int) bool {
	return s.count == 0 || len(s.pairs)+len(s.values)+bytes <= s.limit
}

// roomFor reports whether another pair fits within the limits.
func (s *scan) roomFor(key, value []byte) bool {
	if s.keysOnly || s.countOnly {
		return s.count < s.maxPairs && (s.countOnly || s.room(len(key)))
	}
	return s.count < s.maxPairs && s.room(len(key)+len(value))
}

// put adds a pair. key and value include their length bytes.
func (s *scan) put(key, value []byte) {
	s.count++
	if s.countOnly {
		return
	}
	s.pairs = append(s.pairs, key...)
	switch {
	case s.keysOnly:
	case s.split:
		s.values = append(s.values, value...)
	default:
		s.pairs = append(s.pairs, value...)
	}
}

// passes reports whether the scan continues past a change of key. Otherwise it has reached its end,
// or has done enough work.
func (s *scan) passes(key []byte) bool {
	switch {
	case s.reverse && bytes.Compare(key, s.start) < 0, !s.reverse && len(s.end) > 0 && bytes.Compare(key, s.end) >= 0:
		s.stop = scanComplete
		return false
	case s.work <= 0:
		if s.stop = scanFull; !s.reverse {
			s.next = key
		}
		return false
	}
	s.work--
	return true
}

// asStrings returns the key and value of a change with their length bytes. They are stored in room.
func (s *scan) asStrings(room []byte, ch memtable.Change) (key, value []byte) {
	key = append(append(room, byte(len(ch.Key))), ch.Key...)
	value = append(append(room[len(key):len(key)], byte(len(ch.Value))), ch.Value...)
	return key, value
}

// countLeaf counts the pairs of a leaf. It returns false if the scan ends in it.
func (s *scan) countLeaf(nd *node, hi []byte) bool {
	i, end := s.first(nd), int(nd.keys)
	if !s.whole(hi) && len(s.end) > 0 {
		end, _ = s.cache.position(nd, s.end)
	}
	if n := s.maxPairs - s.count; end-i > n {
		s.count += n
		s.stop, s.next = scanFull, s.cache.key(nd, i+n)
		return false
	}
	s.count += end - i
	return true
}

// first returns the index of the first key of a leaf to return.
func (s *scan) first(nd *node) int {
	if s.next != nil { // after the first leaf, every key counts
		return 0
	}
	i, _ := s.cache.position(nd, s.start)
	return i
}

// copyLeaf takes the pairs of a leaf as they are. It returns false if the scan ends in it.
func (s *scan) copyLeaf(nd *node, hi []byte) bool {
	c := s.cache
	p := c.page(nd)
	if s.next != nil && s.split && s.count+int(nd.keys) <= s.maxPairs && s.whole(hi) {
		switch fits := len(s.pairs)+len(s.values)+int(nd.size) <= s.limit; {
		case fits:
			s.pairs = append(s.pairs, p[nd.first:nd.second]...)
			if !s.keysOnly {
				s.values = append(s.values, p[nd.second:nd.size]...)
			}
			s.count += int(nd.keys)
			return true
		case s.count > 0:
			s.stop = scanFull // s.next is the start of the leaf
			return false
		}
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

// take takes a pair. key and value include their length bytes. It returns false if the scan stops
// before the pair.
func (s *scan) take(key, value []byte) bool {
	switch {
	case len(s.end) > 0 && bytes.Compare(key[1:], s.end) >= 0:
		s.stop = scanComplete
		return false
	case !s.roomFor(key, value):
		s.stop, s.next = scanFull, key[1:]
		return false
	}
	s.put(key, value)
	return true
}

// mergeLeaf takes the pairs of a leaf and the changes before hi, in key order. It returns false if
// the scan ends among them.
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
		order := -1 // compares the leaf's key with that of the change
		switch left := i < int(nd.keys); {
		case !left && !changes:
			return true
		case !left:
			order = 1
		case changes:
			order = bytes.Compare(page.String(p, keyAt), s.overlay.Key())
		}
		if order >= 0 {
			ch := s.overlay.Change()
			if !s.passes(ch.Key) {
				return false
			}
			if !ch.Deleted {
				key, value := s.asStrings(room[:0], ch)
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

// leavesLeft estimates how many leaves the rest of the scan needs. It assumes that they hold as
// much as the average leaf so far, or a full block if there was none.
func (s *scan) leavesLeft() int {
	left := max(1, s.cache.limit/readAheadShare)
	if s.leaves > 0 && s.maxPairs < math.MaxInt {
		left = min(left, 1+(s.maxPairs-s.count)/max(1, s.count/s.leaves))
	}
	if s.countOnly {
		return min(left, s.work)
	}
	each := s.cache.blockSize
	if s.leaves > 0 {
		each = max(1, len(s.pairs)/s.leaves)
	}
	return min(left, 1+(s.limit-len(s.pairs))/each)
}

// wantFrom records the missing pages that the rest of the scan needs, beginning at child i of nd,
// or at start if that is further right.
func (s *scan) wantFrom(nd *node, i int, lo, hi []byte) {
	for ; i <= int(nd.keys) && s.ahead > 0; i++ {
		key, kidHi := s.cache.kidBounds(nd, i, lo, hi)
		switch {
		case len(s.missing) == 0 && s.stop == scanMissing: // this is where the scan stopped
			key = s.start
			if bytes.Compare(s.next, key) > 0 {
				key = s.next
			}
		case len(s.end) > 0 && bytes.Compare(key, s.end) >= 0:
			s.ahead = 0
			return
		}
		s.wantKid(nd, i, key, kidHi, lo, hi)
	}
}

// wantKid records child i of nd as missing, or the missing pages below it. key belongs to the
// child. lo and hi are the bounds of nd; kidHi is the upper bound of the child.
func (s *scan) wantKid(nd *node, i int, key, kidHi, lo, hi []byte) {
	switch kid := s.child(nd, i, lo, hi); {
	case kid == nil:
		// Fetching may evict nd, and key with it.
		s.missing = append(s.missing, missing{bytes.Clone(key), gap{nd, nd.block, i}})
		if nd.height > 1 {
			s.ahead -= int(nd.keys) // a missing parent may have as many children as this one
		} else {
			s.ahead--
		}
	case kid.height == 0:
		s.ahead--
	case s.reverse:
		s.wantDown(kid, s.below(kid), key, kidHi)
	default:
		s.wantFrom(kid, s.cache.childFor(kid, s.start), key, kidHi)
	}
}
