package s3

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"kivaloo/disk"
)

func (s *Store) runReader(ctx context.Context) error {
	for first := range s.reads {
		s.readRun(ctx, first)
	}
	return nil
}

// readRun carries out reads of blocks that follow each other.
func (s *Store) readRun(ctx context.Context, first *disk.Op) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	size := s.claimed.BlockSize
	for op := first; op != nil; {
		n, index := objectOf(op.Block)
		run := []*disk.Op{op} // those that are in the same object
		for op = op.Link.Next(); op != nil; op = op.Link.Next() {
			if m, _ := objectOf(op.Block); m != n {
				break
			}
			run = append(run, op)
		}
		content, err := s.blocks(ctx, n, int64(index)*int64(size), int64(len(run))*int64(size), run[0].AsIs)
		for i, one := range run {
			one.OK, one.Err = false, nil
			switch {
			case len(one.Buf) != size:
				one.Err = fmt.Errorf("buffer of %d bytes for a block of %d", len(one.Buf), size)
			case err != nil:
				one.Err = err
			case len(content) >= (i+1)*size:
				one.OK = true
				copy(one.Buf, content[i*size:])
			}
			if one.Err != nil {
				one.Err = fmt.Errorf("read block %016x: %w", one.Block, one.Err)
			}
		}
	}
	last := first
	for next := last.Link.Next(); next != nil; next = last.Link.Next() {
		last = next
	}
	first.Done.Push(first, last)
}

// blocks returns what an object has from offset on, nothing if it does not exist.
func (s *Store) blocks(ctx context.Context, n uint64, offset, length int64, asIs bool) ([]byte, error) {
	if asIs {
		content, err := s.whole.object(ctx, n)
		if int64(len(content)) < offset {
			return nil, err
		}
		return content[offset:], err
	}
	s.whole.forget()
	content, _, err := s.r.fetch(ctx, objectKey(n), offset, length)
	if errors.Is(err, errNotFound) {
		return nil, nil
	}
	return content, err
}

// whole are the objects that a recovery reads. It asks for one block after the other, in objects
// that follow each other, so each object is fetched once, as a whole, and some ahead of it.
type whole struct {
	s *Store

	mu      sync.Mutex
	objects []*wholeObject // as they were asked for, the latest last
	fetches sync.WaitGroup
	latest  uint64 // the object that was asked for last
}

// wholeObject is an object that has been fetched, or is being.
type wholeObject struct {
	n       uint64
	fetched chan struct{} // closed when content and err are there
	content []byte        // nil if there is no such object
	err     error
}

// object returns the content of an object, nil if there is none. The caller must not change it.
func (w *whole) object(ctx context.Context, n uint64) ([]byte, error) {
	o := w.ask(n)
	select {
	case <-o.fetched:
		return o.content, o.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// ask begins to fetch an object unless it is there already, and those that are likely to be next.
func (w *whole) ask(n uint64) *wholeObject {
	w.mu.Lock()
	defer w.mu.Unlock()
	forward := n == w.latest+1
	w.latest = n
	o := w.fetch(n)
	if forward {
		for ahead := n + 1; ahead <= min(n+wholeAhead, w.s.lastObject()); ahead++ {
			w.fetch(ahead)
		}
	}
	return o
}

// fetch is called with mu held.
func (w *whole) fetch(n uint64) *wholeObject {
	for _, o := range w.objects {
		if o.n == n {
			return o
		}
	}
	o := &wholeObject{n: n, fetched: make(chan struct{})}
	w.objects = append(w.objects, o)
	w.fetches.Go(func() {
		ctx, cancel := context.WithTimeout(w.s.others.Context(), readTime)
		defer cancel()
		if o.content, _, o.err = w.s.r.fetch(ctx, objectKey(n), 0, 0); errors.Is(o.err, errNotFound) {
			o.content, o.err = nil, nil
		}
		close(o.fetched)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.shrink(o)
	})
	return o
}

// shrink forgets the oldest objects that have been fetched, but keeps one, while they are too large
// together, and those whose fetch has failed. mu is held.
func (w *whole) shrink(keep *wholeObject) {
	over := -wholeBytes
	for _, o := range w.objects {
		if o.done() {
			over += len(o.content)
		}
	}
	w.objects = slices.DeleteFunc(w.objects, func(o *wholeObject) bool {
		if !o.done() || o.err == nil && (o == keep || over <= 0) {
			return false
		}
		over -= len(o.content)
		return true
	})
}

// done reports whether an object has been fetched, or could not be.
func (o *wholeObject) done() bool {
	select {
	case <-o.fetched:
		return true
	default:
		return false
	}
}

// forget gives the memory back: the recovery is over.
func (w *whole) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.objects, w.latest = nil, 0
}

// wait returns when no fetch is under way.
func (w *whole) wait() { w.fetches.Wait() }

// lastObject returns the last object that has blocks.
func (s *Store) lastObject() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == disk.NoBlock {
		return 0
	}
	n, _ := objectOf(s.last)
	return n
}
