package disk

import (
	"context"
	"fmt"
	"sync"
	"time"

	"kivaloo/actors"
)

// Local is the store in a local directory. Its goroutines are one appender, one janitor, and
// several readers.
type Local struct {
	chain *chain

	workers *actors.Group // the appender and the readers
	janitor *actors.Group // outlives the workers, which make work for it
	scrubs  *actors.Group // the scrubber, if there is one

	scrubber scrubber

	reads   chan *Op      // chains of Reads, each for any free reader; several consumers, so no mailbox
	appends chan *Op      // at most one, see chain.accept
	untidy  chan struct{} // wakes the janitor; one token is enough

	closing  sync.Once
	closeErr error
}

var _ Store = (*Local)(nil)

// Open opens the store in an existing directory, which may be empty, and starts it. The error wraps
// ErrLocked if another process has the directory open, and ErrCorrupt if its files cannot be a
// store with that block size. Nothing has been changed then.
func Open(dir string, o Options) (*Local, error) {
	c, err := open(dir, o)
	if err != nil {
		return nil, err
	}
	l := &Local{
		chain:   c,
		workers: actors.NewGroup(),
		janitor: actors.NewGroup(),
		scrubs:  actors.NewGroup(),
		reads:   make(chan *Op, readQueueOps),
		appends: make(chan *Op, 1),
		untidy:  make(chan struct{}, 1),
	}
	c.rest = sealRest
	l.janitor.Go("disk janitor", l.runJanitor)
	l.workers.Go("disk appender", l.runAppender)
	for i := range c.opts.Readers {
		l.workers.Go(fmt.Sprintf("disk reader %d", i), l.runReader)
	}
	if c.opts.ScrubRate > 0 {
		l.scrubber.damaged = make(map[uint64]struct{})
		l.scrubs.Go("disk scrubber", l.runScrubber)
	}
	return l, nil
}

// Info implements Store.
func (l *Local) Info() Info { return l.chain.info() }

// Submit implements Store.
func (l *Local) Submit(first, last *Op) {
	last.SetNext(nil)
	most := l.readRun(first)
	for op := first; op != nil; {
		end := op
		if op.Kind == Read {
			end = endOfRun(op, most)
		}
		next := end.Link.Next()
		end.SetNext(nil)
		l.submit(op)
		op = next
	}
}

// readRun returns how many reads of a chain one reader gets at a time. Waking a reader, and
// afterwards the tree, costs as much as reading a cached block. But a disk is faster if all idle
// readers use it.
func (l *Local) readRun(first *Op) int {
	if l.chain.opts.ReadDelay > 0 {
		return 1 // a read must come back after its own delay, not after those of others too
	}
	reads := 0
	for op := first; op != nil; op = op.Link.Next() {
		if op.Kind == Read {
			reads++
		}
	}
	readers := l.chain.opts.Readers
	return min((reads+readers-1)/readers, readRunOps)
}

// endOfRun returns the last read of the run that begins with first. A run has at most n reads that
// come back to the same place. It may have more if n is not 1 and their blocks are consecutive.
func endOfRun(first *Op, n int) *Op {
	end := first
	for i := 1; i < readTogetherBytes/MinBlockSize; i++ {
		next := end.Link.Next()
		if next == nil || next.Kind != Read || next.Done != first.Done {
			break
		}
		if follows := n > 1 && next.Block == end.Block+1; i >= n && !follows {
			break
		}
		end = next
	}
	return end
}

// forEach calls do with each operation of a chain. do may give the operation away.
func forEach(first, last *Op, do func(*Op)) {
	for op := first; op != nil; {
		next := op.Link.Next()
		if op == last {
			next = nil
		}
		do(op)
		op = next
	}
}

// submit starts one operation, or a chain of Reads.
func (l *Local) submit(op *Op) {
	op.OK, op.Err = false, nil
	switch op.Kind {
	case Read:
		l.reads <- op
	case Append:
		if l.chain.accept(op) {
			l.appends <- op
		} else {
			op.Done.PushOne(op)
		}
	case Free:
		// As in the original, answer before anything is discarded.
		l.chain.requestFree(op)
		op.Done.PushOne(op)
		l.ring()
	}
}

// ring wakes the janitor.
func (l *Local) ring() {
	select {
	case l.untidy <- struct{}{}:
	default:
	}
}

func (l *Local) runReader(context.Context) error {
	var buf []byte
	for first := range l.reads {
		if buf == nil { // most readers of a small store never get here
			buf = make([]byte, readTogetherBytes)
		}
		last := l.chain.readChain(first, buf)
		if delay := l.chain.opts.ReadDelay; delay > 0 && first.OK {
			time.Sleep(delay) // of one read: see readRun
		}
		first.Done.Push(first, last)
	}
	return nil
}

func (l *Local) runAppender(context.Context) error {
	for op := range l.appends {
		l.chain.append(op)
		op.Done.PushOne(op)
	}
	return nil
}

// runJanitor tidies up at each Free, and regularly to write checksums.
func (l *Local) runJanitor(context.Context) error {
	tick := time.NewTicker(sumsAfter / 2)
	defer tick.Stop()
	for open := true; open; {
		select {
		case _, open = <-l.untidy:
		case <-tick.C:
		}
		l.chain.tidy(sumsAfter)
	}
	l.chain.tidy(0)
	return nil
}

// Close implements Store. It first writes the checksums of sealed files and of the last one.
func (l *Local) Close() error {
	l.closing.Do(func() {
		l.chain.stopping.Store(true)
		l.scrubs.Stop()
		close(l.reads)
		close(l.appends)
		l.workers.Wait()
		l.scrubs.Wait()
		close(l.untidy)
		l.janitor.Wait()
		l.chain.sealTail()
		l.closeErr = l.chain.close()
	})
	return l.closeErr
}
