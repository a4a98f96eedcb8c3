package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"kivaloo/disk"
)

// accept reports whether an append may begin, and fills in the outcome if not.
func (s *Store) accept(op *disk.Op) bool {
	if n := len(op.Pages); n == 0 || n >= 1<<blocksShift {
		op.Err = fmt.Errorf("append at %016x: %d blocks, not between 1 and %d", op.Block, n, 1<<blocksShift-1)
		return false
	}
	for i, page := range op.Pages {
		if len(page) != s.claimed.BlockSize {
			op.Err = fmt.Errorf("append at %016x: page %d has %d bytes, the block size is %d", op.Block, i, len(page), s.claimed.BlockSize)
			return false
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		op.Err = fmt.Errorf("append at %016x: %w: %w", op.Block, disk.ErrFailed, s.failed)
		return false
	}
	if s.appending || op.Block != firstBlock(s.next) || s.next >= maxObject {
		return false
	}
	s.appending = true
	return true
}

func (s *Store) runAppender(ctx context.Context) error {
	for op := range s.appends {
		s.append(ctx, op)
		op.Done.PushOne(op)
	}
	return nil
}

// append puts the object of an append. It retries forever: after giving up, the put might still
// succeed unseen, as long as nobody else puts an object there.
func (s *Store) append(ctx context.Context, op *disk.Op) {
	n, _ := objectOf(op.Block)
	other, err := s.r.create(ctx, objectKey(n), bytes.Join(op.Pages, nil), s.putter(), true)
	if errors.Is(err, errCondition) {
		err = fencedBy(n, other.by)
	}
	if err != nil {
		s.fail(err)
		op.Err = fmt.Errorf("append at %016x: %w: %w", op.Block, disk.ErrFailed, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.appending = false
	if err == nil {
		s.next++
		s.last = op.Block + uint64(len(op.Pages)) - 1
		op.OK, op.Next = true, firstBlock(s.next)
	}
}
