package disk

import (
	"context"
	"fmt"
	"sync"
	"time"

	"kivaloo/actors"
)

// Local is the store in a local directory: one appender, one janitor, and a number of
// readers, each a goroutine.
type Local struct {
	chain *chain

	workers *actors.Group // the appender and the readers
	janitor *actors.Group // outlives them: they make work for it

	reads   chan *Op      // for whichever reader is free; many consumers, so no mailbox
	appends chan *Op      // at most one, see chain.accept
	untidy  chan struct{} // rings the janitor; a token that is there already will do

	closing  sync.Once
	closeErr error
}

var _ Store = (*Local)(nil)

// Open opens the store in an existing directory, which may be empty, and starts it. The
// error wraps ErrLocked if another process has the directory open, ErrCorrupt if its files
// cannot be a store with that block size; nothing has been changed then.
func Open(dir string, o Options) (*Local, error) {
	c, err := open(dir, o)
	if err != nil {
		return nil, err
	}
	l := &Local{
		chain:   c,
		workers: actors.NewGroup(),
		janitor: actors.NewGroup(),
		reads:   make(chan *Op, readQueueOps),
		appends: make(chan *Op, 1),
		untidy:  make(chan struct{}, 1),
	}
	l.janitor.Go("disk janitor", l.runJanitor)
	l.workers.Go("disk appender", l.runAppender)
	for i := range c.opts.Readers {
		l.workers.Go(fmt.Sprintf("disk reader %d", i), l.runReader)
	}
	return l, nil
}

// Info implements Store.
func (l *Local) Info() Info { return l.chain.info() }

// Submit implements Store.
func (l *Local) Submit(first, last *Op) { forEach(first, last, l.submit) }

// forEach calls do with each operation of a chain. do may give it away.
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
		// Answered before anything is discarded, as the original does.
		l.chain.requestFree(op)
		op.Done.PushOne(op)
		l.ring()
	}
}

// ring makes the janitor look at what there is to do.
func (l *Local) ring() {
	select {
	case l.untidy <- struct{}{}:
	default:
	}
}

func (l *Local) runReader(context.Context) error {
	for op := range l.reads {
		l.chain.read(op)
		if delay := l.chain.opts.ReadDelay; delay > 0 && op.OK {
			time.Sleep(delay)
		}
		op.Done.PushOne(op)
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

// runJanitor tidies up when a Free comes, and from time to time for the sake of the checksums.
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

// Close implements Store. Files that were sealed get their checksums first.
func (l *Local) Close() error {
	l.closing.Do(func() {
		close(l.reads)
		close(l.appends)
		l.workers.Wait()
		close(l.untidy)
		l.janitor.Wait()
		l.closeErr = l.chain.close()
	})
	return l.closeErr
}
