package s3

import (
	"context"
	"encoding/binary"
	"sync"
	"time"
)

// runJanitor deletes objects that are no longer needed, deletesAtOnce at a time. A stop cuts it
// off. The next start goes on where the marker says.
func (s *Store) runJanitor(ctx context.Context) error {
	done := s.claimed.deleted
	var complained time.Time
	for {
		select {
		case <-s.untidy:
		case <-ctx.Done():
			return nil
		}
		for {
			s.mu.Lock()
			goal, failed := s.goal, s.failed
			s.mu.Unlock()
			if done >= goal || failed != nil {
				break
			}
			to := min(goal, (done/markerEvery+1)*markerEvery)
			if err := s.deleteObjects(ctx, done, to); err != nil {
				if ctx.Err() == nil && time.Since(complained) > complainAfter {
					complained = time.Now()
					s.o.Log.Warn("could not delete objects that are no longer needed; trying again later", "from", done, "err", err)
				}
				break
			}
			done = to
			if done%markerEvery == 0 {
				s.putMarker(ctx, done)
			}
		}
	}
}

// deleteObjects deletes the objects that passed names for each object from first up to end,
// exclusive. Those that the search for the last object needs are only emptied. The order of the
// deletions does not matter, because that search needs none of the deleted ones.
func (s *Store) deleteObjects(ctx context.Context, first, end uint64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	slots := make(chan struct{}, deletesAtOnce)
	start := func(do func() error) {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := do(); err != nil {
				cancel(err)
			}
		})
	}
	for m := first; m < end && ctx.Err() == nil; m++ {
		for _, n := range passed(m) {
			if !s.claimed.isFence(n) {
				start(func() error { return s.delete(ctx, n) })
			}
		}
		if emptied(m) && !s.claimed.isFence(m) {
			start(func() error { return s.empty(ctx, m) })
		}
	}
	wg.Wait()
	return context.Cause(ctx)
}

func (s *Store) delete(ctx context.Context, n uint64) error {
	key := objectKey(n)
	return s.r.do(ctx, "DELETE "+key, 0, false, func(ctx context.Context) error { return s.r.remove(ctx, key) })
}

// empty takes the content of an object away. The object stays, so that the last one can be found.
func (s *Store) empty(ctx context.Context, n uint64) error { return s.replace(ctx, objectKey(n), nil) }

// putMarker notes that all objects before n are gone. Without it they are deleted again after the
// next start, which does no harm.
func (s *Store) putMarker(ctx context.Context, n uint64) {
	if err := s.replace(ctx, markerKey, binary.BigEndian.AppendUint64(nil, n)); err != nil {
		s.o.Log.Warn("the next start will delete some objects again", "err", err)
	}
}

func (s *Store) replace(ctx context.Context, key string, content []byte) error {
	by := s.putter()
	return s.r.do(ctx, "PUT "+key, len(content), false, func(ctx context.Context) error {
		_, err := s.r.put(ctx, key, content, condition{}, by)
		return err
	})
}
