package disk

import (
	"context"
	"maps"
	"math/rand/v2"
	"sync"
	"time"
)

// Blocks that no request reads can go bad unnoticed, until the last good backup is gone. So a
// scrubber slowly reads every block, over and over, and compares it with its checksum. Like a
// reader, it takes no lock that a request needs, and owns no state that others change.

// ScrubStats counts the scrubber's work since the store was opened.
type ScrubStats struct {
	Passes   uint64  // completed passes over the whole store
	Bytes    uint64  // bytes read
	Progress float64 // of the current pass, 0 to 1; 1 between passes
	Damaged  uint64  // blocks of the store that are known to be damaged
}

// scrubber holds the statistics and the findings of the scrubber.
type scrubber struct {
	mu      sync.Mutex
	stats   ScrubStats          // without Damaged
	damaged map[uint64]struct{} // damaged blocks; some may have been discarded since
	lines   int                 // lines logged in this pass
}

// Scrubbed returns what the scrubber has done.
func (l *Local) Scrubbed() ScrubStats {
	s := &l.scrubber
	first := l.chain.table.Load().min()
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	for block := range s.damaged {
		if block >= first {
			stats.Damaged++
		}
	}
	return stats
}

// runScrubber makes passes over the store until ctx is done.
func (l *Local) runScrubber(ctx context.Context) error {
	for wait := scrubAfter; sleep(ctx, wait); {
		began := time.Now()
		l.scrubAll(ctx)
		wait = max(scrubEvery-time.Since(began), scrubAfter)
	}
	return nil
}

// scrubAll makes one pass. It begins at a random block, so that all blocks get their turn even if
// the process never lives for a whole pass.
func (l *Local) scrubAll(ctx context.Context) {
	t, rate := l.chain.table.Load(), l.chain.opts.ScrubRate
	all := Stretch{t.min(), t.next}
	if all.First == all.Next {
		return
	}
	middle := all.First + rand.Uint64N(all.Next-all.First)
	s := l.chain.newScan(int(min(rate/scrubSteps, scrubChunkBytes)))
	l.scrubber.beginPass(all.First)
	done := uint64(0)
	for _, part := range []Stretch{{middle, all.Next}, {all.First, middle}} {
		for block := part.First; block < part.Next; {
			began := time.Now()
			n, bytes := l.scrubStep(s, block, part.Next)
			took := time.Since(began)
			block, done = block+n, done+n
			l.scrubber.progress(bytes, float64(done)/float64(all.Next-all.First))
			pause := time.Duration(float64(bytes) / float64(rate) * float64(time.Second))
			if !sleep(ctx, max(pause-took, took)) {
				return
			}
		}
	}
	l.scrubber.endPass()
}

// scrubStep checks blocks from block on, and before end, in one read. It returns how many blocks it
// has passed and how many bytes it has read.
func (l *Local) scrubStep(s *scan, block, end uint64) (n, bytes uint64) {
	t := l.chain.table.Load()
	f, fileEnd := t.stretch(block)
	if f == nil { // it has been discarded
		return min(max(block+1, t.min()), end) - block, 0
	}
	if sealed := fileEnd < t.next; f != s.file || sealed != s.sealed {
		s.begin(f, sealed)
	}
	n = min(s.most, fileEnd-block, end-block)
	var found []Fault
	if s.read(block, n, func(f Fault) { found = append(found, f) }) != nil || f.dropped.Load() {
		return n, 0 // most likely discarded meanwhile; else the next pass tries again
	}
	l.note(Stretch{block, block + n}, found)
	return n, n * uint64(l.chain.opts.BlockSize)
}

// note records which of the blocks just read are damaged, and logs those that were not known
// before. found is in ascending order.
func (l *Local) note(read Stretch, found []Fault) {
	s := &l.scrubber
	s.mu.Lock()
	defer s.mu.Unlock()
	var news []Fault
	for block := read.First; block < read.Next && len(found)+len(s.damaged) > 0; block++ {
		_, known := s.damaged[block]
		isBad := len(found) > 0 && found[0].Block == block
		switch {
		case known && !isBad:
			delete(s.damaged, block) // it could not be read, and now it can
		case isBad && !known && len(s.damaged) < scrubMaxDamaged:
			s.damaged[block] = struct{}{}
			news = append(news, found[0])
		}
		if isBad {
			found = found[1:]
		}
	}
	if len(news) == 0 || s.lines == scrubMaxLines {
		return
	}
	s.lines++
	first := news[0]
	l.chain.opts.Log.Error("scrub: blocks are damaged. To see what needs them, stop the store and run: kivaloo check --sums "+l.chain.path,
		"blocks", len(news), "first", first.Block, "last", news[len(news)-1].Block, "file", first.File, "offset", first.Offset, "error", first.Err)
}

// beginPass resets the progress, and forgets damaged blocks that have been discarded.
func (s *scrubber) beginPass(first uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.damaged, func(block uint64, _ struct{}) bool { return block < first })
	s.lines, s.stats.Progress = 0, 0
}

// progress adds bytes that were read, and sets the part of the pass that is done, 0 to 1.
func (s *scrubber) progress(bytes uint64, part float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Bytes += bytes
	s.stats.Progress = part
}

func (s *scrubber) endPass() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Passes++
}

// sleep waits for d. It returns false if ctx is done first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
