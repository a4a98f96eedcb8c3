package s3

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"kivaloo/disk"
)

// claimed is a store that this process may write until another one claims it.
type claimed struct {
	settings
	fence   uint64 // the object that this writer put; it appends after it
	content uint64 // the last object with blocks, 0 if there is none
	last    uint64 // its last block, or disk.NoBlock
	deleted uint64 // all objects before this one are deleted, or must stay
}

// claim makes this process the writer. When it returns, the previous writer is fenced: the object
// that it would put next exists.
//
// The number of the fence is in the settings before the fence is put, so that no janitor of any
// process deletes it. Between finding the last object and putting the fence, others may append and
// delete for any time. If they have appended, the put fails. If they have also deleted that object,
// the put succeeds, but far before the last object, where it fences nobody. So claim looks for the
// last object again: it must be the fence.
func (s *Store) claim(ctx context.Context) (c claimed, err error) {
	for range maxClaims {
		if c.settings, err = readSettings(ctx, s.r); err != nil {
			return c, err
		}
		if c.deleted, err = readMarker(ctx, s.r); err != nil {
			return c, err
		}
		last, err := findLast(ctx, s.r)
		if err != nil {
			return c, err
		}
		if last < c.Fence {
			return c, fmt.Errorf("the last object is %d, but object %d had been put: objects have been deleted by hand: %w", last, c.Fence, disk.ErrCorrupt)
		}
		if err := s.settle(&c.settings, last); err != nil {
			return c, err
		}
		c.fence = last + 1
		if c.fence >= maxObject {
			return c, errors.New("all object numbers have been used")
		}
		c.deleted = max(c.deleted, c.Pruned)
		c.Pruned = c.deleted
		c.Fences = slices.DeleteFunc(c.Fences, func(n uint64) bool { return n < c.Pruned })
		if !c.isFence(c.fence) {
			at, _ := slices.BinarySearch(c.Fences, c.fence)
			c.Fences = slices.Insert(c.Fences, at, c.fence)
		}
		c.Epoch++
		c.Writer, c.Since = s.o.Writer, s.since
		claims, err := s.fenced(ctx, &c)
		if err != nil {
			return c, err
		}
		if claims {
			return c, s.findContent(ctx, &c)
		}
	}
	return c, fmt.Errorf("others have claimed the store %d times meanwhile", maxClaims)
}

// settle fills in the settings of a store that has none, and checks the block size.
func (s *Store) settle(c *settings, last uint64) error {
	if c.etag != "" {
		if s.o.BlockSize != 0 && s.o.BlockSize != c.BlockSize {
			return fmt.Errorf("the store has blocks of %d bytes, not %d", c.BlockSize, s.o.BlockSize)
		}
		return nil
	}
	c.Format, c.BlockSize = settingsFormat, s.o.BlockSize
	switch {
	case c.BlockSize != 0:
	case last > 0:
		return fmt.Errorf("%w: there are objects, but kivaloo.json does not say how large their blocks are: it has been deleted, or the store was made by another program", ErrBlockSizeNeeded)
	case s.o.NewBlockSize == 0:
		return ErrEmpty
	default:
		c.BlockSize = s.o.NewBlockSize
	}
	return nil
}

// fenced puts the fence. It returns false if somebody else was quicker.
func (s *Store) fenced(ctx context.Context, c *claimed) (bool, error) {
	err := c.settings.write(ctx, s.r, s.putter())
	if errors.Is(err, errCondition) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	key, by := objectKey(c.fence), s.putter()
	if _, err := s.r.create(ctx, key, nil, by, false); errors.Is(err, errCondition) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	// There are services that take the condition and do not look at it.
	err = s.r.do(ctx, "PUT "+key, 0, false, func(ctx context.Context) error {
		_, err := s.r.put(ctx, key, nil, condition{absent: true}, by)
		return err
	})
	if err == nil {
		return false, errors.New("the service put an object where there was one, although the request had If-None-Match: *; two writers would destroy each other's data there")
	}
	if !errors.Is(err, errCondition) {
		return false, err
	}
	last, err := findLast(ctx, s.r)
	return last == c.fence, err
}

// findContent finds the last object with blocks in it, and notes it for the next start, which may
// come after many others that appended nothing.
func (s *Store) findContent(ctx context.Context, c *claimed) error {
	c.content, c.last = 0, disk.NoBlock
	for n := c.fence - 1; n > 0; n-- {
		if n == c.Fence {
			if n = c.Last; n == 0 {
				break
			}
		}
		o, err := s.r.length(ctx, objectKey(n))
		switch {
		case err != nil:
			return fmt.Errorf("object %d, before the last one: %w", n, err)
		case o.length%int64(c.BlockSize) != 0:
			return fmt.Errorf("object %d has %d bytes, which is no number of blocks of %d: %w", n, o.length, c.BlockSize, disk.ErrCorrupt)
		case o.length > 0:
			c.content, c.last = n, lastBlock(n, o.length, c.BlockSize)
		}
		if c.content > 0 {
			break
		}
	}
	c.Fence, c.Last = c.fence, c.content
	err := c.settings.write(ctx, s.r, s.putter())
	if errors.Is(err, errCondition) {
		return nil // somebody else claims the store, as the first append will show
	}
	return err
}

// findLast returns the number of the last object, 0 if there is none. See passed for why it finds
// it although most of the others may have been deleted.
func findLast(ctx context.Context, r *retrier) (last uint64, err error) {
	exists := func(n uint64) bool {
		if err != nil {
			return false
		}
		_, err = r.length(ctx, objectKey(n))
		if errors.Is(err, errNotFound) {
			err = nil
			return false
		}
		return err == nil
	}
	for n := uint64(1); n < maxObject && exists(n); n *= 2 {
		last = n
	}
	for step := last / 2; step > 0; step /= 2 {
		if exists(last + step) {
			last += step
		}
	}
	return last, err
}

// readMarker returns the first object that may not have been deleted, although it is unneeded.
func readMarker(ctx context.Context, r *retrier) (uint64, error) {
	content, _, err := r.fetch(ctx, markerKey, 0, 9)
	switch {
	case errors.Is(err, errNotFound):
		return 1, nil
	case err != nil:
		return 0, err
	case len(content) != 8:
		return 0, fmt.Errorf("%s has %d bytes, not 8: %w", markerKey, len(content), disk.ErrCorrupt)
	}
	return max(1, binary.BigEndian.Uint64(content)), nil
}

// look checks, from time to time while nothing is appended, that this is still the writer. Without
// that a writer that others have replaced would go on answering reads from its own past.
func (s *Store) look(ctx context.Context) error {
	if s.o.LookEvery < 0 {
		return nil
	}
	tick := time.NewTicker(s.o.LookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		s.mu.Lock()
		next, busy := s.next, s.appending
		s.mu.Unlock()
		if busy {
			continue // the append will tell
		}
		o, err := s.r.length(ctx, objectKey(next))
		if err == nil && s.isNext(next) {
			s.fail(fencedBy(next, o.by))
		}
	}
}
