package tree

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"time"

	"kivaloo/tree/memtable"
)

// A position is the number of a commit plus 1. It means that this commit and all earlier ones were
// seen. If a commit is too long for one answer, all answers but the last end inside it. Such a
// position is a part: the top bit is set, and the rest is a number that only this process
// understands.
//
//	bit 63  0: commit + 1, in 63 bits
//	        1: run (40 random bits), part (23 bits)
const (
	partBit  = uint64(1) << 63
	partBits = 23
)

// cursor is what a Watch has seen: the commits up to seq, and the first changes of the next one.
type cursor struct {
	seq     uint64
	changes int
}

// watch is a waiting Watch.
type watch struct {
	ref
	cursor
	until time.Duration
}

// watchList holds the waiting Watches.
type watchList struct {
	waiting []*watch
	behind  bool          // some have not looked at everything yet
	until   time.Duration // the earliest time at which one ends
	used    time.Duration // when there last was a Watch
	checked time.Duration // when abandoned clients were last looked for
	run     uint64        // in its place within a position, see partBit; 0: not chosen yet
	parts   []cursor      // numbered from first on
	first   uint64        // number of the first of parts
	answer  []byte        // scratch
}

// due returns when runWatches has something to do even without a commit.
func (l *watchList) due(now time.Duration) time.Duration {
	switch {
	case len(l.waiting) == 0:
		return 1<<63 - 1
	case l.behind:
		return now
	}
	return l.until
}

// runWatch answers a Watch, or makes it wait.
func (t *Tree) runWatch(r ref) {
	l, q := &t.watches, r.request()
	from, ok := t.cursorAt(q.Position)
	if !ok {
		t.replies.fail(r, ErrPositionGone)
		return
	}
	l.used = t.now
	t.changes.keep(true)
	wait := min(q.Wait, maxWatchWait)
	if q.ended {
		wait = 0
	}
	w := &watch{r, from, t.now + wait}
	if t.look(w) {
		return
	}
	switch {
	case wait <= 0 && w.seq == t.changes.last, t.stopping:
		t.answerWatch(w, 0)
	case len(l.waiting) >= maxWatches:
		t.replies.fail(r, fmt.Errorf("%w: %d wait, which is the limit", ErrTooManyWatches, maxWatches))
	default:
		if len(l.waiting) == 0 || w.until < l.until {
			l.until = w.until
		}
		l.waiting = append(l.waiting, w)
		l.behind = l.behind || w.seq != t.changes.last
	}
}

// cursorAt returns what was seen at a position. It returns false if changes after it are no longer
// kept, or the position is not from this store.
func (t *Tree) cursorAt(position uint64) (cursor, bool) {
	l, c := &t.watches, &t.changes
	at := cursor{seq: position - 1}
	switch {
	case position == 0:
		return cursor{seq: c.last}, true
	case position&partBit != 0:
		part := position & (1<<partBits - 1)
		if position&^(1<<partBits-1) != l.run || part < l.first || part-l.first >= uint64(len(l.parts)) {
			return at, false
		}
		at = l.parts[part-l.first]
	}
	return at, at.seq >= c.since() && at.seq <= c.last
}

// position returns the position of what has been seen.
func (l *watchList) position(at cursor) uint64 {
	if at.changes == 0 {
		return at.seq + 1
	}
	n := uint64(len(l.parts))
	if n > 0 && l.parts[n-1] == at {
		return l.run | l.first + n - 1
	}
	if l.run == 0 || l.first+n >= 1<<partBits {
		l.run, l.first, l.parts = partBit|rand.Uint64()>>(partBits+1)<<partBits, 0, nil
	}
	if len(l.parts) >= maxParts {
		l.parts = slices.Delete(l.parts, 0, maxParts/2)
		l.first += maxParts / 2
	}
	l.parts = append(l.parts, at)
	return l.run | l.first + uint64(len(l.parts)) - 1
}

// look collects the changes that a Watch has not seen, and answers it if there are any. It stops
// after watchScanBytes.
func (t *Tree) look(w *watch) (answered bool) {
	c, q := &t.changes, w.request()
	limit := int(min(q.Max, MaxWatchBytes))
	out, n, looked := t.watches.answer[:0], 0, 0
	latest := 0 // where the latest change in out begins
	answer := func() bool {
		t.watches.answer = out
		if n > 0 {
			t.answerWatch(w, n)
		}
		return n > 0
	}
	run, i := c.after(w.seq)
	for ; run < len(c.runs); run, i = run+1, 0 {
		for ; i < len(c.runs[run].marks); i++ {
			if looked >= watchScanBytes {
				return answer()
			}
			before, wholes, last := len(out), n, latest
			seen, cut := 0, false
			c.runs[run].each(i, func(ch memtable.Change) bool {
				seen++
				if seen <= w.changes || !inRange(q, ch.Key) {
					return true
				}
				length, first := changeLen(ch), n > 0 && n == wholes // first: of another commit
				if first {
					length += positionBytes
				}
				if n > 0 && len(out)+length > limit {
					cut = true
					return false
				}
				if first { // the commits before it end here
					out[latest] |= changeEnds
					out = binary.BigEndian.AppendUint64(out, w.seq+1)
				}
				latest = len(out)
				out = appendChange(out, ch)
				n++
				return true
			})
			looked += c.runs[run].bytes(i)
			switch {
			case cut && wholes > 0: // leave the whole commit to the next answer
				out, n = out[:before], wholes
				out[last] &^= changeEnds
				return answer()
			case cut:
				w.changes = seen - 1
				return answer()
			}
			w.cursor = cursor{seq: c.runs[run].marks[i].seq}
		}
	}
	w.cursor = cursor{seq: c.last}
	return answer()
}

// inRange reports whether q asks for a key.
func inRange(q *Request, key []byte) bool {
	return bytes.Compare(key, q.Key) >= 0 && (len(q.End) == 0 || bytes.Compare(key, q.End) < 0)
}

// answerWatch answers a Watch with n changes from t.watches.answer.
func (t *Tree) answerWatch(w *watch, n int) {
	changes := t.watches.answer
	if n == 0 {
		changes = nil
	}
	w.b.Client.Changed(w.request(), t.watches.position(w.cursor), n, changes)
	t.replies.answered(w.ref, outcomeOf(n > 0))
}

// EndWatches ends the Watches for which the function returns true. They are answered with what
// there is. It is for Batch.Call. It includes the Watches of all Batches pushed earlier.
func (t *Tree) EndWatches(which func(Client, *Request) bool) {
	l := &t.watches
	for _, r := range t.reader.queue {
		if q := r.request(); q.Op == Watch && which(r.b.Client, q) {
			q.ended = true
		}
	}
	for _, w := range l.waiting {
		if which(w.b.Client, w.request()) {
			w.until, l.until = t.now, min(l.until, t.now)
		}
	}
}

// runWatches continues the waiting Watches after new commits, or when time has passed.
func (t *Tree) runWatches() {
	l := &t.watches
	if len(l.waiting) == 0 {
		if t.changes.keeps && t.now-l.used > watchKeep {
			t.changes.keep(false)
		}
		return
	}
	l.used = t.now
	newest := l.waiting[len(l.waiting)-1]
	dropping := t.now-l.checked >= tickEvery
	if newest.seq == t.changes.last && !l.behind && !dropping && t.now < l.until && !t.stopping {
		return
	}
	if dropping {
		l.checked = t.now
	}
	var touched *touchedKeys
	waiting := l.waiting[:0]
	l.behind, l.until = false, 1<<63-1
	for _, w := range l.waiting {
		switch {
		case dropping && w.b.Client.Abandoned():
			w.b.Client.Dropped(w.request())
			t.replies.answered(w.ref, StatusDropped)
			continue
		case w.seq == t.changes.last:
		case w.changes == 0 && t.untouched(w, &touched):
			w.seq = t.changes.last
		case w.seq < t.changes.since(): // it fell behind for too long
			t.replies.fail(w.ref, ErrPositionGone)
			continue
		case t.look(w):
			continue
		}
		if t.now >= w.until && w.seq == t.changes.last || t.stopping {
			t.answerWatch(w, 0)
			continue
		}
		if w.seq != t.changes.last {
			l.behind = true
		} else {
			l.until = min(l.until, w.until)
		}
		waiting = append(waiting, w)
	}
	clear(l.waiting[len(waiting):])
	l.waiting = waiting
}

// touchedKeys holds the keys changed after a commit, in order. With it, each of many Watches need
// not look at every change.
type touchedKeys struct {
	after uint64
	keys  [][]byte // nil: too many to sort
}

// untouched reports whether no change that w has not seen is in its range. It only tries if that is
// cheap, because many Watches have seen the same commits.
func (t *Tree) untouched(w *watch, touched **touchedKeys) bool {
	c := &t.changes
	if len(t.watches.waiting) < fewWatches || w.seq < c.since() {
		return false
	}
	if *touched == nil {
		*touched = t.keysAfter(w.seq)
	}
	k := *touched
	if k.after != w.seq || k.keys == nil {
		return false
	}
	q := w.request()
	i := sort.Search(len(k.keys), func(i int) bool { return bytes.Compare(k.keys[i], q.Key) >= 0 })
	return i == len(k.keys) || !inRange(q, k.keys[i])
}

// keysAfter returns the keys of all changes after a commit, in order.
func (t *Tree) keysAfter(seq uint64) *touchedKeys {
	k, c := &touchedKeys{after: seq, keys: [][]byte{}}, &t.changes
	bytesLeft := watchScanBytes
	run, i := c.after(seq)
	for ; run < len(c.runs); run, i = run+1, 0 {
		for ; i < len(c.runs[run].marks); i++ {
			if bytesLeft -= c.runs[run].bytes(i); bytesLeft < 0 {
				k.keys = nil
				return k
			}
			c.runs[run].each(i, func(ch memtable.Change) bool {
				k.keys = append(k.keys, ch.Key)
				return true
			})
		}
	}
	slices.SortFunc(k.keys, bytes.Compare)
	return k
}
